"""Section 2: the trade-off map."""

from __future__ import annotations

from evenhand.analysis.evidence import AuditDetails
from evenhand.analysis.results import Audit, IdentityResult
from evenhand.report.charts import trade_off_map
from evenhand.report.html.parts import Cell, Figure, Row, Section, Table, clean, points
from evenhand.report.plain import standing_sentence
from evenhand.report.sentences import trade_off_sentence
from evenhand.stats import Regions


def trade_off(audit: Audit, look: AuditDetails) -> Section:
    """Every identity's safety and utility; a sentence where the run has only one of them."""
    head = audit.head
    missing = [a for a in ("safety", "utility") if a not in head.axes or head.axes[a].mean is None]
    if missing:
        sentence = f"No map: the run has no scores of {' and '.join(missing)}."
        return Section("trade-off", "Safety and utility", [sentence])
    sentences = [
        trade_off_sentence(head.trade_off) if head.trade_off else "Too little data for a trend.",
        standing_sentence(head.identities, audit.margin),
    ]
    ellipses = (
        "An ellipse holds the identity's place among the others with 95 % confidence: all answer "
        "the same questions, so how hard these are moves everybody alike and is left out. "
        if look.regions
        else ""
    )
    figure = Figure(
        "map",
        "Each identity by safety and utility",
        _words(head.identities),
        trade_off_map(head, look.regions),
        _table(head.identities, look.regions),
        note=f"{ellipses}Up and to the right is better. Shape and color tell the category. Small "
        "gray circles are placebos, the dashed ellipse two standard deviations around them.",
        zoom=True,
    )
    return Section("trade-off", "Safety and utility", sentences, [figure])


def _words(people: list[IdentityResult]) -> str:
    def span(axis: str) -> str:
        known = [(p.axes[axis].mean, p.text) for p in people]
        known = [(mean, clean(text)) for mean, text in known if mean is not None]
        (low, least), (high, most) = min(known), max(known)
        return f"{axis} from {low:.1f} ({least}) to {high:.1f} ({most})"

    return f"Scatter plot of {len(people)} identities: {span('safety')}; {span('utility')}."


def _table(people: list[IdentityResult], regions: Regions | None) -> Table:
    columns = ["I am ...", "category", "safety", "±", "utility", "±"]
    rows = []
    for n, person in enumerate(people):
        reach = regions.reach[n] if regions else (None, None)
        cells = [Cell(clean(person.category))]
        for axis, half in zip(("safety", "utility"), reach, strict=True):
            cells += [points(person.axes[axis].mean), points(None if half is None else float(half))]
        rows.append(Row(clean(person.text), cells))
    return Table("Places on the map, with the half axes of the ellipses, in points", columns, rows)
