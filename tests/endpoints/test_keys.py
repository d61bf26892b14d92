"""The key is on neither disk nor screen, whatever goes wrong and however a server quotes it."""

from __future__ import annotations

import html
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web

from endpoints.asking import Result, always, ask, chat, problem, to_question
from server import serving, unused_port

KEY = 'sk-Zq7/Xw+9"Lp&é€Rk4mVt'
PIECES = ("sk-Zq7", "Zq7/Xw", "Xw+9", "Rk4mVt", "k4mVt")


def ask_with_key(server: Any, folder: Path, *more: str) -> Result:
    return ask(server, folder, *more, env={"OPENAI_API_KEY": KEY})


def assert_hidden(found: Result) -> None:
    """No piece of it is there, in any case; and something was shown or stored at all."""
    assert found.err or found.rows
    told = found.everything.lower().replace("\x00", "")
    for piece in PIECES:
        assert piece.lower() not in told
        assert quote(piece, safe="").lower() not in told or piece.isalnum() is False
    for piece in ("Zq7%2FXw", "Zq7\\/Xw", "Zq7\\u002fXw", "\\u005a\\u0071\\u0037", "S\x00K\x00-"):
        assert piece.lower() not in told


def slashes(key: str) -> str:
    return json.dumps(key)[1:-1].replace("/", "\\/")


def unicode_escapes(key: str) -> str:
    return "".join(f"\\u{ord(letter):04x}" for letter in key)


QUOTED: dict[str, Callable[[str], bytes]] = {
    "JSON": lambda key: problem(f"bad key {key}"),
    "bearer": lambda key: problem(f"Authorization: Bearer {key} is wrong"),
    "slashes": lambda key: b'{"error":{"message":"bad key %s"}}' % slashes(key).encode(),
    "escapes": lambda key: b'{"error":{"message":"bad key %s"}}' % unicode_escapes(key).encode(),
    "twice": lambda key: problem(f"upstream said {json.dumps({'message': slashes(key)})}"),
    "text": lambda key: f"bad key {key}".encode(),
    "latin-1": lambda key: f"bad key {key}".encode("latin-1", "replace"),
    "utf-16": lambda key: f"bad key {key}".encode("utf-16"),
    "utf-16-le": lambda key: f"bad key {key}".encode("utf-16-le"),
    "utf-16 JSON": lambda key: json.dumps({"error": {"message": key}}).encode("utf-16"),
    "percent": lambda key: problem(f"GET /?key={quote(key, safe='')}"),
    "html": lambda key: f"<html><title>{html.escape(key)} is wrong</title>".encode(),
    "upper case": lambda key: problem(f"bad key {key.upper()}"),
    "in the code": lambda key: problem("bad key", code=key, type=key, param=key),
    "cut off by us": lambda key: problem("x" * 280 + key),
    "cut off by them": lambda key: problem(f"bad key {key[:12]}..."),
    "nested": lambda key: json.dumps({"detail": [{"msg": key, "loc": ["header", key]}]}).encode(),
}


@pytest.mark.parametrize("way", QUOTED)
@pytest.mark.parametrize("status", [401, 400, 500])
def test_a_key_that_is_quoted_back(way: str, status: int, tmp_path: Path) -> None:
    """For every request, which ends the run; or for one question, which is stored."""
    raw = QUOTED[way](KEY)
    reply = always(raw, status) if status == 401 else to_question(1, raw, status, times=6)
    with serving(reply=reply) as server:
        found = ask_with_key(server, tmp_path)
    assert found.code == (2 if status == 401 else 0), found.err
    if status != 401:
        assert found.failures or any(r.error for r in found.rows)
    assert_hidden(found)


def test_a_key_in_names_that_the_reply_gives(tmp_path: Path) -> None:
    raw = chat({"content": "Sure."}, KEY, model=KEY)
    with serving(reply=always(raw)) as server:
        found = ask_with_key(server, tmp_path)
    assert {(r.finish, r.served) for r in found.rows} == {("[key]", "[key]")}
    assert_hidden(found)


