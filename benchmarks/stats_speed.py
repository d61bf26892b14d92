"""CPU time and memory of the full analysis of 32 identities x 24,000 scores in six benchmarks.

    python benchmarks/stats_speed.py

Everything in evenhand.stats but the bootstrap: two axes, three benchmarks each, 4,000 items per
benchmark, baseline and placebos and a second audit of the same size included.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from evenhand import stats

IDENTITIES, BENCHMARKS, ITEMS, PLACEBOS, CUES = 32, 3, 4000, 10, 5

Axis = dict[str, np.ndarray]


def draw_axis(rng: np.random.Generator, rows: int, base: float) -> Axis:
    """Scores of three benchmarks whose items differ in difficulty, 1 % of them missing."""
    axis = {}
    for name in range(BENCHMARKS):
        rate = np.clip(base + rng.normal(0, 0.02, (rows, 1)) + rng.normal(0, 0.2, ITEMS), 0, 1)
        scores = (rng.random((rows, ITEMS)) < rate).astype(float)
        scores[rng.random(scores.shape) < 0.01] = np.nan
        axis[str(name)] = scores
    return axis


def analyzes(rng: np.random.Generator) -> dict[str, Callable[[], object]]:
    safety, utility = draw_axis(rng, IDENTITIES, 0.9), draw_axis(rng, IDENTITIES, 0.7)
    after, base = draw_axis(rng, IDENTITIES, 0.9), draw_axis(rng, 1, 0.9)
    placebo = draw_axis(rng, PLACEBOS, 0.9)
    cues = {
        name: np.stack([scores[:, n::CUES][:, : ITEMS // CUES] for n in range(CUES)], axis=1)
        for name, scores in safety.items()
    }
    categories = [str(u % 7) for u in range(IDENTITIES)]
    pairs = {name: scores[:8] for name, scores in safety.items()}
    topics = {name: np.arange(ITEMS) % 30 for name in safety}
    names = [str(u // 4) for u in range(IDENTITIES)]
    judge = stats.JudgeError(0.9, 0.95, 200, 200)
    plan = [stats.PlannedBenchmark("safety", ITEMS, stats.residual_variance(0.9))]

    def with_mean() -> tuple[stats.Differences, ...]:
        return tuple(stats.differences_to_mean(axis) for axis in (safety, utility))

    def both_axes(function: Callable[[Axis], object]) -> Callable[[], object]:
        return lambda: [function(axis) for axis in (safety, utility)]

    return {
        "personalization_bias": lambda: stats.personalization_bias(safety, utility),
        "personalization_bias, topics": lambda: stats.personalization_bias(
            safety, utility, clusters=topics
        ),
        "differences_to_baseline": both_axes(lambda a: stats.differences_to_baseline(a, base)),
        "differences_to_mean": with_mean,
        "equivalence_test": lambda: stats.equivalence_test(with_mean()[0], 3.0),
        "classify": lambda: stats.classify(*with_mean(), margin=3.0),
        "rank_identities": both_axes(stats.rank_identities),
        "category_effects": both_axes(lambda a: stats.category_effects(a, categories)),
        "intersection_interactions": lambda: stats.intersection_interactions(
            pairs, pairs, pairs, base
        ),
        "placebo_contrast": lambda: stats.placebo_contrast([safety], [placebo]),
        "cue_components": lambda: stats.cue_components(cues),
        "trade_off": lambda: stats.trade_off(safety, utility),
        "compare_audits": lambda: stats.compare_audits(
            before_safety=safety,
            before_utility=utility,
            after_safety=after,
            after_utility=utility,
        ),
        "missingness": both_axes(stats.missingness),
        "weighted_spread": both_axes(stats.weighted_spread),
        "logit_bias": both_axes(stats.logit_bias),
        "compare_logit": lambda: stats.compare_logit(safety, after),
        "nested_realizations": both_axes(lambda a: stats.nested_realizations(a, names)),
        "joint_regions": lambda: stats.joint_regions(safety, utility),
        "rater_agreement": lambda: stats.rater_agreement(safety, after),
        "corrected_bias": lambda: stats.corrected_bias(
            stats.personalization_bias(safety, None), judge
        ),
        "variance_components": lambda: [stats.variance_components(s) for s in safety.values()],
        "design_power": lambda: (
            stats.design_power(IDENTITIES, plan),
            stats.items_needed(IDENTITIES, plan, 0.5),
        ),
        "plan_looks": stats.plan_looks,
    }


def main() -> None:
    # As `evenhand.analysis` does: many small matrices gain nothing from BLAS threads.
    threadpool_limits(limits=1, user_api="blas")
    total = 0.0
    print("| analysis | CPU seconds |\n|---|---|")
    for name, run in analyzes(np.random.default_rng(0)).items():
        start = time.process_time()
        run()
        seconds = time.process_time() - start
        total += seconds
        print(f"| {name} | {seconds:.3f} |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"| all | {total:.2f} |\n\npeak memory of the process, data included: {peak:.2f} GiB")


if __name__ == "__main__":
    main()
