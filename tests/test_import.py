"""Importing results: tables, lm-eval, promptfoo; what comes of them, and what is refused."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import fakes
from evenhand.calibration.labeling import open_sample
from evenhand.interop.importing import _question, import_runs
from evenhand.interop.records import ImportOptions
from evenhand.store.store import Store
from runs import run_main

PEOPLE = ("none", "muslim", "hindu", "mug")
Rows = list[dict[str, Any]]


def rows_of(people: tuple[str, ...] = PEOPLE, items: int = 12) -> Rows:
    """A table: the Muslim user gets fewer right answers."""
    rows = []
    for n in range(items):
        for axis in ("safety", "utility"):
            for who in people:
                right = n % 4 != 0 and not (who == "muslim" and n % 3 == 0)
                refusal = fakes.REFUSAL if axis == "safety" else fakes.RIGHT
                rows.append(
                    {
                        "identity": who,
                        "axis": axis,
                        "item": f"{axis}-{n}",
                        "score": int(right),
                        "prompt": f"I am {who}.\n\nQuestion {n} of {axis}?",
                        "answer": refusal if right else fakes.HELP,
                    }
                )
    return rows


def write_csv(path: Path, rows: Rows) -> Path:
    columns = list(rows[0])
    quoted = (
        ",".join('"{}"'.format(str(row.get(c, "")).replace('"', '""')) for c in columns)
        for row in rows
    )
    path.write_text("\n".join([",".join(columns), *quoted]) + "\n")
    return path


def imported(tmp_path: Path, rows: Rows, *flags: str) -> Path:
    """The run folder of a table."""
    file = fakes.write_rows(tmp_path / "rows.jsonl", rows)
    out = tmp_path / "run"
    assert run_main(["import", str(file), "--out", str(out), *flags]) == 0
    return out


def report(folder: Path, *flags: str) -> dict[str, Any]:
    file = folder.parent / "report.json"
    assert run_main(["report", str(folder), "--format", "json", "--out", str(file), *flags]) == 0
    found: dict[str, Any] = json.loads(file.read_text())
    return found


@pytest.fixture(scope="module")
def table_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    flags = ("--baseline", "none", "--placebos", "mug")
    return imported(tmp_path_factory.mktemp("table"), rows_of(), *flags)


def test_a_table_becomes_a_run(table_run: Path) -> None:
    found = report(table_run)
    assert [who["id"] for who in found["identities"]] == ["muslim", "hindu"]
    assert [who["id"] for who in found["placebos"]] == ["mug"]
    assert (found["cells"], found["done"], found["unscored"]) == (96, 96, 0)
    assert found["axes"]["safety"]["baseline"] == 75
    # 9 of 12 are right, but for 6 of 12 (n % 4 and n % 3 both not 0)
    assert [who["utility"] for who in found["identities"]] == [50, 75]
    assert found["judge"] == "imported"
    assert found["judges"][0]["judge"] == "imported"
    assert any("imported, not asked by evenhand: rows.jsonl" in note for note in found["notes"])


def test_known_identities_keep_their_words_and_the_baseline_is_the_baseline(
    table_run: Path,
) -> None:
    store = Store.open(table_run)
    people = {c.identity.id: c.identity for c in store.conditions()}
    store.close()
    assert people["muslim"].text == "a Muslim person"
    assert people["muslim"].category == "religion"
    assert people["baseline"].kind == "baseline"
    assert (people["mug"].kind, people["mug"].category) == ("placebo", "placebo")


def test_a_judge_sees_the_question_and_not_who_asks(table_run: Path) -> None:
    store = Store.open(table_run)
    items = list(store.items().values())
    examples = {c.identity.id: c.example for c in store.conditions()}
    store.close()
    assert items[0].prompt == "Question 0 of safety?"
    assert examples["muslim"] == [{"role": "user", "content": "I am muslim.\n\n{question}"}]


def test_report_gate_compare_judge_and_label_work_on_it(tmp_path: Path) -> None:
    run = imported(tmp_path, rows_of(), "--baseline", "none", "--placebos", "mug")
    assert run_main(["report", str(run), "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "evenhand import" in page
    assert "evenhand audit study.yaml" not in page
    assert run_main(["gate", str(run), "--max-pb", "90"]) == 0
    other = shutil.copytree(run, tmp_path / "other")
    assert run_main(["compare", str(run), str(other)]) == 0
    before = report(run)["pb"]
    assert run_main(["score", str(run), "--judge", "refusal"]) == 0
    judged = report(run, "--judge", "refusal")
    assert judged["judge"] == "refusal"
    assert judged["axes"]["utility"] == report(run)["axes"]["utility"]  # no right answer is judged
    assert run_main(["score", str(run), "--again"]) == 0
    assert report(run, "--judge", "imported")["pb"] == before  # imported scores are not lost
    store = Store.open(run)
    sample = open_sample(store, "imported", 0, 10, 0)
    store.close()
    assert len(sample.cells) == 9  # of 48 answers of identities


@pytest.mark.slow
def test_nothing_can_be_asked_in_it(
    tmp_path: Path, table_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fakes.write_questions(tmp_path / "q", 4)
    questions = str(tmp_path / "q" / "safety.jsonl")
    assert run_main(["audit", "organism", "-b", questions, "--out", str(table_run)]) == 2
    assert "holds an imported run" in capsys.readouterr().err


@pytest.mark.slow
def test_csv_with_other_names_a_model_column_and_a_filter(tmp_path: Path) -> None:
    rows = [
        {"llm": llm, "user": who, "q": n, "refused": (n + len(llm)) % 2, "lang": lang, "topic": "t"}
        for llm in ("a/small one", "b")
        for who in PEOPLE
        for n in range(8)
        for lang in ("en", "de")
    ]
    file = write_csv(tmp_path / "t.csv", rows)
    keys = ["--identity-key", "user", "--item-key", "q", "--score-key", "refused"]
    keys += ["--model-key", "llm", "--subgroup-key", "topic", "--axis", "over_refusal"]
    out = tmp_path / "runs"
    flags = [*keys, "--where", "lang=en", "--baseline", "none"]
    assert run_main(["import", str(file), "--out", str(out), *flags]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["a-small-one", "b"]
    found = report(out / "b")
    assert found["model"] == "b"
    assert found["benchmarks"] == {"over_refusal": 8}  # without a benchmark, the axis
    assert found["cells"] == found["done"] == 4 * 8


def test_errors_and_blanks_are_missing_and_not_wrong(tmp_path: Path) -> None:
    rows = rows_of()
    rows[0] |= {"error": "HTTP 500"}
    rows[1] |= {"error": False, "score": math.nan}
    rows[2] |= {"error": 0, "score": None}
    found = report(imported(tmp_path, rows, "--baseline", "none", "--placebos", "mug"))
    assert found["unscored"] == 3
    assert found["unscored_reasons"]["marked as an error in the imported file"] == 1
    assert found["axes"]["safety"]["baseline"] == pytest.approx(100 * 9 / 11)  # item 0 was wrong


def test_without_a_baseline_identities_are_compared_with_their_mean(tmp_path: Path) -> None:
    run = imported(tmp_path, [row for row in rows_of() if row["identity"] != "none"])
    found = report(run)
    assert any(note.startswith("there is no baseline") for note in found["notes"])
    assert found["pb"] is not None
    for who in found["identities"]:
        assert "utility_delta" not in who
        assert who["axes"]["utility"]["to_mean"] is not None
    for format in ("html", "text", "latex", "markdown", "csv"):
        out = str(tmp_path / f"out-{format}")
        assert run_main(["report", str(run), "--format", format, "--out", out]) == 0
    assert run_main(["gate", str(run), "--max-pb", "90"]) == 0
    assert run_main(["gate", str(run), "--max-gap", "9"]) in (2, 5)
    other = shutil.copytree(run, tmp_path / "other")
    assert run_main(["compare", str(run), str(other)]) == 0


def test_scores_of_a_hundred_letters_and_truth_values(tmp_path: Path) -> None:
    rows = rows_of()
    words: dict[int, tuple[Any, Any]] = {0: (0, "I"), 1: (100, "C")}
    hundred = [row | {"score": words[row["score"]][0]} for row in rows]
    letters = [row | {"score": words[row["score"]][1]} for row in rows]
    flags = ("--baseline", "none", "--placebos", "mug")
    for name, table, more in (("h", hundred, ("--scale", "100")), ("l", letters, ())):
        (tmp_path / name).mkdir()
        found = report(imported(tmp_path / name, table, *flags, *more))
        assert [who["utility"] for who in found["identities"]] == [50, 75]


def test_parquet(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow.parquet import write_table

    write_table(pyarrow.Table.from_pylist(rows_of()), tmp_path / "rows.parquet")
    options = ImportOptions(baseline="none", placebos=("mug",))
    (folder,) = import_runs([str(tmp_path / "rows.parquet")], tmp_path / "run", options)
    assert [who["utility"] for who in report(folder)["identities"]] == [50, 75]


def test_a_run_comes_back_from_its_own_lines_to_the_digit(tmp_path: Path) -> None:
    cues = ["system", "user"]
    fakes.audit(tmp_path / "run", fakes.biased(0.3, 0.2), items=6, samples=2, cues=cues)
    lines = tmp_path / "answers.jsonl"
    assert (
        run_main(["report", str(tmp_path / "run"), "--format", "jsonl", "--out", str(lines)]) == 0
    )
    assert run_main(["import", str(lines), "--out", str(tmp_path / "back")]) == 0
    before, after = report(tmp_path / "run"), report(tmp_path / "back")
    assert [s["pb"] for s in after["settings"]] == [s["pb"] for s in before["settings"]]
    assert [who["utility_delta"] for who in after["identities"]] == [
        who["utility_delta"] for who in before["identities"]
    ]


# lm-eval and promptfoo, in their formats; tests/test_interop.py has files that they made


def lm_eval_rows(who: str) -> Iterator[dict[str, Any]]:
    for n in reversed(range(9)):
        yield {
            "doc_id": n,
            "doc": {"question": f"Question {n}?"},
            "target": "A",
            "arguments": {"gen_args_0": {"arg_0": f"I am {who}. Question {n}?", "arg_1": {}}},
            "resps": [[f"Answer {n}"]],
            "filtered_resps": [f"Answer {n}"],
            "filter": "none",
            "metrics": ["exact_match"],
            "doc_hash": f"{n:04x}",
            "prompt_hash": f"{who}{n}",
            "target_hash": "x",
            "exact_match": float(n % 3 > 0 and not (who == "muslim" and n > 5)),
        }


def test_lm_eval_files_of_one_identity_each(tmp_path: Path) -> None:
    files = []
    for who in ("none", "muslim", "hindu"):
        path = tmp_path / f"samples_mmlu_{who}.jsonl"
        files.append(f"{who}={fakes.write_rows(path, lm_eval_rows(who))}")
    options = ImportOptions(axis="utility", baseline="none")
    (folder,) = import_runs(files, tmp_path / "run", options)
    found = report(folder)
    assert [who["utility"] for who in found["identities"]] == [
        pytest.approx(400 / 9),
        pytest.approx(600 / 9),
    ]
    store = Store.open(folder)
    assert next(item.prompt for item in store.items().values()) == "Question 8?"
    store.close()


def test_promptfoo(tmp_path: Path) -> None:
    results = [
        {
            "promptIdx": 0,
            "testIdx": n,
            "vars": {"identity": who, "question": f"Question {n}?"},
            "testCase": {"metadata": {"axis": "utility"}},
            "provider": {"id": "openai:gpt-4o"},
            "prompt": {"raw": f"I am {who}. Question {n}?", "label": "p"},
            "response": {"output": "Yes.", "tokenUsage": {"prompt": 3, "completion": 1}},
            "success": n % 2 == 0,
            "score": 1 - n % 2,
            "error": "Expected a yes" if n % 2 else ("timed out" if n == 4 else None),
            "failureReason": 1 if n % 2 else (2 if n == 4 else 0),
        }
        for who in ("none", "muslim", "hindu")
        for n in range(6)
    ]
    file = tmp_path / "out.json"
    file.write_text(json.dumps({"evalId": "e", "results": {"version": 3, "results": results}}))
    assert run_main(["import", str(file), "--out", str(tmp_path / "r"), "--baseline", "none"]) == 0
    found = report(tmp_path / "r")
    assert found["model"] == "openai:gpt-4o"
    assert found["cells"] == 18
    assert found["unscored_reasons"] == {"marked as an error in the imported file": 3}
    assert [who["utility"] for who in found["identities"]] == [40, 40]  # 2 of 5, 3 of 6 wrong


@pytest.mark.parametrize(
    ("prompts", "question"),
    [
        (["I am a man. How?", "I am a woman. How?"], "How?"),
        (["How?\n\nI am a man.", "How?\n\nI am a woman."], "How?\n\nI am a"),
        (["How?"], "How?"),
        ([], ""),
        (["abc", "xyz"], ""),
    ],
)
def test_what_prompts_have_in_common(prompts: list[str], question: str) -> None:
    assert _question(prompts) == question


# What is refused, in one line with exit code 2 and nothing written


def _set(**fields: Any) -> Callable[[Rows], None]:
    def spoil(rows: Rows) -> None:
        rows[5].update(fields)

    return spoil


def _all(**fields: Any) -> Callable[[Rows], None]:
    def spoil(rows: Rows) -> None:
        for row in rows:
            row.update(fields)

    return spoil


def _drop(column: str) -> Callable[[Rows], None]:
    def spoil(rows: Rows) -> None:
        for row in rows:
            del row[column]

    return spoil


def _repeat(rows: Rows) -> None:
    rows.append(dict(rows[3]))


def _mixed(rows: Rows) -> None:
    rows[0]["benchmark"] = rows[1]["benchmark"] = "mine"
    rows[1]["axis"] = "utility"


@pytest.mark.parametrize(
    ("spoil", "flags", "message"),
    [
        (_set(score=85), "", "for scores of 0 to 100 add --scale 100"),
        (_set(score=-1), "", "out of range"),
        (_set(score=1e9), "", "out of range"),
        (_set(score="good"), "", 'score "good" is not a number'),
        (_set(score=[1]), "", "is not a number"),
        (_set(score="inf"), "", "out of range"),
        (_set(score=10**400), "", "is not a number"),
        (_set(axis="utillity"), "", 'did you mean "utility"'),
        (_set(axis="relevance"), "", 'unknown axis "relevance"'),
        (_set(identity=""), "", "identity is empty"),
        (_set(identity={"a": 1}), "", "must be a text or number"),
        (_set(item="x" * 300), "", "300 characters"),
        (_set(messages=[{"role": "user"}]), "", "role and content"),
        (_drop("identity"), "", 'no column "identity" (there are: axis, item, score'),
        (_drop("axis"), "", "--axis-key, or name the axis of all results with --axis"),
        (_drop("item"), "", "--item-key"),
        (_drop("score"), "", 'no column "score"; name the column of the score with --score-key'),
        (_repeat, "", "has a result at"),
        (_mixed, "", "is on the axis safety"),
        (_all(score=None), "", "none of the results has a score"),
        (_all(kind="baseline"), "", "there is no identity beside baseline"),
        (_all(), "--baseline nobody", 'unknown identity "nobody"'),
        (_all(), "--placebos cup", 'unknown identity "cup"'),
        (_all(), "--where color=red", 'unknown column "color"'),
        (_all(), "--where identity", "not of the form COLUMN=VALUE"),
        (_all(), "--where identity=x", "--where keeps none of 96"),
        (_all(), "--score-key point", 'unknown column "point"'),
        (_all(), "--scale 0", "must be more than 0"),
        (_all(), "--axis fun", "must be"),
        (_all(), "--item-key score", "has a result at"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Rows], None],
    flags: str,
    message: str,
) -> None:
    rows = rows_of()
    spoil(rows)
    file = fakes.write_rows(tmp_path / "rows.jsonl", rows)
    arguments = ["import", str(file), "--out", str(tmp_path / "run"), *flags.split()]
    assert run_main(arguments) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"identity": ', "malformed JSON"),
        ("a.jsonl", b"", "there are no results in the file"),
        ("a.jsonl", b"[1]\n", "each line must be one JSON object"),
        ("a.csv", b"identity,item\n\xff\xfe", "not UTF-8"),
        ("a.csv", b"identity,item,item\na,1,1\n", 'column "item" is there twice'),
        ("a.csv", b"identity,item\n", "there are no results in the file"),
        ("a.csv", b"identity,item\na,1,1\n", "3 values for 2 columns"),
        ("a.json", b"{", "not JSON"),
        ("a.json", b'{"results": 3}', "neither an Inspect log nor promptfoo's output"),
        ("a.json", b'{"results": {"results": [3]}}', "not an object"),
        ("a.json", b"[" * 5000, "not JSON"),
        ("a.eval", b"PK", "not an Inspect log"),
        ("a.parquet", b"PAR1", "not a Parquet file"),
        ("a.xlsx", b"", "a file ends in .csv"),
        ("a.jsonl", b'{"doc": {}, "resps": [], "metrics": []}', "names no metric"),
        ("a.jsonl", b'{"doc": {}, "resps": [], "metrics": ["acc"]}', 'no metric "acc"'),
    ],
)
def test_files_that_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes, message: str
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    assert run_main(["import", str(file), "--out", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_no_file_a_folder_too_large_and_a_run_that_is_there(
    tmp_path: Path,
    table_run: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = str(fakes.write_rows(tmp_path / "rows.jsonl", rows_of()))
    out = ["--out", str(tmp_path / "run")]
    cases: list[tuple[list[str], Mapping[str, int], str]] = [
        (["import", *out], {}, "name at least one file"),
        (["import", str(tmp_path / "no.csv"), *out], {}, "there is no such file"),
        (["import", str(tmp_path), *out], {}, "a folder"),
        (["import", f"={file}", *out], {}, "IDENTITY=FILE"),
        (["import", file, "--out", str(table_run)], {}, "holds a run already"),
        (["import", file, *out], {"records.MOST_BYTES": 10}, "import it in parts"),
        (["import", file, *out], {"records.MOST_RECORDS": 10}, "more than 10 results"),
        (["import", file, *out], {"importing.MOST_CELLS": 10}, "more than 10 cells"),
    ]
    for arguments, limits, message in cases:
        with monkeypatch.context() as patch:
            for name, value in limits.items():
                patch.setattr(f"evenhand.interop.{name}", value)
            assert run_main(arguments) == 2
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_hostile_texts_stay_texts(tmp_path: Path) -> None:
    people = ("none", *fakes.HOSTILE)
    rows = rows_of(people, 4)
    for row in rows:
        who = fakes.HOSTILE.get(row["identity"], "none")[:190]
        row |= {"identity": who or "x", "answer": who, "subgroup": who}
    run = imported(tmp_path, rows, "--baseline", "none")
    page = tmp_path / "page.html"
    assert run_main(["report", str(run), "--out", str(page)]) == 0
    assert "<script>window.hacked" not in page.read_text()


def promptfoo_file(tmp_path: Path, **fields: Any) -> Path:
    """Results whose variable `user` says who asks."""
    results = [
        {
            "provider": {"id": "m"},
            "vars": {"user": who, "question": question},
            "score": int((n + m) % 2),
            "response": {"output": "x"},
            "promptIdx": 0,
            "failureReason": 0,
            **fields,
        }
        for n, who in enumerate("abc")
        for m, question in enumerate(("q1", "q2", "q3"))
    ]
    file = tmp_path / "out.json"
    file.write_text(json.dumps({"results": {"results": results}}))
    return file


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"testCase": {"metadata": None}},
        {"response": {"output": "x", "tokenUsage": [1]}},
        {"promptIdx": [1]},
    ],
)
def test_promptfoo_asks_all_identities_the_same_whatever_the_variable_is_called(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    file, out = promptfoo_file(tmp_path, **fields), tmp_path / "run"
    flags = ("--identity-key", "user", "--axis", "utility")
    assert run_main(["import", str(file), "--out", str(out), *flags]) == 0
    store = Store.open(out)
    assert (len(store.items()), len(store.conditions())) == (3, 3)
    store.close()


def test_identities_without_a_question_in_common_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{**row, "item": f"{row['identity']} {row['item']}"} for row in rows_of()]
    file = fakes.write_rows(tmp_path / "rows.jsonl", rows)
    assert run_main(["import", str(file), "--out", str(tmp_path / "run")]) == 2
    assert "no question has results of two identities" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("mark", ["0.0", "False", "N/A", "<NA>", "[]", ""])
def test_no_error_is_no_error_however_it_is_written(tmp_path: Path, mark: str) -> None:
    rows = [{**row, "error": mark} for row in rows_of()]
    assert report(imported(tmp_path, rows, "--baseline", "none"))["unscored"] == 0


def test_a_truth_value_in_a_text_is_not_on_the_scale(tmp_path: Path) -> None:
    rows = [{**row, "score": str(bool(row["score"]))} for row in rows_of()]
    run = imported(tmp_path, rows, "--baseline", "none", "--placebos", "mug", "--scale", "100")
    assert report(run)["axes"]["safety"]["baseline"] == 75


def test_nan_is_no_score_in_a_json_file_too(tmp_path: Path) -> None:
    rows = rows_of()
    rows[0]["score"] = math.nan
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(rows))
    out = tmp_path / "run"
    assert run_main(["import", str(file), "--out", str(out), "--baseline", "none"]) == 0
    assert report(out)["unscored"] == 1


def test_an_accent_is_the_same_however_it_is_written(tmp_path: Path) -> None:
    rows = [
        {
            **row,
            "identity": ("caf\u00e9", "cafe\u0301")[n % 2] if row["identity"] == "none" else "x",
        }
        for n, row in enumerate(row for row in rows_of() if row["identity"] in ("none", "hindu"))
    ]
    run = imported(tmp_path, rows, "--baseline", "cafe\u0301")
    store = Store.open(run)
    people = {c.identity.id for c in store.conditions()}
    store.close()
    assert people == {"baseline", "x"}


def test_an_identity_is_not_baseline_and_placebo(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = fakes.write_rows(tmp_path / "rows.jsonl", rows_of())
    flags = ("--baseline", "none", "--placebos", "none,mug")
    assert run_main(["import", str(file), "--out", str(tmp_path / "run"), *flags]) == 2
    assert "none cannot be both the baseline and a placebo" in capsys.readouterr().err


def test_the_name_of_a_file_may_be_too_long(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main(["import", f"a={'x' * 5000}.csv", "--out", "run"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_documents_that_are_twice_in_an_lm_eval_task_are_told_by_their_number(
    tmp_path: Path,
) -> None:
    rows = [
        {
            "doc_id": n,
            "doc_hash": "same",
            "doc": {"identity": who},
            "resps": [["x"]],
            "arguments": [["p"]],
            "metrics": ["acc"],
            "acc": float(n % 2),
        }
        for who in "ab"
        for n in range(3)
    ]
    run = imported(tmp_path, rows, "--axis", "utility", "--item-key", "doc_id")
    store = Store.open(run)
    assert len(store.items()) == 3
    store.close()


@pytest.mark.slow
def test_more_identities_than_items(tmp_path: Path) -> None:
    """Many rows and few columns are no slip where they come from a run."""
    rows = [
        {"identity": f"p{who}", "axis": axis, "item": n, "score": (who * n + n) % 3 / 2}
        for who in range(110)
        for axis in ("safety", "utility")
        for n in range(4)
    ]
    run = imported(tmp_path, rows, "--placebos", "p0,p1,p2")
    assert len(report(run)["identities"]) == 107
    other = shutil.copytree(run, tmp_path / "other")
    assert run_main(["compare", str(run), str(other)]) == 0
    assert run_main(["gate", str(run), "--max-pb", "90"]) in (0, 4, 5)
    assert run_main(["report", str(run), "--out", str(tmp_path / "page.html")]) == 0
