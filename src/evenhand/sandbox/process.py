"""A process in a sandbox, watched from outside: time, output and threads."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from evenhand.sandbox.inside.codec import MOST_BYTES
from evenhand.sandbox.launch import (
    Launched,
    Limits,
    SandboxKind,
    Status,
    failure,
    first_input,
    launch,
)

_MOST_TIME = 1.8  # times the limit on CPU time: with start and end, all is done in twice that
_TICK = 0.05
_LOOK = 0.01
_CHUNK = 1 << 16
_LATE = 0.3  # seconds of CPU time between the last look at a process and its end, at most
_START = {"bwrap": 20.0, "none": 20.0, "docker": 600.0, "podman": 600.0}
"""Seconds that a sandbox may take to start; a container's image may have to be downloaded."""

_running: set[Process] = set()


class StoppedError(Exception):
    """The process has ended, or had to be ended."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended.

    Attributes:
        status: in a word.
        exit_code: None where it was killed.
        cpu_seconds: as in `Ran`.
        why: in a sentence, for a reader.
    """

    status: Status
    exit_code: int | None
    cpu_seconds: float
    why: str


def kill_all() -> None:
    """End everything that runs in a sandbox of this process's, as on Ctrl-C."""
    for process in list(_running):
        process.kill()


class Process:
    """A process in a sandbox.

    Its CPU time is limited from within by the kernel; the time that it sleeps is limited here. Both
    limits are `Limits.cpu`. What anybody waits for a processor does not count, so that a busy
    computer makes no difference.

    Args:
        kind: of sandbox.
        module: of `inside`, whose `main` is run there.
        arguments: of that.
        limits: of output, threads and sleep; those of CPU time, memory and files are the module's
            to set.
        forks: whether it has others do its work, one at a time; their time is what counts.

    Attributes:
        deadline: when it has to be done, on `clock`, but for
        queued: the seconds that it was in the queue for a processor, as last seen.

    Raises:
        SandboxError: the sandbox cannot be started.
    """

    def __init__(
        self,
        kind: SandboxKind,
        module: str,
        arguments: Sequence[str],
        limits: Limits,
        *,
        forks: bool = False,
    ) -> None:
        self.kind = kind
        self.limits = limits
        self._forks = forks
        self.launched: Launched = launch(kind, arguments, limits, processes=forks)
        _running.add(self)
        popen = self.launched.process
        self._stdin, self._stdout, self._stderr = self.launched.pipes()
        os.set_blocking(self._stdin.fileno(), False)
        self._exit = os.pidfd_open(popen.pid)
        self._open = {self._stdout.fileno(): bytearray(), self._stderr.fileno(): bytearray()}
        self.stdout = self._open[self._stdout.fileno()]
        self.stderr = self._open[self._stderr.fileno()]
        self._outgoing = bytearray(first_input(kind, module))
        self._most_stdout = MOST_BYTES + _CHUNK
        self._waited = self._cpu = self._looked = 0.0
        self.deadline = self.queued = 0.0
        self._started = False
        self._exited = False
        self._stopped: tuple[Status, str] | None = None
        self._ended: Ended | None = None
        self._start()

    def _start(self) -> None:
        """Wait for its first message, which says that the sandbox stands and the limits hold."""
        try:
            self.receive()
        except StoppedError:
            self.close()
            raise failure(self.kind, self.stderr.decode("utf-8", "replace")) from None
        except BaseException:
            self.close()
            raise
        self._started = True
        self._waited = self._looked = 0.0
        self.deadline = clock() + _MOST_TIME * self.limits.cpu

    def begin_anew(self, deadline: float) -> None:
        """Count its time and its output from here, for it has something new to do."""
        self.deadline = deadline
        self._waited = self.queued = self._cpu = 0.0
        del self.stderr[:]

    def send(self, letter: bytes, content: bytes = b"") -> None:
        """Send a message; StoppedError where nobody reads it."""
        self._outgoing += letter + len(content).to_bytes(4, "big") + content
        self._pump(lambda: not self._outgoing)

    def receive(self) -> tuple[bytes, bytes]:
        """The next message, as (letter, content); StoppedError where there is none."""
        self._pump(lambda: self._size() <= len(self.stdout) or self._silent())
        size = self._size()
        if len(self.stdout) < size:
            raise StoppedError
        letter, content = bytes(self.stdout[:1]), bytes(self.stdout[5:size])
        del self.stdout[:size]
        return letter, content

    def _size(self) -> int:
        """Of the message that comes in, its head included."""
        if len(self.stdout) < 5:
            return 5
        size = int.from_bytes(self.stdout[1:5], "big")
        if size > MOST_BYTES + 1024:
            self._stop("output", "a message of more than 8 MiB")
        return 5 + size

    def _silent(self) -> bool:
        return self._stdout.fileno() not in self._open

    def run_to_end(self) -> None:
        """Let it run, and collect what it prints; StoppedError where it has to be ended."""
        self._most_stdout = self.limits.output
        self._pump(lambda: self._exited)
        deadline = time.monotonic() + 1.0  # what is left in the pipes; no writer is left
        self._pump(lambda: not self._open or time.monotonic() > deadline)

    def _pump(self, done: Callable[[], bool]) -> None:
        """Read, write and watch until it is done."""
        since = clock()
        while not done():
            poll = select.poll()
            for fd in self._open:
                poll.register(fd, select.POLLIN)
            if self._outgoing:
                poll.register(self._stdin, select.POLLOUT)
            if not self._exited:
                poll.register(self._exit, select.POLLIN)
            for fd, _ in poll.poll(_TICK * 1000):
                self._handle(fd)
            now = clock()
            self._waited += now - since
            since = now
            self._check_output()
            if now - self._looked > _LOOK:
                self._looked = now
                self._check_time()

    def _handle(self, fd: int) -> None:
        if fd == self._exit:
            self._exited = True
        elif fd in self._open:
            content = os.read(fd, _CHUNK)
            self._open[fd] += content
            if not content:
                del self._open[fd]
        else:
            self._write()

    def _write(self) -> None:
        try:
            written = os.write(self._stdin.fileno(), self._outgoing[:_CHUNK])
        except BrokenPipeError:
            raise StoppedError from None
        del self._outgoing[:written]

    def _check_output(self) -> None:
        if len(self.stderr) > self.limits.output or len(self.stdout) > self._most_stdout:
            self._stop("output", "too much output")

    def _check_time(self) -> None:
        if not self._started:
            if self._waited > _START[self.kind]:
                self._stop("killed", "the sandbox did not start")
        elif not self._exited:
            self._check_use()

    def _check_use(self) -> None:
        limits = self.limits
        first = self.launched.first()
        now = usage(first, of_fork=self._forks) if first else None
        if now is not None:  # as it is in a container, and when about to end
            self._cpu, self.queued = now.cpu, now.queued
            if now.cpu > limits.cpu:  # the kernel counts by ticks, and is late where few hit
                self._stop("timeout", f"it computed for {limits.cpu} s")
            if self._waited - now.busy > limits.cpu:
                self._stop("timeout", f"it waited for {limits.cpu} s")
            if now.threads > limits.threads:
                self._stop("killed", f"more than {limits.threads} threads")
        if clock() - self.queued > self.deadline:
            self._stop("timeout", f"it took longer than {_MOST_TIME * limits.cpu:g} s")

    def _stop(self, status: Status, why: str) -> None:
        self._stopped = (status, why)
        raise StoppedError

    def kill(self) -> None:
        """End it from another thread; whoever waits for it will find out."""
        with suppress(OSError):  # it has just ended
            signal.pidfd_send_signal(self._exit, signal.SIGKILL)

    def close(self) -> Ended:
        """End it if it still runs, and say how it ended. Nothing of it is left afterwards."""
        if self._ended is None:
            self._ended = self._end()
        return self._ended

    def _end(self) -> Ended:
        popen = self.launched.process
        # Who says no more has ended, or is about to.
        patience = 1.0 if self._silent() and self._stopped is None else 0.0
        alive = not self._exited and not select.select([self._exit], [], [], patience)[0]
        if alive and (first := self.launched.first()) and (now := usage(first)):
            self._cpu = now.cpu
        if alive or self.kind == "none":  # where nothing else ends what it has left behind
            self.launched.kill()
        _running.discard(self)
        code = popen.wait()
        os.close(self._exit)
        for pipe in (self._stdin, self._stdout, self._stderr):
            with suppress(BrokenPipeError):
                pipe.close()
        self.launched.close()
        if self._stopped is not None:
            status, why = self._stopped
            return Ended(status, None, self._cpu, why)
        if alive:
            return Ended("ok", None, self._cpu, "")
        number = -code if code < 0 else code - 128
        if number == signal.SIGKILL and self._cpu > self.limits.cpu - _LATE:
            return Ended("timeout", None, self._cpu, f"it computed for {self.limits.cpu} s")
        if number in signal.valid_signals():
            return Ended("killed", None, self._cpu, f"ended by signal {number}")
        return Ended(
            "error" if code else "ok", code, self._cpu, f"exit code {code}" if code else ""
        )


