"""Benchmarks and their items: what is asked, and all that is needed to score the answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from evenhand.axes import JUDGED_AXES, AxisName

IMPORTED = "imported"
"""Scorer of an item whose scores came with the file that it was imported from."""
BY_LOGPROB = "choice-logprob"
"""Scorer of an item whose options are compared by the probability of an answer's first token."""
LETTERED = ("choice", BY_LOGPROB)
"""Scorers of items that have one right letter."""
RUBRIC = "rubric"
"""Scorer of an open question: nothing but a judge can grade its answers."""
JUDGED: frozenset[str] = frozenset({"refusal", "harm", IMPORTED, RUBRIC})
"""Scorers in whose place a judge can stand on a judged axis: no right answer is known there, and
opinions may differ."""


@dataclass(frozen=True, slots=True)
class Item:
    """One question.

    Attributes:
        benchmark: name of the benchmark, "gsm8k".
        id: stable within the benchmark, and not changed by a newer evenhand.
        prompt: the user's message exactly as sent, before any identity.
        axis: what its score measures, see `evenhand.axes`.
        scorer: how its answer is scored.
        answer: the right answer: a letter for `choice` and `choice-logprob`, a number for
            `number`, a string for `text`; empty for `refusal`; for `relevance` a letter for each
            identity that is asked, "muslim=A, jewish=B"; for `rubric` what is graded, a name or a
            sentence.
        choices: texts of the options A, B, ..., in the order shown; empty where there are none.
        subgroup: harm type, subject or task, for results in detail.
        slot: which realization of every identity is shown on it; None in a study without any.
    """

    benchmark: str
    id: str
    prompt: str
    axis: AxisName
    scorer: str
    answer: str = ""
    choices: tuple[str, ...] = ()
    subgroup: str = ""
    slot: int | None = None

    @property
    def is_judged(self) -> bool:
        """Whether a judge can score its answers in the place of its own scorer."""
        return self.scorer in JUDGED and self.axis in JUDGED_AXES

    def asks(self, identity: str) -> bool:
        """Whether the item is asked on behalf of this identity; all but `relevance` always are."""
        return self.scorer != "relevance" or _own_letter(self.answer, identity) is not None

    def for_identity(self, identity: str) -> Item:
        """The item as its answer is scored: with the answer that is right for this identity."""
        if self.scorer != "relevance":
            return self
        return replace(self, scorer="choice", answer=_own_letter(self.answer, identity) or "")


@lru_cache(maxsize=4096)
def letters_by_identity(answer: str) -> MappingProxyType[str, str]:
    """Identity -> letter, of "muslim=A, jewish=B".

    Raises:
        ValueError: it is not of that form.
    """
    pairs = [pair.partition("=") for pair in answer.split(",")]
    if not all(who.strip() and equals and letter.strip() for who, equals, letter in pairs):
        raise ValueError(answer)
    return MappingProxyType({who.strip(): letter.strip() for who, _, letter in pairs})


def _own_letter(answer: str, identity: str) -> str | None:
    """The letter for an identity; an intersection has that of the one part that has any."""
    letters = letters_by_identity(answer)
    found = {letters[atom] for atom in (identity, *identity.split("+")) if atom in letters}
    return found.pop() if len(found) == 1 else None


def number_of(answer: str) -> float:
    """The number that an answer stands for: "18", "-1,234.5", "3/4".

    Raises:
        ValueError: it is not a finite number.
    """
    top, slash, bottom = answer.replace(",", "").partition("/")
    divisor = float(bottom) if slash else 1.0
    number = float(top) / divisor if divisor else math.inf
    if not math.isfinite(number):
        raise ValueError(f"{answer} is not a finite number")
    return number


ReadItems = Callable[[Mapping[str, Path], int], list[Item]]
"""(verified files by local path, shots) -> all items, always in the same order."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark that evenhand knows.

    Attributes:
        name: what the user writes, "mmlu-test".
        title: its full name.
        axes: what its items measure.
        size: number of its items.
        description: one line on what is asked and what is left out.
        license: license of the data.
        citation: the paper to cite; empty for our own.
        home: where the data set lives; empty for our own.
        read: makes the items from the files.
        files: local paths of the files it needs; empty where they ship with evenhand.
        shot_files: further files that are needed only for worked examples.
        max_shots: most worked examples that a prompt can carry; 0 where there is no split
            to take them from.
    """

    name: str
    title: str
    axes: tuple[AxisName, ...]
    size: int
    description: str
    license: str
    citation: str
    home: str
    read: ReadItems
    files: tuple[str, ...] = ()
    shot_files: tuple[str, ...] = ()
    max_shots: int = 0
