"""Whom the model takes the user for, by cue, identity and realization."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from evenhand.benchmarks.item import Item
from evenhand.stats import TooFewScores, item_mean
from evenhand.store.store import Store, StoredCondition
from evenhand.study.recognition import CANNOT_TELL, group_of


@dataclass(frozen=True)
class Recognition:
    """Whom the model takes one user for under a cue and a defense.

    Attributes:
        cue: id of the cue.
        defense: id of the defense.
        identity, text: who it is; the baseline is nobody of whom anything could be told.
        answers: number of answers.
        taken_for: text of an option -> number of answers that name it.
        unclear: answers that name no option.
        recognized: percent of the answers that name the right option; for the baseline the one
            that says so.
        interval: of it at 95%, over questions (each shows one realization); None with one alone.
        realizations: name of a realization -> percent of its answers that recognize the identity.
    """

    cue: str
    defense: str
    identity: str
    text: str
    answers: int
    taken_for: dict[str, int]
    unclear: int
    recognized: float
    interval: tuple[float, float] | None
    realizations: dict[str, float]


def recognitions(store: Store) -> list[Recognition]:
    """All users of whom it was asked, in the order of the plan; empty where it was not."""
    items = {n: item for n, item in store.items().items() if item.axis == "recognition"}
    if not items:
        return []
    conditions = [c for c in store.conditions() if c.identity.kind != "placebo"]
    samples = store.record().study.samples
    cells = [
        (c.id, n, s)
        for c in conditions
        for n, item in items.items()
        if item.asks(c.identity.id)
        for s in range(samples)
    ]
    answers = store.answers(cells)
    by_condition: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for (condition, item, _), (text, _) in answers.items():
        by_condition[condition].append((item, text))
    return [_recognition(c, items, by_condition[c.id]) for c in conditions if by_condition[c.id]]


def _recognition(
    condition: StoredCondition, items: Mapping[int, Item], answers: Sequence[tuple[int, str]]
) -> Recognition:
    who = condition.identity
    right = CANNOT_TELL if who.kind == "baseline" else group_of(who)[1]
    named = [named_option(text, items[item]) for item, text in answers]
    hits = [100.0 * (option == right) for option in named]
    shown: dict[str, list[float]] = defaultdict(list)
    for (item, _), hit in zip(answers, hits, strict=True):
        realization = condition.realization(items[item].slot)
        if realization is not None:
            shown[realization].append(hit)
    try:
        interval = item_mean(hits, [item for item, _ in answers]).interval
    except TooFewScores:
        interval = None
    return Recognition(
        cue=condition.cue,
        defense=condition.defense,
        identity=who.id,
        text=who.text,
        answers=len(answers),
        taken_for=dict(Counter(option for option in named if option is not None).most_common()),
        unclear=named.count(None),
        recognized=sum(hits) / len(hits),
        interval=interval and (max(interval[0], 0.0), interval[1]),
        realizations={name: sum(own) / len(own) for name, own in shown.items()},
    )


def named_option(text: str, item: Item) -> str | None:
    """The option that an answer names; None where it names none or several."""
    from evenhand.scorers import choice  # its patterns take long to load, and few runs need them

    for letter, option in zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", item.choices, strict=False):
        if choice.score(text, replace(item, scorer="choice", answer=letter), False) == 1:
            return option
    return None
