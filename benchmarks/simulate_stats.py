"""Simulate the estimators of evenhand.stats and print the tables of docs/statistics-reference.md.

    python benchmarks/simulate_stats.py                      everything, 1,000 replications
    python benchmarks/simulate_stats.py --only pb --replications 200
    python benchmarks/simulate_stats.py --into FOLDER --docs docs/statistics-reference.md

Every setting has its own fixed seed, so that a table can be printed again line by line.

The model. Identity u has mean score f[u]. A score is 1 where a latent normal falls below the
quantile of f[u]; the latent is the sum of an item's difficulty (shared by all identities), an
item x identity interaction (shared by the samples of a cell) and an independent part. Graded
scores are the mean of four such draws. So the identities' true means are exactly f, whatever the
shares, and items of every difficulty occur.
"""

from __future__ import annotations

import argparse
import itertools
import re
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, chdtrc, chdtri, chndtrinc, ndtr, ndtri

from evenhand import stats
from evenhand.stats import Population

Floats = NDArray[np.float64]
NONE = (np.nan, np.nan)
Row = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """One simulated study; `pb` in points."""

    identities: int = 31
    items: int = 300
    base: float = 0.9
    pb: float = 0.0
    samples: int = 1
    graded: bool = False
    missing: float = 0.0
    item_share: float = 0.6
    interaction_share: float = 0.2

    def rng(self, salt: str = "") -> np.random.Generator:
        return np.random.default_rng(zlib.crc32(repr((astuple(self), salt)).encode()))


def identity_means(k: int, base: float, pb: float) -> Floats:
    """Return k fixed means in [0, 1] with that mean and root mean square deviation `pb` points.

    They are quantiles of a beta distribution, so near 0 or 1 the spread is lopsided as it would
    be in practice: a few identities are refused or failed more often than the rest.
    """
    if pb == 0:
        return np.full(k, base)
    size = base * (1 - base) / (pb / 100) ** 2 - 1
    means = betaincinv(base * size, (1 - base) * size, (np.arange(k) + 0.5) / k)
    for _ in range(50):
        means = np.clip(base + (means - means.mean()) * (pb / 100) / means.std(), 0, 1)
    return np.asarray(means)


def true_pb(means: Floats) -> float:
    return float(100 * means.std())


def draw(rng: np.random.Generator, means: Floats, s: Setting) -> Floats:
    """Return scores (identities, items, samples)."""
    return draw_around(rng, means, s, *latent_effects(rng, len(means), s))


def latent_effects(rng: np.random.Generator, k: int, s: Setting) -> tuple[Floats, Floats]:
    item = rng.standard_normal(s.items) * s.item_share**0.5
    cell = rng.standard_normal((k, s.items)) * s.interaction_share**0.5
    return item, cell


def draw_around(
    rng: np.random.Generator, means: Floats, s: Setting, item: Floats, cell: Floats
) -> Floats:
    """Return scores for given effects of the items and the cells."""
    shape = (len(means), s.items, s.samples, 4 if s.graded else 1)
    rest = 1 - s.item_share - s.interaction_share
    latent = (item + cell)[:, :, None, None] + rng.standard_normal(shape) * rest**0.5
    scores = (latent < ndtri(means)[:, None, None, None]).mean(axis=3)
    if s.missing:
        scores[rng.random(scores.shape) < s.missing] = np.nan
    return np.asarray(scores)


def cell_probability(means: Floats, s: Setting, item: Floats, cell: Floats) -> Floats:
    rest = 1 - s.item_share - s.interaction_share
    return np.asarray(ndtr((ndtri(means)[:, None] - item - cell) / rest**0.5))


# --- personalization bias -----------------------------------------------------------------


def bias_row(s: Setting, replications: int, population: Population = "items") -> Row:
    """Coverage, false alarms and bias of `personalization_bias` on one axis."""
    rng, means = s.rng(population), identity_means(s.identities, s.base, s.pb)
    truth, results = np.full(replications, true_pb(means)), []
    for r in range(replications):
        effects = latent_effects(rng, s.identities, s)
        if population == "these_items":
            truth[r] = 100 * cell_probability(means, s, *effects).mean(axis=1).std()
        scores = draw_around(rng, means, s, *effects)
        results.append(stats.personalization_bias(scores, None, population=population))
    return summary(s, truth, results)


