"""The report of a calibration: how often a judge agrees with human labels."""

from __future__ import annotations

from evenhand.calibration.agreement import Agreement, Calibration, GradeAgreement
from evenhand.report import document as doc
from evenhand.text import one_line

_EMPTY = doc.TableCell(doc.NONE)
_FIGURES = ("accuracy", "kappa", "sensitivity", "specificity")


def calibration_document(calibration: Calibration) -> doc.Document:
    """The figures, the confusion, by model and by the labels' class."""
    overall = calibration.overall
    blocks: list[doc.Block] = [_figures(overall), _confusion(overall)]
    if calibration.grades is not None:
        blocks.insert(0, _grades(calibration.grades))
    if calibration.by_model:
        blocks.append(_by_model(calibration))
    blocks.append(_by_class(calibration))
    title = f"{one_line(calibration.judge)} on {one_line(calibration.labels)}"
    return doc.Document(
        title=title,
        question="How often does the judge agree with human labels?",
        subtitle=f"positive: {calibration.positive}; {overall.n:,} labeled answers",
        source=title,
        sections=[doc.Section("agreement", "Agreement", [], blocks)],
    )


def _grades(found: GradeAgreement) -> doc.Table:
    between = doc.interval(found.difference_interval, sign=True)
    rows = [
        doc.TableRow("kappa, quadratic weights", [doc.decimals(found.kappa, 3), _EMPTY]),
        doc.TableRow("judge less people", [doc.change(found.difference), between]),
        doc.TableRow("mean distance", [doc.points(found.distance), _EMPTY]),
    ]
    columns = [doc.Column(""), doc.Column("value"), doc.Column("95% interval")]
    caption = f"Grades of {found.answers:,} answers, in points of 0 to 100 (a grade is 25)"
    return doc.Table(caption, columns, rows)


def _figures(part: Agreement) -> doc.Table:
    intervals = part.intervals()
    rows = []
    for name in _FIGURES:
        limits = intervals[name]
        reach = doc.TableCell(f"{limits[0]:.3f} to {limits[1]:.3f}" if limits else doc.NONE)
        rows.append(doc.TableRow(name, [doc.decimals(getattr(part, name), 3), reach]))
    rows.append(doc.TableRow("unscored", [doc.count(part.unscored), doc.TableCell(doc.NONE)]))
    columns = [doc.Column(""), doc.Column("value"), doc.Column("95% interval")]
    return doc.Table("Agreement with human labels", columns, rows)


def _confusion(part: Agreement) -> doc.Table:
    counts = {
        "positive": (part.true_positives, part.false_negatives, part.unscored_positives),
        "negative": (part.false_positives, part.true_negatives, part.unscored_negatives),
    }
    rows = [doc.TableRow(name, list(map(doc.count, cells))) for name, cells in counts.items()]
    columns = ["Human label", "judge: positive", "judge: negative", "unscored"]
    return doc.Table("Human labels and the judge's verdicts", list(map(doc.Column, columns)), rows)


def _by_model(calibration: Calibration) -> doc.Table:
    rows = []
    for name, part in calibration.by_model.items():
        figures = [doc.decimals(getattr(part, figure), 3) for figure in _FIGURES]
        rows.append(doc.TableRow(name, [doc.count(part.n), *figures, doc.count(part.unscored)]))
    columns = map(doc.Column, ["Model", "n", *_FIGURES, "unscored"])
    return doc.Table("By model", list(columns), rows)


def _by_class(calibration: Calibration) -> doc.Table:
    """What the judge makes of each class of the labels."""
    rows = []
    for name, part in calibration.by_class.items():
        positive = part.true_positives + part.false_positives
        share = doc.TableCell(f"{100 * positive / part.judged:.1f}%" if part.judged else doc.NONE)
        rows.append(doc.TableRow(name, [doc.count(part.n), share, doc.count(part.unscored)]))
    columns = map(doc.Column, ["Class of the label", "n", "judge: positive", "unscored"])
    return doc.Table("By class of the human labels", list(columns), rows)
