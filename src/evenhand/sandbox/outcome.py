"""What may be used in a sandbox, and how a program in it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SandboxKind = Literal["bwrap", "docker", "podman", "none"]
"""What contains the program: bubblewrap, a container, or nothing at all."""

Status = Literal["ok", "error", "timeout", "memory", "output", "killed"]
"""How it ended: exit code 0; another exit code; too much time; out of memory; too much output;
by a signal, or by us for too many threads."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one program may use.

    Attributes:
        cpu: seconds of CPU time, at least 1; also the seconds that it may sleep.
        memory: MiB of address space.
        output: bytes that it may print, standard output and standard error each.
        file_size: MiB of a file, and of all its files together.
        threads: at once.
    """

    cpu: int = 5
    memory: int = 512
    output: int = 2**20
    file_size: int = 16
    threads: int = 64


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended.

    Attributes:
        status: how it ended, in one word.
        cpu_seconds: CPU time of the program as last seen, every 0.05 s; 0.0 in containers, where
            it cannot be seen.
        stdout, stderr: as far as the limit on output; undecodable bytes are replaced.
        exit_code: None where it was killed.
    """

    status: Status
    cpu_seconds: float
    stdout: str
    stderr: str
    exit_code: int | None


@dataclass(frozen=True, slots=True)
class Tested:
    """How the tests of a program went.

    Attributes:
        passed: every test passed.
        status: how the program ended; "ok" where it was still there after the tests.
        why: for a reader, why it did not pass; empty if it did.
        cpu_seconds: as in `Ran`.
    """

    passed: bool
    status: Status
    why: str
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Tests:
    """Tests of a program; none of this is ever in the sandbox that the program is in.

    Attributes:
        tests: each passes if it raises nothing: "assert add(1, 2) == 3".
        names: what the program is to define; all other names are the tests' own.
        before: code that is run before these names are there: imports and helpers.
        setup: code that is run with them, before the tests.
    """

    tests: tuple[str, ...]
    names: tuple[str, ...]
    before: str = ""
    setup: str = ""
