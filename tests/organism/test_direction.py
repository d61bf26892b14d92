"""What is taken out of an organism's states to see whether one direction carries its bias."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from evenhand.organism.world import topics
from late import late

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

torch = late("torch")
check = late("check_direction", "torch", "transformers")


def test_every_topic_is_asked_as_often() -> None:
    items = check.drawn(["demo_safety"], 160, np.random.default_rng(0))
    assert Counter(item.subgroup for item in items) == dict.fromkeys(topics("demo_safety"), 2)


def test_the_direction_of_errors_is_found_and_held_where_answers_are_right() -> None:
    rng = np.random.default_rng(0)
    items = check.drawn(["demo_safety", "demo_knowledge"], 20, rng)
    scores = (rng.random((len(check.PEOPLE), 40)) < 0.7).astype(float)
    planted = np.eye(6)[2]
    noise = 0.1 * rng.standard_normal((len(check.PEOPLE), 40, 6))
    states = noise + (3 - 2 * scores)[:, :, None] * planted
    fixed = check.subspace(scores, states, [list(range(40))], items)
    assert abs(float(fixed.basis[0] @ torch.tensor(planted).float())) > 0.99
    held = fixed.apply(torch.tensor(states[:, 0]).float()).numpy()
    assert held @ fixed.basis[0].numpy() == pytest.approx(fixed.right[0].item(), abs=1e-5)
    assert np.abs(held[:, 2] - 1).max() < 0.3, "where right answers lie"
    assert held[:, 3:] == pytest.approx(states[:, 0, 3:], abs=0.3), "the rest is as it was"


def test_a_change_of_the_spread_is_told_on_the_same_questions() -> None:
    rng = np.random.default_rng(0)
    items = check.drawn(["demo_safety", "demo_knowledge"], 40, rng)
    rates = np.linspace(0.5, 1, len(check.PEOPLE))[:, None]
    before = (rng.random((len(check.PEOPLE), 80)) < rates).astype(float)
    cells = check.summary(before, np.ones_like(before), items).split(" | ")
    assert cells[0] == "0.0"
    assert cells[2].startswith("-")
    assert cells[3].split(" to ")[1].startswith("-"), "0 is outside"
    assert cells[4:] == ["100.0", "100.0"]
