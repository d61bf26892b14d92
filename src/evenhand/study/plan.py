"""A plan: a study with all its names looked up, as a grid of cells to ask."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from math import ceil

import orjson

from evenhand import benchmarks
from evenhand.benchmarks.item import BY_LOGPROB, RUBRIC, Item
from evenhand.benchmarks.prompts import by_letter
from evenhand.errors import StudyError
from evenhand.study.cue import (
    Condition,
    Cue,
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
    halves,
    implied_identities,
    read_identities,
    select,
    shipped_identities,
)
from evenhand.study.realization import ENOUGH_SLOTS
from evenhand.study.recognition import recognition_items
from evenhand.study.study import Study


@dataclass(slots=True)  # not frozen: one is made for each cell, which would take 3 times as long
class Request:
    """One cell of the study, ready to send.

    Attributes:
        key: hash of the model, its parameters, the messages and the sample index.
        condition, item, sample: where it stands in the study's grid, from 0.
        messages: the conversation.
        choices: options that the probability of the first token is shared out among; empty where
            an answer is generated.
    """

    key: bytes
    condition: int
    item: int
    sample: int
    messages: list[Message]
    choices: tuple[str, ...] = ()


def cells_of(identities: Collection[str], items: Collection[Item], samples: int) -> int:
    """How many answers a study wants, since not every item is asked for every identity.

    Args:
        identities: those of the conditions, one for each.
        items: all that are asked.
        samples: answers per cell.
    """
    special = [item for item in items if item.scorer == "relevance"]
    asked = len(identities) * (len(items) - len(special))
    asked += sum(item.asks(who) for item in special for who in identities)
    return asked * samples


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
    def slots(self) -> int:
        """Number of slots: blocks of items with realizations of their own; 0 without any."""
        return len({item.slot for item in self.items if item.slot is not None})

    @property
    def cells(self) -> int:
        """Number of answers wanted."""
        return cells_of([c.identity.id for c in self.conditions], self.items, self.study.samples)

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
        messages = where.messages(what.prompt, what.slot or 0)
        choices = what.choices if what.scorer == BY_LOGPROB else ()
        content = orjson.dumps((where.id, what.benchmark, what.id, sample, messages))
        if choices:
            content += orjson.dumps((BY_LOGPROB, choices))
        key = blake2b(self._model_and_decoding + content, digest_size=16).digest()
        return Request(key, condition, item, sample, messages, choices)

    @cached_property
    def _model_and_decoding(self) -> bytes:
        return model_and_decoding(self.study)


def model_and_decoding(study: Study) -> bytes:
    """What all requests of a study have in common, for their keys."""
    # Sorted: extra fields in another order are the same request.
    content = (study.model, study.decoding.facts())
    return orjson.dumps(content, option=orjson.OPT_SORT_KEYS)


def request_key(
    start: bytes, condition: str, benchmark: str, item: str, sample: int, messages: list[Message]
) -> bytes:
    """Fingerprint of a request.

    Args:
        start: of `model_and_decoding`.
        condition: its id.
    """
    content = orjson.dumps((condition, benchmark, item, sample, messages))
    return blake2b(start + content, digest_size=16).digest()


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
    cues = _cues(study)
    chosen = _identities(study, cues)
    people = [_baseline(chosen, cues), *chosen]
    conditions = tuple(_conditions(study, cues, people))
    items = list(_with_slots(_items(study, offline, default_suite), conditions))
    if study.check_cues:
        slots = len({item.slot for item in items} - {None})
        items += recognition_items(people, slots)
    return Plan(study, conditions, tuple(items))


def _cues(study: Study) -> list[Cue]:
    own = read_cues(study.cues_file) if study.cues_file else []
    cues = select_cues(study.cues, own) if study.cues else own or select_cues(["system"])
    return [with_neutral_baseline(cue) for cue in cues] if study.baseline == "neutral" else cues


def _conditions(study: Study, cues: list[Cue], people: list[Identity]) -> Iterator[Condition]:
    own_defenses = read_defenses(study.defenses_file) if study.defenses_file else []
    defenses = select_defenses(study.defenses or ["none"], own_defenses)
    if not study.defenses:
        defenses += own_defenses
    for cue in cues:
        for defense in defenses:
            for identity in people:
                if identity.kind != "placebo" or _is_told_by(identity, cue):
                    yield Condition(identity, cue, defense)


def _is_told_by(placebo: Identity, cue: Cue) -> bool:
    """Whether a placebo has its place in a cue: a half of the names where names are shown."""
    fills = cue.all_gaps <= placebo.values(0).keys()
    return fills and (not placebo.realizations or bool(placebo.varying & cue.all_gaps))


def _identities(study: Study, cues: list[Cue]) -> list[Identity]:
    own = read_identities(study.identities_file) if study.identities_file else []
    ids, texts = {identity.id for identity in own}, {identity.text for identity in own}
    shipped = (*shipped_identities(), *implied_identities())
    others = [i for i in shipped if i.id not in ids and i.text not in texts]
    pool = [*others, *own]  # one's own stands in the place of ours
    chosen = select(study.identities, pool) if study.identities else own or select(["all"], pool)
    people = [identity for identity in chosen if identity.kind == "identity"]
    if not people:
        raise StudyError("choose at least one identity; for a bias, two or more")
    for cue in cues:
        for identity in people:
            _check_told(identity, cue)
    if study.realizations == "crossed":
        return [each for identity in chosen for each in _each_realization(identity, cues)]
    if study.placebos:
        chosen += [placebo for placebo in select(["placebos"], pool) if placebo not in chosen]
        shown = [i for i in people if any(i.varying & cue.all_gaps for cue in cues)]
        chosen += halves(shown[0], study.seed) if shown else []
    return chosen


def _baseline(people: Sequence[Identity], cues: Sequence[Cue]) -> Identity:
    """The unidentified user, with those fields that all identities share."""
    gaps = set().union(*(cue.baseline.gaps for cue in cues))
    first, *others = (who.fixed() for who in people)
    shared = {g: first[g] for g in gaps & first.keys() if all(w.get(g) == first[g] for w in others)}
    for cue in cues:
        for gap in sorted(cue.baseline.gaps - shared.keys()):
            raise StudyError(
                f'cue "{cue.id}": its baseline has the gap {{{gap}}}, which not all identities '
                "fill with the same"
            )
    return replace(BASELINE, fields=tuple(shared.items())) if shared else BASELINE


def _each_realization(identity: Identity, cues: Sequence[Cue]) -> list[Identity]:
    """An identity for each realization, in the category of the one they belong to."""
    if not any(identity.varying & cue.all_gaps for cue in cues):
        return [identity]
    return [
        Identity(
            id="/".join((identity.id, re.sub(r"[^\w.+-]+", "-", shown.id))),
            text=f"{identity.text} ({shown.id})",
            category=identity.id,
            fields=tuple(identity.values(n).items()),
        )
        for n, shown in enumerate(identity.realizations)
    ]


_NOT_CARRIED = {
    "religion": "religion",
    "politics": "political affiliation",
    "sexuality": "sexuality",
    "disability": "disability",
}


def _check_told(identity: Identity, cue: Cue) -> None:
    """Raise `StudyError` where an identity has nothing for a gap of a cue."""
    missing = sorted(cue.all_gaps - identity.values(0).keys())
    if not missing:
        if "+" in identity.id and cue.all_gaps != {"is"} and len(cue.all_gaps) == 1:
            raise StudyError(
                f'cue "{cue.id}" has one gap, {{{min(cue.all_gaps)}}}, which cannot tell both '
                f'parts of "{identity.id}"; take a cue with {{is}}'
            )
        return
    why = "give it by --identities-file"
    if "name" in missing:
        why = "take --identity names, or give names by --identities-file"
        if identity.id == "native_american":
            why = (
                "no first name of the US Census 2020 has 80% Native American bearers, so names "
                "cannot carry it; state it, or give names by --identities-file"
            )
        elif identity.category in _NOT_CARRIED:
            why = (
                f"first names do not carry {_NOT_CARRIED[identity.category]}; state it, or give "
                "names by --identities-file"
            )
    raise StudyError(
        f'cue "{cue.id}" has the gap {{{missing[0]}}}, and identity "{identity.id}" has nothing '
        f"for it: {why}"
    )


def _with_slots(items: Sequence[Item], conditions: Sequence[Condition]) -> Iterator[Item]:
    """The items with the slot of each: every benchmark's are dealt out in their random order."""
    slots = min(
        (len(c.identity.realizations) for c in conditions if c.identity.varying & c.cue.all_gaps),
        default=0,
    )
    dealt: Counter[tuple[str, str]] = Counter()
    for item in items:
        place = (item.axis, item.benchmark)
        yield replace(item, slot=dealt[place] % slots) if slots else item
        dealt[place] += 1


