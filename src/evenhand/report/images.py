"""Every chart of a document as an image of its own, drawn without a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import vl_convert

from evenhand.files import write_file
from evenhand.report.document import Document, Figure
from evenhand.report.html import VEGA_LITE
from evenhand.text import one_line

_WIDTH = 720
"""Pixels of a chart that would be as wide as its page."""
_SCALE = 2
"""Pixels of a PNG for each pixel of the chart."""


def write_images(document: Document, folder: Path, kind: Literal["png", "svg"]) -> list[Path]:
    """Write each chart into the folder, as NAME.png or NAME.svg.

    Raises:
        StoreError: a file cannot be written.
    """
    paths = []
    for figure in document.figures():
        path = folder / f"{figure.name}.{kind}"
        write_file(path, draw(figure, kind))
        paths.append(path)
    return paths


def draw(figure: Figure, kind: Literal["png", "svg"]) -> bytes:
    """The chart as an image, with its title above it."""
    chart = figure.chart().to_dict()
    if chart.get("width") == "container":
        chart["width"] = _WIDTH
    title = one_line(figure.title, 200)
    chart["title"] = {"text": title, "anchor": "start", "orient": "top", "fontSize": 15}
    if kind == "svg":
        return vl_convert.vegalite_to_svg(chart, vl_version=VEGA_LITE).encode()
    return vl_convert.vegalite_to_png(chart, vl_version=VEGA_LITE, scale=_SCALE)
