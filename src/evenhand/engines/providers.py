"""The wires: OpenAI's chat completions, Anthropic's Messages API, Gemini's generateContent.

OpenAI's is also that of vLLM, SGLang, Ollama, llama.cpp and most others. Source: the types of the
`openai` package, `openai.types.chat`; reasoning in the replies as of DeepSeek, vLLM, OpenRouter and
Mistral.

Anthropic's: the types of the `anthropic` package, `MessageCreateParams` and `Message`, and the
API's version history. Version 2026-10-21 has no sampling parameters any more and takes the key as a
bearer token. The version before still has them, for models that take them; it is used as long as
the decoding sets one of them and the model does not refuse it.

Gemini's: the types of the `google-genai` package, `GenerateContentConfig` and
`GenerateContentResponse`, and how it writes them for the Gemini API.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar
from urllib.parse import quote

import orjson

from evenhand.engines.first_token import FEWER, TOP, read_logprobs
from evenhand.engines.wire import (
    A_STREAM,
    Completion,
    Fault,
    Wire,
    checked_url,
    completion,
    count_of,
    error_in,
    fault_told_in_200,
    flat,
    mapping,
    outcome_of,
    read_parts,
    refusal_in,
    status_of,
    thought_in,
)
from evenhand.study.cue import Message
from evenhand.study.plan import Request

# OpenAI

_THOUGHT_FIELDS = ("reasoning_content", "reasoning", "thinking")
"""Where most give the thought; others have names like it."""
_IS_THOUGHT = re.compile(r"think|thought|reasoning", re.IGNORECASE)
_NO_THOUGHT = frozenset({
    "role", "content", "refusal", "tool_calls", "function_call", "annotations", "audio", "index",
    "message", "finish_reason", "stop_reason", "logprobs", "token_ids",
})  # fmt: skip
"""The usual fields of a message and a choice."""
_FINISH_FIELDS = ("finish_reason", "finishReason", "done_reason")
_SENSITIVE = ("input_sensitive", "output_sensitive")
"""MiniMax's, of what its filter has found."""


class OpenAIWire(Wire):
    """POST BASE/chat/completions."""

    name = "openai"
    path = "/chat/completions"
    answers_in = ("choices",)
    optional = (
        *("temperature", "top_k", "top_p", "seed", "stop", "max_tokens"),
        *("logprobs", "top_logprobs"),
    )

    def headers(self, key: str) -> dict[str, str]:
        """The key as a bearer token, or in the header that the service wants."""
        if not key:
            return {}
        if self.service.key_header:
            return {self.service.key_header: key}
        return {"Authorization": f"Bearer {key}"}

    def fields(self) -> dict[str, Any]:
        """`max_tokens`, or `max_completion_tokens` where the endpoint takes only that."""
        tokens = "max_completion_tokens" if "max_tokens" in self.left_out else "max_tokens"
        body: dict[str, Any] = {"model": self.model, tokens: self.decoding.max_tokens}
        for name in ("temperature", "top_p", "top_k"):
            if self.sends(name):
                body[name] = getattr(self.decoding, name)
        if self.sends("stop"):
            body["stop"] = list(self.decoding.stop)
        return body | self.decoding.extra

    def body(self, messages: Sequence[Message], seed: int | None) -> bytes:
        """The body of a request."""
        body = {**self._fields, "messages": messages}
        if seed is not None:
            body[self.service.seed] = seed
        return orjson.dumps(body)

    def body_of(self, request: Request, seed: int | None) -> bytes:
        """The body of any request; for its first token's probabilities, as they are unscaled."""
        if not request.choices:
            return self.body(request.messages, seed)
        unused = {"top_p", "top_k", "stop", "max_tokens", "max_completion_tokens", "temperature"}
        body = {name: value for name, value in self._fields.items() if name not in unused}
        completion_tokens = "max_completion_tokens" in self._fields
        body |= {
            "max_completion_tokens" if completion_tokens else "max_tokens": 1,
            "logprobs": True,
            "top_logprobs": TOP if self.sends("top_logprobs") else FEWER,
            "messages": request.messages,
        }
        if self.sends("temperature"):
            body["temperature"] = 1.0
        return orjson.dumps(body)

    def read(self, reply: dict[str, Any]) -> Completion | Fault:
        """The first choice."""
        choices = reply["choices"]
        choice = mapping(choices[0]) if choices else {}
        if "error" in choice and (error := error_in(choice)):  # OpenRouter's way
            return fault_told_in_200(status_of(error), orjson.dumps({"error": error}))
        finish = choice.get("finish_reason")
        if type(finish) is not str:
            finish = next((f for n in _FINISH_FIELDS if (f := choice.get(n))), None)
            finish = flat(finish, ("type", "reason"))
        message = choice.get("message")
        if message is None:  # an old completion, or one without the object around its content
            message = choice.get("text", choice.get("content"))
        if message is None and "delta" in choice:
            return Fault(0, f"the reply is {A_STREAM}", kind="foreign")
        if message is None or message == []:
            why = f"the reply holds no answer (finish reason {finish or None})"
            return Fault(0, why, kind="empty")
        if not isinstance(message, dict):
            message = {"content": message}
        elif "error" in message and (error := error_in(message)):
            return fault_told_in_200(status_of(error), orjson.dumps({"error": error}))
        text, thought, refusal = message.get("content"), "", ""
        if type(text) is not str:
            text, thought, refusal = read_parts(text)
        if native := choice.get("native_finish_reason"):  # OpenRouter's: the provider's own
            finish = native if outcome_of(flat(native)) == "blocked" else finish
        usage = mapping(reply.get("usage"))
        found = completion(
            text,
            finish,
            thought=thought or _reasoning(message) or _reasoning(choice),
            blocked=any(reply.get(name) is True for name in _SENSITIVE),
            refusal=refusal or (refusal_in(r) if (r := message.get("refusal")) else ""),
            served=reply.get("model"),
            prompt_tokens=usage.get("prompt_tokens", usage.get("input_tokens")),
            completion_tokens=usage.get("completion_tokens", usage.get("output_tokens")),
        )
        if "logprobs" in choice and isinstance(found, Completion):
            found.first_tokens = read_logprobs(choice["logprobs"])
        return found


def _reasoning(message: dict[str, Any]) -> str:
    if message.keys() <= _NO_THOUGHT:  # most replies, at once
        return ""
    for name in (*_THOUGHT_FIELDS, *filter(_IS_THOUGHT.search, message)):
        value = message.get(name)
        if isinstance(value, str | list | dict) and (thought := thought_in(value)):
            return thought
    return ""


# Anthropic

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


# Gemini

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
