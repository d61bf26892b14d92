"""The seam between a plan and a model: Request in, Response out."""

from __future__ import annotations

import math
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib.metadata import version
from operator import index
from typing import Any, Literal, Protocol, SupportsIndex, get_args

from evenhand import __version__
from evenhand.errors import PluginError
from evenhand.plugins import blamed, misused
from evenhand.study.cue import Message
from evenhand.study.plan import Request
from evenhand.text import whole_text


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


class ForeignEngine:
    """Another package's engine: what it gives is checked before anything is stored of it.

    Args:
        name: its prefix, "echo" of "echo/loud".
        engine: what its `make` has given.

    Raises:
        PluginError: here and in all methods, where the engine raises anything but an
            `EvenhandError` or gives what cannot be kept, such as a request settled twice.
    """

    def __init__(self, name: str, engine: Any) -> None:
        self._name = name
        self._engine = engine
        with self._blamed():
            for wanted in ("model", "address", "notes", "rendered", "answer", "close"):
                if not hasattr(engine, wanted):
                    raise self._misused(f"has no {wanted}")
        self.model = str(engine.model)
        self.is_local = bool(engine.is_local)
        self.is_paid = bool(engine.is_paid)
        self.default_suite = str(engine.default_suite)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)  # what only some engines have

    @property
    def notes(self) -> Sequence[str]:
        """See `Engine`."""
        with self._blamed():
            return tuple(self._text(note, "a note") for note in self._engine.notes)

    @property
    def address(self) -> str:
        """See `Engine`."""
        with self._blamed():
            return self._text(self._engine.address, "its address")

    def rendered(self, messages: list[Message]) -> str | None:
        """See `Engine`."""
        with self._blamed():
            found = self._engine.rendered(messages)
            return None if found is None else self._text(found, "the rendered prompt")

    async def answer(self, requests: Iterator[Request], settle: Callable[[Response], None]) -> None:
        """See `Engine`."""
        under_way: dict[int, Request] = {}

        def draw() -> Iterator[Request]:
            for request in requests:
                under_way[id(request)] = request
                yield request

        def take(response: object) -> None:
            if not isinstance(response, Response):
                raise self._misused(f"settles {response!r}, which is no Response")
            if under_way.pop(id(response.request), None) is None:
                raise self._misused("settles a request twice, or one that it was not given")
            settle(self._checked(response))

        with self._blamed():
            await self._engine.answer(draw(), take)

    async def close(self) -> None:
        """See `Engine`."""
        with self._blamed():
            await self._engine.close()

    def _checked(self, response: Response) -> Response:
        if response.outcome not in get_args(Outcome):
            raise self._misused(f"gives the outcome {response.outcome!r}")
        seconds = response.seconds
        if not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
            raise self._misused(f"gives {seconds!r} for the seconds")
        try:
            failures = checked_failures(response.failures)
            prompt, completion = checked_counts(response.prompt_tokens, response.completion_tokens)
        except ValueError as error:
            raise self._misused(str(error)) from None
        return Response(
            response.request,
            None if response.text is None else self._text(response.text, "an answer"),
            self._text(response.thought, "a thought"),
            response.outcome,
            self._text(response.error, "an error"),
            self._text(response.finish, "the reason for the end"),
            self._text(response.served, "the name of the served model"),
            prompt,
            completion,
            float(seconds),
            failures,
        )

    def _text(self, value: object, what: str) -> str:
        if not isinstance(value, str):
            raise self._misused(f"gives {value!r} for {what}")
        return whole_text(value)

    def _misused(self, what: str) -> PluginError:
        return misused("engine", self._name, what)

    def _blamed(self) -> AbstractContextManager[None]:
        return blamed("engine", self._name, {})


def checked_failures(failures: object) -> tuple[Failure, ...]:
    """Failed attempts that another package's engine or judge gives, as they can be stored.

    Raises:
        ValueError: they are none, in the words that follow the name of the engine or judge.
    """
    found = tuple(failures) if isinstance(failures, Sequence) else (failures,)
    for each in found:
        if not isinstance(each, Failure) or not isinstance(each.error, str):
            raise ValueError(f"gives the failed attempt {each!r}")
    statuses = checked_counts(*(each.status for each in found))
    return tuple(map(Failure, statuses, (whole_text(each.error) for each in found)))


def checked_counts(*counts: object) -> tuple[int, ...]:
    """Numbers of tokens, or of HTTP statuses, that another package gives, as they can be stored.

    Raises:
        ValueError: one is no whole number from 0, in the words that follow the package's name.
    """
    for count in counts:
        if not isinstance(count, SupportsIndex) or not 0 <= index(count) < 2**63:
            raise ValueError(f"gives {count!r} for a count, which must be a whole number from 0")
    return tuple(index(count) for count in counts if isinstance(count, SupportsIndex))


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
