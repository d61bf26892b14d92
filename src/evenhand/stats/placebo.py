"""Identity beyond placebo: bias over and above what any change of wording does.

Placebos are attributes that cannot matter (a favorite color, a mug) in the same wording. They
are taken as a sample of all such attributes, the identities as the ones of interest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from evenhand.stats.layout import Layout, fit_axis
from evenhand.stats.permutation import assignments
from evenhand.stats.scores import (
    Clusters,
    Floats,
    Scores,
    TooFewScores,
    check_level,
    read_benchmarks,
)
from evenhand.stats.spread import quadratic_form, rejects, spread_interval, spread_p_value

_WIDEST = 12.0
"""Natural logarithm of the largest ratio of two variances that is looked for."""
_LEAST = 1e-6
"""Share of the identities' variance that a significant contrast has at the least."""


@dataclass(frozen=True)
class PlaceboContrast:
    """Spread of the identities against the spread of the placebos, in points.

    Both spreads are standard deviations with divisor (number - 1), so that sets of different size
    compare; for K identities PB is ``sqrt((K - 1) / K)`` times this.

    Attributes:
        identity: noise-corrected standard deviation of the identities.
        placebo: noise-corrected standard deviation of the placebos.
        beyond: ``sqrt(max(0, signed_square))``, what identity adds.
        signed_square: identity squared less placebo squared, unbiased, squared points.
        interval: (low, high) of `beyond`, >= 0.
        p_value: one-sided, of "identities spread no more than placebos do".
        level: confidence level of `interval`.
        identities, placebos: numbers of each.
    """

    identity: float
    placebo: float
    beyond: float
    signed_square: float
    interval: tuple[float, float]
    p_value: float
    level: float
    identities: int
    placebos: int


def placebo_contrast(
    identity: Sequence[Scores],
    placebo: Sequence[Scores],
    *,
    level: float = 0.95,
    clusters: Clusters | None = None,
) -> PlaceboContrast:
    """Compare the spread of identities with that of placebos on the same items.

    The p-value is of a permutation of the labels "identity" and "placebo" over the ratio of the
    plug-in spreads: if identities were more placebos, both would be draws of one distribution,
    noise included, whatever its shape. It is the larger of two: with each group around its own mean
    (which a common effect of naming a person may move), and around one mean, which is exact where
    there is no such effect. The interval inverts this test: a ratio of the spreads is held where
    identities shrunken by it are not told from placebos. The upper limit adds the identities' own
    uncertainty by the method of variance estimates recovery (MOVER: Zou & Donner 2008, Stat. Med.
    27).

    Args:
        identity: scores of the identities for each axis, such as ``[safety, utility]``.
        placebo: scores of the placebos for the same axes.
        level: confidence level.
        clusters: what the items belong to, as in `personalization_bias`.

    Raises:
        ValueError: bad scores, no axis or different numbers of axes, fewer than 2 placebos.
    """
    check_level(level)
    if not identity or len(identity) != len(placebo):
        raise TooFewScores("identity and placebo need the same axes, at least one")
    ours = [_fit(scores, clusters) for scores in identity]
    theirs = [_fit(scores, clusters) for scores in placebo]
    form, other = quadratic_form(ours), quadratic_form(theirs)
    k, m = form.count - 1, other.count - 1
    signed = form.signed / k - other.signed / m
    a, b = max(form.signed, 0.0) / k, max(other.signed, 0.0) / m
    plugin, noise, of_placebos = form.plugin / k, form.noise / k, other.noise / m
    own = spread_p_value(form)  # identities that have no spread have none beyond placebos
    low, high = (limit / k for limit in spread_interval(form, level))
    below, least = 0.0, 0.0
    if other.plugin > 0:
        labels = _Relabeling(ours, theirs)
        alike = max((b + noise) / (b + of_placebos), 1.0)
        p_value = max(labels.p_value(alike), own)
        tail = (1 - level) / 2
        least = max(plugin / labels.largest(tail) - of_placebos, 0.0)
        if rejects(p_value, level):
            most = max(plugin / labels.smallest(tail) - of_placebos, b)
            below = a - b - ((a - low) ** 2 + (most - b) ** 2) ** 0.5
            if below <= 0:
                least_ratio = labels.smallest(1 - level)
                below = max(least_ratio * (b + of_placebos) - (b + noise), _LEAST * a)
    else:
        # Without any spread of the placebos, what unseen items could hide must be thought of, too.
        p_value = own
        below = low if rejects(p_value, level) else 0.0
    above = a - b + ((high - a) ** 2 + max(b - least, 0.0) ** 2) ** 0.5
    return PlaceboContrast(
        identity=a**0.5,
        placebo=b**0.5,
        beyond=max(signed, 0.0) ** 0.5,
        signed_square=signed,
        interval=(below**0.5, max(above, below) ** 0.5),
        p_value=p_value,
        level=level,
        identities=form.count,
        placebos=other.count,
    )


