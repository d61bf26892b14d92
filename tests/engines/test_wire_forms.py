"""Replies and errors that mean what others mean, in other spellings, types and nestings."""

from __future__ import annotations

import json
from typing import Any

import pytest

from evenhand.engines.providers import AnthropicWire, GeminiWire, OpenAIWire
from evenhand.engines.rules import action_for, pause_of, refused_settings
from evenhand.engines.services import services
from evenhand.engines.wire import Completion, Fault, Wire, fault_of, outcome_of
from evenhand.study.decoding import Decoding

WIRES: dict[str, Any] = {"openai": OpenAIWire, "anthropic": AnthropicWire, "gemini": GeminiWire}


def wire(name: str = "openai", **decoding: Any) -> Wire:
    made: Wire = WIRES[name]("m", Decoding(**decoding), services()[name])
    return made


def read(reply: Any, name: str = "openai") -> Completion | Fault:
    return wire(name).parse(reply if isinstance(reply, bytes) else json.dumps(reply).encode())


def chat(message: Any, finish: Any = "stop", **choice: Any) -> dict[str, Any]:
    return {"choices": [{"message": message, "finish_reason": finish, **choice}]}


@pytest.mark.parametrize(
    ("outcome", "finishes"),
    [
        (
            "cut off",
            "LENGTH maxTokens MaxTokens FINISH_REASON_MAX_TOKENS FinishReason.MAX_TOKENS "
            "max_new_tokens max_completion_tokens output_limit context_window_exceeded limit "
            "ERROR_LIMIT truncated preempted out_of_tokens max_model_len max_seq_len "
            "window_exceeded cutoff cut_off too_long partial",
        ),
        (
            "blocked",
            "contentFilter contentfilter ContentFiltered refused FINISH_REASON_SAFETY "
            "safety_violation block_list block ERROR_TOXIC moderated filtered policy_violation "
            "sensitive_content censored unsafe_content IMAGE_SAFETY flagged harmful inappropriate "
            "hap_detected pii HATE nsfw sexual disallowed forbidden declined denied copyright "
            "data_inspection_intervened guardian",
        ),
        (
            "failed",
            "internal_error interrupted overloaded engine_overloaded time_limit rate_limit "
            "deadline_exceeded ERROR FINISH_REASON_UNSPECIFIED exception crashed disconnected "
            "killed expired oom out_of_memory",
        ),
        (
            "whole",
            "stop STOP eos eos_token end_turn stop_sequence COMPLETE tool_calls FINISH_REASON_STOP "
            "pause_turn function_call unknown",
        ),
    ],
)
def test_a_finish_reason_in_any_spelling(outcome: str, finishes: str) -> None:
    assert {finish: outcome_of(finish) for finish in finishes.split()} == dict.fromkeys(
        finishes.split(), outcome
    )


@pytest.mark.parametrize("finish", [{"type": "max_tokens"}, {"reason": "length"}, ["length"]])
def test_a_finish_reason_in_an_object(finish: Any) -> None:
    found = read(chat({"content": "So"}, finish))
    assert isinstance(found, Completion)
    assert found.outcome == "cut off"


@pytest.mark.parametrize("name", ["finishReason", "done_reason"])
def test_a_finish_reason_in_another_field(name: str) -> None:
    found = read(chat({"content": "So"}, None, **{name: "length"}))
    assert isinstance(found, Completion)
    assert found.outcome == "cut off"


T = {"type": "text", "text": "B"}


