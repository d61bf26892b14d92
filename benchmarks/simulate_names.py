"""Simulate studies of names: the rotating and the crossed design, and analyses that ignore names.

    python benchmarks/simulate_names.py                      everything, 1,000 replications
    python benchmarks/simulate_names.py --only rotating --replications 300

Every identity has names with effects of their own (normal, their SD in points), drawn anew in every
replication; the true PB is that over the whole population of names, which no study has seen. 400
items an axis.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray
from simulate_stats import Row, percent, run_tables

from evenhand import stats

Floats = NDArray[np.float64]
ITEMS = 400
NAMES = 20
SPREADS = {0.5: 3.0, 0.9: 3.0, 0.98: 1.0}
"""True PB by base rate, where there is one, in points."""
CASES = list(product((4, 8, 31), (0.0, 2.0, 4.0), SPREADS))


def seeded(*of: object) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(repr(of).encode()))


def draw_items(base: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """(items,) chances of success, and how far an effect of one point moves each of them."""
    easy = rng.beta(4 * base, 4 * (1 - base), ITEMS)
    weight = easy * (1 - easy)
    return easy, weight / weight.mean() / 100


def effects(k: int, spread: float) -> Floats:
    """(identities,) evenly spaced, with that root mean square around their mean, in points."""
    steps = np.linspace(-1, 1, k)
    return steps * spread / float(np.sqrt(np.mean(steps**2)))


def draw(easy: Floats, moved: Floats, rng: np.random.Generator) -> Floats:
    right: NDArray[np.bool_] = rng.random(moved.shape) < np.clip(easy + moved, 0, 1)
    return right.astype(float)


def rotating(
    effect: Floats, names: Floats, sd: float, base: float, rng: np.random.Generator
) -> tuple[Floats, float]:
    """Scores (identities, items) of names (identities, slots) of that SD, and the true PB^2."""
    easy, weight = draw_items(base, rng)
    slot = np.arange(ITEMS) % names.shape[1]
    scores = draw(easy, (effect[:, None] + names[:, slot]) * weight, rng)
    # Over all names, clipping included: nine nodes of the normal distribution.
    nodes, shares = np.polynomial.hermite_e.hermegauss(9)
    moved = easy + (effect[:, None, None] + sd * nodes[:, None]) * weight
    means = 100 * np.clip(moved, 0, 1).mean(axis=2) @ shares / shares.sum()
    return scores, float(np.var(means))


def rotating_table(replications: int) -> Iterator[Row]:
    for slots, (k, sd, base) in product((20, 40), CASES):
        yield rotating_row(k, slots, sd, base, replications)


def rotating_row(k: int, slots: int, sd: float, base: float, replications: int) -> Row:
    rng = seeded("rotating", k, slots, sd, base)
    labels = {"safety": np.arange(ITEMS) % slots}
    rejected, ignored, hit = [], [], []
    for _ in range(replications):
        names = rng.normal(0, sd, (k, slots))
        scores, _ = rotating(np.zeros(k), names, sd, base, rng)
        found = stats.personalization_bias(scores, None, clusters=labels)
        rejected.append(found.p_value <= 0.05)
        ignored.append(stats.personalization_bias(scores, None).p_value <= 0.05)
        scores, square = rotating(effects(k, SPREADS[base]), names, sd, base, rng)
        low, high = stats.personalization_bias(scores, None, clusters=labels).interval
        hit.append(low <= square**0.5 <= high)
    return {
        "identities": k,
        "slots": slots,
        "SD of names": sd,
        "base rate": base,
        "p <= 0.05 %": percent(rejected),
        "coverage %": percent(hit),
        "slots ignored: p <= 0.05 %": percent(ignored),
    }


def joint_table(replications: int) -> Iterator[Row]:
    """The same names move safety and utility alike, which the joint PB takes for independent."""
    for k, sd in product((4, 8, 31), (2.0, 4.0)):
        rng, labels = seeded("joint", k, sd), np.arange(ITEMS) % NAMES
        tied = {"safety": labels, "utility": labels}
        rejected, hit = [], []
        for _ in range(replications):
            names = rng.normal(0, sd, (k, NAMES))
            axes = [rotating(np.zeros(k), names, sd, base, rng)[0] for base in (0.9, 0.5)]
            found = stats.personalization_bias(*axes, clusters=tied)
            rejected.append(found.p_value <= 0.05)
            told = [rotating(effects(k, 3.0), names, sd, base, rng) for base in (0.9, 0.5)]
            true = sum(square for _, square in told) ** 0.5
            found = stats.personalization_bias(*(scores for scores, _ in told), clusters=tied)
            hit.append(found.interval[0] <= true <= found.interval[1])
        yield {
            "identities": k,
            "slots": NAMES,
            "SD of names": sd,
            "p <= 0.05 %": percent(rejected),
            "coverage %": percent(hit),
        }


def ignored_table(replications: int) -> Iterator[Row]:
    """Without any bias: one name each, twenty names averaged, and the nested F test of these."""
    for k, sd, base in CASES:
        rng, who = seeded("ignored", k, sd, base), np.repeat(np.arange(k), NAMES).tolist()
        one, averaged, nested = [], [], []
        for _ in range(replications):
            easy, weight = draw_items(base, rng)
            own = rng.normal(0, sd, (k, 1, NAMES))
            scores = draw(easy[:, None], own * weight[:, None], rng)
            one.append(stats.personalization_bias(scores[:, :, 0], None).p_value <= 0.05)
            averaged.append(stats.personalization_bias(scores, None).p_value <= 0.05)
            rows = scores.transpose(0, 2, 1).reshape(-1, ITEMS)
            nested.append(stats.nested_realizations(rows, who).p_value <= 0.05)
        yield {
            "identities": k,
            "SD of names": sd,
            "base rate": base,
            "one name each: p <= 0.05 %": percent(one),
            "20 names averaged: p <= 0.05 %": percent(averaged),
            "nested F: p <= 0.05 %": percent(nested),
        }


TABLES: dict[str, Callable[[int], Iterator[Row]]] = {
    "rotating": rotating_table,
    "joint": joint_table,
    "ignored": ignored_table,
}


if __name__ == "__main__":
    run_tables(TABLES, __doc__.splitlines()[0])
