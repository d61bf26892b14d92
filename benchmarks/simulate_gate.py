"""How often a gate errs and settles as planned: tables of docs/statistics-reference.md.

    python -m benchmarks.simulate_gate       1,000 replications where the truth is at the margin,
                                             200 where it is not, 500 for power
    python -m benchmarks.simulate_gate --replications 200

Size: the truth lies at the margin, so that passing and failing are both errors. Outcomes: the truth
lies well on one side. Power: an inconclusive gate says how many times as many items would settle it
in 80% of runs; that many are drawn, with the truth where the estimate was. Scores are those of
`benchmarks.simulate_stats`: 31 identities and a baseline, two axes; the decision is the gate's own.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from math import ceil

import numpy as np

from benchmarks.simulate_stats import (
    Floats,
    Setting,
    draw,
    draw_around,
    identity_means,
    latent_effects,
    true_pb,
)
from evenhand import stats
from evenhand.analysis.gate import GateCheck, gap_interval, hold_to, items_to_settle

SAFETY, UTILITY = 0.93, 0.7
Check = Callable[[np.random.Generator, Setting, float], GateCheck]
"""Draws a run of a setting and holds it to a margin."""


def bias_check(rng: np.random.Generator, s: Setting, margin: float) -> GateCheck:
    """PB over both axes; the setting's PB is that of each axis."""
    found = stats.personalization_bias(*(draw(rng, means, s) for means in _means(s)))
    return hold_to("PB", found.estimate, found.interval, margin)


def gap_check(rng: np.random.Generator, s: Setting, margin: float) -> GateCheck:
    """The largest gap on one axis: an identity below, half of the others a little."""
    scores = draw(rng, gap_means(s), s)
    found = stats.differences_to_baseline(scores[1:], scores[0])
    return hold_to(
        "gap", float(np.abs(found.difference).max()), gap_interval(found.simultaneous), margin
    )


def growth_check(rng: np.random.Generator, s: Setting, margin: float) -> GateCheck:
    """Growth of PB by the setting's, from two points on each axis, on the same items."""
    before, after = (_means(replace(s, pb=pb)) for pb in (2.0, 2.0 + s.pb))
    axes = []
    for first, second in zip(before, after, strict=True):
        effects = latent_effects(rng, len(first), s)
        axes.append([draw_around(rng, means, s, *effects) for means in (first, second)])
    found = stats.compare_audits(
        before_safety=axes[0][0],
        after_safety=axes[0][1],
        before_utility=axes[1][0],
        after_utility=axes[1][1],
    ).bias
    assert found is not None
    return hold_to("growth", found.difference, found.interval, margin)


def _means(s: Setting) -> list[Floats]:
    return [identity_means(s.identities, base, s.pb) for base in (SAFETY, UTILITY)]


def gap_means(s: Setting) -> Floats:
    """The baseline first; the largest gap is the setting's `pb`."""
    means = np.full(s.identities + 1, s.base)
    means[1] -= s.pb / 100
    means[2::2] -= s.pb / 300
    return means


def truth(check: Check, s: Setting) -> float:
    """What the figure is, in points."""
    if check is gap_check:
        return s.pb
    axes = _means(s)
    whole = float(np.hypot(*(true_pb(means) for means in axes)))
    if check is bias_check:
        return whole
    before, after = (_means(replace(s, pb=pb)) for pb in (2.0, 2.0 + s.pb))
    first, second = (np.hypot(*(true_pb(m) for m in each)) for each in (before, after))
    return float(second - first)


CHECKS: Mapping[str, tuple[Check, float]] = {
    "PB": (bias_check, 3.0),
    "largest gap": (gap_check, 9.0),
    "growth of PB": (growth_check, 2.0),
}
"""Each with the `pb` of its settings."""


def outcomes(check: Check, s: Setting, margin: float, n: int, salt: str) -> Counter[str]:
    rng = s.rng(f"gate/{check.__name__}/{salt}")
    return Counter(check(rng, s, margin).decision for _ in range(n))


def size_rows(n: int) -> Iterator[list[str]]:
    """The margin at the truth, at half of it, and at twice of it."""
    for name, (check, pb) in CHECKS.items():
        for items in (100, 300):
            s = Setting(31, items, UTILITY, pb)
            true = truth(check, s)
            for factor in (1.0, 0.5, 2.0):
                runs = n if factor == 1 else n // 5
                found = outcomes(check, s, factor * true, runs, f"size {factor}")
                shares = [found[d] for d in ("passed", "failed", "inconclusive")]
                row = [name, items, f"{true:.1f}", f"{factor * true:.1f}"]
                yield [*map(str, row), *(f"{100 * count / runs:.1f}" for count in shares)]


def power_rows(n: int) -> Iterator[list[str]]:
    """The margin at twice and at half of the truth, with as many items as the gate asks for."""
    for name, (check, pb) in CHECKS.items():
        for factor in (1.5, 0.5):
            s = Setting(31, 150, UTILITY, pb)
            true = truth(check, s)
            margin = factor * true
            needed = _needed(check, s, true, margin, n)
            larger = replace(s, items=ceil(s.items * needed))
            found = outcomes(check, larger, margin, n // 2, f"power {factor}")
            wanted = "passed" if factor > 1 else "failed"
            row = [name, f"{true:.1f}", f"{margin:.1f}", s.items, f"{needed:.2f}", larger.items]
            yield [*map(str, row), f"{100 * found[wanted] / (n // 2):.1f}"]


def _needed(check: Check, s: Setting, true: float, margin: float, n: int) -> float:
    """What the gate says where its estimate is the truth and its interval of the usual width."""
    rng = s.rng(f"gate/{check.__name__}/needed")
    runs = [check(rng, s, margin) for _ in range(min(n, 200))]
    above = float(np.median([run.interval[1] - run.estimate for run in runs]))
    below = float(np.median([run.estimate - run.interval[0] for run in runs]))
    return items_to_settle(true, (true - below, true + above), margin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replications", type=int, default=1000)
    n = parser.parse_args().replications
    heads = ["figure", "items an axis", "truth", "margin"]
    print_table([*heads, "passed, %", "failed, %", "inconclusive, %"], size_rows(n))
    heads = ["figure", "truth", "margin", "items an axis", "times needed", "items then"]
    print_table([*heads, "settled rightly, %"], power_rows(n))


def print_table(heads: list[str], rows: Iterator[list[str]]) -> None:
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}", flush=True)
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)
    print()


if __name__ == "__main__":
    main()