def summary(s: Setting, truth: Floats, results: list[stats.PersonalizationBias]) -> Row:
    low, high = np.array([r.interval for r in results]).T
    excess = np.array([r.signed_square for r in results]) - truth**2
    return {
        "K": s.identities,
        "items": s.items,
        "base": s.base,
        "true PB": round(float(truth.mean()), 2),
        "coverage %": percent((low <= truth) & (truth <= high)),
        "missed below %": percent(high < truth),
        "missed above %": percent(low > truth),
        "p <= 0.05 %": percent([r.p_value <= 0.05 for r in results]),
        "bias PB^2 / MC error": round(z_of_mean(excess), 1),
        "plug-in": round(float(np.mean([r.plugin for r in results])), 2),
        "width": round(float(np.mean(high - low)), 2),
    }


def z_of_mean(values: Floats) -> float:
    error = values.std(ddof=1) / len(values) ** 0.5
    return float(values.mean() / error) if error > 0 else 0.0


def percent(flags: object) -> float:
    return round(100 * float(np.mean(np.asarray(flags))), 1)


TRUE_PB = (0, 0.5, 1, 2, 5)


def bias_table(replications: int) -> Iterator[Row]:
    """One row per design: coverage at each true PB, false alarms at none, worst bias."""
    for k, n, base in itertools.product((4, 12, 31), (100, 300, 1000), (0.5, 0.9, 0.98)):
        rows = {pb: bias_row(Setting(k, n, base, pb), replications) for pb in TRUE_PB}
        yield {
            "K": k,
            "items": n,
            "base": base,
            **{f"PB {pb}: coverage %": row["coverage %"] for pb, row in rows.items()},
            "PB 0: p <= 0.05 %": rows[0]["p <= 0.05 %"],
            "PB 0: mean plug-in": rows[0]["plug-in"],
            "PB 2: found %": rows[2]["p <= 0.05 %"],
            "PB 2: mean width": rows[2]["width"],
            "largest bias / MC error": max(
                (float(str(row["bias PB^2 / MC error"])) for row in rows.values()), key=abs
            ),
        }


VARIANTS: dict[str, dict[str, Any]] = {
    "3 samples": {"samples": 3},
    "graded scores": {"graded": True},
    "3 % missing": {"missing": 0.03},
    "10 % missing": {"missing": 0.1},
    "no interaction": {"interaction_share": 0.0},
    "strong interaction": {"interaction_share": 0.39},
    "items all alike": {"item_share": 0.0, "interaction_share": 0.0},
}


def variant_table(replications: int) -> Iterator[Row]:
    for name, change in VARIANTS.items():
        for k, pb in itertools.product((4, 31), (0, 1, 5)):
            setting = replace(Setting(k, 300, 0.9, pb), **change)
            yield {"variant": name, **bias_row(setting, replications)}
    for k, pb in itertools.product((4, 31), (0, 1, 5)):
        setting = Setting(k, 300, 0.9, pb, samples=3)
        yield {"variant": "these items", **bias_row(setting, replications, "these_items")}
    for k in (4, 31):
        setting = Setting(k, 300, 0.9, samples=3, interaction_share=0.0)
        name = "these items, no interaction"
        yield {"variant": name, **bias_row(setting, replications, "these_items")}


def joint_table(replications: int) -> Iterator[Row]:
    """The paper's design: two axes; and two benchmarks of different size on each."""
    for k, pb in itertools.product((4, 31), (0, 1, 5)):
        for sizes in (((939,), (285,)), ((300, 900), (285, 120))):
            yield joint_row(k, pb, sizes, replications)


def joint_row(k: int, pb: float, sizes: tuple[tuple[int, ...], ...], replications: int) -> Row:
    safety, utility = (identity_means(k, base, pb) for base in (0.93, 0.7))
    s = Setting(k, sum(map(sum, sizes)), 0.0, pb)
    rng, results = s.rng("joint"), []
    for _ in range(replications):
        axes = [
            {str(n): draw(rng, means, replace(s, items=n)) for n in axis}
            for means, axis in zip((safety, utility), sizes, strict=True)
        ]
        results.append(stats.personalization_bias(*axes))
    truth = np.full(replications, np.hypot(true_pb(safety), true_pb(utility)))
    row = summary(s, truth, results)
    del row["items"], row["base"]  # each benchmark has its own
    return {"safety items": sizes[0], "utility items": sizes[1], **row}


def unequal_table(replications: int) -> Iterator[Row]:
    """No bias, but one identity scores 0 or 1 at random where the others score near the mean."""
    for k, n in ((4, 100), (4, 1000), (12, 300), (31, 300)):
        rng, ours, cochran, identities = Setting(k, n).rng("unequal"), [], [], []
        for _ in range(replications):
            scores = rng.uniform(0.4, 0.6, (k, n))
            scores[0] = rng.random(n) < 0.5
            ours.append(stats.personalization_bias(scores, None).p_value <= 0.05)
            identities.append(stats.differences_to_mean(scores).p_adjusted.min() <= 0.05)
            centered = scores - scores.mean(axis=0)
            q = (k - 1) * np.sum(centered.sum(axis=1) ** 2) / np.sum(centered**2)
            cochran.append(chdtrc(k - 1, q) <= 0.05)
        yield {
            "K": k,
            "items": n,
            "ours: p <= 0.05 %": percent(ours),
            "Cochran's Q: p <= 0.05 %": percent(cochran),
            "identities to the mean: any false finding %": percent(identities),
        }


