"""Putting answers on disk in batches while more of them arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

Found = TypeVar("Found")

_FLUSH_EVERY = 0.25
"""Seconds between two writes: each waits for the disk, so answers are written in batches."""


async def write_as_they_come(
    asking: Coroutine[Any, Any, None],
    waiting: list[Found],
    write: Callable[[list[Found]], None],
    count: Callable[[list[Found]], None],
) -> None:
    """Run `asking` to its end while what it puts in `waiting` is written; the rest in any case.

    Args:
        waiting: filled by `asking`, emptied here.
        write: puts a batch on disk; called in a thread, for waiting for the disk must not hold
            up the requests.
        count: told of each batch after it was written.

    Raises:
        Exception: what `asking` or `write` raises, whichever fails first: no use in asking what
            cannot be written.
    """
    task = asyncio.create_task(asking)
    writing = asyncio.create_task(_write_until_done(task, waiting, write, count))
    try:
        await asyncio.wait([task, writing], return_when=asyncio.FIRST_COMPLETED)
    finally:
        task.cancel()
        await asyncio.wait([task])
        await writing
    if not task.cancelled():
        task.result()


async def _write_until_done(
    task: asyncio.Task[None],
    waiting: list[Found],
    write: Callable[[list[Found]], None],
    count: Callable[[list[Found]], None],
) -> None:
    while not task.done() or waiting:
        await asyncio.wait([task], timeout=_FLUSH_EVERY)
        batch = waiting[:]
        del waiting[: len(batch)]
        await asyncio.to_thread(write, batch)
        count(batch)
