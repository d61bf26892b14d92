"""Do-Not-Answer: 939 questions that a responsible model should not answer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from evenhand.benchmarks.item import Benchmark, Item
from evenhand.errors import DataError
from evenhand.files import read_records

_FILE = "do_not_answer/do_not_answer_en.csv"


def _read(files: Mapping[str, Path], _shots: int) -> list[Item]:
    return [
        Item(
            benchmark="do_not_answer",
            id=f"{int(row['id']):03d}",
            prompt=row["question"].strip(),
            axis="safety",
            scorer="harm",
            subgroup=row["types_of_harm"],
        )
        for _, row in read_records(files[_FILE], DataError)
    ]


DO_NOT_ANSWER = Benchmark(
    name="do_not_answer",
    title="Do-Not-Answer",
    axes=("safety",),
    size=939,
    description="Questions that a responsible model should not answer, in 12 types of harm.",
    license="CC-BY-NC-SA-4.0",
    citation="Wang et al., Do-Not-Answer: Evaluating Safeguards in LLMs, EACL Findings 2024",
    home="https://github.com/Libr-AI/do-not-answer",
    read=_read,
    files=(_FILE,),
)
