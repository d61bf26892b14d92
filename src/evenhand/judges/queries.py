"""Asking a model for verdicts, and again where its answer cannot be read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from evenhand.engines.engine import Engine, Failure, Response
from evenhand.judges.judge import Judgment, Settle
from evenhand.run.loop import tokens_of
from evenhand.scorers.base import Unscored, Verdict
from evenhand.scorers.final import CUT_OFF
from evenhand.study.cue import Message
from evenhand.study.plan import Request
from evenhand.text import one_line

_QUOTED = 500
"""Characters of an unreadable reply that the judge is shown again: it may be of any length."""


class Unreadable(Exception):
    """A reply that holds no verdict; its text is the reason, the same for all of its kind."""


Read = Callable[[int, str], Verdict]
"""From the question's place and the judge's reply to a verdict; raises `Unreadable`."""


@dataclass(slots=True)
class _Query:
    """One question, and how often it was asked in vain."""

    messages: list[Message]
    failures: list[Failure] = field(default_factory=list)
    unread: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, response: Response) -> None:
        self.failures += response.failures
        prompt_tokens, completion_tokens = tokens_of(response)
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens

    def settled(self, verdict: Verdict | None) -> Judgment:
        tokens = self.prompt_tokens, self.completion_tokens
        return Judgment(verdict, tuple(self.failures), *tokens)


async def query_all(
    engine: Engine,
    questions: Iterator[list[Message]],
    read: Read,
    settle: Settle,
    *,
    reminder: str = "",
    attempts: int = 1,
) -> None:
    """Ask every question until its reply can be read.

    Args:
        read: makes a verdict of a reply.
        settle: called once for each question.
        reminder: what a judge is told after a reply that could not be read.
        attempts: the most times that one question is asked; each reply that could not be read
            is kept as a failure.

    Raises:
        EngineError: the model cannot be reached or will not answer.
    """
    under_way: dict[int, _Query] = {}
    again: deque[int] = deque()
    numbered = enumerate(questions)

    def requests() -> Iterator[Request]:
        while True:
            if again:
                place = again.popleft()
            elif (new := next(numbered, None)) is not None:
                place, messages = new
                under_way[place] = _Query(messages)
            else:
                return
            question = under_way[place]
            yield Request(b"", 0, place, question.unread, question.messages)

    def take(response: Response) -> None:
        place = response.request.item
        question = under_way[place]
        question.add(response)
        if response.text is None:
            refused = Verdict(Unscored("rejected by the judge's endpoint"), response.error)
            settle(place, under_way.pop(place).settled(refused if response.settled else None))
            return
        try:
            verdict = read(place, response.text)
        except Unreadable as error:
            reason = CUT_OFF.reason if response.outcome == "cut off" else str(error)
            question.unread += 1
            question.failures.append(Failure(200, f"{reason}: {one_line(response.text, 100)}"))
            if question.unread < attempts:
                question.messages = _reminded(question.messages, response.text, reminder)
                again.append(place)
                return
            verdict = Verdict(Unscored(f"judge's verdict: {reason}"))
        settle(place, under_way.pop(place).settled(verdict))

    await engine.answer(requests(), take)
    while again:
        await engine.answer(requests(), take)


def _reminded(messages: list[Message], reply: str, reminder: str) -> list[Message]:
    """The question with the last unreadable reply and a reminder after it."""
    asked = [m for m in messages if m["role"] == "system"] + [
        next(m for m in messages if m["role"] == "user")
    ]
    shown = reply[:_QUOTED].strip() or "(nothing)"
    return [
        *asked,
        {"role": "assistant", "content": shown},
        {"role": "user", "content": reminder},
    ]
