"""Preference pairs from files and data sets; bad ones are refused with their line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from evenhand.errors import DataError, PairsError
from evenhand.mitigate.examples import PreferencePair, read_pairs, write_pairs

USER = {"role": "user", "content": "Why?"}
SYSTEM = {"role": "system", "content": "Be brief."}
GOOD = {"prompt": "Why?", "chosen": "Because.", "rejected": "No."}


def says(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def file_of(folder: Path, *records: object) -> Path:
    path = folder / "pairs.jsonl"
    path.write_text("".join(f"{json.dumps(r)}\n" for r in records), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("record", "messages"),
    [
        (GOOD, [USER]),
        (GOOD | {"id": 7, "score": 0.5}, [USER]),
        ({"question": "Why?", "system": "Be brief.", **GOOD} | {"prompt": ""}, [SYSTEM, USER]),
        (
            {"prompt": [SYSTEM, USER], "chosen": [says("Because.")], "rejected": [says("No.")]},
            [SYSTEM, USER],
        ),
        (
            {"prompt": "Why?", "chosen": [USER, says("Because.")], "rejected": [USER, says("No.")]},
            [USER],
        ),
        (
            {"chosen": [SYSTEM, USER, says("Because.")], "rejected": [SYSTEM, USER, says("No.")]},
            [SYSTEM, USER],
        ),
        (
            GOOD | {"prompt": [USER, says("Hm."), USER]},
            [USER, says("Hm."), USER],
        ),
    ],
    ids=["texts", "other fields", "question and system", "lists", "repeated", "shared", "turns"],
)
def test_forms(tmp_path: Path, record: dict[str, Any], messages: list[Any]) -> None:
    pair = read_pairs(file_of(tmp_path, record))[0]
    assert list(pair.messages) == messages
    assert (pair.chosen, pair.rejected) == ("Because.", "No.")
    assert pair.question == "Why?"


def test_the_system_message_is_inside_the_prompt() -> None:
    pair = PreferencePair((SYSTEM, USER), "Because.", "No.")  # type: ignore[arg-type]
    assert pair.row() == {
        "prompt": [SYSTEM, USER],
        "chosen": [says("Because.")],
        "rejected": [says("No.")],
    }


def test_written_and_read_again(tmp_path: Path) -> None:
    pairs = [PreferencePair((SYSTEM, USER), "Weil.\nDarum – ja.", "No.")]  # type: ignore[arg-type]
    write_pairs(tmp_path / "p.jsonl", pairs)
    assert read_pairs(tmp_path / "p.jsonl") == pairs


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        ({"prompt": "Why?", "rejected": "No."}, '"chosen" is missing or empty'),
        (GOOD | {"rejected": ""}, '"rejected" is missing or empty'),
        (GOOD | {"rejected": " \n"}, '"rejected" is empty'),
        (GOOD | {"chosen": "\u200b\u2060"}, '"chosen" is empty'),
        (GOOD | {"prompt": None}, '"prompt" is missing or empty'),
        (GOOD | {"prompt": " "}, '"prompt" is empty'),
        (GOOD | {"chosen": "No. "}, "chosen and rejected are equal"),
        (GOOD | {"chosen": 3}, '"chosen" must be a text or a list'),
        (GOOD | {"chosen": [USER]}, '"chosen" must end with a message of the assistant'),
        (GOOD | {"prompt": [{"role": "cat", "content": "?"}]}, "one of system, user, assistant"),
        (GOOD | {"prompt": [{"role": "user"}]}, '"prompt: content" must be a text'),
        (GOOD | {"prompt": [SYSTEM]}, "end with the user"),
        (GOOD | {"prompt": [USER, SYSTEM, USER]}, "a system message at most"),
        (
            {"chosen": [USER, says("A")], "rejected": [SYSTEM, USER, says("B")]},
            "different conversations",
        ),
        ([1, 2], "one JSON object"),
    ],
)
def test_a_bad_line_is_told_with_its_number(tmp_path: Path, bad: object, complaint: str) -> None:
    path = file_of(tmp_path, GOOD, GOOD | {"id": 2}, bad)
    with pytest.raises(PairsError) as error:
        read_pairs(path)
    assert f"{path}:3: " in str(error.value)
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [(b'{"prompt": "Why?', "malformed JSON"), (b'{"prompt": "\xff"}', "not UTF-8")],
)
def test_bytes_that_are_no_records(tmp_path: Path, line: bytes, complaint: str) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b"\n" + line + b"\n")
    with pytest.raises(PairsError, match=f"pairs.jsonl:2: .*{complaint}"):
        read_pairs(path)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(PairsError, match="no such file"):
        read_pairs(tmp_path / "absent.jsonl")
    with pytest.raises(PairsError, match=r"ends in \.jsonl"):
        read_pairs(tmp_path / "pairs.txt")
    with pytest.raises(PairsError, match="no pairs"):
        read_pairs(file_of(tmp_path))


@pytest.fixture
def data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that `datasets` opens as it opens a set of the hub."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "set"
    folder.mkdir()
    return folder


def write_set(folder: Path, rows: list[dict[str, Any]]) -> None:
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    (folder / "train.jsonl").write_text(text, encoding="utf-8")


def test_a_data_set_loses_its_unusable_rows_and_says_how_many(data_set: Path) -> None:
    from evenhand.mitigate.examples import load_pairs

    orca = {"system": "", "question": "Why?", "chosen": "Because.", "rejected": "No."}
    write_set(data_set, [orca] * 3 + [orca | {"chosen": "No."}])
    found = load_pairs(str(data_set))
    assert len(found.pairs) == 3
    assert found.pairs[0].question == "Why?"
    assert found.left_out == {"chosen and rejected are equal": 1}


def test_a_data_set_of_other_things_is_refused(data_set: Path) -> None:
    from evenhand.mitigate.examples import load_pairs

    write_set(data_set, [{"text": "It rains."}] * 4)
    with pytest.raises(PairsError, match='4 of 4 rows are no preference pairs: "chosen"'):
        load_pairs(str(data_set))


def test_a_data_set_that_is_not_there(data_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    from evenhand.mitigate.examples import load_pairs

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="cannot load the preference data"):
        load_pairs(str(data_set / "nowhere"))


def test_a_file_of_one_s_own_is_read_whole(tmp_path: Path) -> None:
    from evenhand.mitigate.examples import load_pairs

    assert len(load_pairs(str(file_of(tmp_path, GOOD))).pairs) == 1
    with pytest.raises(PairsError, match="no such file"):
        load_pairs(str(tmp_path / "absent.jsonl"))


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"prompt": "Why?", "chosen": "So.", "chosen": "No.", "rejected": "Hm."}\n')
    with pytest.raises(PairsError, match='the key "chosen" is there twice'):
        read_pairs(path)


def test_a_folder_without_data_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evenhand.mitigate.examples import load_pairs

    monkeypatch.setitem(sys.modules, "datasets", None)  # which would search all that is below
    (tmp_path / "below" / "deep").mkdir(parents=True)
    (tmp_path / "below" / "deep" / "train.jsonl").write_text("{}")
    (tmp_path / "note.txt").write_text("{}")
    with pytest.raises(DataError, match=rf"^{tmp_path} holds no data set: neither in it nor"):
        load_pairs(str(tmp_path))


def test_the_data_files_of_a_folder_are_those_of_the_part(data_set: Path) -> None:
    import datasets

    from evenhand.mitigate.examples import load_pairs

    row = {"prompt": "Why?", "chosen": "Because.", "rejected": "No."}
    for place, rows in (("constraints.jsonl", [row]), ("data/train-0.jsonl", [row] * 2)):
        (data_set / place).parent.mkdir(exist_ok=True)
        (data_set / place).write_text("".join(f"{json.dumps(each)}\n" for each in rows))
    (data_set / "about.json").write_text("{}")
    assert len(load_pairs(str(data_set)).pairs) == 2
    saved = data_set / "saved"
    datasets.DatasetDict(train=datasets.Dataset.from_list([row] * 3)).save_to_disk(saved)
    assert len(load_pairs(str(saved)).pairs) == len(load_pairs(str(saved / "train")).pairs) == 3
