"""Errors and limits of endpoints, by the command line: one line of the table a test."""

from __future__ import annotations

import gzip
import http.server
import re
import threading
import time
import tracemalloc
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web

from clock import seconds_for
from endpoints.asking import always, ask, chat, problem, to_question
from server import Server, error, refuse_all, serving, unused_port

KEY = {"OPENAI_API_KEY": "sk-0123456789abcdef"}


def first_then(
    raw: bytes, status: int, after: int, times: int = 1, headers: Mapping[str, str] | None = None
) -> Any:
    """A reply to the requests from the `after`-th on, so many times."""
    seen = 0

    def reply(_body: dict[str, Any], _request: web.Request) -> web.Response | None:
        nonlocal seen
        seen += 1
        if not after < seen <= after + times:
            return None
        return web.Response(status=status, body=raw, headers=headers)

    return reply


# Is it the question, or every request?


@pytest.mark.parametrize("number", [0, 1], ids=["first of all", "later"])
def test_403_on_one_question_blocks_that_question(number: int, tmp_path: Path) -> None:
    with serving(reply=to_question(number, problem("Request blocked by WAF"), 403)) as server:
        found = ask(server, tmp_path, env=KEY)
        assert found.code == 0, found.err
        blocked = [r for r in found.rows if r.outcome == "blocked"]
        assert (len(found.rows), len(blocked)) == (12, 6)
        assert all(r.error == "HTTP 403: Request blocked by WAF" for r in blocked)
        before = len(server.requests)
        ask(server, tmp_path, env=KEY)
        assert len(server.requests) == before, "the same command asks nothing again"


@pytest.mark.parametrize("status", [401, 402, 404])
@pytest.mark.parametrize("after", [0, 5], ids=["first of all", "later"])
def test_one_refusal_of_the_moment_is_asked_again(status: int, after: int, tmp_path: Path) -> None:
    with serving(reply=first_then(problem("no"), status, after)) as server:
        found = ask(server, tmp_path, env=KEY)
    assert found.code == 0, found.err
    assert {r.outcome for r in found.rows} == {"whole"}
    assert [s for s, _ in found.failures] == [status]


def test_400_content_filter_of_azure_is_blocked(tmp_path: Path) -> None:
    azure = problem(
        "The response was filtered due to the prompt triggering Azure OpenAI's content management "
        "policy.",
        code="content_filter",
        innererror={"code": "ResponsibleAIPolicyViolation"},
    )
    with serving(reply=to_question(1, azure, 400)) as server:
        found = ask(server, tmp_path)
    assert [r.outcome for r in found.rows].count("blocked") == 6


def test_a_question_that_is_too_long_is_rejected(tmp_path: Path) -> None:
    too_long = problem("'max_tokens' or 'max_completion_tokens' is too large: 512.")
    with serving(reply=to_question(1, too_long, 400)) as server:
        found = ask(server, tmp_path)
    assert found.code == 0, found.err
    assert [r.outcome for r in found.rows].count("rejected") == 6
    assert all("max_tokens" in body for body in server.bodies), "the field is not switched"


# Settings that are refused


def refuse_field(name: str, message: str) -> Any:
    return lambda body, _key: (400, error(message)) if name in body else None


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("temperature", "Unsupported value: 'temperature' does not support 0 with this model."),
        ("temperature", "`temperature` is deprecated for this model."),
        ("top_k", "Unrecognized request argument supplied: top_k"),
        ("seed", "Extra inputs are not permitted: seed"),
    ],
)
def test_a_refused_setting_is_left_out_recorded_and_said(
    field: str, message: str, tmp_path: Path
) -> None:
    options = ["--top-k", "10", "--decoding-seed", "1", "--format", "json"]
    with serving(refuse=refuse_field(field, message)) as server:
        found = ask(server, tmp_path, *options)
    assert found.code == 0, found.err
    assert sum(field in body for body in server.bodies) == 1, "after one 400"
    assert found.err.count(f"does not take {field}, which is left out") == 1
    assert f"does not take {field}" in found.out, "among the notes of the report"


