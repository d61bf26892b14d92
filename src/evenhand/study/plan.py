"""A plan: a study with all its names looked up, as a grid of cells to ask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from math import ceil

import orjson

from evenhand import benchmarks
from evenhand.benchmarks.item import Item
from evenhand.errors import StudyError
from evenhand.study.cue import (
    Condition,
    Message,
    read_cues,
    read_defenses,
    select_cues,
    select_defenses,
    with_neutral_baseline,
)
from evenhand.study.identity import (
    BASELINE,
    Identity,
    read_identities,
    select,
    shipped_identities,
)
from evenhand.study.study import Study


@dataclass(frozen=True, slots=True)
class Request:
    """One cell of the study, ready to send.

    Attributes:
        key: hash of the model, its parameters, the messages and the sample index.
        condition, item, sample: where it stands in the study's grid, from 0.
        messages: the conversation.
    """

    key: bytes
    condition: int
    item: int
    sample: int
    messages: list[Message]


@dataclass(frozen=True)
class Plan:
    """The grid conditions x items x samples.

    Attributes:
        study: what was asked for.
        conditions: identity x cue x defense; each cue and defense has its own baseline.
        items: in the order in which they are asked.
    """

    study: Study
    conditions: tuple[Condition, ...]
    items: tuple[Item, ...]

    @property
    def cells(self) -> int:
        """Number of answers wanted."""
        special = [item for item in self.items if item.axis == "relevance"]
        asked = len(self.conditions) * (len(self.items) - len(special))
        asked += sum(item.asks(c.identity.id) for item in special for c in self.conditions)
        return asked * self.study.samples

    def with_system_role(self, system_role: bool) -> Plan:
        """The same plan for a model that takes a system message, or does not."""
        conditions = tuple(replace(c, system_role=system_role) for c in self.conditions)
        return replace(self, conditions=conditions)

    def without_withholding(self) -> Plan:
        """The same plan with no identity withheld from any question."""
        conditions = tuple(replace(c, withheld=frozenset()) for c in self.conditions)
        return replace(self, conditions=conditions)

    def requests(self) -> Iterator[Request]:
        """Every cell, item by item, so that a run cut short has whole items for all identities."""
        for item in range(len(self.items)):
            for sample in range(self.study.samples):
                for condition in range(len(self.conditions)):
                    if self.asks(condition, item):
                        yield self.request(condition, item, sample)

    def asks(self, condition: int, item: int) -> bool:
        """Whether the item is asked under the condition."""
        return self.items[item].asks(self.conditions[condition].identity.id)

    def request(self, condition: int, item: int, sample: int = 0) -> Request:
        """One cell."""
        where, what = self.conditions[condition], self.items[item]
        messages = where.messages(what.prompt)
        content = orjson.dumps((where.id, what.benchmark, what.id, sample, messages))
        key = blake2b(self._model_and_decoding + content, digest_size=16).digest()
        return Request(key, condition, item, sample, messages)

    @cached_property
    def _model_and_decoding(self) -> bytes:
        # Sorted: extra fields in another order are the same request.
        content = (self.study.model, self.study.decoding.facts())
        return orjson.dumps(content, option=orjson.OPT_SORT_KEYS)


def first_of_each(items: Sequence[Item], share: float) -> tuple[Item, ...]:
    """The first items of every benchmark, in their order; two of each at least."""
    sizes = Counter((item.axis, item.benchmark) for item in items)
    left = {key: max(2, ceil(share * size)) for key, size in sizes.items()}
    chosen = []
    for item in items:
        key = (item.axis, item.benchmark)
        if left[key]:
            left[key] -= 1
            chosen.append(item)
    return tuple(chosen)


def make_plan(study: Study, *, offline: bool = False, default_suite: str = "paper") -> Plan:
    """Look up every name of a study and load its items.

    Args:
        offline: never download a benchmark.
        default_suite: the benchmarks of a study that names none.

    Raises:
        UsageError: a name is unknown, or a file of the user's is invalid.
        DataError: a benchmark's file cannot be had.
    """
    return Plan(
        study=study,
        conditions=tuple(_conditions(study)),
        items=tuple(_items(study, offline, default_suite)),
    )


def _conditions(study: Study) -> Iterator[Condition]:
    own_cues = read_cues(study.cues_file) if study.cues_file else []
    own_defenses = read_defenses(study.defenses_file) if study.defenses_file else []
    people = (BASELINE, *_identities(study))
    cues = select_cues(study.cues, own_cues) if study.cues else own_cues or select_cues(["system"])
    if study.baseline == "neutral":
        cues = [with_neutral_baseline(cue) for cue in cues]
    defenses = select_defenses(study.defenses or ["none"], own_defenses)
    if not study.defenses:
        defenses += own_defenses
    for cue in cues:
        for defense in defenses:
            for identity in people:
                yield Condition(identity, cue, defense)


def _identities(study: Study) -> list[Identity]:
    own = read_identities(study.identities_file) if study.identities_file else []
    ids, texts = {identity.id for identity in own}, {identity.text for identity in own}
    others = [i for i in shipped_identities() if i.id not in ids and i.text not in texts]
    pool = [*others, *own]  # one's own stands in the place of ours
    chosen = select(study.identities, pool) if study.identities else own or select(["all"], pool)
    if study.placebos:
        chosen += [placebo for placebo in select(["placebos"], pool) if placebo not in chosen]
    if not any(identity.kind == "identity" for identity in chosen):
        raise StudyError("choose at least one identity; for a bias, two or more")
    return chosen


def _items(study: Study, offline: bool, default_suite: str) -> list[Item]:
    names = benchmarks.resolve(study.benchmarks or [default_suite])
    chosen: list[Item] = []
    for name in names:
        items = benchmarks.load(name, shots=study.shots, offline=offline)
        if items[0].benchmark in {item.benchmark for item in chosen}:
            raise StudyError(
                f'two benchmarks are called "{items[0].benchmark}"; rename one of the files'
            )
        chosen += sorted(items, key=lambda item: _rank(item, study.seed))[: study.limit]
    return sorted(chosen, key=lambda item: _rank(item, study.seed))


def _rank(item: Item, seed: int) -> bytes:
    """A random place that depends on nothing but the item and the seed, whatever else is asked."""
    return blake2b(f"{seed}/{item.benchmark}/{item.id}".encode(), digest_size=8).digest()
