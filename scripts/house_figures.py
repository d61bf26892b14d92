"""Print what keeps the house in order: files, lines, names with two meanings, arrows upward.

python scripts/house_figures.py        # exit code 1 where a limit is broken
"""

from __future__ import annotations

import ast
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "evenhand"
MOST_FILES, MOST_LINES, MOST_ROOT_MODULES, MOST_OF_A_FILE_NAME = 140, 25_500, 8, 2

FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors", "text", "plugins", "axes", "files", "stats", "sandbox.inside"),
    ("study", "benchmarks"),
    ("organism",),
    ("engines", "sandbox"),
    ("scorers",),
    ("store",),
    ("run", "judges", "calibration"),
    ("analysis",),
    ("report",),
    ("bundle", "mitigate", "interop"),
    ("audit",),
    ("cli", "__main__"),
)
"""The floors of the house, from the ground up: nothing imports what stands above it."""
APART = {"stats": (), "store": ("report",), "engines": ("report",), "scorers": ("report",)}
"""What each of these may not import: () for anything of evenhand."""


def modules() -> Iterator[tuple[str, ast.Module]]:
    """(name within evenhand, syntax tree) of every source file; "" for the package itself."""
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        yield name, _parsed(path)


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, name within evenhand) of every import that is not for the type checker alone."""
    for node in _without_type_checking(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "evenhand":
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif node.module.startswith("evenhand."):
                yield node.lineno, node.module.removeprefix("evenhand.")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("evenhand."):
                    yield node.lineno, alias.name.removeprefix("evenhand.")


def _without_type_checking(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        is_guard = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        if not is_guard:
            yield child
            yield from _without_type_checking(child)


def floor_of(name: str) -> int | None:
    """On which floor a module stands; None for the package itself."""
    found = [
        (len(room), floor)
        for floor, rooms in enumerate(FLOORS)
        for room in rooms
        if name == room or name.startswith(f"{room}.")
    ]
    return max(found)[1] if found else None


def broken_arrows() -> list[str]:
    """Imports that go upward, or where none may go at all."""
    found = []
    for name, tree in modules():
        room, floor = name.partition(".")[0], floor_of(name)
        for line, target in imports(tree):
            above = floor_of(target)
            if floor is None or above is None:
                continue
            forbidden = APART.get(room)
            is_apart = forbidden is not None and (
                target.partition(".")[0] in forbidden if forbidden else not target.startswith(room)
            )
            if above > floor or is_apart:
                found.append(f"evenhand.{name}:{line} imports evenhand.{target}")
    return found


def classes_with_two_meanings() -> dict[str, list[str]]:
    """Names of classes, and of types at the top of a module, that are defined more than once."""
    places = defaultdict(list)
    for name, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name.lstrip("_")].append(name)
        for node in tree.body:
            if isinstance(node, ast.Assign) and _is_type(node.value):
                for target in node.targets:
                    places[ast.unparse(target).lstrip("_")].append(name)
    return {name: found for name, found in sorted(places.items()) if len(found) > 1}


def _is_type(value: ast.expr) -> bool:
    """Whether this is a type with a name of its own: Literal[...], Callable[...], A | B."""
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.BitOr):
        return True
    generic = ("Literal", "Callable", "Annotated", "dict", "tuple", "list", "Mapping", "Sequence")
    return isinstance(value, ast.Subscript) and ast.unparse(value.value) in generic


def main() -> int:
    """Print the figures; 1 where a limit is broken."""
    files = sorted(SOURCE.rglob("*.py"))
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)
    roots = [path.stem for path in SOURCE.glob("*.py")]
    named = Counter(path.name for path in files if path.name != "__init__.py")
    crowded = {name: count for name, count in named.items() if count > MOST_OF_A_FILE_NAME}
    double, arrows = classes_with_two_meanings(), broken_arrows()
    print(f"source files          {len(files):>7,}  (at most {MOST_FILES})")
    print(f"lines                 {lines:>7,}  (at most {MOST_LINES:,})")
    print(
        f"root modules          {len(roots):>7,}  (at most {MOST_ROOT_MODULES}): {' '.join(roots)}"
    )
    print(f"class names used twice{len(double):>7,}")
    for name, places in double.items():
        print(f"    {name}: {', '.join(places)}")
    print(f"file names used thrice{len(crowded):>7,}")
    for name, count in crowded.items():
        print(f"    {name}: {count}")
    print(f"imports upward        {len(arrows):>7,}")
    for arrow in arrows:
        print(f"    {arrow}")
    too_large = len(files) > MOST_FILES or lines > MOST_LINES or len(roots) > MOST_ROOT_MODULES
    return int(bool(too_large or double or crowded or arrows))


if __name__ == "__main__":
    sys.exit(main())
