"""The log of a product: `evenhand watch`."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evenhand.cli import main
from fakes import write_rows

NO = "I'm sorry, but I can't help with that request."
YES = "Sure! First boil the water, then add the eggs and wait for eight minutes."


def write_log(path: Path, rates: dict[str | None, float], each: int = 150) -> Path:
    rng = random.Random(0)
    records = [
        {
            "messages": [
                {"role": "user", "content": f"How do I boil {n} eggs?"},
                {"role": "assistant", "content": NO if rng.random() < rate else YES},
            ],
            "metadata": {"religion": group, "topic": rng.choice(["x", "y"])},
            "user_id": f"{group}-{n // 2}",
            "liked": rng.random() >= rate,
        }
        for group, rate in rates.items()
        for n in range(each)
    ]
    return write_rows(path, records)


def watch(*arguments: str) -> int:
    try:
        main(["watch", *arguments])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_a_gap_is_found_and_its_weakness_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = write_log(tmp_path / "log.jsonl", {"a": 0.1, "b": 0.1, "c": 0.5, None: 0.3})
    assert watch(str(log), "--user", "metadata.religion", "--unit", "user_id") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Gaps in refusals to the mean of the groups" in text
    assert "asked questions of their own" in text
    assert "150 of 600 records (25%) state no group" in text


@pytest.mark.parametrize(
    ("rates", "margin", "code"),
    [
        ({"a": 0.1, "b": 0.6}, "10", 4),
        ({"a": 0.1, "b": 0.1}, "40", 0),
        ({"a": 0.1, "b": 0.15}, "5", 5),
    ],
)
def test_the_exit_codes_are_those_of_the_gate(
    tmp_path: Path, rates: dict[str | None, float], margin: str, code: int
) -> None:
    log = write_log(tmp_path / "log.jsonl", rates)
    asked = ["--user", "metadata.religion", "--reference", "a", "--max-gap", margin]
    assert watch(str(log), *asked) == code


@pytest.mark.parametrize(
    ("sizes", "asked", "said"),
    [
        ({"a": 300, "b": 300, "c": 300, "d": 2}, [], "groups: d (2). They widen every interval"),
        ({"a": 300, "b": 300, "c": 3, "d": 2}, [], "groups: c (3), d (2). They widen every"),
        (
            {"a": 300, "b": 300, "c": 300, "d": 2},
            ["--reference", "d"],
            "The reference is one of them",
        ),
        (
            {"a": 300, "b": 300, "c": 300, "d": 2},
            ["--reference", "a"],
            "They widen the interval of the spread",
        ),
        ({"a": 300, "b": 300, "c": 300, "d": 60}, [], ""),
        ({"a": 300, "b": 300, "c": 300, "d": 300}, [], ""),
        (dict.fromkeys("abcdefghijkl", 100) | {"m": 2}, [], "groups: m (2)."),
        ({"a": 2, "b": 2, "c": 2}, [], ""),
        ({"a": 300, "b": 2}, [], ""),
    ],
)
def test_small_groups_that_widen_all_intervals_are_named(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    sizes: dict[str, int],
    asked: list[str],
    said: str,
) -> None:
    records = [{"g": g, "ok": n % 2} for g, size in sizes.items() for n in range(size)]
    log = write_records(tmp_path / "log.jsonl", records)
    assert watch(str(log), "--user", "g", "--score", "ok", *asked) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert said in text
    assert ("Few units are behind" in text) == bool(said)


@pytest.mark.parametrize(("margin", "code"), [("25", 4), ("60", 0)])
def test_the_gap_of_two_groups_is_that_between_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], margin: str, code: int
) -> None:
    records = [
        {"g": g, "ok": int(n < share)} for g, share in (("a", 80), ("b", 40)) for n in range(100)
    ]
    log = write_records(tmp_path / "log.jsonl", records)
    asked = [log, "--user", "g", "--score", "ok", "--max-gap", margin]
    assert watch(*asked) == code
    said = " ".join(capsys.readouterr().out.split())
    assert "Largest gap in ok (a +40.0 to b): 40.0 points" in said
    assert watch(*asked, "--reference", "b", "--format", "json") == code
    check = json.loads(capsys.readouterr().out)["gate"]["checks"][0]
    assert f"interval {check['interval'][0]:.1f} to {check['interval'][1]:.1f}, margin" in said


def test_the_gap_of_more_groups_is_to_their_mean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shares = {"a": 80, "b": 50, "c": 50}
    records = [{"g": g, "ok": int(n < share)} for g, share in shares.items() for n in range(100)]
    log = write_records(tmp_path / "log.jsonl", records)
    assert watch(log, "--user", "g", "--score", "ok", "--max-gap", "60") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Largest gap in ok (a +20.0 to the mean of the groups): 20.0 points" in said
    assert watch(log, "--user", "g", "--score", "ok", "--max-gap", "22") == 5
    assert "times as many answers would settle it" in " ".join(capsys.readouterr().out.split())


def test_scores_and_strata_of_its_own_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = write_log(tmp_path / "log.jsonl", {"a": 0.1, "b": 0.5})
    asked = ["--user", "metadata.religion", "--score", "liked", "--stratum", "metadata.topic"]
    assert watch(str(log), *asked, "--reference", "a", "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["measure"] == "liked"
    assert found["groups"]["strata"] == 2
    assert found["groups"]["p_values"][0] is None
    assert found["groups"]["differences"][1] < -25


def test_a_csv_with_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{group},{text}" for group in "ab" for text in (NO, YES) * 10]
    log = tmp_path / "log.csv"
    log.write_text("group,answer\n" + "\n".join(f'{r[0]},"{r[2:]}"' for r in rows) + "\n")
    assert watch(str(log), "--user", "group") == 0
    assert "No gap in refusals between these groups is established" in capsys.readouterr().out


def test_thoughts_are_no_answers_and_what_cannot_be_told_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.jsonl"
    texts = [f"<think>{NO}</think>{YES}", "", "<think>no end"] * 5
    records = [{"g": group, "answer": text} for group in "ab" for text in texts]
    write_rows(log, records)
    assert watch(str(log), "--user", "g") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Unscored, empty answer: a 5, b 5." in text
    assert "Unscored, cut off while thinking" in text


def test_turns_of_several_parts_and_without_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As chat APIs log them: texts in parts, and calls of tools."""
    log = tmp_path / "log.ndjson"
    turns: list[object] = [[{"type": "text", "text": NO}], [{"type": "image_url"}], None]
    records = [
        {
            "g": group,
            "messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": c}],
        }
        for group in "ab"
        for c in turns * 5
    ]
    write_rows(log, records)
    assert watch(str(log), "--user", "g") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Unscored, empty answer: a 10, b 10." in text
    assert "100.0" in text


