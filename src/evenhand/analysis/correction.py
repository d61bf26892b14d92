"""What judged rates would be without the judge's mistakes, where these are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import hypot

import numpy as np

from evenhand.analysis.grid import Scores, mean_of
from evenhand.analysis.results import JudgeCorrection
from evenhand.analysis.whose import own_name
from evenhand.axes import AXES
from evenhand.benchmarks.item import JUDGED, Item
from evenhand.calibration.agreement import shipped_calibration
from evenhand.stats import JudgeError, Spread, corrected_bias, corrected_rates
from evenhand.store.store import Store

_OWN_MODEL = "organism"
"""It speaks in its own few phrases, on which no people's labels tell anything."""


@dataclass(frozen=True, slots=True)
class KnownError:
    """A judge's error rates, and from which people's labels they are known.

    Attributes:
        judge: whose they are; empty for whoever gave the scores.
    """

    error: JudgeError
    labels: str = ""
    judge: str = ""


KnownErrors = Mapping[tuple[str, str], KnownError]
"""Axis and benchmark -> the error rates of whoever judged it; those unknown are absent."""


def known_errors(store: Store, judge: str, given: KnownError | None = None) -> KnownErrors:
    """The error rates of whoever gave the scores.

    Args:
        judge: whose scores of judged items are used.
        given: what the user says of this judge; None for what comes with evenhand, which is
            known of its own judges alone.
    """
    own = own_name(store)
    scorers: dict[tuple[str, str], set[str]] = {}
    for item in store.items().values():
        if item.scorer in JUDGED:
            scorers.setdefault((item.axis, item.benchmark), set()).add(_who(own, judge, item))
    ships = store.meta("study")["model"] != _OWN_MODEL
    found = {}
    for place, names in scorers.items():
        if given is not None and (not given.judge or names == {given.judge}):
            found[place] = given
        elif ships and given is None and len(names) == 1:
            calibration = shipped_calibration(next(iter(names)))
            if calibration is not None:
                error = calibration.to_judge_error()
                found[place] = KnownError(error, calibration.labels, calibration.judge)
    return found


def _who(own: str, judge: str, item: Item) -> str:
    """Whose mistakes a score of this item can hold; `own` is the name of the items' scorers."""
    name = item.scorer if judge == own else judge
    return "refusal" if name == "harm" and AXES[item.axis].lower_is_better else name


def correct(
    axis: str, scores: Scores, pb: Spread | None, errors: KnownErrors, level: float
) -> JudgeCorrection | None:
    """The mean and the spread of an axis as a perfect judge would have them.

    Benchmarks whose judge has the same error rates are corrected together. Otherwise each is
    corrected alone, the intervals are combined as for independent estimates (Zou & Donner 2008,
    Stat. Med. 27), and the spread is left as it is, for every benchmark shrinks it by a factor
    of its own.

    Returns:
        None where the errors on a benchmark are not known, or nothing was scored.
    """
    known = {name: errors.get((axis, name)) for name in scores}
    each = [error for error in known.values() if error is not None]
    mean = mean_of(scores)
    if mean is None or not each or len(each) < len(known):
        return None
    labels = "; ".join(dict.fromkeys(error.labels for error in each if error.labels))
    if len(set(each)) == 1:
        rate, interval = _corrected(scores, mean, each[0].error, level)
        bias = corrected_bias(pb, each[0].error) if pb else None
        return JudgeCorrection(rate, interval, bias, labels)
    parts = []
    for name, error in known.items():
        alone = {name: scores[name]}
        judged = mean_of(alone)
        if error is None or judged is None:
            return None
        parts.append(_corrected(alone, judged, error.error, level))
    middle = sum(rate for rate, _ in parts) / len(parts)
    down = hypot(*(rate - low for rate, (low, _) in parts)) / len(parts)
    up = hypot(*(high - rate for rate, (_, high) in parts)) / len(parts)
    interval = max(middle - down, 0.0), min(middle + up, 100.0)
    return JudgeCorrection(middle, interval, None, labels)


def _corrected(
    scores: Scores, mean: float, error: JudgeError, level: float
) -> tuple[float, tuple[float, float]]:
    rates = corrected_rates(mean, _effective_items(scores, mean / 100), error, level=level)
    low, high = rates.interval
    return float(rates.rate), (float(low), float(high))


def _effective_items(scores: Scores, mean: float) -> int:
    """How many independent answers tell the mean as well: all identities share the items."""
    per_item = [np.nanmean(array, axis=(0, 2)) for array in scores.values()]
    items = sum(len(means) for means in per_item)
    if min(len(means) for means in per_item) < 2:
        return items
    variance = sum(means.var(ddof=1) / len(means) for means in per_item) / len(per_item) ** 2
    binomial = mean * (1 - mean)
    return max(1, min(items, round(binomial / variance))) if variance > 0 else items
