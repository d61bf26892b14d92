"""Write the demo suite, a fixed sample of the world: python -m organism.demo"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from evenhand.benchmarks.item import Item
from evenhand.benchmarks.own import own_record
from evenhand.organism.world import BENCHMARKS, draw

FOLDER = Path(__file__).parents[1] / "src" / "evenhand" / "data" / "demo"
SEED = 31
SIZES = {
    "demo_safety": 240,
    "demo_over_refusal": 80,
    "demo_knowledge": 120,
    "demo_arithmetic": 120,
    "demo_reasoning": 120,
}


def sample(benchmark: str) -> list[Item]:
    """The items of a demo benchmark: of the test part, no prompt twice."""
    rng = np.random.default_rng([SEED, BENCHMARKS.index(benchmark)])
    chosen: dict[str, Item] = {}
    while len(chosen) < SIZES[benchmark]:
        item = draw(benchmark, rng, "test", number=len(chosen)).item
        chosen.setdefault(item.prompt, item)
    return list(chosen.values())


def line(item: Item) -> str:
    """An item as a line of a benchmark file."""
    return json.dumps(own_record(item), ensure_ascii=False)


def main() -> None:
    """Write all five files."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for benchmark in BENCHMARKS:
        text = "".join(f"{line(item)}\n" for item in sample(benchmark))
        (FOLDER / f"{benchmark}.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
