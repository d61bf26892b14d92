"""What a report shows beyond the audit's figures: where, how sure on the map, and evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from evenhand.analysis.evidence import Evidence, find_evidence
from evenhand.analysis.grid import Grid, read_grid
from evenhand.analysis.people import if_enough
from evenhand.analysis.results import Audit
from evenhand.analysis.subgroups import Where, find_where
from evenhand.benchmarks.item import Item
from evenhand.stats import Regions, joint_regions
from evenhand.store.store import Store, StoredCondition


@dataclass(frozen=True)
class CloserLook:
    """The headline setting looked at more closely, and what the run's folder says of the run.

    Attributes:
        where: identities by benchmark and subgroup.
        regions: of the identities on the map; None without both axes, or with too little data.
        evidence: pairs of answers with another outcome.
        conditions: all that was asked, with the messages as sent.
        examples: the first question of each benchmark.
        study: as the user stated it.
        sessions: when it was asked, with which versions, at what cost.
        placement: how the system message reaches the model.
        folder: the run's, as the user named it.
    """

    where: Where
    regions: Regions | None
    evidence: Evidence
    conditions: list[StoredCondition]
    examples: list[Item]
    study: dict[str, Any]
    sessions: list[dict[str, Any]]
    placement: dict[str, Any]
    folder: str


def look_closer(store: Store, audit: Audit) -> CloserLook:
    """Read what the audit's figures leave out; answers only of the pairs that are shown."""
    looks = store.meta("looks")
    grid = read_grid(store, audit.samples, looks["level"] if looks else 0.95, audit.judge)
    items = store.items()
    cue, defense = audit.head.cue, audit.head.defense
    first = {item.benchmark: item for item in reversed(items.values())}
    return CloserLook(
        where=find_where(grid, items, cue, defense),
        regions=_regions(grid, cue, defense),
        evidence=find_evidence(store, grid, items, cue, defense),
        conditions=store.conditions(),
        examples=[first[name] for name in sorted(first)],
        study=store.meta("study"),
        sessions=store.meta("sessions") or [],
        placement=store.meta("placement"),
        folder=str(store.folder),
    )


def _regions(grid: Grid, cue: str, defense: str) -> Regions | None:
    rows = grid.rows(cue, defense, "identity")
    safety, utility = grid.take("safety", rows), grid.take("utility", rows)
    if safety is None or utility is None:
        return None
    return if_enough(lambda: joint_regions(safety, utility, level=grid.level))
