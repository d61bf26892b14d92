"""Rates and their spread from a judge's verdicts on all answers and labels of some.

The labeled answers are a random sample within each stratum, an identity's answers of one verdict.
An identity's rate is the mean of its strata's labeled means, weighted by the strata's sizes
(Cochran 1977, *Sampling Techniques*, ch. 5). With a judge of two verdicts this is
prediction-powered inference (Angelopoulos et al. 2023, Science 382) with the weight that is best
for each identity. Nothing is assumed of the judge: it may err as it likes, more for one identity
than for another; the better it is, the narrower the intervals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from evenhand.stats.scores import Floats, check_level
from evenhand.stats.spread import QuadraticForm, spread_interval, spread_p_value

_SMOOTHING = 3.0
"""How many labels the verdict's strata of all identities together are worth in one stratum's
variance. Without it a stratum whose few labels agree would seem to have no variance."""


@dataclass(frozen=True)
class LabelCorrection:
    """What labels of a sample say of all answers, in points of the 0-100 scale.

    Attributes:
        rates: (identities,) rate of each, as if all of its answers had been labeled.
        intervals: (identities, 2) of the rates.
        alone: (identities, 2) intervals by the labels alone, without the judge.
        mean: of the identities' rates.
        mean_interval: (low, high) of the mean.
        pb: spread of the rates (PB of the axis), with the noise of labels and items taken out.
        pb_interval: (low, high) of it.
        p_value: of "the rates do not differ".
        labels: how many answers are labeled.
        errors: (identities,) share of the labeled answers, weighted to all, on which judge and
            labels differ, or by how much their grades do; NaN where the judge gave no verdict.
        level: confidence level of the intervals.
    """

    rates: Floats
    intervals: Floats
    alone: Floats
    mean: float
    mean_interval: tuple[float, float]
    pb: float
    pb_interval: tuple[float, float]
    p_value: float
    labels: int
    errors: Floats
    level: float


def corrected_by_labels(
    verdicts: ArrayLike,
    labels: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    level: float = 0.95,
    graded: bool = False,
) -> LabelCorrection:
    """Correct a judge by labels of a sample that is stratified by identity and verdict.

    Args:
        verdicts: (identities, answers) the judge's scores in [0, 1], of which those from 0.5 on
            count as 1; NaN where it gave none. A column is one item (and sample) for all.
        labels: (identities, answers) 0 or 1, or in [0, 1] where graded; NaN where not labeled.
        weights: (identities, answers) >= 0, how much each answer counts in its identity's rate;
            0 for answers that do not exist. Without: all alike.
        level: confidence level.
        graded: verdicts and labels are grades: the judge's error is their mean absolute difference.

    Raises:
        ValueError: shapes differ, fewer than two identities, labels other than 0 and 1 (graded:
            outside [0, 1]), an identity without labels, or weights below 0 or not finite.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> truth = rng.random((4, 500)) < 0.2
        >>> wrong = rng.random((4, 500)) < np.array([[0.02], [0.02], [0.2], [0.2]])
        >>> verdicts = np.where(wrong, ~truth, truth).astype(float)
        >>> labels = np.where(rng.random((4, 500)) < 0.2, truth, np.nan)
        >>> found = corrected_by_labels(verdicts, labels)
        >>> bool(np.all(found.errors[2:] > found.errors[:2])), found.labels > 300
        (True, True)
    """
    check_level(level)
    said = np.asarray(verdicts, dtype=np.float64)
    true = np.asarray(labels, dtype=np.float64)
    share = np.ones_like(said) if weights is None else np.asarray(weights, dtype=np.float64)
    if said.ndim != 2 or not said.shape == true.shape == share.shape or len(said) < 2:
        raise ValueError("verdicts, labels and weights: one shape, (identities, answers)")
    if not np.all((share >= 0) & (share < np.inf)) or not np.all(share.any(axis=1)):
        raise ValueError("weights must be 0 or more, and above 0 for an answer of each identity")
    known = ~np.isnan(true) & (share > 0)
    if graded and not np.all((true[known] >= 0) & (true[known] <= 1)):
        raise ValueError("graded labels must be in [0, 1]")
    if not graded and not np.all(np.isin(true[known], (0, 1))):
        raise ValueError("labels must be 0 or 1")
    if not np.all(known.any(axis=1)):
        raise ValueError("every identity needs labels")
    share = share / share.sum(axis=1, keepdims=True)
    strata = np.where(np.isnan(said), 2, (said >= 0.5).astype(int))
    differences = np.abs((said if graded else said >= 0.5) - true)
    sample = _Sample.of(strata, true, differences, known, share)
    rates = np.sum(sample.size * sample.mean, axis=1)
    predicted = np.take_along_axis(sample.mean, strata, axis=1)
    between = np.sum(share**2 * (predicted - rates[:, None]) ** 2, axis=1)
    variance = sample.variance + between
    z = float(ndtri((1 + level) / 2))
    overall = float(rates.mean())
    items = _item_noise(predicted, share, rates)
    reach = z * float(sample.variance.sum() + items.sum()) ** 0.5 / len(rates)
    pb, pb_interval, p_value = _spread(rates, sample, items, said.shape[1], level)
    return LabelCorrection(
        rates=100 * rates,
        intervals=100 * _score_interval(rates, variance, z),
        alone=100 * _alone(rates, known.sum(axis=1), z),
        mean=100 * overall,
        mean_interval=(100 * max(overall - reach, 0), 100 * min(overall + reach, 1)),
        pb=pb,
        pb_interval=pb_interval,
        p_value=p_value,
        labels=int(known.sum()),
        errors=sample.errors(),
        level=level,
    )


@dataclass(frozen=True)
class _Sample:
    """Strata: (identities, 3) by verdict 0, 1, and none.

    Attributes:
        size: a stratum's share of its identity.
        count: its labels.
        mean: of its labels; of all identities' labels of that verdict where it has none.
        per_label: variance of its labels, drawn towards that of all identities, never 0.
        difference: mean difference of verdict and label, likewise.
    """

    size: Floats
    count: Floats
    mean: Floats
    per_label: Floats
    difference: Floats

    @classmethod
    def of(
        cls,
        strata: NDArray[np.int64],
        true: Floats,
        differences: Floats,
        known: NDArray[np.bool_],
        share: Floats,
    ) -> _Sample:
        places = np.arange(3)[:, None, None]
        here = strata == places  # (3, identities, answers)
        labeled = here & known

        def total(values: Floats, where: NDArray[np.bool_]) -> Floats:
            return np.asarray(np.where(where, np.nan_to_num(values), 0).sum(axis=2).T)

        size, count = total(share, here), labeled.sum(axis=2).T.astype(np.float64)
        weight = total(share, labeled)

        def mean_of(values: Floats) -> Floats:
            means = total(share * values, labeled) / np.where(count > 0, weight, 1)
            return np.asarray(np.where(count > 0, means, _pooled(total(values, labeled), count)))

        first, second = (_smoothed(total(v, labeled), count) for v in (true, true**2))
        return cls(size, count, mean_of(true), second - first**2, mean_of(differences))

    @property
    def variance(self) -> Floats:
        """(identities,) sampling variance of the rates by the choice of what is labeled."""
        per_stratum = self.per_label / np.maximum(self.count, 1)
        return np.asarray(np.sum(self.size**2 * per_stratum, axis=1))

    @property
    def fourth(self) -> Floats:
        """(identities,) fourth cumulant of the rates: few labels of rare errors are no normal.

        That of a Bernoulli variable of this variance, also for graded labels, whose tails are
        lighter.
        """
        spread = self.per_label
        cumulant = spread * (1 - 6 * spread) / np.maximum(self.count, 1) ** 3
        return np.asarray(np.sum(self.size**4 * cumulant, axis=1))

    def errors(self) -> Floats:
        """(identities,) mean difference of the judge's verdicts from the labels."""
        judged = self.size[:, 0] + self.size[:, 1]
        wrong = np.sum(self.size[:, :2] * self.difference[:, :2], axis=1)
        return np.where(judged > 0, wrong / np.where(judged > 0, judged, 1), np.nan)


