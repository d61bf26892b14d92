"""Whether the system message reaches the model, and what is done where it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from evenhand import RunOptions, audit
from evenhand.engines.engine import Response
from evenhand.engines.http import HTTPEngine
from evenhand.errors import EngineError, RequestRejected, Unreachable
from evenhand.run.system_role import Checked, check_system_role
from evenhand.study.cue import Message
from evenhand.study.decoding import Decoding
from evenhand.study.plan import Plan, Request
from runs import plan_of, stored, write_benchmark
from server import Server, answer_of, error, refuse_all, refuse_system, serving


@pytest.fixture
def benchmark(tmp_path: Path) -> Path:
    return write_benchmark(tmp_path / "own.jsonl", 8)


def checked(server: Server, plan: Plan) -> Checked:
    async def find() -> Checked:
        engine = HTTPEngine("openai/test", Decoding(seed=0), base_urls=(server.url,))
        try:
            return await check_system_role(engine, plan)
        finally:
            await engine.close()

    return asyncio.run(find())


def merged(plan: Plan) -> set[str]:
    """First messages of the conversations where the system text stands before the question."""
    requests = plan.with_system_role(False).requests()
    return {request.messages[0]["content"] for request in requests}


def test_taken(benchmark: Path) -> None:
    with serving() as server:
        found, asked = checked(server, plan_of("openai/test", benchmark))
    assert found.system_role
    assert "prompt tokens grow" in found.evidence
    # The probes were cells of the plan, so nothing is asked for the probe's sake.
    assert len(asked) == len(server.requests) == 2


def test_dropped(benchmark: Path) -> None:
    plan = plan_of("openai/test", benchmark)
    with serving(system="drop") as server:
        found, asked = checked(server, plan)
    assert not found.system_role
    assert "drops" in found.evidence
    assert all(len(response.request.messages) == 1 for response in asked)


def test_dropped_where_all_questions_are_alike(tmp_path: Path) -> None:
    plan = plan_of("openai/test", write_benchmark(tmp_path / "own.jsonl", 1))
    with serving(system="drop") as server:
        assert not checked(server, plan)[0].system_role
    with serving() as server:
        assert checked(server, plan)[0].system_role


def test_rejected(benchmark: Path) -> None:
    with serving(refuse=refuse_system) as server:
        found, _ = checked(server, plan_of("openai/test", benchmark))
    assert not found.system_role
    assert "System role not supported" in found.evidence


@pytest.mark.parametrize("behavior", [{"system": "drop"}, {"refuse": refuse_system}])
def test_the_fallback_reaches_every_answer_and_the_report(
    tmp_path: Path, benchmark: Path, behavior: dict[str, Any]
) -> None:
    plan = plan_of("openai/test", benchmark, identities=["religion"])
    with serving(**behavior) as server:
        result = audit(plan.study, out=tmp_path / "run", options=RunOptions((server.url,)))
        assert result.done == result.cells
        answered = [b for b in server.bodies if b["messages"][0]["role"] != "system"]
        assert merged(plan) <= {body["messages"][0]["content"] for body in answered}
        assert any("in front of the user's message" in note for note in result.notes)
        before = len(server.requests)
        audit(plan.study, out=tmp_path / "run", options=RunOptions((server.url,)))
        assert len(server.requests) == before


def test_no_usage_is_said_to_be_unverified(tmp_path: Path, benchmark: Path) -> None:
    with serving(usage=False) as server:
        found, _ = checked(server, plan_of("openai/test", benchmark))
        assert found.system_role
        assert "unverified" in found.evidence
        result = audit(
            "openai/test",
            out=tmp_path / "run",
            options=RunOptions((server.url,)),
            benchmarks=[str(benchmark)],
            identities=["religion"],
        )
    assert any("could not be verified" in note for note in result.notes)


def test_a_content_filter_is_no_rejection_of_the_system_role(
    tmp_path: Path, benchmark: Path
) -> None:
    """The shortest question, the one that is asked first, is filtered for every identity."""
    plan = plan_of("openai/test", benchmark, identities=["religion"])
    shortest = min((item.prompt for item in plan.items), key=len)

    def refuse(body: dict[str, Any], _key: str) -> Any:
        if body["messages"][-1]["content"] == shortest:
            return 400, error("The response was filtered", "content_filter")
        return None

    with serving(refuse=refuse) as server:
        result = audit(plan.study, out=tmp_path / "run", options=RunOptions((server.url,)))
    assert "prompt tokens grow" in result.placement
    assert result.done == result.cells == 48
    assert result.unscored_reasons == {}  # what is blocked counts as a refusal
    errors = [error for _, _, error, _ in stored(tmp_path / "run") if error]
    assert len(errors) == 6
    assert all("filtered" in text for text in errors)


def test_a_filter_of_one_identity_is_no_rejection_of_the_system_role(benchmark: Path) -> None:
    plan = plan_of("openai/test", benchmark, identities=["religion"])

    def refuse(body: dict[str, Any], _key: str) -> Any:
        texts = [message["content"] for message in body["messages"]]
        told = any("Jewish" in text for text in texts)
        return (400, error("filtered")) if told and "Question" in texts[-1] else None

    with serving(refuse=refuse) as server:
        assert checked(server, plan)[0].system_role


def test_every_request_rejected_is_an_error_after_two(benchmark: Path) -> None:
    plan = plan_of("openai/test", benchmark)
    with (
        serving(refuse=refuse_all(400, "top_k is not supported")) as server,
        pytest.raises(RequestRejected, match="top_k is not supported"),
    ):
        checked(server, plan)
    assert len(server.requests) == 2


def test_an_endpoint_that_stops_answering_is_not_taken_for_one_that_drops(
    benchmark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evenhand.engines.throttle._BACKOFF_FIRST", 0.001)

    def refuse(body: dict[str, Any], _key: str) -> Any:
        return (503, error("gone")) if len(body["messages"]) > 1 else None

    with serving(refuse=refuse) as server, pytest.raises(Unreachable, match="gone"):
        checked(server, plan_of("openai/test", benchmark))


def test_nothing_is_asked_where_no_system_message_is_planned(benchmark: Path) -> None:
    with serving() as server:
        found, _ = checked(server, plan_of("openai/test", benchmark, cues=["user"]))
    assert found.system_role
    assert not server.requests


def counts(turn: int, joined: int | None = None) -> Callable[[list[Message]], int]:
    """Tokens as of an endpoint: its words, and so many for each turn.

    Args:
        joined: folded: the system message is joined to the first question by so many tokens, and
            lost where there is none.
    """

    def count(messages: list[Message]) -> int:
        has_system = joined is not None and messages[0]["role"] == "system"
        turns = len(messages) - has_system
        if has_system and not turns:
            return 1
        words = sum(len(m["content"].split()) + m["content"].count("\n") for m in messages)
        return 1 + words + turn * turns + (joined or 0) * has_system

    return count


@pytest.mark.parametrize(
    ("count", "folded"),
    [
        (counts(turn=2), False),  # as many as the blank line between the two, by chance
        (counts(turn=4), False),
        (counts(turn=4, joined=2), True),
        (counts(turn=2, joined=2), True),
    ],
)
def test_a_turn_as_long_as_a_blank_line_is_not_taken_for_folding(
    benchmark: Path, count: Callable[[list[Message]], int], folded: bool
) -> None:
    with serving(count=count) as server:
        found, _ = checked(server, plan_of("openai/test", benchmark))
    assert found.system_role
    assert found.folded is folded
    assert ("in the user's turn" in found.evidence) is folded


@pytest.mark.parametrize("status", [400, 500])
def test_folding_is_told_where_a_system_message_alone_is_refused(
    benchmark: Path, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evenhand.engines.throttle._BACKOFF_FIRST", 0.001)

    def refuse(body: dict[str, Any], _key: str) -> Any:
        users = [m for m in body["messages"] if m["role"] == "user"]
        return None if users else (status, error("no user's message"))

    with serving(count=counts(turn=4, joined=2), refuse=refuse) as server:
        found, _ = checked(server, plan_of("openai/test", benchmark))
    assert found.folded


@dataclass
class Local:
    """A local engine with the chat template given."""

    template: Callable[[list[Message]], str]
    model: str = "hf/test"
    address: str = "here"
    is_local: bool = True
    is_paid: bool = False
    default_suite: str = "paper"
    notes: Sequence[str] = ()

    def rendered(self, messages: list[Message]) -> str | None:
        return self.template(messages)

    async def answer(self, requests: Iterator[Request], settle: Callable[[Response], None]) -> None:
        for request in requests:
            settle(Response(request, answer_of("0f")))

    async def close(self) -> None:
        pass


def whole(messages: list[Message]) -> str:
    return "".join(f"<{m['role']}>{m['content']}" for m in messages)


def without_system(messages: list[Message]) -> str:
    return whole([m for m in messages if m["role"] != "system"])


def rejecting(messages: list[Message]) -> str:
    if messages[0]["role"] == "system":
        raise RequestRejected("the chat template rejects: System role not supported")
    return whole(messages)


@pytest.mark.parametrize(
    ("template", "system_role", "evidence"),
    [
        (whole, True, "every cue was seen"),
        (without_system, False, "drops text of the cue system-1"),
        (rejecting, False, "System role not supported"),
    ],
)
def test_local_templates(benchmark: Path, template: Any, system_role: bool, evidence: str) -> None:
    plan = plan_of("hf/test", benchmark, cues=["system", "memory", "history"])
    found, _ = asyncio.run(check_system_role(Local(template), plan))
    assert found.system_role is system_role
    assert evidence in found.evidence


def test_a_template_that_shows_only_the_last_turn_is_an_error(benchmark: Path) -> None:
    plan = plan_of("hf/test", benchmark, cues=["system", "history"])
    with pytest.raises(EngineError, match="drops text of the cue history-1"):
        asyncio.run(check_system_role(Local(lambda m: whole(m[-1:])), plan))


def test_one_template_fault_moves_every_cue_with_a_system_message(
    tmp_path: Path, benchmark: Path
) -> None:
    plan = plan_of("hf/test", benchmark, identities=["religion"], cues=["system"])
    result = audit(plan.study, out=tmp_path / "run", engine=Local(without_system))
    assert result.done == result.cells
    assert "drops text" in result.placement
