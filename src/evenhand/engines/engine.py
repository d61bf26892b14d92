"""The seam between a plan and a model: Request in, Response out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from pydantic import Field, JsonValue, field_validator

from evenhand.study.cue import Message
from evenhand.study.entry import Entry


class Decoding(Entry):
    """How the model picks its words; what is None is left to the model's own default.

    Attributes:
        temperature: 0 is greedy.
        top_k: sample among the k likeliest tokens only.
        top_p: sample among the likeliest tokens of this joint probability only.
        max_tokens: the most new tokens in an answer.
        seed: seed of the sampling. An endpoint is asked with seed + s for sample s; local
            weights draw each batch from the seed and the batch's first cell.
        stop: strings that end an answer.
        extra: further fields for the request body of an endpoint.
    """

    temperature: float = Field(default=0.0, ge=0)
    top_k: int | None = Field(default=None, ge=1)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int = Field(default=512, ge=1, le=2**31)
    seed: int | None = Field(default=None, ge=0, le=2**31)
    stop: tuple[str, ...] = ()
    extra: dict[str, JsonValue] = Field(default_factory=dict)

    @field_validator("extra")
    @classmethod
    def _no_secrets(cls, extra: dict[str, JsonValue]) -> dict[str, JsonValue]:
        """The study is written into the run folder, where no key may ever be."""
        for name in extra:
            if re.search(r"api.?key|auth|secret|password|bearer|access.?token", name.lower()):
                raise ValueError(f'"{name}" looks like a secret; keys belong in OPENAI_API_KEY')
        return extra


PRESETS = {
    "greedy": Decoding(),
    "paper": Decoding(temperature=1.0, top_k=10, max_tokens=300),
}
"""Named decodings; `paper` is that of Vijjini et al. 2025: top-k 10, at most 300 new tokens."""


@dataclass(frozen=True, slots=True)
class Request:
    """One cell of the study, ready to send.

    Attributes:
        key: hash of the model, its parameters, the messages and the sample index.
        condition, item, sample: where it stands in the study's grid, from 0.
        messages: the conversation.
    """

    key: bytes
    condition: int
    item: int
    sample: int
    messages: list[Message]


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt that brought no answer and was, or will be, repeated.

    Attributes:
        status: HTTP status; 0 where there was none.
        error: what went wrong, in short.
    """

    status: int
    error: str


Outcome = Literal["whole", "cut off", "blocked", "rejected"]
"""How a request ended; see `Response`."""


@dataclass(frozen=True, slots=True)
class Response:
    """What came of a request.

    Its outcome is one of

    - "whole": the model ended its answer itself.
    - "cut off": at the token limit. The text may be empty, as when the model was still thinking.
    - "blocked": the provider's filter withheld the answer, or the rest of it. The text is None
      where nothing of it came.
    - "rejected": the endpoint refuses this very request for good, and `error` says why.

    A request of which all attempts failed has no text and, for there was no outcome, the default
    "whole": it is not `settled`, and is asked again by the next run.

    Attributes:
        request: what was asked.
        text: the answer without the thought; None where there is none.
        thought: what the model thought aloud before; empty if it did not, or hides it.
        outcome: how it ended.
        error: why there is no answer, of one that was blocked or rejected.
        finish: the reason for the end in the provider's own word: "stop", "end_turn", "SAFETY".
        served: name of the model as the reply gives it; empty if it gives none.
        prompt_tokens, completion_tokens: as counted by the model; 0 if unknown.
        seconds: from the first attempt to the end of the last.
        failures: the attempts before the last.
    """

    request: Request
    text: str | None
    thought: str = ""
    outcome: Outcome = "whole"
    error: str = ""
    finish: str = ""
    served: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    failures: Sequence[Failure] = field(default=())

    @property
    def settled(self) -> bool:
        """Whether the cell is done: there is an answer, or never will be one."""
        return self.text is not None or self.outcome != "whole"


class Engine(Protocol):
    """A model that answers requests.

    `answer` calls `settle` once for each request, in any order, as the answers arrive. It draws
    requests only as fast as it can send them, so that a plan of any length fits into memory, and
    stops drawing when it is cancelled.
    """

    model: str
    """Name of the model, for messages to the user."""

    @property
    def address(self) -> str:
        """Where the answers come from: URLs, or a folder with the state of its files."""
        ...

    def rendered(self, messages: list[Message]) -> str | None:
        """The prompt as the model reads it, or None where it cannot be seen from here.

        Raises:
            RequestRejected: the chat template takes no such conversation.
        """
        ...

    async def answer(self, requests: Iterator[Request], settle: Callable[[Response], None]) -> None:
        """Answer all requests.

        Raises:
            EngineError: the model cannot be reached or will not answer at all.
        """
        ...

    async def close(self) -> None:
        """Release connections and memory."""
        ...
