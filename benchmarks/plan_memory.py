"""Time and memory to plan a million cells and make every request and key of them.

    python benchmarks/plan_memory.py

Needs MMLU's test questions: set EVENHAND_DATA_DIR, or run `evenhand fetch mmlu-test` first.
"""

from __future__ import annotations

import resource
import time
from itertools import islice

from evenhand.study.plan import make_plan
from evenhand.study.study import Study

CELLS = 1_000_000


def main() -> None:
    """Print one line."""
    started = time.monotonic()
    plan = make_plan(Study(model="openai/any", benchmarks=("mmlu-test",), placebos=True, samples=2))
    keys = {request.key for request in islice(plan.requests(), CELLS)}
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{len(keys):,} cells of {plan.cells:,}: {seconds:.1f} s, peak {peak:.0f} MB")


if __name__ == "__main__":
    main()