@pytest.mark.parametrize(
    ("reply", "name"),
    [
        *(
            (chat({"content": [part, T]}), "openai")
            for part in (
                {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "a"}]},
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "a"}]},
                {"type": "Reasoning", "text": "a"},
                {"type": "thought", "text": "a"},
                {"type": "think", "think": "a"},
                {"text": "a", "thought": True},
            )
        ),
        (chat({"content": "B", "reasoning": {"content": "a"}}), "openai"),
        (chat({"content": "B", "reasoning": [{"text": "a"}]}), "openai"),
        (chat({"content": "B", "reasoning_details": [{"text": "a"}]}), "openai"),
        (chat({"content": "B", "thinking_blocks": [{"thinking": "a"}]}), "openai"),
        (chat({"content": "B", "reasoning_text": "a"}), "openai"),
        (chat({"content": "B"}, reasoning_content="a"), "openai"),
        (chat({"content": "B", "reasoningContent": "a", "reasoning_tokens": 3}), "openai"),
        (chat({"content": "B", "thinking_content": "a"}), "openai"),
        (chat({"content": "<think>a</think>B", "reasoning": "a"}), "openai"),
        (chat({"content": [{"type": "text", "channel": "analysis", "text": "a"}, T]}), "openai"),
        ({"content": [{"type": "thinking", "thinking": "a"}, None, T]}, "anthropic"),
        ({"candidates": [{"content": {"parts": [{"text": "a", "thought": "true"}, T]}}]}, "gemini"),
    ],
)
def test_a_thought_in_any_field(reply: Any, name: str) -> None:
    found = read(reply, name)
    assert isinstance(found, Completion)
    assert (found.text, found.thought, found.outcome) == ("B", "a", "whole")


@pytest.mark.parametrize(
    ("reply", "name"),
    [
        (chat({"content": ["B"]}), "openai"),
        (chat({"content": [None, T]}), "openai"),
        (chat({"content": [{"type": "text", "text": {"value": "B"}}]}), "openai"),
        (chat({"content": [{"type": "output_text", "text": "B"}]}), "openai"),
        (chat({"content": T}), "openai"),
        (chat({"content": {"parts": [T]}}), "openai"),
        (chat("B"), "openai"),
        (chat([{"role": "assistant", "content": "B"}]), "openai"),
        (chat({"content": [{"type": "text", "content": "B"}]}), "openai"),
        ({"choices": [{"content": "B", "finish_reason": "stop"}]}, "openai"),
        (chat({"content": "B", "refusal": "None"}), "openai"),
        ({"error": {"code": 200, "message": "OK"}, **chat({"content": "B"})}, "openai"),
        ({"error": "null", **chat({"content": "B"})}, "openai"),
        (json.dumps(chat({"content": "B"})).encode() + b"\0", "openai"),
        ([chat({"content": "B"})], "openai"),
        ({"content": "B"}, "anthropic"),
        ({"content": [{"text": "B"}]}, "anthropic"),
        ({"content": [{"type": "TEXT", "text": "B"}]}, "anthropic"),
        ({"content": [{"type": "thinking", "thinking": None}, T]}, "anthropic"),
        ([{"candidates": [{"content": {"parts": [T]}}]}], "gemini"),
        ({"candidates": [{"content": {"parts": [None, {"text": None}, T]}}]}, "gemini"),
        ({"candidates": [{"content": "B"}]}, "gemini"),
    ],
)
def test_a_text_in_any_nesting(reply: Any, name: str) -> None:
    found = read(reply, name)
    assert isinstance(found, Completion)
    assert (found.text, found.thought, found.outcome) == ("B", "", "whole")


def test_a_number_is_an_answer() -> None:
    found = read(chat({"content": 42}))
    assert isinstance(found, Completion)
    assert found.text == "42"


