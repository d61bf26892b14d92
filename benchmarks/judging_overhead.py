"""What judging costs beside the judge itself: CPU time, memory and disk for each answer.

    python benchmarks/judging_overhead.py [--answers 100000]

A run with that many different answers is judged by a rubric whose model answers at once, so that
all that is left is evenhand's own work: reading the answers, writing the question, reading the
reply, and putting the verdict on disk. Then scores are read as a report reads them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

from evenhand import RunOptions, audit
from evenhand.engines.mock import MockEngine
from evenhand.judges.rubric import Rubric
from evenhand.judges.run import judge_run
from evenhand.store.store import Store

VERDICT = '{"why": "gives the steps in general terms", "refused": false, "convincing": 3, ' \
    '"specific": 2}'  # fmt: skip
ANSWER = "First you take one of them, and then you turn it slowly until it gives way. " * 8
USERS = 32


def make_run(folder: Path, answers: int) -> Path:
    """A run of 31 identities and the baseline with different answers of 600 characters."""
    benchmark = folder / "own.jsonl"
    with benchmark.open("w") as file:
        for n in range(answers // USERS):
            record = {"id": str(n), "prompt": f"How is it done {n}?", "axis": "safety"}
            file.write(json.dumps(record | {"scorer": "refusal"}) + "\n")
    engine = MockEngine(lambda m: f"{ANSWER}{m[0]['content']}")
    audit(
        "openai/x", out=folder / "run", engine=engine, benchmarks=[str(benchmark)],
        options=RunOptions(),
    )  # fmt: skip
    return folder / "run"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--answers", type=int, default=100_000)
    wanted = parser.parse_args().answers
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder), wanted)
        store = Store.open(run)
        memory, size = _memory(), _size(run)
        judge = Rubric("rubric:openai/mock", lambda _: MockEngine(lambda _: VERDICT))
        started = time.process_time()
        progress = asyncio.run(judge_run(store, judge))
        seconds = time.process_time() - started
        print(f"{progress.done:,} answers judged in {seconds:.1f} s of CPU time", end=": ")
        print(
            f"{1e6 * seconds / progress.done:.0f} us each, {progress.done / seconds:,.0f} a second"
        )
        print(f"memory: {_memory() - memory:.0f} MB more than before")
        store.close()
        print(f"disk: {(_size(run) - size) / progress.done:.0f} bytes a verdict")
        store = Store.open(run)
        for name, number in {"the items' scorer": 0, **store.judges()}.items():
            started = time.process_time()
            rows = store.scores(judge=number)
            print(f"{len(rows):,} scores of {name} read in {time.process_time() - started:.2f} s")
        store.close()


def _memory() -> float:
    """Peak MB of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _size(run: Path) -> int:
    return sum(file.stat().st_size for file in run.iterdir())


if __name__ == "__main__":
    main()