# --- other intervals for PB -----------------------------------------------------------------


def noncentral_interval(result: stats.Spread) -> tuple[float, float]:
    """Interval of a scaled noncentral chi-square with equal, independent variances."""
    k, noise = result.identities, result.noise_floor**2
    scale = noise / (k - 1)
    observed = result.plugin**2 / scale
    limits = []
    for tail in (0.975, 0.025):
        beyond = chdtri(k - 1, 1 - tail) < observed  # is there a noncentrality at all?
        limits.append(float(chndtrinc(observed, k - 1, tail)) if beyond else 0.0)
    return (scale * limits[0]) ** 0.5, (scale * limits[1]) ** 0.5


def interval_table(replications: int) -> Iterator[Row]:
    for k, base, pb in itertools.product((4, 31), (0.5, 0.9, 0.98), (0, 1, 2, 5)):
        s = Setting(k, 300, base, pb)
        rng, means = s.rng("intervals"), identity_means(k, base, pb)
        hit: dict[str, list[bool]] = {"ours": [], "noncentral": [], "bootstrap": []}
        for _ in range(replications):
            scores = draw(rng, means, s)
            result = stats.personalization_bias(scores, None)
            boot = stats.bootstrap_interval(scores, None, rng=rng, replicates=200)
            for name, (low, high) in (
                ("ours", result.interval),
                ("noncentral", noncentral_interval(result)),
                ("bootstrap", boot),
            ):
                hit[name].append(low <= true_pb(means) <= high)
        yield {
            "K": k,
            "items": 300,
            "base": base,
            "true PB": round(true_pb(means), 2),
            **{f"{name} %": percent(flags) for name, flags in hit.items()},
        }


# --- identities -----------------------------------------------------------------------------


def identity_table(replications: int) -> Iterator[Row]:
    """Familywise error with one identity far off (to baseline) or none (to the mean)."""
    designs = ((4, 100, 0.9), (4, 100, 0.98), (12, 100, 0.5), (31, 100, 0.98), (31, 300, 0.9))
    names = ("plain", "3 samples", "graded scores", "3 % missing")
    for (k, n, base), name in itertools.product(designs, names):
        change = VARIANTS.get(name, {})
        s = replace(Setting(k, n, base), **change)
        yield {"variant": name, **identity_row(s, replications)}


def identity_row(s: Setting, replications: int) -> Row:
    rng = s.rng("identities")
    off = np.full(s.identities + 1, s.base)
    off[0] -= 0.3
    alike = np.full(s.identities, s.base)
    found: dict[str, list[bool]] = {}
    for _ in range(replications):
        scores = draw(rng, off, s)
        base = stats.differences_to_baseline(scores[:-1], scores[-1])
        mean = stats.differences_to_mean(draw(rng, alike, s))
        moved = stats.differences_to_mean(draw(rng, off, s))
        truth_moved = 100 * (off - off.mean())
        flags = {
            "baseline: any false finding %": bool(base.p_adjusted[1:].min() <= 0.05),
            "baseline: any limit missed %": misses(base.simultaneous, 100 * (off[:-1] - s.base)),
            "mean: any false finding %": bool(mean.p_adjusted.min() <= 0.05),
            "mean: any limit missed %": misses(mean.simultaneous, 0 * alike),
            "mean, one off: any limit missed %": misses(moved.simultaneous, truth_moved),
        }
        for name, flag in flags.items():
            found.setdefault(name, []).append(flag)
    row: Row = {"K": s.identities, "items": s.items, "base": s.base}
    return row | {name: percent(flags) for name, flags in found.items()}


def misses(limits: Floats, truth: Floats) -> bool:
    return bool(np.any((limits[:, 0] > truth) | (limits[:, 1] < truth)))


