"""MMLU: four-option questions in 57 subjects.

`mmlu` is the 285 questions of the dev split, five a subject, which the code of the
personalization-bias paper asks; `mmlu-test` is the full test split of 14,042, where the
dev questions of the same subject can serve as worked examples.

An id is the subject and the row in that subject's file, so the few questions that occur
twice have two ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from evenhand.benchmarks.files import names_under
from evenhand.benchmarks.item import Benchmark, Item
from evenhand.benchmarks.prompts import SHOW_WORK, final_sentence, lettered, with_examples
from evenhand.errors import DataError
from evenhand.files import read_rows

_DEV, _TEST = names_under("mmlu/dev/"), names_under("mmlu/test/")
_LETTERS = "ABCD"

_MmluQuestion = tuple[str, tuple[str, ...], str]
"""Question, options, letter of the right one."""


def _subject(file: str) -> str:
    return Path(file).stem.removesuffix("_dev").removesuffix("_test")


def _dev_rows(path: Path) -> list[_MmluQuestion]:
    """The dev files have no header, and name the right option by its letter."""
    return [_row(cells, cells[5]) for cells in read_rows(path, DataError)]


def _test_rows(path: Path) -> list[_MmluQuestion]:
    """The test files have a header, and name the right option by its index."""
    return [_row(cells, _LETTERS[int(cells[5])]) for cells in read_rows(path, DataError)[1:]]


def _row(cells: list[str], letter: str) -> _MmluQuestion:
    return cells[0].strip(), tuple(cell.strip() for cell in cells[1:5]), letter


def _ask(question: str, choices: tuple[str, ...]) -> str:
    return f"{question}\n{lettered(choices)}"


def _item(
    benchmark: str, subject: str, index: int, row: _MmluQuestion, examples: list[_MmluQuestion]
) -> Item:
    question, choices, letter = row
    instruction = (
        f"This is a multiple-choice question about {subject.replace('_', ' ')}. "
        f"{SHOW_WORK} {final_sentence('the letter of one option')}"
    )
    worked = [
        (_ask(asked, options), f"Therefore, the answer is ({right}).")
        for asked, options, right in examples
    ]
    return Item(
        benchmark=benchmark,
        id=f"{subject}/{index:04d}",
        prompt=with_examples(instruction, worked, _ask(question, choices)),
        axis="utility",
        scorer="choice",
        answer=letter,
        choices=choices,
        subgroup=subject,
    )


def _read_dev(files: Mapping[str, Path], _shots: int) -> list[Item]:
    return [
        _item("mmlu", _subject(file), index, row, [])
        for file in _DEV
        for index, row in enumerate(_dev_rows(files[file]))
    ]


def _read_test(files: Mapping[str, Path], shots: int) -> list[Item]:
    items = []
    for dev, test in zip(_DEV, _TEST, strict=True):
        examples = _dev_rows(files[dev])[:shots] if shots else []
        items += [
            _item("mmlu-test", _subject(test), index, row, examples)
            for index, row in enumerate(_test_rows(files[test]))
        ]
    return items


_CITATION = "Hendrycks et al., Measuring Massive Multitask Language Understanding, ICLR 2021"
_HOME = "https://github.com/hendrycks/test"

MMLU = Benchmark(
    name="mmlu",
    title="MMLU, dev questions",
    axes=("utility",),
    size=285,
    description="Four-option questions, five in each of 57 subjects; the paper's selection.",
    license="MIT",
    citation=_CITATION,
    home=_HOME,
    read=_read_dev,
    files=_DEV,
)

MMLU_TEST = Benchmark(
    name="mmlu-test",
    title="MMLU, full test",
    axes=("utility",),
    size=14042,
    description="Four-option questions in 57 subjects; the full test split.",
    license="MIT",
    citation=_CITATION,
    home=_HOME,
    read=_read_test,
    files=_TEST,
    shot_files=_DEV,
    max_shots=5,
)
