"""The wire of Gemini's generateContent.

Source: the types of the `google-genai` package, `GenerateContentConfig` and
`GenerateContentResponse`, and how it writes them for the Gemini API.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar
from urllib.parse import quote

import orjson

from evenhand.engines.parts import read_parts
from evenhand.engines.wire import (
    Completion,
    Fault,
    Wire,
    checked_url,
    completion,
    count_of,
    mapping,
)
from evenhand.study.cue import Message

_NAMES = {"temperature": "temperature", "top_p": "topP", "top_k": "topK"}


class GeminiWire(Wire):
    """POST BASE/models/MODEL:generateContent."""

    name = "gemini"
    path: ClassVar[str] = ":generateContent"
    answers_in = ("candidates", "promptFeedback", "prompt_feedback")

    def url(self, base_url: str) -> str:
        """The model is a part of the URL."""
        base, query = checked_url(base_url)
        if base.endswith(self.path):
            return base + query
        model = self.model if "/" in self.model else f"models/{self.model}"
        return f"{base}/{quote(model, safe='/@.')}{self.path}{query}"

    def headers(self, key: str) -> dict[str, str]:
        """The key."""
        return {"x-goog-api-key": key} if key else {}

    def fields(self) -> dict[str, Any]:
        """Of the body; `--extra generationConfig={...}` adds to what is set here."""
        config: dict[str, Any] = {"maxOutputTokens": self.decoding.max_tokens}
        for name, theirs in _NAMES.items():
            if self.sends(name):
                config[theirs] = getattr(self.decoding, name)
        if self.sends("stop"):
            config["stopSequences"] = list(self.decoding.stop)
        extra = dict(self.decoding.extra)
        more = extra.pop("generationConfig", {})
        return {"generationConfig": config | (more if isinstance(more, dict) else {}), **extra}

    def body(self, messages: Sequence[Message], seed: int | None) -> bytes:
        """The body of a request; the system message stands apart."""
        body = dict(self._fields)
        system = [{"text": m["content"]} for m in messages if m["role"] == "system"]
        if system:
            body["systemInstruction"] = {"parts": system}
        body["contents"] = [
            {
                "role": "model" if m["role"] == "assistant" else "user",
                "parts": [{"text": m["content"]}],
            }
            for m in messages
            if m["role"] != "system"
        ]
        if seed is not None:
            body["generationConfig"] = {**body["generationConfig"], "seed": seed}
        return orjson.dumps(body)

    def read(self, reply: dict[str, Any]) -> Completion | Fault:
        """The first candidate; or why the prompt was blocked."""
        reply = _in_camel_case(reply)
        usage = mapping(reply.get("usageMetadata"))
        written = ("candidatesTokenCount", "thoughtsTokenCount")
        counts: dict[str, Any] = {
            "served": reply.get("modelVersion"),
            "prompt_tokens": usage.get("promptTokenCount"),
            "completion_tokens": sum(count_of(usage.get(name)) for name in written),
        }
        candidates = reply.get("candidates")
        feedback = mapping(reply.get("promptFeedback"))
        if not candidates:
            reason = _named(feedback.get("blockReason"), _BLOCK_REASONS)
            if not isinstance(reason, str) and _is_blocked(feedback):
                reason = "SAFETY"
            if not isinstance(reason, str):
                return Fault(0, "the reply holds no candidate", kind="empty")
            why = feedback.get("blockReasonMessage")
            told = f"blocked by the provider (the prompt: {reason})" + (f": {why}" if why else "")
            return completion(None, reason, blocked=True, why=told, **counts)
        candidate = mapping(candidates[0])
        text, thought, _ = read_parts(candidate.get("content"))
        finish = _named(candidate.get("finishReason"), _FINISH_REASONS)
        blocked = _is_blocked(candidate)
        if finish == "PUP_LIMITED_DISABLED":  # it is about the account, not about the prompt
            return Fault(403, candidate.get("finishMessage") or "the account is limited")
        if not (text or thought or blocked) and finish in ("OTHER", None):
            return Fault(0, f"the reply holds no answer (finish reason {finish})", kind="empty")
        why = candidate.get("finishMessage")
        return completion(
            text,
            finish,
            thought=thought,
            blocked=blocked,
            why=f"blocked by the provider ({finish}): {why}" if why else "",
            **counts,
        )


_FINISH_REASONS = (
    "FINISH_REASON_UNSPECIFIED", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER", "LANGUAGE",
    "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MALFORMED_FUNCTION_CALL", "IMAGE_SAFETY",
    "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS",
)  # fmt: skip
"""By their numbers in the API's protocol buffers, which some gateways send."""
_BLOCK_REASONS = (
    "BLOCK_REASON_UNSPECIFIED", "SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT",
    "IMAGE_SAFETY",
)  # fmt: skip


def _named(reason: Any, names: Sequence[str]) -> Any:
    """A reason by its name, also where its number is given."""
    if isinstance(reason, float | str) and str(reason).removesuffix(".0").isdecimal():
        reason = int(float(reason))
    if type(reason) is int and 0 <= reason < len(names):
        return names[reason]
    return reason


def _in_camel_case(value: Any) -> Any:
    """A reply with `finish_reason` and its like, as gateways and old libraries send, in the form
    of the API."""
    if isinstance(value, list):
        return [_in_camel_case(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {_camel(name): _in_camel_case(each) for name, each in value.items()}


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others)) if first else name


def _is_blocked(rated: dict[str, Any]) -> bool:
    """Whether one of the safety ratings of a candidate or a prompt says so."""
    ratings = rated.get("safetyRatings")
    return isinstance(ratings, list) and any(mapping(r).get("blocked") is True for r in ratings)