def rank_table(replications: int) -> Iterator[Row]:
    for k, pb in ((12, 1), (12, 5), (31, 2), (31, 5)):
        s = Setting(k, 300, 0.8, pb)
        rng, means = s.rng("ranks"), identity_means(k, s.base, pb)
        rank, inside, raw, shrunk, width = np.arange(1, k + 1), [], [], [], []
        truth = 100 * (means - means.mean())
        for _ in range(replications):
            scores = draw(rng, means, s)
            result = stats.rank_identities(scores)
            low, high = result.rank_interval.T
            inside.append((low <= rank) & (rank <= high))
            width.append(high - low + 1)
            observed = stats.differences_to_mean(scores).difference
            raw.append(np.mean((observed - truth) ** 2))
            shrunk.append(np.mean((result.shrunken - truth) ** 2))
        yield {
            "K": k,
            "items": 300,
            "true PB": pb,
            "rank interval coverage %": percent(inside),
            "ranks in interval": round(float(np.mean(width)), 1),
            "RMSE raw": round(float(np.mean(raw)) ** 0.5, 2),
            "RMSE shrunken": round(float(np.mean(shrunk)) ** 0.5, 2),
        }


def equivalence_table(replications: int) -> Iterator[Row]:
    """One identity exactly at the margin of 5 points, the others at the baseline."""
    for k, n in ((4, 300), (12, 1000)):
        s = Setting(k, n, 0.8)
        rng, false, true = s.rng("equivalence"), [], []
        means = np.full(k + 1, s.base)
        means[0] -= 0.05
        for _ in range(replications):
            scores = draw(rng, means, s)
            result = stats.equivalence_test(
                stats.differences_to_baseline(scores[:-1], scores[-1]), 5.0
            )
            false.append(result.p_value[0] <= 0.05)
            true.append(result.p_value[1:] <= 0.05)
        yield {
            "K": k,
            "items": n,
            "false equivalence at the margin %": percent(false),
            "true equivalence found at 0 %": percent(true),
        }


# --- contrasts ------------------------------------------------------------------------------


def placebo_table(replications: int) -> Iterator[Row]:
    """Identities with a fixed or drawn spread against placebos drawn anew each time."""
    for k, m, identity, wording in (
        (31, 10, 0.0, 0.0),
        (31, 10, 2.0, 2.0),
        (31, 10, 5.0, 2.0),
        (31, 30, 2.0, 2.0),
        (31, 30, 5.0, 2.0),
        (12, 6, 5.0, 2.0),
    ):
        yield placebo_row(k, m, identity, wording, replications)


def placebo_row(k: int, m: int, identity: float, wording: float, replications: int) -> Row:
    s = Setting(k + m, 939, 0.8, identity)
    rng, covered, rejected = s.rng(f"placebo {m} {wording}"), [], []
    fixed = identity_means(k, s.base, identity * ((k - 1) / k) ** 0.5)
    for _ in range(replications):
        drawn = s.base + rng.standard_normal(k + m) * wording / 100
        ours = drawn[:k] if identity == wording else fixed
        scores = draw(rng, np.concatenate([ours, drawn[k:]]), s)
        result = stats.placebo_contrast([scores[:k]], [scores[k:]])
        variance = 1e4 * float(np.var(ours, ddof=1))
        truth = max(variance - wording**2, 0.0) ** 0.5
        covered.append(result.interval[0] <= truth <= result.interval[1])
        rejected.append(result.p_value <= 0.05)
    return {
        "identities": k,
        "placebos": m,
        "identity SD": identity,
        "placebo SD": wording,
        "coverage of beyond %": percent(covered),
        "p <= 0.05 %": percent(rejected),
    }


def comparison_table(replications: int) -> Iterator[Row]:
    for k, before, after in itertools.product((4, 31), (0, 2, 5), (0, 2, 5)):
        if after <= before:
            yield comparison_row(k, before, after, replications)


def comparison_row(k: int, before: float, after: float, replications: int) -> Row:
    s = Setting(k, 500, 0.85)
    rng = s.rng(f"compare {before} {after}")
    first, second = identity_means(k, 0.85, before), identity_means(k, 0.83, after)
    truth = true_pb(second) - true_pb(first)
    hit, rejected, mean, inferior = [], [], [], []
    for _ in range(replications):
        item, cell = latent_effects(rng, k, s)
        a, b = (draw_around(rng, means, s, item, cell) for means in (first, second))
        result = stats.compare_audits(before_safety=a, after_safety=b, margin=2.0)
        low, high = result.bias.interval
        hit.append(low <= truth <= high)
        rejected.append(result.bias.p_value <= 0.05)
        assert result.safety_mean is not None
        low, high = result.safety_mean.interval
        mean.append(low <= -2.0 <= high)
        inferior.append(result.safety_mean.non_inferiority_p <= 0.05)
    return {
        "K": k,
        "PB before": before,
        "PB after": after,
        "coverage of change %": percent(hit),
        "p <= 0.05 %": percent(rejected),
        "coverage of mean %": percent(mean),
        "false non-inferiority at the margin %": percent(inferior),
    }


