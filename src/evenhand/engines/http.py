"""Any endpoint over HTTP: bounded and adaptive concurrency, retries, several endpoints at once.

What is sent and how a reply is read is the wire's (`wire.py`); what follows from a reply that is
no answer stands in one table (`rules.py`); who may be asked when is the fleet's (`throttle.py`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urljoin, urlsplit

from evenhand.engines.access import Access, Refusal
from evenhand.engines.engine import Failure, Outcome, Response
from evenhand.engines.rules import action_for, refused_settings
from evenhand.engines.throttle import Endpoint, Fleet, backoff
from evenhand.engines.wire import Completion, Fault, Wire, fault_of
from evenhand.errors import EngineError
from evenhand.study.cue import Message
from evenhand.study.decoding import Decoding
from evenhand.study.plan import Request

if TYPE_CHECKING:
    from evenhand.engines import EngineOptions
    from evenhand.engines.connection import Connection

_log = logging.getLogger("evenhand")

_HELLO = Request(b"", 0, 0, 0, [{"role": "user", "content": "Hello"}])
"""The harmless request: if the endpoint refuses even this, it is not about one question."""
_FIRST_CONTACT = 3
"""Attempts to connect to an endpoint that has never answered: a typo should not take minutes."""
_LONG_WAIT = 10.0
"""Seconds from which a wait is said."""
_SAID_AGAIN = 300.0
"""Seconds after which a wait is said again that the endpoint did not ask for."""
_REST_OF_THE_DEAD = 60.0
"""Seconds between two tries of one of several endpoints that has never answered."""


class HTTPEngine:
    """Asks a model over HTTP.

    Args:
        model: SERVICE/MODEL, as "openai/gpt-4o" or "anthropic/claude-sonnet-5".
        decoding: how the model picks its words.
        base_urls: one or more URLs up to and with the version ("/v1"), with or without a query.
            The service's own if there is none.
        headers: further headers; their values are stored nowhere.
        query: further fields of the URL; their values are stored nowhere.
        max_connections: the most requests under way at once at each endpoint.
        timeout: seconds for one attempt.
        max_attempts: attempts per request for what is transient; rate limits use up none.
        judge: it asks a judge, whose key may be another, in EVENHAND_JUDGE_API_KEY.

    Raises:
        UsageError: there is no key for a service that needs one, a URL is malformed, or a key
            stands where it would be stored.
    """

    is_local = False
    is_paid = True
    default_suite = "paper"
    gives_logprobs = True
    """Whether it may give the probabilities of the first token."""
    takes_response_format = True
    """Whether `response_format` in the body may hold answers to a JSON schema."""

    def __init__(
        self,
        model: str,
        decoding: Decoding,
        *,
        base_urls: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        max_connections: int = 64,
        timeout: float = 120.0,
        max_attempts: int = 8,
        judge: bool = False,
    ) -> None:
        self._access = access = Access(
            model, decoding, base_urls=base_urls, headers=headers, query=query, judge=judge
        )
        self.model = model
        self._messages = access.messages
        self._wire = access.wire
        self._headers = access.headers(self._wire)
        self._address = access.address
        urls = [access.with_query(self._wire.url(url)) for url in access.urls]
        self._fleet = Fleet(urls, max_connections)
        self._max_connections = max_connections
        self._timeout = timeout
        self._max_attempts = max_attempts
        self._connection: Connection | None = None
        self._given_up = 0  # requests in a row
        self._unsaid: list[str] = []
        self._starts_thinking = False  # as the answers show so far
        self.notes: list[str] = []

    @classmethod
    def make(cls, model: str, decoding: Decoding, options: EngineOptions) -> Self:
        """As `make_engine`."""
        return cls(
            model,
            decoding,
            base_urls=options.base_urls,
            headers=options.headers,
            query=options.query,
            max_connections=options.max_connections,
            timeout=options.timeout,
            judge=options.judge,
        )

    @property
    def address(self) -> str:
        """The endpoints, without what came by `query`."""
        return self._address

    def rendered(self, messages: list[Message]) -> str | None:  # noqa: ARG002
        """None: the endpoint renders the prompt out of sight."""
        return None

    async def answer(self, requests: Iterator[Request], settle: Callable[[Response], None]) -> None:
        """Answer all requests; see `Engine.answer`.

        One request goes ahead of all others until an endpoint has answered once, so that a wrong
        key or a wrong URL costs no storm of requests.

        Raises:
            AuthenticationError, ModelNotFound, Unreachable, RequestRejected, EngineError: no
                endpoint answers any request; nothing more is sent.
        """
        idle: set[asyncio.Task[Any]] = set()

        async def work() -> None:
            own = asyncio.current_task()
            assert own is not None
            while True:
                idle.add(own)
                endpoint = await self._fleet.admit()
                idle.discard(own)
                request = next(requests, None)
                if request is None:
                    self._fleet.release(endpoint)
                    for task in idle:
                        task.cancel()
                    return
                settle(await self._ask(request, endpoint))

        workers = self._max_connections * len(self._fleet.endpoints)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(work())
        except BaseExceptionGroup as errors:
            raise self._with_all_faults(errors.exceptions[0]) from None

    async def close(self) -> None:
        """Close all connections."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    # One request

    async def _ask(self, request: Request, endpoint: Endpoint) -> Response:
        """Ask until the request is settled or its attempts are used up; gives its place back."""
        asked = _Asked(request)
        while True:
            try:
                response = await self._try(asked, endpoint)
            finally:
                self._fleet.release(endpoint)
            if response is not None:
                return response
            # Where there are several endpoints, the others are tried at once.
            steps = asked.attempts - len(self._fleet.endpoints)
            if asked.backs_off and steps >= 0:
                await asyncio.sleep(backoff(steps))
            endpoint = await self._fleet.admit(again=True, avoid=endpoint)

    async def _try(self, asked: _Asked, endpoint: Endpoint) -> Response | None:
        """One attempt and what follows from it; None if the request is to be sent again."""
        sent, wire, asked.backs_off = time.monotonic(), self._wire, False
        outcome = await self._attempt(endpoint, wire, asked.request)
        if isinstance(outcome, Completion):
            endpoint.has_answered(sent)
            self._given_up = 0
            if self._unsaid:
                self._say()
            return self._answered(asked, endpoint, outcome)
        asked.failures.append(outcome.failure)
        action = action_for(outcome.fault, wire)
        if action in ("stop", "adapt", "wait"):
            self._act(action, endpoint, wire, outcome)
            return None
        asked.attempts += 1
        if action == "ask once more":
            asked.empty += 1
            return asked.settled("blocked", outcome) if asked.empty == 2 else None
        if action in ("probe", "block"):
            return await self._settle_if_alone(asked, endpoint, outcome, sent, action)
        asked.backs_off = True
        if asked.attempts == _FIRST_CONTACT and outcome.fault.kind not in ("network", "foreign"):
            await self._greet(endpoint, unless=endpoint.heard)
        return await self._failed(asked, endpoint, outcome)

    async def _settle_if_alone(
        self, asked: _Asked, endpoint: Endpoint, outcome: Refusal, sent: float, action: str
    ) -> Response | None:
        """What follows if the endpoint refuses this request, by whether it refuses all.

        It refuses this one alone if it has answered one that was sent after it. Where none is
        known, a harmless one is sent.
        """
        known = endpoint.heard if action == "block" else endpoint.answered_at >= sent
        if not known and not await self._answers_hello(endpoint, sent):
            # Either it is dropped, and the others are asked, or it could not be found out now.
            return None if endpoint.fault else asked.unsettled()
        status = outcome.fault.status
        if action == "block" or status in _OF_THE_QUESTION:
            return asked.settled("blocked", outcome)
        if (status in _OF_THE_MOMENT or status < 400) and asked.attempts < self._max_attempts:
            asked.backs_off = True
            return None
        return asked.settled("rejected", outcome)

    async def _answers_hello(self, endpoint: Endpoint, sent: float) -> bool:
        """Whether the endpoint answers a harmless request; it is dropped if it refuses even that.

        Args:
            sent: when the request was sent that it refused.
        """
        attempts = 0
        async with endpoint.probing:
            while not endpoint.fault and endpoint.answered_at < sent:
                if attempts == self._max_attempts:
                    return False
                await asyncio.sleep(max(0.0, endpoint.resume_at - time.monotonic()))
                begun, wire = time.monotonic(), self._wire
                outcome = await self._attempt(endpoint, wire, _HELLO)
                if isinstance(outcome, Completion):
                    endpoint.has_answered(begun)
                    continue
                action = action_for(outcome.fault, wire)
                if action in ("probe", "block"):
                    self._drop(endpoint, self._messages.refuses_all(endpoint, outcome, wire))
                elif action in ("stop", "adapt", "wait"):
                    self._act(action, endpoint, wire, outcome)
                else:
                    await asyncio.sleep(backoff(attempts))
                    attempts += 1
        return endpoint.fault is None

    async def _greet(self, endpoint: Endpoint, *, unless: bool = False) -> None:
        """See whether an endpoint that fails at its questions answers a harmless one, once."""
        began = time.monotonic()
        async with endpoint.probing:
            if not unless and endpoint.answered_at < began:
                sent = time.monotonic()
                if isinstance(await self._attempt(endpoint, self._wire, _HELLO), Completion):
                    endpoint.has_answered(sent)
                    self._given_up = 0

    async def _attempt(
        self, endpoint: Endpoint, wire: Wire, request: Request
    ) -> Completion | Refusal:
        """One POST: the answer, or why there is none."""
        body = wire.body_of(request, self._access.seed_of(request, wire))
        for _ in range(_MOST_REDIRECTS):
            reply = await self._open().post(endpoint.url, self._headers, body)
            if isinstance(reply, str):
                return self._messages.refusal(Fault(0, reply, kind="network"))
            if 200 <= reply.status < 300:
                outcome = wire.parse(reply.raw)
                return (
                    outcome if isinstance(outcome, Completion) else self._messages.refusal(outcome)
                )
            if not 300 <= reply.status < 400:
                return self._messages.refusal(fault_of(reply.status, reply.raw), reply.headers)
            location = reply.headers.get("location", "")
            if not location:
                return self._messages.refusal(fault_of(reply.status, reply.raw))
            host, target = _redirected(endpoint.url, location)
            if not target:
                return self._messages.refusal(Fault(reply.status, self._messages.leads_away(host)))
            endpoint.url = target
        return self._messages.refusal(Fault(310, "redirects without end"))

    def _answered(self, asked: _Asked, endpoint: Endpoint, answer: Completion) -> Response:
        name = self._messages.name
        if asked.request.choices:
            if not answer.first_tokens and answer.outcome != "blocked":
                self._note_once(self._messages.gives_no_logprobs(endpoint))
            answer.choose(asked.request.choices)
        self._starts_thinking |= answer.starts_thinking
        if self._starts_thinking:
            answer.take_as_thought()
        return Response(
            asked.request,
            text=answer.text,
            thought=answer.thought,
            outcome=answer.outcome,
            error=name(answer.error),
            finish=name(answer.finish),
            served=name(answer.served),
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            seconds=time.monotonic() - asked.started,
            failures=asked.failures,
        )

    # What concerns more than one request

    def _act(self, action: str, endpoint: Endpoint, wire: Wire, outcome: Refusal) -> None:
        if action == "adapt":
            self._leave_out(endpoint, refused_settings(outcome.fault, wire), outcome)
        elif action == "wait":
            self._wait(endpoint, outcome)
        else:
            self._drop(endpoint, self._messages.no_credit(endpoint, outcome))

    def _leave_out(self, endpoint: Endpoint, settings: frozenset[str], outcome: Refusal) -> None:
        """Send these settings no more, and say so; another request may have learned it already."""
        settings = frozenset(name for name in settings if self._wire.sends(name))
        if not settings:
            return
        if "logprobs" in settings:
            self._drop(endpoint, self._messages.refuses_logprobs(endpoint, outcome))
            return
        self._wire = self._wire.without(settings)
        self._headers = self._access.headers(self._wire)
        if told := sorted(settings - {"max_tokens", "top_logprobs"}):
            self._note_once(self._messages.left_out(endpoint, told, outcome))

    def _note_once(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)
            _log.warning(note)

    def _wait(self, endpoint: Endpoint, outcome: Refusal) -> None:
        seconds = endpoint.overloaded(outcome.pause)
        if seconds >= _LONG_WAIT and endpoint.resume_at > endpoint.said_until + 1:
            # A wait that the endpoint did not ask for comes again and again.
            again = time.monotonic() + _SAID_AGAIN
            endpoint.said_until = endpoint.resume_at if outcome.pause else again
            _log.warning(self._messages.waits(endpoint, seconds, outcome))

    def _drop(self, endpoint: Endpoint, error: EngineError) -> None:
        """Never ask an endpoint again, and go on with the others.

        Raises:
            EngineError: the given one; there is no other left.
        """
        if endpoint.fault is None:
            endpoint.fault = error
            left = self._fleet.left()
            if not left:
                raise error
            if not any(other.heard for other in left):  # no use in waiting for better ones
                for other in left:
                    other.resume_at = 0.0 if other.is_named else other.resume_at
            self._say(f"{error}; the other endpoints are used")

    async def _failed(self, asked: _Asked, endpoint: Endpoint, outcome: Refusal) -> Response | None:
        """What is transient: it is tried again until the attempts are used up."""
        reached = outcome.fault.kind != "network"
        endpoint.has_failed(reached=reached)
        if outcome.pause:
            self._wait(endpoint, outcome)
        if not outcome.fault.status and not endpoint.heard:
            if outcome.fault.kind == "foreign":
                self._drop(endpoint, self._messages.misread(endpoint, outcome, self._wire))
                return None
            in_vain = asked.attempts if reached else endpoint.unreached
            if in_vain >= _FIRST_CONTACT and outcome.fault.kind != "failed":
                self._name_as_dead(endpoint, outcome)
        if asked.attempts < self._max_attempts:
            return None
        if not any(e.heard for e in self._fleet.endpoints):
            raise self._messages.unreachable(endpoint, outcome)
        self._given_up += 1
        if self._given_up >= self._max_connections:
            await self._greet(endpoint)
        if self._given_up >= self._max_connections:
            raise self._messages.has_stopped(endpoint, outcome)
        return asked.unsettled()

    def _name_as_dead(self, endpoint: Endpoint, outcome: Refusal) -> None:
        """An endpoint has never answered: it rests for long if there are others.

        Raises:
            Unreachable: none of them has answered, either.
        """
        others = [e for e in self._fleet.left() if e is not endpoint]
        if all(not e.heard and e.unreached >= _FIRST_CONTACT for e in others):
            raise self._messages.unreachable(endpoint, outcome)
        endpoint.resume_at = max(endpoint.resume_at, time.monotonic() + _REST_OF_THE_DEAD)
        if not endpoint.is_named:
            endpoint.is_named = True
            self._say(self._messages.is_silent(endpoint, outcome))

    def _with_all_faults(self, error: BaseException) -> BaseException:
        """The error that ends the run; if no endpoint has answered, with those of the others."""
        faults = [e.fault for e in self._fleet.endpoints if e.fault not in (None, error)]
        if not isinstance(error, EngineError) or any(e.heard for e in self._fleet.endpoints):
            return error
        return type(error)("; ".join(map(str, [error, *faults])))

    def _say(self, told: str = "") -> None:
        """Name an endpoint that is not used; not before another has answered, or it is an error."""
        if told:
            self._unsaid.append(told)
        if any(endpoint.heard for endpoint in self._fleet.endpoints):
            for told in self._unsaid:
                _log.warning(told)
            self._unsaid.clear()

    # Setting up

    def _open(self) -> Connection:
        if self._connection is None:
            from evenhand.engines.connection import Connection  # aiohttp takes a third of a second

            self._connection = Connection(self._timeout, self._access.redact)
        return self._connection


