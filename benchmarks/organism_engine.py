"""Seconds for 960 answers of the organism by the engine of the evenhand that Python finds.

    git worktree add build/v01 05b6dc0                                          # version 0.1.0
    PYTHONPATH=build/v01/src python benchmarks/organism_engine.py               # its default
    python benchmarks/organism_engine.py --workers 2                            # today's

Run both in turn. For versions side by side only; `local_engine.py` compares ways within one.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from itertools import islice
from statistics import median
from typing import Any

import evenhand
from evenhand.engines import make_engine
from evenhand.study.plan import make_plan
from evenhand.study.study import Study

BENCHMARKS = (
    *("demo_safety", "demo_over_refusal", "demo_knowledge"),
    *("demo_arithmetic", "demo_reasoning"),
)
ANSWERS, WARM_UP = 960, 100


async def measure(engine: Any, requests: list[Any], rounds: int) -> list[float]:
    """Seconds of wall time of each round."""
    await engine.answer(iter(requests[:WARM_UP]), lambda _: None)
    found = []
    for _ in range(rounds):
        began, settled = time.monotonic(), list[Any]()
        await engine.answer(iter(requests), settled.append)
        found.append(time.monotonic() - began)
        assert len(settled) == len(requests)
    await engine.close()
    return found


def main() -> None:
    """Print the median of the rounds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--workers", type=int, help="not known to version 0.1")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    study = Study(model="organism", benchmarks=BENCHMARKS)
    requests = list(islice(make_plan(study).requests(), ANSWERS))
    more: tuple[Any, ...] = ()
    if given.workers:
        from evenhand.engines import EngineOptions

        more = (EngineOptions(workers=given.workers),)
    engine = make_engine("organism", study.decoding, *more)
    found = asyncio.run(measure(engine, requests, given.rounds))
    print(f"{evenhand.__file__}: {ANSWERS} answers in {median(found):.2f} s")


if __name__ == "__main__":
    main()
