"""Replies of endpoints, from whole to hostile, in OpenAI's format; and how errors are read."""

from __future__ import annotations

import json
import time
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.engines.providers import AnthropicWire, GeminiWire, OpenAIWire
from evenhand.engines.rules import action_for, pause_of, refused_settings, retry_after
from evenhand.engines.services import services
from evenhand.engines.wire import Completion, Fault, Wire, checked_url, fault_of
from evenhand.errors import StudyError, UsageError
from evenhand.study.decoding import Decoding
from evenhand.study.entry import validate
from evenhand.text import one_line

WIRES = {"openai": OpenAIWire, "anthropic": AnthropicWire, "gemini": GeminiWire}


def wire(name: str = "openai", **decoding: Any) -> Wire:
    kind: Any = WIRES[name]
    found: Wire = kind("m", Decoding(**decoding), services()[name])
    return found


def reply(message: Any, finish: Any = "stop", **more: Any) -> bytes:
    choice = {"message": message, "finish_reason": finish}
    return json.dumps({"choices": [choice], **more}).encode()


def said(content: Any, finish: Any = "stop", **message: Any) -> Completion:
    found = wire().parse(reply({"content": content, **message}, finish))
    assert isinstance(found, Completion)
    return found


def test_a_whole_reply() -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 2}
    raw = reply({"role": "assistant", "content": "Yes."}, model="m-0613", usage=usage)
    assert wire().parse(raw) == Completion("Yes.", "", "whole", "", "stop", "m-0613", 7, 2)


@pytest.mark.parametrize("count", [20, 20.0, "20", " 20 "])
def test_counts_in_odd_forms_are_read(count: Any) -> None:
    found = wire().parse(reply({"content": "a"}, usage={"prompt_tokens": count}))
    assert isinstance(found, Completion)
    assert found.prompt_tokens == 20


@pytest.mark.parametrize("count", [-1, 2**63, 0.5, "many", None, True, [1], "9" * 5000])
def test_counts_that_are_none_are_zero(count: Any) -> None:
    found = wire().parse(reply({"content": "a"}, usage={"prompt_tokens": count}))
    assert isinstance(found, Completion)
    assert found.prompt_tokens == 0


@pytest.mark.parametrize(
    "raw",
    [
        reply({"content": "a"}, {}, usage=[1]),
        reply({"content": "a"}, None, usage=None, model=7),
        reply({"content": [{"type": "text", "text": "a"}]}, ""),
        reply({"role": "assistant", "content": [{"text": "a"}, {"text": None}]}, ""),
        json.dumps({"choices": [{"text": "a"}]}).encode(),
    ],
)
def test_odd_fields_become_defaults(raw: bytes) -> None:
    assert wire().parse(raw) == Completion("a")


@pytest.mark.parametrize("error", [None, {}, "", {"code": None, "message": ""}, False])
def test_an_error_object_without_an_error_is_none(error: Any) -> None:
    assert wire().parse(reply({"content": "a"}, "", error=error)) == Completion("a")


def test_half_characters_are_replaced() -> None:
    assert said("a\ud800b").text == "a?b"


THOUGHTS: list[tuple[dict[str, Any], str]] = [
    ({"content": "<THINK>a</THINK>B"}, "a"),
    ({"content": "[THINK]a[/THINK]B"}, "a"),
    ({"content": "a</think>B"}, "a"),
    ({"content": "<|channel|>analysis<|message|>a<|end|><|channel|>final<|message|>B"}, "a"),
    ({"content": "B", "reasoning_content": "a"}, "a"),
    ({"content": "B", "reasoning": "a"}, "a"),
    ({"content": [{"type": "reasoning", "text": "a"}, {"type": "text", "text": "B"}]}, "a"),
    (
        {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "a"}]},
                {"type": "text", "text": "B"},
            ]
        },
        "a",
    ),
    ({"content": "<think>b</think>B", "reasoning": "a"}, "a\n\nb"),
]


@pytest.mark.parametrize(("message", "thought"), THOUGHTS)
def test_a_thought_is_no_answer(message: dict[str, Any], thought: str) -> None:
    found = wire().parse(reply(message))
    assert isinstance(found, Completion)
    assert (found.text, found.thought, found.outcome) == ("B", thought, "whole")


@pytest.mark.parametrize("content", ["<think>a", "", None])
def test_cut_off_while_thinking(content: Any) -> None:
    found = said(content, "length", reasoning="" if content else "a")
    assert (found.text, found.thought, found.outcome) == ("", "a", "cut off")


