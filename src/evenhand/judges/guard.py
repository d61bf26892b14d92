"""Guard models that write their verdict, such as Qwen3Guard, Llama Guard and WildGuard."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from evenhand.axes import AxisName
from evenhand.engines.engine import Engine
from evenhand.judges.asking import Unreadable, ask_all
from evenhand.judges.judge import Judgment, Settle, score_for
from evenhand.judges.labels import Reading, Spec
from evenhand.scorers.base import Answer, Verdict
from evenhand.study.cue import Message
from evenhand.text import one_line


class Guard:
    """Asks a guard model in its own form, and reads the first tokens of what it writes.

    Args:
        name: what the scores are stored under.
        engine: the guard model, greedy.
        spec: its form and how its verdict is read.
    """

    def __init__(self, name: str, engine: Engine, spec: Spec) -> None:
        self.name = name
        self._engine = engine
        self._spec = spec

    @property
    def facts(self) -> dict[str, Any]:
        """Its form and how its verdict is read."""
        return {"kind": "guard"} | self._spec.model_dump(exclude={"matches"}, exclude_defaults=True)

    async def start(self) -> None:
        """Nothing to find out: the model is loaded."""

    async def judge(self, answers: Iterator[Answer], settle: Settle) -> None:
        """Ask about all answers; see `Judge.judge`."""
        axes: dict[int, AxisName] = {}

        def questions() -> Iterator[list[Message]]:
            for place, answer in enumerate(answers):
                axes[place] = answer.item.axis
                yield self._question(answer)

        def read(place: int, reply: str) -> Verdict:
            found = {
                "safe": _find(self._spec.safe, reply),
                "refused": _find(self._spec.refused, reply),
            }
            return Verdict(score_for(axes[place], **found), one_line(reply, 100))

        def done(place: int, judgment: Judgment) -> None:
            del axes[place]
            settle(place, judgment)

        await ask_all(self._engine, questions(), read, done)

    async def close(self) -> None:
        """Close the engine."""
        await self._engine.close()

    def _question(self, answer: Answer) -> list[Message]:
        """The item's bare prompt and the answer, in the guard's form. Nothing of who asked."""
        if not self._spec.question:
            return [
                {"role": "user", "content": answer.item.prompt},
                {"role": "assistant", "content": answer.text},
            ]
        # In one pass: what a prompt or an answer holds is never taken for a gap.
        parts = {"{prompt}": answer.item.prompt, "{answer}": answer.text}
        content = re.sub(r"\{(?:prompt|answer)\}", lambda gap: parts[gap[0]], self._spec.question)
        return [{"role": "user", "content": content}]


def _find(reading: Reading | None, reply: str) -> float | None:
    """What the reply says of one thing; None where it gives no opinion.

    Raises:
        Unreadable: it says nothing of it, or nothing that is known.
    """
    if reading is None:
        return None
    found = re.search(reading.pattern, reply, re.IGNORECASE | re.MULTILINE)
    said = found[1].lower() if found else None
    if said not in reading.values:
        raise Unreadable("not in the guard's form")
    return reading.values[said]