def test_the_paper_preset_works_where_there_is_no_top_k(tmp_path: Path) -> None:
    with serving(refuse=refuse_field("top_k", "Unrecognized argument: top_k")) as server:
        found = ask(server, tmp_path, "--preset", "paper")
    assert found.code == 0, found.err
    assert "top_k" in found.err
    assert server.bodies[-1]["temperature"] == 1.0


# Rate limits


def test_ten_requests_a_window_without_retry_after(tmp_path: Path) -> None:
    """The whole window refuses; the run waits as long as it takes, and no attempt is used up."""
    window = 1.0
    started = time.monotonic()
    seen: list[int] = []

    def refuse(_body: dict[str, Any], _key: str) -> Any:
        number = int((time.monotonic() - started) / window)
        seen.append(number)
        return (429, error("10 requests a window")) if seen.count(number) > 10 else None

    with serving(refuse=refuse, retry_after=None) as server:
        server._retry_headers = lambda *_: {}  # type: ignore[method-assign]
        found = ask(server, tmp_path, questions=5)
    assert found.code == 0, found.err
    assert len(found.rows) == 30
    assert {s for s, _ in found.failures} <= {429}


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"retry-after-ms": "700"}, "slow down"),
        ({"x-ratelimit-reset-requests": "700ms"}, "slow down"),
        ({}, "Please try again in 0.7s."),
        ({"Retry-After": "0.7"}, "slow down"),
    ],
    ids=["ms", "reset", "spoken", "seconds"],
)
def test_the_time_that_the_endpoint_names_is_kept(
    headers: dict[str, str], message: str, tmp_path: Path
) -> None:
    with serving(reply=first_then(problem(message), 429, 0, headers=headers)) as server:
        found = ask(server, tmp_path)
    assert found.code == 0, found.err
    assert 0.7 <= server.times[1] - server.times[0] < 3


def test_more_429_than_attempts_use_up_no_attempt(tmp_path: Path) -> None:
    replies = first_then(problem("slow"), 429, 0, times=30, headers={"retry-after-ms": "1"})
    with serving(reply=replies) as server:
        found = ask(server, tmp_path)
    assert found.code == 0, found.err
    assert len(found.failures) == 30


@pytest.mark.slow
def test_a_long_wait_is_said_with_its_end(tmp_path: Path) -> None:
    """Off a terminal, too: the process waits on, and is stopped here."""
    from endpoints.asking import write_questions
    from runs import command

    benchmark = write_questions(tmp_path / "own.jsonl")
    with serving(refuse=refuse_all(429, "daily limit"), retry_after="36000") as server:
        arguments = ["audit", "openai/test", "-b", str(benchmark), "--base-url", server.url]
        process = command([*arguments, "--out", str(tmp_path / "run")])
        assert process.stderr is not None
        line = process.stderr.readline()
        process.kill()
        process.communicate()
    assert re.search(r"rate limit; waiting until (\d{4}-\d\d-\d\d )?\d\d:\d\d", line), line
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "raw",
    [
        problem("You exceeded your current quota", type="insufficient_quota"),
        problem("usage limit reached"),
        problem("You exceeded your current quota", code="insufficient_quota"),
    ],
)
def test_no_credit_stops_at_once(raw: bytes, tmp_path: Path) -> None:
    with serving(reply=always(raw, 429)) as server:
        found = ask(server, tmp_path, env=KEY)
    assert (found.code, found.err.count("\n")) == (2, 1)
    assert "no credit left" in found.err
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "header",
    ["Fri, 31 Dec 99999 23:59:59 GMT", "Fri, 31 Dec 9999 23:59:59 -9999", "1e400", "\u00b2", "nan"],
)
def test_an_impossible_retry_after_is_a_failed_attempt(header: str, tmp_path: Path) -> None:
    replies = first_then(problem("slow"), 503, 0, headers={"Retry-After": header})
    if header == "1e400":
        replies = first_then(problem("slow"), 503, 0, headers={"Retry-After": "-1e400"})
    with serving(reply=replies) as server:
        found = ask(server, tmp_path)
    assert found.code == 0, found.err
    assert [s for s, _ in found.failures] == [503]


