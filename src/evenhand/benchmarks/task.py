"""Programming tasks: what is needed to test a program, as it is kept in `Item.answer`.

A user's own file can hold them in the form of HumanEval: a function's head and docstring, and a
`check` of it.


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
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from evenhand.benchmarks.item import Item

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
            ValueError, TypeError, KeyError: it is none of that kind.
        """
        record = json.loads(text)
        return Task(**{**record, "names": tuple(record["names"]), "tests": tuple(record["tests"])})


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