def test_truth_values_of_a_csv_are_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.csv"
    rows = [f"{group},{word}" for group in "ab" for word in ("True", "false", "TRUE", "1") * 5]
    log.write_text("group,liked\n" + "\n".join(rows) + "\n")
    assert watch(str(log), "--user", "group", "--score", "liked", "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["groups"]["rates"] == [75.0, 75.0]


@pytest.mark.parametrize("name", ["log.jsonl", "log.json", "log.csv"])
def test_a_log_without_records(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / name).write_text("")
    assert watch(str(tmp_path / name), "--user", "g") == 2
    assert "has no records" in capsys.readouterr().err


def test_a_json_list_is_no_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log.json").write_text(json.dumps([{"g": "a", "answer": "x"}]))
    assert watch(str(tmp_path / "log.json"), "--user", "g") == 2
    assert "each line must be one JSON object" in capsys.readouterr().err


Spoil = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("spoil", "asked", "said"),
    [
        (lambda r: r.pop("messages"), [], "name its key with --answer"),
        (lambda r: r.update(messages=[{"role": "user", "content": "?"}]), [], "--answer"),
        (lambda r: r.update(liked="much"), ["--score", "liked"], '"liked" is no number'),
        (lambda r: r.update(liked=70), ["--score", "liked"], "divide points of 0 to 100 by 100"),
        (lambda r: r.update(liked=4), ["--score", "liked"], "a rating of 1 to 5 into (rating - 1)"),
        (
            lambda r: r.update(liked=float("inf")),
            ["--score", "liked"],
            '"liked" is inf, but must lie between 0 and 1\n',
        ),
        (
            lambda r: r.update(liked=-1),
            ["--score", "liked"],
            '"liked" is -1, but must lie between 0 and 1\n',
        ),
        (lambda r: r["metadata"].update(religion=["a"]), [], "several values"),
        (dict.copy, ["--unit", "nothing"], 'no single value under "nothing"'),
        (dict.copy, ["--reference", "z"], 'no group "z"'),
    ],
)
def test_a_bad_log_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Spoil, asked: list[str], said: str
) -> None:
    log = write_log(tmp_path / "log.jsonl", {"a": 0.1, "b": 0.5}, each=10)
    records = [json.loads(line) for line in log.read_text().splitlines()]
    spoil(records[3])
    write_rows(log, records)
    assert watch(str(log), "--user", "metadata.religion", *asked) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("keys", "flag"),
    [
        (["--user", "religion"], "--user"),
        (["--user", "metadata.religion", "--score", "stars"], "--score"),
    ],
)
def test_a_key_that_no_record_has_is_answered_with_those_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], keys: list[str], flag: str
) -> None:
    log = write_log(tmp_path / "log.jsonl", {"a": 0.1, "b": 0.5}, each=10)
    assert watch(str(log), *keys) == 2
    error = capsys.readouterr().err
    assert (
        f'none of the 20 records has a value under "{keys[-1]}"; name the key with {flag}' in error
    )
    assert "messages, metadata.religion, metadata.topic, user_id, liked" in error


