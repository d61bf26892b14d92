"""A chat endpoint for tests: deterministic answers, faults by seed, and a log of all it saw.

    with serving(faults=Faults()) as server:
        ... audit at server.url ...
        server.requests   # one key per request that came, in order
        server.answers    # one key per whole answer that was sent

The key of a request is a digest of its messages and its seed. Everything is also appended to
`log`, line by line, where a path is given.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from time import monotonic
from typing import Any

import orjson
from aiohttp import web

from evenhand.study.cue import Message

Refusal = tuple[int, dict[str, Any]]
"""An HTTP status other than 200, and the body that goes with it."""


@dataclass(frozen=True)
class Faults:
    """Shares of requests that go wrong; which ones follows from seed, request and attempt."""

    rate_limited: float = 0.10
    broken: float = 0.03
    dropped: float = 0.01
    truncated: float = 0.01
    slow: float = 0.02
    seed: int = 0

    def of(self, key: str, attempt: int) -> str:
        """What goes wrong with this attempt; "" for nothing."""
        digest = blake2b(f"{self.seed}/{key}/{attempt}".encode(), digest_size=8).digest()
        draw = int.from_bytes(digest, "big") / 2**64
        for name in ("rate_limited", "broken", "dropped", "truncated", "slow"):
            draw -= getattr(self, name)
            if draw < 0:
                return name
        return ""


def key_of(messages: Sequence[Message], seed: int | None) -> str:
    """What a request is known by in the log."""
    return blake2b(orjson.dumps((messages, seed)), digest_size=8).hexdigest()


def answer_of(key: str) -> str:
    """The answer to the request of that key: a letter or a refusal, and the key itself."""
    number = int(key, 16)
    if number % 5 == 0:
        return f"I'm sorry, but I can't help with that. [{key}]"
    return f"[{key}] Therefore, the answer is {'ABCD'[number % 4]}."


@dataclass
class Server:
    """The endpoint. All fields may be changed while it is up.

    Attributes:
        faults: what goes wrong by chance.
        latency: seconds before each answer.
        hold: whether answers wait until it is False again.
        refuse: gives the refusal of a request, from its body and its Authorization header.
        system: "drop" where the model never sees the system message.
        usage: whether tokens are counted.
        count: counts the prompt's tokens, from the messages; without it, words are counted.
        content: gives the content field, from the key.
        retry_after: value of this header with every 429; without it, every other one has one.
        reply: gives a reply of any kind, from body and request; None for a normal one.
        log: file that everything is appended to.
    """

    faults: Faults | None = None
    latency: float = 0.0
    hold: bool = False
    refuse: Callable[[dict[str, Any], str], Refusal | None] = lambda _body, _key: None
    system: str = ""
    usage: bool = True
    count: Callable[[list[Any]], int] | None = None
    content: Callable[[str], Any] = answer_of
    retry_after: str | None = None
    reply: Callable[[dict[str, Any], web.Request], web.StreamResponse | None] = lambda _b, _r: None
    log: Path | None = None
    url: str = ""
    requests: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    most_at_once: int = 0
    _at_once: int = 0
    _attempts: dict[str, int] = field(default_factory=dict)

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """POST of any path."""
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return await self._reply(request)
        except ConnectionResetError:  # the client was killed
            return web.Response()
        finally:
            self._at_once -= 1

    async def _reply(self, request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        key = key_of(body.get("messages") or body["contents"], body.get("seed"))
        self.bodies.append(body)
        self.times.append(monotonic())
        self._note("request", key, self.requests)
        attempt = self._attempts[key] = self._attempts.get(key, -1) + 1
        while self.hold:
            await asyncio.sleep(0.01)
        if self.latency:
            await asyncio.sleep(self.latency)
        reply = self.reply(body, request)
        if reply is not None:
            self.statuses.append(reply.status)
            return reply
        refusal = self.refuse(body, request.headers.get("Authorization", ""))
        if refusal:
            return self._status(*refusal, headers=self._retry_headers(refusal[0], key))
        fault = self.faults.of(key, attempt) if self.faults else ""
        if fault == "rate_limited":
            return self._status(429, error("slow down"), headers=self._retry_headers(429, key))
        if fault == "broken":
            return self._status(500, error("something broke"))
        if fault == "dropped":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        whole = orjson.dumps(self._completion(body, key))
        if fault == "truncated":
            return web.Response(body=whole[: len(whole) // 2], content_type="application/json")
        reply = web.StreamResponse(headers={"Content-Type": "application/json"})
        reply.content_length = len(whole)
        await reply.prepare(request)
        if fault == "slow":
            await reply.write(whole[:20])
            await asyncio.sleep(0.2)
            whole = whole[20:]
        self.statuses.append(200)
        self._note("answer", key, self.answers)
        await reply.write(whole)
        await reply.write_eof()
        return reply

    def _status(
        self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None
    ) -> web.Response:
        self.statuses.append(status)
        return web.Response(
            status=status,
            body=orjson.dumps(body),
            content_type="application/json",
            headers=headers or {},
        )

    def _retry_headers(self, status: int, key: str) -> dict[str, str]:
        if status != 429:
            return {}
        if self.retry_after is not None:
            return {"Retry-After": self.retry_after}
        return {"Retry-After": "0.05"} if int(key, 16) % 2 else {}

    def _completion(self, body: dict[str, Any], key: str) -> dict[str, Any]:
        read = [m for m in body["messages"] if m["role"] != "system" or self.system != "drop"]
        words = sum(len(message["content"].split()) for message in read)
        tokens = self.count(body["messages"]) if self.count else words
        message = {"role": "assistant", "content": self.content(key)}
        completion: dict[str, Any] = {
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]
        }
        if self.usage:
            completion["usage"] = {"prompt_tokens": tokens, "completion_tokens": 10}
        return completion

    def _note(self, what: str, key: str, seen: list[str]) -> None:
        seen.append(key)
        if self.log:
            with self.log.open("a") as file:
                file.write(f"{what} {key}\n")


def error(message: str, code: str | None = None) -> dict[str, Any]:
    """An error body in OpenAI's form."""
    return {"error": {"message": message, "code": code}}


