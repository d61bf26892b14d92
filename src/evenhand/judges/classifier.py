"""Classifiers of the Hugging Face hub as judges, in this process.

A sequence classifier gives an answer the score of its likeliest label. A guard model, such as
Qwen3Guard, Llama Guard or WildGuard, writes its verdict, which is then read.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from evenhand.axes import AxisName
from evenhand.engines.engine import Engine
from evenhand.engines.hf import HFEngine, device, first_line, quiet
from evenhand.errors import EngineError, MissingExtra, ModelNotFound
from evenhand.judges.judge import Judge, Judgment, Settle, score_for
from evenhand.judges.labels import MEANINGS, GuardField, Spec, check_labels, spec_for
from evenhand.judges.queries import Unreadable, query_all
from evenhand.run.options import JudgeOptions
from evenhand.scorers.base import Answer, Verdict
from evenhand.study.cue import Message
from evenhand.study.decoding import Decoding
from evenhand.text import one_line

_BATCHES_PER_CHUNK = 16
"""Answers are sorted by length within chunks of so many batches, to waste little on padding."""
_LONGEST = 4096
"""Tokens that are read where the model itself names no limit."""


class Classifier:
    """Gives an answer the score of its likeliest label.

    Args:
        name: what the scores are stored under.
        model: id on the Hugging Face hub, or a folder.
        spec: what its labels mean; None if nothing is known of this model.
        batch_size: answers per forward pass; halved when memory runs out.

    Raises:
        MissingExtra: transformers or torch is not installed.
        ModelNotFound: there is no such model, or it is no sequence classifier.
        UsageError: a label has no meaning.
    """

    def __init__(self, name: str, model: str, spec: Spec | None, *, batch_size: int = 64) -> None:
        try:
            import torch
            import transformers
        except ImportError:
            raise MissingExtra("classifiers as judges", "local") from None
        self.name = name
        self._torch = torch
        self._batch_size = batch_size
        self._tokenizer, self._net = _load(transformers, torch, model)
        labels = {int(n): str(label) for n, label in self._net.config.id2label.items()}
        self._spec = check_labels(spec, model, labels)
        self._labels = labels
        self._longest = min(self._tokenizer.model_max_length, _positions(self._net.config))

    @property
    def facts(self) -> dict[str, Any]:
        """The meanings of the labels, and what the classifier reads."""
        return {"kind": "classifier", "labels": self._spec.labels, "reads": self._spec.reads}

    async def start(self) -> None:
        """Nothing to find out: the model is loaded."""

    async def judge(self, answers: Iterator[Answer], settle: Settle) -> None:
        """Classify all answers; see `Judge.judge`. The work is done in a thread of its own."""
        numbered = enumerate(answers)
        while chunk := list(islice(numbered, self._batch_size * _BATCHES_PER_CHUNK)):
            chunk.sort(key=lambda pair: -len(pair[1].text))
            start = 0
            while start < len(chunk):
                batch = chunk[start : start + self._batch_size]
                verdicts = await asyncio.to_thread(self._classify, [answer for _, answer in batch])
                for (place, _), verdict in zip(batch, verdicts, strict=True):
                    settle(place, Judgment(verdict))
                start += len(batch)

    async def close(self) -> None:
        """Nothing to release: the weights go with the object."""

    def _classify(self, answers: Sequence[Answer]) -> list[Verdict]:
        """One batch; when memory runs out, in halves."""
        try:
            return self._forward(answers)
        except self._torch.cuda.OutOfMemoryError:
            self._torch.cuda.empty_cache()
            half = len(answers) // 2
            if not half:
                raise EngineError("out of GPU memory with one answer at a time") from None
            self._batch_size = half
            return self._classify(answers[:half]) + self._classify(answers[half:])

    def _forward(self, answers: Sequence[Answer]) -> list[Verdict]:
        texts = [answer.text for answer in answers]
        if self._spec.reads == "answer":
            read = [texts]
        else:
            read = [[answer.item.prompt for answer in answers], texts]
        inputs = self._tokenizer(
            *read,
            return_tensors="pt",
            padding=True,
            truncation=True,
            max_length=self._longest,
        ).to(self._net.device)
        with self._torch.inference_mode():
            shares = self._net(**inputs).logits.float().softmax(dim=-1)
        found = zip(answers, shares.max(dim=-1).values, shares.argmax(dim=-1), strict=True)
        return [self._verdict(answer, float(share), int(n)) for answer, share, n in found]

    def _verdict(self, answer: Answer, share: float, label: int) -> Verdict:
        name = self._labels[label]
        meaning = self._spec.labels[name]
        score = score_for(answer.item.axis, *MEANINGS[meaning])
        return Verdict(score, f"{name} ({meaning}), {share:.2f}")


def _load(transformers: Any, torch: Any, model: str) -> tuple[Any, Any]:
    quiet(transformers)
    if model.startswith(("/", ".", "~")) and not Path(model).is_dir():
        raise ModelNotFound(f"cannot load {model}: there is no such folder")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(model, trust_remote_code=False)
        net, report = transformers.AutoModelForSequenceClassification.from_pretrained(
            model, output_loading_info=True, trust_remote_code=False
        )
    except Exception as error:  # a folder may hold anything, and each of its parsers has errors
        raise ModelNotFound(f"cannot load {model}: {first_line(error)}") from None
    if any("score" in key or "classifier" in key for key in report["missing_keys"]):
        raise ModelNotFound(f"{model} is no sequence classifier: it has no weights for one")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if net.config.pad_token_id is None:
        net.config.pad_token_id = tokenizer.pad_token_id
    return tokenizer, net.to(device(torch)).eval()


def _positions(config: Any) -> int:
    """Tokens that the model has places for; some keep two of them for themselves."""
    places = getattr(config, "max_position_embeddings", None)
    return places - 2 if isinstance(places, int) and places > 2 else _LONGEST


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

        await query_all(self._engine, questions(), read, done)

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
    if spec is None or not spec.generates:
        return Classifier(name, model, spec, batch_size=options.batch_size)
    engine = HFEngine(
        model,
        Decoding(max_tokens=spec.generates),
        name=name,
        batch_size=options.batch_size,
        chat_template=spec.chat_template,
    )
    return Guard(name, engine, spec)
