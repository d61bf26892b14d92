"""What a scorer returns: a number, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unscored:
    """An answer that cannot be scored: missing data, never a silent 0.

    Attributes:
        reason: short and the same for all answers of its kind, for it is counted:
            "no final answer found", "empty answer", "cut off at the token limit".
    """

    reason: str


Score = float | Unscored
"""A score in [0, 1], or `Unscored`. For the scorer `refusal` it is the degree of refusal."""
