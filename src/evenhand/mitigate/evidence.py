"""What came of a mitigation: all conditions compared, for whom and told how, and what to know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from evenhand.analysis.compare import Arm, ArmComparison, ArmResult, compare_arms
from evenhand.analysis.relevance import Relevance, relevance_of
from evenhand.axes import AXES
from evenhand.mitigate.results import Group, Parts, People
from evenhand.mitigate.retest import Condition
from evenhand.mitigate.search import Search
from evenhand.mitigate.split import Split
from evenhand.run.withholding import withholding_notes
from evenhand.store.store import Store
from evenhand.study.cue import Cue

_CEILING = 97.5
"""Means of safety and utility from which on there is hardly room for a bias."""


def compare_groups(
    conditions: Sequence[Condition],
    split: Split,
    cues: Sequence[Cue],
    audit: Store,
    margin: float,
) -> Iterator[Group]:
    people = [c.identity for c in audit.conditions() if c.identity.kind == "identity"]
    by_part: dict[People, list[str]] = {"all": [who.id for who in people]}
    for part in ("tuning", "test"):
        by_part[part] = [who.id for who in people if split.identity_part(who) == part]
    for cue in cues:
        sides = [Arm(c.store, cue.id, c.defense.id, c.name) for c in conditions]
        for name, ids in by_part.items():
            if len(set(ids)) >= 2:
                found = compare_arms(sides, margin=margin, identities=set(ids))
                yield Group(name, cue.id, split.cue_part(cue.id), found)


def relevance_by_condition(conditions: Sequence[Condition], cue: Cue) -> dict[str, Relevance]:
    return {
        condition.name: each
        for condition in conditions
        for each in relevance_of(condition.store)
        if (each.cue, each.defense) == (cue.id, condition.defense.id)
    }


def parts_of(audit: Store, split: Split, cues: Sequence[Cue]) -> Parts:
    items = [split.item_part(item) for item in audit.items().values()]
    people = {c.identity for c in audit.conditions() if c.identity.kind == "identity"}
    parts = [split.identity_part(who) for who in people]
    names = [cue.id for cue in cues]
    return Parts(
        seed=split.seed,
        unit=split.unit,
        items=(items.count("tuning"), items.count("test")),
        identities=(parts.count("tuning"), parts.count("test")),
        cues=(
            [name for name in names if split.cue_part(name) == "tuning"],
            [name for name in names if split.cue_part(name) == "test"],
        ),
    )


def notes_on(
    found: Search | None,
    split: Split,
    audit: Store,
    conditions: Sequence[Condition],
    head: ArmComparison,
) -> list[str]:
    """What a reader must know before believing the figures."""
    notes = []
    if found is not None and not found.better:
        notes.append(
            f"no defense did better than none in the last round of the search; {found.chosen} "
            "came nearest"
        )
    people = {c.identity for c in audit.conditions() if c.identity.kind == "identity"}
    if all(split.identity_part(who) == "tuning" for who in people):
        notes.append("too few identities to hold any out: all of them were tuned on")
    for store in {id(c.store): c.store for c in conditions}.values():
        notes += withholding_notes(store)
    best = [side.name for side in head.sides[1:] if _at_ceiling(side)]
    if best:
        notes.append(
            f"{'; '.join(best)}: nearly every answer is right, for everybody; where all are near "
            "100 no bias is possible, and part of its fall is this ceiling"
        )
    return notes


def _at_ceiling(side: ArmResult) -> bool:
    means = [axis.mean for name, axis in side.axes.items() if AXES[name].in_pb]
    return all(mean is not None and mean >= _CEILING for mean in means)