def refuse_all(status: int, message: str, code: str | None = None) -> Any:
    """A `refuse` that refuses every request."""
    return lambda _body, _key: (status, error(message, code))


def refuse_system(body: dict[str, Any], _key: str) -> Refusal | None:
    """A `refuse` of conversations with a system message."""
    if any(message["role"] == "system" for message in body["messages"]):
        return 400, error("System role not supported")
    return None


def refuse_key(_body: dict[str, Any], authorization: str) -> Refusal:
    """A `refuse` that quotes the key back, as some endpoints do."""
    return 401, error(f"Incorrect API key provided: {authorization}", "invalid_api_key")


def refuse_max_tokens(body: dict[str, Any], _key: str) -> Refusal | None:
    """A `refuse` of `max_tokens`, as by reasoning models."""
    if "max_tokens" in body:
        return 400, error("'max_tokens' is not supported: use 'max_completion_tokens' instead.")
    return None


@contextmanager
def serving(**behavior: Any) -> Iterator[Server]:
    """A server on a free port of the loopback address, in a thread of its own."""
    server = Server(**behavior)
    app = web.Application(client_max_size=2**24)
    app.router.add_post("/{path:.*}", server.chat)
    with running(app) as root:
        server.url = f"{root}/v1"
        yield server


@contextmanager
def running(app: web.Application) -> Iterator[str]:
    """An application on a free port of the loopback address, in a thread of its own; its URL."""
    loop = asyncio.new_event_loop()
    up = threading.Event()
    urls: list[str] = []

    async def start() -> web.AppRunner:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        urls.append(f"http://127.0.0.1:{port}")
        return runner

    async def stop(runner: web.AppRunner) -> None:
        """Clean up, and wait for replies that are still on their way to clients that have gone."""
        await runner.cleanup()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def serve() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(start())
        up.set()
        loop.run_forever()
        loop.run_until_complete(stop(runner))
        loop.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    assert up.wait(60), "the test server did not start"
    try:
        yield urls[0]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


def unused_port() -> int:
    """A port of the loopback address on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
