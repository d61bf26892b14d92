"""The wire of OpenAI's chat completions, which vLLM, SGLang, Ollama, llama.cpp and most speak.

Source: the types of the `openai` package, `openai.types.chat`; reasoning in the replies as of
DeepSeek, vLLM, OpenRouter and Mistral.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import orjson

from evenhand.engines.first_token import FEWER, TOP, read_logprobs
from evenhand.engines.parts import flat, read_parts, refusal_in, thought_in
from evenhand.engines.wire import (
    A_STREAM,
    Completion,
    Fault,
    Wire,
    completion,
    error_in,
    fault_told_in_200,
    mapping,
    outcome_of,
    status_of,
)
from evenhand.study.cue import Message
from evenhand.study.plan import Request

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
