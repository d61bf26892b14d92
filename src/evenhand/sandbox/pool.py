"""Several programs at once, each in a new sandbox of its own."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYetError
from types import TracebackType

from evenhand.sandbox.outcome import DEFAULT_LIMITS, Kind, Limits, Tested, Tests
from evenhand.sandbox.process import kill_all
from evenhand.sandbox.running import Tester

_NOTICE = 0.2


class Pool:
    """As many programs at once as there are processors. A context manager.

    Args:
        kind: of sandbox.
        limits: of each program.
        workers: programs at once; None for one a processor.

    Raises:
        SandboxError: the sandbox cannot be started.
    """

    def __init__(
        self, kind: Kind = "bwrap", limits: Limits = DEFAULT_LIMITS, workers: int | None = None
    ) -> None:
        self._kind: Kind = kind
        self._limits = limits
        workers = workers or len(os.sched_getaffinity(0))
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="sandbox")
        self._own = threading.local()
        self._testers: list[Tester] = []

    def test(self, programs: Iterable[tuple[Sequence[str], Tests]]) -> list[Tested]:
        """Test programs, each given as for `Tester.test`; results in the same order."""
        futures = [self._threads.submit(self._test, *program) for program in programs]
        return [_result(future) for future in futures]

    def _test(self, programs: Sequence[str], tests: Tests) -> Tested:
        if not hasattr(self._own, "tester"):
            # A sandbox ends with the thread that started it: each thread has a tester of its own.
            self._own.tester = Tester(self._kind, self._limits)
            self._testers.append(self._own.tester)
        tester: Tester = self._own.tester
        return tester.test(programs, tests)

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:  # Ctrl-C above all: do not wait for what is running
            self._threads.shutdown(wait=False, cancel_futures=True)
            kill_all()
        self._threads.shutdown(cancel_futures=True)
        for tester in self._testers:
            tester.close()


def _result(future: Future[Tested]) -> Tested:
    while True:
        try:
            return future.result(_NOTICE)
        except NotYetError:
            if _is_cancelled():
                raise asyncio.CancelledError from None


def _is_cancelled() -> bool:
    """Whether this is within a task that has been cancelled.

    A first Ctrl-C is no KeyboardInterrupt within asyncio.run: it cancels the task, which would
    not notice before its next `await`.
    """
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no task at all
        return False
    return task is not None and task.cancelling() > 0