# Sizes


@pytest.mark.slow
def test_a_body_that_unpacks_to_300_mb(tmp_path: Path) -> None:
    bomb = gzip.compress(b'{"choices":"' + b"a" * 300_000_000)
    tracemalloc.start()
    with serving(
        reply=to_question(1, bomb, times=1, headers={"Content-Encoding": "gzip"})
    ) as server:
        found = ask(server, tmp_path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.code == 0, found.err
    assert len(found.rows) == 12
    assert [e for _, e in found.failures] == ["the reply is larger than 16 MB when unpacked"]
    assert most < 150_000_000


def test_a_body_without_end(tmp_path: Path) -> None:
    asked = []

    class Endless(web.StreamResponse):
        async def write_eof(self, data: bytes = b"") -> None:  # noqa: ARG002
            try:
                for _ in range(1000):
                    await self.write(b"a" * 100_000)
            except ConnectionError:
                pass

    def reply(_body: dict[str, Any], _request: web.Request) -> web.StreamResponse | None:
        asked.append(1)
        return Endless() if len(asked) == 1 else None

    with serving(reply=reply) as server:
        found = ask(server, tmp_path)
    assert found.code == 0, found.err
    assert [e for _, e in found.failures] == ["the reply does not end within 16 MB"]


def test_a_whole_answer_that_is_compressed_is_read(tmp_path: Path) -> None:
    raw = gzip.compress(chat({"content": "Sure."}))
    with serving(reply=always(raw, headers={"Content-Encoding": "gzip"})) as server:
        found = ask(server, tmp_path)
    assert {r.text for r in found.rows} == {"Sure."}


def test_an_answer_that_is_compressed_twice_and_in_pieces_is_read(tmp_path: Path) -> None:
    raw = chat({"content": "Sure."})
    raw = gzip.compress(gzip.compress(raw[:20]) + gzip.compress(raw[20:]))
    with serving(reply=always(raw, headers={"Content-Encoding": "identity, gzip, GZIP"})) as server:
        found = ask(server, tmp_path)
    assert {r.text for r in found.rows} == {"Sure."}


# Where requests go


def test_a_redirect_to_another_host_is_refused(tmp_path: Path) -> None:
    with serving() as other:
        target = other.url.replace("127.0.0.1", "localhost") + "/chat/completions"
        with serving(reply=always(b"", 307, {"Location": target})) as server:
            found = ask(server, tmp_path, env=KEY)
    assert (found.code, found.err.count("\n")) == (2, 1)
    assert "redirects to localhost:" in found.err
    assert not other.requests, "the prompt went there"


@pytest.mark.parametrize("status", [300, 302, 304])
def test_one_redirect_that_leads_nowhere_is_asked_again(status: int, tmp_path: Path) -> None:
    with serving(reply=first_then(b"", status, 5)) as server:
        found = ask(server, tmp_path)
    assert found.code == 0, found.err
    assert [s for s, _ in found.failures] == [status]
    assert {r.outcome for r in found.rows} == {"whole"}


def test_one_redirect_to_another_host_is_not_followed_and_asked_again(tmp_path: Path) -> None:
    with serving() as other:
        elsewhere = {"Location": other.url.replace("127.0.0.1", "localhost")}
        with serving(reply=first_then(b"", 302, 5, headers=elsewhere)) as server:
            found = ask(server, tmp_path)
    assert found.code == 0, found.err
    assert {r.outcome for r in found.rows} == {"whole"}
    assert not other.requests


def test_a_redirect_on_the_same_host_is_followed(tmp_path: Path) -> None:
    def reply(_body: dict[str, Any], request: web.Request) -> web.Response | None:
        if request.path.startswith("/v1/"):
            return web.Response(status=308, headers={"Location": f"/v2{request.path[3:]}"})
        return None

    with serving(reply=reply) as server:
        found = ask(server, tmp_path)
    assert found.code == 0, found.err
    assert server.statuses.count(308) == 1, "it is learned"


def test_no_cookie_is_kept(tmp_path: Path) -> None:
    sent: list[str] = []

    def reply(_body: dict[str, Any], request: web.Request) -> web.Response:
        sent.append(request.headers.get("Cookie", ""))
        raw = chat({"content": "Sure."})
        return web.Response(body=raw, headers={"Set-Cookie": "session=1; Path=/"})

    with serving(reply=reply) as server:
        ask(server, tmp_path)
    assert set(sent) == {""}


@contextmanager
def proxy() -> Iterator[tuple[str, list[str]]]:
    """An HTTP proxy that answers itself; gives its URL and the URLs that were asked of it."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            raw = chat({"content": "Sure."})
            self.send_response(200)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()


def test_the_proxy_of_the_environment_is_obeyed(tmp_path: Path) -> None:
    with proxy() as (url, asked):
        env = {"HTTP_PROXY": url, "http_proxy": url, "NO_PROXY": "", "no_proxy": ""}
        found = ask("http://model.example/v1", tmp_path, env=env)
    assert found.code == 0, found.err
    assert set(asked) == {"http://model.example/v1/chat/completions"}


def test_user_and_password_of_a_proxy_are_sent_with_every_request(tmp_path: Path) -> None:
    sent: list[str] = []
    password = 'p"s/€+é-0123456789'

    def reply(_body: dict[str, Any], request: web.Request) -> None:
        sent.append(request.headers.get("Proxy-Authorization", ""))

    with serving(reply=reply) as server:
        place = server.url.removeprefix("http://").removesuffix("/v1")
        url = f"http://me:{quote(password, safe='')}@{place}"
        env = {"HTTP_PROXY": url, "http_proxy": url, "NO_PROXY": "", "no_proxy": ""}
        found = ask("http://model.invalid/v1", tmp_path, env=env)
    assert found.code == 0, found.err
    assert set(sent) == {f"Basic {b64encode(f'me:{password}'.encode()).decode()}"}


def test_hosts_without_proxy_are_asked_directly(tmp_path: Path) -> None:
    with proxy() as (url, asked), serving() as server:
        env = {"HTTP_PROXY": url, "http_proxy": url, "NO_PROXY": "127.0.0.1"}
        found = ask(server, tmp_path, env=env | {"no_proxy": "127.0.0.1"})
    assert found.code == 0, found.err
    assert not asked


@pytest.mark.parametrize(
    "url",
    ["socks5://me:pass-0123456789@127.0.0.1:1", "http://127.0.0.1:x", "http://[bad", "ftp://h"],
)
def test_a_proxy_that_cannot_be_used_is_one_line(url: str, tmp_path: Path) -> None:
    env = {"HTTP_PROXY": url, "http_proxy": url, "NO_PROXY": "", "no_proxy": ""}
    found = ask("http://model.invalid/v1", tmp_path, env=env)
    assert (found.code, found.err.count("\n")) == (2, 1)
    assert "is not an HTTP proxy" in found.err
    assert "pass-0123456789" not in found.everything


def test_networks_in_no_proxy_are_asked_directly(tmp_path: Path) -> None:
    env = {"http_proxy": f"http://127.0.0.1:{unused_port()}", "no_proxy": "10.0.0.0/8,127.0.0.0/8"}
    with serving() as server:
        found = ask(server, tmp_path, env=env | {"NO_PROXY": env["no_proxy"]})
    assert found.code == 0, found.err


def test_a_name_without_an_address_is_named(tmp_path: Path) -> None:
    found = ask("http://no-such-host.invalid/v1", tmp_path)
    assert (found.code, found.err.count("\n")) == (2, 1)
    assert "no address of no-such-host.invalid is known" in found.err


def test_the_hint_names_v1(tmp_path: Path) -> None:
    def reply(_body: dict[str, Any], request: web.Request) -> web.Response | None:
        if request.path.startswith("/v1/"):
            return None
        return web.Response(status=404, text="404 page not found")

    with serving(reply=reply) as server:
        base = server.url.removesuffix("/v1")
        found = ask(base, tmp_path)
    assert (found.code, found.err.count("\n")) == (2, 1)
    assert f"did you mean --base-url {base}/v1?" in found.err


# Several endpoints


def test_an_endpoint_that_is_dead_from_the_start_is_named_in_one_line(tmp_path: Path) -> None:
    dead = f"http://127.0.0.1:{unused_port()}/v1"
    with serving(latency=0.01) as server:
        found = ask(server, tmp_path, "--base-url", dead, questions=10)
    assert found.code == 0, found.err
    assert len(found.rows) == 60
    named = [line for line in found.err.splitlines() if dead in line]
    assert len(named) == 1
    assert "Connection refused" in named[0]
    assert len(found.failures) <= 10


def test_an_endpoint_with_a_wrong_key_is_named_and_left(tmp_path: Path) -> None:
    with serving() as server, serving(refuse=refuse_all(401, "wrong key")) as wrong:
        found = ask(server, tmp_path, "--base-url", wrong.url, questions=10, env=KEY)
    assert found.code == 0, found.err
    assert len(found.rows) == 60
    assert found.err.count("refuses the key") == 1
    assert len(wrong.requests) == 2


def test_a_rate_limited_endpoint_rests_and_the_other_goes_on(tmp_path: Path) -> None:
    with serving(latency=0.005) as server, serving() as limited:
        limited.refuse = refuse_all(429, "slow down")
        limited.retry_after = "30"
        started = time.monotonic()
        found = ask(server, tmp_path, "--base-url", limited.url, questions=10)
    assert found.code == 0, found.err
    assert len(found.rows) == 60
    assert time.monotonic() - started < seconds_for(20)
    assert len(limited.requests) == 1


def test_an_endpoint_that_comes_back_is_asked_again(tmp_path: Path) -> None:
    with serving(latency=0.01) as server, serving() as other:
        down = True

        def refuse(_body: dict[str, Any], _key: str) -> Any:
            nonlocal down
            down = down and len(server.requests) < 40
            return (503, error("restarting")) if down else None

        other.refuse = refuse
        found = ask(server, tmp_path, "--base-url", other.url, questions=40)
    assert found.code == 0, found.err
    assert len(found.rows) == 240
    assert len(other.answers) > 10


def share(fast: Server, slow: Server) -> float:
    return len(fast.answers) / max(1, len(slow.answers))


def test_a_slow_endpoint_takes_no_place_from_a_fast_one(tmp_path: Path) -> None:
    with serving(latency=0.005) as fast, serving(latency=0.5) as slow:
        found = ask(fast, tmp_path, "--base-url", slow.url, questions=40)
    assert found.code == 0, found.err
    assert share(fast, slow) > 5
    assert fast.most_at_once == 4, "the slow one has places of its own"


# Samples


def test_samples_differ_in_their_seeds_by_default(tmp_path: Path) -> None:
    """So that a gateway with a cache cannot give one answer for all of them."""
    cache: dict[str, bytes] = {}

    def reply(body: dict[str, Any], _request: web.Request) -> web.Response:
        raw = chat({"content": f"Answer {len(cache)}."})
        return web.Response(body=cache.setdefault(str(body), raw))

    options = ["--samples", "3", "--temperature", "1"]
    with serving(reply=reply) as server:
        found = ask(server, tmp_path, *options, questions=1)
    assert len(found.rows) == len({r.text for r in found.rows}) == 18
    seeds = [body["seed"] for body in server.bodies if body["messages"] != "Hello"]
    assert len(set(seeds)) >= 18


def test_several_endpoints_that_are_all_dead_are_one_line(tmp_path: Path) -> None:
    dead = [f"http://127.0.0.1:{unused_port()}/v1" for _ in range(2)]
    found = ask(dead[0], tmp_path, "--base-url", dead[1])
    assert (found.code, found.err.count("\n")) == (2, 1), found.err
    assert "does not answer (Connection refused)" in found.err


def test_several_endpoints_that_fail_in_different_ways_are_all_named(tmp_path: Path) -> None:
    dead = f"http://127.0.0.1:{unused_port()}/v1"
    started = time.monotonic()
    lacks = refuse_all(404, "no model")
    with serving(refuse=refuse_all(401, "wrong key")) as wrong, serving(refuse=lacks) as lacking:
        lacking.latency = 0.2
        urls = ["--base-url", wrong.url, "--base-url", lacking.url]
        found = ask(dead, tmp_path, *urls, env=KEY)
    assert (found.code, found.err.count("\n")) == (2, 1), found.err
    for told in ("Connection refused", "refuses the key", "has no model"):
        assert told in found.err
    assert time.monotonic() - started < seconds_for(20), "the dead one is not waited for"


def test_a_proxy_that_is_dead_is_named_without_its_password(tmp_path: Path) -> None:
    url = f"http://me:pass-0123456789@127.0.0.1:{unused_port()}"
    env = {"HTTP_PROXY": url, "http_proxy": url, "NO_PROXY": "", "no_proxy": ""}
    found = ask("http://model.example/v1", tmp_path, env=env)
    assert (found.code, found.err.count("\n")) == (2, 1)
    assert "the proxy of the environment does not answer" in found.err
    assert "pass-0123456789" not in found.everything


@pytest.mark.parametrize("url", ["http://x\u00e4mple.invalid/v1", "https://127.0.0.1:{port}/v1"])
def test_an_odd_address_is_one_line(url: str, tmp_path: Path) -> None:
    with serving() as server:
        found = ask(url.format(port=server.url.split(":")[2].split("/")[0]), tmp_path)
    assert (found.code, found.err.count("\n")) == (2, 1), found.err


@pytest.mark.parametrize("cue", ["user", "system"])
def test_a_first_question_that_always_fails_does_not_end_the_run(cue: str, tmp_path: Path) -> None:
    raw, status = (problem("CUDA assert"), 500) if cue == "user" else (b"not JSON", 200)
    for number in (0, 1):  # either may be the first that is asked
        (tmp_path / str(number)).mkdir()
        with serving(reply=to_question(number, raw, status)) as server:
            found = ask(server, tmp_path / str(number), "-c", cue)
        assert found.code == 3, found.err
        assert {r.outcome for r in found.rows} == {"whole"}
        assert len(found.rows) == (6 if cue == "user" else 12)


@pytest.mark.parametrize("raw", [chat({"content": None}, "content_filter"), b'{"choices":[]}'])
def test_an_endpoint_that_blocks_everything_is_counted(raw: bytes, tmp_path: Path) -> None:
    with serving(reply=always(raw)) as server:
        found = ask(server, tmp_path, "-c", "system")
    assert found.code == 0, found.err
    assert {r.outcome for r in found.rows} == {"blocked"}
    assert "system message reaches the model could not be verified" in " ".join(found.out.split())


@pytest.mark.parametrize(
    ("message", "is_the_key"),
    [
        ("API key not valid. Please pass a valid API key.", True),
        ("Invalid API-key provided", True),
        ("You didn't provide an API key: api key required", True),
        ("Unauthorized", True),
        ("This model's maximum context length is 10 tokens", False),
    ],
)
def test_a_wrong_key_that_is_told_with_400(message: str, is_the_key: bool, tmp_path: Path) -> None:
    with serving(refuse=refuse_all(400, message)) as server:
        found = ask(server, tmp_path, env=KEY)
    assert (found.code, found.err.count("\n")) == (2, 1)
    assert ("check OPENAI_API_KEY" in found.err) == is_the_key
    assert ("rejects every request" in found.err) != is_the_key


@pytest.mark.parametrize("raw", [problem("loading"), b'{"choices":[{"mess'], ids=["error", "half"])
def test_an_endpoint_that_fails_at_first_with_status_200_is_given_time(
    raw: bytes, tmp_path: Path
) -> None:
    with serving(reply=first_then(raw, 200, 0, times=6)) as server:
        found = ask(server, tmp_path)
    assert found.code == 0, found.err
    assert {r.outcome for r in found.rows} == {"whole"}
