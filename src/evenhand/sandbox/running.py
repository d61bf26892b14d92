"""Run a program in a sandbox, or the tests of one, each side in a sandbox of its own."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from contextlib import suppress

from evenhand.errors import SandboxError
from evenhand.sandbox.inside.codec import BadValueError, decode, encode
from evenhand.sandbox.outcome import DEFAULT_LIMITS, Kind, Limits, Ran, Status, Tested, Tests
from evenhand.sandbox.process import Ended, Process, StoppedError
from evenhand.sandbox.seccomp import filter_program
from evenhand.text import one_line

_OUT_OF_MEMORY = ("MemoryError", "OSError: [Errno 12]")


def run_program(program: str, kind: Kind = "bwrap", limits: Limits = DEFAULT_LIMITS) -> Ran:
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

    def __init__(self, kind: Kind = "bwrap", limits: Limits = DEFAULT_LIMITS) -> None:
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


def check(kind: Kind) -> None:
    """Whether programs can be run here at all.

    Raises:
        SandboxError: they cannot; the message says what to do.
    """
    if sys.platform != "linux":
        raise SandboxError("code that the model writes can be run on Linux only")
    ran = run_program("print(6 * 7)", kind)
    if ran.stdout != "42\n":
        raise SandboxError(f"--sandbox {kind} does not run Python: {one_line(ran.stderr, 200)}")


def _candidate(kind: Kind, mode: str, limits: Limits) -> Process:
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
