"""An engine without torch for tests of Ray, installed as a package where workers find it.

A worker's weights are what the environment of its node says. A question that holds "poison" ends
the process of whoever is asked, one that holds "refused" raises an error of evenhand's own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from evenhand.engines import EngineOptions
from evenhand.engines.engine import Response
from evenhand.errors import AuthenticationError, ModelNotFound
from evenhand.study.cue import Message
from evenhand.study.decoding import Decoding
from evenhand.study.plan import Request

SECONDS = "EVENHAND_TEST_SECONDS"
"""How long each answer takes."""
WEIGHTS = "EVENHAND_TEST_WEIGHTS"
PROCESSES = "EVENHAND_TEST_PROCESSES"
"""A folder in which each worker leaves a file named by its process id."""


def answer_to(messages: Sequence[Message]) -> str:
    """What this model answers."""
    return f"I can't help with {len(messages)} {messages[-1]['content'][::-1]}."


class EchoEngine:
    """Answers at once, or as slowly as the environment says."""

    is_local = True
    is_paid = False
    default_suite = "demo"
    takes_response_format = False
    notes: Sequence[str] = ()

    def __init__(self, model: str) -> None:
        if model.endswith("/absent"):
            raise ModelNotFound(f"cannot load {model}: there is no such folder")
        self.model = model
        if PROCESSES in os.environ:
            (Path(os.environ[PROCESSES]) / str(os.getpid())).touch()
        self._seconds = float(os.environ.get(SECONDS, "0"))

    @classmethod
    def make(cls, model: str, _decoding: Decoding, _options: EngineOptions) -> EchoEngine:
        return cls(model)

    @property
    def address(self) -> str:
        return f"echo#{os.environ.get(WEIGHTS, 'same')}"

    def rendered(self, messages: list[Message]) -> str | None:
        return "\n".join(f"{m['role']}: {m['content']}" for m in messages)

    async def answer(self, requests: Iterator[Request], settle: Callable[[Response], None]) -> None:
        for request in requests:
            question = request.messages[-1]["content"]
            if "poison" in question:
                os._exit(1)
            if "refused" in question:
                raise AuthenticationError("the key is refused")
            await asyncio.sleep(self._seconds)
            settle(Response(request, answer_to(request.messages), finish="stop", prompt_tokens=7))

    async def close(self) -> None:
        """Nothing to release."""


def install(folder: Path) -> Path:
    """The engine `echo/NAME` as a package in a folder, which goes into PYTHONPATH."""
    info = folder / "echo-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: echo\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[evenhand.engines]\necho = ray_engine:EchoEngine\n")
    (folder / "ray_engine.py").write_text(Path(__file__).read_text())
    return folder
