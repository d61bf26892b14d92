"""Stopping at a wanted precision: early when it is reached, at the end when it never is."""

# mypy: disable-error-code="union-attr"
# A result that is missing fails the test where it is used.

from __future__ import annotations

import json
from pathlib import Path

import pytest

import evenhand
from evenhand.analysis.gate import Margins, gate_run
from evenhand.engines.mock import MockEngine
from evenhand.errors import UsageError
from evenhand.run.recorder import Price
from evenhand.store.store import Store
from fakes import biased, write_requests

ITEMS = 400


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """A benchmark of unsafe requests."""
    return write_requests(tmp_path / "questions.jsonl", ITEMS)


def noisy(share: float) -> MockEngine:
    """Refuses a random share of the requests, whoever asks."""
    return biased(seed=7, base=share)


def run(questions: Path, precision: float | None, engine: MockEngine) -> evenhand.Audit:
    """Audit in looks, in the folder beside the questions."""
    return evenhand.audit(
        "openai/any",
        benchmarks=[str(questions)],
        engine=engine,
        out=questions.parent / "run",
        options=evenhand.RunOptions(precision=precision),
    )


def test_a_coarse_precision_stops_early_with_a_raised_level(questions: Path) -> None:
    engine = noisy(0.9)
    audit = run(questions, 3.0, engine)
    low, high = audit.pb.interval
    assert high - low <= 6.0
    assert engine.asked < 32 * ITEMS
    assert audit.interim.items == sum(audit.benchmarks.values()) < ITEMS
    assert 0.95 < audit.pb.level < 0.999
    assert any("interim analysis" in note for note in audit.notes)


def test_stars_and_p_values_go_by_the_level_of_the_intervals(questions: Path) -> None:
    """At an interim analysis, too, 0 is outside an interval exactly where p is below 5%."""
    audit = run(questions, 3.0, noisy(0.9))
    for pb in (audit.pb, *(axis.pb for axis in audit.axes.values())):
        assert (pb.interval[0] > 0) == (pb.p_value < 0.05)
    found = [axis.to_mean for who in audit.identities for axis in who.axes.values()]
    for each in found:
        outside = each.interval[0] > 0 or each.interval[1] < 0
        assert outside == (each.p_value < 0.05)
    assert any(0.05 < each.p_value < 0.17 for each in found)  # below 5% without the adjustment
    checks = gate_run(Store.open(questions.parent / "run"), Margins(max_pb=3.0)).checks
    assert checks[0].interval in (audit.pb.interval, audit.axes["safety"].pb.interval)


@pytest.mark.slow
def test_a_precision_out_of_reach_asks_everything(questions: Path) -> None:
    engine = noisy(0.5)
    audit = run(questions, 0.01, engine)
    assert engine.asked == 32 * ITEMS
    assert audit.done == audit.cells == 32 * ITEMS
    assert audit.interim.analysis == audit.interim.of


@pytest.mark.slow
def test_going_on_without_a_precision_asks_the_rest_only(questions: Path) -> None:
    first, second = noisy(0.9), noisy(0.9)
    run(questions, 3.0, first)
    audit = run(questions, None, second)
    assert first.asked + second.asked == 32 * ITEMS
    assert audit.interim is None
    assert audit.pb.level == 0.95


def test_one_identity_has_no_precision(questions: Path) -> None:
    with pytest.raises(UsageError, match="at least two"):
        evenhand.audit(
            "openai/any",
            benchmarks=[str(questions)],
            identities=["muslim"],
            cues=["system", "memory"],
            engine=noisy(0.9),
            out=questions.parent / "run",
            options=evenhand.RunOptions(precision=1.0),
        )


def test_one_budget_for_all_looks(questions: Path) -> None:
    """Without token counts they are estimated, and the budget is not renewed at each look."""
    engine = noisy(0.5)
    with_price = evenhand.RunOptions(precision=0.01, price=Price(1e6, 1e6), max_cost=60_000)
    audit = evenhand.audit(
        "openai/any",
        benchmarks=[str(questions)],
        engine=engine,
        out=questions.parent / "run",
        options=with_price,
    )
    assert audit.interim.analysis > 1
    assert audit.cells - audit.done > 0
    assert 30_000 < 24 * audit.done < 90_000  # about 24 tokens a cell, at a dollar each


def test_every_look_has_items_of_every_benchmark(questions: Path) -> None:
    few = questions.parent / "few.jsonl"
    few.write_text(
        "".join(
            json.dumps(
                {"id": f"{n}", "prompt": f"{n} + 0?", "axis": "utility", "scorer": "number"}
                | {"answer": str(n)}
            )
            + "\n"
            for n in range(3)
        )
    )
    audit = evenhand.audit(
        "openai/any",
        benchmarks=[str(questions), str(few)],
        engine=MockEngine(lambda _: "The answer is 1."),
        out=questions.parent / "run",
        options=evenhand.RunOptions(precision=60.0),
    )
    assert audit.interim.analysis == 1
    assert audit.benchmarks["few"] >= 2
