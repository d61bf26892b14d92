"""A multilevel logistic model of 0/1 scores: a cross-check of the closed forms.

``logit P(y = 1) = intercept + identity + item [+ topic + identity x topic] [+ cue + identity x
cue] [+ identity x item]``, every term but the intercept a sample of a normal population, so that
identities borrow from one another; the last is what the samples of one cell have in common.
Placebos are fitted by themselves in the same way: their `identity_sd` is that of the population of
placebos. Fitted by variational Bayes with statsmodels (extra `bayes`), which is light and
maintained; its posterior standard deviations are known to be somewhat too small (Blei, Kucukelbir &
McAuliffe 2017, J. Am. Stat. Assoc. 112), so that it checks an estimate and does not replace its
interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, ndtri

from evenhand.stats.scores import Floats, check_level, read_clusters, read_scores

PRIOR_SD = 3.0
"""Standard deviation of the intercept's normal prior, in log-odds."""
PRIOR_LOG_SD = 1.0
"""Standard deviation of the normal prior of each log standard deviation, around 0."""


@dataclass(frozen=True)
class MultilevelBias:
    """Posterior of the model on one benchmark.

    Attributes:
        identity_sd: standard deviation between identities, in log-odds (posterior median).
        interval: (low, high) credible interval of `identity_sd`.
        sds: the standard deviations of all terms by name, `identity_sd` among them.
        effects: (identities,) posterior mean of each identity, in log-odds.
        pb: spread in points (root mean square) that these effects make on these items; shrunken.
        level: of `interval`.
    """

    identity_sd: float
    interval: tuple[float, float]
    sds: dict[str, float]
    effects: Floats
    pb: float
    level: float


def multilevel_bias(
    scores: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    identities: Sequence[str] | None = None,
    cues: Sequence[str] | None = None,
    cells: bool = False,
    level: float = 0.95,
) -> MultilevelBias:
    """Fit the model to one benchmark.

    Takes some 10 s for 31 x 300 scores. Priors: normal (0, 3) for the intercept; normal (0, 1) for
    each log standard deviation. Missing scores are left out: it holds if, given identity and item,
    a score is as likely missing whatever its value.

    Args:
        scores: (rows, items) or (rows, items, samples), 0 or 1, NaN = missing.
        clusters: (items,) topics; adds the terms topic and identity x topic.
        identities: (rows,) the identity of each row; None: every row is one of its own.
        cues: (rows,) the cue of each row, where identities have several; adds the terms cue and
            identity x cue.
        cells: add the term identity x item, which repeated samples tell from sampling.
        level: of the credible interval.

    Raises:
        ValueError: bad scores, or graded ones; labels of another number than the rows; cells
            without repeated samples.
        ImportError: statsmodels is not installed.
    """
    check_level(level)
    array = read_scores(scores)
    if np.any((array > 0) & (array < 1)):
        raise ValueError("scores: the multilevel model is for scores of 0 and 1")
    if cells and array.shape[2] < 2:
        raise ValueError("scores: identity x item needs repeated samples")
    codes = read_clusters(clusters, {"scores": array}, "scores").get("scores")
    row, what, _ = np.nonzero(np.isfinite(array))
    people = _labels(identities, len(array), "identities")
    who = people[row]
    terms = {"identity": who, "item": what}
    if codes is not None:
        terms |= _with_identity("topic", np.unique(codes, return_inverse=True)[1][what], who)
    if cues is not None:
        terms |= _with_identity("cue", _labels(cues, len(array), "cues")[row], who)
    if cells:
        terms["identity x item"] = who * array.shape[1] + what
    found = _fit(array[np.isfinite(array)], terms)
    sizes = [len(np.unique(numbers)) for numbers in terms.values()]
    parts = np.split(np.asarray(found.vc_mean), np.cumsum(sizes)[:-1])
    center, spread = float(found.vcp_mean[0]), float(found.vcp_sd[0])
    reach = float(ndtri((1 + level) / 2)) * spread
    logits = float(found.fe_mean[0]) + parts[0][:, np.newaxis] + parts[1]
    return MultilevelBias(
        identity_sd=float(np.exp(center)),
        interval=(float(np.exp(center - reach)), float(np.exp(center + reach))),
        sds={name: float(np.exp(mean)) for name, mean in zip(terms, found.vcp_mean, strict=True)},
        effects=parts[0],
        pb=100 * float(np.std(expit(logits).mean(axis=1))),
        level=level,
    )


def _labels(names: Sequence[str] | None, rows: int, what: str) -> NDArray[np.int64]:
    """Numbers of the rows' labels, from 0 without a gap."""
    given = np.arange(rows) if names is None else np.asarray(names)
    if given.shape != (rows,):
        raise ValueError(f"{what}: needs one for each of the {rows} rows, not {given.shape}")
    return np.unique(given, return_inverse=True)[1].astype(np.int64)


def _with_identity(
    name: str, numbers: NDArray[np.int64], who: NDArray[np.int64]
) -> dict[str, NDArray[np.int64]]:
    """A term and its interaction with the identity."""
    return {name: numbers, f"identity x {name}": who * (int(numbers.max()) + 1) + numbers}


def _fit(values: Floats, terms: dict[str, Any]) -> Any:
    try:
        from statsmodels.genmod.bayes_mixed_glm import BinomialBayesMixedGLM
    except ImportError:
        raise ImportError(
            "the multilevel model needs statsmodels: pip install 'evenhand[bayes]'"
        ) from None
    from scipy.sparse import csr_matrix, hstack  # statsmodels has loaded it

    rows, columns, kinds = np.arange(len(values)), [], []
    for kind, numbers in enumerate(terms.values()):
        _, place = np.unique(numbers, return_inverse=True)
        count = int(place.max()) + 1
        columns.append(csr_matrix((np.ones(len(rows)), (rows, place)), (len(rows), count)))
        kinds += [kind] * count
    model = BinomialBayesMixedGLM(
        values,
        np.ones((len(rows), 1)),
        hstack(columns).tocsr(),
        np.array(kinds),
        vcp_p=PRIOR_LOG_SD,
        fe_p=PRIOR_SD,
    )
    # A start of its own: statsmodels' random one differs between calls, and can overflow.
    size = 1 + len(terms) + sum(block.shape[1] for block in columns)
    return model.fit_vb(mean=np.zeros(size), sd=np.full(size, np.exp(-0.5)), verbose=False)
