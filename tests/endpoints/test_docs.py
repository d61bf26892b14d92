"""docs/endpoints.md: the command line takes its commands, and its table of services is true."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from endpoints.asking import write_questions
from evenhand.engines.services import services
from runs import run_main

PAGE = (Path(__file__).parents[2] / "docs" / "endpoints.md").read_text()
COMMANDS = re.findall(r"^\$ (evenhand .*)$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("GATEWAY_TOKEN", "tok-0123456789")
    questions = write_questions(tmp_path / "own.jsonl")
    arguments = shlex.split(command)[1:]
    code = run_main([*arguments, "-b", str(questions), "--dry-run"])
    assert code == 0, capsys.readouterr().err


def test_the_table_of_services() -> None:
    rows = re.findall(r"^\| `([\w-]+)/` \| (\w+) \| ([^|]*) \| ([^|]*) \|$", PAGE, re.MULTILINE)
    assert {name for name, *_ in rows} == set(services())
    for name, wire, key, url in rows:
        service = services()[name]
        assert wire.lower() == service.wire
        assert f"`{service.key}`" in key
        assert service.base_url in url
