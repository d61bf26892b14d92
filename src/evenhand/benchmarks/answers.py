"""What the right answers of items mean."""

from __future__ import annotations

import math


def number_of(answer: str) -> float:
    """The number that an answer stands for: "18", "-1,234.5", "3/4".

    Raises:
        ValueError: it is not a finite number.
    """
    top, slash, bottom = answer.replace(",", "").partition("/")
    divisor = float(bottom) if slash else 1.0
    number = float(top) / divisor if divisor else math.inf
    if not math.isfinite(number):
        raise ValueError(f"{answer} is not a finite number")
    return number
