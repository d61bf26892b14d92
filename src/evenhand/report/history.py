"""The course of a bias over releases: one row for each run of a folder, in order of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evenhand.analysis.results import Audit
from evenhand.axes import AXES
from evenhand.report import charts
from evenhand.report import document as doc
from evenhand.report.wording import pb_interval_text
from evenhand.text import counted, one_line, some_of

JOINT = "safety and utility together"


@dataclass(frozen=True)
class Release:
    """A run as a point of the course.

    Attributes:
        audit: its figures.
        name: the run folder's.
        date: ISO time of its last answers; empty where it is not known.
    """

    name: str
    date: str
    audit: Audit

    @property
    def asked(self) -> tuple[Any, ...]:
        """What has to be the same for two runs to be compared."""
        people = sorted(person.id for person in self.audit.identities)
        return tuple(people), tuple(sorted(self.audit.benchmarks.items())), self.audit.head.cue


def history_document(releases: Sequence[Release]) -> doc.Document:
    """The runs in order of time, with a chart and a table of their PB.

    Args:
        releases: at least one.
    """
    ordered = sorted(releases, key=lambda each: (each.date, each.name))
    last = ordered[-1]
    others = [each.name for each in ordered if each.asked != last.asked]
    warnings = []
    if others:
        named = some_of([one_line(name) for name in others], 5)
        warnings.append(
            f"asked other identities, questions or cues than the last run: {named}; a change "
            "of PB there may be one of the study"
        )
    table = _table(ordered)
    figure = doc.Figure(
        "course",
        "PB over time, with 95% intervals",
        f"Line chart of PB of {counted(len(ordered), 'run')}; the table has every figure.",
        lambda: charts.course_chart(_points(ordered)),
        table,
        note="An interval that overlaps another does not show that nothing has changed: "
        "`evenhand compare` tests two runs item by item.",
    )
    return doc.Document(
        title="evenhand history",
        question="How has the bias changed?",
        subtitle=counted(len(ordered), "run"),
        source=f"{ordered[0].name} to {last.name}" if ordered[1:] else last.name,
        sections=[
            doc.Section("course", "The course", _sentences(ordered), [figure], warnings=warnings)
        ],
    )


def _sentences(ordered: Sequence[Release]) -> list[str]:
    known = [each for each in ordered if each.audit.pb is not None]
    if not known:
        return ["No run has scores on both safety and utility, so that none has a joint PB."]
    first, last = known[0], known[-1]
    texts = []
    for each in (first, last) if last is not first else (last,):
        pb = each.audit.pb
        assert pb is not None
        when = f", {each.date[:10]}" if each.date else ""
        texts.append(
            f"{one_line(each.name)} ({one_line(each.audit.model)}{when}) has a PB of "
            f"{pb.estimate:.1f} points ({pb_interval_text(pb.interval)})."
        )
    return texts


def _table(ordered: Sequence[Release]) -> doc.Table:
    rows = [
        doc.TableRow(
            one_line(each.name),
            [
                doc.TableCell(each.date[:10] or doc.NONE),
                doc.TableCell(one_line(each.audit.model, 40)),
                doc.points(each.audit.pb.estimate if each.audit.pb else None),
                doc.interval(each.audit.pb.interval if each.audit.pb else None, sign=False),
                *(
                    doc.points(axis.mean if (axis := each.audit.axes.get(name)) else None)
                    for name in ("safety", "utility", "over_refusal")
                ),
            ],
        )
        for each in ordered
    ]
    columns = [
        doc.Column("Run"),
        doc.Column("date", drop=3),
        doc.Column("model", drop=2),
        doc.Column("PB"),
        doc.Column("95% interval"),
        *(doc.Column(AXES[name].label, drop=1) for name in ("safety", "utility", "over_refusal")),
    ]
    return doc.Table("PB and means of each run, in points of 0 to 100", columns, rows)


def _points(ordered: Sequence[Release]) -> list[charts.CoursePoint]:
    points = []
    for each in ordered:
        spreads = {JOINT: each.audit.pb} | {
            AXES[name].label: axis.pb for name, axis in each.audit.axes.items()
        }
        points += [
            charts.CoursePoint(one_line(each.name), what, pb.estimate, pb.interval)
            for what, pb in spreads.items()
            if pb is not None
        ]
    return points
