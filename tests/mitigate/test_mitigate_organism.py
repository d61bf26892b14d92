"""evenhand mitigate on the organism, from the audit to the comparison, with a real training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evenhand.organism import MODEL
from late import late
from runs import run_main

late("trl")

COMMAND = [
    *("mitigate", "organism", "--identity", "religion,gender", "--limit", "16"),
    *("--method", "prompt,dpo,hybrid", "--defense", "ignore", "--test-cue", "none"),
    *("--set", "steps=6", "--set", "batch_size=8", "--batch-size", "256"),
]


@pytest.mark.slow
def test_one_command_from_the_audit_to_the_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (MODEL / "model.safetensors").exists()
    assert run_main([*COMMAND, "--out", "made"]) == 0
    printed = capsys.readouterr()
    names = ["none", "prompt ignore", "dpo invariance", "hybrid invariance, ignore"]
    assert all(name in printed.out for name in names)
    assert "Report: made/report.html" in printed.err
    summary = json.loads(Path("made/summary.json").read_text())
    head = summary["groups"][0]["comparison"]
    assert [side["name"] for side in head["sides"]] == names
    assert summary["parts"]["items"][1] == 40
    # Only items that every condition has a score for: six steps leave a few answers unscored.
    assert 32 <= sum(head["items"].values()) <= 40
    assert [training["steps"] for training in summary["trainings"]] == [6, 6]
    card = Path("made/hybrid-invariance/README.md").read_text()
    assert "| hybrid invariance, ignore |" in card
    assert "half of them with the defense: " in card
    assert run_main([*COMMAND, "--out", "made", "--format", "json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["answers"] == 0
    assert again["groups"] == summary["groups"]
