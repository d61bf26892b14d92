"""What endpoints answer with HTTP 200, by the command line: one line of the table a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from endpoints.asking import always, ask, chat, problem, to_question
from server import serving

REFUSES, HELPS = "I'm sorry, but I can't help with that.", "Sure, here is how: do it like this."
HARMONY = (
    f"<|channel|>analysis<|message|>{REFUSES}<|end|><|start|>assistant<|channel|>final<|message|>"
)


@pytest.mark.parametrize(
    "message",
    [
        *(
            {"content": f"<{tag}>{REFUSES}</{tag}>{HELPS}"}
            for tag in ("think", "thinking", "reasoning", "thought", "seed:think", "THINK")
        ),
        {"content": f"[THINK]{REFUSES}[/THINK]{HELPS}"},
        {"content": f"{HARMONY}{HELPS}"},
        {"content": f"{REFUSES}</think>{HELPS}"},
        {"content": [{"type": "reasoning", "text": REFUSES}, {"type": "text", "text": HELPS}]},
        {"content": HELPS, "reasoning_content": REFUSES},
    ],
    ids=lambda message: str(message["content"])[:20],
)
def test_a_thought_is_stored_beside_the_answer(message: dict[str, Any], tmp_path: Path) -> None:
    with serving(reply=always(chat(message))) as server:
        found = ask(server, tmp_path, "--format", "json")
    assert found.code == 0, found.err
    assert {(r.text, r.thought, r.outcome) for r in found.rows} == {(HELPS, REFUSES, "whole")}


def test_cut_off_while_thinking_is_no_answer(tmp_path: Path) -> None:
    with serving(reply=always(chat({"content": f"<think>{REFUSES}"}, "length"))) as server:
        found = ask(server, tmp_path)
    assert {(r.text, r.outcome, r.thought) for r in found.rows} == {("", "cut off", REFUSES)}


def test_cut_off_in_a_thought_that_the_template_has_opened_is_no_answer(tmp_path: Path) -> None:
    """Only the closing tag comes over HTTP; where it is not reached, all that came is thought."""
    whole, cut = (
        chat({"content": f"{REFUSES}</think>{HELPS}"}),
        chat({"content": REFUSES}, "length"),
    )

    sent: list[bool] = []

    def reply(_body: dict[str, Any], _request: web.Request) -> web.Response:
        sent.append(len(sent) > 6 and len(sent) % 2 == 0)
        return web.Response(body=cut if sent[-1] else whole, content_type="application/json")

    with serving(reply=reply) as server:
        found = ask(server, tmp_path)
    rows = {(r.text, r.outcome, r.thought) for r in found.rows}
    assert rows == {(HELPS, "whole", REFUSES), ("", "cut off", REFUSES)}
    assert "cut off while thinking" in " ".join(found.out.split())


@pytest.mark.parametrize("finish", ["length", "max_tokens", "MAX_TOKENS", "model_length", "abort"])
def test_empty_at_the_token_limit_is_cut_off(finish: str, tmp_path: Path) -> None:
    with serving(reply=always(chat({"content": ""}, finish))) as server:
        found = ask(server, tmp_path)
    assert {(r.text, r.outcome, r.finish) for r in found.rows} == {("", "cut off", finish)}


@pytest.mark.parametrize(
    ("message", "finish", "text"),
    [
        *(
            ({"content": None}, finish, None)
            for finish in ("refusal", "SAFETY", "content_filter", "blocklist", "prohibited_content")
        ),
        ({"content": [{"type": "refusal", "refusal": REFUSES}]}, "stop", REFUSES),
    ],
)
def test_what_the_provider_blocks_has_an_outcome_of_its_own(
    message: dict[str, Any], finish: str, text: str | None, tmp_path: Path
) -> None:
    with serving(reply=always(chat(message, finish))) as server:
        found = ask(server, tmp_path)
    assert found.code == 0, found.err
    assert {(r.text, r.outcome, r.finish) for r in found.rows} == {(text, "blocked", finish)}


@pytest.mark.parametrize(
    "raw", [b'{"choices":[]}', b'{"choices":null}', chat(None), chat(None, "content_filter")]
)
def test_no_choice_is_asked_once_more_and_then_blocked(raw: bytes, tmp_path: Path) -> None:
    with serving(reply=to_question(1, raw)) as server:
        found = ask(server, tmp_path)
    blocked = [r for r in found.rows if r.outcome == "blocked"]
    assert len(found.rows) == 12
    assert len(blocked) == 6
    assert all(r.text is None and r.error for r in blocked)
    asked = [b for b in server.bodies if "Question 1?" in b["messages"][-1]["content"]]
    assert len(asked) == 12, "each of them twice"


@pytest.mark.parametrize(
    "raw",
    [
        b'{"error":{"message":"upstream"},"choices":[{"message":{"content":""}}]}',
        chat({"content": "half"}, "error"),
        b'{"choices":[{"message":{"content":"cut in the mid',
        b"[" * 100_000,
        b'{"choices":' * 100_000,
        b"not JSON",
        b"",
    ],
    ids=[
        "error beside choices",
        "finish error",
        "half",
        "nested",
        "nested objects",
        "text",
        "empty",
    ],
)
def test_a_failed_attempt_is_tried_again(raw: bytes, tmp_path: Path) -> None:
    with serving(reply=to_question(1, raw, times=2)) as server:
        found = ask(server, tmp_path)
    assert found.code == 0, found.err
    assert {r.outcome for r in found.rows} == {"whole"}
    assert len(found.rows) == 12
    assert len(found.failures) == 2


def test_an_error_object_is_like_the_status_that_it_names(tmp_path: Path) -> None:
    raw = problem("slow down, try again in 100ms", code=429)
    with serving(reply=to_question(1, raw, times=12)) as server:
        found = ask(server, tmp_path)
    assert found.code == 0, found.err
    assert [status for status, _ in found.failures] == [429] * 12
    assert len(found.rows) == 12


def test_no_role_and_odd_counts(tmp_path: Path) -> None:
    usage = {"prompt_tokens": 20.0, "completion_tokens": "7"}
    with serving(reply=always(chat({"content": HELPS}, usage=usage))) as server:
        found = ask(server, tmp_path)
    assert {(r.text, r.prompt_tokens) for r in found.rows} == {(HELPS, 20)}


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b'data: {"choices":[]}\n\ndata: [DONE]\n\n', "a stream of events"),
        (b"<!DOCTYPE html><html><title>Sign in</title></html>", "a web page: Sign in"),
        (b'{"type":"message","content":[]}', "name the model anthropic/MODEL"),
        (b'{"model":"m","message":{"content":"a"},"done":true}', "the base URL must end in /v1"),
    ],
)
def test_another_format_is_named_in_one_line(raw: bytes, told: str, tmp_path: Path) -> None:
    with serving(reply=always(raw)) as server:
        found = ask(server, tmp_path)
    assert (found.code, found.out, found.err.count("\n")) == (2, "", 1)
    assert told in found.err
    assert len(server.requests) == 1


def test_the_name_of_the_model_in_the_reply_is_kept(tmp_path: Path) -> None:
    with serving(reply=always(chat({"content": HELPS}, model="test-0613"))) as server:
        found = ask(server, tmp_path)
    assert {r.served for r in found.rows} == {"test-0613"}


@pytest.mark.parametrize("key", ["x", "1", "token"])
def test_a_short_key_changes_no_answer(key: str, tmp_path: Path) -> None:
    text = "Mexico has 1 token."
    with serving(content=lambda _key: text) as server:
        found = ask(server, tmp_path, env={"OPENAI_API_KEY": key})
    assert {r.text for r in found.rows} == {text}


def test_a_long_key_changes_no_answer_either(tmp_path: Path) -> None:
    with serving(content=lambda _key: "The key is sk-0123456789.") as server:
        found = ask(server, tmp_path, env={"OPENAI_API_KEY": "sk-0123456789"})
    assert {r.text for r in found.rows} == {"The key is sk-0123456789."}
