"""The spread of several means: noise taken out, interval and test.

For deviations ``d`` from their common mean, estimated with covariance ``V``, the signed statistic
``T = sum(d**2) - tr(V)`` has mean ``theta = sum(true d**2)``, variance ``2 tr(V^2) + 4 d'Vd`` and
third central moment ``8 tr(V^3) + 24 d'V^2d`` (moments of a quadratic form in normal variables:
Mathai & Provost 1992, ch. 3). Its distribution is taken as the shifted gamma with those three
moments (Pearson 1959, Biometrika 46, for the noncentral chi-square; Imhof 1961 for the
weighted sum), and the interval inverts the test of each ``theta``. ``V`` is estimated from the
items as it is, so identities may have different variances and be correlated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import fdtrc, gammainc, gammaincc, ndtr, ndtri, stdtrit

from evenhand.stats.layout import Layout
from evenhand.stats.scores import Floats

FEW = 30
"""With fewer items or clusters than this in a benchmark, the noise itself is hardly known."""
_FADE = 0.25
_MANY = 1000.0
"""With more degrees of freedom than this, Student's t is the normal distribution."""


@dataclass(frozen=True)
class QuadraticForm:
    """A signed sum of squared deviations and the moments of its distribution.

    Attributes:
        plugin: observed sum of squared deviations.
        noise: expected part of `plugin` that is noise, tr(V).
        variance, third: central moments of the signed value at no spread, from the residuals.
        null_variance, null_third: the same, estimated under the hypothesis of no spread.
        slope_variance, slope_third: growth of the two moments per unit of true spread.
        skew: third central moment of the noise along the direction of the spread; that along
            the observed direction, times the share of `plugin` that is not noise, since noise
            leans to where its own skewness is.
        count: number of identities.
        units: the fewest units (items, or clusters of them) behind any of the means.
        freedom: degrees of freedom of the noise (Satterthwaite's, over the benchmarks).
        alignment: how much larger the noise along the true spread is than along the observed one,
            >= 1. Above 1 where the items that carry the spread are also the noisy ones.
        largest: root mean square deviation of an item that tells the identities apart as far as
            can be, half of them 0 and half 100.
        still: those of the axes that show no noise, while others do.
    """

    plugin: float
    noise: float
    variance: float
    third: float
    null_variance: float
    null_third: float
    slope_variance: float
    slope_third: float
    skew: float
    count: int
    units: int
    freedom: float = float("inf")
    alignment: float = 1.0
    largest: float = 50.0
    still: tuple[QuadraticForm, ...] = ()

    @property
    def under_null(self) -> tuple[float, float]:
        """Variance and third moment at no spread, grown where few units of unequal size tell them.

        Such units tell as little of the noise as `freedom` + 1 equal ones do.
        """
        if self.units >= FEW:
            return self.null_variance, self.null_third
        scale = max((self.units - 1) / self.freedom, 1.0)
        return scale * self.null_variance, scale**1.5 * self.null_third

    @property
    def signed(self) -> float:
        """Observed sum of squares less its noise; below 0 when there is less than noise gives."""
        return self.plugin - self.noise

    def at_least(self, value: float, theta: float) -> float:
        """P(T >= value) if the true sum of squares were theta.

        Skewed noise moves T and its estimated variance together, which shifts the studentized
        value and turns its skewness round (Hall 1992, *The Bootstrap and Edgeworth Expansion*).
        """
        variance = self.variance + self.slope_variance * theta
        skew = 8 * theta**1.5 * self.skew
        third = self.third + self.slope_third * theta - 2 * skew
        return upper_tail(value, theta - skew / (2 * variance), variance, third)


