"""Who is asked, and with which key: what every way of asking a service over HTTP begins with."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from urllib.parse import urlencode

import orjson

from evenhand.engines.messages import Messages
from evenhand.engines.secrets import Redactor, proxy_passwords
from evenhand.engines.services import JUDGE_KEY, Service, known_keys, services
from evenhand.engines.wire import Wire, is_secret_name
from evenhand.errors import UsageError
from evenhand.study.decoding import Decoding
from evenhand.study.plan import Request
from evenhand.text import one_line

_WIRES = {
    "openai": "evenhand.engines.openai:OpenAIWire",
    "anthropic": "evenhand.engines.anthropic:AnthropicWire",
    "gemini": "evenhand.engines.gemini:GeminiWire",
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