@pytest.mark.parametrize(
    ("reply", "name"),
    [
        (chat({"content": None, "refusal": {"reason": "No."}}), "openai"),
        (chat({"content": None, "refusal": [{"text": "No."}]}), "openai"),
        (chat({"content": [{"type": "Refusal", "refusal": "No."}]}), "openai"),
        (chat({"content": [{"type": "output_refusal", "refusal": "No."}]}), "openai"),
        (chat({"content": ""}, native_finish_reason="SAFETY"), "openai"),
        (chat({"content": ""}, None, native_finish_reason="refusal"), "openai"),
        ({"stop_reason": "refusal"}, "anthropic"),
        ({"candidates": [{"safetyRatings": [{"blocked": True}]}]}, "gemini"),
        ({"promptFeedback": {"safetyRatings": [{"blocked": True}]}}, "gemini"),
        ({"candidates": [{"finishReason": "FINISH_REASON_SAFETY"}]}, "gemini"),
    ],
)
def test_a_block_in_any_field(reply: Any, name: str) -> None:
    found = read(reply, name)
    assert isinstance(found, Completion)
    assert (found.text or "No.", found.outcome) == ("No.", "blocked")
    assert found.error


@pytest.mark.parametrize(
    ("reply", "action"),
    [
        ({"choices": [{"error": {"code": 502, "message": "up"}, "message": T}]}, "retry"),
        ({"choices": [{"error": {"code": "content_filter", "message": "x"}}]}, "block"),
        ({"errors": [{"message": "slow", "code": 429}]}, "wait"),
        ({"error": [{"message": "slow", "code": 429}]}, "wait"),
        ([{"error": {"message": "slow", "code": 429}}], "wait"),
        ({"error": {"error": {"message": "slow", "code": 429}}}, "wait"),
        ({"error": {"message": "slow", "metadata": {"code": 429}}}, "wait"),
        ({"status": 429, "error": "Too Many Requests"}, "wait"),
        ({"error": "Too Many Requests"}, "wait"),
        ({"message": "slow", "code": 429}, "wait"),
        ({"message": "x", "statusCode": 503}, "retry"),
        ({"error": {"message": "x", "type": "insufficient_quota"}}, "stop"),
    ],
)
def test_an_error_of_status_200_in_any_form(reply: Any, action: str) -> None:
    found = read(reply)
    assert isinstance(found, Fault)
    assert action_for(found, wire()) == action
    assert found.kind != "foreign"


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"<!-- x -->\n<!DOCTYPE html><title>Sign in</title>", "a web page: Sign in"),
        ("<html><title>Sign in</title>".encode("utf-16"), "a web page: Sign in"),
        (b'<meta http-equiv="refresh">', "a web page"),
        (b"<Error><Code>AccessDenied</Code></Error>", "a web page"),
        (b": ping\n\ndata: {}\n\n", "a stream of events"),
        (b"\xef\xbb\xbfdata: {}\n\n", "a stream of events"),
        (b'{"choices":[{"delta":{"content":"B"}}]}', "a stream of events"),
        (b'{"role":"assistant","content":[],"stop_reason":"end_turn"}', "anthropic/MODEL"),
        (b'{"model":"m","created_at":"x","message":{"content":"B"}}', "Ollama's own format"),
        (b'[{"generated_text":"B"}]', "must end in /v1"),
        (b'{"status":"ok"}', "its fields: status"),
    ],
)
def test_another_format_in_any_form_is_named(raw: bytes, told: str) -> None:
    found = read(raw)
    assert isinstance(found, Fault)
    assert found.kind == "foreign"
    assert told in found.message


def test_what_is_not_json_is_quoted() -> None:
    found = read(b"Welcome to nginx!")
    assert isinstance(found, Fault)
    assert found.message == "the reply is not JSON: Welcome to nginx!"


@pytest.mark.parametrize(
    "raw",
    [
        b'{"choices":[{"message":{"content":"caf\xe9"}}]}',
        b'{"choices":[{"message":{"content":"B"}}],"usage":{"prompt_tokens":%s}}' % (b"9" * 5000),
    ],
)
def test_one_bad_byte_or_number_is_no_failure(raw: bytes) -> None:
    assert isinstance(read(raw), Completion)


