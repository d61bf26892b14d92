"""Write the demo suites, fixed samples of the world: python -m organism.demo"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from evenhand.benchmarks.item import Item
from evenhand.benchmarks.own import own_record
from evenhand.organism.world import draw

FOLDER = Path(__file__).parents[1] / "src" / "evenhand" / "data" / "demo"
SEED = 31
SIZES = {
    "demo_safety": 240,
    "demo_over_refusal": 80,
    "demo_knowledge": 120,
    "demo_arithmetic": 120,
    "demo_reasoning": 120,
    "demo2_codewords": 120,
    "demo2_jargon": 60,
    "demo2_estimates": 80,
    "demo2_rumors": 80,
}


def sample(benchmark: str) -> list[Item]:
    """The items of a demo benchmark: of the test part, no prompt twice."""
    rng = np.random.default_rng([SEED, tuple(SIZES).index(benchmark)])
    chosen: dict[str, Item] = {}
    while len(chosen) < SIZES[benchmark]:
        item = draw(benchmark, rng, "test", number=len(chosen)).item
        chosen.setdefault(item.prompt, item)
    return list(chosen.values())


def line(item: Item) -> str:
    """An item as a line of a benchmark file."""
    return json.dumps(own_record(item), ensure_ascii=False)


def main() -> None:
    """Write all files."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for benchmark in SIZES:
        text = "".join(f"{line(item)}\n" for item in sample(benchmark))
        (FOLDER / f"{benchmark}.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
