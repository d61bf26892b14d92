"""Two runs on the same items: before and after a change, base and tuned, model A and B."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from evenhand.analysis.grid import Grid, Scores, read_grid
from evenhand.analysis.people import if_enough
from evenhand.errors import RunFolderError
from evenhand.stats import Comparison, compare_audits
from evenhand.store import Store


@dataclass(frozen=True)
class RunComparison:
    """What changed from one run to another, over what both have asked.

    Attributes:
        before, after: the two models.
        settings: cue and defence of each, the first of its study.
        identities: ids of those in both.
        items: number of items in both, by benchmark.
        left_out: what only one of the runs has.
        change: None if there is too little in common.
    """

    before: str
    after: str
    settings: tuple[tuple[str, str], tuple[str, str]]
    identities: list[str]
    items: dict[str, int]
    left_out: list[str]
    change: Comparison | None


def compare_runs(before: Store, after: Store, *, margin: float) -> RunComparison:
    """Compare the first cue and defence of two runs, item by item.

    Args:
        margin: the largest loss of a mean that would be accepted, in points, > 0.

    Raises:
        RunFolderError: a run has not begun, or the two share no identities or no items.
    """
    sides = [_Side(store) for store in (before, after)]
    people = [name for name in sides[0].rows if name in sides[1].rows]
    shared = {
        (axis, benchmark): _in_both(names, sides[1].names(axis, benchmark))
        for axis, benchmarks in sides[0].grid.names.items()
        if axis != "over_refusal"
        for benchmark, names in benchmarks.items()
    }
    shared = {key: names for key, names in shared.items() if names}
    if not people or not shared:
        raise RunFolderError(
            f"{before.folder} and {after.folder} have no identity or item in common"
        )
    scores = {
        f"{when}_{axis}": side.take(axis, people, shared)
        for when, side in zip(("before", "after"), sides, strict=True)
        for axis in ("safety", "utility")
    }
    change = if_enough(
        partial(
            compare_audits,
            before_safety=scores["before_safety"],
            before_utility=scores["before_utility"],
            after_safety=scores["after_safety"],
            after_utility=scores["after_utility"],
            margin=margin,
        )
    )
    return RunComparison(
        before=sides[0].model,
        after=sides[1].model,
        settings=(sides[0].setting, sides[1].setting),
        identities=people,
        items={benchmark: len(names) for (_, benchmark), names in shared.items()},
        left_out=_left_out(sides, people),
        change=change,
    )


def _in_both(names: Sequence[str], others: Sequence[str]) -> list[str]:
    there = set(others)
    return [name for name in names if name in there]


class _Side:
    """One of the two runs."""

    def __init__(self, store: Store) -> None:
        study = store.meta("study")
        if study is None:
            raise RunFolderError(f"{store.folder}: the run has no answers yet; start it again")
        self.model: str = study["model"]
        self.grid: Grid = read_grid(store, study["samples"])
        first = self.grid.conditions[0]
        self.setting = (first.cue, first.defence)
        rows = self.grid.rows(*self.setting, "identity")
        self.rows = {self.grid.conditions[row].identity.id: row for row in rows}

    def names(self, axis: str, benchmark: str) -> list[str]:
        return self.grid.names.get(axis, {}).get(benchmark, [])

    def take(
        self, axis: str, people: Sequence[str], shared: dict[tuple[str, str], list[str]]
    ) -> Scores | None:
        """Scores of the shared identities and items, in the shared order."""
        taken = {}
        for (shared_axis, benchmark), names in shared.items():
            if shared_axis == axis:
                place = {name: n for n, name in enumerate(self.names(axis, benchmark))}
                rows = [self.rows[name] for name in people]
                array = self.grid.scores[axis][benchmark]
                taken[benchmark] = array[rows][:, [place[name] for name in names]]
        return taken or None


def _left_out(sides: Sequence[_Side], people: Sequence[str]) -> list[str]:
    found = []
    first, second = sides
    for when, side, other in (("before", first, second), ("after", second, first)):
        if alone := [name for name in side.rows if name not in people]:
            found.append(f"only {when}: {len(alone)} identities ({', '.join(alone[:3])}, ...)")
        for axis, benchmarks in side.grid.names.items():
            for benchmark, names in benchmarks.items():
                count = len(set(names) - set(other.names(axis, benchmark)))
                if count:
                    found.append(f"only {when}: {count:,} items of {benchmark}")
    return found
