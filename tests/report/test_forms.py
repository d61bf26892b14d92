"""Every form of a report: of runs that are whole, cut short, hostile or not there."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from evenhand.plugins import load_plugin
from evenhand.report import FORMATS, FolderFormat
from evenhand.store.store import Store
from fakes import HOSTILE, audit, biased, run, saying
from runs import run_main

needs_inspect = pytest.param(
    "inspect",
    marks=pytest.mark.skipif(
        find_spec("inspect_ai") is None, reason="inspect-ai is not installed; make test-interop"
    ),
)
WRITTEN = [needs_inspect if form == "inspect" else form for form in FORMATS]
ALL = ["text", *WRITTEN]


def made(folder: Path, form: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The texts that the command prints or writes; images and Parquet as what is readable of it."""
    out = folder.parent / f"out-{form}"
    assert run_main(["report", str(folder), "--format", form, "--out", str(out)]) == 0
    capsys.readouterr()
    paths = (
        sorted(path for path in out.rglob("*") if path.is_file())
        if form != "text" and isinstance(load_plugin("format", form, FORMATS), FolderFormat)
        else [out]
    )
    assert paths
    return [path.read_bytes().decode(errors="ignore") for path in paths]


@pytest.mark.slow
@pytest.mark.parametrize("form", ALL)
def test_a_run_cut_short_is_reported(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a kill leaves it; whatever tells of the whole says what is missing."""
    store = run(tmp_path / "run", biased(0.3, seed=1), items=12)
    with store.writing() as connection:
        connection.execute("DELETE FROM response WHERE item % 3 = 0")
        connection.execute("DELETE FROM score WHERE response NOT IN (SELECT id FROM response)")
    store.close()
    texts = made(tmp_path / "run", form, capsys)
    if form in ("text", "html", "json", "markdown", "latex"):
        assert "72 cells have no answer yet" in " ".join(texts[0].split())


@pytest.mark.parametrize("form", ALL)
def test_a_run_of_which_nothing_can_be_scored_is_reported(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audit(tmp_path / "run", saying(lambda _: ""), items=3)
    if form in ("png", "svg"):  # there is nothing to draw
        assert run_main(["report", str(tmp_path / "run"), "--format", form]) == 0
        return
    text = " ".join(made(tmp_path / "run", form, capsys)[0].split())
    if form in ("text", "html", "markdown"):
        assert "Too few scored answers" in text
    if form == "text":
        assert "Farthest from" not in text, "nobody stands anywhere"


@pytest.mark.parametrize("form", ALL)
def test_no_run_is_one_line(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main(["report", str(tmp_path), "--format", form]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "no run in" in error
    Store.create(tmp_path / "empty").close()
    assert run_main(["report", str(tmp_path / "empty"), "--format", form]) == 2
    assert "the run has no answers yet" in capsys.readouterr().err


@pytest.mark.parametrize("form", WRITTEN)
def test_what_cannot_be_written_is_one_line(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audit(tmp_path / "run", biased(), items=3)
    (tmp_path / "file").write_text("")
    out = str(tmp_path / "file" / "below")
    assert run_main(["report", str(tmp_path / "run"), "--format", form, "--out", out]) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("evenhand:")]
    assert len(error) == 1
    assert "cannot write" in error[0]


@pytest.mark.parametrize("form", ["text", "json", "markdown", "latex", "csv"])
def test_hostile_answers_reach_no_form(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only the page shows answers. No other form has any of them, nor a control character."""
    texts = list(HOSTILE.values())
    audit(tmp_path / "run", saying(lambda sent: texts[len(sent) % len(texts)]), items=8)
    for text in made(tmp_path / "run", form, capsys):
        assert all(letter.isprintable() or letter == "\n" for letter in text.replace("\u2060", ""))
        assert "hacked" not in text
        assert "xxxxx" not in text


def test_json_goes_to_a_file_or_to_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audit(tmp_path / "run", biased(), items=3)
    (text,) = made(tmp_path / "run", "json", capsys)
    assert run_main(["report", str(tmp_path / "run"), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(text)


def test_what_is_printed_cannot_be_opened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audit(tmp_path / "run", biased(), items=3)
    assert run_main(["report", str(tmp_path / "run"), "--format", "json", "--open"]) == 2
    assert "--open shows a file: name one with --out" in capsys.readouterr().err
