"""The course of the bias over the runs of a folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from evenhand.store.store import Store
from fakes import audit, biased
from runs import run_main


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three releases, their names in another order than their dates; the last asks less."""
    folder = tmp_path_factory.mktemp("history") / "releases"
    for name, month, bias, limit in (("b", 1, 0.5, None), ("a", 2, 0.3, None), ("c", 3, 0.1, 8)):
        audit(folder / name, biased(bias, bias), items=12, limit=limit)
        store = Store.open(folder / name)
        date = f"2026-{month:02}-05T00:00:00+00:00"
        session = replace(store.record().sessions[0], began=date, ended=date)
        store.update_record(sessions=(session,))
        store.close()
    return folder


def test_runs_stand_in_the_order_of_time(
    releases: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(["history", str(releases), "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["run"] for row in rows] == ["b", "a", "c"]
    assert rows[0]["pb"] > rows[2]["pb"]
    assert run_main(["history", str(releases)]) == 0
    text = capsys.readouterr().out
    assert text.index("b ") < text.index("a ")
    assert f"{rows[0]['pb']:.1f}" in text


def test_runs_of_another_study_are_named(
    releases: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_main(["history", str(releases)])
    text = " ".join(capsys.readouterr().out.split())
    assert "asked other identities, questions or cues than the last run: b, a" in text


@pytest.mark.parametrize(("format", "sign"), [("html", b"<!doctype html>"), ("svg", b"<svg")])
def test_files(releases: Path, tmp_path: Path, format: str, sign: bytes) -> None:
    out = tmp_path / f"course.{format}"
    assert run_main(["history", str(releases), "--format", format, "--out", str(out)]) == 0
    content = out.read_bytes()
    assert sign in content.lower()
    assert b"2026" in content or format == "svg"


@pytest.mark.parametrize("verb", ["history", "runs"])
def test_a_folder_that_is_not_there_is_one_line(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main([verb, str(tmp_path / "nothing-there")]) == 2
    error = capsys.readouterr().err
    assert "there is no such folder" in error
    assert error.count("\n") == 1


def test_a_folder_without_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main(["history", str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err


def test_one_run_and_its_interval(releases: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One run is not "1 runs"; an interval of PB, which is never below 0, has no signs."""
    assert run_main(["history", str(releases / "b")]) == 0
    text = capsys.readouterr().out
    assert "\n1 run\n" in text
    (row,) = [line for line in text.splitlines() if "has a PB of" in line]
    assert "points (" in row
    assert "+" not in row
