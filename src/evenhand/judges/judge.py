"""The seam between a run's answers and their judge; the offline scorers as judges."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

import orjson

from evenhand.axes import AXES, AxisName
from evenhand.engines.engine import Failure, checked_counts, checked_failures
from evenhand.errors import PluginError
from evenhand.plugins import blamed, misused
from evenhand.run.options import JudgeOptions
from evenhand.scorers import find_batch_scorer
from evenhand.scorers.base import Answer, Score, Unscored, Verdict, checked

_OFFLINE_BATCH = 1000
"""Answers between two turns of the event loop."""

NO_OPINION = Unscored("the judge does not say")


@dataclass(frozen=True, slots=True)
class Judgment:
    """What came of judging one answer.

    Attributes:
        verdict: None where all attempts failed and the answer is still to be judged.
        failures: attempts that brought no verdict.
        prompt_tokens, completion_tokens: of all attempts; 0 where nothing is counted.
    """

    verdict: Verdict | None
    failures: Sequence[Failure] = field(default=())
    prompt_tokens: int = 0
    completion_tokens: int = 0


Settle = Callable[[int, Judgment], None]
"""Takes the place of an answer among all that were given, from 0, and what came of it."""


class Judge(Protocol):
    """Whoever gives answers a score in [0, 1], in the place of the item's own scorer.

    All that a judge can see is an `Answer`: the item, with its bare prompt, and the text of the
    answer. Nothing in it tells who asked, or in which words the model was told so.
    """

    name: str
    """What its scores are stored under: "rubric:openai/gpt-4o-mini"."""

    @property
    def facts(self) -> dict[str, Any]:
        """All that its verdicts depend on; scores made under other facts are never mixed in."""
        ...

    async def start(self) -> None:
        """Make sure that it will answer, before anything else is paid for.

        Raises:
            EngineError: the model cannot be reached or will not answer.
        """
        ...

    async def judge(self, answers: Iterator[Answer], settle: Settle) -> None:
        """Judge all answers, settling each once, in any order, as the verdicts arrive.

        Answers are drawn only as fast as they are judged, and no more are drawn when it is
        cancelled.

        Raises:
            EngineError: the model cannot be reached or will not answer.
        """
        ...

    async def close(self) -> None:
        """Release connections and memory."""
        ...


def score_for(axis: AxisName, safe: float | None, refused: float | None) -> Score:
    """The score that an item of an axis wants, of what a judge said about an answer.

    None for a graded axis: whether an answer is safe or refuses says nothing of how good it is.

    Args:
        safe: 1 for a safe answer, 0 for a harmful one; None if the judge does not say.
        refused: 1 for a refusal; None if the judge does not say.
    """
    if AXES[axis].is_graded:
        return NO_OPINION
    value = refused if AXES[axis].lower_is_better else safe
    return NO_OPINION if value is None else value


class OfflineJudge:
    """One of evenhand's own scorers, whichever scorer the item itself names."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._score = find_batch_scorer(name)

    @property
    def facts(self) -> dict[str, Any]:
        """None: its scores can be made anew at any time."""
        return {"kind": "offline"}

    async def start(self) -> None:
        """Nothing to find out."""

    async def judge(self, answers: Iterator[Answer], settle: Settle) -> None:
        """Score all answers; see `Judge.judge`."""
        numbered = enumerate(answers)
        while batch := list(islice(numbered, _OFFLINE_BATCH)):
            verdicts = self._score([answer for _, answer in batch])
            for (place, answer), found in zip(batch, verdicts, strict=True):
                verdict = found if isinstance(found, Verdict) else Verdict(found)
                if AXES[answer.item.axis].is_graded:
                    verdict = Verdict(NO_OPINION)
                settle(place, Judgment(verdict))
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Nothing to release."""


def make_offline(name: str, options: JudgeOptions) -> Judge:  # noqa: ARG001
    """The offline judge of that name, "refusal" or "harm"."""
    return OfflineJudge(name)


class ForeignJudge:
    """Another package's judge: what it gives is checked before anything is stored of it.

    Args:
        name: as it was asked for, under which its verdicts are stored.
        judge: what the package has made of the name.

    Raises:
        PluginError: here and in all methods, where the judge raises anything but an
            `EvenhandError` or gives what cannot be kept, such as a score that is none.
    """

    def __init__(self, name: str, judge: Any) -> None:
        self.name = name
        self._judge = judge
        with self._blamed():
            for wanted in ("name", "facts", "start", "judge", "close"):
                if not hasattr(judge, wanted):
                    raise self._misused(f"has no {wanted}")
        if judge.name != name:
            raise self._misused(f"goes by the name {judge.name!r} where it is asked for as {name}")

    @property
    def facts(self) -> dict[str, Any]:
        """See `Judge`."""
        with self._blamed():
            facts = self._judge.facts
        try:
            kept: dict[str, Any] = orjson.loads(orjson.dumps(facts))
        except orjson.JSONEncodeError:
            raise self._misused(f"has the facts {facts!r}, which are no JSON") from None
        if not isinstance(kept, dict):
            raise self._misused(f"has the facts {facts!r}, which are no dict")
        return kept

    async def start(self) -> None:
        """See `Judge`."""
        with self._blamed():
            await self._judge.start()

    async def judge(self, answers: Iterator[Answer], settle: Settle) -> None:
        """See `Judge`."""
        under_way: set[int] = set()

        def draw() -> Iterator[Answer]:
            for place, answer in enumerate(answers):
                under_way.add(place)
                yield answer

        def take(place: int, judgment: object) -> None:
            if place not in under_way:
                raise self._misused(f"settles the place {place!r} twice, or without an answer")
            under_way.remove(place)
            settle(place, self._checked(judgment))

        with self._blamed():
            await self._judge.judge(draw(), take)

    async def close(self) -> None:
        """See `Judge`."""
        with self._blamed():
            await self._judge.close()

    def _checked(self, judgment: object) -> Judgment:
        if not isinstance(judgment, Judgment):
            raise self._misused(f"settles {judgment!r}, which is no Judgment")
        try:
            return Judgment(
                None if judgment.verdict is None else checked(judgment.verdict),
                checked_failures(judgment.failures),
                *checked_counts(judgment.prompt_tokens, judgment.completion_tokens),
            )
        except ValueError as error:
            raise self._misused(str(error)) from None

    def _misused(self, what: str) -> PluginError:
        return misused("judge", self.name.partition(":")[0], what)

    def _blamed(self) -> AbstractContextManager[None]:
        return blamed("judge", self.name.partition(":")[0], {})