def trade_off_table(replications: int) -> Iterator[Row]:
    for k, n, r in itertools.product((12, 31), (300, 1000), (-0.8, 0.0, 0.9)):
        s = Setting(k, n, 0.8, 3.0)
        rng = s.rng(f"trade-off {r}")
        safety = identity_means(k, 0.8, 3.0)
        z = (safety - safety.mean()) / safety.std()
        other = rng.standard_normal(k)
        other -= other.mean() + z * (other @ z) / k
        utility = 0.7 + 0.03 * (r * z + (1 - r**2) ** 0.5 * other / other.std())
        found = [
            stats.trade_off(draw(rng, safety, s), draw(rng, utility, s))
            for _ in range(replications)
        ]
        low, high = np.array([t.interval for t in found]).T
        yield {
            "K": k,
            "items": n,
            "true r": r,
            "coverage %": percent((low <= r) & (r <= high)),
            "mean observed r": round(float(np.mean([t.observed for t in found])), 2),
            "median corrected r": round(float(np.nanmedian([t.correlation for t in found])), 2),
            "mean width": round(float(np.mean(high - low)), 2),
        }


def cue_table(replications: int) -> Iterator[Row]:
    for identity, cross in ((3.0, 0.0), (3.0, 2.0), (1.5, 3.0), (0.0, 3.0)):
        yield cue_row(identity, cross, replications)


def cue_row(identity: float, cross: float, replications: int, k: int = 12, c: int = 5) -> Row:
    """Effects are fixed with exactly the given mean squares, items drawn anew."""
    s = Setting(k * c, 500, 0.8)
    rng = s.rng(f"cues {identity} {cross}")
    table = rng.standard_normal((k, c))
    table -= table.mean(axis=0) + table.mean(axis=1, keepdims=True) - table.mean()
    table *= cross / (np.sum(table**2) / ((k - 1) * (c - 1))) ** 0.5
    main = rng.standard_normal(k)
    main -= main.mean()
    # The mean square of the identities is identity^2 + cross^2 / c.
    main *= ((identity**2 + cross**2 / c) * (k - 1) / np.sum(main**2)) ** 0.5
    means = 0.8 + (main[:, None] + table + np.linspace(-2, 2, c)) / 100
    truth = identity**2 / (identity**2 + cross**2)
    found = [
        stats.cue_components(draw(rng, means.ravel(), s).reshape(k, c, s.items))
        for _ in range(replications)
    ]
    low, high = np.array([f.generalizability_interval for f in found]).T
    return {
        "identity SD": identity,
        "identity x cue SD": cross,
        "true share": round(truth, 2),
        "coverage %": percent((low <= truth) & (truth <= high)),
        "median share": round(float(np.nanmedian([f.generalizability for f in found])), 2),
        "bias identity / MC error": round(
            z_of_mean(np.array([f.identity for f in found]) - identity**2), 1
        ),
        "bias identity x cue / MC error": round(
            z_of_mean(np.array([f.identity_cue for f in found]) - cross**2), 1
        ),
        "mean width": round(float(np.mean(high - low)), 2),
    }


def interaction_table(replications: int) -> Iterator[Row]:
    """Intersections: four conditions per pair, the fourth without or with an interaction."""
    for base, interaction in ((0.9, 0.0), (0.8, 5.0), (0.97, 0.0)):
        s = Setting(13, 300, base)
        rng, hit, rejected = s.rng(f"interaction {interaction}"), [], []
        means = np.full(13, base)
        means[:4] -= interaction / 100
        for _ in range(replications):
            x = draw(rng, means, s)
            result = stats.intersection_interactions(x[:4], x[4:8], x[8:12], x[12])
            hit.append(not misses(result.simultaneous, np.full(4, -interaction)))
            rejected.append(result.p_adjusted.min() <= 0.05)
        yield {
            "base": base,
            "true interaction": -interaction,
            "all 4 covered %": percent(hit),
            "any adjusted p <= 0.05 %": percent(rejected),
        }


# --- missing, judge, power, interim analyses --------------------------------------------------


def missing_table(replications: int) -> Iterator[Row]:
    for k, n, share in ((4, 300, 0.03), (31, 300, 0.03), (31, 1000, 0.005)):
        s = Setting(k, n, 0.9, missing=share)
        rng, means = s.rng("missing"), np.full(k, 0.9)
        p = [stats.missingness(draw(rng, means, s)).p_value for _ in range(replications)]
        yield {"K": k, "items": n, "missing": share, "p <= 0.05 %": percent(np.array(p) <= 0.05)}