def _fit(scores: Scores, clusters: Clusters | None) -> list[Layout]:
    return fit_axis(read_benchmarks(scores, "scores"), "scores", clusters=clusters)


class _Relabeling:
    """Permutation of the labels over the ratio of the spreads, identities over placebos.

    The identities' deviations may be shrunken first, so that a ratio other than 1 is tested.
    """

    def __init__(
        self, ours: Sequence[Sequence[Layout]], theirs: Sequence[Sequence[Layout]]
    ) -> None:
        groups = [
            np.column_stack([np.mean([b.means for b in axis], axis=0) for axis in part])
            for part in (ours, theirs)
        ]
        self._sizes = [len(group) for group in groups]
        self._means = [group.mean(axis=0) for group in groups]
        self._deviations = [group - group.mean(axis=0) for group in groups]
        order = assignments(tuple(self._sizes))
        first = np.zeros(order.shape)
        np.put_along_axis(first, order[:, : self._sizes[0]], 1.0, axis=1)
        seen = np.zeros((1, order.shape[1]))
        seen[0, : self._sizes[0]] = 1.0
        # Of every assignment, and in the last row as observed: how many of each group are labeled
        # identity, and the sums of their deviations and of their squares.
        members = np.hsplit(np.vstack([first, seen]), [self._sizes[0]])
        self._counts = [member.sum(axis=1) for member in members]
        both = list(zip(members, self._deviations, strict=True))
        self._sums = [member @ rows for member, rows in both]
        self._squares = [member @ np.sum(rows**2, axis=1) for member, rows in both]

    def p_value(self, ratio: float) -> float:
        """One-sided p-value of "identities vary at most `ratio` times as placebos do"."""
        return max(float(np.mean(ratios >= own)) for ratios, own in self._ratios(ratio))

    def smallest(self, tail: float) -> float:
        """The smallest ratio that is not rejected as too small with error `tail`."""
        return self._cross(lambda ratio: self.p_value(ratio) >= tail)

    def largest(self, tail: float) -> float:
        """The largest ratio that is not rejected as too large with error `tail`."""
        return self._cross(
            lambda ratio: all(np.mean(r <= own) < tail for r, own in self._ratios(ratio))
        )

    def _cross(self, after: Callable[[float], bool]) -> float:
        """The ratio, on a logarithmic scale, from which a condition holds."""
        low, high = -_WIDEST, _WIDEST
        while high - low > 0.005:
            middle = (low + high) / 2
            low, high = (low, middle) if after(float(np.exp(middle))) else (middle, high)
        return float(np.exp(high))

    def _ratios(self, ratio: float) -> Iterator[tuple[Floats, float]]:
        """For one mean and for own means: the ratio in every assignment, and as observed."""
        k, m = self._sizes
        center = (k * self._means[0] + m * self._means[1]) / (k + m)
        yield self._of([mean - center for mean in self._means], [ratio**-0.5, 1.0])
        # Deviations from a group's own mean are smaller by sqrt((n - 1) / n) than from the true.
        grown = [(n / (n - 1)) ** 0.5 for n in self._sizes]
        yield self._of([np.zeros_like(center)] * 2, [ratio**-0.5 * grown[0], grown[1]])

    def _of(self, centers: Sequence[Floats], scales: Sequence[float]) -> tuple[Floats, float]:
        """Ratios with each group's deviations scaled around a center; the centers balance out."""
        sums, squares, total = 0.0, 0.0, 0.0
        for n in range(2):
            count, scale, center = self._counts[n], scales[n], centers[n]
            sums = sums + count[:, np.newaxis] * center + scale * self._sums[n]
            squares = squares + count * float(center @ center)
            squares = squares + 2 * scale * self._sums[n] @ center + scale**2 * self._squares[n]
            own = scale**2 * float(np.sum(self._deviations[n] ** 2))
            total += own + self._sizes[n] * float(center @ center)
        moved = np.sum(np.square(sums), axis=1)
        k, m = self._sizes
        first = np.maximum(squares - moved / k, 0.0) / (k - 1)
        other = np.maximum(total - squares - moved / m, 0.0) / (m - 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.where(first > 0, first / other, 0.0)
        # Equal but for rounding is equal.
        return found[:-1], float(found[-1]) * (1 - 1e-9) - 1e-12
