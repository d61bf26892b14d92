r"""Simulate studies of names: the rotating and the crossed design, and analyses that ignore names.

    python benchmarks/simulate_names.py                      everything, 1,000 replications
    python benchmarks/simulate_names.py --only rotating --replications 300
    python benchmarks/simulate_names.py --only share \
        --into FOLDER --docs docs/statistics-reference.md

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
    return scores, float(np.var(over_all_names(effect, sd, easy, weight)[0]))


def over_all_names(effect: Floats, sd: float, easy: Floats, weight: Floats) -> tuple[Floats, float]:
    """(identities,) true means over all names, and the variance of one identity's names.

    In points; chances below 0 or above 1 are clipped. By nine nodes of the normal distribution.
    """
    nodes, shares = np.polynomial.hermite_e.hermegauss(9)
    shares = shares / shares.sum()
    moved = easy + (effect[:, None, None] + sd * nodes[:, None]) * weight
    by_name = 100 * np.clip(moved, 0, 1).mean(axis=2)
    means = by_name @ shares
    return means, float(np.mean((by_name - means[:, None]) ** 2 @ shares))


def true_share(effect: Floats, sd: float, easy: Floats, weight: Floats) -> float:
    """The identities' share of the two variances, as `NestedRealizations.share` has it."""
    means, names = over_all_names(effect, sd, easy, weight)
    identity = float(np.var(means, ddof=1))
    return identity / (identity + names)


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


def share_table(replications: int) -> Iterator[Row]:
    """Whether the interval of the share holds the true one, rotating and crossed."""
    for k, sd, base, spread in product((4, 8), (0.0, 2.0, 4.0), SPREADS, (False, True)):
        if spread or sd:  # otherwise there is no share
            yield share_row(k, sd, base, SPREADS[base] * spread, replications)


def share_row(k: int, sd: float, base: float, spread: float, replications: int) -> Row:
    rng = seeded("share", k, sd, base, spread)
    effect, who = effects(k, spread), np.repeat(np.arange(k), NAMES).tolist()
    found: dict[str, list[tuple[bool, bool]]] = {"20 slots": [], "40 slots": [], "all names": []}
    truths = []
    for _ in range(replications):
        for slots in (20, 40):
            easy, weight = draw_items(base, rng)
            slot = np.arange(ITEMS) % slots
            names = rng.normal(0, sd, (k, slots))
            scores = draw(easy, (effect[:, None] + names[:, slot]) * weight, rng)
            truth = true_share(effect, sd, easy, weight)
            result = stats.rotating_realizations(scores, slot)
            found[f"{slots} slots"].append(share_held(result, truth))
        names = rng.normal(0, sd, (k, NAMES))
        scores = draw(easy, (effect[:, None, None] + names[:, :, None]) * weight, rng)
        result = stats.nested_realizations(scores.reshape(-1, ITEMS), who)
        truths.append(truth)
        found["all names"].append(share_held(result, truth))
    row: Row = {
        "identities": k,
        "SD of names": sd,
        "SD of identities": spread,
        "base rate": base,
        "true share": round(float(np.mean(truths)), 2),
    }
    for design, pairs in found.items():
        held, unknown = zip(*pairs, strict=True)
        row |= {f"{design}: coverage %": percent(held), f"{design}: 0 to 1 %": percent(unknown)}
    return row


def share_held(result: stats.NestedRealizations, truth: float) -> tuple[bool, bool]:
    """Whether the interval holds the truth, and whether it is 0 to 1."""
    low, high = result.share_interval
    return low <= truth <= high, (low, high) == (0.0, 1.0)


TABLES: dict[str, Callable[[int], Iterator[Row]]] = {
    "rotating": rotating_table,
    "joint": joint_table,
    "ignored": ignored_table,
    "share": share_table,
}


if __name__ == "__main__":
    run_tables(TABLES, __doc__.splitlines()[0])
