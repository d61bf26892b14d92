"""Any OpenAI-compatible chat endpoint: OpenAI, vLLM, SGLang, Ollama, llama.cpp, TGI, gateways."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from email.utils import parsedate_to_datetime
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson

from evenhand import __version__
from evenhand.cue import Message
from evenhand.engines.engine import Decoding, Failure, Request, Response
from evenhand.engines.throttle import Throttle, backoff
from evenhand.errors import (
    AuthenticationError,
    EngineError,
    ModelNotFound,
    RequestRejected,
    Unreachable,
    UsageError,
)

DEFAULT_BASE_URL = "https://api.openai.com/v1"

_TRANSIENT = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
_HELLO = Request(b"", 0, 0, 0, [{"role": "user", "content": "Hello"}])
"""If the endpoint rejects even this, it is the study that is wrong and not one question."""
_FIRST_CONTACT = 3
"""Attempts to connect to an endpoint that has never answered: a typo should not take minutes."""


class OpenAIEngine:
    """Asks an endpoint over HTTP with bounded, adaptive concurrency and retries.

    Args:
        model: the endpoint's name of the model.
        decoding: how the model picks its words.
        base_urls: one or more URLs up to and with "/v1"; they are used in turn.
        max_connections: the most requests under way at once.
        timeout: seconds for one attempt.
        max_attempts: attempts per request for what is transient.

    Raises:
        UsageError: there is no key for OpenAI's own endpoint, or a URL is malformed.
    """

    def __init__(
        self,
        model: str,
        decoding: Decoding,
        *,
        base_urls: Sequence[str] = (),
        max_connections: int = 64,
        timeout: float = 120.0,
        max_attempts: int = 8,
    ) -> None:
        urls = list(base_urls) or [os.environ.get("OPENAI_BASE_URL") or DEFAULT_BASE_URL]
        key = os.environ.get("OPENAI_API_KEY", "").strip()
        if not key and DEFAULT_BASE_URL in urls:
            raise UsageError(
                "no API key: set OPENAI_API_KEY, or name a local endpoint with --base-url"
            )
        if not key.isprintable() or " " in key:
            raise UsageError("OPENAI_API_KEY holds a space or a line break; it is not one key")
        self.model = f"openai/{model}"
        self._urls = [_chat_url(url) for url in urls]
        self._key = key
        self._body = _body(model, decoding)
        self._seed = decoding.seed
        self._workers = max_connections
        self._throttle = Throttle(max_connections)
        self._timeout = timeout
        self._max_attempts = max_attempts
        self._turn = count()
        self._session: aiohttp.ClientSession | None = None
        self._contact = asyncio.Event()  # the endpoint has answered once
        self._given_up = 0  # requests in a row

    def rendered(self, messages: list[Message]) -> str | None:  # noqa: ARG002
        """None: the endpoint renders the prompt out of sight."""
        return None

    async def answer(self, requests: Iterator[Request], settle: Callable[[Response], None]) -> None:
        """Answer all requests; see `Engine.answer`.

        One request goes ahead of all others until the endpoint has answered once, so that a wrong
        key or a wrong URL costs no storm of requests.

        Raises:
            AuthenticationError, ModelNotFound, Unreachable, RequestRejected, EngineError: the
                endpoint answers no request at all; nothing more is sent.
        """

        async def lead() -> None:
            await work()
            self._contact.set()

        async def follow() -> None:
            await self._contact.wait()
            await work()

        async def work() -> None:
            for request in requests:
                settle(await self._ask(request))

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(lead())
                for _ in range(self._workers - 1):
                    group.create_task(follow())
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def _ask(self, request: Request) -> Response:
        failures: list[Failure] = []
        started = time.monotonic()
        while True:
            await self._throttle.admit()
            try:
                outcome = await self._attempt(self._payload(request))
            finally:
                self._throttle.release()
            if not isinstance(outcome, Failure):
                return _response(request, outcome, time.monotonic() - started, failures)
            if outcome.status and outcome.status not in _TRANSIENT:
                return await self._reject(request, outcome, time.monotonic() - started, failures)
            failures.append(outcome)
            unheard = not self._contact.is_set() and not outcome.status
            if len(failures) == (_FIRST_CONTACT if unheard else self._max_attempts):
                return self._give_up(request, time.monotonic() - started, failures)
            await asyncio.sleep(backoff(len(failures) - 1))

    def _payload(self, request: Request) -> bytes:
        body = {**self._body, "messages": request.messages}
        if self._seed is not None:
            body["seed"] = self._seed + request.sample
        return orjson.dumps(body)

    async def _attempt(self, payload: bytes) -> dict[str, Any] | Failure:
        """One POST: the parsed answer, or why there is none."""
        url = self._urls[next(self._turn) % len(self._urls)]
        try:
            async with self._open_session().post(url, data=payload) as reply:
                raw = await reply.read()
        except TimeoutError:
            return Failure(0, f"no answer within {self._timeout:g} s")
        except aiohttp.ClientError as error:
            return Failure(0, _network_error(error))
        if reply.status == 200:
            answer = _parse(raw)
            if answer is None:
                return Failure(0, "the answer is not a whole JSON completion")
            self._contact.set()
            self._given_up = 0
            self._throttle.answered()
            return answer
        message = _message(self._without_key(raw))
        if "max_completion_tokens" in message and "max_tokens" in self._body:
            self._body["max_completion_tokens"] = self._body.pop("max_tokens")
            return Failure(0, "the endpoint takes max_completion_tokens, not max_tokens")
        if "insufficient_quota" in message:
            raise EngineError(f"{url}: the account has no credit left ({message})")
        if reply.status == 429:
            self._throttle.overloaded(_retry_after(reply.headers.get("Retry-After", "")))
        return Failure(reply.status, f"HTTP {reply.status}: {message}")

    async def _reject(
        self, request: Request, failure: Failure, seconds: float, failures: list[Failure]
    ) -> Response:
        """A refusal for good of this request; or an error if it concerns every request."""
        where = self._urls[0]
        if failure.status in (401, 403):
            raise AuthenticationError(
                f"{where} refuses the key ({failure.error}); check OPENAI_API_KEY"
            )
        if failure.status in (404, 405):
            raise ModelNotFound(
                f"{where} has no model {self._body['model']!r}, or the URL is wrong "
                f"({failure.error})"
            )
        if request is _HELLO:
            raise RequestRejected(f"{where} rejects every request ({failure.error})")
        if not self._contact.is_set():
            await self._ask(_HELLO)
        return Response(request, None, failure.error, seconds=seconds, failures=failures)

    def _give_up(self, request: Request, seconds: float, failures: list[Failure]) -> Response:
        """The cell stays open for the next run; or an error if the endpoint is down for all."""
        where, why = self._urls[0], failures[-1].error
        if not self._contact.is_set():
            raise Unreachable(f"{where} does not answer ({why}); is it up, and --base-url right?")
        self._given_up += 1
        if self._given_up >= self._workers:
            raise Unreachable(f"{where} has stopped answering ({why}); run again to go on")
        return Response(request, None, seconds=seconds, failures=failures)

    def _without_key(self, raw: bytes) -> bytes:
        """Some endpoints quote the key back in their errors; it must never reach the disk."""
        quoted = rb"(bearer\s+)?" + re.escape(self._key.encode())
        return re.sub(quoted, b"[key]", raw, flags=re.IGNORECASE) if self._key else raw

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            headers = {"Content-Type": "application/json", "User-Agent": f"evenhand/{__version__}"}
            if self._key:
                headers["Authorization"] = f"Bearer {self._key}"
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300),
                timeout=aiohttp.ClientTimeout(total=self._timeout),
                headers=headers,
            )
        return self._session


def _chat_url(base_url: str) -> str:
    url = base_url.strip().rstrip("/")
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # no such port
        whole = False
    if not whole or " " in url:
        raise UsageError(f'"{base_url}" is no URL; write it like http://127.0.0.1:8000/v1')
    if parts.username or parts.query:
        raise UsageError("a base URL holds no user, key or query; the key is OPENAI_API_KEY's")
    return url if url.endswith("/chat/completions") else f"{url}/chat/completions"


def _body(model: str, decoding: Decoding) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": model,
        "temperature": decoding.temperature,
        "max_tokens": decoding.max_tokens,
    }
    if decoding.top_p is not None:
        body["top_p"] = decoding.top_p
    if decoding.top_k is not None:
        body["top_k"] = decoding.top_k
    if decoding.stop:
        body["stop"] = list(decoding.stop)
    return body | decoding.extra


def _parse(raw: bytes) -> dict[str, Any] | None:
    try:
        answer = orjson.loads(raw)
        answer["choices"][0]["message"]["role"]  # what a whole completion has at least
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return None
    return answer if isinstance(answer, dict) else None


def _response(
    request: Request, answer: dict[str, Any], seconds: float, failures: list[Failure]
) -> Response:
    choice = answer["choices"][0]
    message = choice["message"]
    usage = answer.get("usage") or {}
    return Response(
        request,
        text=_text(message.get("content")) or message.get("refusal") or "",
        finish=choice.get("finish_reason") or "",
        prompt_tokens=usage.get("prompt_tokens") or 0,
        completion_tokens=usage.get("completion_tokens") or 0,
        seconds=seconds,
        failures=failures,
    )


def _text(content: Any) -> str:
    """Some gateways give the answer in parts."""
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return str(content or "")


def _message(raw: bytes) -> str:
    """The endpoint's own words on what is wrong, in one short line."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return _one_line(raw[:200].decode("utf-8", "replace"))
    error = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(error, dict):
        parts = [str(error[k]) for k in ("message", "code", "detail") if error.get(k)]
        return _one_line(" / ".join(parts) or str(error))
    return _one_line(str(error))


def _network_error(error: aiohttp.ClientError) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.errno or 0  # below 0 where a name cannot be resolved
        return os.strerror(number) if number > 0 else _one_line(str(error.os_error))
    return _one_line(str(error) or type(error).__name__)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]


def _retry_after(header: str) -> float:
    """Seconds of a Retry-After header, which holds seconds or a date; 0 if it says nothing."""
    try:
        return max(0.0, min(float(header), 600.0))
    except ValueError:
        pass
    try:
        return max(0.0, min(parsedate_to_datetime(header).timestamp() - time.time(), 600.0))
    except (TypeError, ValueError):
        return 0.0
