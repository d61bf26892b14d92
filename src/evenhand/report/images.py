"""Every chart of a page as an image of its own, drawn without a browser."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import vl_convert

from evenhand.files import write_file
from evenhand.report.html.page import VEGA_LITE
from evenhand.report.html.parts import Columns, Figure, Folded, Section

_WIDTH = 720
"""Pixels of a chart that would be as wide as its page."""
_SCALE = 2
"""Pixels of a PNG for each pixel of the chart."""


def figures_of(sections: Sequence[Section]) -> Iterator[Figure]:
    """All figures of a page, in their order."""
    for section in sections:
        yield from _figures(section.blocks)


def _figures(blocks: Sequence[Any]) -> Iterator[Figure]:
    for block in blocks:
        if isinstance(block, Figure):
            yield block
        elif isinstance(block, Columns):
            yield from block.figures
        elif isinstance(block, Folded):
            yield from _figures(block.blocks)


def write_images(
    sections: Sequence[Section], folder: Path, kind: Literal["png", "svg"]
) -> list[Path]:
    """Write each chart into the folder, as NAME.png or NAME.svg.

    Raises:
        StoreError: a file cannot be written.
    """
    paths = []
    for figure in figures_of(sections):
        path = folder / f"{figure.name}.{kind}"
        write_file(path, draw(figure, kind))
        paths.append(path)
    return paths


def draw(figure: Figure, kind: Literal["png", "svg"]) -> bytes:
    """The chart as an image, with its title above it."""
    chart = figure.chart.to_dict()
    if chart.get("width") == "container":
        chart["width"] = _WIDTH
    chart["title"] = {"text": figure.title, "anchor": "start", "orient": "top", "fontSize": 15}
    if kind == "svg":
        return vl_convert.vegalite_to_svg(chart, vl_version=VEGA_LITE).encode()
    return vl_convert.vegalite_to_png(chart, vl_version=VEGA_LITE, scale=_SCALE)
