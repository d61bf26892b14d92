"""Between whoever answers or judges and the store: what may still be asked, what has come back.

A run, the judging of its answers and the judging again all record in this one way: what comes is
kept at once and committed in batches, counted, and held against the cost limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple

from evenhand.store.database import Change
from evenhand.store.store import Store

_FLUSH_EVERY = 0.5
"""Seconds between two commits: each waits for the disk, so that answers are committed together."""


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars for a million tokens.

    Attributes:
        prompt: of what is sent.
        completion: of what is generated.
    """

    prompt: float = 0.0
    completion: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Price:
        """The price written as "PROMPT/COMPLETION".

        Raises:
            ValueError: it is not of that form, or negative, or not finite.
        """
        try:
            prompt, completion = (float(part) for part in text.split("/"))
        except ValueError:
            raise ValueError(f'"{text}" is not of the form PROMPT/COMPLETION: 0.15/0.60') from None
        if not (0 <= prompt < inf and 0 <= completion < inf):
            raise ValueError(f'"{text}": a price is a number from 0 up')
        return cls(prompt, completion)

    def halved(self) -> Price:
        """The price by a batch API."""
        return Price(self.prompt / 2, self.completion / 2)

    def __str__(self) -> str:
        return f"${self.prompt:g}/{self.completion:g}"

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Dollars."""
        return (self.prompt * prompt_tokens + self.completion * completion_tokens) / 1e6


@dataclass(slots=True)
class Progress:
    """Where a run or a judge stands; all counts are of what is on disk.

    Attributes:
        cells: answers wanted in all.
        done: cells that have an answer, those of earlier calls included.
        sent: answers of this call.
        failures: attempts of this call that brought no answer.
        prompt_tokens, completion_tokens: of this call.
        cost: dollars of this call, by the price given.
        stopped: why the call ended before all was done; empty if it did not.
    """

    cells: int
    done: int = 0
    sent: int = 0
    failures: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    stopped: str = ""


class Arrival(NamedTuple):
    """What came of one question.

    Attributes:
        changes: what it changes in the store.
        done: cells that have an answer by it.
        failures: attempts that brought none.
        prompt_tokens, completion_tokens: of the answer.
    """

    changes: Sequence[Change]
    done: int
    failures: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Recorder:
    """Keeps what arrives, and says whether more may be asked.

    Args:
        progress: where to count on from.
        price: of the tokens; None if they cost nothing.
        max_cost: dollars after which nothing more is asked, those that `progress` has cost
            included. What is under way is counted at the mean price so far, so that the limit is
            kept but for the first answers.
        limit: what the limit is called in `Progress.stopped`.
        on_progress: called after every commit.
    """

    def __init__(
        self,
        store: Store,
        progress: Progress,
        *,
        price: Price | None,
        max_cost: float | None,
        on_progress: Callable[[Progress], None],
        limit: str = "the cost limit",
    ) -> None:
        self._store = store
        self._price = price or Price()
        self._max_cost = max_cost
        self._on_progress = on_progress
        self._limit = limit
        self._spent = progress.cost
        self._asked = self._settled = progress.sent
        self._waiting: list[Arrival] = []
        self.progress = progress

    def may_ask(self) -> bool:
        """Whether the cost limit allows another question; if so, it counts as under way."""
        if self._max_cost is not None and self._expected_cost() >= self._max_cost:
            self.progress.stopped = f"{self._limit} of ${self._max_cost:g} is reached"
            return False
        self._asked += 1
        return True

    def settle(self, arrival: Arrival) -> None:
        """Take what came of a question that was asked; it outlives this process."""
        self._settled += 1
        self._spent += self._price.cost(arrival.prompt_tokens, arrival.completion_tokens)
        self.add(arrival)

    def add(self, arrival: Arrival) -> None:
        """The same for what nobody had to be asked."""
        self._store.keep(arrival.changes)
        self._waiting.append(arrival)

    async def record(self, asking: Coroutine[Any, Any, None]) -> None:
        """Run `asking` to its end, committing what it settles; the rest in any case.

        Raises:
            Exception: what `asking` or the store raises, whichever fails first: no use in asking
                what cannot be written.
        """
        self._on_progress(self.progress)
        task = asyncio.create_task(asking)
        writing = asyncio.create_task(self._commit_until_done(task))
        try:
            await asyncio.wait([task, writing], return_when=asyncio.FIRST_COMPLETED)
        finally:
            task.cancel()
            await asyncio.wait([task])
            await writing
        if not task.cancelled():
            task.result()

    async def _commit_until_done(self, task: asyncio.Task[None]) -> None:
        while not task.done() or self._waiting:
            await asyncio.wait([task], timeout=_FLUSH_EVERY)
            batch = self._waiting[:]
            # In a thread: waiting for the disk must not hold up the requests.
            await asyncio.to_thread(self._store.flush)
            del self._waiting[: len(batch)]
            self._count(batch)

    def _expected_cost(self) -> float:
        """What has been spent, and what the questions under way will cost if they are like it."""
        under_way = max(0, self._asked - self._settled)
        return self._spent + under_way * self._spent / max(1, self._settled)

    def _count(self, batch: Sequence[Arrival]) -> None:
        progress = self.progress
        for arrival in batch:
            progress.failures += arrival.failures
            progress.prompt_tokens += arrival.prompt_tokens
            progress.completion_tokens += arrival.completion_tokens
            progress.sent += arrival.done
            progress.done += arrival.done
        progress.cost = self._price.cost(progress.prompt_tokens, progress.completion_tokens)
        self._on_progress(progress)