class OwnServer(HTTPEngine):
    """A server on the user's own machine, such as Ollama's: asked alike, and it costs nothing."""

    is_paid = False


class OtherFormat(HTTPEngine):
    """A provider with a format of its own."""

    gives_logprobs = False
    takes_response_format = False


_MOST_REDIRECTS = 5
_OF_THE_QUESTION = frozenset({403, 451})
"""Refused though a harmless request is answered: a filter before the model, as of a gateway."""
_OF_THE_MOMENT = frozenset({401, 402, 404, 405, 407})
"""Refused though a harmless request is answered: one server of several may be set up wrongly."""


@dataclass(slots=True)
class _Asked:
    """A request on its way.

    Attributes:
        failures: all attempts so far that brought no answer.
        attempts: those that count.
        empty: replies without an answer in them.
        backs_off: whether to wait before the next attempt.
    """

    request: Request
    failures: list[Failure] = field(default_factory=list)
    attempts: int = 0
    empty: int = 0
    backs_off: bool = False
    started: float = field(default_factory=time.monotonic)

    def settled(self, outcome: Outcome, refusal: Refusal) -> Response:
        """Refused for good by the attempt that came last."""
        status = refusal.fault.status
        return Response(
            self.request,
            None,
            outcome=outcome,
            error=refusal.failure.error,
            finish=f"HTTP {status}" if status else "",
            seconds=time.monotonic() - self.started,
            failures=self.failures[:-1],
        )

    def unsettled(self) -> Response:
        """All attempts failed: the cell stays open for the next run."""
        seconds = time.monotonic() - self.started
        return Response(self.request, None, seconds=seconds, failures=self.failures)


def _redirected(url: str, location: str) -> tuple[str, str]:
    """The host of a redirect, and its URL; an empty one if it leads away from the host.

    Args:
        location: where it leads, not empty.

    Going from http to https on the same host is as good as staying.
    """
    try:
        target = urljoin(url, location)
        old, new = urlsplit(url), urlsplit(target)
        same = old.hostname == new.hostname and "@" not in new.netloc
        if (old.scheme, new.scheme) != ("http", "https"):
            same = same and (old.scheme, old.port) == (new.scheme, new.port)
    except ValueError:  # no such port, or no URL at all
        return "a malformed URL", ""
    return new.netloc.rpartition("@")[2], target if same else ""
