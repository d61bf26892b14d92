"""Tuning part and test part: fixed before anything is tuned, and kept in the run.

Only the tuning part is ever written down as a list; whatever is not on it is test. So an item
that joins the run later, an identity from a file or another wording of the cue is unseen, and
nothing that was tuned on can slip into the test part.

Items are split within each benchmark, axis and subgroup, so that both parts ask about the same
subjects: the test part is new questions, not new subjects. With `unit="subgroup"` whole subgroups
go to one part, which is harder: no subject of the test part was tuned on. Where identities have
several realizations, such as names, whole slots go to one part, so that the test part shows names
that were not tuned on. Identities are split within their categories, cues within their forms.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from typing import Literal, TypeVar

from evenhand.benchmarks.item import Item
from evenhand.engines.engine import Outcome
from evenhand.errors import UsageError
from evenhand.store.store import Store, StoredCondition
from evenhand.study.cue import Message, shipped_cues
from evenhand.study.entry import Entry, validate
from evenhand.study.identity import Identity
from evenhand.study.plan import Plan
from evenhand.text import counted

Unit = Literal["item", "subgroup"]
Part = Literal["tuning", "test"]

ITEM_SHARE = 0.5
"""Of the items, for tuning: search and training need many, and so does a narrow interval."""
IDENTITY_SHARE = 2 / 3
"""Of the identities and of the cues, for tuning."""
FEWEST_ITEMS = 4
"""Of a benchmark's axis: two for each part."""
FEWEST_IDENTITIES = 6
"""Below this none is held out: a spread needs two at least, and tuning some, too."""

_META = "split"
_T = TypeVar("_T")


class Split(Entry):
    """What may be tuned on. All else is test.

    Attributes:
        seed: of the random order that decided.
        unit: what was split: single items, or whole subgroups.
        items: benchmark -> ids of its tuning items.
        prompts: fingerprints of the tuning items' prompts: the same question under another id
            was tuned on, too.
        identities: ids; an intersection is of the tuning part if all its identities are.
        cues: ids.
    """

    seed: int
    unit: Unit
    items: dict[str, tuple[str, ...]]
    prompts: tuple[str, ...]
    identities: tuple[str, ...]
    cues: tuple[str, ...]

    @cached_property
    def _known(self) -> set[tuple[str, str]]:
        return {(name, item) for name, ids in self.items.items() for item in ids}

    @cached_property
    def _prompts(self) -> set[str]:
        return set(self.prompts)

    def item_part(self, item: Item) -> Part:
        """The part of an item, be it of the run or not."""
        known = (item.benchmark, item.id) in self._known
        return "tuning" if known or fingerprint(item.prompt) in self._prompts else "test"

    def identity_part(self, identity: Identity) -> Part:
        """The part of an identity."""
        atoms = identity.id.split("+")
        whole = identity.id in self.identities
        return "tuning" if whole or all(a in self.identities for a in atoms) else "test"

    def cue_part(self, cue: str) -> Part:
        """The part of a cue, by its id."""
        return "tuning" if cue in self.cues else "test"

    def check_test(self, items: Iterable[Item]) -> None:
        """Refuse to test on what was tuned on.

        Raises:
            UsageError: an item is of the tuning part.
        """
        for item in items:
            if self.item_part(item) == "tuning":
                raise UsageError(
                    f'"{item.id}" of {item.benchmark} belongs to the tuning part of this run; '
                    "it cannot be tested on"
                )

    def check_tuning(self, items: Iterable[Item]) -> None:
        """Refuse to tune on what will be tested on.

        Raises:
            UsageError: an item is of the test part.
        """
        for item in items:
            if self.item_part(item) == "test":
                raise UsageError(
                    f'"{item.id}" of {item.benchmark} belongs to the test part of this run; '
                    "nothing can be tuned on it"
                )


@dataclass(frozen=True, slots=True)
class TuningAnswer:
    """A stored answer of the tuning part.

    Attributes:
        condition: identity, cue and defense under which it was given.
        item: what was asked.
        sample: from 0.
        text: as the model gave it.
        score: in [0, 1]; None where it could not be scored.
        outcome: whether it is whole.
    """

    condition: StoredCondition
    item: Item
    sample: int
    text: str
    score: float | None
    outcome: Outcome = "whole"

    def messages(self) -> list[Message]:
        """The conversation as it was sent."""
        return self.condition.messages(self.item.prompt, self.item.slot)


