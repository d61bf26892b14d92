"""Lines of progress where there is no terminal: one for each step, with its own rate."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from evenhand.cli import progress as steps
from evenhand.run.recorder import Price, Progress


def test_each_step_has_its_own_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("evenhand.cli.progress.time.monotonic", lambda: now)
    out = io.StringIO()
    progress = Progress(cells=1000, done=0)
    with steps.Steps(Price(1, 1), Console(file=out, width=200)) as shown:
        shown.show("audit", progress)
        now, progress.done, progress.sent = 40.0, 400, 400
        shown.show("audit", progress)
        progress.done = 0
        shown.show("test", progress)
        now, progress.done, progress.sent = 90.0, 100, 500
        shown.show("test", progress)
        shown.show("training: step 1", None)
    lines = out.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines] == [*["audit"] * 2, *["test"] * 2, lines[-1]]
    assert "400/1,000" in lines[1]
    assert "100/1,000" in lines[3]
    assert [line.split("  ")[2] for line in lines[:4]] == ["0/s", "10/s", "0/s", "2/s"]
    assert lines[-1] == "training: step 1"
