"""What goes over the wire to a chat endpoint, and what comes back, however odd."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson

from evenhand.engines.secrets import decoded
from evenhand.errors import UsageError
from evenhand.study.decoding import Decoding
from evenhand.text import one_line

_MOST_TOKENS = 2**31
"""More than any conversation has; a larger count is a mistake of the endpoint."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What an endpoint answered.

    Attributes:
        text: the answer; empty if it holds none.
        finish: why it ended: "stop", "length", ...
        prompt_tokens, completion_tokens: as counted by the endpoint; 0 if unknown.
    """

    text: str
    finish: str
    prompt_tokens: int
    completion_tokens: int


def chat_url(base_url: str) -> str:
    """The URL to post to, for a base URL up to and with "/v1".

    Raises:
        UsageError: it is no URL, or holds a user, a key or a query.
    """
    url = base_url.strip().rstrip("/")
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # no such port
        whole = False
    if "@" in url or "?" in url:
        raise UsageError("a base URL holds no user, key or query; the key is OPENAI_API_KEY's")
    if not whole or not url.isprintable() or " " in url or ".." in url:
        shown = one_line(base_url)
        raise UsageError(f'"{shown}" is no URL; write it like http://127.0.0.1:8000/v1')
    return url if url.endswith("/chat/completions") else f"{url}/chat/completions"


def body_of(model: str, decoding: Decoding) -> dict[str, Any]:
    """The request's body, without messages and seed."""
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


def parse(raw: bytes) -> Completion | str:
    """The completion in a reply with status 200, or what is wrong with it."""
    try:
        answer = _loads(raw)
        if "error" in answer and "choices" not in answer:
            return message_of(raw)
        choice = answer["choices"][0]
        message = choice["message"]
        message["role"]  # a whole completion has at least this
    except (ValueError, LookupError, TypeError):
        return "the answer is not a whole JSON completion"
    usage = answer.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    finish = choice.get("finish_reason")
    return Completion(
        text=_text(message.get("content")) or _text(message.get("refusal")),
        finish=finish if isinstance(finish, str) else "",
        prompt_tokens=_count(counts.get("prompt_tokens")),
        completion_tokens=_count(counts.get("completion_tokens")),
    )


def _loads(raw: bytes) -> Any:
    """JSON that may hold half characters, which no disk takes: they are replaced."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        loaded = json.loads(raw)
        return json.loads(json.dumps(loaded, ensure_ascii=False).encode("utf-8", "replace"))


def _text(content: Any) -> str:
    """The text; some gateways give it in parts."""
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return str(content or "")


def _count(value: Any) -> int:
    return value if isinstance(value, int) and 0 <= value < _MOST_TOKENS else 0


def message_of(raw: bytes) -> str:
    """The endpoint's own words on what is wrong, whole; redact them, then make them one line."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return decoded(raw)
    error = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(error, dict):
        parts = [str(error[k]) for k in ("message", "code", "detail") if error.get(k)]
        return " / ".join(parts) or str(error)
    return str(error)


def network_error(error: Exception) -> str:
    """What went wrong on the way, whole; redact it, then make it one line."""
    if isinstance(error, aiohttp.ClientSSLError):
        return "the server's certificate is not trusted, or it does not speak TLS"
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.errno or 0  # below 0 where a name cannot be resolved
        return os.strerror(number) if number > 0 else str(error.os_error)
    return str(error) or type(error).__name__


def retry_after(header: str) -> float:
    """Seconds of a Retry-After header, which holds seconds or a date; 0 if it says nothing."""
    try:
        return max(0.0, min(float(header), 600.0))
    except ValueError:
        pass
    try:
        return max(0.0, min(parsedate_to_datetime(header).timestamp() - time.time(), 600.0))
    except (TypeError, ValueError):
        return 0.0
