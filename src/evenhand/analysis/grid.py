"""The scores of a run as arrays, and between what their noise is independent.

The noise is independent between items, topics of items, or slots. Items of one topic are answered
alike, so that forty topics of fifty items tell less than two thousand unrelated items do, and of
another kind: how the model treats people *on topics like these* (Miller 2024, arXiv:2411.00640). A
topic is an item's subgroup. Items with the same text are one question, however many files they
stand in. Where identities rotate through several realizations, such as names, the items of a slot
share a name of each identity: then the slots are the units, and the inference is to further names
like these on further items like these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from evenhand.axes import AVERAGED_AXES
from evenhand.benchmarks.item import LETTERED, RUBRIC, Item
from evenhand.errors import RunFolderError
from evenhand.stats import TooFewScores
from evenhand.stats.scores import rows_are_identities
from evenhand.store.record import Blocked
from evenhand.store.redaction import shown_name
from evenhand.store.rows import OWN
from evenhand.store.store import Store, StoredCondition
from evenhand.study.realization import ENOUGH_SLOTS
from evenhand.text import normalized

UnitChoice = Literal["auto", "items"]
"""What to infer to: "auto": names like these where identities have several, topics like these where
a benchmark has ten or more, otherwise items like these; "items": always items like these."""

FEWEST_TOPICS = 10
"""With fewer topics than this, too little is known of how topics differ."""

Labels = NDArray[np.str_]


@dataclass(frozen=True)
class Units:
    """The independent units of one benchmark on one axis.

    Attributes:
        axis, benchmark: of which.
        items: number of items.
        topics: number of topics, where these are the units; None where the items are.
        copies: items that repeat the text of another, in this benchmark or one beside it.
        slots: number of slots, where these are the units: blocks of items with a realization of
            each identity of their own.
    """

    axis: str
    benchmark: str
    items: int
    topics: int | None
    copies: int
    slots: int | None = None


def find_units(
    items: Mapping[tuple[str, str], Sequence[Item]], choice: UnitChoice
) -> tuple[dict[tuple[str, str], Labels], list[Units]]:
    """The cluster of every item, for the benchmarks that have clusters, and what they are.

    Args:
        items: axis and benchmark -> its items.
        choice: as `UnitChoice` says.

    Returns:
        Axis and benchmark -> label of each item, as the `clusters` of `evenhand.stats` take them;
        and one `Units` for each benchmark.
    """
    labels: dict[tuple[str, str], Labels] = {}
    found = []
    for axis in dict.fromkeys(axis for axis, _ in items):
        own = {place: group for place, group in items.items() if place[0] == axis}
        texts = {place: _texts(group) for place, group in own.items()}
        copies = _copies(own, texts)
        for place, group in own.items():
            repeated = [text in copies for text in texts[place]]
            slots = {item.slot for item in group if item.slot is not None}
            rotates = choice == "auto" and len(slots) > 1
            by_topic = choice == "auto" and not rotates
            topics = _topics(place, group, texts[place], copies) if by_topic else None
            if rotates:
                labels[place] = np.array([f"slot {item.slot}" for item in group])
            elif topics is not None:
                labels[place] = topics
            elif any(repeated):
                labels[place] = np.array(_item_labels(place, texts[place], copies))
            found.append(
                Units(
                    axis=axis,
                    benchmark=place[1],
                    items=len(group),
                    topics=len(set(topics)) if topics is not None else None,
                    copies=sum(repeated),
                    slots=len(slots) if rotates else None,
                )
            )
    return labels, found


def _copies(
    groups: Mapping[tuple[str, str], Sequence[Item]],
    texts: Mapping[tuple[str, str], Sequence[str]],
) -> dict[str, str]:
    """Normalized text of questions that stand in an axis more than once -> their common label.

    The label is the topic of the first of them, so that a benchmark given twice has its topics
    once.
    """
    first: dict[str, str] = {}
    repeated: dict[str, str] = {}
    for place, group in groups.items():
        for n, (item, text) in enumerate(zip(group, texts[place], strict=True)):
            if text in first:
                repeated[text] = first[text]
            else:
                topic = item.subgroup or f"item {n}"
                first[text] = f"{place[1]}\n{topic}"
    return repeated


def _topics(
    place: tuple[str, str],
    group: Sequence[Item],
    texts: Sequence[str],
    copies: Mapping[str, str],
) -> Labels | None:
    """Labels by topic; None where there are too few topics for them."""
    if len({item.subgroup for item in group}) < FEWEST_TOPICS:
        return None
    own = {item.subgroup: f"{place[1]}\n{item.subgroup}" for item in group}
    # A topic that has a copy of another benchmark's question is one topic with that question's.
    for item, text in zip(group, texts, strict=True):
        if text in copies:
            own[item.subgroup] = copies[text]
    topics = np.array([own[item.subgroup] for item in group])
    return topics if len(set(topics)) >= FEWEST_TOPICS else None


def _item_labels(
    place: tuple[str, str], texts: Sequence[str], copies: Mapping[str, str]
) -> list[str]:
    return [
        f"copy\n{text}" if text in copies else f"{place[1]}\n{n}" for n, text in enumerate(texts)
    ]


def _texts(group: Sequence[Item]) -> list[str]:
    return [normalized("\n".join((item.prompt, *item.choices))) for item in group]


def unit_notes(units: Sequence[Units]) -> list[str]:
    """What a reader must know of the independent units."""
    by_topic = [
        f"{each.benchmark} {each.topics} topics of {each.items:,} items"
        for each in units
        if each.topics is not None
    ]
    notes = []
    slots = max((each.slots or 0 for each in units), default=0)
    if slots:
        few = f"; with fewer than {ENOUGH_SLOTS} they are unsure" if slots < ENOUGH_SLOTS else ""
        notes.append(
            "each identity is shown by several realizations, so intervals and p-values are for "
            f"realizations like these: {slots} slots of items{few}"
        )
    if by_topic:
        notes.append(
            "items of a topic are not independent, so intervals and p-values are for topics like "
            f"these: {', '.join(by_topic)}"
        )
    return notes + [
        f"{each.copies:,} items of {each.benchmark} repeat the text of another item; copies count "
        "as one item"
        for each in units
        if each.copies
    ]


Result = TypeVar("Result")


class AxisScores(dict[str, NDArray[np.float64]]):
    """Benchmark -> (conditions, items, samples); NaN where there is no score.

    Attributes:
        clusters: benchmark -> (items,) what its items belong to, where they are not independent.
    """

    def __init__(
        self,
        arrays: Mapping[str, NDArray[np.float64]] | None = None,
        clusters: Mapping[str, Labels] | None = None,
    ) -> None:
        super().__init__(arrays or {})
        self.clusters = dict(clusters or {})

    def rows(self, start: int | None, stop: int | None) -> AxisScores:
        """Scores of some of the conditions."""
        return AxisScores({n: array[start:stop] for n, array in self.items()}, self.clusters)

    def only(self, name: str) -> AxisScores:
        """Scores of one benchmark."""
        return AxisScores(
            {name: self[name]}, {n: of for n, of in self.clusters.items() if n == name}
        )

    def of_axis(self, axis: str) -> AxisScores:
        """The same with the axis in the names, for a benchmark may stand on two axes."""
        return AxisScores(
            {f"{name} ({axis})": array for name, array in self.items()},
            {f"{name} ({axis})": labels for name, labels in self.clusters.items()},
        )


def clusters_of(*scores: AxisScores | None) -> dict[str, Labels] | None:
    """The clusters of several axes together, as the functions of `evenhand.stats` take them."""
    found = {name: of for each in scores if each for name, of in each.clusters.items()}
    return found or None


_LEAST_SCORED = 0.5


@dataclass(frozen=True)
class Grid:
    """All scores of a run.

    Attributes:
        conditions: what the first axis of every array stands for.
        items: number of items of each benchmark.
        names: axis -> benchmark -> ids and prompts of the items of the second axis.
        samples: answers per cell.
        level: confidence level of the intervals to make of it.
        scores: axis -> benchmark -> (conditions, items, samples).
        answered: the same shape: whether there is an answer, be it scored or not.
        units: what the items of each benchmark belong to.
        chance: axis and benchmark -> mean score of guessing, in points, where items have options.
        judge: number in the store of the judge whose scores these are.
    """

    conditions: Sequence[StoredCondition]
    items: dict[str, int]
    names: dict[str, dict[str, list[str]]]
    samples: int
    level: float
    scores: dict[str, AxisScores]
    answered: dict[str, dict[str, NDArray[np.bool_]]]
    units: Sequence[Units] = ()
    chance: Mapping[tuple[str, str], float] = field(default_factory=dict)
    judge: int = OWN

    def rows(self, cue: str, defense: str, kind: str) -> list[int]:
        """The conditions of one kind of identity under a cue and a defense."""
        return [
            n
            for n, c in enumerate(self.conditions)
            if (c.cue, c.defense, c.identity.kind) == (cue, defense, kind)
        ]

    def scored_share(self, axis: str, row: int) -> float:
        """Share of a condition's answers on an axis that have a score; 1 where it has none."""
        answered = sum(int(there[row].sum()) for there in self.answered[axis].values())
        scored = sum(int((~np.isnan(a[row])).sum()) for a in self.scores[axis].values())
        return scored / answered if answered else 1.0

    def enough(self, axis: str, rows: Sequence[int]) -> list[int]:
        """The conditions of which at least half of the answers on an axis have a score.

        The others have no value there: what is scored of them is no sample of their answers.
        """
        return [row for row in rows if self.scored_share(axis, row) >= _LEAST_SCORED]

    def alone(self, axis: str) -> list[str]:
        """Benchmarks that estimates leave out; see `single_items`."""
        return single_items({n: a.shape[1] for n, a in self.scores.get(axis, {}).items()})

    def take(self, axis: str, rows: Sequence[int], *, unscored: bool = False) -> AxisScores | None:
        """AxisScores of some conditions, of the items that at least one of them has a score for.

        Args:
            unscored: also the items that were answered, but of which no answer has a score.

        Returns:
            None where nothing is left; a benchmark without any such item is left out, as are those
            that `alone` names.
        """
        found = AxisScores()
        whole = self.scores.get(axis, found)
        alone = self.alone(axis)
        for name, array in whole.items():
            if name in alone:
                continue
            taken = array[list(rows)]
            there = self.answered[axis][name][list(rows)] if unscored else ~np.isnan(taken)
            items = there.any(axis=(0, 2))
            if items.any():
                found[name] = taken[:, items]
                if name in whole.clusters:
                    found.clusters[name] = whole.clusters[name][items]
        return found or None


