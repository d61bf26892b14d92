"""A worker for the tests of processes: it does at once what it is told."""

from __future__ import annotations

import asyncio
import os
import signal
import sys


class Worker:
    """What a driver may call."""

    async def add(self, first: int, second: int) -> int:
        return first + second

    async def pid(self) -> int:
        return os.getpid()

    async def wait(self, seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    async def fail(self, text: str) -> None:
        raise ValueError(text)

    async def end(self, code: int, last_words: str) -> None:
        print(last_words, file=sys.stderr, flush=True)
        os._exit(code)

    async def interrupt(self) -> str:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0.05)
        return "still here"
