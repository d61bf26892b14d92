"""The HTTP engine: what is sent, what is tried again, and what ends a run."""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

from clock import seconds_for
from evenhand.engines import throttle
from evenhand.engines.engine import Response
from evenhand.engines.http import HTTPEngine
from evenhand.engines.rules import retry_after
from evenhand.errors import (
    AuthenticationError,
    EngineError,
    ModelNotFound,
    RequestRejected,
    Unreachable,
    UsageError,
)
from evenhand.study.decoding import Decoding
from evenhand.study.plan import Request
from server import (
    Faults,
    Server,
    answer_of,
    error,
    key_of,
    refuse_all,
    refuse_key,
    refuse_max_tokens,
    serving,
    unused_port,
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "_BACKOFF_FIRST", 0.002)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def requests(count: int) -> list[Request]:
    return [
        Request(bytes([n % 256]), 0, n, 0, [{"role": "user", "content": f"Question {n}"}])
        for n in range(count)
    ]


def ask(
    *urls: str, count: int = 20, decoding: Decoding | None = None, **options: Any
) -> list[Response]:
    async def run() -> list[Response]:
        engine = HTTPEngine("openai/test", decoding or Decoding(), base_urls=urls, **options)
        responses: list[Response] = []
        try:
            await asyncio.wait_for(engine.answer(iter(requests(count)), responses.append), 60)
        finally:
            await engine.close()
        return responses

    return asyncio.run(run())


def test_body_holds_the_decoding_and_a_seed_for_each_sample() -> None:
    decoding = Decoding(
        temperature=0.5, top_k=10, top_p=0.9, max_tokens=7, seed=40, stop=("END",), extra={"n": 1}
    )
    with serving() as server:
        responses = ask(server.url, decoding=decoding)
    for body in server.bodies:
        item = int(body["messages"][0]["content"].split()[1])
        assert body == {
            "model": "test",
            "messages": [{"role": "user", "content": f"Question {item}"}],
            "temperature": 0.5,
            "top_k": 10,
            "top_p": 0.9,
            "max_tokens": 7,
            "stop": ["END"],
            "n": 1,
            "seed": 40,
        }
    assert len(responses) == 20


def test_what_is_not_set_is_not_sent() -> None:
    with serving() as server:
        ask(server.url, count=1)
    assert set(server.bodies[0]) == {"model", "messages", "temperature", "max_tokens"}


def test_answers_belong_to_their_requests_under_faults() -> None:
    faults = Faults(rate_limited=0.2, broken=0.1, dropped=0.05, truncated=0.05)
    with serving(faults=faults) as server:
        responses = ask(server.url, count=200)
    assert sorted(r.request.item for r in responses) == list(range(200))
    assert all(r.text == answer_of(key_of(r.request.messages, None)) for r in responses)
    assert sum(len(r.failures) for r in responses) == len(server.requests) - 200 > 20
    assert all(r.prompt_tokens == 2 and r.completion_tokens == 10 for r in responses)


def test_slow_bodies_run_into_the_timeout_and_are_tried_again() -> None:
    with serving(faults=Faults(0, 0, 0, 0, slow=0.3, seed=3)) as server:
        responses = ask(server.url, count=30, timeout=0.1)
    late = [f.error for r in responses for f in r.failures]
    assert late
    assert set(late) == {"no answer within 0.1 s"}
    assert all(response.text for response in responses)


def test_more_rate_limits_than_workers_do_not_stall_the_last_ones() -> None:
    """The limit sinks below the number of workers, and the others have nothing left to ask."""
    with serving(faults=Faults(rate_limited=0.6)) as server:
        responses = ask(server.url, count=40, max_connections=40, max_attempts=100)
    assert all(response.text for response in responses)
    assert len(server.answers) == 40


