"""Limits that a process sets for itself before any foreign code runs in it; it cannot lift them."""

from __future__ import annotations

import os
import resource

_MOST_OPEN_FILES = 64
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SET_FILTER = 1


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


def refuse(filter_program: bytes) -> None:
    """Have the kernel refuse system calls from now on, as `bwrap --seccomp` does.

    Raises:
        OSError: the kernel does not.
    """
    import ctypes  # not needed by a candidate, which has to start fast
    import struct

    steps = ctypes.create_string_buffer(filter_program)
    program = struct.pack("HxxxxxxP", len(filter_program) // 8, ctypes.addressof(steps))
    if ctypes.CDLL(None).syscall(_SECCOMP[os.uname().machine], _SET_FILTER, 0, program):
        raise OSError("no filter of system calls")