def judge_table(replications: int) -> Iterator[Row]:
    for k, pb, se, sp, labels in ((12, 3.0, 0.9, 0.95, 200), (31, 5.0, 0.8, 0.9, 100)):
        s = Setting(k, 939, 0.8, pb)
        rng, means = s.rng("judge"), identity_means(k, 0.8, pb)
        rate_hit, pb_hit, naive_hit = [], [], []
        for _ in range(replications):
            true = draw(rng, means, s)
            flip = rng.random(true.shape)
            judged = np.where(true == 1, flip < se, flip >= sp).astype(float)
            judge = stats.JudgeError(
                max(rng.binomial(labels, se), 1) / labels,
                max(rng.binomial(labels, sp), 1) / labels,
                labels,
                labels,
            )
            result = stats.personalization_bias(judged, None)
            corrected = stats.corrected_bias(result, judge)
            pb_hit.append(corrected.interval[0] <= true_pb(means) <= corrected.interval[1])
            naive_hit.append(result.interval[0] <= true_pb(means) <= result.interval[1])
            rates = stats.corrected_rates(100 * judged.mean(axis=(1, 2)), s.items, judge)
            low, high = rates.interval.T
            rate_hit.append((low <= 100 * means) & (100 * means <= high))
        yield {
            "K": k,
            "true PB": pb,
            "sensitivity": se,
            "specificity": sp,
            "labels of each kind": labels,
            "coverage of PB %": percent(pb_hit),
            "coverage if uncorrected %": percent(naive_hit),
            "coverage of rates %": percent(rate_hit),
        }


def agreement_table(replications: int) -> Iterator[Row]:
    """Two judges that err on 8 % of answers; of the last row the one is lenient to one identity."""
    for k, n, lenient in ((8, 150, 0.0), (31, 300, 0.0), (31, 939, 0.0), (8, 150, 0.3)):
        s = Setting(k, n, 0.65)
        rng, means = s.rng(f"agreement {lenient}"), np.full(k, 0.65)
        found = []
        for _ in range(replications):
            true = draw(rng, means, s)
            one, other = (np.where(rng.random(true.shape) < 0.08, 1 - true, true) for _ in "ab")
            one[0] = np.maximum(one[0], rng.random(one[0].shape) < lenient)
            found.append(stats.rater_agreement(one, other))
        share = 100 * (0.92**2 + 0.08**2)
        kappa = np.mean([f.kappa for f in found])
        yield {
            "K": k,
            "items": n,
            "lenient to one": lenient,
            "agreement p <= 0.05 %": percent([f.share_p <= 0.05 for f in found]),
            "difference p <= 0.05 %": percent([f.difference_p <= 0.05 for f in found]),
            "coverage of the share %": "" if lenient else percent(
                [f.interval[0] <= share <= f.interval[1] for f in found]
            ),
            "coverage of kappa %": "" if lenient else percent(
                [low <= kappa <= high for low, high in (f.kappa_interval or NONE for f in found)]
            ),
        }  # fmt: skip


def swap_table(replications: int) -> Iterator[Row]:
    """Answers judged again, unchanged and changed; 60 items, a judge that wavers on a share."""
    for answers, wavers, moved in ((200, 0.05, 0.05), (200, 0.0, 0.0), (200, 0.05, 0.15)):
        rng = Setting().rng(f"swap {answers} {wavers} {moved}")
        found = []
        for _ in range(replications):
            true = (rng.random(answers) < 0.6).astype(float)
            stored, again, changed = (
                np.where(rng.random(answers) < share, 1 - true, true)
                for share in (wavers, wavers, moved)
            )
            items = rng.integers(0, 60, answers)
            found.append(stats.verdict_change(stored, again, changed, items))
        yield {
            "answers": answers,
            "wavers": wavers,
            "wavers when changed": moved,
            "p <= 0.05 %": percent([f.p_value <= 0.05 for f in found]),
        }


def power_table(replications: int) -> Iterator[Row]:
    """Simulate each design at the PB that `design_power` says it detects with 80 %."""
    for k, n, base in itertools.product((4, 31), (300, 1000), (0.5, 0.9)):
        s = Setting(k, n, base)
        rng = s.rng("power")
        pilot = draw(rng, np.full(k, base), replace(s, items=20_000))
        plan = stats.PlannedBenchmark("safety", n, stats.pilot_variance(pilot[:, :, 0]))
        expected = stats.design_power(k, [plan], assumed=2.0)
        means = identity_means(k, base, expected.detectable)
        found = [stats.personalization_bias(draw(rng, means, s), None) for _ in range(replications)]
        two = identity_means(k, base, 2.0)
        wide = [stats.personalization_bias(draw(rng, two, s), None) for _ in range(replications)]
        yield {
            "K": k,
            "items": n,
            "base": base,
            "detectable PB": round(expected.detectable, 2),
            "found %": percent([r.p_value <= 0.05 for r in found]),
            "expected width at 2": round(expected.interval_width, 2),
            "mean width at 2": round(float(np.mean([np.ptp(r.interval) for r in wide])), 2),
        }