@dataclass(frozen=True, slots=True)
class Usage:
    """What a program has used.

    Attributes:
        cpu: seconds of CPU time.
        queued: seconds that its threads were in the queue for a processor.
        busy: seconds that they were there, or on a processor.
        threads: how many it has now.
    """

    cpu: float
    queued: float
    busy: float
    threads: int


def usage(first: int, *, of_fork: bool = False) -> Usage | None:
    """Usage of the program in a sandbox; None where it has ended, or cannot be seen.

    Args:
        first: number of bubblewrap's first process, whose only child is the program.
        of_fork: of the program's only child instead.
    """
    try:
        program = _child(first)
        if of_fork:
            program = _child(program)
        threads = list(Path(f"/proc/{program}/task").iterdir())
        told = [(thread / "schedstat").read_text().split() for thread in threads]
        # The clock of another process's CPU time, as clock_getcpuclockid makes it.
        cpu = time.clock_gettime((~program << 3) | 2)
    except (OSError, ValueError, IndexError):
        return None
    on, queued = (sum(int(times[i]) for times in told) / 1e9 for i in (0, 1))
    return Usage(cpu, queued, queued + on, len(threads))


def clock() -> float:
    """Seconds on a clock that stands still while this thread is in the queue for a processor."""
    now = time.monotonic()
    try:
        file = os.open("/proc/thread-self/schedstat", os.O_RDONLY)  # pathlib takes too long
    except OSError:  # it cannot be seen here
        return now
    queued = os.read(file, 100).split()[1]
    os.close(file)
    return now - int(queued) / 1e9


def _child(process: int) -> int:
    return int(Path(f"/proc/{process}/task/{process}/children").read_text().split()[0])