def test_a_thought_that_never_ends_is_cut_off_whatever_the_reason_says() -> None:
    assert said("<think>a", "stop").outcome == "cut off"


@pytest.mark.parametrize("finish", ["length", "max_tokens", "MAX_TOKENS", "model_length", "abort"])
def test_reasons_of_cut_off_answers(finish: str) -> None:
    assert (said("So", finish).outcome, said("", finish).outcome) == ("cut off", "cut off")
    assert said("So", finish).finish == finish


@pytest.mark.parametrize(
    "finish", ["refusal", "SAFETY", "content_filter", "blocklist", "prohibited_content"]
)
def test_reasons_of_blocked_answers(finish: str) -> None:
    found = said("", finish)
    assert (found.text, found.outcome, found.finish) == (None, "blocked", finish)
    assert finish in found.error
    assert said("So", finish).text == "So"


@pytest.mark.parametrize(
    "message",
    [
        {"content": [{"type": "refusal", "refusal": "I can't."}]},
        {"content": None, "refusal": "I can't."},
    ],
)
def test_a_refusal_in_a_part_of_its_own_is_blocked(message: dict[str, Any]) -> None:
    found = wire().parse(reply(message))
    assert isinstance(found, Completion)
    assert (found.text, found.outcome) == ("I can't.", "blocked")


@pytest.mark.parametrize(
    "raw",
    [
        b'{"choices":[]}',
        b'{"choices":null}',
        b'{"choices":[{"message":null,"finish_reason":"stop"}]}',
        b'{"choices":[{}]}',
    ],
)
def test_a_reply_without_a_choice(raw: bytes) -> None:
    found = wire().parse(raw)
    assert isinstance(found, Fault)
    assert action_for(found, wire()) == "ask once more"


@pytest.mark.parametrize(
    ("raw", "status", "action"),
    [
        (b'{"error":{"message":"provider is down"}}', 0, "retry"),
        (b'{"error":{"message":"slow","code":429}}', 429, "wait"),
        (b'{"object":"error","message":"slow","code":429}', 429, "wait"),
        (b'{"type":"error","error":{"type":"overloaded_error","message":"x"}}', 529, "wait"),
        (b'{"error":{"message":"slow","type":"rate_limit_exceeded"}}', 429, "wait"),
        (b'{"error":{"message":"x","status":"RESOURCE_EXHAUSTED"}}', 429, "wait"),
        (b'{"error":{"message":"x","code":"502"}}', 502, "retry"),
        (b'{"error":{"message":"x"},"choices":[{"message":{"content":""}}]}', 0, "retry"),
        (b'{"choices":[{"message":{"content":"x"},"finish_reason":"error"}]}', 0, "retry"),
        (b'{"error":{"message":"x","type":"insufficient_quota","code":429}}', 429, "stop"),
    ],
)
def test_an_error_with_status_200(raw: bytes, status: int, action: str) -> None:
    found = wire().parse(raw)
    assert isinstance(found, Fault)
    assert (found.status, action_for(found, wire())) == (status, action)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b'data: {"choices":[]}\n\n', "stream of events"),
        (b"<!doctype html><title>Sign in</title>", "a web page: Sign in"),
        (b'{"type":"message","content":[{"type":"text","text":"a"}]}', "anthropic/MODEL"),
        (b'{"candidates":[]}', "gemini/MODEL"),
        (b'{"model":"m","message":{"content":"a"},"done":true}', "must end in /v1"),
        (b'{"model":"m","done":false}\n{"model":"m","done":true}', "JSON lines"),
        (b'{"object":"response","output":[]}', "Responses API"),
    ],
)
def test_other_formats_are_named(raw: bytes, told: str) -> None:
    found = wire().parse(raw)
    assert isinstance(found, Fault)
    assert found.kind == "foreign"
    assert told in found.message


@pytest.mark.parametrize("name", list(WIRES))
@pytest.mark.parametrize("nested", [b"[", b'{"choices":', b'{"error":', b'{"content":['])
def test_nesting_is_bounded(name: str, nested: bytes) -> None:
    assert isinstance(wire(name).parse(nested * 100_000), Fault)
    assert fault_of(400, nested * 100_000).status == 400


@pytest.mark.parametrize("name", list(WIRES))
@given(st.binary(max_size=300))
def test_any_bytes_are_told_not_raised(name: str, raw: bytes) -> None:
    assert isinstance(wire(name).parse(raw), Fault | Completion)
    assert one_line(fault_of(400, raw).message).isprintable()


