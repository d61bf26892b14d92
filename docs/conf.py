"""How the documentation site is built: `make docs`, offline and without a warning."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from evenhand import __version__
from evenhand.cli import app

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
]
myst_enable_extensions = ["dollarmath", "deflist", "colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["images/*.py", "_build", "reference/generated-*"]

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


def _help(*words: str) -> str:
    """What `evenhand WORDS --help` prints."""
    out = io.StringIO()
    app.help_print(words, console=Console(file=out, width=96, color_system=None))
    return out.getvalue().rstrip()


def _write_commands() -> None:
    """The reference of commands, from the command line itself."""
    verbs = [name for name in app if not name.startswith("-")]
    blocks = [f"```text\n{_help()}\n```\n"]
    blocks += [f"## evenhand {verb}\n\n```text\n{_help(verb)}\n```\n" for verb in verbs]
    target = Path(__file__).parent / "reference" / "generated-commands.md"
    target.write_text("\n".join(blocks), encoding="utf-8")


_write_commands()
