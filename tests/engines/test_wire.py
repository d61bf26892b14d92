"""Replies of endpoints, from whole to hostile."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.engines.wire import Completion, chat_url, message_of, parse, retry_after
from evenhand.errors import StudyError, UsageError
from evenhand.study.decoding import Decoding
from evenhand.study.entry import validate
from evenhand.text import one_line

WHOLE = b'{"choices":[{"message":{"role":"assistant","content":%s},"finish_reason":%s}],"usage":%s}'


def test_a_whole_reply() -> None:
    raw = WHOLE % (b'"Yes."', b'"stop"', b'{"prompt_tokens":7,"completion_tokens":2}')
    assert parse(raw) == Completion("Yes.", "stop", 7, 2)


@pytest.mark.parametrize(
    ("content", "finish", "usage", "expected"),
    [
        (b"null", b"null", b"null", Completion("", "", 0, 0)),
        (b'"a"', b"{}", b"[1]", Completion("a", "", 0, 0)),
        (b'"a"', b'"stop"', b'{"prompt_tokens":"9"}', Completion("a", "stop", 0, 0)),
        (
            b'"a"',
            b'"stop"',
            b'{"prompt_tokens":9223372036854775808}',
            Completion("a", "stop", 0, 0),
        ),
        (b'[{"type":"text","text":"a"},{"text":"b"}]', b'""', b"{}", Completion("ab", "", 0, 0)),
        (b'"a\\ud800b"', b'"stop"', b"{}", Completion("a?b", "stop", 0, 0)),
    ],
)
def test_odd_fields_become_defaults(
    content: bytes, finish: bytes, usage: bytes, expected: Completion
) -> None:
    assert parse(WHOLE % (content, finish, usage)) == expected


def test_an_error_with_status_200_keeps_its_words() -> None:
    assert parse(b'{"error":{"message":"provider is down"}}') == "provider is down"


@given(st.binary(max_size=300))
def test_any_bytes_are_told_not_raised(raw: bytes) -> None:
    assert isinstance(parse(raw), str | Completion)
    assert one_line(message_of(raw)).isprintable()


def test_errors_cannot_write_to_the_terminal() -> None:
    told = one_line(
        message_of(b'{"error":{"message":"\\u001b[31mred\\u001b]0;pwned\\u0007\\nnext"}}')
    )
    assert told == "[31mred ]0;pwned next"
    assert one_line("a\x00b‮c") == "a b c"
    assert len(one_line("x" * 10_000)) == 300


@pytest.mark.parametrize("url", ["http://:pw@h/v1", "http://u:pw@h/v1", "http://h/v1?key=pw"])
def test_a_secret_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UsageError) as error:
        chat_url(url)
    assert "pw" not in str(error.value)


@pytest.mark.parametrize("name", ["api_key", "Authorization", "X-API-Key", "password"])
def test_a_secret_among_the_extra_fields_is_refused(name: str) -> None:
    with pytest.raises(StudyError, match="looks like a secret") as error:
        validate(Decoding, {"extra": {name: "sk-hidden"}}, "study")
    assert "sk-hidden" not in str(error.value)


def test_retry_after() -> None:
    assert retry_after("3") == 3.0
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert retry_after("soon") == retry_after("") == 0.0
    assert retry_after("1e9") == 600.0