FIELDS = [
    "choices", "message", "content", "finish_reason", "usage", "error", "candidates",
    "parts", "text", "type", "stop_reason", "promptFeedback", "blockReason", "code",
    "status", "refusal", "reasoning", "thinking",
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(FIELDS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("name", list(WIRES))
@given(JSON)
def test_any_json_is_told_not_raised(name: str, body: Any) -> None:
    raw = json.dumps(body).encode()
    found = wire(name).parse(raw)
    assert isinstance(found, Fault | Completion)
    if isinstance(found, Completion):
        assert all(isinstance(text, str) for text in (found.thought, found.error, found.finish))
        assert found.text is None or isinstance(found.text, str)
    assert isinstance(fault_of(400, raw).message, str)


# Errors


def test_errors_cannot_write_to_the_terminal() -> None:
    raw = b'{"error":{"message":"\\u001b[31mred\\u001b]0;pwned\\u0007\\nnext"}}'
    assert one_line(fault_of(400, raw).message) == "[31mred ]0;pwned next"
    assert one_line("a\x00b\u202ec") == "a b c"
    assert len(one_line("x" * 10_000)) == 300


def of(status: int, message: str, **more: Any) -> Fault:
    return fault_of(status, json.dumps({"error": {"message": message, **more}}).encode())


AZURE = "The response was filtered due to Azure OpenAI's content management policy."


@pytest.mark.parametrize(
    ("fault", "action"),
    [
        (of(400, AZURE, code="content_filter"), "block"),
        (of(400, "x", innererror={"code": "ResponsibleAIPolicyViolation"}), "block"),
        (of(400, "Content Exists Risk"), "block"),
        (of(451, "flagged by moderation"), "block"),
        (of(403, "Your input was flagged"), "probe"),
        (of(401, "Incorrect API key"), "probe"),
        (of(402, "Insufficient credits"), "probe"),
        (of(404, "no such model"), "probe"),
        (of(400, "context length exceeded"), "probe"),
        (of(422, "bad"), "probe"),
        (of(429, "slow down"), "wait"),
        (of(529, "Overloaded", type="overloaded_error"), "wait"),
        (of(429, "You exceeded your current quota", type="insufficient_quota"), "stop"),
        (of(429, "usage limit reached"), "stop"),
        (of(429, "x", details={"error_code": "enforced_spend_limit_reached"}), "stop"),
        (of(400, "Your credit balance is too low to access the Anthropic API."), "stop"),
        (of(400, "You have reached your specified API usage limits."), "stop"),
        (of(429, "You exceeded your current quota. Please retry in 15s."), "wait"),
        (of(500, "x"), "retry"),
        (of(503, "x"), "retry"),
        (of(408, "x"), "retry"),
        (of(302, "moved"), "probe"),
    ],
)
def test_what_follows_from_an_error(fault: Fault, action: str) -> None:
    assert action_for(fault, wire()) == action


SAMPLED: dict[str, Any] = {"temperature": 1.0, "top_k": 10, "top_p": 0.9, "seed": 1}
TOO_LARGE = (
    "'max_tokens' or 'max_completion_tokens' is too large: 9. This model supports at most 8."
)


@pytest.mark.parametrize(
    ("status", "message", "refused"),
    [
        (400, "Unsupported value: 'temperature' does not support 0.", "temperature"),
        (400, "`temperature` is deprecated for this model.", "temperature"),
        (400, "`temperature`, `top_p` and `top_k` are not supported.", "temperature top_k top_p"),
        (400, "Unrecognized request argument supplied: top_k", "top_k"),
        (400, "Unknown parameter: 'top_k'. Supported are temperature and top_p.", "top_k"),
        (400, "temperature and top_p cannot both be specified for this model.", "top_p"),
        (400, 'Invalid JSON payload received. Unknown name "topK": Cannot find field.', "top_k"),
        (422, "property 'seed' is unsupported", "seed"),
        (400, "Unsupported parameter: 'max_tokens' is not supported with this model. "
              "Use 'max_completion_tokens' instead.", "max_tokens"),
        (400, TOO_LARGE, ""),
        (400, "temperature must be at most 1", ""),
        (400, "System role not supported", ""),
        (400, "stop this: not supported", "") ,
        (500, "temperature is not supported", ""),
    ],
)  # fmt: skip
def test_settings_that_an_endpoint_refuses(status: int, message: str, refused: str) -> None:
    assert refused_settings(of(status, message), wire(**SAMPLED)) == set(refused.split())


def test_a_refused_setting_that_is_not_sent_is_none() -> None:
    assert not refused_settings(of(400, "top_k is not supported"), wire())
    assert not refused_settings(of(400, "min_p is not supported"), wire(extra={"min_p": 1}))


def test_fastapi_names_the_field_in_a_list() -> None:
    detail = [{"type": "extra_forbidden", "loc": ["body", "top_k"], "msg": "Extra inputs"}]
    fault = fault_of(422, json.dumps({"detail": detail}).encode())
    assert refused_settings(fault, wire(**SAMPLED)) == {"top_k"}


# Waits

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("headers", "text", "seconds"),
    [
        ({"retry-after-ms": "250"}, "", 0.25),
        ({"retry-after-ms": "250", "retry-after": "9"}, "", 0.25),
        ({"retry-after": "9"}, "try again in 15s", 9),
        ({"x-ratelimit-reset-requests": "12s"}, "", 12),
        ({"x-ratelimit-reset-tokens": "6m0s", "x-ratelimit-reset-requests": "1s"}, "", 360),
        (
            {
                "x-ratelimit-reset-tokens": "6m0s",
                "x-ratelimit-remaining-tokens": "900",
                "x-ratelimit-reset-requests": "20ms",
                "x-ratelimit-remaining-requests": "0",
            },
            "",
            0.02,
        ),
        ({"x-ratelimit-reset": str(int(NOW) + 30)}, "", 30),
        ({"x-ratelimit-reset": str((int(NOW) + 30) * 1000)}, "", 30),
        ({"anthropic-ratelimit-requests-reset": "2027-01-15T08:00:30Z"}, "", 30),
        ({}, "Please try again in 15s.", 15),
        ({}, "Please try again in 1m30.5s.", 90.5),
        ({}, "Please retry in 250ms", 0.25),
        ({}, "Try again in 20 seconds", 20),
        ({}, '"retryDelay": "33s"', 33),
        ({}, "slow down", 0),
        ({"retry-after": "soon"}, "", 0),
    ],
)
def test_how_long_an_endpoint_asks_to_wait(
    headers: dict[str, str], text: str, seconds: float
) -> None:
    assert pause_of(headers, text, NOW) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("3", 3), ("0.4", 0.4), ("1e9", 86_400), ("36000", 36_000), ("-3", 0), ("nan", 0),
     ("inf", 86_400), ("soon", 0), ("", 0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
     ("Fri, 31 Dec 99999 23:59:59 GMT", 0), ("Fri, 99 Foo 2026 99:99:99 GMT", 0),
     ("Fri, 31 Dec 9999 23:59:59 -9999", 0), ("Fri, 31 Dec 0000 23:59:60 GMT", 0)],
)  # fmt: skip
def test_retry_after(header: str, seconds: float) -> None:
    assert retry_after(header, NOW) == seconds


