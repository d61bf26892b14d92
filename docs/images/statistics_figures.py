"""Draw the pictures of the statistics pages from simulations with fixed seeds.

python docs/images/statistics_figures.py            needs matplotlib; writes SVG files beside itself
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

plt.switch_backend("svg")
plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "evenhand"})

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "benchmarks"))

from simulate_stats import (  # noqa: E402
    Setting,
    draw,
    identity_means,
    interval_table,
    true_pb,
)

from evenhand import stats  # noqa: E402

BLUE, ORANGE, GRAY = "#1f5f99", "#d9822b", "#888888"
REPLICATIONS = 300


def save(figure: plt.Figure, name: str) -> None:
    figure.savefig(HERE / name, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)


def plugin_against_corrected() -> None:
    """The paper's design (31 identities, 939 + 285 items) over a range of true PB."""
    truths, plugin, corrected = [], [], []
    for pb in (0.0, 0.5, 1.0, 1.5, 2.0, 3.0):
        means = [identity_means(31, base, pb) for base in (0.93, 0.7)]
        rng = Setting(pb=pb).rng("picture")
        results = [
            stats.personalization_bias(
                draw(rng, means[0], Setting(items=939)), draw(rng, means[1], Setting(items=285))
            )
            for _ in range(REPLICATIONS)
        ]
        truths.append(np.hypot(true_pb(means[0]), true_pb(means[1])))
        plugin.append(np.quantile([r.plugin for r in results], [0.05, 0.5, 0.95]))
        corrected.append(np.quantile([r.estimate for r in results], [0.05, 0.5, 0.95]))
    figure, axes = plt.subplots(figsize=(5.2, 3.8))
    for values, color, label in (
        (plugin, ORANGE, "plug-in (as in the paper)"),
        (corrected, BLUE, "noise-corrected"),
    ):
        low, middle, high = np.transpose(values)
        axes.fill_between(truths, low, high, color=color, alpha=0.2, linewidth=0)
        axes.plot(truths, middle, color=color, marker="o", label=label)
    axes.plot([0, max(truths)], [0, max(truths)], color=GRAY, linestyle=":", label="truth")
    axes.set(xlabel="true PB, points", ylabel="reported PB, points (median, 5 to 95%)")
    axes.legend(frameon=False)
    save(figure, "plugin_against_corrected.svg")


def coverage_of_intervals() -> None:
    """Coverage of the three intervals over 24 settings."""
    rows = list(interval_table(REPLICATIONS))
    names = {"ours %": "test inversion (ours)", "noncentral %": "noncentral chi-square"}
    names["bootstrap %"] = "bootstrap over items"
    figure, axes = plt.subplots(figsize=(5.2, 3.4))
    axes.axhspan(93, 97, color=GRAY, alpha=0.2, linewidth=0)
    for column, color, marker in zip(names, (BLUE, GRAY, ORANGE), "osx", strict=True):
        values = [float(str(row[column])) for row in rows]
        axes.plot(range(len(rows)), values, marker, color=color, label=names[column])
    labels = [f"{row['K']}, {row['base']}, {row['true PB']}" for row in rows]
    axes.set_xticks(range(len(rows)), labels, rotation=90, fontsize=6)
    axes.set(xlabel="identities, base rate, true PB (300 items)", ylabel="coverage, %")
    axes.legend(frameon=False, fontsize=7)
    save(figure, "coverage_of_intervals.svg")


def identities_of_one_audit() -> None:
    """One simulated audit: raw differences with simultaneous intervals, and shrunken ones."""
    setting = Setting(12, 400, 0.8, 3.0)
    means = identity_means(12, 0.8, 3.0)
    scores = draw(setting.rng("identities picture"), means, setting)
    raw, ranking = stats.differences_to_mean(scores), stats.rank_identities(scores)
    order = np.argsort(raw.difference)
    figure, axes = plt.subplots(figsize=(5.2, 3.6))
    places = np.arange(12)
    low, high = raw.simultaneous[order].T
    axes.hlines(places, low, high, color=BLUE, linewidth=1)
    axes.plot(raw.difference[order], places, "o", color=BLUE, label="observed, 95 % for all")
    axes.plot(ranking.shrunken[order], places, "D", color=ORANGE, label="shrunken", markersize=4)
    axes.plot(100 * (means - means.mean())[order], places, "|", color="black", label="truth")
    axes.axvline(0, color=GRAY, linewidth=0.8)
    axes.set_yticks(places, [f"identity {n + 1}" for n in order], fontsize=7)
    axes.set_xlabel("difference to the identities' mean, points")
    axes.legend(frameon=False, fontsize=7)
    save(figure, "identities_of_one_audit.svg")


if __name__ == "__main__":
    plugin_against_corrected()
    coverage_of_intervals()
    identities_of_one_audit()