class TuningPart:
    """The only view of a run that tuning gets: no item, identity or cue of the test part is in it.

    The baseline is included; placebos are not, nor are answers given while a defense withheld the
    identity.
    """

    def __init__(self, store: Store, split: Split) -> None:
        self.split = split
        self._store = store
        self._items = {n: i for n, i in store.items().items() if split.item_part(i) == "tuning"}
        withheld = store.withholdings()
        self._conditions = {
            c.id: c
            for c in store.conditions()
            if _is_tuning(c, split) and c.defense not in withheld
        }
        known = store.items(inactive=True).values()
        self._held_out = {fingerprint(i.prompt) for i in known if split.item_part(i) == "test"}

    @property
    def items(self) -> list[Item]:
        """Tuning items, in the order of the run."""
        return list(self._items.values())

    @property
    def conditions(self) -> list[StoredCondition]:
        """Tuning identities and the baseline, under the tuning cues and every defense.

        Identities have no realizations, such as names, but those of the tuning part.
        """
        slots = sorted({item.slot for item in self._items.values() if item.slot is not None})
        return [
            replace(c, identity=c.identity.with_slots(slots)) if slots else c
            for c in self._conditions.values()
        ]

    def holds_out(self, question: str) -> bool:
        """Whether the run tests on this question; training data that ask it are not for tuning."""
        return fingerprint(question) in self._held_out

    def answers(self) -> Iterator[TuningAnswer]:
        """The stored answers, by condition and item."""
        scores = {(int(c), int(i), int(s)): v for c, i, s, v in self._store.scores()}
        for condition, item, sample, text, outcome in self._store.texts():
            if condition in self._conditions and item in self._items:
                value = scores.get((condition, item, sample))
                yield TuningAnswer(
                    self._conditions[condition],
                    self._items[item],
                    sample,
                    text,
                    None if value is None or value != value else float(value),
                    outcome,
                )


def split_run(store: Store, *, seed: int | None = None, unit: Unit | None = None) -> Split:
    """The split of a run: as it was written at first, or made and written now.

    Args:
        seed: None for 0, or for that of the split that is there.
        unit: None for "item", or for that of the split that is there.

    Raises:
        UsageError: the run was split otherwise before, or has too few items.
        RunFolderError: the run has not begun.
    """
    stored = store.document(_META)
    if stored is not None:
        found = validate(Split, stored, str(store.folder))
        for name, value in (("seed", seed), ("unit", unit)):
            if value is not None and value != getattr(found, name):
                raise UsageError(
                    f"{store.folder} was split with {name} {getattr(found, name)}, which cannot "
                    "change once something was tuned on it; leave it out, or start a new audit"
                )
        return found
    store.record()  # raises where the run has not begun
    conditions = store.conditions()
    made = make_split(
        list(store.items().values()),
        [c.identity for c in conditions],
        [c.cue for c in conditions],
        seed=seed or 0,
        unit=unit or "item",
    )
    store.set_document(_META, made.model_dump(mode="json"))
    return made


def make_split(
    items: Sequence[Item],
    identities: Iterable[Identity],
    cues: Iterable[str],
    *,
    seed: int = 0,
    unit: Unit = "item",
) -> Split:
    """Split items, identities and cues; the same for the same arguments.

    Raises:
        UsageError: a benchmark has fewer than four items on an axis, or, with unit "subgroup",
            fewer than two subgroups.
    """
    tuning = _tuning_items(items, seed, unit)
    chosen: dict[str, list[str]] = defaultdict(list)
    prints = {fingerprint(item.prompt) for item in tuning}
    for item in items:
        if fingerprint(item.prompt) in prints:
            chosen[item.benchmark].append(item.id)
    return Split(
        seed=seed,
        unit=unit,
        items={name: tuple(ids) for name, ids in chosen.items()},
        prompts=tuple(sorted(prints)),
        identities=tuple(_tuning_identities(identities, seed)),
        cues=tuple(_tuning_cues(dict.fromkeys(cues), seed)),
    )


def plan_for_tuning(plan: Plan, split: Split) -> Plan:
    """The part of a plan for tuning: no placebos, no held-out items, identities or cues."""
    return replace(
        plan,
        items=tuple(i for i in plan.items if split.item_part(i) == "tuning"),
        conditions=tuple(
            c for c in plan.conditions if c.cue.id in split.cues and _may_tune(c.identity, split)
        ),
    )