def quadratic_form(axes: Sequence[Sequence[Layout]], count: int | None = None) -> QuadraticForm:
    """Add up axes, each the plain average of its benchmarks, into one quadratic form.

    Args:
        axes: for each axis the layouts of its benchmarks.
        count: number of identities, when it is not the length of the deviations.
    """
    means = [np.mean([layout.deviations for layout in axis], axis=0) for axis in axes]
    covariances = [np.sum([b.covariance for b in axis], axis=0) / len(axis) ** 2 for axis in axes]
    plugin = float(sum(d @ d for d in means))
    variance = sum(_trace2(axis) for axis in axes)
    noise = float(sum(np.trace(v) for v in covariances))
    linear, square, skew = _along(axes, means, covariances)
    alignment = _alignment(linear, plugin, noise, variance, covariances)
    still = [axis for axis, v in zip(axes, covariances, strict=True) if not v.any()]
    if len(still) == len(axes):
        still = []
    return QuadraticForm(
        plugin=plugin,
        noise=noise,
        variance=2 * variance,
        third=8 * sum(_trace3(axis) for axis in axes),
        null_variance=sum(_null(axis, 2) for axis in axes),
        null_third=sum(_null(axis, 3) for axis in axes),
        slope_variance=4 * linear * alignment,
        slope_third=24 * square,
        skew=skew * max(1 - noise / plugin, 0.0) if plugin > 0 else 0.0,
        count=count or len(means[0]),
        units=min(b.units for axis in axes for b in axis),
        freedom=_freedom(axes),
        alignment=alignment,
        largest=max(_largest(b) for axis in axes for b in axis),
        still=tuple(quadratic_form([axis], count) for axis in still),
    )


def _largest(layout: Layout) -> float:
    return 50.0 if layout.largest is None else float(np.mean(layout.largest**2) ** 0.5)


def _alignment(
    linear: float, plugin: float, noise: float, variance: float, covariances: Sequence[Floats]
) -> float:
    """Noise along the true direction of the spread, over that along the observed one.

    The observed direction d is the true one plus noise, so that ``E[d'Vd]`` is ``m'Vm + tr(V^2)``
    and ``E[d'd]`` is ``m'm + tr(V)`` at the true m; both are solved for ``m'Vm / m'm``. No
    direction has more noise than the largest eigenvalue of V.
    """
    true = plugin - noise
    if true <= 0 or linear <= 0:
        return 1.0
    most = max(float(np.linalg.eigvalsh(v)[-1]) for v in covariances)
    aligned = float(max(min((linear * plugin - variance) / true, most) / linear, 1.0))
    # Where hardly any spread is left the ratio says nothing; it fades into 1.
    return 1.0 + (aligned - 1.0) * true / (true + _FADE * float(np.sqrt(2 * variance)))


def _freedom(axes: Sequence[Sequence[Layout]]) -> float:
    """Degrees of freedom of the noise of all axes together (Satterthwaite 1946)."""
    parts = [
        (float(np.trace(b.covariance)) / len(axis) ** 2, b.freedom) for axis in axes for b in axis
    ]
    total = sum(variance for variance, _ in parts)
    if total <= 0:
        return min(freedom for _, freedom in parts)
    return total**2 / sum(variance**2 / freedom for variance, freedom in parts)


def _along(
    axes: Sequence[Sequence[Layout]], means: Sequence[Floats], covariances: Sequence[Floats]
) -> tuple[float, float, float]:
    """Return d'Vd, d'V^2d and the third moment of d'noise, for the observed direction d.

    Without any observed spread there is no direction, and V's mean over directions stands in.
    """
    length = float(sum(d @ d for d in means))
    if length == 0:
        noise = sum(float(np.trace(v)) for v in covariances) or 1.0
        squares = sum(float(np.sum(v * v)) for v in covariances)
        return squares / noise, sum(_cube(v) for v in covariances) / noise, 0.0
    turned = [v @ d for v, d in zip(covariances, means, strict=True)]
    linear = sum(float(d @ t) for d, t in zip(means, turned, strict=True))
    square = sum(float(t @ t) for t in turned)
    third = sum(
        float(np.sum(b.by_unit(b.influence @ d) ** 3)) / (b.units * len(axis)) ** 3
        for axis, d in zip(axes, means, strict=True)
        for b in axis
    )
    return linear / length, square / length, third / length**1.5


def _trace2(axis: Sequence[Layout]) -> float:
    """Estimate tr(V^2) of an axis: only a benchmark's square with itself needs the correction."""
    total = np.asarray(sum(b.covariance for b in axis))
    own = sum(b.trace2 - float(np.sum(b.covariance**2)) for b in axis)
    return max(float(np.sum(total**2)) + own, 0.0) / len(axis) ** 4


def _trace3(axis: Sequence[Layout]) -> float:
    """Estimate tr(V^3) of an axis in the same way."""
    total = np.asarray(sum(b.covariance for b in axis))
    own = sum(b.trace3 - _cube(b.covariance) for b in axis)
    return max(_cube(total) + own, 0.0) / len(axis) ** 6


