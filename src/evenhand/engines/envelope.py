"""Files of many requests and their results: OpenAI's, Anthropic's and Gemini's forms.

The bodies are the wire's, and so is the reading of replies; an envelope adds the id of each
request, and reads what a line of results says beside the reply: expired, failed, refused.

Source: the types of the packages `openai` (batch), `anthropic` (messages.batches) and
`google-genai` (batches); the form of OpenAI is also that of Azure, Together and `vllm run-batch`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import orjson

from evenhand.engines.wire import Completion, Fault, Wire, fault_of, loads, mapping, status_of


class Envelope(ABC):
    """The form of one provider's batch files.

    Attributes:
        begin, between, end: what stands before, between and after the requests of a file.
        suffix: of a file of requests.
        id_field: what holds the id of a request and of its result.
        request_field: what holds the body of a request.
    """

    begin: ClassVar[bytes] = b""
    between: ClassVar[bytes] = b"\n"
    end: ClassVar[bytes] = b"\n"
    suffix: ClassVar[str] = ".jsonl"
    id_field: ClassVar[str] = "custom_id"
    request_field: ClassVar[str]

    @abstractmethod
    def request(self, name: str, body: bytes) -> bytes:
        """A request as it stands in a file, from its id and the body that the wire has written."""

    @abstractmethod
    def _read(self, row: dict[str, Any], wire: Wire) -> Completion | Fault:
        """What a line of results says; its id is known."""

    def result(self, line: bytes, wire: Wire) -> tuple[str, Completion | Fault] | None:
        """The id and the outcome of a line of results; None where it has no id, or is a request."""
        try:
            row = loads(line)
            name = row[self.id_field]
        except (ValueError, RecursionError, KeyError, TypeError, IndexError):
            return None
        if not isinstance(name, str) or not isinstance(row, dict):
            return None
        if self.request_field in row and not row.keys() & _OUTCOMES:
            return None
        return name, self._read(row, wire)


_OUTCOMES = {"response", "error", "result", "status"}
"""Fields that a line of results has, whether its request went well or not."""


class _OpenAIEnvelope(Envelope):
    request_field = "body"

    def request(self, name: str, body: bytes) -> bytes:
        return b'{"custom_id":"%s","method":"POST","url":"/v1/chat/completions","body":%s}' % (
            name.encode(),
            body,
        )

    def _read(self, row: dict[str, Any], wire: Wire) -> Completion | Fault:
        response = mapping(row.get("response"))
        body = response.get("body")
        if body is None and "choices" in response:  # some versions leave the wrapping out
            return wire.parse_loaded(response)
        status = response.get("status_code", 200)
        if body is not None and status == 200:
            return wire.parse_loaded(body)
        if body is not None and isinstance(status, int):
            return fault_of(status, orjson.dumps(body))
        return _fault_in(row.get("error") or response.get("error"))


class _AnthropicEnvelope(Envelope):
    begin = b'{"requests":[\n'
    between = b",\n"
    end = b"\n]}\n"
    suffix = ".json"
    request_field = "params"

    def request(self, name: str, body: bytes) -> bytes:
        return b'{"custom_id":"%s","params":%s}' % (name.encode(), body)

    def _read(self, row: dict[str, Any], wire: Wire) -> Completion | Fault:
        result = mapping(row.get("result"))
        kind = result.get("type")
        if kind == "succeeded":
            return wire.parse_loaded(result.get("message"))
        if kind in ("expired", "canceled"):
            return Fault(0, f"the request has {kind}" if kind == "expired" else "canceled")
        outer = mapping(result.get("error"))
        return _fault_in(outer.get("error") or outer)


class _GeminiEnvelope(Envelope):
    id_field = "key"
    request_field = "request"

    def request(self, name: str, body: bytes) -> bytes:
        return b'{"key":"%s","request":%s}' % (name.encode(), body)

    def _read(self, row: dict[str, Any], wire: Wire) -> Completion | Fault:
        if row.get("response") is not None:
            return wire.parse_loaded(row["response"])
        error = mapping(row.get("error") or row.get("status"))
        code = error.get("code")
        if isinstance(code, int) and code in _HTTP_OF_GRPC:
            error = {**error, "code": _HTTP_OF_GRPC[code]}
        return _fault_in(error)


_HTTP_OF_GRPC = {
    1: 499, 3: 400, 4: 504, 5: 404, 7: 403, 8: 429, 9: 400, 11: 400, 12: 501, 13: 500, 14: 503,
    16: 401,
}  # fmt: skip
"""Source: google/rpc/code.proto."""

ENVELOPES: dict[str, Envelope] = {
    "openai": _OpenAIEnvelope(),
    "anthropic": _AnthropicEnvelope(),
    "gemini": _GeminiEnvelope(),
}
"""By the name of the wire."""


def _fault_in(error: Any) -> Fault:
    """An error that stands in a line in the reply's place."""
    if not error:
        return Fault(0, "the line holds neither a reply nor an error")
    return fault_of(status_of(error), orjson.dumps({"error": error}))
