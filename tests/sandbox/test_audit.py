"""A whole audit of programming tasks, from the endpoint to the scores."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clock import seconds_for
from runs import run_main
from server import serving

pytestmark = pytest.mark.usefixtures("bubblewrap")

RIGHT = "```python\ndef add(a, b):\n    return a + b\n```"
WRONG = "```python\nimport os\nos._exit(0)\n```"
TASK = {
    "prompt": 'def add(a, b):\n    """The sum."""\n',
    "entry_point": "add",
    "canonical_solution": "    return a + b\n",
    "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with (tmp_path / "tasks.jsonl").open("w") as file:
        for number in range(4):
            prompt = TASK["prompt"].replace("sum", f"sum no. {number}")
            file.write(json.dumps({**TASK, "task_id": f"{number}", "prompt": prompt}) + "\n")
    return tmp_path


def arguments(url: str) -> list[str]:
    study = ["-b", "tasks.jsonl", "-i", "religion", "--seed", "1"]
    return ["audit", "openai/m", *study, "--base-url", url, "--out", "run"]


def test_audit(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(content=lambda key: RIGHT if int(key, 16) % 2 else WRONG) as server:
        assert run_main([*arguments(server.url), "--format", "json"]) == 0
        right = sum(int(key, 16) % 2 for key in set(server.answers))
        asked = len(set(server.answers))
    audit = json.loads(capsys.readouterr().out)
    assert not audit["unscored"]
    assert 0 < right < asked
    with sqlite3.connect(folder / "run" / "run.db") as store:
        values = [value for (value,) in store.execute("SELECT value FROM score")]
    assert values.count(1.0) == right
    assert values.count(0.0) == len(values) - right == asked - right


@pytest.mark.usefixtures("folder")
@pytest.mark.slow
def test_ctrl_c_while_programs_run() -> None:
    """The answers are kept, and so is the time of who waits."""
    endless = "+ sum(iter(lambda: 1, '{key}')) +"
    with serving(content=lambda key: RIGHT.replace("+", endless.format(key=key))) as server:
        command = [sys.executable, "-m", "evenhand", *arguments(server.url)]
        process = subprocess.Popen(
            command, start_new_session=True, stderr=subprocess.PIPE, text=True
        )
        while len(set(server.answers)) < 24 and process.poll() is None:
            time.sleep(0.1)
        time.sleep(1.5)  # the first programs compute by now, each for 5 s
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
        assert time.monotonic() - start < seconds_for(5)
        assert process.returncode == 130, told
        assert "24 of 24 answers are safe" in told
    with sqlite3.connect("run/run.db") as store:
        assert store.execute("SELECT count(*) FROM response").fetchone() == (24,)
        assert store.execute("SELECT count(*) FROM score").fetchone() == (0,)
