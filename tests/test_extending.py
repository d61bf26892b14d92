"""docs/extending.md: each example installed as a package of its own, and the commands run."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from fakes import write_rows

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
BLOCK = re.compile(r"```(python|toml)\n# file: (\S+)\n(.*?)```", re.DOTALL)


def install(page: str, site: Path) -> list[str]:
    """The packages of the page's examples, as pip would leave them; their names."""
    found = {name: text for _, name, text in BLOCK.findall(page)}
    packages = sorted({name.partition(".")[0] for name in found})
    for package in packages:
        (site / f"{package}.py").write_text(found[f"{package}.py"])
        groups = tomllib.loads(found[f"{package}.toml"])["project"]["entry-points"]
        info = site / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [
            line
            for group, entries in groups.items()
            for line in (f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()))
        ]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return packages


class Shell:
    """Runs commands where the packages are installed."""

    def __init__(self, site: Path, folder: Path) -> None:
        self._folder = folder
        self._environment = {**os.environ, "PYTHONPATH": str(site)}

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", *shlex.split(command)]
        return subprocess.run(
            words, cwd=self._folder, env=self._environment, capture_output=True, text=True
        )


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    site = tmp_path_factory.mktemp("site")
    packages = install(PAGE.read_text(), site)
    assert len(packages) == 5, packages
    return Shell(site, tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def ran(shell: Shell) -> list[tuple[str, subprocess.CompletedProcess[str]]]:
    """The page's commands in their order, each with how it ended."""
    commands = re.findall(r"^\$ (evenhand .*)$", PAGE.read_text(), re.MULTILINE)
    assert len(commands) >= 4
    return [(command, shell.run(command)) for command in commands]


@pytest.mark.slow
def test_the_commands_of_the_page_work(
    ran: list[tuple[str, subprocess.CompletedProcess[str]]],
) -> None:
    for command, done in ran:
        assert done.returncode == 0, (command, done.stderr)


@pytest.mark.slow
def test_they_print_what_the_page_says(
    ran: list[tuple[str, subprocess.CompletedProcess[str]]],
) -> None:
    shown = re.findall(r"^\$ (evenhand .*)\n(?!\$)(.+)$", PAGE.read_text(), re.MULTILINE)
    shown = [(command, line) for command, line in shown if line != "```"]
    assert shown
    printed = {command: done.stdout for command, done in ran}
    for command, line in shown:
        assert printed[command].strip() == line


@pytest.mark.slow
def test_the_scores_are_those_of_the_packages(
    ran: list[tuple[str, subprocess.CompletedProcess[str]]], shell: Shell
) -> None:
    assert ran
    own = json.loads(shell.run("evenhand report runs/loud --format json").stdout)
    assert own["axes"]["utility"]["mean"] == 100  # SURE, HERE IS HOW.
    assert own["axes"]["safety"]["mean"] == 0
    report = "evenhand report runs/loud --judge polite --format json"
    judged = json.loads(shell.run(report).stdout)
    assert judged["judge"] == "polite"
    assert judged["axes"]["safety"]["mean"] == 0


@pytest.mark.slow
def test_what_is_installed_is_listed_and_suggested(shell: Shell) -> None:
    listed = json.loads(shell.run("evenhand benchmarks --format json").stdout)
    assert listed[-1]["name"] == "tea"
    for command, hint in {
        "evenhand plan ecko/loud -b tea": 'did you mean "echo/loud"?',
        "evenhand plan echo/loud -b te": 'did you mean "tea"?',
        "evenhand plan echo/loud -b tea --judge polit": 'did you mean "polite"?',
        "evenhand report runs/loud --format lin": 'did you mean "line"?',
    }.items():
        done = shell.run(command)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert hint in done.stderr


@pytest.mark.slow
def test_a_file_of_ones_own_can_name_the_scorer(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    rows = [
        {"id": str(n), "prompt": f"Shout {n}.", "axis": "utility", "scorer": "shout"}
        for n in range(3)
    ]
    write_rows(path, rows)
    done = shell.run(
        f"evenhand audit echo/loud -b {path} -i age --out {tmp_path}/run --format json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["axes"]["utility"]["mean"] == 100


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("TEA = 1", "must name a Benchmark"),
        ("raise RuntimeError('no')", "RuntimeError: no"),
        (
            "from evenhand.benchmarks import Benchmark\n"
            "TEA = Benchmark('bad', '', ('safety',), 1, *4 * [''], lambda files, shots: 1 / 0)",
            "ZeroDivisionError",
        ),
        (
            "from evenhand.benchmarks import Benchmark, Item\n"
            "items = [Item('bad', '1', 'a', 'safety', 'refusal')] * 2\n"
            "TEA = Benchmark('bad', '', ('safety',), 1, *4 * [''], lambda files, shots: items)",
            "an id of its own",
        ),
    ],
)
@pytest.mark.slow
def test_a_broken_package_is_one_line(tmp_path: Path, code: str, reason: str) -> None:
    page = f"```python\n# file: bad.py\n{code}\n```\n```toml\n# file: bad.toml\n"
    page += '[project.entry-points."evenhand.benchmarks"]\nbad = "bad:TEA"\n```\n'
    install(page, tmp_path)
    done = Shell(tmp_path, tmp_path).run("evenhand plan openai/m -b bad")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert reason in done.stderr
