"""The wire of OpenAI's chat completions, which vLLM, SGLang, Ollama, llama.cpp and most speak.

Source: the types of the `openai` package, `openai.types.chat`; reasoning in the replies as of
DeepSeek, vLLM, OpenRouter and Mistral.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from evenhand.engines.wire import Completion, Fault, Wire, completion, mapping
from evenhand.study.cue import Message

_THOUGHT_FIELDS = ("reasoning_content", "reasoning", "thinking")
_THOUGHT_PARTS = ("reasoning", "thinking", "reasoning_content", "reasoning_text")


class OpenAIWire(Wire):
    """POST BASE/chat/completions."""

    name = "openai"
    path = "/chat/completions"
    answers_in = ("choices",)
    optional = ("temperature", "top_k", "top_p", "seed", "stop", "max_tokens")

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

    def read(self, reply: dict[str, Any]) -> Completion | Fault:
        """The first choice."""
        choices = reply["choices"]
        choice = mapping(choices[0]) if choices else {}
        finish = choice.get("finish_reason")
        message = choice.get("message")
        if message is None and "text" in choice:  # an old completion
            message = {"content": choice["text"]}
        if message is None:
            return Fault(0, f"the reply holds no answer (finish reason {finish})", kind="empty")
        content = message.get("content")
        thought = refusal = ""
        if isinstance(content, list):
            content, thought, refusal = _parts(content)
        usage = mapping(reply.get("usage"))
        return completion(
            content if isinstance(content, str) else "",
            finish,
            thought=thought or _reasoning(message),
            refusal=_flat(message.get("refusal")) or refusal,
            served=reply.get("model"),
            prompt_tokens=usage.get("prompt_tokens"),
            completion_tokens=usage.get("completion_tokens"),
        )


def _reasoning(message: dict[str, Any]) -> str:
    for name in _THOUGHT_FIELDS:
        if (value := message.get(name)) and isinstance(value, str):
            return value
    return ""


def _parts(content: list[Any]) -> tuple[str, str, str]:
    """Text, thought and refusal of a content that comes in parts."""
    texts: list[str] = []
    thoughts: list[str] = []
    refusals: list[str] = []
    for part in content:
        kind = str(part.get("type", "text"))
        if kind in _THOUGHT_PARTS:
            thoughts.append(_flat(part.get("text") or part.get(kind) or part.get("summary")))
        elif kind == "refusal":
            refusals.append(_flat(part.get("refusal") or part.get("text")) or "refused")
        else:
            texts.append(_flat(part.get("text")))
    return "".join(texts), "\n\n".join(thoughts), "".join(refusals)


def _flat(value: Any) -> str:
    """A text that may itself be in parts."""
    if isinstance(value, list):
        return "".join(
            _flat(part.get("text") if isinstance(part, dict) else part) for part in value
        )
    return value if isinstance(value, str) else ""
