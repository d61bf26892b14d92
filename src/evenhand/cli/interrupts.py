"""Ctrl-C while answers are under way: what has come is written, however often it is pressed."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

Found = TypeVar("Found")

_ECHO = 1.0
"""Seconds in which a further interrupt is the first one again: `timeout` and other programs that
start us pass on one that has come to us already."""
_BUSY = 0.5
"""Seconds after which code that awaits nothing, as in scoring, is interrupted where it is."""


def run_to_interrupt(work: Coroutine[Any, Any, Found]) -> Found:
    """Run to the end, or to the first Ctrl-C, after which `work` may still put things in order.

    A further one raises at once; in the first second it is taken for an echo, since what is raised
    amid asyncio's own steps ends in a traceback, or leaves a step waiting for ever.

    Raises:
        KeyboardInterrupt: it was interrupted, and is done with that.
    """
    first: float | None = None

    async def interruptible() -> Found:
        loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)

        def interrupt(*_: object) -> None:
            nonlocal first
            if first is None:
                first = time.monotonic()
                loop.call_soon_threadsafe(cancel)
                signal.setitimer(signal.ITIMER_REAL, _BUSY)
            elif time.monotonic() - first > _ECHO:
                raise KeyboardInterrupt

        def cancel() -> None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            task.cancel()

        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGINT, interrupt), signal.signal(signal.SIGALRM, stop)
        try:
            return await task
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGINT, before[0])
            signal.signal(signal.SIGALRM, before[1])

    try:
        return asyncio.run(interruptible())
    except asyncio.CancelledError:
        if first is None:
            raise
        raise KeyboardInterrupt from None
