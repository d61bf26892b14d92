"""What a program in bubblewrap has used so far, seen from outside, where it cannot be forged."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path


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