@pytest.mark.parametrize(
    ("status", "error", "action"),
    [
        (400, {"message": "x", "inner_error": {"code": "ResponsibleAIPolicyViolation"}}, "block"),
        (400, {"message": "Input contains prohibited words"}, "block"),
        (400, {"message": "Input data may contain inappropriate content"}, "block"),
        (403, {"message": "Rate limit exceeded"}, "wait"),
        (420, {"message": "Enhance your calm"}, "wait"),
        (498, {"message": "Flex tier capacity exceeded"}, "retry"),
        (429, {"message": "Your account is out of funds"}, "stop"),
        (429, {"message": "Monthly spend cap exceeded"}, "stop"),
        (429, {"message": "Usage limit exceeded"}, "stop"),
    ],
)
def test_an_error_in_other_words(status: int, error: dict[str, Any], action: str) -> None:
    fault = fault_of(status, json.dumps({"error": error}).encode())
    assert action_for(fault, wire()) == action


@pytest.mark.parametrize(
    ("message", "setting"),
    [
        ("The parameter temperature isn't supported", "temperature"),
        ("temperature must be 1 for this model", "temperature"),
        ("invalid temperature: only 1 is allowed for this model", "temperature"),
        ("`temperature` may only be set to 1 when thinking is enabled", "temperature"),
        ("this model can't use top_k", "top_k"),
        ("Unrecognized request argument supplied: max_tokens", "max_tokens"),
        ("temperature must be between 0 and 1", ""),
        ("temperature must be at most 1.5", ""),
        ("max_tokens must be less than 4096 and is not supported above", ""),
    ],
)
def test_a_refused_setting_in_other_words(message: str, setting: str) -> None:
    fault = fault_of(400, json.dumps({"error": {"message": message}}).encode())
    refused = refused_settings(fault, wire(temperature=0.7, top_k=10))
    assert refused == frozenset([setting] if setting else [])


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"ratelimit": "limit=10, remaining=0, reset=7"}, {}, 7),
        ({"ratelimit": '"default";r=0;t=7'}, {}, 7),
        ({"x-rate-limit-reset": "7"}, {}, 7),
        ({"x-retry-after": "7"}, {}, 7),
        ({"x-ms-retry-after-ms": "7000"}, {}, 7),
        ({"retry-after": "2099-10-21T07:28:00Z"}, {}, 86_400),
        ({}, {"error": "slow down", "retry_after": 7}, 7),
        ({}, {"error": {"message": "slow", "retryAfter": 7}}, 7),
        ({}, {"error": "Please try your request again in 7 seconds"}, 7),
        ({}, {"error": "available again in 7s"}, 7),
    ],
)
def test_a_wait_in_other_words(headers: dict[str, str], body: Any, seconds: float) -> None:
    fault = fault_of(429, json.dumps(body).encode())
    assert pause_of(headers, f"{fault.message} {fault.words}") == seconds


def candidate(finish: Any, **more: Any) -> dict[str, Any]:
    return {
        "candidates": [{"content": {"parts": [{"text": "B"}]}, "finish_reason": finish, **more}]
    }


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (candidate("STOP"), "whole"),
        (candidate(1), "whole"),
        (candidate("1"), "whole"),
        (candidate(2), "cut off"),
        (candidate(2.0), "cut off"),
        (candidate("MAX_TOKENS"), "cut off"),
        *((candidate(number), "blocked") for number in (3, 4, 6, 7, 8, 9, 11)),
        (candidate(1, safety_ratings=[{"blocked": True}]), "blocked"),
        ({"candidates": [{"finishReason": 3}]}, "blocked"),
        ({"prompt_feedback": {"block_reason": "SAFETY"}}, "blocked"),
        ({"promptFeedback": {"blockReason": 4}}, "blocked"),
        ({"prompt_feedback": {"safety_ratings": [{"blocked": True}]}}, "blocked"),
    ],
)
def test_gemini_in_snake_case_and_with_numbers(reply: Any, outcome: str) -> None:
    usage = {"prompt_token_count": 7, "candidates_token_count": 3, "thoughts_token_count": 2}
    found = read({**reply, "usage_metadata": usage, "model_version": "g-1"}, "gemini")
    assert isinstance(found, Completion)
    assert (found.outcome, found.prompt_tokens, found.completion_tokens) == (outcome, 7, 5)
    assert found.served == "g-1"


