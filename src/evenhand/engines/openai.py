"""Any OpenAI-compatible chat endpoint: OpenAI, vLLM, SGLang, Ollama, llama.cpp, TGI, gateways."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count

import aiohttp
import orjson

from evenhand import __version__
from evenhand.engines.engine import Failure, Response
from evenhand.engines.secrets import Redactor
from evenhand.engines.throttle import Throttle, backoff
from evenhand.engines.wire import (
    Completion,
    body_of,
    chat_url,
    message_of,
    network_error,
    parse,
    retry_after,
)
from evenhand.errors import (
    AuthenticationError,
    EngineError,
    ModelNotFound,
    RequestRejected,
    Unreachable,
    UsageError,
)
from evenhand.study.cue import Message
from evenhand.study.decoding import Decoding
from evenhand.study.plan import Request
from evenhand.text import one_line, split_thought

DEFAULT_BASE_URL = "https://api.openai.com/v1"
JUDGE_KEY = "EVENHAND_JUDGE_API_KEY"

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
        judge: it asks a judge, whose key may be another, in EVENHAND_JUDGE_API_KEY.

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
        judge: bool = False,
    ) -> None:
        urls = list(base_urls) or [os.environ.get("OPENAI_BASE_URL") or DEFAULT_BASE_URL]
        self._judge = judge
        self._flag = "--judge-base-url" if judge else "--base-url"
        own = judge and os.environ.get(JUDGE_KEY, "").strip()
        self._key_name = JUDGE_KEY if own else "OPENAI_API_KEY"
        key = os.environ.get(self._key_name, "").strip()
        if not key and DEFAULT_BASE_URL in urls:
            raise UsageError(
                f"no API key{' for the judge' if judge else ''}: set {self._key_name}, or name a "
                f"local endpoint with {self._flag}"
            )
        if not key.isprintable() or " " in key:
            raise UsageError(f"{self._key_name} holds a space or a line break; it is not one key")
        self.model = f"openai/{model}"
        self._urls = [chat_url(url) for url in urls]
        self._key = key
        self._redact = Redactor([key])
        if self._redact.found_in(orjson.dumps(decoding.extra).decode()):
            raise UsageError(f"--extra holds the key of {self._key_name}, which must not be stored")
        self._body = body_of(model, decoding)
        self._seed = decoding.seed
        self._workers = max_connections
        self._throttle = Throttle(max_connections)
        self._timeout = timeout
        self._max_attempts = max_attempts
        self._turn = count()
        self._session: aiohttp.ClientSession | None = None
        self._contact = asyncio.Event()  # the endpoint has answered once
        self._latest_answered = 0.0  # when the latest of the answered requests was sent
        self._given_up = 0  # requests in a row

    @property
    def address(self) -> str:
        """The endpoints."""
        return " ".join(self._urls)

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
        first = next(self._turn)
        while True:
            await self._throttle.admit()
            sent = time.monotonic()
            try:
                # Each further attempt goes to another endpoint, where there are several.
                url = self._urls[(first + len(failures)) % len(self._urls)]
                outcome = await self._attempt(url, self._payload(request))
            finally:
                self._throttle.release()
            seconds = time.monotonic() - started
            if isinstance(outcome, Completion):
                self._latest_answered = max(self._latest_answered, sent)
                return _response(request, outcome, seconds, failures)
            if outcome.status and not _is_transient(outcome.status):
                return await self._reject(request, outcome, sent, seconds, failures)
            failures.append(outcome)
            unheard = not self._contact.is_set() and not outcome.status
            if len(failures) == (_FIRST_CONTACT if unheard else self._max_attempts):
                return self._give_up(request, seconds, failures)
            await asyncio.sleep(backoff(len(failures) - 1))

    def _payload(self, request: Request) -> bytes:
        body = {**self._body, "messages": request.messages}
        if self._seed is not None:
            body["seed"] = self._seed + request.sample
        return orjson.dumps(body)

    async def _attempt(self, url: str, payload: bytes) -> Completion | Failure:
        """One POST: the answer, or why there is none."""
        try:
            async with self._open_session().post(url, data=payload) as reply:
                raw = await reply.read()
        except TimeoutError:
            return Failure(0, f"no answer within {self._timeout:g} s")
        except (aiohttp.ClientError, OSError, UnicodeError) as error:
            return Failure(0, one_line(self._redact(network_error(error))))
        if reply.status == 200:
            answer = parse(raw)
            if isinstance(answer, str):
                return Failure(0, one_line(self._redact(answer)))
            self._contact.set()
            self._given_up = 0
            self._throttle.answered()
            return answer
        message = one_line(self._redact(message_of(raw)))
        if "max_completion_tokens" in message and "max_tokens" in self._body:
            self._body["max_completion_tokens"] = self._body.pop("max_tokens")
            return Failure(0, "the endpoint takes max_completion_tokens, not max_tokens")
        if self._judge and "temperature" in message and "temperature" in self._body:
            del self._body["temperature"]  # of a judge it is no part of what is measured
            return Failure(0, "the endpoint takes no temperature")
        if reply.status == 402 or "insufficient_quota" in message:
            raise EngineError(f"{url}: the account has no credit left ({message})")
        pause = retry_after(reply.headers.get("Retry-After", ""))
        if reply.status == 429 or (pause and _is_transient(reply.status)):
            self._throttle.overloaded(pause)
        return Failure(reply.status, f"HTTP {reply.status}: {message}")

    async def _reject(
        self,
        request: Request,
        failure: Failure,
        sent: float,
        seconds: float,
        failures: list[Failure],
    ) -> Response:
        """A refusal for good of this request; or an error if it concerns every request.

        It concerns this one alone if the endpoint has answered one that was sent after it. Where
        none is known, a harmless one is sent.
        """
        where = self._urls[0]
        if failure.status in (401, 403):
            raise AuthenticationError(
                f"{where} refuses the key ({failure.error}); check {self._key_name}"
            )
        if failure.status in (404, 405):
            raise ModelNotFound(
                f"{where} has no model {self._body['model']!r}, or the URL is wrong "
                f"({failure.error})"
            )
        if request is _HELLO:
            raise RequestRejected(f"{where} rejects every request ({failure.error})")
        if self._latest_answered < sent and (await self._ask(_HELLO)).text is None:
            return Response(request, None, seconds=seconds, failures=[*failures, failure])
        return Response(
            request,
            None,
            outcome="rejected",
            error=failure.error,
            seconds=seconds,
            failures=failures,
        )

    def _give_up(self, request: Request, seconds: float, failures: list[Failure]) -> Response:
        """The cell stays open for the next run; or an error if the endpoint is down for all."""
        where, why = self._urls[0], failures[-1].error
        if not self._contact.is_set():
            raise Unreachable(f"{where} does not answer ({why}); is it up, and {self._flag} right?")
        self._given_up += 1
        if self._given_up >= self._workers:
            raise Unreachable(f"{where} has stopped answering ({why}); run again to go on")
        return Response(request, None, seconds=seconds, failures=failures)

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


def _is_transient(status: int) -> bool:
    return status >= 500 or status in (408, 409, 425, 429)


def _response(
    request: Request, answer: Completion, seconds: float, failures: list[Failure]
) -> Response:
    thought, text, still_thinking = split_thought(answer.text)
    return Response(
        request,
        text=text,
        thought=thought,
        outcome="cut off" if still_thinking or answer.finish == "length" else "whole",
        finish=answer.finish or ("length" if still_thinking else ""),
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.completion_tokens,
        seconds=seconds,
        failures=failures,
    )