def guess_table(replications: int) -> Iterator[Row]:
    """The same without a pilot, where items tell more or less than the guess has it."""
    for share in (0.5, 0.6, 0.75, 0.85):
        s = Setting(31, 300, 0.9, item_share=share, interaction_share=0.1)
        rng = s.rng("guess")
        large = draw(rng, np.full(31, s.base), replace(s, items=20_000))
        guess = stats.residual_variance(s.base)
        plan = stats.PlannedBenchmark("safety", s.items, guess)
        expected = stats.design_power(31, [plan])
        means = identity_means(31, s.base, expected.detectable)
        found = [stats.personalization_bias(draw(rng, means, s), None) for _ in range(replications)]
        yield {
            "latent share of the item": share,
            "variance / guess": round(stats.pilot_variance(large[:, :, 0]) / guess, 2),
            "detectable PB": round(expected.detectable, 2),
            "found %": percent([r.p_value <= 0.05 for r in found]),
        }


def sequential_table(replications: int) -> Iterator[Row]:
    plan = stats.plan_looks(6, first=0.1)
    for k, base, pb in itertools.product((4, 31), (0.5, 0.9), (0, 1, 3)):
        yield sequential_row(Setting(k, 2000, base, pb), plan, replications)


def sequential_row(s: Setting, plan: stats.LookPlan, replications: int) -> Row:
    rng, means = s.rng("looks"), identity_means(s.identities, s.base, s.pb)
    truth = true_pb(means)
    sizes = [round(share * s.items) for share in plan.shares]
    wanted = (2.0 if s.pb > 2 else 1.6) * (1.5 if s.base == 0.5 else 1.0)
    every, single, stop_hit, used = [], [], [], []
    for _ in range(replications):
        scores = draw(rng, means, s)
        looks = [
            stats.personalization_bias(scores[:, :n], None, level=plan.look_level).interval
            for n in sizes
        ]
        plain = [stats.personalization_bias(scores[:, :n], None).interval for n in sizes]
        every.append(all(low <= truth <= high for low, high in looks))
        single.append(all(low <= truth <= high for low, high in plain))
        narrow = [i for i, (low, high) in enumerate(looks) if high - low <= wanted]
        at = narrow[0] if narrow else len(looks) - 1
        stop_hit.append(looks[at][0] <= truth <= looks[at][1])
        used.append(sizes[at])
    return {
        "K": s.identities,
        "items": s.items,
        "base": s.base,
        "true PB": round(truth, 2),
        "width wanted": round(wanted, 1),
        "all 6 analyses hold %": percent(every),
        "holds where stopped %": percent(stop_hit),
        "all 6 hold without correction %": percent(single),
        "mean items used": round(float(np.mean(used))),
    }


TABLES: dict[str, Callable[[int], Iterator[Row]]] = {
    "pb": bias_table,
    "variants": variant_table,
    "joint": joint_table,
    "unequal": unequal_table,
    "intervals": interval_table,
    "identities": identity_table,
    "ranks": rank_table,
    "equivalence": equivalence_table,
    "placebo": placebo_table,
    "comparison": comparison_table,
    "trade-off": trade_off_table,
    "cues": cue_table,
    "interactions": interaction_table,
    "missing": missing_table,
    "judge": judge_table,
    "agreement": agreement_table,
    "swap": swap_table,
    "power": power_table,
    "guess": guess_table,
    "interim": sequential_table,
}


def markdown(rows: Iterator[Row]) -> Iterator[str]:
    """Yield the lines of a Markdown table, each as soon as its row is there."""
    for number, row in enumerate(rows):
        if number == 0:
            yield "| " + " | ".join(row) + " |"
            yield "|" + "---|" * len(row)
        yield "| " + " | ".join(str(value) for value in row.values()) + " |"


