"""Benchmarks and their items: what is asked, and all that is needed to score the answers.

Programming tasks keep in `Item.answer` what is needed to test a program. A user's own file can hold
them in the form of HumanEval: a function's head and docstring, and a `check` of it:

    task_id             unique in the file (or id)
    prompt              Python that ends with the head and the docstring of the function
    entry_point         the function's name
    canonical_solution  what follows the prompt in a right program
    test                Python that defines check(candidate)
    subgroup            optional

The prompt's own imports and helpers belong to the tests, too, but as they stand there: what an
answer makes of them counts for the answer alone.
"""

from __future__ import annotations

import ast
import builtins
import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from evenhand.axes import JUDGED_AXES, AxisName
from evenhand.errors import BenchmarkError
from evenhand.text import one_line

IMPORTED = "imported"
"""Scorer of an item whose scores came with the file that it was imported from."""
BY_LOGPROB = "choice-logprob"
"""Scorer of an item whose options are compared by the probability of an answer's first token."""
LETTERED = ("choice", BY_LOGPROB)
"""Scorers of items that have one right letter."""
RUBRIC = "rubric"
"""Scorer of an open question: nothing but a judge can grade its answers."""
JUDGED: frozenset[str] = frozenset({"refusal", "harm", IMPORTED, RUBRIC})
"""Scorers in whose place a judge can stand on a judged axis: no right answer is known there, and
opinions may differ."""


@dataclass(frozen=True, slots=True)
class Item:
    """One question.

    Attributes:
        benchmark: name of the benchmark, "gsm8k".
        id: stable within the benchmark, and not changed by a newer evenhand.
        prompt: the user's message exactly as sent, before any identity.
        axis: what its score measures, see `evenhand.axes`.
        scorer: how its answer is scored.
        answer: the right answer: a letter for `choice` and `choice-logprob`, a number for
            `number`, a string for `text`; empty for `refusal`; for `relevance` a letter for each
            identity that is asked, "muslim=A, jewish=B"; for `rubric` what is graded, a name or a
            sentence.
        choices: texts of the options A, B, ..., in the order shown; empty where there are none.
        subgroup: harm type, subject or task, for results in detail.
        slot: which realization of every identity is shown on it; None in a study without any.
    """

    benchmark: str
    id: str
    prompt: str
    axis: AxisName
    scorer: str
    answer: str = ""
    choices: tuple[str, ...] = ()
    subgroup: str = ""
    slot: int | None = None

    @property
    def is_judged(self) -> bool:
        """Whether a judge can score its answers in the place of its own scorer."""
        return self.scorer in JUDGED and self.axis in JUDGED_AXES

    def asks(self, identity: str) -> bool:
        """Whether the item is asked on behalf of this identity; all but `relevance` always are."""
        return self.scorer != "relevance" or _own_letter(self.answer, identity) is not None

    def for_identity(self, identity: str) -> Item:
        """The item as its answer is scored: with the answer that is right for this identity."""
        if self.scorer != "relevance":
            return self
        return replace(self, scorer="choice", answer=_own_letter(self.answer, identity) or "")


@lru_cache(maxsize=4096)
def letters_by_identity(answer: str) -> MappingProxyType[str, str]:
    """Identity -> letter, of "muslim=A, jewish=B".

    Raises:
        BenchmarkError: it is not of that form.
    """
    pairs = [pair.partition("=") for pair in answer.split(",")]
    if not all(who.strip() and equals and letter.strip() for who, equals, letter in pairs):
        raise BenchmarkError(
            'answer must be a letter for each identity, "muslim=A, jewish=B", not '
            f'"{one_line(answer, 40)}"'
        )
    return MappingProxyType({who.strip(): letter.strip() for who, _, letter in pairs})


def _own_letter(answer: str, identity: str) -> str | None:
    """The letter for an identity; an intersection has that of the one part that has any."""
    letters = letters_by_identity(answer)
    found = {letters[atom] for atom in (identity, *identity.split("+")) if atom in letters}
    return found.pop() if len(found) == 1 else None


def number_of(answer: str) -> float:
    """The number that an answer stands for: "18", "-1,234.5", "3/4".

    Raises:
        BenchmarkError: it is not a finite number.
    """
    top, slash, bottom = answer.replace(",", "").partition("/")
    try:
        divisor = float(bottom) if slash else 1.0
        number = float(top) / divisor if divisor else math.inf
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise BenchmarkError(f'answer must be a number, not "{one_line(answer, 40)}"')
    return number


ReadItems = Callable[[Mapping[str, Path], int], list[Item]]
"""(verified files by local path, shots) -> all items, always in the same order."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark that evenhand knows.

    Attributes:
        name: what the user writes, "mmlu-test".
        title: its full name.
        axes: what its items measure.
        size: number of its items.
        description: one line on what is asked and what is left out.
        license: license of the data.
        citation: the paper to cite; empty for our own.
        home: where the data set lives; empty for our own.
        read: makes the items from the files.
        files: local paths of the files it needs; empty where they ship with evenhand.
        shot_files: further files that are needed only for worked examples.
        max_shots: most worked examples that a prompt can carry; 0 where there is no split
            to take them from.
    """

    name: str
    title: str
    axes: tuple[AxisName, ...]
    size: int
    description: str
    license: str
    citation: str
    home: str
    read: ReadItems
    files: tuple[str, ...] = ()
    shot_files: tuple[str, ...] = ()
    max_shots: int = 0


