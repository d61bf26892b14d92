"""The seam between a plan and a model: Request in, Response out."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Literal, Protocol

from evenhand import __version__
from evenhand.study.cue import Message
from evenhand.study.plan import Request


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


@dataclass(slots=True)  # not frozen: one is made for each answer, which would take 3 times as long
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
    is_local: bool
    """Whether the weights run in this process."""
    is_paid: bool
    """Whether answers may cost money."""
    default_suite: str
    """The benchmarks that are asked where the user names none."""

    @property
    def notes(self) -> Sequence[str]:
        """What had to be asked otherwise than the study says, such as without a temperature."""
        ...

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


def windows(requests: Iterator[Request], least: int) -> Iterator[list[Request]]:
    """Requests in portions of whole items, within which their order is free.

    Early stopping needs whole items, and what prompts share is found among many of them.

    Args:
        least: requests in a portion; it goes on to the end of its last item, but not further
            than four times as many.
    """
    window: list[Request] = []
    for request in requests:
        if len(window) >= least and (request.item != window[-1].item or len(window) >= 4 * least):
            yield window
            window = []
        window.append(request)
    if window:
        yield window


def running_versions() -> dict[str, str]:
    """Of evenhand, Python and the packages that run a model in this process, where one does."""
    found = {"evenhand": __version__, "Python": platform.python_version()}
    loaded = [name for name in ("torch", "transformers", "vllm") if name in sys.modules]
    return found | {name: version(name) for name in loaded}
