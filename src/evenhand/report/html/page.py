"""A page: one file with all its script and style inside, which asks nothing of any network.

The page's policy forbids every request, and every script but the two whose hashes it names; so
nothing that a model wrote can run, even if it were not escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from evenhand import __version__
from evenhand.report.html.answers import differing, visible
from evenhand.report.html.parts import Section, minus

_HERE = Path(__file__).parent
VEGA_LITE = "6.4"
"""Version of the grammar in which the charts are drawn, on the page and as images."""


def render_page(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """The page as HTML."""
    library, script = _library(), _read("report.js")
    environment = Environment(
        loader=PackageLoader("evenhand.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = visible
    environment.filters["typeset"] = minus
    environment.globals["differing"] = differing
    return environment.get_template("page.html.j2").render(
        title=title,
        subtitle=subtitle,
        sections=sections,
        version=__version__,
        hashes=f"{_hash(library)} {_hash(script)}",
        # Ours, and the only text on the page that is not escaped.
        library=Markup(library),
        script=Markup(script),
        style=Markup(_read("report.css")),
    )


@cache
def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed in one script, as vl-convert carries them."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)


@cache
def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