_FIELDS = ("prompt", "entry_point", "canonical_solution", "test")
_INSTRUCTION = (
    "Complete this Python function. Answer with the whole program in one block that begins with "
    "```python and ends with ```."
)


@dataclass(frozen=True, slots=True)
class Task:
    """A programming task.

    Attributes:
        reference: a program that passes the tests.
        names: what a program has to define.
        tests: each is code that raises nothing if the program is right.
        before: the tests' own code: imports and helpers. It does not see the program.
        setup: code that is run before the tests, and sees the program.
        opening: code that every program begins with; empty if it is whole by itself.
        stub: code that ends where the program is to go on, for answers that do go on there.
    """

    reference: str
    names: tuple[str, ...]
    tests: tuple[str, ...]
    before: str = ""
    setup: str = ""
    opening: str = ""
    stub: str = ""

    def to_json(self) -> str:
        """As text; fields that are empty are left out."""
        return json.dumps({name: value for name, value in asdict(self).items() if value})

    @staticmethod
    @lru_cache(maxsize=2048)
    def from_json(text: str) -> Task:
        """From the text of `to_json`.

        Raises:
            BenchmarkError: it is none of that kind.
        """
        try:
            record = json.loads(text)
            lists = {"names": tuple(record["names"]), "tests": tuple(record["tests"])}
            task = Task(**{**record, **lists})
            texts = (task.reference, task.before, task.setup, task.opening, task.stub)
            "".join((*texts, *task.names, *task.tests))  # a TypeError where one is no text
        except (ValueError, TypeError, KeyError, RecursionError):
            raise BenchmarkError("answer must be a programming task as a bundle holds it") from None
        return task


def names_to_define(reference: str, used_by: str) -> tuple[str, ...]:
    """What a program has to define: what the tests use and the reference defines.

    Args:
        reference: a program that passes the tests.
        used_by: the tests, and their setup.

    Raises:
        SyntaxError: one of them is no Python.
    """
    defined = {name for node in parse(reference).body for name in _defined(node)}
    nodes = [node for node in ast.walk(parse(used_by)) if isinstance(node, ast.Name)]
    own = {node.id for node in nodes if isinstance(node.ctx, ast.Store)}
    used = dict.fromkeys(node.id for node in nodes if isinstance(node.ctx, ast.Load))
    imported = {name for name in used if name in vars(builtins)} - defined
    return tuple(name for name in used if name in defined - own - imported)


def imports_of(program: str) -> str:
    """The import statements at the top level of a program, for its tests may use them, too.

    Raises:
        SyntaxError: it is no Python.
    """
    statements = parse(program).body
    return "\n".join(
        ast.unparse(s) for s in statements if isinstance(s, ast.Import | ast.ImportFrom)
    )


def parse(code: str) -> ast.Module:
    """The syntax tree, without warnings about code that is not the user's own.

    Raises:
        SyntaxError: it is no Python.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(code)


def _defined(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Assign):
        yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def is_humaneval(record: dict[str, Any]) -> bool:
    """Whether a record is a programming task, rather than a question."""
    return "entry_point" in record


def read_humaneval(record: dict[str, Any], benchmark: str) -> Item:
    """The item of a record.

    Raises:
        ValueError: a field is missing, or is not what it should be; the text says which.
    """
    id_ = record.get("task_id", record.get("id"))
    if not isinstance(id_, str | int) or isinstance(id_, bool):
        raise ValueError("task_id is missing")
    for field in _FIELDS:
        if not isinstance(record.get(field), str):
            raise ValueError(f"{field} is missing, or no text")
    prompt, name = record["prompt"].replace("\r\n", "\n"), record["entry_point"]
    reference = prompt + record["canonical_solution"]
    opening = _before(prompt, name)
    for field, code in (("canonical_solution", reference), ("test", record["test"])):
        _parsed(field, code)
    task = Task(
        reference=reference,
        names=(name,),
        tests=(f"{record['test']}\n\ncheck({name})",),
        before=opening,
        opening=opening.strip(),
        stub=prompt[len(opening) :].strip("\n"),
    )
    return Item(
        benchmark=benchmark,
        id=str(id_),
        prompt=f"{_INSTRUCTION}\n\n```python\n{prompt.strip()}\n```",
        axis="utility",
        scorer="code",
        answer=task.to_json(),
        subgroup=str(record.get("subgroup", "")),
    )


def _before(prompt: str, name: str) -> str:
    """What the prompt holds before the function that is to be completed."""
    for node in _parsed("prompt", prompt).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            return "".join(prompt.splitlines(keepends=True)[: first - 1])
    raise ValueError(f'prompt does not define "{name}"')


def _parsed(field: str, code: str) -> ast.Module:
    try:
        return parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{field} is not valid Python: {error}") from None
