"""Recipes for preference pairs: the paper's four, two from the audit itself, and a control.

The four recipes of Vijjini et al. 2025 take general preference data and change whose conversation
it is; `invariance` and `debiasing` (`recipes_audit.py`) need nothing but the audit. Whatever they
read of a run is its tuning part (`TuningPart`), and of preference data what repeats a question of
the test part is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from evenhand.errors import PairsError, UnknownName
from evenhand.mitigate.pairs import Pair
from evenhand.mitigate.recipes_audit import debiasing, invariance
from evenhand.mitigate.split import TuningPart, messages_of
from evenhand.store.store import StoredCondition
from evenhand.study.cue import NO_DEFENSE

SEVERAL = 4
"""Identities per pair of the recipe `all`, unless told otherwise."""

_FROM_AUDIT: dict[str, Callable[[TuningPart, np.random.Generator], list[Pair]]] = {
    "invariance": invariance,
    "debiasing": debiasing,
}
_FROM_DATA = ("as-is", "vanilla", "random", "all")
RECIPES = (*_FROM_AUDIT, *_FROM_DATA)


def needs_data(recipe: str) -> bool:
    """Whether a recipe takes preference data, beside or instead of the audit.

    Raises:
        UnknownName: there is no such recipe.
    """
    if recipe not in RECIPES:
        raise UnknownName("recipe", recipe, RECIPES)
    return recipe in _FROM_DATA


def make_pairs(
    recipe: str,
    part: TuningPart,
    data: Sequence[Pair] = (),
    *,
    seed: int = 0,
    most: int | None = None,
    several: int = SEVERAL,
    shuffled: bool = False,
) -> list[Pair]:
    """The pairs of a recipe, in random order.

    Args:
        recipe: "as-is": the data unchanged. "vanilla": without system messages. "random": each
            pair on behalf of one random identity of the tuning part. "all": on behalf of
            several. "invariance", "debiasing": from the answers of the tuning part.
        part: tuning part of the audit.
        data: preference data for the first four.
        seed: of all that is random here.
        most: the most pairs to give; None for all.
        several: identities per pair of "all".
        shuffled: swap chosen and rejected of a random half: the control, which must not work.

    Raises:
        UnknownName: there is no such recipe.
        PairsError: no pair is left: there are no data, or all answers are alike.
    """
    rng = np.random.default_rng(seed)
    if needs_data(recipe):
        usable = [pair for pair in data if not part.holds_out(pair.question)]
        pairs = _personalized(recipe, usable, part.conditions, rng, most, several)
    else:
        pairs = _FROM_AUDIT[recipe](part, rng)
    if not pairs:
        raise PairsError(f'the recipe "{recipe}" found no pairs; {_why_none(recipe, data)}')
    chosen = [pairs[n] for n in rng.permutation(len(pairs))[:most]]
    return _swapped(chosen, rng) if shuffled else chosen


def _why_none(recipe: str, data: Sequence[Pair]) -> str:
    if recipe in _FROM_AUDIT:
        return (
            "in the tuning part no question is answered rightly for one user, wrongly for another"
        )
    return "all of the data repeats the test part" if data else "it needs preference data"


def _personalized(
    recipe: str,
    data: Sequence[Pair],
    conditions: Sequence[StoredCondition],
    rng: np.random.Generator,
    most: int | None,
    several: int,
) -> list[Pair]:
    if recipe == "as-is":
        return list(data)
    bare = [_without_system(pair) for pair in data]
    if recipe == "vanilla":
        return bare
    told = [c for c in conditions if c.identity.kind == "identity" and c.defense == NO_DEFENSE.id]
    each = 1 if recipe == "random" else min(several, len(told))
    # No more than are needed: data sets are large, and each pair here becomes several.
    kept = rng.permutation(len(bare))[: None if most is None else -(-most // each)]
    return [
        as_asked_by(bare[n], told[k])
        for n in kept
        for k in rng.choice(len(told), size=each, replace=False)
    ]


def _without_system(pair: Pair) -> Pair:
    return replace(pair, messages=tuple(m for m in pair.messages if m["role"] != "system"))


def as_asked_by(pair: Pair, condition: StoredCondition) -> Pair:
    """The pair as a conversation of this user: the cue stands as it did in the audit.

    Earlier turns of the pair's own stand between the cue and the question.
    """
    told = messages_of(condition, pair.question)
    return replace(pair, messages=(*told[:-1], *pair.messages[:-1], told[-1]))


def _swapped(pairs: Sequence[Pair], rng: np.random.Generator) -> list[Pair]:
    swap = rng.permutation(len(pairs)) < len(pairs) // 2
    return [
        replace(pair, chosen=pair.rejected, rejected=pair.chosen) if flip else pair
        for pair, flip in zip(pairs, swap, strict=True)
    ]
