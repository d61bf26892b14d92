"""A programming task: what is needed to test a program, as it is kept in `Item.answer`."""

from __future__ import annotations

import ast
import builtins
import json
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache


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