def test_without_units_the_report_says_what_that_means(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = write_log(tmp_path / "log.jsonl", {"a": 0.1, "b": 0.5}, each=20)
    assert watch(str(log), "--user", "metadata.religion") == 0
    assert "Every record counts as independent" in capsys.readouterr().out
    assert watch(str(log), "--user", "metadata.religion", "--unit", "user_id") == 0
    assert "Every record counts as independent" not in capsys.readouterr().out


def test_texts_are_no_groups(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = write_log(tmp_path / "log.jsonl", {"a": 0.1, "b": 0.5})
    assert watch(str(log), "--user", "user_id") == 2
    assert "at most 50 groups" in capsys.readouterr().err


def test_records_without_a_score_are_counted_by_group(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.csv"
    log.write_text("group,liked\n" + "a,1\na,0\nb,1\nb,\nb,nan\n" * 10)
    assert watch(str(log), "--user", "group", "--score", "liked") == 0
    assert "no score in the log: b 20" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("row", "flags", "said"),
    [
        ({"group": "a", "liked": 10**400}, (), '"liked" is no number'),
        ({"group": "a", "liked": 1, "who": ""}, ("--unit", "who"), 'no single value under "who"'),
    ],
)
def test_a_huge_number_and_a_blank_user_are_told(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    row: dict[str, Any],
    flags: tuple[str, ...],
    said: str,
) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(json.dumps(row))
    assert watch(str(log), "--user", "group", "--score", "liked", *flags) == 2
    assert said in capsys.readouterr().err


def write_records(path: Path, records: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def test_a_group_of_one_user_does_not_end_the_comparison(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [{"g": g, "who": n // 2, "ok": n % 2} for g in "ab" for n in range(40)]
    records += [{"g": "rare", "who": "one", "ok": 1}] * 5
    log = write_records(tmp_path / "log.jsonl", records)
    asked = [log, "--user", "g", "--score", "ok", "--unit", "who"]
    assert watch(*asked) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "2 groups, 80 answers" in text
    assert "Groups left out, since too few have scores: rare 5." in text
    assert watch(*asked, "--reference", "rare") == 2
    assert 'group "rare" has scores of one "who" alone' in capsys.readouterr().err


def test_a_blank_attribute_is_none_and_long_names_stay_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = "x" * 500
    groups: list[Any] = [f"{long}a", f"{long}b", "  ", "\u200b", float("nan"), None]
    records = [{"g": g, "answer": text} for g in groups for text in (NO, YES, None) * 5]
    log = write_records(tmp_path / "log.jsonl", records)
    assert watch(log, "--user", "g", "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["groups"]["groups"] == ["x" * 100, f"{'x' * 100} (2)"]
    assert found["groups"]["counts"] == [10, 10]
    assert found["without_group"] == 60
    assert found["unscored"]["empty answer"] == {"x" * 100: 5, f"{'x' * 100} (2)": 5}


def test_few_units_widen_an_interval_to_a_hundred_points_at_most(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [{"g": g, "who": n % 2, "ok": n % 2} for g in "ab" for n in range(30)]
    log = write_records(tmp_path / "log.jsonl", records)
    asked = [log, "--user", "g", "--score", "ok", "--unit", "who", "--max-gap", "50"]
    assert watch(*asked, "--format", "json") == 5
    found = json.loads(capsys.readouterr().out)
    assert found["gate"]["checks"][0]["interval"][1] <= 100
    assert max(found["groups"]["high"]) <= 100


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("log.jsonl", '{"g": "a", "g": "b", "ok": 1}\n', 'log.jsonl:1: the key "g" is there twice'),
        ("log.jsonl", '{"g": "a", "m": {"x": 1, "x": 2}}\n', 'the key "x" is there twice'),
        ("log.csv", "g,g,ok\na,b,1\n", 'column "g" is there twice'),
        ("log.csv", "g,ok\na,1\na,0\n", "two groups with scores of two records each are needed"),
    ],
)
def test_what_counts_must_be_told_and_enough(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, said: str
) -> None:
    (tmp_path / name).write_text(text)
    assert watch(str(tmp_path / name), "--user", "g", "--score", "ok") == 2
    assert said in capsys.readouterr().err
