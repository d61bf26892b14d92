"""Statistics of even-handedness: NumPy arrays in, typed results out.

Nothing here knows of models, items' texts or files. Scores are arrays (identities, items) or
(identities, items, samples) in [0, 1] with NaN for a missing score; results are in points of the
0-100 scale. Bad input raises ValueError with one line that says what is wrong. The formulas,
their sources and how they did in simulation are in docs/statistics.md.
"""

from __future__ import annotations

from evenhand.stats.bias import AxisBias, PersonalizationBias, Spread, personalization_bias
from evenhand.stats.paired import Differences, differences_to_baseline, differences_to_mean

__all__ = [
    "AxisBias",
    "Differences",
    "PersonalizationBias",
    "Spread",
    "differences_to_baseline",
    "differences_to_mean",
    "personalization_bias",
]