def test_retry_after_holds_all_requests_back() -> None:
    refused: list[float] = []

    def refuse(_body: dict[str, Any], _key: str) -> Any:
        if not refused:
            refused.append(time.monotonic())
            return 429, error("slow down")
        return None

    with serving(refuse=refuse, retry_after="0.4") as server:
        ask(server.url, count=5)
    assert server.times[1] - server.times[0] >= 0.4
    assert server.statuses == [429, 200, 200, 200, 200, 200]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("0.4", 0.4), ("1e9", 86_400), ("-3", 0), ("nan", 0), ("soon", 0), ("", 0)],
)
def test_retry_after_in_seconds(header: str, seconds: float) -> None:
    assert retry_after(header) == seconds


def test_retry_after_as_a_date() -> None:
    assert 50 < retry_after(formatdate(time.time() + 100, usegmt=True)) <= 100
    assert retry_after(formatdate(time.time() - 100, usegmt=True)) == 0


def test_rate_limits_lower_the_number_of_requests_under_way() -> None:
    throttled = throttle.Throttle(64)
    throttled.overloaded(0)
    assert throttled.limit == 48
    throttled.overloaded(0)
    assert throttled.limit == 48, "one wave of 429s counts once"
    for _ in range(2000):
        throttled.answered()
    assert throttled.limit == 64


