"""Limits that a process sets for itself before any foreign code runs in it; it cannot lift them."""

from __future__ import annotations

import resource

_MOST_OPEN_FILES = 64


def limit(cpu: int, memory: int, file_size: int) -> None:
    """Limit the process.

    Args:
        cpu: seconds of CPU time after which it is killed.
        memory: bytes of address space.
        file_size: bytes of any one file that it writes.
    """
    for what, most in (
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, file_size),
        (resource.RLIMIT_NOFILE, _MOST_OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        # Soft and hard alike: a soft limit on CPU time sends a signal that can be ignored.
        resource.setrlimit(what, (most, most))
