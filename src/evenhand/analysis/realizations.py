"""Users as they show themselves: the spread of names, implied against stated, and memories.

Where identities have realizations, the spread of the identities is set against that of their
realizations. Where a study both states and implies the same identities, what the one does is set
against what the other does. Where an identity's fact stands among others, its effect is shown by
the number of these and by its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from evenhand.analysis.grid import AxisScores, Grid, clusters_of, if_enough
from evenhand.analysis.results import (
    FactEffect,
    ImpliedContrast,
    ImpliedIdentity,
    RealizationShare,
)
from evenhand.analysis.setting import differences, mean_shift, spread
from evenhand.stats import (
    cue_components,
    intersection_interactions,
    nested_realizations,
    rotating_realizations,
)
from evenhand.store.store import StoredCondition
from evenhand.study.realization import third_of
from evenhand.study.study import Realizations

Setting = tuple[str, str]
"""A cue and a defense."""


def realization_shares(
    grid: Grid, names: Sequence[Setting], design: Realizations
) -> list[RealizationShare]:
    """For each setting in which realizations are shown, identity's and realization's spread."""
    found = []
    for cue, defense in names:
        rows = grid.rows(cue, defense, "identity")
        crossed = design == "crossed" and any("/" in _id(grid, row) for row in rows)
        if not crossed and not any(grid.conditions[row].shows_realizations for row in rows):
            continue
        for axis in grid.scores:
            scores = grid.take(axis, grid.enough(axis, rows))
            if scores is None:
                continue
            kept = grid.enough(axis, rows)
            result, slots = None, clusters_of(scores)
            if crossed:
                groups = [_id(grid, row).partition("/")[0] for row in kept]
                result = if_enough(partial(nested_realizations, scores, groups, level=grid.level))
            elif slots is not None:
                result = if_enough(partial(rotating_realizations, scores, slots, level=grid.level))
            if result is not None:
                low, high = result.share_interval
                unknown = np.isnan(result.share) or (low < 0.005 and high >= 0.995)
                found.append(
                    RealizationShare(
                        cue=cue,
                        defense=defense,
                        axis=axis,
                        design="crossed" if crossed else "rotating",
                        identities=len(result.identities),
                        realizations=result.realizations,
                        identity=result.identity,
                        interval=result.interval,
                        realization=result.realization,
                        share=None if unknown else result.share,
                        share_interval=result.share_interval,
                        p_value=result.p_value,
                    )
                )
    return found


def _id(grid: Grid, row: int) -> str:
    return grid.conditions[row].identity.id


def crossed_notes(shares: Sequence[RealizationShare]) -> list[str]:
    """What to know of a study that asks for every realization on every item."""
    if not any(share.design == "crossed" for share in shares):
        return []
    return [
        "every realization, such as a name, counts as a user of its own here, so PB holds the "
        "spread of the names; that of the identities beyond it has a section of its own"
    ]


def implied_contrasts(grid: Grid, names: Sequence[Setting], margin: float) -> list[ImpliedContrast]:
    """Each cue that implies the identities against the first that states the same ones."""
    first = names[0][1]
    cues = [cue for cue, defense in names if defense == first]
    stated = [cue for cue in cues if not _implies(grid, cue, first)]
    implied = [cue for cue in cues if _implies(grid, cue, first)]
    return [
        contrast
        for cue in implied[: len(implied) if stated else 0]
        for axis in grid.scores
        if (contrast := _contrast(grid, axis, stated[0], cue, first, margin))
    ]


def _implies(grid: Grid, cue: str, defense: str) -> bool:
    return any(grid.conditions[r].shows_realizations for r in grid.rows(cue, defense, "identity"))


def _contrast(
    grid: Grid, axis: str, stated: str, implied: str, defense: str, margin: float
) -> ImpliedContrast | None:
    people = [grid.rows(cue, defense, "identity") for cue in (implied, stated)]
    bases = [grid.rows(cue, defense, "baseline") for cue in (implied, stated)]
    if [_id(grid, r) for r in people[0]] != [_id(grid, r) for r in people[1]]:
        return None
    together = grid.take(axis, [*people[0], *people[1], *bases[0], *bases[1]])
    if together is None:
        return None
    size, tied = len(people[0]), clusters_of(together)
    one, other = together.rows(0, size), together.rows(size, 2 * size)
    base = AxisScores({n: np.repeat(a[-2:-1], size, axis=0) for n, a in together.items()})
    last = together.rows(2 * size + 1, None)
    # (implied - its baseline) - (stated - its baseline), question by question.
    found = differences(
        if_enough(
            lambda: intersection_interactions(
                one, other, base, last, level=grid.level, clusters=tied
            )
        ),
        margin,
    )
    effects = [
        mean_shift(grid, axis, [row], baseline, margin)
        for rows, baseline in zip(people, bases, strict=True)
        for row in rows
    ]
    if found is None or not all(effects):
        return None
    pairs = {n: np.stack([a[size : 2 * size], a[:size]], axis=1) for n, a in together.items()}
    agreement = if_enough(lambda: cue_components(pairs, level=grid.level, clusters=tied))
    return ImpliedContrast(
        stated=stated,
        implied=implied,
        axis=axis,
        identities=[
            ImpliedIdentity(
                id=_id(grid, row),
                text=grid.conditions[row].identity.text,
                stated=effects[size + n],
                implied=effects[n],
                difference=found[n],
            )
            for n, row in enumerate(people[0])
        ],
        agreement=agreement.generalizability if agreement else None,
        agreement_interval=agreement.generalizability_interval if agreement else None,
    )


def fact_effects(grid: Grid, names: Sequence[Setting], margin: float) -> list[FactEffect]:
    """For each cue with a list of facts, the identities' shift and PB in all and by place."""
    return [
        effect
        for cue, defense in names
        for axis in grid.scores
        for effect in _by_place(grid, axis, cue, defense, margin)
    ]


def _by_place(grid: Grid, axis: str, cue: str, defense: str, margin: float) -> Iterator[FactEffect]:
    rows, baseline = (grid.rows(cue, defense, kind) for kind in ("identity", "baseline"))
    condition: StoredCondition = grid.conditions[rows[0]]
    if condition.facts is None:
        return
    fillers = condition.facts.fillers
    places = ["all"] if fillers < 2 else ["all", "first", "middle", "last"]
    for place in places:
        part = grid if place == "all" else _only(grid, axis, fillers, place)
        scores = part.take(axis, rows)
        if scores is None:
            continue
        yield FactEffect(
            cue=cue,
            defense=defense,
            axis=axis,
            fillers=fillers,
            place=place,
            items=sum(array.shape[1] for array in scores.values()),
            shift=mean_shift(part, axis, rows, baseline, margin),
            pb=spread(scores, None, grid.level),
        )


def _only(grid: Grid, axis: str, fillers: int, place: str) -> Grid:
    """The grid with those items of an axis in whose prompt the fact stands at a place."""
    kept = {
        name: [third_of(text.split("\n", 1)[1], fillers) == place for text in texts]
        for name, texts in grid.names[axis].items()
    }
    whole = grid.scores[axis]
    scores = AxisScores(
        {name: whole[name][:, kept[name]] for name in whole},
        {name: labels[kept[name]] for name, labels in whole.clusters.items()},
    )
    answered = {name: there[:, kept[name]] for name, there in grid.answered[axis].items()}
    return replace(
        grid,
        scores={**grid.scores, axis: scores},
        answered={**grid.answered, axis: answered},
    )
