"""Judges: who else can score an answer, in the place of the item's own scorer.

    refusal                        the offline judge, as ever
    rubric:openai/NAME             a model that grades by a rubric, through any engine
    rubric:hf/ID-or-path
    classifier:ID-or-path          a sequence classifier or guard model of the Hugging Face hub

A judge scores the items of safety and over-refusal; questions with a right answer keep their own
scorer. It is given an item's bare prompt and an answer, and never the identity or its cue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

from evenhand.benchmarks.item import JUDGED
from evenhand.engines import check_model, make_engine
from evenhand.engines.engine import Decoding
from evenhand.errors import MissingExtra, UnknownName
from evenhand.judges.judge import Judge, Judgment, Settle
from evenhand.judges.labels import spec_for

__all__ = ["Judge", "JudgeOptions", "Judgment", "Settle", "check_judge", "is_paid", "make_judge"]


@dataclass(frozen=True, slots=True)
class JudgeOptions:
    """How to reach a judge.

    Attributes:
        base_urls: of the endpoint of a rubric judge, up to and with "/v1". Without any: the
            environment's OPENAI_BASE_URL, never that of the model under audit.
        max_connections: the most requests under way at once.
        timeout: seconds for one attempt.
        batch_size: answers per forward pass of local weights.
        labels: what a classifier's labels mean: "LABEL=MEANING,...", or a file.
        max_tokens: the most tokens of a rubric judge's verdict; None for what suffices a model
            that does not think aloud.
    """

    base_urls: Sequence[str] = ()
    max_connections: int = 64
    timeout: float = 120.0
    batch_size: int = 64
    labels: str | None = None
    max_tokens: int | None = None


def check_judge(name: str, options: JudgeOptions | None = None) -> None:
    """Whether a judge of this name can be had, without loading or asking it.

    Raises:
        UnknownName: there is no such judge.
        MissingExtra: it needs packages that are not installed.
        UsageError: its labels are malformed.
    """
    kind, _, model = name.partition(":")
    if name in JUDGED:
        return
    if kind not in ("rubric", "classifier") or not model:
        raise UnknownName("judge", name, [*sorted(JUDGED), "rubric:MODEL", "classifier:MODEL"])
    if kind == "rubric":
        check_model(model)
    else:
        spec_for(model, options.labels if options else None)
    local = kind == "classifier" or not model.startswith("openai/")
    if local and not (find_spec("torch") and find_spec("transformers")):
        raise MissingExtra("judges with local weights", "local")


def is_paid(name: str) -> bool:
    """Whether a judge's verdicts may cost money: it is asked over HTTP."""
    return name.startswith("rubric:openai/")


def make_judge(name: str, options: JudgeOptions | None = None) -> Judge:
    """The judge of a name: "refusal", "rubric:MODEL" or "classifier:ID-or-path".

    Raises:
        UsageError, EngineError: as `check_judge`; or it has no key, or cannot be loaded.
    """
    options = options or JudgeOptions()
    check_judge(name, options)
    kind, _, model = name.partition(":")
    if name in JUDGED:
        from evenhand.judges.offline import Offline

        return Offline(next(scorer for scorer in JUDGED if scorer == name))
    # Imported here: a user of one judge need not wait for the packages of the others.
    if kind == "rubric":
        from evenhand.judges.rubric import MAX_TOKENS, Rubric

        make = partial(
            make_engine,
            model,
            base_urls=options.base_urls,
            max_connections=options.max_connections,
            timeout=options.timeout,
            batch_size=options.batch_size,
            judge=True,
        )
        structured = model.startswith("openai/")
        tokens = options.max_tokens or MAX_TOKENS
        return Rubric(name, make, structured=structured, max_tokens=tokens)
    spec = spec_for(model, options.labels)
    if spec is None or not spec.generates:
        from evenhand.judges.classifier import Classifier

        return Classifier(name, model, spec, batch_size=options.batch_size)
    from evenhand.engines.hf import HFEngine
    from evenhand.judges.guard import Guard

    engine = HFEngine(
        model,
        Decoding(max_tokens=spec.generates),
        name=name,
        batch_size=options.batch_size,
        chat_template=spec.chat_template,
    )
    return Guard(name, engine, spec)
