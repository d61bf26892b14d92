"""GSM8K: the 1,319 school word problems of its test split."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from evenhand.benchmarks.item import Benchmark, Item
from evenhand.benchmarks.prompts import SHOW_WORK, final_sentence, with_examples
from evenhand.errors import DataError
from evenhand.files import read_records

_TEST, _TRAIN = "gsm8k/test.jsonl", "gsm8k/train.jsonl"
_INSTRUCTION = f"Solve this problem. {SHOW_WORK} {final_sentence('a number')}"
_CALCULATOR_NOTE = re.compile(r"<<[^>]*>>")


def _problems(path: Path) -> list[tuple[str, str, str]]:
    """(question, work, final number) of each line."""
    problems = []
    for _, record in read_records(path, DataError):
        work, _, number = record["answer"].rpartition("####")
        problems.append((record["question"].strip(), work, number.strip().replace(",", "")))
    return problems


def _worked(question: str, work: str, number: str) -> tuple[str, str]:
    steps = _CALCULATOR_NOTE.sub("", work).strip()
    return question, f"{steps}\nTherefore, the answer is {number}."


def _read(files: Mapping[str, Path], shots: int) -> list[Item]:
    examples = [_worked(*problem) for problem in _problems(files[_TRAIN])[:shots]] if shots else []
    return [
        Item(
            benchmark="gsm8k",
            id=f"{index:04d}",
            prompt=with_examples(_INSTRUCTION, examples, question),
            axis="utility",
            scorer="number",
            answer=number,
        )
        for index, (question, _, number) in enumerate(_problems(files[_TEST]))
    ]


GSM8K = Benchmark(
    name="gsm8k",
    title="GSM8K",
    axes=("utility",),
    size=1319,
    description="School word problems whose answer is a whole number; the test split.",
    license="MIT",
    citation="Cobbe et al., Training Verifiers to Solve Math Word Problems, 2021",
    home="https://github.com/openai/grade-school-math",
    read=_read,
    files=(_TEST,),
    shot_files=(_TRAIN,),
    max_shots=20,
)
