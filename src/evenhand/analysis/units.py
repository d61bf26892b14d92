"""What the noise is independent between: items, topics of items, or slots; and copies of items.

Items of one topic are answered alike, so that forty topics of fifty items tell less than two
thousand unrelated items do, and of another kind: how the model treats people *on topics like these*
(Miller 2024, arXiv:2411.00640). A topic is an item's subgroup. Items with the same text are one
question, however many files they stand in. Where identities rotate through several realizations,
such as names, the items of a slot share a name of each identity: then the slots are the units, and
the inference is to further names like these on further items like these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evenhand.benchmarks.item import Item
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
        f"{each.benchmark}: {each.copies:,} items repeat the text of another item; copies count as "
        "one item"
        for each in units
        if each.copies
    ]
