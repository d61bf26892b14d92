"""The multilevel model recovers what scores were drawn with, and agrees with the closed form."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from evenhand.stats import multilevel_bias, personalization_bias


@pytest.mark.slow
def test_it_agrees_with_the_closed_form() -> None:
    rng = np.random.default_rng(3)
    identity, item = np.linspace(-0.8, 0.8, 16), rng.normal(0, 1, 150)
    scores = (rng.random((16, 150)) < expit(1 + identity[:, None] + item)).astype(float)
    found, closed = multilevel_bias(scores), personalization_bias(scores, None)
    assert found.interval[0] < identity.std() < found.interval[1]
    assert found.sds["item"] == pytest.approx(item.std(), abs=0.2)
    assert found.pb == pytest.approx(closed.estimate, rel=0.15)
    means = scores.mean(axis=1)
    assert np.corrcoef(found.effects, means)[0, 1] > 0.98


def test_topics_are_terms_and_graded_scores_are_refused() -> None:
    rng = np.random.default_rng(4)
    effect = np.repeat(rng.normal(0, 1.0, (8, 6)), 12, axis=1)
    scores = (rng.random((8, 72)) < expit(0.5 + effect)).astype(float)
    scores[0, 0] = np.nan
    found = multilevel_bias(scores, clusters=np.repeat(np.arange(6), 12))
    assert set(found.sds) == {"identity", "item", "topic", "identity x topic"}
    assert found.sds["identity x topic"] > 2 * found.sds["item"]
    with pytest.raises(ValueError, match="0 and 1"):
        multilevel_bias([[0.5, 1.0], [0.0, 1.0]])


@pytest.mark.slow
def test_cues_and_cells_are_terms() -> None:
    rng = np.random.default_rng(5)
    identity, cue = rng.normal(0, 0.8, 10), np.array([-0.7, 0.0, 0.7])
    rows = (identity[:, None] + cue).ravel()
    cell = rng.normal(0, 1.0, (30, 12))
    chance = expit(0.5 + rows[:, None] + cell)
    scores = (rng.random((30, 12, 3)) < chance[..., None]).astype(float)
    found = multilevel_bias(
        scores,
        identities=np.repeat(list("abcdefghij"), 3).tolist(),
        cues=["a", "b", "c"] * 10,
    )
    assert set(found.sds) == {"identity", "item", "cue", "identity x cue"}
    assert found.effects.shape == (10,)
    assert np.corrcoef(found.effects, identity)[0, 1] > 0.8
    assert found.sds["cue"] > found.sds["identity x cue"]
    with_cells = multilevel_bias(scores, cells=True)
    assert with_cells.sds["identity x item"] > 0.5
    with pytest.raises(ValueError, match="repeated samples"):
        multilevel_bias(scores[:, :, 0], cells=True)
    with pytest.raises(ValueError, match="cues: needs one for each of the 30 rows"):
        multilevel_bias(scores, cues=["a"])


# Lesnoff et al. 2004, Prev. Vet. Med. 64: new cases among the animals of 15 herds in four periods,
# as (cases, animals), the data set cbpp of lme4.
CBPP = [
    [(2, 14), (3, 12), (4, 9), (0, 5)],
    [(3, 22), (1, 18), (1, 21)],
    [(8, 22), (2, 16), (0, 16), (2, 20)],
    [(2, 10), (0, 10), (2, 9), (0, 6)],
    [(5, 18), (0, 25), (0, 24), (1, 4)],
    [(3, 17), (0, 17), (0, 18), (1, 20)],
    [(8, 16), (1, 10), (3, 9), (0, 5)],
    [(12, 34)],
    [(2, 9), (0, 6), (0, 8), (0, 6)],
    [(1, 22), (1, 22), (0, 18), (2, 22)],
    [(0, 25), (5, 27), (3, 22), (1, 22)],
    [(2, 10), (1, 8), (0, 6), (0, 5)],
    [(1, 21), (2, 24), (0, 19), (0, 23)],
    [(11, 19), (0, 2), (0, 3), (0, 2)],
    [(1, 19), (1, 15), (1, 15), (0, 15)],
]


def test_a_published_example() -> None:
    """lme4's example glmer(cbind(incidence, size - incidence) ~ period + (1 | herd), cbpp).

    Its manual and vignettes print a standard deviation between herds of 0.6421 (Laplace
    approximation to maximum likelihood). Ours has a prior, and periods are a sample as well.
    """
    scores = np.full((15, 4, 34), np.nan)
    for herd, periods in enumerate(CBPP):
        for period, (cases, animals) in enumerate(periods):
            scores[herd, period, :animals] = np.arange(animals) < cases
    assert np.isfinite(scores).sum() == 842
    found = multilevel_bias(scores)
    assert found.identity_sd == pytest.approx(0.6421, rel=0.1)
    assert found.interval[0] < 0.6421 < found.interval[1]
