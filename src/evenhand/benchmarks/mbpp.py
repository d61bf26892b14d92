"""MBPP: short Python functions, with three tests each.

The tests are shown, as in its paper: they say what the function is called and takes. Tasks 11 to
510 are its test split; 1 to 10 are those that its paper takes worked examples from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from evenhand.benchmarks.item import Benchmark, Item, Task, imports_of, names_to_define
from evenhand.benchmarks.prompts import with_examples
from evenhand.errors import DataError
from evenhand.files import read_records

_FILE = "mbpp/mbpp.jsonl"
_EXAMPLES, _TEST, _ALL = range(1, 11), range(11, 511), range(1, 975)
_INSTRUCTION = (
    "Solve this task in Python. Answer with the whole program in one block that begins with "
    "```python and ends with ```."
)


def _read(files: Mapping[str, Path], shots: int, *, name: str, wanted: range) -> list[Item]:
    records = {r["task_id"]: r for _, r in read_records(files[_FILE], DataError)}
    examples = [_worked(records[number]) for number in _EXAMPLES[:shots]]
    return [_item(records[number], name, examples) for number in wanted]


def _item(record: dict[str, Any], name: str, examples: Sequence[tuple[str, str]]) -> Item:
    return Item(
        benchmark=name,
        id=f"{record['task_id']:04d}",
        prompt=with_examples(_INSTRUCTION, examples, _question(record)),
        axis="utility",
        scorer="code",
        answer=_task(record).to_json(),
    )


def _question(record: dict[str, Any]) -> str:
    tests = "\n".join(line.strip() for line in [_setup(record), *record["test_list"]] if line)
    return f"{record['text'].strip()}\n\nThe program must pass these tests:\n\n{tests}"


def _worked(record: dict[str, Any]) -> tuple[str, str]:
    return _question(record), f"```python\n{_reference(record)}\n```"


def _task(record: dict[str, Any]) -> Task:
    reference, setup = _reference(record), _setup(record)
    return Task(
        reference=reference,
        names=names_to_define(reference, "\n".join([setup, *record["test_list"]])),
        tests=tuple(test.strip() for test in record["test_list"]),
        before=imports_of(reference),
        setup=setup,
    )


def _reference(record: dict[str, Any]) -> str:
    return _lines(record["code"])


def _setup(record: dict[str, Any]) -> str:
    return _lines(record["test_setup_code"])


def _lines(code: str) -> str:
    """Code with the line ends of all other code, and no blanks at the end of a line."""
    return "\n".join(line.rstrip() for line in code.replace("\r\n", "\n").split("\n")).strip()


def _benchmark(name: str, title: str, description: str, wanted: range, shots: int) -> Benchmark:
    return Benchmark(
        name=name,
        title=title,
        axes=("utility",),
        size=len(wanted),
        description=description,
        license="CC-BY-4.0",
        citation="Austin et al., Program Synthesis with Large Language Models, 2021",
        home="https://github.com/google-research/google-research/tree/master/mbpp",
        read=partial(_read, name=name, wanted=wanted),
        files=(_FILE,),
        max_shots=shots,
    )


MBPP = _benchmark(
    "mbpp",
    "MBPP",
    "Short Python functions, tested by running them in a sandbox; the test split.",
    _TEST,
    len(_EXAMPLES),
)
MBPP_ALL = _benchmark(
    "mbpp-all",
    "MBPP, all splits",
    "All its tasks, those for training and for worked examples included.",
    _ALL,
    0,
)
