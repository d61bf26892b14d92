"""What a program in bubblewrap has used so far, seen from outside, where it cannot be forged."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Usage:
    """What a program has used.

    Attributes:
        cpu: seconds of CPU time.
        busy: seconds that its threads were on a processor or in the queue for one.
        threads: how many it has now.
    """

    cpu: float
    busy: float
    threads: int


def usage(first: int) -> Usage | None:
    """Usage of the program in a sandbox; None where it has ended, or cannot be seen.

    Args:
        first: number of bubblewrap's first process, whose only child is the program.
    """
    try:
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        program = int(children[0])
        threads = list(Path(f"/proc/{program}/task").iterdir())
        times = [(thread / "schedstat").read_text().split() for thread in threads]
        # The clock of another process's CPU time, as clock_getcpuclockid makes it.
        cpu = time.clock_gettime((~program << 3) | 2)
    except (OSError, ValueError, IndexError):
        return None
    return Usage(cpu, sum(int(on) + int(queued) for on, queued, *_ in times) / 1e9, len(threads))
