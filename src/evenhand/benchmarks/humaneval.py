"""Programming tasks as in HumanEval: a function's head and docstring, and a `check` of it.

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
from typing import Any

from evenhand.benchmarks.item import Item
from evenhand.benchmarks.task import Task, parse

_FIELDS = ("prompt", "entry_point", "canonical_solution", "test")
_INSTRUCTION = (
    "Complete this Python function. Answer with the whole program in one block that begins with "
    "```python and ends with ```."
)


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
