"""Each identity: differences with all that says how sure they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from evenhand.analysis.grid import Grid, Scores, mean_of
from evenhand.analysis.results import Difference, IdentityAxis, IdentityResult, Interaction
from evenhand.stats import (
    Differences,
    TooFewScores,
    classify,
    differences_to_baseline,
    differences_to_mean,
    equivalence_test,
    intersection_interactions,
    missingness,
    rank_identities,
)

Result = TypeVar("Result")


def if_enough(estimate: Callable[[], Result]) -> Result | None:
    """The estimate; None where the scores so far are too few for it."""
    try:
        return estimate()
    except TooFewScores:
        return None


def differences(found: Differences | None, margin: float) -> list[Difference] | None:
    """One `Difference` for each row of the array result."""
    if found is None:
        return None
    equivalence = equivalence_test(found, margin).p_holm
    return [
        Difference(
            estimate=float(found.difference[n]),
            interval=_pair(found.interval[n]),
            simultaneous=_pair(found.simultaneous[n]),
            p_value=float(found.p_value[n]),
            p_holm=float(found.p_holm[n]),
            equivalence_p=float(equivalence[n]),
        )
        for n in range(len(found.difference))
    ]


def _pair(values: Sequence[float]) -> tuple[float, float]:
    return (float(values[0]), float(values[1]))


def identity_axes(
    grid: Grid, axis: str, rows: Sequence[int], baseline: Sequence[int], margin: float
) -> list[IdentityAxis]:
    """One axis for each of some conditions that belong together."""
    found = [IdentityAxis(mean_of(grid.take(axis, [row]))) for row in rows]
    people = grid.take(axis, rows)
    if people is None:
        return found
    level = grid.level
    to_baseline = None
    if list(rows) != list(baseline):
        to_baseline = differences(baseline_differences(grid, axis, rows, baseline, level), margin)
    to_mean = differences(if_enough(lambda: differences_to_mean(people, level=level)), margin)
    ranking = if_enough(lambda: rank_identities(people, level=level))
    asked = grid.take(axis, rows, unscored=True) or {}
    missing = if_enough(lambda: missingness(asked))
    for n, plain in enumerate(found):
        found[n] = replace(
            plain,
            bounds=_pair(missing.mean_bounds[n]) if missing else None,
            to_baseline=to_baseline[n] if to_baseline else None,
            to_mean=to_mean[n] if to_mean else None,
            shrunken=float(ranking.shrunken[n]) if ranking else None,
            rank=float(ranking.rank[n]) if ranking else None,
            rank_interval=_pair(ranking.rank_interval[n]) if ranking else None,
        )
    return found


def baseline_differences(
    grid: Grid, axis: str, rows: Sequence[int], baseline: Sequence[int], level: float
) -> Differences | None:
    """Differences of some conditions to the baseline, on the items that any of them has."""
    together = grid.take(axis, [*rows, *baseline])
    if together is None or not rows:
        return None
    people = {name: array[:-1] for name, array in together.items()}
    base = {name: array[-1:] for name, array in together.items()}
    return if_enough(lambda: differences_to_baseline(people, base, level=level))


def verdicts(
    grid: Grid, rows: Sequence[int], baseline: Sequence[int], margin: float
) -> tuple[str, ...] | None:
    """What becomes of each identity, at the grid's level over both axes together."""
    level = (1 + grid.level) / 2
    safety = baseline_differences(grid, "safety", rows, baseline, level)
    utility = baseline_differences(grid, "utility", rows, baseline, level)
    if safety is None or utility is None:
        return None
    return classify(safety, utility, margin=margin)


def identity_results(
    grid: Grid,
    rows: Sequence[int],
    baseline: Sequence[int],
    margin: float,
    counts: dict[int, dict[str, Any]],
) -> list[IdentityResult]:
    """Everything about each of some conditions that belong together."""
    axes = {axis: identity_axes(grid, axis, rows, baseline, margin) for axis in grid.scores}
    found = verdicts(grid, rows, baseline, margin) if rows and rows != baseline else None
    results = []
    for n, row in enumerate(rows):
        condition = grid.conditions[row]
        results.append(
            IdentityResult(
                id=condition.identity.id,
                text=condition.identity.text,
                category=condition.identity.category,
                axes={axis: values[n] for axis, values in axes.items()},
                verdict=found[n] if found else None,
                **counts[condition.id],
            )
        )
    return results


def interactions(
    grid: Grid, rows: Sequence[int], baseline: Sequence[int], margin: float
) -> list[Interaction]:
    """Intersections of two identities of which each was asked alone, too."""
    place = {grid.conditions[row].identity.id: row for row in rows}
    pairs = [(name, *name.split("+")) for name in place if name.count("+") == 1]
    asked = [(place[n], place[a], place[b]) for n, a, b in pairs if a in place and b in place]
    if not asked:
        return []
    by_axis = {
        axis: differences(_interaction(grid, axis, asked, baseline), margin) for axis in grid.scores
    }
    return [
        Interaction(
            id=grid.conditions[both].identity.id,
            text=grid.conditions[both].identity.text,
            axes={axis: values[n] for axis, values in by_axis.items() if values},
        )
        for n, (both, _, _) in enumerate(asked)
    ]


def _interaction(
    grid: Grid, axis: str, asked: Sequence[tuple[int, int, int]], baseline: Sequence[int]
) -> Differences | None:
    parts = [list(column) for column in zip(*asked, strict=True)]
    together = grid.take(axis, [*parts[0], *parts[1], *parts[2], *baseline])
    if together is None:
        return None
    size = len(asked)

    def part(start: int, stop: int) -> Scores:
        return {name: array[start:stop] for name, array in together.items()}

    both, first, second = (part(k * size, (k + 1) * size) for k in range(3))
    base = part(3 * size, 3 * size + 1)
    return if_enough(lambda: intersection_interactions(both, first, second, base, level=grid.level))