def read_grid(
    store: Store,
    samples: int,
    level: float = 0.95,
    judge: str | None = None,
    blocked: Blocked | None = None,
    units: UnitChoice = "auto",
) -> Grid:
    """Read the scores of the active conditions and items, as `select_judge` says.

    The last grid is kept as long as nothing is written: a report looks at the same scores twice.

    Args:
        blocked: what blocked answers count as; None as `Store.blocked` says.
        units: what to infer to.
    """
    _, number = select_judge(store, judge)
    return _read_grid(store, store.state(), samples, level, number, blocked or store.blocked, units)


@lru_cache(maxsize=1)
def _read_grid(
    store: Store,
    _state: object,
    samples: int,
    level: float,
    number: int,
    blocked: Blocked,
    choice: UnitChoice,
) -> Grid:
    conditions, items = store.conditions(), store.items()
    rows = store.scores(judge=number, blocked=blocked)
    place = _lookup({condition.id: n for n, condition in enumerate(conditions)})
    condition, item, sample = rows[:, :3].astype(np.int64).T
    scores: dict[str, AxisScores] = {}
    answered: dict[str, dict[str, NDArray[np.bool_]]] = {}
    names: dict[str, dict[str, list[str]]] = {}
    by_benchmark = _by_benchmark(items)
    clusters, units = find_units(
        {at: [items[i] for i in ids] for at, ids in by_benchmark.items()}, choice
    )
    chance = {
        at: 100 * float(np.mean([1 / len(items[i].choices) for i in ids]))
        for at, ids in by_benchmark.items()
        if all(items[i].scorer in LETTERED and items[i].choices for i in ids)
    }
    position, which = np.full((2, max(items, default=0) + 1), -1)
    for n, ids in enumerate(by_benchmark.values()):
        position[ids], which[ids] = range(len(ids)), n
    which = which[item]
    for n, ((axis, benchmark), ids) in enumerate(by_benchmark.items()):
        mine = which == n
        cells = place[condition[mine]], position[item[mine]], sample[mine]
        array = np.full((len(conditions), len(ids), samples), np.nan)
        array[cells] = rows[mine, 3]
        there = np.zeros(array.shape, dtype=bool)
        there[cells] = True
        array.flags.writeable = there.flags.writeable = False  # others may read them, too
        scores.setdefault(axis, AxisScores())[benchmark] = array
        if (axis, benchmark) in clusters:
            scores[axis].clusters[benchmark] = clusters[axis, benchmark]
        answered.setdefault(axis, {})[benchmark] = there
        names.setdefault(axis, {})[benchmark] = [f"{items[i].id}\n{items[i].prompt}" for i in ids]
    sizes: dict[str, int] = {}
    for each in sorted(items.values(), key=lambda item: item.benchmark):
        sizes[each.benchmark] = sizes.get(each.benchmark, 0) + 1
    in_order: dict[str, AxisScores] = {
        axis: scores[axis] for axis in AVERAGED_AXES if axis in scores
    }
    return Grid(conditions, sizes, names, samples, level, in_order, answered, units, chance, number)


