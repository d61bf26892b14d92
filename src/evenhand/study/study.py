"""A study: what is asked, of which model, on behalf of whom, as the user states it.

The fields are the keys of a study file and the flags of the command line: an option is written
here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter
from pydantic import BeforeValidator, Field

from evenhand.files import MAPPING_ENDINGS, RECORD_ENDINGS, read_mapping
from evenhand.study.decoding import Decoding
from evenhand.study.entry import Entry, us_keys, validate

Baseline = Literal["none", "neutral"]
Choice = Literal["generate", "logprob"]
Realizations = Literal["rotating", "crossed"]


def split_names(given: Any) -> Any:
    """Names, each of which may be several that are separated by commas."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        return given
    values = list(given)
    if not all(isinstance(value, str) for value in values):
        return given
    names = tuple(name.strip() for value in values for name in value.split(",") if name.strip())
    if values and not names:
        raise ValueError("was given without any name")
    return names


def _names(*flags: str) -> Parameter:
    return Parameter(name=flags, negative="", show_default=False)


JUDGE_NAMES = _names("--judge", "-j")
_FILE = Parameter(show_default=False)


class StudySelection(Entry):
    """The part of a study that every verb which can start an audit takes."""

    benchmarks: Annotated[
        tuple[str, ...],
        BeforeValidator(split_names),
        _names("--benchmark", "--benchmarks", "-b"),
    ] = ()
    """Benchmark, suite or file (.jsonl, .csv) to ask; repeat the option or separate names by
    commas. Default: demo for the organism, demo2 for organism-2, paper for any other model."""

    identities: Annotated[
        tuple[str, ...],
        BeforeValidator(split_names),
        _names("--identity", "--identities", "-i"),
    ] = ()
    """Identity or category to ask for; "religion*age" for intersections, all for every identity.
    Default: all identities of the file, or all built-in ones."""

    limit: int | None = Field(default=None, ge=1)
    """Maximum number of items of each benchmark: a fixed random choice, to which a higher limit
    adds. Default: all items."""


class StudyOptions(StudySelection):
    """A study without its model: all that a study file or the flags can set."""

    identities_file: Annotated[Path | None, _FILE] = None
    """YAML or TOML file of your own identities."""

    placebos: Annotated[bool, Parameter(show_default=False)] = False
    """Whether to ask for placebos too: attributes that should not matter. Default: no."""

    cues: Annotated[
        tuple[str, ...],
        BeforeValidator(split_names),
        _names("--cue", "--cues", "-c"),
    ] = ()
    """How the model is told who the user is: system, user, memory, history, third-person,
    "memory-*" for every wording, or all. Default: all cues of the file, or system."""

    cues_file: Annotated[Path | None, _FILE] = None
    """YAML or TOML file of your own cues."""

    baseline: Annotated[Baseline, Parameter(show_default=False, show_choices=False)] = "none"
    """System prompt of the unidentified user where a cue stands in the system prompt: none, as in
    the paper, or neutral ("You are a helpful assistant."), for models whose chat template inserts a
    system prompt of its own. Default: none."""

    realizations: Annotated[Realizations, Parameter(show_default=False, show_choices=False)] = (
        "rotating"
    )
    """How identities with several realizations, such as names, are asked: rotating shows the k-th
    of every identity on the k-th block of items, at no further cost; crossed asks for each of them
    on all items. Default: rotating."""

    check_cues: Annotated[bool, Parameter(show_default=False)] = False
    """Whether to ask too, in a conversation of its own, whom the model takes the user for: every
    identity's category as options, with "I cannot tell". Default: no."""

    defenses: Annotated[tuple[str, ...], _names("--defense", "--defenses", "-d")] = ()
    """Defense for the system prompt: a name, none, or a sentence; may be repeated. Default: none,
    and each defense of the file."""

    defenses_file: Annotated[Path | None, _FILE] = None
    """YAML or TOML file of your own defenses."""

    samples: int = Field(default=1, ge=1)
    """Number of answers per cell."""

    shots: int = Field(default=0, ge=0)
    """Number of worked examples before each question, where the benchmark has them."""

    choice: Annotated[Choice, Parameter(show_default=False, show_choices=False)] = "generate"
    """How multiple-choice questions are answered: generate lets the model write an answer; logprob
    asks for the letter and compares the probabilities of the first token, for local weights and for
    endpoints that give `top_logprobs`. Default: generate."""

    seed: int = 0
    """Seed of the choice and order of items."""

    judges: Annotated[
        tuple[str, ...],
        JUDGE_NAMES,
        Parameter(
            group=Group("Judge: who scores the answers of safety and over-refusal", sort_key=4)
        ),
    ] = ()
    """Judge of the answers: rubric:MODEL, guard:MODEL, classifier:ID-or-path, or an offline judge
    (refusal, harm); may be repeated, and reports go by the first. Default: the scorers that the
    items name."""

    decoding: Annotated[
        Decoding,
        Parameter(name="*", group=Group("Decoding: how the model picks its words", sort_key=2)),
    ] = Decoding()
    """Decoding parameters."""


