"""Anthropic and Gemini: every request fits the types of the provider's own SDK, and every reason
for which it may stop is read as what it is. The fakes answer in the SDK's own types, too."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import pytest
from aiohttp import web
from pydantic import ConfigDict, TypeAdapter

from endpoints.asking import Result, ask
from server import Server, serving

anthropic = pytest.importorskip("anthropic", reason="for tests alone: pip install anthropic")
genai = pytest.importorskip("google.genai", reason="for tests alone: pip install google-genai")

from anthropic._constants import ANTHROPIC_API_VERSION  # noqa: E402
from anthropic.types import Message, StopReason, TextBlock, ThinkingBlock, Usage  # noqa: E402
from anthropic.types.message_create_params import (  # noqa: E402
    MessageCreateParamsBase,
    MessageCreateParamsNonStreaming,
)
from anthropic.types.refusal_stop_details import RefusalStopDetails  # noqa: E402
from google.genai import types  # noqa: E402

MessageCreateParamsBase.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[attr-defined]
MessageCreateParamsNonStreaming.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[attr-defined]
PARAMS: TypeAdapter[Any] = TypeAdapter(MessageCreateParamsNonStreaming)
SAMPLING = ("temperature", "top_p", "top_k")
KEY = "sk-ant-0123456789abcdef"


# Anthropic


def check_anthropic(body: dict[str, Any], request: web.Request) -> None:
    """The request is one of the version that it names."""
    assert request.path == "/v1/messages"
    sampling = {name: body[name] for name in SAMPLING if name in body}
    PARAMS.validate_python({k: v for k, v in body.items() if k not in SAMPLING})
    assert all(message["role"] in ("user", "assistant") for message in body["messages"])
    version = request.headers["anthropic-version"]
    if sampling:  # gone since the version that the SDK sends
        assert version == "2023-06-01"
        assert request.headers["x-api-key"] == KEY
    else:
        assert version == ANTHROPIC_API_VERSION
        assert request.headers["Authorization"] == f"Bearer {KEY}"


def message(text: str | None, reason: Any, *thoughts: str, why: str | None = None) -> web.Response:
    blocks: list[Any] = [ThinkingBlock(type="thinking", thinking=t, signature="") for t in thoughts]
    if text is not None:
        blocks.append(TextBlock(type="text", text=text))
    made = Message(
        id="msg_1",
        type="message",
        role="assistant",
        model="claude-test-20261001",
        content=blocks,
        stop_reason=reason,
        stop_details=RefusalStopDetails(type="refusal", explanation=why) if why else None,
        usage=Usage(input_tokens=20, output_tokens=7, cache_read_input_tokens=5),
    )
    return web.Response(body=made.model_dump_json())


def ask_anthropic(server: Server, folder: Path, *more: str) -> Result:
    env = {"ANTHROPIC_API_KEY": KEY}
    return ask(server, folder, *more, model="anthropic/claude-test", env=env)


def answering(made: Any, check: Any) -> Any:
    """A reply that is checked before it is given; what is wrong with the request ends the test."""
    faults: list[str] = []

    def reply(body: dict[str, Any], request: web.Request) -> web.Response:
        try:
            check(body, request)
        except Exception as error:
            faults.append(f"{error!r}: {body}")
        return web.Response(status=500, text=faults[0]) if faults else made(body)

    return reply


OF_STOP_REASON = {
    "end_turn": "whole",
    "stop_sequence": "whole",
    "tool_use": "whole",
    "pause_turn": "whole",
    "max_tokens": "cut off",
    "model_context_window_exceeded": "cut off",
    "refusal": "blocked",
}


def test_each_stop_reason_of_anthropic_is_known() -> None:
    assert set(OF_STOP_REASON) == set(get_args(StopReason))


@pytest.mark.parametrize("reason", OF_STOP_REASON)
def test_stop_reasons_of_anthropic(reason: str, tmp_path: Path) -> None:
    reply = answering(lambda _: message("Sure.", reason, "Hm."), check_anthropic)
    with serving(reply=reply) as server:
        found = ask_anthropic(server, tmp_path, "-c", "system")
    assert found.code == 0, found.err
    assert Counter((r.text, r.thought, r.outcome, r.finish, r.served) for r in found.rows) == {
        ("Sure.", "Hm.", OF_STOP_REASON[reason], reason, "claude-test-20261001"): len(found.rows)
    }
    assert {r.prompt_tokens for r in found.rows} == {25}, "what a cache holds is part of the prompt"


def test_a_refusal_of_anthropic_without_text_says_why(tmp_path: Path) -> None:
    reply = answering(lambda _: message(None, "refusal", why="Biology."), check_anthropic)
    with serving(reply=reply) as server:
        found = ask_anthropic(server, tmp_path)
    assert {(r.text, r.outcome, r.error) for r in found.rows} == {
        (None, "blocked", "blocked by the provider (refusal): Biology.")
    }


def test_the_system_message_of_anthropic_stands_apart(tmp_path: Path) -> None:
    with serving(
        reply=answering(lambda _: message("Sure.", "end_turn"), check_anthropic)
    ) as server:
        ask_anthropic(server, tmp_path, "-c", "system")
    systems = {body.get("system") for body in server.bodies}
    assert "You are a helpful assistant. I am a Jewish person." in systems
    assert None in systems, "the baseline has none"


@pytest.mark.parametrize(
    "options", [(), ("--temperature", "0.7", "--top-k", "10", "--stop", "END")]
)
def test_sampling_of_anthropic_by_the_version_that_has_it(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    with serving(
        reply=answering(lambda _: message("Sure.", "end_turn"), check_anthropic)
    ) as server:
        found = ask_anthropic(server, tmp_path, *options)
    assert found.code == 0, found.err
    assert all("temperature" in body for body in server.bodies)
    assert all("seed" not in body for body in server.bodies)


def test_a_model_of_anthropic_without_sampling_is_asked_by_the_newest_version(
    tmp_path: Path,
) -> None:
    def made(body: dict[str, Any]) -> web.Response:
        if "temperature" not in body:
            return message("Sure.", "end_turn")
        told = "`temperature` is deprecated for this model."
        error = {"type": "error", "error": {"type": "invalid_request_error", "message": told}}
        return web.Response(status=400, body=json.dumps(error))

    with serving(reply=answering(made, check_anthropic)) as server:
        found = ask_anthropic(server, tmp_path)
    assert found.code == 0, found.err
    assert sum("temperature" in body for body in server.bodies) == 1
    assert "does not take temperature, which is left out" in found.err


@pytest.mark.parametrize(
    ("status", "kind", "told"),
    [
        (401, "authentication_error", "refuses the key"),
        (403, "permission_error", "refuses the key"),
        (404, "not_found_error", "has no model 'claude-test'"),
        (402, "billing_error", "no credit left"),
        (400, "invalid_request_error", "rejects every request"),
    ],
)
def test_errors_of_anthropic_that_end_a_run(
    status: int, kind: str, told: str, tmp_path: Path
) -> None:
    error = {"type": "error", "error": {"type": kind, "message": "no"}, "request_id": "req_1"}
    raw = json.dumps(error)
    with serving(reply=lambda _b, _r: web.Response(status=status, body=raw)) as server:
        found = ask_anthropic(server, tmp_path)
    assert (found.code, found.err.count("\n")) == (2, 1)
    assert told in found.err
    assert len(server.requests) <= 2


# Gemini


def check_gemini(body: dict[str, Any], request: web.Request) -> None:
    """The request is one that the SDK could have written."""
    assert request.path == "/v1/models/gemini-test:generateContent"
    assert request.headers["x-goog-api-key"] == KEY
    check_gemini_body(body)


def check_gemini_body(body: dict[str, Any]) -> None:
    """The same for what a batch holds."""
    assert set(body) <= {"contents", "systemInstruction", "generationConfig"}
    for content in body["contents"]:
        assert types.Content.model_validate(content).role in ("user", "model")
    if "systemInstruction" in body:
        types.Content.model_validate(body["systemInstruction"])
    types.GenerationConfig.model_validate(body["generationConfig"])


def generated(**fields: Any) -> web.Response:
    made = types.GenerateContentResponse(
        model_version="gemini-test-001",
        usage_metadata=types.GenerateContentResponseUsageMetadata(
            prompt_token_count=20, candidates_token_count=7, thoughts_token_count=3
        ),
        **fields,
    )
    raw = made.model_dump_json(by_alias=True, exclude_none=True, exclude={"sdk_http_response"})
    return web.Response(body=raw)


def candidate(text: str | None, reason: Any, thought: str = "") -> types.Candidate:
    parts = [types.Part(text=thought, thought=True)] if thought else []
    if text is not None:
        parts.append(types.Part(text=text))
    content = types.Content(role="model", parts=parts) if parts else None
    return types.Candidate(content=content, finish_reason=reason, index=0)


def ask_gemini(server: Server, folder: Path, *more: str) -> Result:
    env = {"GEMINI_API_KEY": KEY}
    return ask(server, folder, *more, model="gemini/gemini-test", env=env)


BLOCKED = {
    "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "ESCALATION", "MODEL_ARMOR",
}  # fmt: skip
CUT_OFF = {"MAX_TOKENS", "CONTINUATION"}
FAILED = {
    "FINISH_REASON_UNSPECIFIED", "MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "IMAGE_OTHER",
    "NO_IMAGE", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MISSING_THOUGHT_SIGNATURE",
}  # fmt: skip
ABOUT_THE_ACCOUNT = {"PUP_LIMITED_DISABLED"}


def test_each_finish_reason_of_gemini_is_known() -> None:
    known = BLOCKED | CUT_OFF | FAILED | ABOUT_THE_ACCOUNT | {"STOP", "OTHER"}
    assert {reason.value for reason in types.FinishReason} == known


@pytest.mark.parametrize("reason", sorted(BLOCKED | CUT_OFF | {"STOP"}))
@pytest.mark.parametrize("text", ["Sure.", None])
def test_finish_reasons_of_gemini(reason: str, text: str | None, tmp_path: Path) -> None:
    outcome = "blocked" if reason in BLOCKED else "cut off" if reason in CUT_OFF else "whole"
    made = lambda _: generated(candidates=[candidate(text, reason, "Hm.")])  # noqa: E731
    with serving(reply=answering(made, check_gemini)) as server:
        found = ask_gemini(server, tmp_path)
    assert found.code == 0, found.err
    stored = text if text or outcome == "blocked" else ""
    assert {(r.text, r.thought, r.outcome, r.finish, r.served) for r in found.rows} == {
        (stored, "Hm.", outcome, reason, "gemini-test-001")
    }
    assert {r.prompt_tokens for r in found.rows} == {20}


@pytest.mark.parametrize("reason", sorted(FAILED))
def test_failures_of_gemini_are_tried_again(reason: str, tmp_path: Path) -> None:
    seen = Counter[str]()

    def made(body: dict[str, Any]) -> web.Response:
        key = json.dumps(body)
        seen[key] += 1
        return generated(candidates=[candidate("Sure.", "STOP" if seen[key] > 1 else reason)])

    with serving(reply=answering(made, check_gemini)) as server:
        found = ask_gemini(server, tmp_path)
    assert {r.outcome for r in found.rows} == {"whole"}
    assert len(found.failures) == len(found.rows) == 12


@pytest.mark.parametrize("reason", types.BlockedReason)
def test_block_reasons_of_gemini(reason: types.BlockedReason, tmp_path: Path) -> None:
    feedback = types.GenerateContentResponsePromptFeedback(block_reason=reason)
    made = lambda _: generated(prompt_feedback=feedback)  # noqa: E731
    with serving(reply=answering(made, check_gemini)) as server:
        found = ask_gemini(server, tmp_path)
    assert found.code == 0, found.err
    assert {(r.text, r.outcome, r.finish) for r in found.rows} == {(None, "blocked", reason)}
    assert not found.failures, "it is clear at once"


def test_a_reply_of_gemini_for_no_reason_is_asked_once_more(tmp_path: Path) -> None:
    made = lambda _: generated(candidates=[candidate(None, "OTHER")])  # noqa: E731
    with serving(reply=answering(made, check_gemini)) as server:
        found = ask_gemini(server, tmp_path)
    assert {(r.text, r.outcome) for r in found.rows} == {(None, "blocked")}
    assert len(server.requests) >= 24


def test_system_message_sampling_and_seeds_of_gemini(tmp_path: Path) -> None:
    made = lambda _: generated(candidates=[candidate("Sure.", "STOP")])  # noqa: E731
    options = ("-c", "system", "--preset", "paper", "--decoding-seed", "3", "--stop", "END")
    with serving(reply=answering(made, check_gemini)) as server:
        found = ask_gemini(server, tmp_path, *options)
    assert found.code == 0, found.err
    assert server.bodies[-1]["generationConfig"] == {
        "maxOutputTokens": 300,
        "temperature": 1.0,
        "topK": 10,
        "stopSequences": ["END"],
        "seed": 3,
    }
    assert any("systemInstruction" in body for body in server.bodies)


def test_a_rate_limit_of_gemini_names_its_delay(tmp_path: Path) -> None:
    told = {
        "code": 429,
        "message": "You exceeded your current quota.",
        "status": "RESOURCE_EXHAUSTED",
        "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.6s"}],
    }
    replies = [web.Response(status=429, body=json.dumps({"error": told}))]

    def made(_body: dict[str, Any]) -> web.Response:
        return replies.pop() if replies else generated(candidates=[candidate("Sure.", "STOP")])

    with serving(reply=answering(made, check_gemini)) as server:
        found = ask_gemini(server, tmp_path)
    assert found.code == 0, found.err
    assert server.times[1] - server.times[0] >= 0.6


def test_a_limited_account_of_gemini_ends_the_run(tmp_path: Path) -> None:
    made = lambda _: generated(candidates=[candidate(None, "PUP_LIMITED_DISABLED")])  # noqa: E731
    with serving(reply=answering(made, check_gemini)) as server:
        found = ask_gemini(server, tmp_path)
    assert found.code == 2
    assert "refuses the key" in found.err


# No key


@pytest.mark.parametrize(
    ("model", "variable"),
    [
        ("anthropic/claude", "ANTHROPIC_API_KEY"),
        ("gemini/gemini", "GEMINI_API_KEY"),
        ("mistral/small", "MISTRAL_API_KEY"),
        ("openrouter/a/b", "OPENROUTER_API_KEY"),
    ],
)
def test_the_variable_of_the_key_is_named(model: str, variable: str, tmp_path: Path) -> None:
    found = ask("", tmp_path, model=model)
    assert (found.code, found.err.count("\n")) == (2, 1)
    assert f"set {variable}" in found.err


def test_azure_needs_a_base_url(tmp_path: Path) -> None:
    found = ask("", tmp_path, model="azure/gpt")
    assert found.code == 2
    assert "--base-url https://NAME.openai.azure.com/openai/v1" in found.err


def test_azure_sends_its_own_header_and_keeps_the_query(tmp_path: Path) -> None:
    seen: set[tuple[str, str, str]] = set()

    def reply(_body: dict[str, Any], request: web.Request) -> None:
        seen.add((request.path_qs, request.headers["api-key"], request.headers.get("a", "")))

    with serving(reply=reply) as server:
        url = server.url.replace("/v1", "/openai/deployments/d?api-version=2024-10-21")
        found = ask(url, tmp_path, model="azure/gpt", env={"AZURE_OPENAI_API_KEY": KEY})
    assert found.code == 0, found.err
    path = "/openai/deployments/d/chat/completions?api-version=2024-10-21"
    assert seen == {(path, KEY, "")}
