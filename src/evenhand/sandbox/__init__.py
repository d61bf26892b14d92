"""A sandbox for code that a model wrote: it can hurt nobody, and cannot fake that it works.

run_program("print(1)")                run a program
Pool().test([(program, tests), ...])   test programs, several at once
check("bwrap")                         whether there is a sandbox here
using("docker")                        which one the scorer `code` takes

What is contained, and how: docs/code.md.
"""

from __future__ import annotations

from evenhand.sandbox.launch import DEFAULT_LIMITS, Limits, Ran, SandboxKind, Status, Tested, Tests
from evenhand.sandbox.process import kill_all
from evenhand.sandbox.programs import (
    ACCEPT,
    CHOICES,
    Pool,
    Tester,
    check,
    chosen,
    require,
    run_program,
    using,
)

__all__ = [
    "ACCEPT",
    "CHOICES",
    "DEFAULT_LIMITS",
    "Limits",
    "Pool",
    "Ran",
    "SandboxKind",
    "Status",
    "Tested",
    "Tester",
    "Tests",
    "check",
    "chosen",
    "kill_all",
    "require",
    "run_program",
    "using",
]