def test_gemini_s_malformed_call_is_a_failure_by_its_number_too() -> None:
    assert isinstance(read(candidate(10), "gemini"), Fault)


@pytest.mark.parametrize(
    ("code", "words", "action"),
    [
        (1002, "rate limit", "wait"),
        (1039, "token limit", "wait"),
        (1004, "login fail", "probe"),
        (2049, "invalid api key", "probe"),
        (1008, "insufficient balance", "probe"),
        (1013, "unknown error", "retry"),
        (1024, "internal error", "retry"),
        (1026, "input new_sensitive", "block"),
        (1027, "output new_sensitive", "block"),
        (2013, "invalid params, model not found", "probe"),
        (2056, "usage limit exceeded", "stop"),
    ],
)
@pytest.mark.parametrize("answer", [{}, {"choices": None}, {"choices": []}])
def test_an_error_of_minimax_is_like_the_one_it_names(
    code: int, words: str, action: str, answer: dict[str, Any]
) -> None:
    found = read({**answer, "base_resp": {"status_code": code, "status_msg": words}})
    assert isinstance(found, Fault)
    assert words in found.message
    assert action_for(found, wire()) == action


def test_a_success_of_minimax_is_an_answer_and_what_its_filter_found_is_blocked() -> None:
    reply = {**chat({"content": "B"}), "base_resp": {"status_code": 0, "status_msg": "success"}}
    found = read({**reply, "input_sensitive": False})
    assert isinstance(found, Completion)
    assert found.outcome == "whole"
    for name in ("input_sensitive", "output_sensitive"):
        blocked = read({**reply, name: True})
        assert isinstance(blocked, Completion)
        assert blocked.outcome == "blocked"


@pytest.mark.parametrize(
    "reply",
    [
        {"error_code": 336100, "error_msg": "try again"},
        {"errcode": 1, "errmsg": "try again"},
        {"success": False, "errors": [{"code": 7009, "message": "try again"}], "result": {}},
    ],
)
def test_errors_in_other_fields_are_told_in_their_words(reply: Any) -> None:
    found = read(reply)
    assert isinstance(found, Fault)
    assert "try again" in found.message


def test_line_breaks_in_a_string_as_they_are() -> None:
    found = read(json.dumps(chat({"content": "a b"})).encode().replace(b"a b", b"a\n\tb"))
    assert isinstance(found, Completion)
    assert found.text == "a\n\tb"


@pytest.mark.parametrize(
    "reply",
    [
        chat({"content": "", "error": {"code": 502, "message": "upstream"}}),
        {"errors": [{"message": "upstream", "code": "502"}], **chat({"content": ""})},
        {"error": {"message": "upstream", "code": "HTTP 502"}},
        {"error": {"message": "upstream", "type": "BadGateway"}},
    ],
)
def test_an_error_wherever_it_stands(reply: Any) -> None:
    fault = read(reply)
    assert isinstance(fault, Fault)
    assert (fault.status, action_for(fault, wire())) == (502, "retry")


