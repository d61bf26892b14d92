"""A sandbox for code that a model wrote: it can hurt nobody, and cannot fake that it works.

run_program("print(1)")                run a program
Pool().test([(program, tests), ...])   test programs, several at once
check("bwrap")                         whether there is a sandbox here
using("docker")                        which one the scorer `code` takes

What is contained, and how: docs/code.md.
"""

from __future__ import annotations

from evenhand.sandbox.choice import CHOICES, chosen, require, using
from evenhand.sandbox.outcome import DEFAULT_LIMITS, Kind, Limits, Ran, Status, Tested, Tests
from evenhand.sandbox.pool import Pool
from evenhand.sandbox.process import kill_all
from evenhand.sandbox.running import Tester, check, run_program

__all__ = [
    "CHOICES",
    "DEFAULT_LIMITS",
    "Kind",
    "Limits",
    "Pool",
    "Ran",
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
