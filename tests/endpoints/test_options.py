"""Headers, query and temperature of a request, by the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from endpoints.asking import always, ask, chat
from server import serving

SECRET = "tok-0123456789abcdef"


def test_headers_and_query_are_sent_and_stored_nowhere(tmp_path: Path) -> None:
    seen: set[tuple[str, str, str]] = set()

    def reply(_body: dict[str, Any], request: web.Request) -> None:
        headers = request.headers
        seen.add((headers["X-Team"], headers["X-Token"], request.query_string))

    options = ["--header", "X-Team=audits-of-models", "--header", "X-Token=env:GATEWAY_TOKEN"]
    options += ["--query", "api-version=2024-10-21", "--query", "key=env:GATEWAY_TOKEN"]
    with serving(reply=reply) as server:
        found = ask(server, tmp_path, *options, env={"GATEWAY_TOKEN": SECRET})
    assert found.code == 0, found.err
    assert seen == {("audits-of-models", SECRET, f"api-version=2024-10-21&key={SECRET}")}
    assert SECRET not in found.everything
    assert "audits-of-models" not in found.everything


def test_a_header_that_is_quoted_back_is_redacted(tmp_path: Path) -> None:
    def reply(_body: dict[str, Any], request: web.Request) -> web.Response:
        return web.Response(status=400, text=f"bad token {request.headers['X-Token']}")

    options = ["--header", f"X-Token={SECRET}"]
    with serving(reply=reply) as server:
        found = ask(server, tmp_path, *options)
    assert found.code == 2
    assert "bad token [key]" in found.err
    assert SECRET not in found.everything


def test_a_header_can_be_the_key(tmp_path: Path) -> None:
    seen: set[str] = set()
    options = ["--header", f"Authorization=Token {SECRET}"]
    with serving(reply=lambda _b, r: seen.add(r.headers["Authorization"])) as server:
        found = ask(server, tmp_path, *options, env={"OPENAI_API_KEY": "sk-9876543210"})
    assert found.code == 0, found.err
    assert seen == {f"Token {SECRET}"}


@pytest.mark.parametrize(
    "options",
    [
        ("--header", "X-Token"),
        ("--header", "=a"),
        ("--header", "X-Token=env:NO_SUCH_VARIABLE"),
        ("--header", "X-Token=a\nX-Other: b"),
        ("--header", "X Token=a"),
        ("--query", "a"),
    ],
)
def test_malformed_headers_are_one_line(options: tuple[str, ...], tmp_path: Path) -> None:
    with serving() as server:
        found = ask(server, tmp_path, *options)
    assert (found.code, found.out, found.err.count("\n")) == (2, "", 1), found.err
    assert not server.requests


def test_the_default_temperature_is_left_to_the_model(tmp_path: Path) -> None:
    with serving() as server:
        found = ask(server, tmp_path, "--temperature", "default", "--preset", "paper")
    assert found.code == 0, found.err
    assert all("temperature" not in body for body in server.bodies)
    assert server.bodies[-1]["top_k"] == 10
    assert not found.err.count("left out")


@pytest.mark.parametrize("url", ["http://user:pw@127.0.0.1/v1", "http://127.0.0.1/v1?key=secret"])
def test_a_key_in_the_base_url_is_refused(url: str, tmp_path: Path) -> None:
    found = ask(url, tmp_path)
    assert (found.code, found.err.count("\n")) == (2, 1)
    assert "--query NAME=env:VARIABLE" in found.err
    assert "pw" not in found.err
    assert "secret" not in found.err


def test_extra_fields_may_be_repeated(tmp_path: Path) -> None:
    with serving() as server:
        found = ask(server, tmp_path, "--extra", "min_p=0.1", "--extra", 'user="someone"')
    assert found.code == 0, found.err
    assert (server.bodies[-1]["min_p"], server.bodies[-1]["user"]) == (0.1, "someone")


def test_a_header_may_hold_the_name_of_the_model(tmp_path: Path) -> None:
    model = "some-model-2026"
    with serving(reply=always(chat({"content": "Sure."}, model=model))) as server:
        found = ask(server, tmp_path, "--header", f"X-Model={model}", model=f"openai/{model}")
    assert found.code == 0, found.err
    assert {r.served for r in found.rows} == {model}
