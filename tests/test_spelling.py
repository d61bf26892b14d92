"""Studies, files and flags of version 0.1 are read, with one note on their spelling."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evenhand.study.plan import make_plan
from evenhand.study.study import read_study
from evenhand.text import SpellingNote
from runs import run_main, write_benchmark

STUDY = """
model: openai/m
benchmarks: [own.jsonl]
identities: [religion, green_favourite]
defences: [none, mine]
defences_file: defences.yaml
"""
DEFENSES = "defences:\n- {id: mine, text: Treat all users alike.}\n"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_benchmark(tmp_path / "own.jsonl", 2)
    (tmp_path / "defences.yaml").write_text(DEFENSES)
    (tmp_path / "old.yaml").write_text(STUDY)
    new = STUDY.replace("defence", "defense").replace("favourite", "favorite")
    (tmp_path / "new.yaml").write_text(new)
    (tmp_path / "defenses.yaml").write_text(DEFENSES.replace("defence", "defense"))


def planned(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    assert run_main(["plan", *arguments, "--format", "json"]) == 0
    out, err = capsys.readouterr()
    return json.loads(out), err


def test_an_old_study_file_is_the_new_one_with_one_note(
    capsys: pytest.CaptureFixture[str],
) -> None:
    old, note = planned(["old.yaml"], capsys)
    new, nothing = planned(["new.yaml"], capsys)
    assert old == new
    assert nothing == ""
    assert note.count("\n") == 1
    assert note.startswith("note: British spellings of version 0.1")


def test_old_flags(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["openai/m", "-b", "own.jsonl", "-i", "religion"]
    old, note = planned(
        [*flags, "--defence", "none", "--defence=mine", "--defences-file", "defences.yaml"], capsys
    )
    new, _ = planned(
        [*flags, "-d", "none", "-d", "mine", "--defenses-file", "defenses.yaml"], capsys
    )
    assert old == new
    assert note.count("note: ") == 1


def test_the_cells_of_an_old_study_keep_their_keys() -> None:
    """So that a run of version 0.1 is resumed and asks nothing twice."""
    with pytest.warns(SpellingNote):
        old = make_plan(read_study(Path("old.yaml"), {}))
    new = make_plan(read_study(Path("new.yaml"), {}))
    assert [r.key for r in old.requests()] == [r.key for r in new.requests()]


def test_ones_own_names_are_left_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "who.yaml").write_text(
        "identities:\n- {id: favourite_uncle, text: a favourite uncle}\n- {id: b, text: a baker}\n"
    )
    (tmp_path / "own.yaml").write_text(
        "model: openai/m\nbenchmarks: [own.jsonl]\nidentities_file: who.yaml\n"
        "identities: [favourite_uncle, b]\n"
    )
    plan = make_plan(read_study(tmp_path / "own.yaml", {}))
    people = {condition.identity.id: condition.identity.text for condition in plan.conditions}
    assert people["favourite_uncle"] == "a favourite uncle"
