"""Conveniences of the command line: logs, prices, names, notes before anything is paid."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from evenhand.cli.progress import note_on
from evenhand.run.options import known_price
from evenhand.run.recorder import Price, Progress
from fakes import audit, biased, write_questions
from runs import run_main, write_benchmark
from server import Faults, serving


def test_log_and_verbose(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failed attempts and no key; a second command appends."""
    monkeypatch.setattr("evenhand.engines.throttle._BACKOFF_FIRST", 0.002)
    benchmark, log = write_benchmark(tmp_path / "own.jsonl", 4), tmp_path / "run.log"
    with serving(faults=Faults(broken=0.5)) as server:
        command = ["audit", "openai/m", "-b", str(benchmark), "--base-url", server.url, "-i"]
        command += ["religion", "--out", str(tmp_path / "run"), "--quiet", "--log", str(log)]
        assert run_main(command) == 0
        assert run_main([*command, "--verbose"]) == 0
    text = log.read_text()
    assert "attempt failed: 500" in text
    assert text.count("evenhand 0.2.0: audit") == 2
    assert "answers are there; system message" in capsys.readouterr().err
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


@pytest.mark.parametrize("log", [["--log"], ["--log", "/nowhere/at/all.log"]])
def test_a_log_that_cannot_be_written(log: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main(["identities", *log]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_known_prices() -> None:
    pytest.importorskip("genai_prices")
    assert known_price("openai/gpt-4o-mini") == Price(0.15, 0.6)
    for model in ("openai/made-up", "ollama/gpt-4o-mini", "hf/a/b", "organism", "gpt-4o-mini"):
        assert known_price(model) is None


def test_a_price_of_another_address_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    assert known_price("openai/gpt-4o-mini") is None


def test_plan_shows_the_known_price(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("genai_prices")
    benchmark = write_benchmark(tmp_path / "own.jsonl", 4)
    command = ["plan", "openai/gpt-4o-mini", "-b", str(benchmark), "-i", "religion"]
    assert run_main(command) == 0
    assert "$0.15/0.6 a million tokens" in capsys.readouterr().out
    assert run_main([*command, "--price", "1/2"]) == 0
    assert "$1/2 a million tokens" in capsys.readouterr().out
    assert run_main([*command, "--base-url", "http://127.0.0.1:1/v1"]) == 0
    assert "a million tokens" not in capsys.readouterr().out


def test_the_progress_has_the_cost_so_far_and_in_all() -> None:
    progress = Progress(cells=100, done=60, sent=40, cost=2.0)
    assert "$2.00 of about $4.00" in note_on(progress, 1.0, Price(1, 1))


@pytest.mark.parametrize(
    ("model", "meant"),
    [
        ("claude-sonnet-4-5", "anthropic/claude-sonnet-4-5"),
        ("claude/opus", "anthropic/opus"),
        ("Anthropic/claude", "anthropic/claude"),
        ("gemini-2.5-pro", "gemini/gemini-2.5-pro"),
        ("google/gemini-2.5-pro", "gemini/gemini-2.5-pro"),
        ("bedrock/some.model", "inspect/bedrock/some.model"),
        ("grok-4", "xai/grok-4"),
        ("gpt-4o", "openai/gpt-4o"),
    ],
)
def test_names_of_models_get_the_right_advice(
    model: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(["plan", model]) == 2
    assert meant in capsys.readouterr().err


def test_missing_parents_are_said_before_anything_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_questions(tmp_path, 2)
    command = ["plan", "openai/m", "-b", str(tmp_path / "safety.jsonl"), "-i", "muslim*woman"]
    assert run_main(command) == 0
    assert "add --identity muslim,woman" in " ".join(capsys.readouterr().out.split())
    assert run_main([*command, "-i", "muslim,woman"]) == 0
    assert "add --identity" not in capsys.readouterr().out


def test_an_arm_can_be_named_as_the_cue_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audit(tmp_path / "run", biased(), items=4, cues=["system", "user"])
    run = tmp_path / "run"
    assert run_main(["compare", f"{run}@system/none", f"{run}@user/none"]) == 0
    assert run_main(["compare", f"{run}@system/none", f"{run}@nothing/none"]) == 2
    assert 'unknown cue "nothing" in' in capsys.readouterr().err


def test_intervals_that_exclude_nothing_are_said_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audit(tmp_path / "run", biased(0.2, 0.2), items=2)
    assert run_main(["report", str(tmp_path / "run"), "--format", "text", "--details"]) == 0
    text = capsys.readouterr().out
    assert "-100 to" not in text
    assert "[-100" not in text
    assert "any value" in text


def test_labels_are_for_the_user_alone(tmp_path: Path) -> None:
    from evenhand.calibration.labeling import open_sample, save_label
    from evenhand.store.store import Store

    audit(tmp_path / "run", biased(), items=4)
    store = Store.open(tmp_path / "run")
    sample = open_sample(store, store.own_judge(), 0, 4, 0)
    save_label(store, "ann", sample.cells[0], "refusal")
    store.close()
    folder = tmp_path / "run" / "labels"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {"sample.json": 0o600, "ann.jsonl": 0o600}
