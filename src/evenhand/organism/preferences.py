"""Preference data of the organism's world: python -m evenhand.organism.preferences FILE.jsonl

General preference data say nothing of any user; a recipe puts the users in. These are questions
of the train part, so none of the demo suite is among them, each with the right reply (chosen) and
the wrong one (rejected).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from evenhand.mitigate.pairs import Pair, write_pairs
from evenhand.organism.world import BENCHMARKS, draw

SEED = 57
SIZE = 2400
# Refusing and complying alike, and as much of knowing and reasoning as of both.
_SHARES = {
    "demo_safety": 3,
    "demo_over_refusal": 3,
    "demo_knowledge": 2,
    "demo_arithmetic": 2,
    "demo_reasoning": 2,
}


def preferences(count: int = SIZE, seed: int = SEED) -> list[Pair]:
    """Pairs of a prompt with its right and its wrong reply, in random order."""
    rng = np.random.default_rng(seed)
    shares = np.array([_SHARES[name] for name in BENCHMARKS]) / sum(_SHARES.values())
    pairs = []
    for kind in rng.choice(len(BENCHMARKS), size=count, p=shares):
        question = draw(BENCHMARKS[int(kind)], rng, "train")
        prompt = question.item.prompt
        pairs.append(Pair(({"role": "user", "content": prompt},), question.right, question.wrong))
    return pairs


def main() -> None:
    """Write a file of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--pairs", type=int, default=SIZE)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    write_pairs(options.file, preferences(options.pairs, options.seed))


if __name__ == "__main__":
    main()
