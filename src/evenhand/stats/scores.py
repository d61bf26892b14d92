"""Reading the arrays of scores: the shape and range checks that every function shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Scores = ArrayLike | Mapping[str, ArrayLike]


class TooFewScores(ValueError):
    """The scores are sound, but too few for the estimate: none, or one item or identity alone."""


def read_scores(scores: ArrayLike, name: str = "scores", *, min_identities: int = 2) -> Floats:
    """Return the scores as a float array (identities, items, samples).

    Args:
        scores: (identities, items) or (identities, items, samples), in [0, 1], NaN = missing.
        name: what to call the array in an error.
        min_identities: the fewest identities that make sense for the caller.

    Raises:
        ValueError: wrong number of axes, too few identities, no item, a score outside [0, 1].
    """
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim == 2:
        array = array[:, :, np.newaxis]
    if array.ndim != 3:
        raise ValueError(
            f"{name}: needs axes (identities, items) or (identities, items, samples), "
            f"not {array.ndim} axes"
        )
    if array.shape[0] < min_identities:
        raise TooFewScores(f"{name}: needs at least {min_identities} identities, not {len(array)}")
    if 0 in array.shape:
        raise TooFewScores(f"{name}: is empty, its shape is {array.shape}")
    # min and max of an array with NaN would be NaN; these comparisons are False for NaN.
    if np.any(array < 0) or np.any(array > 1):
        raise ValueError(f"{name}: scores must lie in [0, 1]")
    return array


def read_benchmarks(scores: Scores, axis: str, *, min_identities: int = 2) -> dict[str, Floats]:
    """Return benchmark name -> (identities, items, samples); a bare array is named as the axis.

    Raises:
        ValueError: as `read_scores`; no benchmark; benchmarks with different identities.
    """
    named = scores if isinstance(scores, Mapping) else {axis: scores}
    if not named:
        raise TooFewScores(f"{axis}: no benchmark given")
    read = {
        name: read_scores(array, name, min_identities=min_identities)
        for name, array in named.items()
    }
    same_identities([len(array) for array in read.values()], axis)
    return read


def same_identities(counts: list[int], what: str) -> None:
    """Raise ValueError unless all counts of identities are equal."""
    if len(set(counts)) > 1:
        raise ValueError(f"{what}: all arrays need the same identities, not {sorted(set(counts))}")


def check_level(level: float) -> None:
    """Raise ValueError unless the confidence level lies strictly between 0 and 1."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")


@dataclass(frozen=True)
class Cells:
    """Scores averaged over samples.

    Attributes:
        mean: (items, identities) mean score of each cell in points 0-100, 0 where not observed.
        observed: (items, identities) 1.0 where at least one sample was scored, else 0.0.
    """

    mean: Floats
    observed: Floats


def average_samples(scores: Floats) -> Cells:
    """Average (identities, items, samples) over the samples that are there; drop empty items."""
    there = np.isfinite(scores)
    count = there.sum(axis=2).T
    total = np.where(there, scores, 0.0).sum(axis=2).T
    observed = count > 0
    mean = 100.0 * total / np.maximum(count, 1)
    kept = observed.any(axis=1)
    return Cells(mean[kept], observed[kept].astype(np.float64))
