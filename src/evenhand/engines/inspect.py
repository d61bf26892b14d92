"""Any provider that inspect-ai knows, through its `get_model`: Bedrock, Vertex, and the long tail.

A model is named inspect/PROVIDER/MODEL, as inspect-ai itself names it: "inspect/bedrock/...".
Keys, retries and rate limits are inspect-ai's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from evenhand.engines.engine import Failure, Outcome, Response
from evenhand.engines.secrets import Redactor
from evenhand.engines.services import known_keys
from evenhand.errors import EngineError, MissingExtra
from evenhand.study.cue import Message
from evenhand.study.decoding import Decoding
from evenhand.study.plan import Request
from evenhand.text import one_line, split_thought

if TYPE_CHECKING:
    from evenhand.engines import EngineOptions

_OUTCOMES: dict[str, Outcome] = {
    "max_tokens": "cut off",
    "model_length": "cut off",
    "content_filter": "blocked",
}
"""Of inspect-ai's stop reasons; all others are a whole answer."""


class InspectEngine:
    """Asks through inspect-ai.

    Args:
        model: inspect/PROVIDER/MODEL.
        decoding: how the model picks its words; `extra` goes to `GenerateConfig` as `extra_body`.
        max_connections: the most requests under way at once.
        timeout: seconds for one request with all its attempts.

    Raises:
        MissingExtra: inspect-ai is not installed.
        EngineError: it has no such provider, or no key for it.
    """

    is_local = False
    is_paid = True
    default_suite = "paper"
    takes_response_format = False
    notes: Sequence[str] = ()

    def __init__(
        self, model: str, decoding: Decoding, *, max_connections: int = 64, timeout: float = 120.0
    ) -> None:
        try:
            from inspect_ai.model import GenerateConfig, get_model
        except ImportError:
            raise MissingExtra("models through inspect-ai", "inspect") from None
        self.model = model
        self._redact = Redactor(known_keys())
        self._decoding = decoding
        self._config = GenerateConfig
        self._most = max_connections
        self._timeout = int(timeout)
        try:
            self._net: Any = get_model(model.partition("/")[2], memoize=False)
        except Exception as error:  # each provider raises what it likes
            raise EngineError(f"cannot load {model}: {self._told(error)}") from None

    @classmethod
    def make(cls, model: str, decoding: Decoding, options: EngineOptions) -> InspectEngine:
        """As `make_engine`."""
        return cls(
            model, decoding, max_connections=options.max_connections, timeout=options.timeout
        )

    @property
    def address(self) -> str:
        """The model's name; where it is is inspect-ai's matter."""
        return self.model

    def rendered(self, messages: list[Message]) -> str | None:  # noqa: ARG002
        """None: the prompt is rendered out of sight."""
        return None

    async def answer(self, requests: Iterator[Request], settle: Callable[[Response], None]) -> None:
        """Answer all requests; see `Engine.answer`.

        Raises:
            EngineError: the first requests fail, one after another.
        """
        first = next(requests, None)
        if first is None:
            return
        response = await self._ask(first)
        if not response.settled:
            raise EngineError(f"{self.model} does not answer ({response.failures[-1].error})")
        settle(response)

        async def work() -> None:
            for request in requests:
                settle(await self._ask(request))

        async with asyncio.TaskGroup() as group:
            for _ in range(self._most):
                group.create_task(work())

    async def close(self) -> None:
        """Close the provider's connections."""
        await self._net.api.aclose()

    async def _ask(self, request: Request) -> Response:
        try:
            output = await self._net.generate(
                _messages(request.messages), config=self._config(**self._fields(request))
            )
        except Exception as error:  # each provider raises what it likes
            return Response(request, None, failures=[Failure(0, self._told(error))])
        if not output.choices:
            return Response(request, None, outcome="blocked", error="the reply holds no answer")
        choice = output.choices[0]
        thoughts, text = _parts(choice.message.content)
        inner, text, still_thinking = split_thought(text)
        outcome = _OUTCOMES.get(choice.stop_reason, "cut off" if still_thinking else "whole")
        return Response(
            request,
            text=text if text or outcome != "blocked" else None,
            thought="\n\n".join(part for part in (thoughts, inner) if part),
            outcome=outcome,
            error=self._why(output) if outcome == "blocked" else "",
            finish=choice.stop_reason,
            served=one_line(output.model),
            prompt_tokens=output.usage.input_tokens if output.usage else 0,
            completion_tokens=output.usage.output_tokens if output.usage else 0,
            seconds=output.time or 0.0,
        )

    def _why(self, output: Any) -> str:
        told = getattr(output, "error", None)
        return one_line(self._redact(f"blocked by the provider{f': {told}' if told else ''}"))

    def _fields(self, request: Request) -> dict[str, Any]:
        decoding = self._decoding
        fields: dict[str, Any] = {
            "temperature": decoding.temperature,
            "top_p": decoding.top_p,
            "top_k": decoding.top_k,
            "max_tokens": decoding.max_tokens,
            "stop_seqs": list(decoding.stop) or None,
            "extra_body": decoding.extra or None,
            "timeout": self._timeout,
        }
        if decoding.seed is not None:
            fields["seed"] = decoding.seed + request.sample
        return fields

    def _told(self, error: Exception) -> str:
        return one_line(self._redact(str(error) or type(error).__name__))


def _messages(messages: list[Message]) -> list[Any]:
    from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser

    kinds = {
        "system": ChatMessageSystem,
        "user": ChatMessageUser,
        "assistant": ChatMessageAssistant,
    }
    return [kinds[message["role"]](content=message["content"]) for message in messages]


def _parts(content: Any) -> tuple[str, str]:
    """Thought and text of a content, which may come in parts."""
    if isinstance(content, str):
        return "", content
    thoughts = [part.reasoning for part in content if part.type == "reasoning"]
    return "\n\n".join(thoughts), "".join(part.text for part in content if part.type == "text")
