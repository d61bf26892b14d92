"""Equivalence: showing that an identity makes no difference that matters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from evenhand.stats._permutation import holm
from evenhand.stats._scores import Floats
from evenhand.stats.paired import Differences


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests of each difference against a margin.

    Attributes:
        margin: differences within plus or minus this many points do not matter.
        p_value: (identities,) p-value of "the difference is at least the margin"; small means
            that the difference is shown to lie within the margin.
        p_holm: (identities,) the same after Holm's adjustment for all identities.
        equivalent: (identities,) `p_holm` at most `error`.
        error: the error rate of `equivalent` over all identities.
    """

    margin: float
    p_value: Floats
    p_holm: Floats
    equivalent: NDArray[np.bool_]
    error: float


def equivalence_test(
    differences: Differences, margin: float, *, error: float = 0.05
) -> Equivalence:
    """Test that each difference lies within the margin (TOST).

    Two one-sided t tests (Schuirmann 1987, J. Pharmacokinet. Biopharm. 15): equivalence is shown
    when both "at most -margin" and "at least margin" are rejected.

    Args:
        differences: from `differences_to_mean` or `differences_to_baseline`.
        margin: the largest difference that does not matter, in points, > 0.
        error: chance of one or more false claims of equivalence.

    Raises:
        ValueError: a margin of 0 or below.
    """
    if not margin > 0:
        raise ValueError(f"margin must be above 0 points, not {margin}")
    room = (margin - np.abs(differences.difference)) / differences.standard_error
    p_value = np.asarray(stdtr(differences.freedom, -room))
    adjusted = holm(p_value)
    return Equivalence(margin, p_value, adjusted, adjusted <= error, error)
