"""The import rule: stats imports nothing of evenhand, and no module one that stands above it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from pkgutil import resolve_name

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
import house_figures as house


def test_no_import_goes_upward() -> None:
    assert house.broken_arrows() == []


def test_every_module_has_a_floor() -> None:
    """A new room must be given its place in `FLOORS`."""
    assert [name for name, _ in house.modules() if name and house.floor_of(name) is None] == []


def test_an_upward_import_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, code in {
        "stats/a.py": "from evenhand.errors import UsageError\n",
        "store/b.py": "def f():\n    from evenhand.report import FORMS\n",
        "study/c.py": "import evenhand.cli.audit\nfrom evenhand.errors import StudyError\n",
        "run/d.py": "if TYPE_CHECKING:\n    from evenhand.cli import app\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(code)
    monkeypatch.setattr(house, "SOURCE", tmp_path)
    assert house.broken_arrows() == [
        "evenhand.stats.a:1 imports evenhand.errors",
        "evenhand.store.b:2 imports evenhand.report",
        "evenhand.study.c:1 imports evenhand.cli.audit",
    ]


def test_help_and_import_take_along_nothing_heavy() -> None:
    """Their time on an idle machine is in docs and CONTRIBUTING; this keeps what it rests on."""
    heavy = "{'numpy', 'scipy', 'pydantic', 'asyncio', 'aiohttp', 'altair', 'rich.progress'}"
    for code in (
        "import evenhand",
        "from evenhand.cli import main; main(['--help'])",
    ):
        script = f"import sys\n{code}\nprint('heavy:', sorted({heavy} & set(sys.modules)))"
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[-1] == "heavy: []"


@pytest.mark.parametrize(
    ("verb", "heavy"),
    [
        ("report", ["filelock", "evenhand.run.options", "evenhand.run.loop"]),
        ("watch", ["filelock", "ssl", "http.client"]),
    ],
)
def test_what_reads_takes_along_nothing_that_asks(verb: str, heavy: list[str]) -> None:
    heavy = ["asyncio", "aiohttp", "altair", *heavy]
    script = f"import sys, evenhand.cli.{verb}\nprint(sorted({{*{heavy}}} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_what_is_named_to_be_loaded_later_is_there() -> None:
    """Neither types nor an import fail where a name in a string has moved."""
    addresses = {
        address
        for file in house.SOURCE.rglob("*.py")
        for address in re.findall(r'"(evenhand(?:\.\w+)*:\w+)"', file.read_text(encoding="utf-8"))
    }
    assert len(addresses) > 50
    for address in sorted(addresses):
        resolve_name(address)


def test_no_class_name_has_two_meanings() -> None:
    assert house.classes_with_two_meanings() == {}
