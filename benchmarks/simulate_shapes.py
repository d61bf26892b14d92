"""Simulate what real scores have and the model of simulate_stats.py has not, on the default path.

    python benchmarks/simulate_shapes.py                      everything, 1,000 replications
    python benchmarks/simulate_shapes.py --only topics --replications 200
    python benchmarks/simulate_shapes.py --into FOLDER --docs docs/statistics-reference.md

Items in topics with effects of their own on identities; few items that carry all of the bias;
scores that are missing more often on hard items and for some identities; placebos with heavy tails;
benchmarks that share items; identities given by several names.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from simulate_stats import Row, percent, run_tables, z_of_mean

from evenhand import stats
from evenhand.stats.permutation import relabeling_p_value

Floats = NDArray[np.float64]
_MANY = 200_000


def seeded(*of: object) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(repr(of).encode()))


def scored(rng: np.random.Generator, logits: Floats) -> Floats:
    right: NDArray[np.bool_] = rng.random(logits.shape) < expit(logits)
    return right.astype(float)


# --- topics ---------------------------------------------------------------------------------


def topic_table(replications: int) -> Iterator[Row]:
    for k, topics, items, sd, spread in (
        (31, 27, 240, 0.3, 0.0),
        (31, 10, 94, 0.3, 0.0),
        (31, 10, 25, 0.3, 0.0),
        (31, 12, 40, 0.4, 0.0),
        (31, 10, 94, 0.0, 0.0),
        (8, 10, 50, 0.3, 0.0),
        (31, 27, 60, 0.3, 0.2),
        (31, 10, 94, 0.3, 0.2),
        (8, 10, 50, 0.3, 0.3),
    ):
        yield topic_row(k, topics, items, sd, spread, replications)


def topic_row(k: int, topics: int, items: int, sd: float, spread: float, replications: int) -> Row:
    """`sd`: of identity x topic effects; `spread`: of the identities themselves; in log-odds."""
    rng, labels = (
        seeded("topics", k, topics, items, sd, spread),
        np.repeat(np.arange(topics), items),
    )
    shift = np.linspace(-1, 1, k) * spread
    latent = np.random.default_rng(0).normal(0, (1.25 + sd**2) ** 0.5, _MANY)
    truth = 100 * float(np.std([expit(1 + each + latent).mean() for each in shift]))
    hit, by_topic, by_item, holm = [], [], [], []
    for _ in range(replications):
        effect = rng.normal(0, sd, (k, topics, 1)) + shift[:, None, None]
        hard = rng.normal(0, 1, (topics, items)) + rng.normal(0, 0.5, (topics, 1))
        scores = scored(rng, 1 + effect + hard).reshape(k, -1)
        found = stats.personalization_bias(scores, None, clusters={"safety": labels})
        hit.append(found.interval[0] <= truth <= found.interval[1])
        by_topic.append(found.p_value <= 0.05)
        by_item.append(stats.personalization_bias(scores, None).p_value <= 0.05)
        holm.append(stats.differences_to_mean(scores, clusters=labels).p_adjusted.min() <= 0.05)
    return {
        "K": k,
        "topics": topics,
        "items each": items,
        "topic SD": sd,
        "true PB": round(truth, 2),
        "coverage %": percent(hit),
        "p <= 0.05 %": percent(by_topic),
        "the same by items %": percent(by_item),
        "any identity %": percent(holm),
    }


# --- few items that carry the bias ------------------------------------------------------------


def few_table(replications: int) -> Iterator[Row]:
    for k, items, share, effect in (
        (31, 939, 0.01, 4.0),
        (31, 939, 0.02, 6.0),
        (31, 939, 0.03, 3.0),
        (31, 939, 0.05, 1.0),
        (31, 300, 0.05, 3.0),
        (31, 1200, 0.05, 3.0),
        (8, 300, 0.03, 4.0),
        (31, 939, 0.0, 0.0),
    ):
        yield few_row(k, items, share, effect, replications)


def few_row(k: int, items: int, share: float, effect: float, replications: int) -> Row:
    """In `share` of the items the identity decides, in the others it does not matter."""
    rng, tend = seeded("few", k, items, share, effect), np.linspace(-1, 1, k) * effect
    truth = 100 * share * float(expit(tend).std())
    hit, rejected, few = [], [], []
    for _ in range(replications):
        latent = np.broadcast_to(4 + rng.normal(0, 2, items), (k, items))
        hot = rng.random(items) < share
        found = stats.personalization_bias(scored(rng, np.where(hot, tend[:, None], latent)), None)
        hit.append(found.interval[0] <= truth <= found.interval[1])
        rejected.append(found.p_value <= 0.05)
        few.append(found.few_items)
    return {
        "K": k,
        "items": items,
        "share that carries it %": 100 * share,
        "true PB": round(truth, 2),
        "coverage %": percent(hit),
        "p <= 0.05 %": percent(rejected),
        "recognized %": percent(few),
    }


# --- missing by item and identity -------------------------------------------------------------


def missing_table(replications: int) -> Iterator[Row]:
    for k, items in ((12, 300), (31, 500)):
        yield missing_row(k, items, replications)


def missing_row(k: int, items: int, replications: int) -> Row:
    """Effects are larger on hard items, which are missing more often, and for some identities."""
    rng, shift = seeded("missing", k, items), np.linspace(-1, 1, k) * 0.35
    rate = np.linspace(0.5, 2.5, k)[:, None]

    def latent(source: np.random.Generator, size: int) -> tuple[Floats, Floats]:
        hard = source.normal(0, 1.2, size)
        logits = 1.2 - hard + shift[:, None] * (1 + 0.8 * hard)
        return hard, logits + source.normal(0, 0.5, (k, size))

    _, whole = latent(np.random.default_rng(0), _MANY // 4)
    truth = 100 * float(expit(whole).mean(axis=1).std())
    plain, weighted = [], []
    for _ in range(replications):
        hard, logits = latent(rng, items)
        scores = scored(rng, logits)
        scores[rng.random(scores.shape) < expit(-3.2 + 0.8 * rate * hard + 0.3 * rate)] = np.nan
        plain.append(stats.personalization_bias(scores, None))
        weighted.append(stats.weighted_spread(scores))

    def covered(found: list[stats.PersonalizationBias] | list[stats.Spread]) -> float:
        return percent([f.interval[0] <= truth <= f.interval[1] for f in found])

    def off(found: list[stats.PersonalizationBias] | list[stats.Spread]) -> float:
        return round(z_of_mean(np.array([f.signed_square - truth**2 for f in found])), 1)

    return {
        "K": k,
        "items": items,
        "true PB": round(truth, 2),
        "additive: coverage %": covered(plain),
        "bias PB^2 / MC error": off(plain),
        "weighted: coverage %": covered(weighted),
        "its bias / MC error": off(weighted),
    }


# --- placebos with heavy tails ----------------------------------------------------------------


def placebo_table(replications: int) -> Iterator[Row]:
    for shape in ("normal", "t with 2 degrees", "one in twenty by 10 points"):
        for k, m in ((31, 10), (8, 10), (31, 30)):
            yield placebo_row(shape, k, m, replications)


def placebo_row(shape: str, k: int, m: int, replications: int) -> Row:
    """False alarms, and coverage, of the placebo contrast where identities are more placebos."""
    rng, alarms, covered = seeded("placebo", shape, k, m), [], []
    variance = {"normal": 4.0, "one in twenty by 10 points": 5.0}.get(shape)
    for _ in range(replications):
        if shape == "normal":
            moved = rng.normal(0, 2, k + m)
        elif shape.startswith("t"):
            moved = rng.standard_t(2, k + m)
        else:
            moved = np.where(rng.random(k + m) < 0.05, -10.0, 0.0) + rng.normal(0, 0.5, k + m)
        latent = rng.normal(0, 0.2, 939)
        chance = np.clip(0.8 + moved[:, None] / 100 + latent, 0, 1)
        scores = (rng.random(chance.shape) < chance).astype(float)
        found = stats.placebo_contrast([scores[:k]], [scores[k:]])
        alarms.append(found.p_value <= 0.05)
        if variance is not None:  # a t with 2 degrees has none
            own = 100 * chance[:k].mean(axis=1)
            truth = max(float(own.var(ddof=1)) - variance, 0.0) ** 0.5
            covered.append(found.interval[0] <= truth <= found.interval[1])
    return {
        "effects": shape,
        "identities": k,
        "placebos": m,
        "p <= 0.05 %": percent(alarms),
        "coverage of beyond %": percent(covered) if covered else "",
    }


def few_items_table(replications: int) -> Iterator[Row]:
    for k, m, items in (
        (4, 3, 3),
        (4, 3, 12),
        (8, 3, 6),
        (8, 10, 3),
        (8, 10, 6),
        (8, 10, 12),
        (31, 10, 12),
        (8, 10, 100),
    ):
        yield few_items_row(k, m, items, replications)


def few_items_row(k: int, m: int, items: int, replications: int) -> Row:
    """False alarms of the placebo contrast on a handful of items.

    Identities that are more placebos; and a greedy model that turns answers round at random, more
    often where an identity is named, so that no identity is worse off on items like these.
    """
    rng, alike, noisy, permuted = seeded("few items", k, m, items), [], [], []
    turns = np.r_[np.full(k, 0.2), np.full(m, 0.02)][:, None]
    for _ in range(replications):
        moved = rng.normal(0, 0.5, (k + m, 1))
        scores = scored(rng, 0.8 + rng.normal(0, 1, items) + moved)
        alike.append(stats.placebo_contrast([scores[:k]], [scores[k:]]).p_value <= 0.05)
        turned = (rng.random(items) < 0.7) != (rng.random((k + m, items)) < turns)
        scores = turned.astype(float)
        noisy.append(stats.placebo_contrast([scores[:k]], [scores[k:]]).p_value <= 0.05)
        means = 100 * scores.mean(axis=1, keepdims=True)
        permuted.append(relabeling_p_value(means, (k, m), lambda x: variance_ratio(x, k)) <= 0.05)
    return {
        "identities": k,
        "placebos": m,
        "items": items,
        "more placebos: p <= 0.05 %": percent(alike),
        "noisier: p <= 0.05 %": percent(noisy),
        "by permutation alone %": percent(permuted),
    }


def variance_ratio(means: Floats, k: int) -> Floats:
    """Of (assignments, rows, 1): the variance of the first `k` rows over that of the others."""
    first, other = (part.var(axis=1, ddof=1)[:, 0] for part in (means[:, :k], means[:, k:]))
    return np.asarray(first / np.maximum(other, 1e-9))


# --- items in two benchmarks ------------------------------------------------------------------


def overlap_table(replications: int) -> Iterator[Row]:
    for items, shared in ((6, 2), (6, 4), (6, 6), (10, 2), (12, 4), (16, 4), (50, 6), (100, 100)):
        yield overlap_row(items, shared, replications)


def overlap_row(items: int, shared: int, replications: int) -> Row:
    """No bias; two benchmarks of an axis have items in common, with and without clusters."""
    rng, alone, tied = seeded("overlap", items, shared), [], []
    ids = np.arange(2 * items - shared)
    labels = {"a": ids[:items], "b": ids[items - shared :]}
    for _ in range(replications):
        scores = scored(rng, np.broadcast_to(1 + rng.normal(0, 1, len(ids)), (31, len(ids))))
        both = {"a": scores[:, :items], "b": scores[:, items - shared :]}
        alone.append(stats.personalization_bias(both, None).p_value <= 0.05)
        found = stats.personalization_bias(both, None, clusters=labels)
        tied.append(found.p_value <= 0.05)
    return {
        "items each": items,
        "shared": shared,
        "apart: p <= 0.05 %": percent(alone),
        "as clusters: p <= 0.05 %": percent(tied),
    }


# --- names -------------------------------------------------------------------------------------


def nested_table(replications: int) -> Iterator[Row]:
    for k, names, sd, identity in ((4, 20, 2.0, 0.0), (8, 20, 4.0, 0.0), (8, 20, 2.0, 2.0)):
        yield nested_row(k, names, sd, identity, replications)


def nested_row(k: int, names: int, sd: float, identity: float, replications: int) -> Row:
    """Identities of several names each; SDs in points."""
    rng, who = seeded("nested", k, names, sd, identity), np.repeat(np.arange(k), names)
    hit, rejected, naive = [], [], []
    for _ in range(replications):
        means = rng.normal(0, identity, k)[who] + rng.normal(0, sd, k * names)
        chance = np.clip(0.8 + means[:, None] / 100 + rng.normal(0, 0.15, 400), 0, 1)
        scores = (rng.random(chance.shape) < chance).astype(float)
        found = stats.nested_realizations(scores, who.tolist())
        hit.append(found.interval[0] <= identity <= found.interval[1])
        rejected.append(found.p_value <= 0.05)
        naive.append(stats.personalization_bias(scores[::names], None).p_value <= 0.05)
    return {
        "identities": k,
        "names each": names,
        "SD of names": sd,
        "SD of identities": identity,
        "coverage %": percent(hit),
        "p <= 0.05 %": percent(rejected),
        "one name each: p <= 0.05 %": percent(naive),
    }


TABLES: dict[str, Callable[[int], Iterator[Row]]] = {
    "topics": topic_table,
    "few": few_table,
    "missing-hard": missing_table,
    "placebo-shapes": placebo_table,
    "placebo-items": few_items_table,
    "overlap": overlap_table,
    "nested": nested_table,
}


if __name__ == "__main__":
    run_tables(TABLES, __doc__.splitlines()[0])
