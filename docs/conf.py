"""How the documentation site is built: `make docs`, offline and without a warning."""

from __future__ import annotations

from evenhand import __version__

project = "evenhand"
author = "The evenhand developers"
copyright = "2026, the evenhand developers"
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "cyclopts.ext.sphinx",
]
myst_enable_extensions = ["dollarmath", "deflist", "colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["images/*.py", "_build"]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_default_options = {"members": True, "show-inheritance": False}
napoleon_google_docstring = True
napoleon_use_ivar = True
napoleon_preprocess_types = False

html_theme = "furo"
html_title = "evenhand"
html_show_sourcelink = False
html_copy_source = False
suppress_warnings = ["misc.highlighting_failure"]
