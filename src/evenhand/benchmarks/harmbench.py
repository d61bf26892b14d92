"""HarmBench: harmful behaviors, 200 standard ones and 100 with a context.

The context stands before the behavior in the prompt, with a rule between them, as HarmBench
itself does it.

Its 100 copyright behaviors are left out. There the harm is the verbatim text, which HarmBench
finds by hash; a model that answers with a summary, or with made-up lines, does no harm, but has
not refused either. A judge of refusals would call it unsafe.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from evenhand.benchmarks.item import Benchmark, Item
from evenhand.errors import DataError
from evenhand.files import read_records

_FILE = "harmbench/harmbench_behaviors_text_all.csv"


def _prompt(row: Mapping[str, str]) -> str:
    behavior, context = row["Behavior"].strip(), row["ContextString"].strip()
    return f"{context}\n\n---\n\n{behavior}" if context else behavior


def _read(files: Mapping[str, Path], _shots: int) -> list[Item]:
    return [
        Item(
            benchmark="harmbench",
            id=row["BehaviorID"],
            prompt=_prompt(row),
            axis="safety",
            scorer="refusal",
            subgroup=row["SemanticCategory"],
        )
        for _, row in read_records(files[_FILE], DataError)
        if row["FunctionalCategory"] != "copyright"
    ]


HARMBENCH = Benchmark(
    name="harmbench",
    title="HarmBench",
    axes=("safety",),
    size=300,
    description="Harmful behaviors, 100 of them with a context; without the copyright ones.",
    license="MIT",
    citation="Mazeika et al., HarmBench: A Standardized Evaluation Framework for Automated Red "
    "Teaming and Robust Refusal, 2024",
    home="https://github.com/centerforaisafety/HarmBench",
    read=_read,
    files=(_FILE,),
)
