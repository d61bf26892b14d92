"""What the labels of a classifier or guard model mean: the known ones, and the user's own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from evenhand.errors import UnknownName, UsageError
from evenhand.study.entry import Entry, read_entries

Meaning = Literal["refusal", "compliance", "harmless", "harmful", "safe"]

MEANINGS: dict[Meaning, tuple[float, float | None]] = {
    "refusal": (1.0, 1.0),
    "compliance": (0.0, 0.0),
    "harmless": (1.0, 0.0),
    "harmful": (0.0, 0.0),
    "safe": (1.0, None),
}
"""Meaning of a label -> (safe, refused), each from 0 to 1; None where the label does not say."""


class GuardField(Entry):
    """How one thing is read from what a guard writes.

    Attributes:
        pattern: regular expression with one group, case ignored; its first match counts.
        values: what the group says, in small letters -> number from 0 to 1, or none.
    """

    pattern: str
    values: dict[str, float | None]

    @field_validator("pattern")
    @classmethod
    def _check_pattern(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        if groups != 1:
            raise ValueError("the pattern needs one group, in (...)")
        return pattern

    @field_validator("values")
    @classmethod
    def _check_values(cls, values: dict[str, float | None]) -> dict[str, float | None]:
        if not all(value is None or 0 <= value <= 1 for value in values.values()):
            raise ValueError("values are numbers from 0 to 1, or null")
        return values


class Spec(Entry):
    """How to use one kind of classifier.

    Attributes:
        id: its name in a file of labels.
        matches: pattern of the model's name without its owner and without regard to case.
        labels: for a sequence classifier, what each of its labels means.
        reads: for a sequence classifier, the answer alone, or the question and the answer.
        generates: for a generative guard, the most tokens of its verdict; 0 for a classifier.
        question: a guard's own text with {prompt} and {answer}; without one it is given the
            conversation and its chat template does the rest.
        chat_template: in the place of the tokenizer's.
        safe, refused: how a guard's verdict is read; `refused` may be absent.
    """

    id: str = Field(pattern=r"^[\w.-]+$")
    matches: str = "*"
    labels: dict[str, Meaning] = Field(default_factory=dict)
    reads: Literal["answer", "question and answer"] = "answer"
    generates: int = Field(default=0, ge=0, le=1000)
    question: str = ""
    chat_template: str | None = None
    safe: GuardField | None = None
    refused: GuardField | None = None

    @model_validator(mode="after")
    def _check_kind(self) -> Spec:
        if self.generates and self.safe is None and self.refused is None:
            raise ValueError("a guard needs `safe` or `refused`, to read its verdict by")
        if not self.generates and not self.labels:
            raise ValueError("a classifier needs `labels`, a guard `generates`")
        gaps = all(gap in self.question for gap in ("{prompt}", "{answer}"))
        if self.question and not gaps:
            raise ValueError("`question` must hold {prompt} and {answer}")
        return self


@cache
def shipped_specs() -> tuple[Spec, ...]:
    """The classifiers that evenhand knows."""
    return tuple(_read(Path(__file__).parents[1] / "data" / "classifiers.yaml"))


def spec_for(model: str, labels: str | None) -> Spec | None:
    """How to use a model: as the user says, or as is known of its name; None if it is not.

    Args:
        model: id on the hub, or a path.
        labels: "LABEL=MEANING,...", or a YAML or TOML file with the list `classifiers`.

    Raises:
        UsageError: the labels are malformed, or the file has nothing for this model.
    """
    if labels is None:
        return _matching(shipped_specs(), model)
    if "=" in labels:
        return Spec(id="own", labels=_pairs(labels))
    found = _matching(_read(Path(labels)), model)
    if found is None:
        raise UsageError(f"{labels}: no entry under `classifiers` matches {model}")
    return found


def check_labels(spec: Spec | None, model: str, names: Sequence[str]) -> Spec:
    """The spec, if every label of the model's has a meaning by it.

    Raises:
        UsageError: a label has none, or the model is unknown; the line says how to name them.
    """
    if spec is None:
        example = ",".join(f"{name}=..." for name in names[:3])
        raise UsageError(
            f"what the labels of {model} mean is not known ({', '.join(names[:12])}); say it with "
            f'--judge-labels "{example}", each refusal, compliance, harmless, harmful or safe'
        )
    without = [name for name in names if name not in spec.labels]
    if without:
        raise UsageError(
            f"{model} has the label {without[0]}, which has no meaning in {spec.id}; there are: "
            f"{', '.join(spec.labels)}"
        )
    return spec


def _matching(specs: tuple[Spec, ...] | list[Spec], model: str) -> Spec | None:
    name = model.rstrip("/").rpartition("/")[2].lower()
    return next((spec for spec in specs if fnmatchcase(name, spec.matches.lower())), None)


def _read(path: Path) -> list[Spec]:
    entries = read_entries(path, {"classifiers": Spec})["classifiers"]
    return [entry for entry in entries if isinstance(entry, Spec)]


def _pairs(text: str) -> dict[str, Any]:
    found = {}
    for pair in text.split(","):
        label, equals, meaning = (part.strip() for part in pair.rpartition("="))
        if not equals or not label:
            raise UsageError(f'--judge-labels "{pair.strip()}" is not of the form LABEL=MEANING')
        if meaning not in MEANINGS:
            raise UnknownName("meaning", meaning, MEANINGS)
        found[label] = meaning
    return found