def _cube(matrix: Floats) -> float:
    return float(np.sum((matrix @ matrix) * matrix))


def _null(axis: Sequence[Layout], moment: int) -> float:
    """Null central moment of an axis's signed sum of squares.

    One benchmark has its own exact value; several add the cross terms of their covariances.
    """
    own = sum(b.null_variance if moment == 2 else b.null_third for b in axis)
    if len(axis) == 1:
        return own
    total = np.asarray(sum(b.covariance for b in axis))
    if moment == 2:
        cross = float(np.sum(total**2)) - sum(float(np.sum(b.covariance**2)) for b in axis)
        return (own + 2 * cross) / len(axis) ** 4
    cross = _cube(total) - sum(_cube(b.covariance) for b in axis)
    return (own + 8 * cross) / len(axis) ** 6


def upper_tail(value: float, mean: float, variance: float, third: float) -> float:
    """P(T >= value) for the shifted gamma with the given mean, variance and third moment."""
    z = (value - mean) / variance**0.5
    skewness = third / variance**1.5
    if abs(skewness) < 1e-4:  # the gamma shape would exceed 4e8: normal to every digit shown
        return float(ndtr(-z))
    shape = 4 / skewness**2
    if skewness < 0:
        return float(gammainc(shape, max(shape - z * shape**0.5, 0.0)))
    return float(gammaincc(shape, max(shape + z * shape**0.5, 0.0)))


def rejects(p_value: ArrayLike, level: float) -> NDArray[np.bool_]:
    """Whether a p-value is below the error of an interval at `level`."""
    return np.asarray(p_value) < round(1 - level, 12)


def spread_p_value(form: QuadraticForm) -> float:
    """p-value of no spread: one-sided, a large sum of squares is evidence against it."""
    if _noiseless(form):
        return _p_value_without_noise(form)
    p_value = upper_tail(form.signed, 0.0, *form.under_null)
    return max(p_value, _ratio_p_value(form)) if form.units < FEW else p_value


def _ratio_p_value(form: QuadraticForm) -> float:
    """p-value of the ratio of the spread to its noise, where a handful of units tells the noise.

    Box's (1954, Ann. Math. Stat. 25) F approximation: as many degrees of freedom as equal
    variances with the same trace and trace of the square would have.
    """
    if form.variance <= 0:
        return 1.0
    freedom = min(2 * form.noise**2 / form.variance, form.count - 1.0)
    return float(fdtrc(freedom, freedom * form.freedom, form.plugin / form.noise))


def spread_interval(form: QuadraticForm, level: float) -> tuple[float, float]:
    """Interval for the true sum of squared deviations, by inverting a test of each value.

    0 is tested by `spread_p_value`, so it is outside exactly where that is below ``1 - level``.

    A true value so small that its lower critical point is negative is never rejected from below:
    a downward chance deviation is no evidence of less than no spread (power-constrained limit,
    Cowan et al. 2011, arXiv:1105.3166). Such values spend the whole error above, the others half
    below and half above, so every value is covered at `level`.
    """
    low, high = _with_still_axes(form, *_inverted(form, level), level)
    least = least_significant(form, level)
    if low == 0 or least == 0:
        low = least
    return low, max(low, high)


def _with_still_axes(
    form: QuadraticForm, low: float, high: float, level: float
) -> tuple[float, float]:
    """The limits with those of the axes that show no noise, so that no axis exceeds the whole.

    Such an axis adds nothing to the moments, though what its items may hide is bounded by their
    number alone. The limits of a sum are recovered from those of its parts (Zou 2007).
    """
    value = max(form.signed, 0.0)
    down, up = (value - low) ** 2, (high - value) ** 2
    for axis in form.still:
        least, most = _without_noise(axis, (1 - level) / 2)
        down += (axis.plugin - least) ** 2
        up += (most - axis.plugin) ** 2
    return (max(value - down**0.5, 0.0), value + up**0.5) if form.still else (low, high)


def least_significant(form: QuadraticForm, level: float) -> float:
    """What a lower limit may fall to: 0 exactly where `spread_p_value` does not reject.

    Otherwise the smallest value that is not rejected from below with the moments of no spread, or
    the smallest that can be rejected from below at all, whichever is less.
    """
    error = 1 - level
    if not rejects(spread_p_value(form), level):
        return 0.0
    if _noiseless(form):
        return _without_noise(form, error)[0]

    variance, third = form.under_null

    def at_least(value: float, theta: float) -> float:
        return upper_tail(
            value, theta, variance + form.slope_variance * theta, third + form.slope_third * theta
        )

    held = increasing_root(lambda theta: at_least(form.signed, theta), error)
    return min(held, increasing_root(lambda theta: at_least(0.0, theta), 1 - error / 2))


