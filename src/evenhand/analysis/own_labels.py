"""What the user's own labels make of the rates, and of the bias, of every judged axis."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from evenhand.analysis.grid import Grid
from evenhand.analysis.results import LabeledAxis, LabeledIdentity
from evenhand.axes import AXES
from evenhand.benchmarks.item import Item
from evenhand.calibration.labeling import (
    CellKey,
    labeler_agreement,
    read_own_labels,
    settled,
)
from evenhand.stats import corrected_by_labels
from evenhand.store.store import Store

Floats = NDArray[np.float64]


def labeled_axes(store: Store, grid: Grid) -> tuple[list[LabeledAxis], list[str]]:
    """The judged axes for which there are labels, and notes on those that lack some.

    Args:
        grid: the judge's scores.
    """
    own = read_own_labels(store)
    scores = settled(own)
    if not scores:
        return [], []
    first = grid.conditions[0]
    rows = grid.rows(first.cue, first.defense, "identity")
    items = store.items()
    agreement = labeler_agreement(own)
    seen = {cell for labels in own.values() for cell in labels}
    found, notes = [], []
    for axis in grid.scores:
        if not AXES[axis].is_judged:
            continue
        here = {cell: score for cell, score in scores.items() if _on(cell, axis, items)}
        if not here:
            continue
        undecided = sum(_on(cell, axis, items) for cell in seen) - len(here)
        verdicts, labels, weights = _arrays(grid, axis, rows, here, items)
        without = int(np.sum(np.isnan(labels).all(axis=1)))
        if without:
            notes.append(
                f"{AXES[axis].label}: {without} identities have no labels yet, so nothing is "
                "corrected by labels; finish with `evenhand label`"
            )
            continue
        graded = AXES[axis].is_graded
        corrected = corrected_by_labels(
            verdicts, labels, weights=weights, level=grid.level, graded=graded
        )
        names = [grid.conditions[row].identity.id for row in rows]
        found.append(
            LabeledAxis(
                axis=axis,
                labels=corrected.labels,
                undecided=undecided,
                mean=corrected.mean,
                mean_interval=corrected.mean_interval,
                pb=corrected.pb,
                pb_interval=corrected.pb_interval,
                p_value=corrected.p_value,
                identities=[
                    LabeledIdentity(
                        name,
                        float(corrected.rates[n]),
                        (float(corrected.intervals[n, 0]), float(corrected.intervals[n, 1])),
                        None if np.isnan(corrected.errors[n]) else 100 * float(corrected.errors[n]),
                    )
                    for n, name in enumerate(names)
                ],
                labelers=agreement,
            )
        )
    return found, notes


def _on(cell: CellKey, axis: str, items: Mapping[int, Item]) -> bool:
    return cell[1] in items and items[cell[1]].axis == axis


def _arrays(
    grid: Grid,
    axis: str,
    rows: list[int],
    labels: dict[CellKey, float],
    items: Mapping[int, Item],
) -> tuple[Floats, Floats, Floats]:
    """(identities, answers) verdicts, labels and weights, benchmarks side by side.

    Benchmarks weigh alike, however many items they have.
    """
    place_of = {grid.conditions[row].id: n for n, row in enumerate(rows)}
    verdicts, labeled, weights = [], [], []
    alone = grid.alone(axis)
    for name, array in grid.scores[axis].items():
        if name in alone:
            continue
        judged = array[rows].reshape(len(rows), -1)
        there = grid.answered[axis][name][rows].reshape(len(rows), -1)
        ids = [n for n, item in items.items() if (item.axis, item.benchmark) == (axis, name)]
        column = {number: n * grid.samples for n, number in enumerate(ids)}
        own = np.full(judged.shape, np.nan)
        for (condition, item, sample), score in labels.items():
            if condition in place_of and item in column:
                own[place_of[condition], column[item] + sample] = score
        verdicts.append(judged)
        labeled.append(own)
        there = there * np.repeat([items[n].is_judged for n in ids], grid.samples)
        share = there / np.maximum(there.sum(axis=1, keepdims=True), 1)
        weights.append(share)
    return np.hstack(verdicts), np.hstack(labeled), np.hstack(weights)