class Study(StudyOptions):
    """What is asked, of which model, on behalf of whom."""

    model: str = Field(min_length=1)
    """Model: openai/NAME, hf/ID-or-path, organism, ...; see `evenhand.engines`."""


def study_of(target: str, options: StudySelection | None = None) -> Study:
    """The study of a study file or of a model, with the options that were given on top.

    Args:
        target: name of a model, or path of a study file (.yaml, .yml, .toml).
        options: only fields that were set count.

    Raises:
        StudyError: the file is malformed, or a value is invalid.
    """
    given = _set_fields(options) if options else {}
    if is_study_file(target):
        return read_study(Path(target), given)
    return validate(Study, {"model": target, **given}, "study")


def stated_fields(study: Study) -> dict[str, Any]:
    """The fields of a study that are not the default, as a study file holds them."""
    usual = Study(model="any").model_dump(mode="json")
    stated = study.model_dump(mode="json")
    found = {"model": stated["model"]} | {
        name: value for name, value in stated.items() if value != usual.get(name)
    }
    if "decoding" in found:
        found["decoding"] = {
            name: value
            for name, value in found["decoding"].items()
            if value != usual["decoding"].get(name)
        }
    return found


def is_study_file(target: str) -> bool:
    """Whether this names a study file rather than a model."""
    return target.endswith(MAPPING_ENDINGS)


def read_study(path: Path, overrides: dict[str, Any]) -> Study:
    """The study of a YAML or TOML file; `overrides` win over what the file says.

    In a file `decoding` can be the name of a preset: "greedy", "paper". Paths in it start from
    its own folder.

    Raises:
        StudyError: the file is malformed or holds what no study has.
    """
    loaded = us_keys(read_mapping(path))
    found = {**_beside(path, loaded), **overrides}
    decoding = loaded.get("decoding") or {}
    if isinstance(decoding, str):
        decoding = {"preset": decoding}
    if isinstance(decoding, dict):
        found["decoding"] = {**decoding, **overrides.get("decoding", {})}
    else:
        found["decoding"] = decoding
    return validate(Study, found, str(path))


def _set_fields(options: StudySelection) -> dict[str, Any]:
    """The fields that were set, and of the decoding only those that were set in it."""
    given = {name: getattr(options, name) for name in options.model_fields_set}
    if isinstance(options, StudyOptions) and "decoding" in given:
        given["decoding"] = options.decoding.model_dump(include=options.decoding.model_fields_set)
    return given


def _beside(path: Path, loaded: dict[str, Any]) -> dict[str, Any]:
    """The study with the files that it names looked up beside its own file."""
    found = dict(loaded)
    for name in ("identities_file", "cues_file", "defenses_file"):
        if isinstance(loaded.get(name), str):
            found[name] = path.parent / loaded[name]
    if isinstance(loaded.get("benchmarks"), list):
        found["benchmarks"] = [
            str(path.parent / name) if str(name).endswith(RECORD_ENDINGS) else name
            for name in loaded["benchmarks"]
        ]
    return found
