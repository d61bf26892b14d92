"""An engine for tests: a function instead of a model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

from evenhand.engines.engine import Response
from evenhand.study.cue import Message
from evenhand.study.plan import Request


class MockEngine:
    """Answers with a function of the conversation.

        from evenhand.engines.mock import MockEngine

        engine = MockEngine(lambda messages: "I can't help with that.")
        evenhand.audit("openai/any", engine=engine, out="runs/mock")

    Args:
        reply: from the messages to the answer.

    Attributes:
        asked: number of requests so far.
    """

    model = "mock"
    address = "mock"
    is_local = False
    is_paid = False
    default_suite = "paper"
    notes: Sequence[str] = ()

    def __init__(self, reply: Callable[[list[Message]], str]) -> None:
        self._reply = reply
        self.asked = 0

    def rendered(self, messages: list[Message]) -> str | None:
        """All contents, one below the other."""
        return "\n".join(message["content"] for message in messages)

    async def answer(self, requests: Iterator[Request], settle: Callable[[Response], None]) -> None:
        """Answer all requests, letting others run in between."""
        for request in requests:
            self.asked += 1
            settle(Response(request, self._reply(request.messages), finish="stop"))
            if self.asked % 100 == 0:
                await asyncio.sleep(0)

    async def close(self) -> None:
        """Nothing to release."""
