"""Trade-off: do the identities that gain in safety lose in utility?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import ndtri

from evenhand.stats._scores import Floats, Scores, check_level, read_benchmarks, same_identities
from evenhand.stats.layout import fit_layout
from evenhand.stats.paired import Differences

Verdict = Literal[
    "loses both",
    "loses safety",
    "loses utility",
    "safety for utility",
    "utility for safety",
    "gains safety",
    "gains utility",
    "gains both",
    "untouched",
    "undecided",
]


@dataclass(frozen=True)
class TradeOff:
    """Correlation of the identities' true safety and utility.

    Attributes:
        correlation: noise taken out, within [-1, 1]; NaN where an axis shows no spread beyond
            its noise, so that there is nothing to correlate.
        interval: (low, high) at `level`; (-1, 1) where the data cannot tell.
        observed: correlation of the observed means, pulled to 0 by noise; NaN if one is constant.
        covariance: unbiased covariance over the identities, in squared points.
        level: confidence level.
    """

    correlation: float
    interval: tuple[float, float]
    observed: float
    covariance: float
    level: float


def trade_off(safety: Scores, utility: Scores, *, level: float = 0.95) -> TradeOff:
    """Correlate safety and utility over the identities, with the noise taken out.

    The two axes have different items, so noise does not touch their covariance; it inflates the
    two variances, which are corrected (Spearman 1904's attenuation). The interval holds each
    correlation r for which ``covariance - r * sqrt(variances)`` is within its delta-method error
    of 0 (Fieller 1954), an estimate beyond 1 counting as 1; it widens to all of [-1, 1] as an
    axis's spread drowns in noise.

    Args:
        safety, utility: scores of the identities, as in `personalization_bias`; no benchmark
            may be in both.
        level: confidence level.

    Raises:
        ValueError: bad scores, or different identities.
    """
    check_level(level)
    s, v = _axis(safety, "safety")
    u, w = _axis(utility, "utility")
    same_identities([len(s), len(u)], "axes")
    both, a, b = float(s @ u), float(s @ s), float(u @ u)
    real_a, real_b = a - float(np.trace(v)), b - float(np.trace(w))
    observed = both / (a * b) ** 0.5 if min(a, b) > 0 else float("nan")
    covariance = both / len(s)
    if min(real_a, real_b) <= 0:
        return TradeOff(float("nan"), (-1.0, 1.0), observed, covariance, level)
    correlation = float(np.clip(both / (real_a * real_b) ** 0.5, -1.0, 1.0))
    interval = _fieller(s, u, v, w, real_a, real_b, level)
    return TradeOff(correlation, interval, observed, covariance, level)


def _axis(scores: Scores, axis: str) -> tuple[Floats, Floats]:
    """Return an axis's deviations and their covariance."""
    layouts = [fit_layout(a, name) for name, a in read_benchmarks(scores, axis).items()]
    deviations: Floats = np.mean([layout.deviations for layout in layouts], axis=0)
    covariance = np.sum([layout.covariance for layout in layouts], axis=0)
    return deviations, covariance / len(layouts) ** 2


def _fieller(
    s: Floats, u: Floats, v: Floats, w: Floats, a: float, b: float, level: float
) -> tuple[float, float]:
    """Interval for the correlation; a and b are the noise-corrected sums of squares, > 0.

    The error is worked out anew for each correlation r, at the vectors that would have it: with
    the observed lengths, s along its observed direction, u at the angle of r in the observed
    plane. At the observed vectors a lucky fit would come with a small error.
    """
    root = (a * b) ** 0.5
    covariance = float(np.clip(s @ u, -root, root))
    r = np.linspace(-1, 1, 2001)
    along = s / np.linalg.norm(s)
    across = u - (u @ along) * along
    across = across / max(float(np.linalg.norm(across)), np.finfo(float).tiny)
    plane = np.column_stack([along, across])
    x = a**0.5 * np.array([1.0, 0.0])
    y = b**0.5 * np.column_stack([r, np.sqrt(1 - r**2)])
    v2, w2 = plane.T @ v @ plane, plane.T @ w @ plane
    var_a = 4 * x @ v2 @ x + 2 * np.sum(v * v)
    var_b = 4 * np.einsum("ri,ij,rj->r", y, w2, y) + 2 * np.sum(w * w)
    var_cov = np.einsum("ri,ij,rj->r", y, v2, y) + x @ w2 @ x + np.sum(v * w)
    var_root = root**2 / 4 * (var_a / a**2 + var_b / b**2)
    cross = root * (y @ v2 @ x / a + y @ w2 @ x / b)
    variance = np.maximum(var_cov + r**2 * var_root - 2 * r * cross, 0.0)
    reach = float(ndtri((1 + level) / 2)) * np.sqrt(variance)
    # Half a step of the grid: where nearly nothing varies, the interval falls between two points.
    inside = r[np.abs(covariance - r * root) <= reach + root * (r[1] - r[0]) / 2]
    return float(inside[0]), float(inside[-1])


def classify(safety: Differences, utility: Differences, *, margin: float) -> tuple[Verdict, ...]:
    """Say of each identity which axes it loses or gains on, as far as the data can tell.

    A loss or gain is called when the simultaneous interval leaves 0 out; "untouched" when the
    simultaneous intervals of both axes lie within the margin and contain 0; else "undecided".

    Args:
        safety, utility: the identities' differences to the same reference. Their simultaneous
            intervals each hold at their own level; for one level over both axes give both at
            ``(1 + level) / 2``.
        margin: differences within plus or minus this many points do not matter.

    Raises:
        ValueError: a margin of 0 or below, or different identities.
    """
    if not margin > 0:
        raise ValueError(f"margin must be above 0 points, not {margin}")
    same_identities([len(safety.difference), len(utility.difference)], "axes")
    return tuple(
        _verdict(s, u, margin)
        for s, u in zip(safety.simultaneous, utility.simultaneous, strict=True)
    )


_VERDICTS: dict[tuple[int, int], Verdict] = {
    (-1, -1): "loses both",
    (-1, 0): "loses safety",
    (0, -1): "loses utility",
    (-1, 1): "safety for utility",
    (1, -1): "utility for safety",
    (1, 0): "gains safety",
    (0, 1): "gains utility",
    (1, 1): "gains both",
}


def _verdict(safety: Floats, utility: Floats, margin: float) -> Verdict:
    signs = (_sign(safety), _sign(utility))
    if signs != (0, 0):
        return _VERDICTS[signs]
    within = max(np.max(np.abs(safety)), np.max(np.abs(utility))) < margin
    return "untouched" if within else "undecided"


def _sign(interval: Floats) -> int:
    low, high = interval
    return int(low > 0) - int(high < 0)
