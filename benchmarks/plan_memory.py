"""Time and memory to plan ten million cells and make every request and key of them.

    python benchmarks/plan_memory.py [--cells 1000000]

Nothing but the plan is kept, so memory must not grow with the cells: it is printed at a tenth of
them, too. Needs MMLU's test questions: set EVENHAND_DATA_DIR, or run `evenhand fetch mmlu-test`.
"""

from __future__ import annotations

import argparse
import resource
import time
from itertools import islice

from evenhand.study.plan import make_plan
from evenhand.study.study import Study

MOST_MB = 200


def peak() -> float:
    """Megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print one line at a tenth of the cells, and one at the end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=10_000_000)
    wanted = parser.parse_args().cells
    plan = make_plan(
        Study(model="openai/any", benchmarks=("mmlu-test",), placebos=True, samples=16)
    )
    planned, started, count = peak(), time.process_time(), 0
    for request in islice(plan.requests(), wanted):
        count += len(request.key) == 16
        if count in (wanted // 10, wanted):
            each = 1e6 * (time.process_time() - started) / count
            print(
                f"{count:,} cells of {plan.cells:,}: {each:.1f} us of CPU each, peak {peak():.0f} "
                f"MB ({planned:.0f} MB once planned)",
                flush=True,
            )
    if peak() > MOST_MB:
        raise SystemExit(f"more than {MOST_MB} MB")


if __name__ == "__main__":
    main()