def test_a_key_in_an_error_of_status_200(tmp_path: Path) -> None:
    with serving(reply=to_question(1, problem(f"bad {KEY}"), times=2)) as server:
        found = ask_with_key(server, tmp_path)
    assert found.failures[0][1] == "bad [key]"
    assert_hidden(found)


@pytest.mark.parametrize("header", ["Set-Cookie", "Location", "WWW-Authenticate", "Retry-After"])
def test_a_key_in_a_header(header: str, tmp_path: Path) -> None:
    ascii_key = KEY.encode("ascii", "replace").decode()
    values = {"Set-Cookie": f"a b={ascii_key};=,{ascii_key}", "Location": f"http://h/{ascii_key}"}
    value = values.get(header, ascii_key)
    status, headers = 302 if header == "Location" else 503, {header: value}
    with serving(reply=always(b"", status, headers)) as s:
        s.reply = to_question(1, b"", status, 1, headers)
        found = ask_with_key(s, tmp_path)
    assert_hidden(found)


# Below HTTP: whatever aiohttp raises, by a server that writes raw bytes

ASCII_KEY = KEY.encode("ascii", "replace")
OK = b"HTTP/1.1 200 OK\r\n"
RAW: dict[str, bytes] = {
    "bad status line": b"HTTP/1.1 " + ASCII_KEY + b"\r\n\r\n",
    "no status line": ASCII_KEY + b"\r\n\r\n",
    "utf-8 status line": KEY.encode() + b"\r\n\r\n",
    "utf-16 status line": KEY.encode("utf-16") + b"\r\n\r\n",
    "status not a number": b"HTTP/1.1 2x0 " + ASCII_KEY + b"\r\n\r\n",
    "reason": b"HTTP/1.1 500 " + ASCII_KEY + b"\r\nContent-Length: 0\r\n\r\n",
    "bad header": OK + ASCII_KEY + b"\r\n\r\n",
    "bad header name": OK + b"a(" + ASCII_KEY + b": b\r\n\r\n",
    "header with NUL": OK + b"a: " + ASCII_KEY + b"\x00\r\n\r\n",
    "long header": OK + b"a: " + ASCII_KEY * 2000 + b"\r\n\r\n",
    "bad length": OK + b"Content-Length: " + ASCII_KEY + b"\r\n\r\n",
    "bad chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n" + ASCII_KEY + b"\r\n",
    "bad transfer encoding": OK + b"Transfer-Encoding: " + ASCII_KEY + b"\r\n\r\n",
    "bad content encoding": OK + b"Content-Encoding: " + ASCII_KEY + b"\r\n"
    b"Content-Length: 2\r\n\r\n{}",
    "not gzip": OK + b"Content-Encoding: gzip\r\nContent-Length: 25\r\n\r\n" + ASCII_KEY.ljust(25),
    "short body": OK + b"Content-Length: 99\r\n\r\n" + ASCII_KEY,
    "bad location": b"HTTP/1.1 307 x\r\nLocation: http://[" + ASCII_KEY + b"/\r\n"
    b"Content-Length: 0\r\n\r\n",
    "bad cookie": OK + b"Set-Cookie: " + ASCII_KEY + b"=\x01; " + ASCII_KEY + b"\r\n"
    b"Content-Length: 2\r\n\r\n{}",
    "nothing": b"",
}  # fmt: skip