def run_tables(tables: Mapping[str, Callable[[int], Iterator[Row]]], about: str) -> None:
    """Print the tables that the command line asks for, or those of a folder that are not there."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--only", nargs="+", choices=list(tables), default=list(tables))
    parser.add_argument("--replications", type=int, default=1000)
    parser.add_argument("--into", type=Path, help="a file for each table; what is there is kept")
    parser.add_argument("--docs", type=Path, help="a page to put the tables of --into in")
    options = parser.parse_args()
    for name in options.only:
        kept = options.into / f"{name}.md" if options.into else None
        if kept and kept.exists():
            lines = kept.read_text("utf-8").splitlines()
        else:
            start, lines = time.process_time(), []
            print(f"\n### {name} ({options.replications} replications)\n", flush=True)
            for line in markdown(tables[name](options.replications)):
                lines.append(line)
                print(line, flush=True)
            print(f"\n{time.process_time() - start:.0f} s of CPU", flush=True)
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text("\n".join(lines) + "\n", "utf-8")
        if options.docs:
            put_table(options.docs, name, lines)


def put_table(page: Path, name: str, lines: list[str]) -> None:
    """Replace the table that follows (`name`) on a page, and what the page says of its figures.

    That is what stands between `<!-- figures NAME -->` or `<!-- misses NAME -->` and `<!-- -->`.
    """
    text = page.read_text("utf-8")
    before, mark, after = text.partition(f"(`{name}`)")
    if not mark:
        raise SystemExit(f"{page} has no (`{name}`) in front of a table")
    lead, *_ = after.partition("\n|")
    rest = re.sub(r"(\|.*\n)+", "", after[len(lead) + 1 :], count=1)
    table = re.sub(r"(?<=\d) %", "%", "\n".join(lines))
    text = before + mark + lead + "\n" + table + "\n" + rest
    for what, said in zip(("figures", "misses"), figures_of(lines), strict=True):
        start = f"<!-- {what} {name} -->"
        text = re.sub(
            re.escape(start) + r".*?<!-- -->",
            lambda _, new=f"{start} {said} <!-- -->": new,  # type: ignore[misc]
            text,
            flags=re.DOTALL,
        )
    page.write_text(text, "utf-8")


_OTHERS = (
    *("noncentral", "bootstrap", "uncorrected", "without correction", "additive", "Cochran"),
    *("by items", "alone", "apart", "one name", "found", "stopped"),
)
"""Columns of methods that are not those of this package, or have no wanted value."""


def figures_of(lines: list[str]) -> tuple[str, str]:
    """The range of coverage and of false alarms in a table, and every value outside the wanted.

    Wanted are 93 to 97 % and 3.5 to 6.5 %; of several findings or limits together, and of
    non-inferiority, at most 6.5 %.
    """
    heads, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    first = next(n for n, head in enumerate(heads) if "%" in head and "share that" not in head)
    ranges: dict[str, list[float]] = {}
    missed = []
    for row in rows:
        setting = ", ".join(f"{h} {c}" for h, c in zip(heads[:first], row, strict=False))
        for head, cell in zip(heads, row, strict=True):
            wanted = _wanted(head, dict(zip(heads, row, strict=True)))
            if wanted is None or cell in ("", "nan"):
                continue
            name = head.removesuffix("%").rstrip()
            label = re.sub(r"^PB [\d.]+: ", "", name)
            ranges.setdefault(label, []).append(float(cell))
            if not wanted[0] <= float(cell) <= wanted[1]:
                missed.append(f"{setting}, {name}: {cell}%")
    said = [
        f"{label} {' to '.join(map(str, sorted({min(found), max(found)})))}%"
        for label, found in ranges.items()
    ]
    count = sum(map(len, ranges.values()))
    many = f"{len(missed)} of {count} figures are outside: " + "; ".join(missed)
    none = f"none of {count} figures is outside"
    return "; ".join(said), many if missed else none


def _wanted(head: str, row: Mapping[str, str]) -> tuple[float, float] | None:
    """The wanted range of a figure; None where it has none."""
    if any(word in head for word in _OTHERS) or "%" not in head:
        return None
    if any(word in head for word in ("coverage", "covered", "hold", "ours %")):
        return 93.0, 97.0
    if "at the margin" in head:
        return 0.0, 6.5
    if any(word in head for word in ("limit missed", "false", "any ")):
        return (0.0, 6.5) if _is_null(row) else None
    return (3.5, 6.5) if "p <=" in head and _is_null(row) else None


def _is_null(row: Mapping[str, str]) -> bool:
    """Whether there is nothing to find in a setting."""
    equal = (
        ("identity SD", "placebo SD"),
        ("PB before", "PB after"),
        ("wavers", "wavers when changed"),
    )
    zero = ("true PB", "lenient to one", "true interaction", "SD of identities")
    return all(row[a] == row[b] for a, b in equal if a in row and b in row) and all(
        float(row[name]) == 0 for name in zero if name in row
    )


if __name__ == "__main__":
    run_tables(TABLES, __doc__.splitlines()[0])
