"""Judges: scorers that can replace the one an item names.

    refusal, harm                  the offline judges
    rubric:openai/NAME             a model that grades by a rubric, through any engine
    rubric:hf/ID-or-path
    classifier:ID-or-path          a sequence classifier or guard model of the Hugging Face hub

A judge scores the items of safety and over-refusal; questions with a right answer keep their own
scorer. A judge is given the item's bare prompt and an answer, never the identity or its cue.
"""

from __future__ import annotations

from importlib.util import find_spec

from evenhand.engines import engine_type
from evenhand.errors import MissingExtra, UnknownName
from evenhand.judges.judge import Judge, Judgment, Settle
from evenhand.judges.labels import spec_for
from evenhand.plugins import load_plugin, plugin_names
from evenhand.run.options import JudgeOptions

__all__ = ["Judge", "JudgeOptions", "Judgment", "Settle", "check_judge", "is_paid", "make_judge"]

JUDGES: dict[str, str] = {
    "refusal": "evenhand.judges.judge:make_offline",
    "harm": "evenhand.judges.judge:make_offline",
    "rubric": "evenhand.judges.rubric:make_rubric",
    "classifier": "evenhand.judges.classifier:make_classifier",
}
"""First part of a judge's name -> "module:function" that makes it of its name and `JudgeOptions`.

Loaded when used: a user of one judge need not wait for the packages of the others. Packages add to
it by the entry point group `evenhand.judges`.
"""
_WITH_MODEL = ("rubric", "classifier")


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
    if kind == "rubric":
        is_local = engine_type(model).is_local
    else:
        spec_for(model, options.labels if options else None)
        is_local = True
    if is_local and not (find_spec("torch") and find_spec("transformers")):
        raise MissingExtra("judges with local weights", "local")


def is_paid(name: str) -> bool:
    """Whether a judge's verdicts may cost money: it is asked over HTTP."""
    kind, _, model = name.partition(":")
    return kind == "rubric" and bool(engine_type(model).is_paid)


def make_judge(name: str, options: JudgeOptions | None = None) -> Judge:
    """The judge of a name: "refusal", "rubric:MODEL" or "classifier:ID-or-path".

    Raises:
        UsageError, EngineError: as `check_judge`; or it has no key, or cannot be loaded.
    """
    options = options or JudgeOptions()
    check_judge(name, options)
    made: Judge = load_plugin("judge", name.partition(":")[0], JUDGES)(name, options)
    return made