@pytest.mark.parametrize(
    ("action", "status", "body"),
    [
        ("block", 400, {"errorCode": "GUARDRAIL_INTERVENED", "message": "x"}),
        ("block", 400, {"error": "Your request was blocked."}),
        ("block", 400, {"error": "Content violates usage guidelines."}),
        ("block", 400, {"error": "Prompt injection detected"}),
        ("block", 400, {"error": "Content safety check failed"}),
        ("block", 451, {"error": "x"}),
        ("block", 500, {"error": "litellm.ContentPolicyViolationError: x"}),
        ("retry", 500, {"error": "the content filter does not answer"}),
        ("probe", 400, {"error": "the connection to the backend was refused"}),
        ("wait", 400, {"__type": "ThrottlingException", "message": "x"}),
        ("wait", 400, {"error": {"message": "x", "type": "rate_limit_error"}}),
        ("retry", 424, {"error": "Request failed during generation"}),
        ("retry", 423, {"error": "Locked"}),
        ("stop", 429, {"error": "You exceeded your current quota, please check your plan."}),
        ("wait", 429, {"error": "You exceeded your current quota. Limit: 10 per minute"}),
        ("stop", 400, {"code": "Arrearage", "message": "x"}),
        ("stop", 400, {"type": "error", "error": {"type": "billing_error", "message": "x"}}),
        ("stop", 403, {"error": "Your newly created team doesn't have any credits yet."}),
        ("stop", 429, {"error": "Monthly quota exceeded"}),
        ("wait", 429, {"error": "Daily quota exceeded"}),
    ],
)
def test_what_follows_from_errors_of_other_services(action: str, status: int, body: Any) -> None:
    assert action_for(fault_of(status, json.dumps(body).encode()), wire()) == action


FIREWALLS = [
    "<html><title>Request Rejected</title>The requested URL was rejected. Your support ID is: 1",
    "<html><iframe>Request unsuccessful. Incapsula incident ID: 877-1</iframe></html>",
    "<html><title>Not Acceptable!</title>This error was generated by Mod_Security.</html>",
    "<!DOCTYPE html><body>Sorry, your request has been blocked</body>",
]


@pytest.mark.parametrize("page", FIREWALLS)
@pytest.mark.parametrize("status", [200, 405, 406])
def test_the_page_of_a_firewall_blocks_the_question(status: int, page: str) -> None:
    fault = read(page.encode()) if status == 200 else fault_of(status, page.encode())
    assert isinstance(fault, Fault)
    assert action_for(fault, wire()) == "block"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("temperature", "invalid temperature: only 0.6 is allowed for this model"),
        ("temperature", "This model only supports temperature = 1.0"),
        ("temperature", "Temperature is fixed for this model"),
        ("top_k", "Invalid parameter: top_k"),
        ("top_k", "top_k is disabled for this model"),
        ("top_k", "Field top_k not found in schema"),
        ("seed", "random_seed is not a valid parameter"),
    ],
)
def test_further_words_for_a_refused_setting(name: str, message: str) -> None:
    fault = fault_of(400, json.dumps({"error": {"message": message}}).encode())
    sampled = wire(temperature=0.5, top_k=5, seed=1)
    assert refused_settings(fault, sampled) == {name}


NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("seconds", "headers", "text"),
    [
        (90, {"retry-after": "1800000090"}, ""),
        (15, {"retry-after": "15, 20"}, ""),
        (15, {"retry-after": '"15"'}, ""),
        (30, {"x-ratelimit-retry-after": "30"}, ""),
        (30, {"x-amzn-retry-after": "30"}, ""),
        (30, {"x-ratelimitbysize-reset": "30"}, ""),
        (15, {}, '{"retry_after": 15}'),
        (15, {}, "Retry-After: 15"),
        (15, {}, "try again in about 15 seconds"),
        (15, {}, "retry your request after 15 seconds"),
        (15, {}, "Expected available in 15 seconds."),
        (15, {}, "请在15秒后重试"),
        (86_400, {}, "try again in 1 day"),
        (90, {}, "Try again at 2027-01-15T08:01:30Z"),
        (90, {}, "The limit resets at 2027-01-15 08:01:30 UTC"),
        (0, {}, "Limit 30000, used 29000, 10 a minute"),
    ],
)
def test_further_ways_to_name_the_wait(seconds: float, headers: Any, text: str) -> None:
    assert pause_of(headers, text, NOW) == pytest.approx(seconds)
