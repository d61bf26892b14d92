"""The figures and tables of a paper, of one or more runs: vector figures at print size, LaTeX.

Charts are drawn as on the page and scaled so that their text is 8 points high in print: 240 points
wide for a column, 480 for a page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import vl_convert

from evenhand.analysis.compare import ArmComparison
from evenhand.analysis.results import Audit
from evenhand.axes import AVERAGED_AXES, PB_AXES
from evenhand.files import write_file
from evenhand.report import charts, tables
from evenhand.report import document as doc
from evenhand.report.comparison import comparison_sections
from evenhand.report.html import VEGA_LITE
from evenhand.report.latex import plain, to_latex
from evenhand.report.where import interaction_figures, interaction_table
from evenhand.stats import Regions

PrintWidth = Literal["column", "page"]
"""How wide a figure is in print: 240 or 480 points."""

_POINTS: dict[PrintWidth, int] = {"column": 240, "page": 480}
_SCALE = 8 / 12
"""Points in print for each pixel: charts have text of 12 pixels."""


@dataclass(frozen=True)
class PaperRun:
    """A run in a paper.

    Attributes:
        audit: its figures.
        name: what it is called there: the folder's name.
        regions: joint regions of its identities; None where there are none.
    """

    name: str
    audit: Audit
    regions: Regions | None


def write_paper(
    runs: Sequence[PaperRun],
    comparison: ArmComparison | None,
    folder: Path,
    width: PrintWidth = "column",
) -> list[Path]:
    """Write every figure as NAME.pdf and NAME.svg, all tables into tables.tex, and figures.tex.

    Args:
        comparison: of the first run with the others; None where there is one run alone, or where
            they have nothing in common.

    Raises:
        StoreError: a file cannot be written.
    """
    figures = list(_figures(runs, comparison))
    paths = []
    for figure in figures:
        for kind, content in _drawn(figure, width).items():
            path = folder / f"{figure.name}.{kind}"
            write_file(path, content)
            paths.append(path)
    document = _document(runs, comparison)
    write_file(folder / "tables.tex", to_latex(document))
    write_file(folder / "figures.tex", _figures_tex(figures, document.source))
    return [*paths, folder / "tables.tex", folder / "figures.tex"]


def _figures(runs: Sequence[PaperRun], comparison: ArmComparison | None) -> Iterator[doc.Figure]:
    spreads = {run.name: pb for run in runs if (pb := run.audit.head.pb) is not None}
    if spreads:
        yield tables.bias_figure("pb-by-model", "PB by model", spreads, _pb_table(runs), "")
    for run in runs:
        head, name = run.audit.head, _slug(run.name)
        if set(PB_AXES) <= set(head.axes) and head.identities:
            yield doc.Figure(
                f"trade-off-{name}",
                f"Safety and utility by identity: {run.name}",
                f"Mean safety and utility of {len(head.identities)} identities of {run.name}.",
                partial(charts.trade_off_map, head, run.regions),
                zoom=True,
            )
        for figure in interaction_figures(head.interactions):
            yield doc.Figure(
                f"intersections-{name}-{figure.name.removeprefix('beyond-')}",
                f"{figure.title}: {run.name}",
                figure.alt,
                figure.chart,
            )
    if comparison is not None:
        for section in comparison_sections(comparison):
            for figure in doc.figures_of(section.blocks):
                if figure.name.startswith("arrows-") or figure.name.endswith("-changes"):
                    yield figure


def _slug(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "run"


def _pb_table(runs: Sequence[PaperRun]) -> doc.Table:
    """PB of every run, each with its placebos' below it, and the means of its axes."""
    axes = [axis for axis in AVERAGED_AXES if any(axis in run.audit.axes for run in runs)]
    rows = []
    for run in runs:
        head = run.audit.head
        means = [
            doc.points(value)
            for axis in axes
            for value in (
                (head.axes[axis].mean, head.axes[axis].baseline)
                if axis in head.axes
                else (None, None)
            )
        ]
        rows.append((run.name, head.pb, means))
        if head.placebo_pb is not None:
            placebo = f"{run.name}, placebos"
            rows.append((placebo, head.placebo_pb, [doc.TableCell(doc.NONE)] * len(means)))
    caption = "Personalization bias by model, in points"
    return tables.pb_table(caption, "Model", rows, tables.mean_columns(axes))


def _document(runs: Sequence[PaperRun], comparison: ArmComparison | None) -> doc.Document:
    blocks: list[doc.Block] = [_pb_table(runs)]
    for run in runs:
        head = run.audit.head
        people = tables.people_table(
            tables.most_different(head.identities), list(head.axes), most=len(head.identities)
        )
        blocks.append(_of_run(people, run))
        if any(each.axes for each in head.interactions):
            blocks.append(_of_run(interaction_table(head.interactions), run))
    if comparison is not None:
        answer = comparison_sections(comparison)[0]
        blocks += [block for block in answer.blocks if isinstance(block, doc.Table)]
    first = runs[0].audit
    sizes = ", ".join(f"{name} {n:,}" for name, n in first.benchmarks.items())
    source = f"{len(first.head.identities)} identities; {sizes}"
    names = ", ".join(run.name for run in runs)
    section = doc.Section("paper", "Tables", [], blocks)
    return doc.Document(f"tables of {names}", "", "", source, [section])


def _of_run(table: doc.Table, run: PaperRun) -> doc.Table:
    return doc.Table(
        f"{run.name}: {table.caption[:1].lower()}{table.caption[1:]}",
        table.columns,
        table.rows,
        strong=table.strong,
    )


def _drawn(figure: doc.Figure, width: PrintWidth) -> Mapping[str, bytes]:
    """The figure as PDF and SVG, its text 8 points high."""
    chart: dict[str, Any] = figure.chart().to_dict()
    if figure.zoom and isinstance(chart.get("height"), int):  # a map is no taller than wide
        chart["height"] = min(chart["height"], round(_POINTS[width] / _SCALE))
    if chart.get("width") == "container":
        chart["width"] = round(_POINTS[width] / _SCALE)
        chart["autosize"] = {"type": "fit-x", "contains": "padding"}
    svg = vl_convert.vegalite_to_svg(chart, vl_version=VEGA_LITE)
    # A PDF has a point for each pixel of the drawing.
    pdf = vl_convert.svg_to_pdf(_print_size(svg, unit=""))
    return {"pdf": pdf, "svg": _print_size(svg, unit="pt").encode()}


def _print_size(svg: str, unit: str) -> str:
    """The drawing in its size in print, in points; its view box stays, and scales all in it."""

    def points(match: re.Match[str]) -> str:
        return f'{match[1]}="{float(match[2]) * _SCALE:.2f}{unit}"'

    head, rest = svg.split(">", 1)
    return re.sub(r'\b(width|height)="([\d.]+)"', points, head) + ">" + rest


def _figures_tex(figures: Sequence[doc.Figure], source: str) -> str:
    """LaTeX that includes every figure, with a caption in words."""
    blocks = [r"% needs \usepackage{graphicx}"]
    for figure in figures:
        blocks.append(
            "\\begin{figure}\n\\centering\n"
            f"\\includegraphics{{{figure.name}.pdf}}\n"
            f"\\caption{{{plain(figure.title)}. {plain(figure.alt)} {plain(source)}.}}\n"
            f"\\label{{fig:evenhand-{figure.name}}}\n\\end{{figure}}\n"
        )
    return "\n".join(blocks)
