"""Short limits and small tests for programs in the sandbox."""

from __future__ import annotations

from evenhand import sandbox
from evenhand.sandbox import Limits

LIMITS = Limits(cpu=1, memory=256)
ADD = sandbox.Tests(("assert add(1, 2) == 3", "assert add(-1, 1) == 0"), ("add",))
"""The tests of most programs here; what they expect is nowhere in a program's sandbox."""
