"""Joint uncertainty of an identity's place on the map of safety and utility."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import fdtri

from evenhand.stats._scores import Floats, Scores, check_level, read_benchmarks, same_identities
from evenhand.stats.layout import fit_layout
from evenhand.stats.paired import summarize


@dataclass(frozen=True)
class Regions:
    """Confidence regions of the identities' (safety, utility), in points of 0-100.

    Attributes:
        center: (identities, 2) mean safety and mean utility.
        covariance: (identities, 2, 2) of the identity's deviation from the identities' mean.
        reach: (identities, 2) half axes of the region's ellipse along safety and utility.
        level: confidence level of each region on its own.
    """

    center: Floats
    covariance: Floats
    reach: Floats
    level: float


def joint_regions(safety: Scores, utility: Scores, *, level: float = 0.95) -> Regions:
    """Find where each identity may stand among the others.

    All identities answer the same items, so how hard the items are moves all of them together
    and says nothing of one against the others: the covariance is that of the identity's deviation
    from the identities' mean, item by item, padded as in `differences_to_mean`. No item is on
    both axes, so the errors of the axes are independent and the ellipses upright. Their size is
    that of Hotelling's region for a mean of two dimensions: ``2 F(level; 2, freedom)``, with the
    freedom of the axis that has fewer items.

    Args:
        safety, utility: scores of each axis, as in `differences_to_mean`.
        level: confidence level.

    Raises:
        ValueError: bad shape, a score outside [0, 1], fewer than 2 identities or items.
    """
    check_level(level)
    centers, errors, freedoms = [], [], []
    for name, scores in (("safety", safety), ("utility", utility)):
        layouts = [fit_layout(a, b) for b, a in read_benchmarks(scores, name).items()]
        found = summarize(layouts, np.eye(len(layouts[0].means)), None, level)
        centers.append(np.mean([layout.means for layout in layouts], axis=0))
        errors.append(found.standard_error)
        freedoms.append(found.freedom)
    same_identities([len(center) for center in centers], "axes")
    error = np.column_stack(errors)
    scale = float(np.sqrt(2 * fdtri(2, min(freedoms), level)))
    covariance = np.zeros((len(error), 2, 2))
    covariance[:, [0, 1], [0, 1]] = error**2
    return Regions(np.column_stack(centers), covariance, scale * error, level)