def _noiseless(form: QuadraticForm) -> bool:
    return form.null_variance <= 1e-12 * form.noise**2  # 0 but for rounding


def _inverted(form: QuadraticForm, level: float) -> tuple[float, float]:
    """Limits by the moments of each value's own distribution."""
    error = 1 - level
    if form.variance <= 0:
        return _without_noise(form, error / 2)
    form = _widened(form, level)
    unconstrained = increasing_root(lambda theta: form.at_least(0.0, theta), 1 - error / 2)
    low = increasing_root(lambda theta: form.at_least(form.signed, theta), error)
    if low > unconstrained:
        half = increasing_root(lambda theta: form.at_least(form.signed, theta), error / 2)
        low = max(half, unconstrained)
    value = max(form.signed, 0.0)
    high = increasing_root(lambda theta: form.at_least(value, theta), 1 - error / 2)
    return low, high


def _widened(form: QuadraticForm, level: float) -> QuadraticForm:
    """The form with the noise that Student's t would see: with few units V is itself uncertain."""
    if form.freedom > _MANY:
        return form
    tail = (1 + level) / 2
    scale = float(stdtrit(form.freedom, tail) / ndtri(tail)) ** 2
    return replace(
        form,
        variance=form.variance * scale,
        slope_variance=form.slope_variance * scale,
        third=form.third * scale**1.5,
        slope_third=form.slope_third * scale**1.5,
    )


def increasing_root(increasing: Callable[[float], float], target: float) -> float:
    """Return theta >= 0 where the increasing function reaches the target (0 if above already).

    By inverse quadratic interpolation where it is safe and bisection elsewhere (Chandrupatla 1997,
    Adv. Eng. Softw. 28): a tenth of the evaluations of bisection alone.
    """
    a, fa = 0.0, increasing(0.0) - target
    if fa >= 0:
        return 0.0
    b = 1.0
    while (fb := increasing(b) - target) < 0:
        a, fa, b = b, fb, 4 * b
    c, fc, step = a, fa, 0.5
    for _ in range(200):
        new = a + step * (b - a)
        f = increasing(new) - target
        if (f > 0) == (fa > 0):
            c, fc = a, fa
        else:
            c, b, fc, fb = b, a, fb, fa
        a, fa = new, f
        best = a if abs(fa) < abs(fb) else b
        shortest = 1e-9 * max(abs(best), 1e-9) / abs(b - a) if b != a else 1.0
        if shortest > 0.5 or fa == 0:
            return best
        step = 0.5
        if fb != fc and fa != fc:
            xi, phi = (a - b) / (c - b), (fa - fb) / (fc - fb)
            if phi**2 < xi and (1 - phi) ** 2 < 1 - xi:
                step = fa / (fb - fa) * fc / (fb - fc)
                step += (c - a) / (b - a) * fa / (fc - fa) * fb / (fc - fb)
        step = min(max(step, shortest), 1 - shortest)
    return best


def _without_noise(form: QuadraticForm, tail: float) -> tuple[float, float]:
    """Interval when no item differs from any other, so that no variance can be estimated.

    All ``n`` items agree, so a share of up to ``1 - tail**(1/n)`` of the items might not (the rule
    of three); such an item moves the root mean square deviation by at most 50 points beyond it.
    That equal scores are the plainest sign of evenness does not make this narrower: they tell how
    rare an item that differs must be, not how far apart the identities are on it.
    """
    observed = (form.plugin / form.count) ** 0.5
    reach = (1 - tail ** (1 / form.units)) * (form.largest + observed)
    return form.count * max(observed - reach, 0.0) ** 2, form.count * (observed + reach) ** 2


def _p_value_without_noise(form: QuadraticForm) -> float:
    """p-value where no two items show a difference that could agree or disagree.

    With no noise at all it is the tail at which the lower limit of `_without_noise` reaches 0.
    """
    if form.noise > 0:
        return 1.0
    observed = (form.plugin / form.count) ** 0.5
    return float((form.largest / (form.largest + observed)) ** form.units)
