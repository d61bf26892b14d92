"""A study: what is asked, of which model, on behalf of whom, as the user states it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from evenhand.errors import UnknownName
from evenhand.files import read_mapping
from evenhand.study.decoding import PRESETS, Decoding
from evenhand.study.entry import Entry, validate

Baseline = Literal["none", "neutral"]


class Study(Entry):
    """What is asked, of which model, on behalf of whom.

    Attributes:
        model: "openai/NAME", "hf/ID-or-path" or "organism".
        benchmarks: names, suites or files of one's own; empty for the model's default suite.
        identities: ids, categories, "A*B" for intersections, or "all"; empty for all of the
            file, or the paper's 31 where there is none.
        identities_file: YAML or TOML file of one's own identities.
        placebos: whether to ask on behalf of the placebos too.
        cues: ids, forms, patterns or "all"; empty for all of the file, or the paper's cue where
            there is none.
        cues_file: YAML or TOML file of one's own cues.
        baseline: what the unidentified user's conversation holds where a cue stands in the system
            prompt: "none", no system prompt, as in the paper; or "neutral", "You are a helpful
            assistant.", for models whose chat template else inserts a prompt of the vendor's.
        defenses: ids, "none", or sentences; empty for none, and each of the file's against it.
        defenses_file: YAML or TOML file of one's own defenses.
        samples: answers per cell.
        limit: the most items of each benchmark; a fixed choice, so that a higher limit adds
            items and keeps the others.
        shots: worked examples before each question, where the benchmark has them.
        seed: which items a limit chooses, and in which order they are asked.
        judges: who scores the answers of safety and over-refusal, such as "rubric:openai/NAME";
            the report goes by the first. Empty for the scorers that the items themselves name.
        decoding: how the model picks its words.
    """

    model: str = Field(min_length=1)
    benchmarks: tuple[str, ...] = ()
    identities: tuple[str, ...] = ()
    identities_file: Path | None = None
    placebos: bool = False
    cues: tuple[str, ...] = ()
    cues_file: Path | None = None
    baseline: Baseline = "none"
    defenses: tuple[str, ...] = ()
    defenses_file: Path | None = None
    samples: int = Field(default=1, ge=1)
    limit: int | None = Field(default=None, ge=1)
    shots: int = Field(default=0, ge=0)
    seed: int = 0
    judges: tuple[str, ...] = ()
    decoding: Decoding = Decoding()


def read_study(path: Path, overrides: dict[str, Any]) -> Study:
    """The study of a YAML or TOML file; `overrides` win over what the file says.

    In a file `decoding` can be the name of a preset: "greedy", "paper". Paths in it start from
    its own folder.

    Raises:
        StudyError: the file is malformed or holds what no study has.
    """
    loaded = read_mapping(path)
    decoding = loaded.get("decoding") or {}
    if isinstance(decoding, str):
        if decoding not in PRESETS:
            raise UnknownName("decoding preset", decoding, PRESETS)
        decoding = PRESETS[decoding].model_dump()
    if isinstance(decoding, dict):
        decoding = {**decoding, **overrides.get("decoding", {})}
    found = {**_beside(path, loaded), **overrides, "decoding": decoding}
    return validate(Study, found, str(path))


def _beside(path: Path, loaded: dict[str, Any]) -> dict[str, Any]:
    """The study with the files that it names looked up beside its own file."""
    found = dict(loaded)
    for name in ("identities_file", "cues_file", "defenses_file"):
        if isinstance(loaded.get(name), str):
            found[name] = path.parent / loaded[name]
    if isinstance(loaded.get("benchmarks"), list):
        found["benchmarks"] = [
            str(path.parent / name) if str(name).endswith((".jsonl", ".csv")) else name
            for name in loaded["benchmarks"]
        ]
    return found
