"""Run a program in a sandbox, test one or many, and choose which sandbox is used."""

from __future__ import annotations

import asyncio
import math
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYetError
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from types import TracebackType
from typing import get_args

from evenhand.benchmarks.item import Item
from evenhand.errors import SandboxError, UnknownName, UsageError
from evenhand.sandbox.inside.codec import BadValueError, decode, encode
from evenhand.sandbox.launch import (
    DEFAULT_LIMITS,
    Limits,
    Ran,
    SandboxKind,
    Status,
    Tested,
    Tests,
    filter_program,
)
from evenhand.sandbox.process import Ended, Process, StoppedError, kill_all
from evenhand.text import one_line

_OUT_OF_MEMORY = ("MemoryError", "OSError: [Errno 12]")


def run_program(program: str, kind: SandboxKind = "bwrap", limits: Limits = DEFAULT_LIMITS) -> Ran:
    """Run a program to its end, with empty standard input.

    Raises:
        SandboxError: the sandbox cannot be started.
    """
    process = _candidate(kind, "program", limits)
    try:
        with suppress(StoppedError):  # it says below how it ended
            process.send(b"P", encode([_text(program)], _no_number))
            process.run_to_end()
    finally:
        ended = process.close()
    stdout, stderr = (
        bytes(text[: limits.output]).decode("utf-8", "replace")
        for text in (process.stdout, process.stderr)
    )
    status = ended.status
    last_line = stderr.rstrip().rpartition("\n")[2]
    if status == "error" and last_line.startswith(_OUT_OF_MEMORY):
        status = "memory"
    return Ran(status, ended.cpu_seconds, stdout, stderr, ended.exit_code)


class Tester:
    """A sandbox with the tests' side, for one program after another; not for several threads.

    Raises:
        SandboxError: the sandbox cannot be started.
    """

    def __init__(self, kind: SandboxKind = "bwrap", limits: Limits = DEFAULT_LIMITS) -> None:
        self._kind = kind
        self._limits = limits
        self._process = self._start()

    def _start(self) -> Process:
        for_forks = filter_program().hex() if self._kind == "bwrap" else ""
        arguments = (*_arguments(self._limits), for_forks)
        return Process(self._kind, "tester", arguments, self._limits, forks=True)

    def test(self, programs: Sequence[str], tests: Tests) -> Tested:
        """Test a program in a new sandbox of its own.

        Args:
            programs: readings of the program; the first that can be compiled is taken.

        Raises:
            SandboxError: the sandbox cannot be started.
        """
        candidate = _candidate(self._kind, "calls", self._limits)
        failed = "it did not get as far as the tests"
        try:
            failed = self._load(candidate, programs) or self._converse(candidate, tests)
        except StoppedError:
            pass  # the candidate says below how it ended
        except BadValueError as error:
            failed = f"the program cannot be sent: {error}"
        finally:
            ended = candidate.close()
        return _tested(failed, ended)

    @staticmethod
    def _load(candidate: Process, programs: Sequence[str]) -> str:
        candidate.send(b"P", encode([_text(reading) for reading in programs], _no_number))
        letter, content = candidate.receive()
        return "" if letter == b"L" else content.decode("utf-8", "replace") or "failed to load"

    def _converse(self, candidate: Process, tests: Tests) -> str:
        """Carry calls and answers; why the tests failed, empty if they passed."""
        job = (tests.before, list(tests.names), tests.setup, list(tests.tests))
        deadline = candidate.deadline  # of both: who takes turns has no more time than one alone
        self._process.begin_anew(deadline + candidate.queued)
        try:
            self._process.send(b"J", encode(job, _no_number))
            while True:
                letter, content = self._process.receive()
                if letter == b"V":
                    return str(decode(content, _no_object))
                candidate.deadline = deadline + self._process.queued
                answer = self._ask(candidate, content)
                if answer is None:
                    self._process.deadline = math.inf  # it has no more to do than to say so
                    self._process.send(b"X")
                else:
                    self._process.deadline = deadline + candidate.queued
                    self._process.send(b"A", answer)
        except (StoppedError, BadValueError):
            self._process.close()
            self._process = self._start()
            return "the tests took too much time or memory"

    @staticmethod
    def _ask(candidate: Process, call: bytes) -> bytes | None:
        try:
            candidate.send(b"C", call)
            return candidate.receive()[1]
        except StoppedError:
            return None

    def close(self) -> None:
        """End it."""
        self._process.close()


def check(kind: SandboxKind) -> None:
    """Whether programs can be run here at all.

    Raises:
        SandboxError: they cannot; the message says what to do.
    """
    if sys.platform != "linux":
        raise SandboxError("code that the model writes can be run on Linux only")
    ran = run_program("print(6 * 7)", kind)
    if ran.stdout != "42\n":
        raise SandboxError(f"--sandbox {kind} does not run Python: {one_line(ran.stderr, 200)}")


def _candidate(kind: SandboxKind, mode: str, limits: Limits) -> Process:
    return Process(kind, "candidate", (mode, *_arguments(limits)), limits)


def _arguments(limits: Limits) -> tuple[str, str, str]:
    return str(limits.cpu), str(limits.memory * 2**20), str(limits.file_size * 2**20)


def _text(program: str) -> str:
    """Without half UTF-16 pairs, which no Python source can hold: question marks instead."""
    return program.encode("utf-8", "replace").decode()


def _tested(failed: str, ended: Ended) -> Tested:
    if not failed:
        return Tested(True, "ok", "", ended.cpu_seconds)
    status: Status = ended.status
    if status == "ok":
        by_itself = ended.exit_code is not None
        status = "memory" if failed.startswith(_OUT_OF_MEMORY) else "error"
        why = "it exited before the tests were done" if by_itself else failed
    elif status == "error":
        why = failed if ended.exit_code == 0 else ended.why
    else:
        why = ended.why
    return Tested(False, status, one_line(why, 200), ended.cpu_seconds)


def _no_number(held: object) -> int:
    raise TypeError(type(held).__name__)


def _no_object(number: int) -> object:
    raise BadValueError(number)


CHOICES: tuple[SandboxKind, ...] = get_args(SandboxKind)
ACCEPT = "--i-accept-that-model-written-code-runs-here-unprotected"

_chosen: ContextVar[SandboxKind] = ContextVar("sandbox", default="bwrap")


def chosen() -> SandboxKind:
    """The sandbox that code is run in; bubblewrap unless `using` says otherwise."""
    return _chosen.get()


@contextmanager
def using(kind: str, *, accept_unprotected: bool = False) -> Iterator[None]:
    """Use this sandbox within the block.

    Raises:
        UnknownName: there is no sandbox of that name.
        UsageError: "none" was chosen and its danger not accepted.
    """
    for known in CHOICES:
        if known == kind:
            break
    else:
        raise UnknownName("sandbox", kind, CHOICES)
    if known == "none" and not accept_unprotected:
        raise UsageError(
            "--sandbox none lets code that the model wrote do all that you can do on this "
            f"computer; if you want that, add {ACCEPT}"
        )
    token = _chosen.set(known)
    try:
        yield
    finally:
        _chosen.reset(token)


def require(items: Iterable[Item]) -> None:
    """Check that the chosen sandbox works, if any of these items needs one.

    Raises:
        SandboxError: it does not; the message says what to install.
    """
    if any(item.scorer == "code" for item in items):
        check(chosen())


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
        self,
        kind: SandboxKind = "bwrap",
        limits: Limits = DEFAULT_LIMITS,
        workers: int | None = None,
    ) -> None:
        self._kind: SandboxKind = kind
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
