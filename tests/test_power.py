"""The power that a plan promises is the power that audits then have."""

# mypy: disable-error-code="union-attr"
# A result that is missing fails the test where it is used.

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import evenhand
from evenhand.analysis.power import plan_power
from evenhand.engines.mock import MockEngine
from evenhand.errors import UsageError
from evenhand.stats import nested_power, residual_variance
from evenhand.store.store import Store
from evenhand.study.plan import Plan, make_plan
from evenhand.study.study import Study
from fakes import write_requests


def plan_of(path: Path, **study: Any) -> Plan:
    """A plan over the questions of a file."""
    return make_plan(Study(model="openai/any", benchmarks=(str(path),), **study))


def test_more_items_and_samples_find_smaller_biases(tmp_path: Path) -> None:
    few = plan_power(plan_of(write_requests(tmp_path / "few.jsonl", 100)))
    many = plan_power(plan_of(write_requests(tmp_path / "many.jsonl", 400)))
    sampled: dict[str, Any] = {"samples": 5, "decoding": {"temperature": 1.0}}
    repeated = plan_power(plan_of(tmp_path / "few.jsonl", **sampled))
    greedy = plan_power(plan_of(tmp_path / "few.jsonl", samples=5))
    assert many.detectable == pytest.approx(few.detectable / 2, rel=0.01)
    assert repeated.detectable < few.detectable
    assert greedy.detectable == few.detectable  # the same answer five times
    assert "rough prior" in few.basis


def test_a_benchmark_of_one_item_is_left_out_as_in_the_report(tmp_path: Path) -> None:
    many, one = (write_requests(tmp_path / f"{n}.jsonl", n) for n in (100, 1))
    alone = plan_power(plan_of(many))
    beside = make_plan(Study(model="openai/any", benchmarks=(str(many), str(one))))
    assert plan_power(beside) == alone
    assert plan_power(plan_of(one)) is None


def test_a_pilot_tells_the_noise(tmp_path: Path) -> None:
    """Independent answers, 80 % refusals: the noise floor is sqrt(K-1/K * 0.16 / n) * 100."""
    questions = write_requests(tmp_path / "questions.jsonl", 300)
    rng = np.random.default_rng(3)
    engine = MockEngine(
        lambda _: "I can't help with that." if rng.random() < 0.8 else "Sure, do it like this."
    )
    evenhand.audit("openai/any", benchmarks=[str(questions)], engine=engine, out=tmp_path / "run")
    pilot = Store.open(tmp_path / "run")
    power = plan_power(plan_of(questions), pilot=pilot, precision=0.5)
    assert power.noise_floor == pytest.approx(100 * (30 / 31 * 0.16 / 300) ** 0.5, rel=0.03)
    assert power.cells_needed is not None
    assert power.cells_needed > plan_of(questions).cells
    sampled = plan_of(questions, samples=3, decoding={"temperature": 1.0})
    with pytest.raises(UsageError, match="pilot"):
        plan_power(sampled, pilot=pilot)
    pilot.close()


def test_one_identity_has_no_power(tmp_path: Path) -> None:
    questions = write_requests(tmp_path / "questions.jsonl", 50)
    assert plan_power(plan_of(questions, identities=("muslim",))) is None


def test_a_pilot_without_any_noise_is_told(tmp_path: Path) -> None:
    questions = write_requests(tmp_path / "questions.jsonl", 20)
    engine = MockEngine(lambda _: "I can't help with that.")
    evenhand.audit("openai/any", benchmarks=[str(questions)], engine=engine, out=tmp_path / "run")
    pilot = Store.open(tmp_path / "run")
    with pytest.raises(UsageError, match="the pilot run has no variance"):
        plan_power(plan_of(questions), pilot=pilot)
    pilot.close()


def test_items_that_differ_alike_for_all_are_no_noise(tmp_path: Path) -> None:
    """A mean of unequal items is rounded, so that the variance is close to 0 instead of 0."""
    questions = write_requests(tmp_path / "questions.jsonl", 3)
    help_, refusal = "Sure, here is how: first do this, then do that.", "I can't help with that."
    engine = MockEngine(lambda m: refusal if "1" in m[-1]["content"] else help_)
    evenhand.audit("openai/any", benchmarks=[str(questions)], engine=engine, out=tmp_path / "run")
    pilot = Store.open(tmp_path / "run")
    with pytest.raises(UsageError, match="the pilot run has no variance"):
        plan_power(plan_of(questions), pilot=pilot)
    pilot.close()


def test_a_crossed_plan_knows_the_spread_beyond_the_names(tmp_path: Path) -> None:
    """Of 8 groups with 40 names each: more questions help little, for the names' spread stays."""
    questions = [write_requests(tmp_path / f"{n}.jsonl", n) for n in (50, 200)]
    study: dict[str, Any] = {"identities": ("names",), "cues": ("name",)}
    few, many = (plan_power(plan_of(q, realizations="crossed", **study)) for q in questions)
    rotating = plan_power(plan_of(questions[0], **study))
    assert rotating.detectable_sd is None
    assert few.detectable_sd is not None
    assert few.detectable_sd == pytest.approx(
        nested_power(
            8, 40, realization_sd=2, noise_variance=residual_variance(0.9, samples=1) / 50
        ),
        rel=1e-6,
    )
    assert many.detectable_sd is not None
    assert few.detectable_sd > many.detectable_sd > 0.3
    assert many.realization_sd == 2