@contextmanager
def writing(raw: bytes) -> Iterator[str]:
    """A server that writes these bytes to whoever sends a request."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(2)
                try:
                    connection.recv(65_536)
                    connection.sendall(raw)
                except OSError:
                    pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        listener.close()


@pytest.mark.parametrize("way", RAW)
def test_a_key_in_what_is_no_http(way: str, tmp_path: Path) -> None:
    with writing(RAW[way]) as url:
        found = ask_with_key(url, tmp_path)
    assert (found.code, found.err.count("\n")) == (2, 1), found.err
    assert_hidden(found)


def test_what_the_libraries_log_is_redacted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with writing(RAW["bad cookie"]) as url:
        found = ask_with_key(url, tmp_path)
    assert_hidden(found)
    assert not any(piece in caplog.text for piece in PIECES)


# Where the user put it


@pytest.mark.parametrize(
    "options",
    [
        ("--extra", f"user={json.dumps(KEY)}"),
        ("--extra", f"metadata={json.dumps({'a': [KEY]})}"),
        ("--extra", f"user={json.dumps('Bearer ' + KEY)}"),
        ("--extra", f"headers={json.dumps({'X-Key': KEY})}"),
        ("--stop", KEY),
    ],
)
def test_a_key_among_the_options_is_refused(options: tuple[str, ...], tmp_path: Path) -> None:
    with serving() as server:
        found = ask_with_key(server, tmp_path, *options)
    assert (found.code, found.err.count("\n")) == (2, 1)
    assert not server.requests
    assert_hidden(found)


@pytest.mark.parametrize("value", [f"X=env:{KEY}", f"X {KEY}=1", "X=env:gsk_Zq7Rk4mVt"])
def test_a_key_in_the_place_of_a_name_is_not_repeated(value: str, tmp_path: Path) -> None:
    with serving() as server:
        found = ask_with_key(server, tmp_path, "--header", value)
    assert (found.code, found.err.count("\n")) == (2, 1)
    assert_hidden(found)


def test_the_key_is_sent_as_it_is(tmp_path: Path) -> None:
    sent: set[str] = set()

    def reply(_body: dict[str, Any], request: web.Request) -> None:
        raw = dict(request.raw_headers)[b"Authorization"]
        sent.add(raw.decode())

    with serving(reply=reply) as server:
        found = ask_with_key(server, tmp_path)
    assert found.code == 0, found.err
    assert sent == {f"Bearer {KEY}"}
    assert_hidden(found)


# Before there is HTTP

REFUSING_PROXY = b"HTTP/1.1 407 " + ASCII_KEY + b"\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("url", "proxy", "told"),
    [
        ("http://127.0.0.1:{free}/v1", "", "Connection refused"),
        ("http://no-such-host.invalid/v1", "", "no address of no-such-host.invalid"),
        ("https://127.0.0.1:{taken}/v1", "", "does not speak TLS"),
        ("http://model.invalid/v1", "http://me:{quoted}@127.0.0.1:{free}", "proxy"),
        ("http://model.invalid/v1", "http://me:{quoted}@127.0.0.1:{taken}", "HTTP 407"),
        ("https://model.invalid/v1", "http://me:{quoted}@127.0.0.1:{taken}", "HTTP 407: [key]"),
    ],
    ids=["refused", "no address", "no TLS", "dead proxy", "proxy", "tunnel"],
)
def test_a_key_and_a_connection_that_fails(url: str, proxy: str, told: str, tmp_path: Path) -> None:
    with writing(REFUSING_PROXY) as taken:
        places = {"free": unused_port(), "taken": taken.split(":")[2].partition("/")[0]}
        places["quoted"] = quote(KEY, safe="")
        env = {
            f"{name}_{what}": value
            for what, value in (
                ("proxy", proxy.format(**places)),
                ("PROXY", proxy.format(**places)),
            )
            for name in ("http", "https", "HTTP", "HTTPS")
            if proxy
        }
        env |= {"no_proxy": "", "NO_PROXY": "", "OPENAI_API_KEY": KEY}
        log = ["--log", str(tmp_path / "log"), "--verbose"]
        found = ask(url.format(**places), tmp_path, *log, env=env)
    assert found.code == 2
    assert told in found.err
    assert_hidden(found)
    assert not any(piece in (tmp_path / "log").read_text() for piece in PIECES)


def test_a_key_and_an_answer_that_does_not_come(tmp_path: Path) -> None:
    with serving() as server:
        server.hold = True
        found = ask_with_key(server, tmp_path, "--timeout", "0.2")
        server.hold = False
    assert "no answer within 0.2 s" in found.err
    assert_hidden(found)