def _differ(people: Iterable[Identity], gap: str, slots: int) -> bool:
    values = {tuple(who.values(n).get(gap) for n in range(slots or 1)) for who in people}
    return len(values) > 1


def plan_notes(plan: Plan) -> list[str]:
    """What to know of a plan's identities before anything is paid."""
    notes = []
    if 0 < plan.slots < ENOUGH_SLOTS:
        notes.append(
            f"{plan.slots} realizations of each identity are few; with {ENOUGH_SLOTS} or more the "
            "intervals hold"
        )
    people = {c.identity.id: c.identity for c in plan.conditions if c.identity.kind == "identity"}
    sizes = [len(who.realizations) for who in people.values() if who.realizations]
    if plan.slots and min(sizes) < max(sizes):
        notes.append(
            f"identities have {min(sizes)} to {max(sizes)} realizations, of which the first "
            f"{min(sizes)} of each are asked, so that all have as many"
        )
    crossed = [name.split("+") for name in people if "+" in name]
    if missing := sorted({part for parts in crossed for part in parts} - people.keys()):
        notes.append(
            "what two identities do beyond the sum of both is not estimated without each alone; "
            f"add --identity {','.join(missing)}"
        )
    for cue in dict.fromkeys(c.cue for c in plan.conditions):
        differ = [gap for gap in sorted(cue.all_gaps) if _differ(people.values(), gap, plan.slots)]
        if len(differ) > 1:
            notes.append(
                f"cue {cue.id}: identities differ in {' and '.join(differ)}, so that a difference "
                "may come of either; give all of them the same in all but one"
            )
    open_ones = [item.benchmark for item in plan.items if item.scorer == RUBRIC]
    if open_ones and not any(name.startswith("rubric:") for name in plan.study.judges):
        notes.append(
            f"only a judge can grade the open questions of {', '.join(dict.fromkeys(open_ones))}: "
            "add --judge rubric:MODEL, or run evenhand score RUN --judge rubric:MODEL later"
        )
    return notes


def _items(study: Study, offline: bool, default_suite: str) -> list[Item]:
    names = benchmarks.resolve(study.benchmarks or [default_suite])
    chosen: list[Item] = []
    for name in names:
        items = benchmarks.load(name, shots=study.shots, offline=offline)
        if items[0].benchmark in {item.benchmark for item in chosen}:
            raise StudyError(
                f'two benchmarks are called "{items[0].benchmark}"; rename one of the files'
            )
        if study.choice == "logprob":
            items = [by_letter(item) for item in items]
        chosen += sorted(items, key=lambda item: _rank(item, study.seed))[: study.limit]
    return sorted(chosen, key=lambda item: _rank(item, study.seed))


def _rank(item: Item, seed: int) -> bytes:
    """A random place that depends on nothing but the item and the seed, whatever else is asked."""
    return blake2b(f"{seed}/{item.benchmark}/{item.id}".encode(), digest_size=8).digest()
