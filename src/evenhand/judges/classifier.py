"""Classifiers and guard models as judges.

A sequence classifier gives an answer the score of its likeliest label. A guard model, such as
Qwen3Guard, Llama Guard or WildGuard, writes its verdict, which is then read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from evenhand.axes import AxisName
from evenhand.engines import engine_type, make_engine
from evenhand.engines.engine import Engine
from evenhand.errors import UsageError
from evenhand.judges.judge import Judge, Judgment, Settle, score_for
from evenhand.judges.labels import (
    MEANINGS,
    GuardField,
    Spec,
    check_labels,
    shipped_specs,
    spec_for,
)
from evenhand.judges.queries import Unreadable, query_all
from evenhand.run.options import JudgeOptions
from evenhand.scorers.base import Answer, Verdict
from evenhand.study.cue import Message
from evenhand.study.decoding import Decoding
from evenhand.text import one_line


class Classifier:
    """Gives an answer the score of its likeliest label.

    Args:
        name: what the scores are stored under.
        engine: the model; it has `labels`.
        spec: what its labels mean.
    """

    def __init__(self, name: str, engine: Engine, spec: Spec) -> None:
        self.name = name
        self._engine = engine
        self._spec = spec

    @property
    def facts(self) -> dict[str, Any]:
        """The meanings of the labels, and what the classifier reads."""
        return {"kind": "classifier", "labels": self._spec.labels, "reads": self._spec.reads}

    async def start(self) -> None:
        """Nothing to find out: the model is loaded."""

    async def judge(self, answers: Iterator[Answer], settle: Settle) -> None:
        """Classify all answers; see `Judge.judge`."""
        await _ask(self._engine, answers, self._question, self._read, settle)

    async def close(self) -> None:
        """Close the engine."""
        await self._engine.close()

    def _question(self, answer: Answer) -> list[Message]:
        """What the classifier reads. Nothing of who asked."""
        text: Message = {"role": "assistant", "content": answer.text}
        if self._spec.reads == "answer":
            return [text]
        return [{"role": "user", "content": answer.item.prompt}, text]

    def _read(self, axis: AxisName, reply: str) -> Verdict:
        found = json.loads(reply)
        meaning = self._spec.labels[found["label"]]
        why = f"{found['label']} ({meaning}), {found['share']:.2f}"
        return Verdict(score_for(axis, *MEANINGS[meaning]), why)


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
        await _ask(self._engine, answers, self._question, self._read, settle)

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

    def _read(self, axis: AxisName, reply: str) -> Verdict:
        safe, refused = _find(self._spec.safe, reply), _find(self._spec.refused, reply)
        return Verdict(score_for(axis, safe, refused), one_line(reply, 100))


async def _ask(
    engine: Engine,
    answers: Iterator[Answer],
    question: Callable[[Answer], list[Message]],
    read: Callable[[AxisName, str], Verdict],
    settle: Settle,
) -> None:
    """Ask about all answers; what is read of a reply depends on the axis of the item."""
    axes: dict[int, AxisName] = {}

    def questions() -> Iterator[list[Message]]:
        for place, answer in enumerate(answers):
            axes[place] = answer.item.axis
            yield question(answer)

    def done(place: int, judgment: Judgment) -> None:
        del axes[place]
        settle(place, judgment)

    await query_all(
        engine,
        questions(),
        lambda place, reply: read(axes[place], reply),
        done,
    )


def _find(reading: GuardField | None, reply: str) -> float | None:
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


def make_classifier(name: str, options: JudgeOptions) -> Judge:
    """The judge "classifier:ID-or-path": a sequence classifier, or a guard that writes.

    Raises:
        UsageError, EngineError: a label has no meaning, or the model cannot be loaded.
    """
    model = name.partition(":")[2]
    spec = spec_for(model, options.labels)
    if spec is not None and spec.generates:
        return _make_guard(name, f"hf/{model}", spec, options)
    engine: Any = make_engine(f"classifier/{model}", Decoding(), options.for_engine)
    return Classifier(name, engine, check_labels(spec, model, engine.labels))


def make_guard(name: str, options: JudgeOptions) -> Judge:
    """The judge "guard:MODEL": a guard model through any engine, as a rubric judge is.

    Raises:
        UsageError, EngineError: how the model is asked is not known, or it cannot be had.
    """
    model = name.partition(":")[2]
    spec = spec_for(model, options.labels)
    if spec is None or not spec.generates:
        known = ", ".join(each.matches for each in shipped_specs() if each.generates)
        raise UsageError(
            f"how {model} is asked as a guard is not known; the known ones are {known}; describe "
            "it in a file for --judge-labels"
        )
    return _make_guard(name, model, spec, options)


def _make_guard(name: str, model: str, spec: Spec, options: JudgeOptions) -> Judge:
    if spec.chat_template and not engine_type(model).is_local:
        raise UsageError(
            f"{spec.id} needs a chat template of its own, which an endpoint does not take; use "
            f"guard:hf/ID or guard:vllm/ID"
        )
    reached = replace(options.for_engine, chat_template=spec.chat_template)
    return Guard(name, make_engine(model, Decoding(max_tokens=spec.generates), reached), spec)