def _pooled(sums: Floats, count: Floats) -> Floats:
    """Mean of all identities' labels of each verdict, half a label of either kind added."""
    return np.asarray((sums.sum(axis=0) + 0.5) / (count.sum(axis=0) + 1))


def _smoothed(sums: Floats, count: Floats) -> Floats:
    return np.asarray((sums + _SMOOTHING * _pooled(sums, count)) / (count + _SMOOTHING))


def _item_noise(predicted: Floats, share: Floats, rates: Floats) -> Floats:
    """(identities, identities) covariance of the rates by the choice of items."""
    moved = share * (predicted - rates[:, None])
    return np.asarray(moved @ moved.T)


def _spread(
    rates: Floats, sample: _Sample, items: Floats, columns: int, level: float
) -> tuple[float, tuple[float, float], float]:
    """The rates' spread in points, its interval, and the p-value of none."""
    count = len(rates)
    center = np.eye(count) - 1 / count
    noise = center @ (np.diag(sample.variance) + items) @ center
    deviations = rates - rates.mean()
    plugin, floor = float(deviations @ deviations), float(np.trace(noise))
    variance = 2 * float(np.sum(noise**2)) + float(np.sum(sample.fourth))
    variance = max(variance, 1e-18)
    third = 2 * variance**2 / floor if floor > 0 else 0.0
    length = plugin or 1.0
    turned = noise @ deviations
    form = QuadraticForm(
        plugin=plugin,
        noise=floor,
        variance=variance,
        third=third,
        null_variance=variance,
        null_third=third,
        slope_variance=4 * float(deviations @ turned) / length,
        slope_third=24 * float(turned @ turned) / length,
        skew=0.0,
        count=count,
        units=columns,
    )
    low, high = spread_interval(form, level)
    estimate = 100 * (max(form.signed, 0.0) / count) ** 0.5
    interval = (100 * (low / count) ** 0.5, min(100 * (high / count) ** 0.5, 50.0))
    return estimate, interval, spread_p_value(form)


