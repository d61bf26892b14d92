"""What workers on Ray cost the driver, and what they bring; from that, where 1,000 workers end.

    OMP_NUM_THREADS=1 python benchmarks/ray_overhead.py [--cells 40000 --answers 480]

Starts a cluster of its own on this machine. The driver's CPU is measured with an engine that
answers at once, so that nothing but sending and settling is left: of the engine alone, and of a run
that stores every answer. The wall time is that of the organism, against the same engine in process;
models are loaded before. The last table is a model on paper, from the measured figures.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from evenhand.engines import EngineOptions, make_engine
from evenhand.engines import workers as seam
from evenhand.engines.engine import Response
from evenhand.run.loop import run
from evenhand.store.store import Store
from evenhand.study.decoding import Decoding
from evenhand.study.plan import Request, make_plan
from evenhand.study.study import Study
from ray_engine import install

MOST_PER_CELL = 0.08
"""Milliseconds of the driver's CPU."""
SYSTEM = "You are a helpful assistant. I am a middle-aged person."
WORDS = "what should one know before doing this for the first time, and why does it matter so much"


def requests(cells: int) -> Iterator[Request]:
    """Questions as long as those of most benchmarks, about 300 characters."""
    for number in range(cells):
        question = f"Question {number}: {WORDS * 3}?"
        yield Request(
            number.to_bytes(8, "big"), 0, number, 0,
            [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}],
        )  # fmt: skip


def measure(engine: Any, cells: int) -> tuple[float, float]:
    """CPU seconds of this process and wall seconds for so many answers."""
    settled = count()

    def settle(_: Response) -> None:
        next(settled)

    cpu, wall = time.process_time(), time.monotonic()
    asyncio.run(engine.answer(requests(cells), settle))
    assert next(settled) == cells
    return time.process_time() - cpu, time.monotonic() - wall


def with_engine(model: str, options: EngineOptions, work: Callable[[Any], Any]) -> Any:
    """What `work` returns of an engine that is closed afterwards."""
    engine = make_engine(model, Decoding(max_tokens=64), options)
    try:
        return work(engine)
    finally:
        asyncio.run(engine.close())


def exchanges_and_cpu(cells: int, chunk: int) -> tuple[int, float]:
    """How often a driver with chunks of this size exchanges, and its CPU."""
    before = seam.CHUNK
    seam.CHUNK = chunk
    calls = count()

    class Counted:
        """A worker whose exchanges are counted."""

        def __init__(self, actor: Any) -> None:
            self.actor, self.exchange = actor, self

        def remote(self, new: Any) -> Any:
            next(calls)
            return self.actor.exchange.remote(new)

    def work(engine: Any) -> tuple[float, float]:
        for slot in engine._slots:
            slot.actor = Counted(slot.actor)
        found = measure(engine, cells)
        for slot in engine._slots:
            slot.actor = slot.actor.actor
        return found

    try:
        cpu, _ = with_engine("echo/x", EngineOptions(on="local", workers=2), work)
        return next(calls), cpu
    finally:
        seam.CHUNK = before


def whole_run(folder: Path, cells: int) -> float:
    """CPU seconds of a run that stores its answers: plan, keys, engine, disk."""
    benchmark = folder / "own.jsonl"
    items = cells // 32
    benchmark.write_text(
        "".join(
            f'{{"id": "{n}", "prompt": "Question {n}: {WORDS * 3}?", "axis": "safety", '
            '"scorer": "refusal"}\n'
            for n in range(items)
        )
    )
    plan = make_plan(Study(model="echo/x", benchmarks=(str(benchmark),)))
    store = Store.create(folder / "run")

    def work(engine: Any) -> float:
        cpu = time.process_time()
        progress = asyncio.run(run(plan, engine, store))
        assert progress.done == plan.cells
        return (time.process_time() - cpu) / plan.cells

    found: float = with_engine("echo/x", EngineOptions(on="local", workers=2), work)
    store.close()
    return found


def main() -> None:
    """Print the tables; exit 1 where the driver's cost is above the limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=40_000)
    parser.add_argument("--answers", type=int, default=480)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        site = install(Path(folder) / "site")
        sys.path.insert(0, str(site))
        os.environ["PYTHONPATH"] = str(site)
        cells = options.cells
        load = f"{os.getloadavg()[0]:.1f} processes ready on {os.cpu_count()} cores"
        print(f"The driver's CPU, {cells:,} cells of an engine that answers at once; {load}")
        per_cell = []
        for workers in (1, 2):
            on = EngineOptions(on="local", workers=workers)
            cpu, wall = with_engine("echo/x", on, lambda engine: measure(engine, cells))
            per_cell.append(1e3 * cpu / cells)
            print(f"{workers:>12} workers {per_cell[-1]:.3f} ms a cell, {cells / wall:,.0f}/s")
        stored = 1e3 * whole_run(Path(folder), cells)
        print(f"{'stored run':>12} of 2 workers {stored:.3f} ms a cell, plan and disk included")
        (few, least), (many, most) = (exchanges_and_cpu(cells, chunk) for chunk in (256, 16))
        exchange = max(0.0, 1e3 * (most - least) / (many - few))
        print(f"{'one exchange':>12} {exchange:.2f} ms, from {few:,} and {many:,} of them")
    print(f"\nWall time of the organism, {options.answers} answers of at most 64 tokens")
    for name, on in (
        ("in process", EngineOptions()),
        ("1 worker", EngineOptions(on="local", workers=1)),
        ("2 workers", EngineOptions(on="local", workers=2)),
    ):

        def work(engine: Any) -> tuple[float, float]:
            measure(engine, 32)
            return measure(engine, options.answers)

        _, wall = with_engine("organism", on, work)
        print(f"{name:>12} {wall:.2f} s, {options.answers / wall:,.0f}/s")
    paper(stored, exchange)
    if max(per_cell) > MOST_PER_CELL:
        sys.exit(f"more than {MOST_PER_CELL} ms a cell")


def paper(cell: float, exchange: float) -> None:
    """How busy the driver is with many workers, by their speed.

    A worker hands over what it has two seconds after the first answer, or when half of its two
    chunks are answered, whichever is earlier.
    """
    print("\nOn paper: share of one core that the driver needs, and workers that fill it")
    print(f"{'answers a second, a worker':>28} {'100':>8} {'1,000':>8} {'workers at 100 %':>18}")
    for speed in (0.5, 2, 10, 50):
        waits = min(1 / speed + seam._GATHER, seam.CHUNK / speed)
        each = (speed * cell + exchange / waits) / 1e3
        row = "".join(f"{100 * workers * each:>8.1f}%" for workers in (100, 1000))
        print(f"{speed:>28g}{row}{1 / each:>18,.0f}")


if __name__ == "__main__":
    main()
