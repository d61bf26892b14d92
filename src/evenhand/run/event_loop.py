"""The event loop that requests are sent on."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

from evenhand.files import open_standard_streams, rarely_collected

Found = TypeVar("Found")


def run_async(work: Coroutine[Any, Any, Found]) -> Found:
    """As `asyncio.run`, on uvloop: its sockets take a fifth less CPU a request than asyncio's."""
    open_standard_streams()  # uvloop aborts where a socket has the number of one of them
    with rarely_collected(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