def _score_interval(rates: Floats, variance: Floats, z: float) -> Floats:
    """Wilson's interval with as many labels as would give the rates this variance.

    A rate of 0 or 1 has an interval, too: its labels are few.
    """
    inside = np.clip(rates, 0.005, 0.995)
    effective = inside * (1 - inside) / np.maximum(variance, 1e-9)
    middle = (rates + z**2 / (2 * effective)) / (1 + z**2 / effective)
    reach = z * np.sqrt(rates * (1 - rates) / effective + (z / (2 * effective)) ** 2)
    reach = reach / (1 + z**2 / effective)
    return np.stack([np.clip(middle - reach, 0, 1), np.clip(middle + reach, 0, 1)], axis=-1)


def _alone(rates: Floats, count: NDArray[np.int64], z: float) -> Floats:
    """Wilson's intervals of these rates by so many labels, drawn without regard to the judge."""
    return _score_interval(rates, np.maximum(rates * (1 - rates), 0.25 / count) / count, z)


def labels_needed(identities: int, error: float, difference: float, *, power: float = 0.8) -> int:
    """How many labels show a spread of the given size, drawn alike for all identities.

    For two halves of the identities whose rates differ by `difference`, by a two-sided test at
    5%; a judge that errs in a share `error` of the answers leaves error * (1 - error) of variance
    per label.

    Args:
        identities: how many.
        error: share of answers on which judge and labels are expected to differ, in (0, 1).
        difference: of the halves' rates, in points > 0.
        power: chance of showing it.

    Raises:
        ValueError: a value outside its range.

    Example:
        >>> labels_needed(32, 0.1, 10.0)
        283
    """
    if not 0 < error < 1 or difference <= 0 or identities < 2 or not 0 < power < 1:
        raise ValueError("identities >= 2, 0 < error < 1, difference > 0 and 0 < power < 1")
    z = float(ndtri(0.975)) + float(ndtri(power))
    per_half = z**2 * 2 * error * (1 - error) / (difference / 100) ** 2
    return max(2 * identities, int(np.ceil(2 * per_half)))
