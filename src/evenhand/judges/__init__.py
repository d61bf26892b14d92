"""Judges: scorers that can replace the one an item names.

    refusal, harm                  the offline judges
    rubric:openai/NAME             a model that grades by a rubric, through any engine
    rubric:hf/ID-or-path
    guard:vllm/ID                  a guard model that writes its verdict, through any engine
    classifier:ID-or-path          a sequence classifier or guard model of the Hugging Face hub

A judge scores the items of safety and over-refusal, a rubric also open questions (quality);
questions with a right answer keep their own scorer. A judge is given the item's bare prompt and an
answer, never the identity or its cue.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from evenhand.engines import engine_type
from evenhand.errors import MissingExtra, UnknownName, UsageError
from evenhand.judges.classifier import spec_for
from evenhand.judges.judge import ForeignJudge, Judge, Judgment, Settle
from evenhand.plugins import blamed, load_plugin, plugin_names
from evenhand.run.options import JudgeOptions, RunOptions

__all__ = [
    "Judge",
    "JudgeOptions",
    "Judgment",
    "Settle",
    "check_judge",
    "is_paid",
    "make_judge",
    "runs_locally",
]

JUDGES: dict[str, str] = {
    "refusal": "evenhand.judges.judge:make_offline",
    "harm": "evenhand.judges.judge:make_offline",
    "rubric": "evenhand.judges.rubric:make_rubric",
    "guard": "evenhand.judges.classifier:make_guard",
    "classifier": "evenhand.judges.classifier:make_classifier",
}
"""First part of a judge's name -> "module:function" that makes it of its name and `JudgeOptions`.

Loaded when used: a user of one judge need not wait for the packages of the others. Packages add to
it by the entry point group `evenhand.judges`.
"""
_WITH_MODEL = ("rubric", "guard", "classifier")


def check_judge(name: str, options: JudgeOptions | None = None) -> None:
    """Check that a judge of this name exists, without loading or asking it.

    Raises:
        UnknownName: there is no such judge.
        MissingExtra: it needs packages that are not installed.
        UsageError: its labels are malformed.
    """
    kind, _, model = name.partition(":")
    if kind not in JUDGES and kind in plugin_names("judge", JUDGES):
        return
    if kind not in JUDGES or bool(model) != (kind in _WITH_MODEL):
        known = plugin_names("judge", JUDGES)
        forms = [f"{each}:MODEL" if each in _WITH_MODEL else each for each in known]
        raise UnknownName("judge", name, forms)
    if not model:
        return
    if kind != "rubric":
        spec_for(model, options.labels if options else None)
    here = options is None or options.on is None
    if here and runs_locally(name) and not (find_spec("torch") and find_spec("transformers")):
        raise MissingExtra("judges with local weights", "local")


def _engine_of(name: str) -> Any:
    """The class of the engine that a judge asks; None for an offline judge."""
    kind, _, model = name.partition(":")
    if not model:
        return None
    return engine_type(f"classifier/{model}" if kind == "classifier" else model)


def runs_locally(name: str) -> bool:
    """Whether a judge has weights that run in this process, or on workers."""
    engine = _engine_of(name)
    return engine is not None and bool(engine.is_local)


def is_paid(name: str) -> bool:
    """Whether a judge's verdicts may cost money: it is asked over HTTP."""
    engine = _engine_of(name)
    return engine is not None and bool(engine.is_paid)


def check_effect(
    options: RunOptions | JudgeOptions, judges: Sequence[str], model: str | None = None
) -> None:
    """Check that every option of where and how to ask concerns the model or a judge.

    Args:
        judges: names of all judges.
        model: of the study; None where only judges work.

    Raises:
        UsageError: an option that was given has no effect.
    """
    local = model is not None and engine_type(model).is_local
    names = ", ".join(judges if model is None else (model, *judges)) or "none"
    of_weights = {
        "--on": options.on is not None,
        "--workers": (options.workers or 1) > 1,
        "--batch-size": options.batch_size is not None,
    }
    flag = next((name for name, is_given in of_weights.items() if is_given), "")
    if flag and not local and not any(map(runs_locally, judges)):
        raise UsageError(
            f"{flag} is for local weights, such as hf/ID or vllm/ID; there are: {names}"
        )
    if isinstance(options, RunOptions):
        given = {
            "--base-url": options.base_urls,
            "--header": options.headers,
            "--query": options.query,
        }
        if local and (flag := next((name for name, value in given.items() if value), "")):
            raise UsageError(
                f"{flag} is for a model that is asked over HTTP, such as openai/NAME; {model} has "
                "local weights"
            )
    judging = options.judging if isinstance(options, RunOptions) else options
    _check_effect_on_judges(judging, judges)


def _check_effect_on_judges(options: JudgeOptions, judges: Sequence[str]) -> None:
    kinds = {name.partition(":")[0] for name in judges}
    if kinds - set(JUDGES):  # of another package, which may use any of them
        return
    over_http = any(_engine_of(name) is not None and not runs_locally(name) for name in judges)
    told = f"the judges are: {', '.join(judges)}" if judges else "no judge is named with --judge"
    for flag, value, has_effect, whom in (
        ("--judge-base-url", options.base_urls, over_http, "a judge that is asked over HTTP"),
        ("--judge-price", options.price, over_http, "a judge that is asked over HTTP"),
        (
            "--judge-labels",
            options.labels,
            kinds & {"guard", "classifier"},
            "a guard or classifier judge",
        ),
        ("--judge-max-tokens", options.max_tokens, "rubric" in kinds, "a rubric judge"),
    ):
        if value and not has_effect:
            raise UsageError(f"{flag} is for {whom}; {told}")


def make_judge(name: str, options: JudgeOptions | None = None) -> Judge:
    """The judge of a name: "refusal", "rubric:MODEL", "guard:MODEL" or "classifier:ID".

    Raises:
        UsageError, EngineError: as `check_judge`; or it has no key, or cannot be loaded.
    """
    options = options or JudgeOptions()
    check_judge(name, options)
    kind = name.partition(":")[0]
    make = load_plugin("judge", kind, JUDGES)
    with blamed("judge", kind, JUDGES):
        made: Judge = make(name, options)
    return made if kind in JUDGES else ForeignJudge(name, made)