def test_a_rest_that_ends_while_the_alarm_rings_is_not_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An alarm may ring early; all of a run would wait forever for one that is not set again."""
    readings = count(100_000, 10)  # milliseconds: the rest ends between two readings
    clock = SimpleNamespace(monotonic=lambda: next(readings) / 1000)
    monkeypatch.setattr(throttle, "time", clock)

    async def wait_for_a_rest() -> throttle.Endpoint:
        fleet = throttle.Fleet(["http://127.0.0.1/v1"], 4)
        fleet.endpoints[0].resume_at = 100.015
        return await asyncio.wait_for(fleet.admit(), 5)

    assert asyncio.run(wait_for_a_rest()).under_way == 1


def test_requests_under_way_are_bounded() -> None:
    with serving(latency=0.01) as server:
        ask(server.url, count=60, max_connections=7)
    assert server.most_at_once == 7


def test_several_endpoints_share_the_work() -> None:
    with serving(latency=0.02) as first, serving(latency=0.02) as second:
        ask(first.url, second.url, count=100, max_connections=5)
    assert len(first.requests) + len(second.requests) == 100
    assert min(len(first.requests), len(second.requests)) >= 40
    assert first.most_at_once == second.most_at_once == 5


def test_max_completion_tokens_where_max_tokens_is_refused() -> None:
    with serving(refuse=refuse_max_tokens, latency=0.01) as server:
        responses = ask(server.url, count=40, decoding=Decoding(max_tokens=9))
    assert all(response.text for response in responses)
    assert [("max_tokens" in body) for body in server.bodies] == [True] + [False] * 40
    assert server.bodies[-1]["max_completion_tokens"] == 9


@pytest.mark.parametrize("content", [None, "", []])
def test_empty_answers_are_answers(content: Any) -> None:
    with serving(content=lambda _key: content) as server:
        responses = ask(server.url, count=3)
    assert [response.text for response in responses] == ["", "", ""]
    assert all(response.settled for response in responses)


def test_an_answer_in_parts_is_joined() -> None:
    parts = [{"type": "text", "text": "Therefore, "}, {"type": "text", "text": "B."}]
    with serving(content=lambda _key: parts) as server:
        assert ask(server.url, count=1)[0].text == "Therefore, B."


def test_no_usage_counts_as_zero() -> None:
    with serving(usage=False) as server:
        assert ask(server.url, count=1)[0].prompt_tokens == 0


def test_one_question_refused_for_good_is_settled_and_not_tried_again() -> None:
    def refuse(body: dict[str, Any], _key: str) -> Any:
        told = body["messages"][0]["content"]
        return (400, error("filtered", "content_filter")) if told == "Question 0" else None

    with serving(refuse=refuse) as server:
        responses = {r.request.item: r for r in ask(server.url)}
    assert responses[0].text is None
    assert responses[0].outcome == "blocked"
    assert responses[0].error == "HTTP 400: filtered / content_filter"
    assert responses[0].settled
    assert all(responses[n].text for n in range(1, 20))
    # The question, once; and "Hello", to see whether it is the endpoint or the question.
    assert len(server.requests) == 21


@pytest.mark.parametrize(
    ("refuse", "kind", "most"),
    [
        (refuse_key, AuthenticationError, 2),
        (refuse_all(403, "no access"), AuthenticationError, 2),
        (refuse_all(404, "The model `test` does not exist"), ModelNotFound, 2),
        (refuse_all(400, "top_k is not supported"), RequestRejected, 2),
        (refuse_all(429, "no credit", "insufficient_quota"), EngineError, 1),
    ],
)
def test_what_concerns_every_request_ends_the_run_at_once(
    refuse: Any, kind: type[EngineError], most: int
) -> None:
    with serving(refuse=refuse, latency=0.02) as server, pytest.raises(kind):
        ask(server.url, count=200)
    assert len(server.requests) == most


def test_a_refused_connection_is_tried_three_times() -> None:
    url = f"http://127.0.0.1:{unused_port()}/v1"
    with pytest.raises(Unreachable, match=r"does not answer \(.*refused.*--base-url"):
        ask(url, count=200)


def test_an_endpoint_that_breaks_down_ends_the_run_and_keeps_what_came() -> None:
    count = 0

    def refuse(_body: dict[str, Any], _key: str) -> Any:
        nonlocal count
        count += 1
        return None if count <= 10 else (503, error("down for maintenance"))

    with serving(refuse=refuse) as server:
        engine = HTTPEngine("openai/test", Decoding(), base_urls=(server.url,), max_connections=4)
        responses: list[Response] = []

        async def run() -> None:
            try:
                await engine.answer(iter(requests(100)), responses.append)
            finally:
                await engine.close()

        with pytest.raises(Unreachable, match=r"stopped answering .*down for maintenance"):
            asyncio.run(run())
    assert sum(response.settled for response in responses) == 10
    assert all(len(r.failures) == 8 for r in responses if not r.settled)


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8000/v1",
        "ftp://127.0.0.1/v1",
        "http:///v1",
        "http://127.0.0.1:99999/v1",
        "http://host name/v1",
        "http://user:sk-secret@127.0.0.1/v1",
        "http://127.0.0.1/v1?key=sk-secret",
        "",
    ],
)
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(UsageError) as raised:
        HTTPEngine("openai/test", Decoding(), base_urls=(url,))
    assert "sk-secret" not in str(raised.value)


@pytest.mark.parametrize("key", ["sk-a\nsk-b", "sk a"])
def test_a_key_that_is_none(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(UsageError, match="OPENAI_API_KEY") as raised:
        HTTPEngine("openai/test", Decoding(), base_urls=("http://127.0.0.1/v1",))
    assert key not in str(raised.value)


def test_only_openai_needs_a_key() -> None:
    with pytest.raises(UsageError, match="OPENAI_API_KEY"):
        HTTPEngine("openai/test", Decoding())
    HTTPEngine("openai/test", Decoding(), base_urls=("http://127.0.0.1:1/v1",))


def test_the_key_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    seen: list[str] = []

    def refuse(_body: dict[str, Any], authorization: str) -> None:
        seen.append(authorization)

    with serving(refuse=refuse) as server:
        ask(server.url, count=1)
    assert seen == ["Bearer sk-secret"]


def test_cancelled_at_once() -> None:
    async def run(server: Server) -> float:
        engine = HTTPEngine("openai/test", Decoding(), base_urls=(server.url,))
        asking = asyncio.create_task(engine.answer(iter(requests(100)), lambda _: None))
        while not server.requests:
            await asyncio.sleep(0.01)
        started = time.monotonic()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await engine.close()
        return time.monotonic() - started

    with serving(latency=30) as server:
        assert asyncio.run(run(server)) < seconds_for(2)
