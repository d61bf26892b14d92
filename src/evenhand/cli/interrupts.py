"""Ctrl-C while answers are under way: what has come is written, however often it is pressed.

SIGTERM and SIGHUP, by which schedulers and closed terminals end a program, do the same as Ctrl-C.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TypeVar

Found = TypeVar("Found")

_ECHO = 1.0
"""Seconds in which a further interrupt is the first one again: `timeout` and other programs that
start us pass on one that has come to us already."""
_BUSY = 0.5
"""Seconds after which code that awaits nothing, as in scoring, is interrupted where it is."""
_IMPORTING = 0.05
"""Seconds from one look to the next at whether modules are still being imported."""

_last = -_ECHO
"""When an interrupt came that was no echo."""

_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


@contextmanager
def ended_alike() -> Iterator[None]:
    """Within it every signal that ends a program raises `KeyboardInterrupt`, as Ctrl-C does.

    One that is ignored, as SIGHUP by `nohup`, still is; so is the echo of one.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        if not _is_echo():
            _stop(number, frame)

    with _handled_by(interrupt):
        yield


def _is_echo() -> bool:
    """Whether an interrupt that comes now is that of a moment ago."""
    global _last
    now = time.monotonic()
    if now - _last <= _ECHO:
        return True
    _last = now
    return False


def _stop(_number: int, frame: FrameType | None) -> None:
    """Raise `KeyboardInterrupt`; while modules are being imported, as soon as they are.

    What is raised within the start of a module of C++, such as torch, ends the process.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            signal.setitimer(signal.ITIMER_REAL, _IMPORTING)
            return
        frame = frame.f_back
    raise KeyboardInterrupt


@contextmanager
def _handled_by(handler: Any) -> Iterator[None]:
    """Within it the signals that end a program are handled so, and the alarm by `_stop`."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can set handlers, and only it gets signals
        return
    before = {each: signal.getsignal(each) for each in _SIGNALS}
    before = {each: was for each, was in before.items() if was != signal.SIG_IGN}
    for each in before:
        signal.signal(each, handler)
    before[signal.SIGALRM] = signal.signal(signal.SIGALRM, _stop)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for each, was in before.items():
            signal.signal(each, was)


def say_last(text: str) -> None:
    """The last line to the user, whose terminal may be gone."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def run_to_interrupt(work: Coroutine[Any, Any, Found]) -> Found:
    """Run to the end, or to the first interrupt, after which `work` may put things in order.

    A further one raises at once; in the first second it is taken for an echo, since what is raised
    amid asyncio's own steps ends in a traceback, or leaves a step waiting for ever.

    Raises:
        KeyboardInterrupt: it was interrupted, and is done with that.
    """
    import asyncio  # slow to import, and not needed to show help

    from evenhand.run.event_loop import run_async

    interrupted = False

    async def interruptible() -> Found:
        loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)

        def interrupt(number: int, frame: FrameType | None) -> None:
            nonlocal interrupted
            if _is_echo():
                return
            if interrupted:
                _stop(number, frame)
                return
            interrupted = True
            loop.call_soon_threadsafe(cancel)
            signal.setitimer(signal.ITIMER_REAL, _BUSY)

        def cancel() -> None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            task.cancel()

        with _handled_by(interrupt):
            return await task

    try:
        return run_async(interruptible())
    except asyncio.CancelledError:
        if not interrupted:
            raise
        raise KeyboardInterrupt from None