def test_retry_after_as_a_date() -> None:
    assert 50 < retry_after(formatdate(time.time() + 100, usegmt=True)) <= 100


# URLs and secrets


@pytest.mark.parametrize(
    "url",
    [
        "http://:pw@h/v1",
        "http://u:pw@h/v1",
        "http://h/v1?key=pw",
        "http://h/v1?subscription-key=pw",
    ],
)
def test_a_secret_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UsageError) as error:
        checked_url(url)
    assert "pw" not in str(error.value)


def test_a_query_stays() -> None:
    azure = "https://x.openai.azure.com/openai/deployments/d?api-version=2024-10-21"
    assert wire().url(azure) == azure.replace("?", "/chat/completions?")
    assert wire().url("http://h/v1/chat/completions") == "http://h/v1/chat/completions"
    assert wire().url("http://h/v1/") == "http://h/v1/chat/completions"


@pytest.mark.parametrize("name", ["api_key", "Authorization", "X-API-Key", "password", "headers"])
def test_a_secret_among_the_extra_fields_is_refused(name: str) -> None:
    with pytest.raises(StudyError, match=r"looks like a secret|--header") as error:
        validate(Decoding, {"extra": {name: "sk-hidden"}}, "study")
    assert "sk-hidden" not in str(error.value)


def test_the_default_temperature_is_not_sent() -> None:
    decoding = validate(Decoding, {"temperature": "default"}, "study")
    assert decoding.temperature is None
    body = json.loads(OpenAIWire("m", decoding, services()["openai"]).body([], None))
    assert "temperature" not in body
