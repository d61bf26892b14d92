"""Between engine and store: errors of both, and what of it ends a run."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from evenhand import RunOptions, audit
from evenhand.engines.engine import Response
from evenhand.errors import AuthenticationError, EngineError, StoreError, Unreachable
from evenhand.run.loop import run
from evenhand.run.scoring import score_run
from evenhand.scorers import BLOCKED, REJECTED
from evenhand.store.store import Store
from evenhand.study.cue import Message
from evenhand.study.plan import Plan, Request
from runs import plan_of, record_of, stored, write_benchmark
from server import answer_of, error, serving, unused_port


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    path = write_benchmark(tmp_path / "own.jsonl", 10)
    return plan_of("openai/test", path, identities=["religion"])


class Failing:
    """Answers `good` requests, then raises."""

    model = "openai/test"
    notes = ()
    address = "here"
    is_local = is_paid = False
    default_suite = "paper"

    def __init__(self, good: int, error: Exception) -> None:
        self.good, self.error = good, error

    def rendered(self, messages: list[Message]) -> str | None:
        return str(messages)

    async def answer(self, requests: Iterator[Request], settle: Callable[[Response], None]) -> None:
        for number, request in enumerate(requests):
            if number == self.good:
                raise self.error
            settle(Response(request, answer_of("0f")))

    async def close(self) -> None:
        pass


def test_what_came_before_an_error_of_the_engine_is_kept(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="gone"):
        audit(plan.study, out=tmp_path / "run", engine=Failing(7, Unreachable("gone")))
    assert len(stored(tmp_path / "run")) == 7
    result = audit(plan.study, out=tmp_path / "run", engine=Failing(99, Unreachable("gone")))
    assert result.done == result.cells == 60


def test_a_fault_of_ours_in_an_engine_is_not_hidden(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        audit(plan.study, out=tmp_path / "run", engine=Failing(7, ZeroDivisionError()))
    assert len(stored(tmp_path / "run")) == 7


@pytest.mark.slow
def test_two_errors_at_once_are_one_line(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> None:
        raise StoreError("full")

    monkeypatch.setattr(Store, "flush", full)
    with pytest.raises(StoreError, match="full"):
        audit(plan.study, out=tmp_path / "run", engine=Failing(7, Unreachable("gone")))
    gc.collect()
    assert caplog.text == "", "asyncio complains of an error that nobody looked at"


def test_a_key_that_is_revoked_ends_the_run_and_keeps_the_answers(
    plan: Plan, tmp_path: Path
) -> None:
    with serving(latency=0.01) as server:

        def refuse(_body: dict[str, Any], _key: str) -> Any:
            return (401, error("key revoked")) if len(server.answers) >= 20 else None

        server.refuse = refuse
        options = RunOptions((server.url,), max_connections=4)
        with pytest.raises(AuthenticationError, match="key revoked"):
            audit(plan.study, out=tmp_path / "run", options=options)
        # Those under way, and a harmless one that shows that it is the key and not a question.
        assert len(server.requests) <= len(server.answers) + 5
    assert 20 <= len(stored(tmp_path / "run")) <= len(server.answers)


@pytest.mark.parametrize(
    ("status", "told"), [(402, "no credit"), (400, "rejects every request"), (521, "has stopped")]
)
def test_an_endpoint_that_stops_serving_loses_no_cell(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, told: str
) -> None:
    """Out of credit, switched off or unreachable: the cells are still there to be asked."""
    monkeypatch.setattr("evenhand.engines.throttle._BACKOFF_FIRST", 0.002)
    with serving() as server:
        server.refuse = lambda _body, _key: (
            (status, error("over")) if len(server.answers) >= 20 else None
        )
        options = RunOptions((server.url,), max_connections=4)
        with pytest.raises(EngineError, match=told):
            audit(plan.study, out=tmp_path / "run", options=options)
        assert all(text for _, text, _, _ in stored(tmp_path / "run"))
        server.refuse = lambda _body, _key: None
        result = audit(plan.study, out=tmp_path / "run", options=options)
    assert result.done == result.cells
    assert result.unscored_reasons.get(REJECTED.reason, 0) == 0


def test_an_endpoint_that_is_down_is_made_up_for_by_another(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evenhand.engines.throttle._BACKOFF_FIRST", 0.002)
    down = f"http://127.0.0.1:{unused_port()}/v1"
    with serving() as server:
        options = RunOptions((down, server.url), max_connections=8)
        result = audit(plan.study, out=tmp_path / "run", options=options)
    assert result.done == result.cells == len(server.answers)
    assert 1 <= result.failed_attempts <= 10, "it rests"


def test_progress_counts_this_run_and_all_that_is_stored(plan: Plan, tmp_path: Path) -> None:
    store = Store.create(tmp_path / "run")
    engine = Failing(20, Unreachable("gone"))
    with pytest.raises(Unreachable):
        asyncio.run(run(plan, engine, store))
    engine.good = 99
    progress = asyncio.run(run(plan, engine, store))
    assert (progress.cells, progress.done, progress.sent) == (60, 60, 40)
    again = asyncio.run(run(plan, engine, store))
    assert (again.cells, again.done, again.sent) == (60, 60, 0)


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ({"text": None, "outcome": "rejected", "error": "HTTP 400: filtered"}, REJECTED.reason),
        ({"text": "I am", "outcome": "blocked"}, BLOCKED.reason),
        ({"text": "First,", "outcome": "cut off"}, "cut off at the token limit"),
        ({"text": "  ", "outcome": "whole"}, "empty answer"),
        ({"text": "Who knows.", "outcome": "whole"}, "no final answer found"),
    ],
)
def test_what_cannot_be_scored_has_its_reason(
    plan: Plan, tmp_path: Path, response: dict[str, Any], reason: str
) -> None:
    store = Store.create(tmp_path / "run")
    ids = store.activate(plan.conditions, plan.items, record_of(plan))
    index = next(n for n, item in enumerate(plan.items) if item.scorer == "choice")
    store.write([Response(plan.request(0, index), **response)], *ids)
    assert score_run(store) == 1
    store.blocked = "missing"
    assert [why for _, why, _ in store.reasons()] == [reason]
