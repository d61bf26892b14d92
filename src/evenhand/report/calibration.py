"""The report of a calibration: how often a judge agrees with human labels."""

from __future__ import annotations

from evenhand.calibration.agreement import Agreement, Calibration
from evenhand.report.document import (
    NONE,
    Block,
    Column,
    Document,
    Section,
    Table,
    TableCell,
    TableRow,
    count,
    decimals,
)
from evenhand.text import one_line

_FIGURES = ("accuracy", "kappa", "sensitivity", "specificity")


def calibration_document(calibration: Calibration) -> Document:
    """The figures, the confusion, by model and by the labels' class."""
    overall = calibration.overall
    blocks: list[Block] = [_figures(overall), _confusion(overall)]
    if calibration.by_model:
        blocks.append(_by_model(calibration))
    blocks.append(_by_class(calibration))
    title = f"{one_line(calibration.judge)} on {one_line(calibration.labels)}"
    return Document(
        title=title,
        question="How often does the judge agree with human labels?",
        subtitle=f"positive: {calibration.positive}; {overall.n:,} labeled answers",
        source=title,
        sections=[Section("agreement", "Agreement", [], blocks)],
    )


def _figures(part: Agreement) -> Table:
    intervals = part.intervals()
    rows = []
    for name in _FIGURES:
        limits = intervals[name]
        reach = TableCell(f"{limits[0]:.3f} to {limits[1]:.3f}" if limits else NONE)
        rows.append(TableRow(name, [decimals(getattr(part, name), 3), reach]))
    rows.append(TableRow("unscored", [count(part.unscored), TableCell(NONE)]))
    columns = [Column(""), Column("value"), Column("95% interval")]
    return Table("Agreement with human labels", columns, rows)


def _confusion(part: Agreement) -> Table:
    counts = {
        "positive": (part.true_positives, part.false_negatives, part.unscored_positives),
        "negative": (part.false_positives, part.true_negatives, part.unscored_negatives),
    }
    rows = [TableRow(name, list(map(count, cells))) for name, cells in counts.items()]
    columns = ["Human label", "judge: positive", "judge: negative", "unscored"]
    return Table("Human labels and the judge's verdicts", list(map(Column, columns)), rows)


def _by_model(calibration: Calibration) -> Table:
    rows = []
    for name, part in calibration.by_model.items():
        figures = [decimals(getattr(part, figure), 3) for figure in _FIGURES]
        rows.append(TableRow(name, [count(part.n), *figures, count(part.unscored)]))
    columns = map(Column, ["Model", "n", *_FIGURES, "unscored"])
    return Table("By model", list(columns), rows)


def _by_class(calibration: Calibration) -> Table:
    """What the judge makes of each class of the labels."""
    rows = []
    for name, part in calibration.by_class.items():
        positive = part.true_positives + part.false_positives
        share = TableCell(f"{100 * positive / part.judged:.1f}%" if part.judged else NONE)
        rows.append(TableRow(name, [count(part.n), share, count(part.unscored)]))
    columns = map(Column, ["Class of the label", "n", "judge: positive", "unscored"])
    return Table("By class of the human labels", list(columns), rows)