def plan_for_test(plan: Plan, split: Split) -> Plan:
    """The part of a plan that tests what was tuned: all identities and cues, on held-out items."""
    return replace(plan, items=tuple(i for i in plan.items if split.item_part(i) == "test"))


def fingerprint(prompt: str) -> str:
    """The same for prompts that differ in case and white space alone."""
    folded = " ".join(prompt.casefold().split())
    return blake2b(folded.encode(), digest_size=8).hexdigest()


def _is_tuning(condition: StoredCondition, split: Split) -> bool:
    return condition.cue in split.cues and _may_tune(condition.identity, split)


def _may_tune(identity: Identity, split: Split) -> bool:
    if identity.kind == "identity":
        return split.identity_part(identity) == "tuning"
    return identity.kind == "baseline"


def _tuning_items(items: Sequence[Item], seed: int, unit: Unit) -> list[Item]:
    found: list[Item] = []
    slots = sorted({item.slot for item in items if item.slot is not None})
    if slots and unit == "subgroup":
        raise UsageError("a run with several realizations is split by these, not by subgroup")
    # Whole slots, so that the names of the test part were not tuned on.
    tuned = systematic(slots, lambda _: "", str, ITEM_SHARE, seed)
    groups: dict[tuple[str, str], list[Item]] = defaultdict(list)
    for item in items:
        if item.axis != "recognition":  # asks about the user, not for help
            groups[item.benchmark, item.axis].append(item)
    for (benchmark, axis), members in groups.items():
        if len(members) < FEWEST_ITEMS:
            raise UsageError(
                f"{benchmark} has {counted(len(members), 'item')} on {axis}; at least "
                f"{FEWEST_ITEMS} are needed to split them into a tuning and a test part"
            )
        if slots:
            found += [item for item in members if item.slot in tuned]
            continue
        if unit == "item":
            found += systematic(members, lambda i: i.subgroup, lambda i: i.id, ITEM_SHARE, seed)
            continue
        subgroups = list(dict.fromkeys(item.subgroup for item in members))
        if len(subgroups) < 2:
            raise UsageError(f"{benchmark} has no subgroups to split by; split its items")
        kept = systematic(subgroups, lambda _: "", str, ITEM_SHARE, seed)
        found += [item for item in members if item.subgroup in kept]
    return found


def _tuning_identities(identities: Iterable[Identity], seed: int) -> list[str]:
    """Ids of single identities: an intersection goes with the identities that it is made of."""
    categories: dict[str, str] = {}
    for identity in identities:
        if identity.kind == "identity":
            parts = identity.category.split(" x ")
            atoms = identity.id.split("+")
            paired = len(atoms) == len(parts)
            for n, atom in enumerate(atoms):
                categories.setdefault(atom, parts[n] if paired else identity.category)
    if len(categories) < FEWEST_IDENTITIES:
        return list(categories)
    chosen = systematic(list(categories), categories.__getitem__, str, IDENTITY_SHARE, seed)
    return [name for name in categories if name in chosen]


def _tuning_cues(cues: Iterable[str], seed: int) -> list[str]:
    names = list(cues)
    if len(names) < 2:
        return names
    forms = {cue.id: cue.form for cue in shipped_cues()}
    chosen = systematic(names, lambda name: forms.get(name, ""), str, IDENTITY_SHARE, seed)
    return [name for name in names if name in chosen] or names[:1]


def systematic(
    things: Sequence[_T],
    stratum: Callable[[_T], str],
    name: Callable[[_T], Hashable],
    share: float,
    seed: int,
) -> list[_T]:
    """A share of the things, spread evenly over their strata.

    Systematic sampling of the things in random order within random order of strata (Cochran
    1977, Sampling Techniques, ch. 8): of every stratum the share to within one thing, and of all
    of them, too.

    Args:
        share: in (0, 1).
    """
    order = sorted(
        things, key=lambda t: (_rank(seed, stratum(t)), stratum(t), _rank(seed, str(name(t))))
    )
    start = int.from_bytes(_rank(seed, f"start/{len(things)}")) / 2**64
    return [t for n, t in enumerate(order) if int(start + (n + 1) * share) > int(start + n * share)]


def _rank(seed: int, name: str) -> bytes:
    return blake2b(f"split/{seed}/{name}".encode(), digest_size=8).digest()
