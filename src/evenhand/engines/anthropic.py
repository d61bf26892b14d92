"""The wire of Anthropic's Messages API.

Source: the types of the `anthropic` package, `MessageCreateParams` and `Message`, and the API's
version history. Version 2026-10-21 has no sampling parameters any more and takes the key as a
bearer token. The version before still has them, for models that take them; it is used as long as
the decoding sets one of them and the model does not refuse it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from evenhand.engines.parts import read_parts
from evenhand.engines.wire import Completion, Fault, Wire, completion, count_of, mapping
from evenhand.study.cue import Message

VERSION = "2026-10-21"
VERSION_WITH_SAMPLING = "2023-06-01"
_SAMPLING = ("temperature", "top_p", "top_k")


class AnthropicWire(Wire):
    """POST BASE/messages."""

    name = "anthropic"
    path = "/messages"
    answers_in = ("content", "stop_reason")
    optional = ("temperature", "top_k", "top_p", "stop")

    def url(self, base_url: str) -> str:
        """As of `Wire`; Anthropic's own tools write the base URL without its /v1."""
        base = base_url.strip().rstrip("/")
        if "?" not in base and not base.endswith(("/v1", self.path)):
            base += "/v1"
        return super().url(base)

    def headers(self, key: str) -> dict[str, str]:
        """The key and the version of the API."""
        if any(name in self._fields for name in _SAMPLING):
            named = {"x-api-key": key} if key else {}
            return {"anthropic-version": VERSION_WITH_SAMPLING, **named}
        named = {"Authorization": f"Bearer {key}"} if key else {}
        return {"anthropic-version": VERSION, **named}

    def fields(self) -> dict[str, Any]:
        """Of the body."""
        body: dict[str, Any] = {"model": self.model, "max_tokens": self.decoding.max_tokens}
        for name in _SAMPLING:
            if self.sends(name):
                body[name] = getattr(self.decoding, name)
        if self.sends("stop"):
            body["stop_sequences"] = list(self.decoding.stop)
        return body | self.decoding.extra

    def body(self, messages: Sequence[Message], seed: int | None) -> bytes:  # noqa: ARG002
        """The body of a request; the system message stands apart, and there is no seed."""
        system = "\n\n".join(m["content"] for m in messages if m["role"] == "system")
        body = {**self._fields, "messages": [m for m in messages if m["role"] != "system"]}
        if system:
            body["system"] = system
        return orjson.dumps(body)

    def read(self, reply: dict[str, Any]) -> Completion | Fault:
        """The text and thinking blocks."""
        text, thought, refusal = read_parts(reply.get("content"))
        usage = mapping(reply.get("usage"))
        cached = ("cache_creation_input_tokens", "cache_read_input_tokens")
        prompt_tokens = sum(count_of(usage.get(name)) for name in ("input_tokens", *cached))
        finish = reply.get("stop_reason")
        why = mapping(reply.get("stop_details")).get("explanation") or ""
        return completion(
            text,
            finish,
            thought=thought,
            refusal=refusal,
            why=f"blocked by the provider ({finish}): {why}" if why else "",
            served=reply.get("model"),
            prompt_tokens=prompt_tokens,
            completion_tokens=usage.get("output_tokens"),
        )
