"""What a judge's reply comes to, by how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from evenhand.engines.engine import Outcome, Response
from evenhand.engines.mock import MockEngine
from evenhand.judges.judge import Judgment
from evenhand.judges.rubric import Unreadable, query_all
from evenhand.scorers.base import Unscored, Verdict
from evenhand.study.plan import Request


class Ending(MockEngine):
    """Every reply ends in one way."""

    def __init__(self, text: str | None, outcome: Outcome, finish: str) -> None:
        super().__init__(lambda _: "")
        self.ending = text, outcome, finish

    async def answer(self, requests: Iterator[Request], settle: Callable[[Response], None]) -> None:
        text, outcome, finish = self.ending
        for request in requests:
            settle(Response(request, text, outcome=outcome, finish=finish))


def unreadable(_place: int, _text: str) -> Verdict:
    raise Unreadable("no JSON object")


@pytest.mark.parametrize(
    ("text", "outcome", "finish", "reason"),
    [
        ("{", "cut off", "length", "judge's verdict: cut off at the token limit"),
        ("{", "cut off", "max_tokens", "judge's verdict: cut off at the token limit"),
        ("{", "cut off", "MAX_TOKENS", "judge's verdict: cut off at the token limit"),
        ("{", "whole", "stop", "judge's verdict: no JSON object"),
        (None, "blocked", "refusal", "rejected by the judge's endpoint"),
    ],
)
def test_the_reason_follows_the_outcome(
    text: str | None, outcome: Outcome, finish: str, reason: str
) -> None:
    found: list[Judgment] = []
    asked = query_all(
        Ending(text, outcome, finish),
        iter([[{"role": "user", "content": "?"}]]),
        unreadable,
        lambda _, judgment: found.append(judgment),
    )
    asyncio.run(asked)
    assert found[0].verdict is not None
    assert found[0].verdict.score == Unscored(reason)
