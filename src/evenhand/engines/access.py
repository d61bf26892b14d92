"""Who is asked, with which key, and what is said of them: shared by every way of asking over HTTP.

What is said of an endpoint (failures to store, errors to raise, notes) holds no keys.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from importlib import import_module
from urllib.parse import urlencode, urlsplit

import orjson

from evenhand.engines.engine import Failure
from evenhand.engines.rules import pause_of
from evenhand.engines.secrets import Redactor, proxy_passwords
from evenhand.engines.services import JUDGE_KEY, Service, known_keys, services
from evenhand.engines.throttle import Endpoint
from evenhand.engines.wire import Fault, Wire, is_secret_name
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
from evenhand.text import one_line

# What is said of an endpoint

_MOST_OF_A_MESSAGE = 65_536
_OF_THE_KEY = re.compile(
    r"\b(?:invalid|incorrect|expired|missing|wrong|unknown|no).{0,20}(?:api.?key|access.?token|credential)"
    r"|(?:api.?key|access.?token|credentials?).{0,30}(?:invalid|incorrect|expired|missing|required"
    r"|n[o']t (?:\w+ )?(?:valid|found|provided|correct))|unauthori[sz]ed|authentication.{0,20}fail",
    re.IGNORECASE,
)
"""Some say with HTTP 400 or 500 that the key is wrong."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A fault, ready to be shown and stored: without keys, on one line.

    Attributes:
        fault: the endpoint's own words, redacted.
        failure: what is stored of the attempt.
        pause: seconds that the endpoint asks to wait; 0 if it does not say.
    """

    fault: Fault
    failure: Failure
    pause: float = 0.0


class Messages:
    """Makes every text that an endpoint has a part in.

    Args:
        redact: takes out keys, and all values of headers and query.
        hide_keys: takes out keys alone, for names that may well stand in a header, too.
        flag: the option that names the endpoint.
        key_name: the variable that holds its key.
    """

    def __init__(self, redact: Redactor, hide_keys: Redactor, flag: str, key_name: str) -> None:
        self._redact = redact
        self._hide_keys = hide_keys
        self._flag = flag
        self._key_name = key_name
        self._names: dict[str, str] = {}

    def refusal(self, fault: Fault, headers: Mapping[str, str] | None = None) -> Refusal:
        """A fault without keys: the one place where they are taken out of what a server says."""
        message = self._redact(fault.message[:_MOST_OF_A_MESSAGE])
        words = self._redact(fault.words[:_MOST_OF_A_MESSAGE])
        shown = one_line(message) or _phrase(fault.status)
        if fault.status:
            shown = f"HTTP {fault.status}: {shown}"
        return Refusal(
            Fault(fault.status, message, words, fault.kind),
            Failure(fault.status, shown),
            pause_of(headers or {}, f"{message} {words}"),
        )

    def name(self, text: str) -> str:
        """A name that the endpoint gives, on one line and without keys; they are few."""
        name = self._names.get(text)
        if name is None:
            if len(self._names) > 1000:
                self._names.clear()
            name = self._names[text] = one_line(self._hide_keys(text))
        return name

    def where(self, endpoint: Endpoint) -> str:
        """Its URL without the query, which may hold a key."""
        return self._redact(endpoint.url.partition("?")[0])

    def leads_away(self, host: str) -> str:
        """Of a redirect that is not followed."""
        return f"redirects to {host}, where prompts are not sent; name it with {self._flag}"

    def left_out(self, endpoint: Endpoint, settings: list[str], refusal: Refusal) -> str:
        """Of settings that are sent no more."""
        return (
            f"{self.where(endpoint)} does not take {' and '.join(settings)}, which "
            f"{'is' if len(settings) == 1 else 'are'} left out ({refusal.failure.error})"
        )

    def gives_no_logprobs(self, endpoint: Endpoint) -> str:
        """Of a reply without the probabilities that were asked for."""
        return (
            f"{self.where(endpoint)} gives no log-probabilities (top_logprobs): such answers are "
            "missing; ask without --choice logprob, in a new folder"
        )

    def refuses_logprobs(self, endpoint: Endpoint, refusal: Refusal) -> EngineError:
        """Of an endpoint that takes no request with them."""
        return EngineError(
            f"{self.where(endpoint)} gives no log-probabilities ({refusal.failure.error}); ask "
            "without --choice logprob, in a new folder"
        )

    def waits(self, endpoint: Endpoint, seconds: float, refusal: Refusal) -> str:
        """Of a rate limit."""
        return (
            f"{self.where(endpoint)}: rate limit; waiting until {_clock(seconds)} "
            f"({refusal.failure.error})"
        )

    def is_silent(self, endpoint: Endpoint, refusal: Refusal) -> str:
        """Of one of several endpoints that has never answered."""
        return (
            f"{self.where(endpoint)} does not answer ({refusal.failure.error}); it is tried again "
            "later, and the other endpoints are used"
        )

    def unreachable(self, endpoint: Endpoint, refusal: Refusal) -> Unreachable:
        """No endpoint has ever answered."""
        return Unreachable(
            f"{self.where(endpoint)} does not answer ({refusal.failure.error}); is it up, and "
            f"{self._flag} right?"
        )

    def has_stopped(self, endpoint: Endpoint, refusal: Refusal) -> Unreachable:
        """It has answered, and does so no more."""
        return Unreachable(
            f"{self.where(endpoint)} has stopped answering ({refusal.failure.error}); run again "
            "to resume"
        )

    def no_credit(self, endpoint: Endpoint, refusal: Refusal) -> EngineError:
        """The account cannot pay."""
        return EngineError(
            f"{self.where(endpoint)}: the account has no credit left ({refusal.failure.error})"
        )

    def misread(self, endpoint: Endpoint, refusal: Refusal, wire: Wire) -> EngineError:
        """A reply in another format, or a redirect to another host."""
        told = one_line(refusal.fault.message)
        return EngineError(f"{self.where(endpoint)}: {told}{self._hint(endpoint, wire)}")

    def refuses_all(self, endpoint: Endpoint, refusal: Refusal, wire: Wire) -> EngineError:
        """An endpoint refuses even a harmless request."""
        where, why = self.where(endpoint), refusal.failure.error
        status = refusal.fault.status
        if status == 407:
            return EngineError(f"{where}: the proxy of the environment refuses ({why})")
        if status in (401, 403) or _OF_THE_KEY.search(refusal.fault.message):
            return AuthenticationError(f"{where} refuses the key ({why}); check {self._key_name}")
        if 300 <= status < 400 and refusal.fault.message.startswith("redirects"):
            return self.misread(endpoint, refusal, wire)
        if status == 402:
            return self.no_credit(endpoint, refusal)
        if status in (404, 405):
            return ModelNotFound(
                f"{where} has no model {wire.model!r}, or the URL is wrong ({why})"
                + self._hint(endpoint, wire)
            )
        return RequestRejected(f"{where} rejects every request ({why})")

    def _hint(self, endpoint: Endpoint, wire: Wire) -> str:
        """The commonest mistake in a base URL: the version is left out."""
        base = self.where(endpoint).removesuffix(wire.path)
        if wire.name != "openai" or "/v" in urlsplit(base).path:
            return ""
        return f"; did you mean {self._flag} {base}/v1?"


def _clock(seconds: float) -> str:
    """The moment in so many seconds, with the day if it is not today."""
    now = datetime.now()
    moment = now + timedelta(seconds=seconds)
    return moment.strftime("%H:%M:%S" if moment.date() == now.date() else "%Y-%m-%d %H:%M")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no reason given"


# The way to a model

_WIRES = {
    "openai": "evenhand.engines.providers:OpenAIWire",
    "anthropic": "evenhand.engines.providers:AnthropicWire",
    "gemini": "evenhand.engines.providers:GeminiWire",
}
_HEADER_NAME = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)


class Access:
    """The way to a model: its service, URLs, key and wire, and texts without keys.

    Args:
        model: SERVICE/MODEL, as "openai/gpt-4o".
        decoding: how the model picks its words.
        base_urls: URLs up to and with the version; the service's own if there is none.
        headers: further headers; their values are stored nowhere.
        query: further fields of the URL; their values are stored nowhere.
        judge: a judge is asked, whose key may be another, in EVENHAND_JUDGE_API_KEY.
        needs_key: False where nothing is sent, so that no key is needed.

    Raises:
        UsageError: there is no key for a service that needs one, a URL is malformed, or a key
            stands where it would be stored.
    """

    def __init__(
        self,
        model: str,
        decoding: Decoding,
        *,
        base_urls: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        judge: bool = False,
        needs_key: bool = True,
    ) -> None:
        name, _, served_name = model.partition("/")
        self.service = service = services()[name]
        flag = "--judge-base-url" if judge else "--base-url"
        self.urls = list(base_urls) or (service.base_urls() if needs_key else [])
        own = {"authorization", "api-key", "x-api-key"} & {h.lower() for h in headers or {}}
        key_name, key = _key_of(service, judge=judge)
        is_local = own or service.own_server or service.base_url not in self.urls
        if needs_key and not key and not is_local:
            raise UsageError(
                f"no API key{' for the judge' if judge else ''}: set {key_name}, or name a "
                f"local endpoint with {flag}"
            )
        self.decoding = decoding
        self._key = key
        self._further_headers = dict(headers or {})
        self._query = urlencode(query or {})
        sent = [*self._further_headers.items(), *(query or {}).items()]
        keys = [key, *known_keys(), *(value for name, value in sent if is_secret_name(name))]
        self._hide_keys = Redactor(keys)
        values = [*(value for _, value in sent), *proxy_passwords()]
        self.redact = Redactor([*keys, *values], keys)
        self.messages = Messages(self.redact, self._hide_keys, flag, key_name)
        for header, value in self._further_headers.items():
            if not _HEADER_NAME.fullmatch(header) or not value.isprintable():
                named = one_line(self.redact(header))
                raise UsageError(f"--header {named}: no such header can be sent")
        self._refuse_stored_keys([model, *self.urls])
        self.wire = _wire_of(service, served_name, decoding)
        self.address = " ".join(self.wire.url(url) for url in self.urls)

    def headers(self, wire: Wire) -> dict[str, str]:
        """Headers of every request."""
        return wire.headers(self._key) | self._further_headers

    def with_query(self, url: str) -> str:
        """A URL with the further fields."""
        if not self._query:
            return url
        return f"{url}{'&' if '?' in url else '?'}{self._query}"

    def seed_of(self, request: Request, wire: Wire) -> int | None:
        """The seed of a request.

        Without a seed of the study, it is drawn from the cell, so that a gateway with a cache
        never gives one answer for several samples.
        """
        if not wire.sends("seed"):
            return None
        if self.decoding.seed is not None:
            return self.decoding.seed + request.sample
        if request.sample or self.decoding.temperature != 0:
            return int.from_bytes(request.key[:4]) >> 1
        return None

    def _refuse_stored_keys(self, texts: Sequence[str]) -> None:
        """No key may stand where the run folder would keep it.

        Raises:
            UsageError: one does.
        """
        extra = orjson.dumps([self.decoding.extra, self.decoding.stop]).decode()
        if self._hide_keys.found_in(extra):
            raise UsageError(
                "--extra or --stop holds a key, and would be stored with the run; give headers "
                "with --header, which stores no value"
            )
        if any(self._hide_keys.found_in(text) for text in texts):
            raise UsageError("the name of the model or the base URL holds a key; take it out")


def _key_of(service: Service, *, judge: bool) -> tuple[str, str]:
    """The name of the variable that holds the key, and the key.

    Raises:
        UsageError: it cannot be a key.
    """
    own = judge and os.environ.get(JUDGE_KEY, "").strip()
    name = JUDGE_KEY if own else service.key
    key = os.environ.get(name, "").strip()
    if not key and name == "GEMINI_API_KEY":
        key = os.environ.get("GOOGLE_API_KEY", "").strip()
    if not key.isprintable() or " " in key:
        raise UsageError(f"{name} contains a space or a line break; it is not one key")
    return name, key


def _wire_of(service: Service, model: str, decoding: Decoding) -> Wire:
    module, _, name = _WIRES[service.wire].partition(":")
    wire: Wire = getattr(import_module(module), name)(model, decoding, service)
    return wire