def _by_benchmark(items: Mapping[int, Item]) -> dict[tuple[str, str], list[int]]:
    found: dict[tuple[str, str], list[int]] = {}
    for item_id, item in items.items():
        if item.axis not in AVERAGED_AXES:  # has no mean over all identities
            continue
        found.setdefault((item.axis, item.benchmark), []).append(item_id)
    return found


def single_items(sizes: Mapping[str, int]) -> list[str]:
    """Benchmarks of an axis that have one item, where others have more.

    One item has no variance, so that with it nothing could be estimated of the whole axis.

    Args:
        sizes: items of each benchmark.
    """
    few = [name for name, size in sizes.items() if size == 1]
    return few if len(few) < len(sizes) else []


def _lookup(places: Mapping[int, int]) -> NDArray[np.int64]:
    """The mapping as an array that can be indexed by id."""
    table = np.zeros(max(places) + 1, dtype=np.int64)
    for key, place in places.items():
        table[key] = place
    return table


def mean_of(scores: Mapping[str, NDArray[np.float64]] | None) -> float | None:
    """Mean in points: of the benchmarks' means of the conditions' means of what is scored."""
    if not scores:
        return None
    means = []
    for array in scores.values():
        scored = [row[~np.isnan(row)] for row in array]
        means.append(np.mean([row.mean() for row in scored if row.size] or [np.nan]))
    value = 100 * float(np.mean(means))
    return None if np.isnan(value) else value


def select_judge(store: Store, judge: str | None = None) -> tuple[str, int]:
    """The judge to go by: its name, and its number in the store.

    Args:
        judge: a name; None for the study's first judge that has scored anything, or without one
            for the scorers that the items themselves name; for a rubric that has graded the items
            where they are open questions alone.

    Raises:
        RunFolderError: this judge has scored nothing in the run.
    """
    known = store.judges()
    own = store.own_judge()
    if judge is None:
        record = store.record_if_begun()
        named = tuple(map(shown_name, record.study.judges)) if record else ()
        graded = [name for name in known if name.startswith(f"{RUBRIC}:") and own == RUBRIC]
        judge = next((name for name in (*named, *graded) if name in known), own)
    judge = shown_name(judge)
    if judge == own:
        return own, OWN
    if judge not in known:
        raise RunFolderError(
            f"{store.folder} holds no scores of {judge}; to make them: evenhand score "
            f"{store.folder} --judge {judge}"
        )
    return judge, known[judge]


@rows_are_identities()
def if_enough(estimate: Callable[[], Result]) -> Result | None:
    """The estimate; None where the scores so far are too few for it."""
    try:
        return estimate()
    except TooFewScores:
        return None
