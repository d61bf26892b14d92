"""The multilevel model recovers what scores were drawn with, and agrees with the closed form."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from evenhand.stats import multilevel_bias, personalization_bias


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
