"""Time in tests: that a busy computer takes longer is no fault of what is tested."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path


def cpu_seconds(call: Callable[[], object], most: float) -> float:
    """CPU seconds of a call; where that is more than `most`, of the best of three calls."""
    taken: list[float] = []
    while not taken or (taken[-1] > most and len(taken) < 3):
        start = time.process_time()
        call()
        taken.append(time.process_time() - start)
    return min(taken)


def seconds_for(idle: float) -> float:
    """Seconds by the clock that something may take which takes at most `idle` undisturbed."""
    # The average of a minute is late: what has just begun shows in how many threads run now.
    now = Path("/proc/loadavg")
    running = int(now.read_text().split()[3].split("/")[0]) if now.exists() else 1
    return idle * max(1.0, os.getloadavg()[0], running)


def takes_at_most(call: Callable[[], object], idle: float) -> bool:
    """Whether a call takes, undisturbed, no longer by the clock: the best of three calls."""
    for _ in range(3):
        start = time.monotonic()
        call()
        if time.monotonic() - start < seconds_for(idle):
            return True
    return False
