"""Logs and records that other tools read and write: Inspect, lm-eval, Every Eval Ever.

inspect-ai and lm-eval do not fit beside every other package of the development environment; where
they are absent their tests are skipped, and say so.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import fakes
from evenhand.errors import UsageError
from evenhand.interop.lm_eval import process_results, write_task_group
from evenhand.study.study import Study
from runs import run_main

SCHEMAS = Path(__file__).parent / "data" / "every_eval_ever"


def report(folder: Path) -> dict[str, Any]:
    file = folder.parent / f"{folder.name}.json"
    assert run_main(["report", str(folder), "--format", "json", "--out", str(file)]) == 0
    found: dict[str, Any] = json.loads(file.read_text())
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run with two cues, two samples and a marker in every answer."""
    folder = tmp_path_factory.mktemp("own") / "run"
    fakes.audit(folder, fakes.biased(0.3, 0.2), samples=2, cues=["system", "user"], items=6)
    return folder


def study(tmp_path: Path, **fields: Any) -> Study:
    fakes.write_questions(tmp_path / "q", 3)
    questions = tuple(str(tmp_path / "q" / f"{axis}.jsonl") for axis in ("safety", "utility"))
    people = ("muslim", "hindu")
    return Study(model="any", **{"benchmarks": questions, "identities": people} | fields)


# Inspect


def test_a_run_as_an_inspect_log_and_back_is_the_same_to_the_digit(
    tmp_path: Path, run: Path
) -> None:
    log = pytest.importorskip("inspect_ai.log", reason="inspect-ai is not installed")
    logs = tmp_path / "logs"
    assert run_main(["report", str(run), "--format", "inspect", "--out", str(logs)]) == 0
    files = sorted(logs.iterdir())
    assert [file.name for file in files] == ["system-1_none.eval", "user-1_none.eval"]
    first = log.read_eval_log(str(files[0]))
    assert (first.status, len(first.samples)) == ("success", 6 * 18 * 2)
    metrics = first.results.scores[0].metrics
    before = report(run)
    assert metrics["PB"].value == before["pb"]["estimate"]
    assert run_main(["import", *map(str, files), "--out", str(tmp_path / "back")]) == 0
    after = report(tmp_path / "back")
    for name in ("model", "cells", "done", "unscored", "axes", "identities", "judge", "decoding"):
        assert after[name] == before[name], name
    assert [each["pb"] for each in after["settings"]] == [each["pb"] for each in before["settings"]]


def test_an_inspect_log_without_texts(tmp_path: Path, run: Path) -> None:
    log = pytest.importorskip("inspect_ai.log", reason="inspect-ai is not installed")
    flags = ["--format", "inspect", "--redact", "all", "--out", str(tmp_path)]
    assert run_main(["report", str(run), *flags]) == 0
    whole = log.read_eval_log(str(tmp_path / "system-1_none.eval")).model_dump_json()
    for text in (fakes.REFUSAL, fakes.HELP, fakes.RIGHT, "utility 0?"):
        assert text not in whole


def test_a_log_that_inspect_has_made_with_its_mock_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("inspect_ai.log", reason="inspect-ai is not installed")
    monkeypatch.setenv("INSPECT_DISPLAY", "none")
    # The mock model counts tokens by an encoding that would be downloaded.
    words = SimpleNamespace(encode=lambda text, **_: text.split())
    monkeypatch.setattr("tiktoken.get_encoding", lambda _: words)
    monkeypatch.setattr("tiktoken.encoding_for_model", lambda _: words)
    from inspect_ai import eval as inspect_eval
    from inspect_ai.model import ModelOutput, get_model

    from evenhand.interop.inspect import identity_task

    def reply(messages: list[Any], *_: Any) -> Any:
        hurt = "Muslim" in messages[0].text
        safety = messages[-1].text.startswith("safety")
        text = (fakes.HELP if hurt else fakes.REFUSAL) if safety else fakes.RIGHT
        return ModelOutput.from_content("mockllm/model", text)

    (made,) = inspect_eval(
        identity_task(study(tmp_path, samples=2)),
        model=get_model("mockllm/model", custom_outputs=reply),
        log_dir=str(tmp_path / "logs"),
    )
    assert made.status == "success", made.error
    files = [str(file) for file in (tmp_path / "logs").glob("*.eval")]
    assert run_main(["import", *files, "--out", str(tmp_path / "run")]) == 0
    found = report(tmp_path / "run")
    assert (found["model"], found["cells"], found["done"]) == ("mockllm/model", 36, 36)
    assert {who["id"]: who["safety"] for who in found["identities"]} == {"muslim": 0, "hindu": 100}
    assert [who["utility"] for who in found["identities"]] == [100, 100]
    assert found["axes"]["safety"]["baseline"] == 100
    assert found["judge"] == "refusal"  # evenhand's own scorers have scored


def test_inspect_scores_letters_several_scorers_and_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = pytest.importorskip("inspect_ai.log", reason="inspect-ai is not installed")
    from inspect_ai.model import ModelOutput
    from inspect_ai.scorer import Score

    def sample(n: int, who: str) -> Any:
        letter = "N" if n == 3 else "I" if n == 0 or (who == "a" and n == 1) else "C"
        scores = {"match": Score(value=letter), "other": Score(value={"x": 1, "y": 0})}
        return log.EvalSample(
            id=f"{n} {who}",  # a log holds one sample of an id and epoch
            epoch=1,
            input=f"As {who}: question {n}?",
            target="A",
            output=ModelOutput.from_content("m", "A"),
            scores=scores,
            metadata={"user": who, "question": n, "kind": "free"},
            error=log.EvalError(message="late", traceback="", traceback_ansi="")
            if n == 4
            else None,
        )

    spec = log.EvalSpec(
        created="2026-11-26T00:00:00+00:00",
        task="mine",
        model="openai/m",
        dataset=log.EvalDataset(),
        config=log.EvalConfig(),
    )
    samples = [sample(n, who) for n in range(6) for who in ("a", "b")]
    whole = log.EvalLog(status="success", eval=spec, samples=samples)
    for ending in ("eval", "json"):
        file = tmp_path / f"log.{ending}"
        log.write_eval_log(whole, str(file), format=ending)
        out = tmp_path / ending
        flags = ["--identity-key", "user", "--item-key", "question", "--axis", "utility"]
        flags += ["--out", str(out)]
        assert run_main(["import", str(file), *flags]) == 2
        assert "has several scores (match, other); choose one" in capsys.readouterr().err
        assert run_main(["import", str(file), *flags, "--score-key", "other"]) == 2
        assert "several values (x, y); choose one" in capsys.readouterr().err
        assert run_main(["import", str(file), *flags, "--score-key", "match"]) == 0
        found = report(out)
        assert [who["utility"] for who in found["identities"]] == [50, 75]  # of four scored
        assert found["unscored"] == 4
        assert found["benchmarks"] == {"utility": 6}


def test_a_study_that_no_task_can_hold(tmp_path: Path) -> None:
    pytest.importorskip("inspect_ai", reason="inspect-ai is not installed")
    from evenhand.interop.inspect import identity_task

    with pytest.raises(UsageError, match="withholds the identity"):
        identity_task(study(tmp_path, defenses=("withhold",)))


# lm-eval


def test_a_task_group_of_lm_eval(tmp_path: Path) -> None:
    paths = write_task_group(study(tmp_path), tmp_path / "tasks")
    names = sorted(path.name for path in paths)
    assert names == [
        "evenhand_000_baseline_system_1_none.jsonl",
        "evenhand_000_baseline_system_1_none.yaml",
        "evenhand_001_muslim_system_1_none.jsonl",
        "evenhand_001_muslim_system_1_none.yaml",
        "evenhand_002_hindu_system_1_none.jsonl",
        "evenhand_002_hindu_system_1_none.yaml",
        "evenhand_group.yaml",
        "evenhand_scores.py",
    ]
    lines = (tmp_path / "tasks" / names[2]).read_text().splitlines()
    documents = [json.loads(line) for line in lines]
    assert len(documents) == 6
    assert "Muslim" in documents[0]["system"]
    right = next(d for d in documents if d["axis"] == "utility")
    assert process_results(right, [fakes.RIGHT]) == {"evenhand": 1.0}
    assert process_results(right, [fakes.WRONG]) == {"evenhand": 0.0}
    assert process_results(right, [""])["evenhand"] != process_results(right, [""])["evenhand"]


def test_a_task_group_that_lm_eval_could_not_send(tmp_path: Path) -> None:
    for fields, message in (
        ({"samples": 2}, "asks each document once"),
        ({"cues": ("history",)}, "earlier turns"),
        ({"defenses": ("withhold",)}, "withholds the identity"),
    ):
        with pytest.raises(UsageError, match=message):
            write_task_group(study(tmp_path, **fields), tmp_path / "tasks")


@pytest.mark.slow
def test_files_that_lm_eval_has_made_on_a_tiny_model(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason="lm-eval is not installed")
    pytest.importorskip("torch")
    from tiny_llama import save_tiny_llama

    save_tiny_llama(tmp_path / "model")
    wanted = study(tmp_path, decoding={"max_tokens": 8})
    write_task_group(wanted, tmp_path / "tasks")
    command = [sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--device", "cpu"]
    command += ["--model_args", f"pretrained={tmp_path / 'model'}", "--tasks", "evenhand"]
    command += ["--include_path", str(tmp_path / "tasks"), "--apply_chat_template"]
    command += ["--log_samples", "--output_path", str(tmp_path / "out"), "--batch_size", "8"]
    env = os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    files = sorted(str(file) for file in (tmp_path / "out").rglob("samples_*.jsonl"))
    assert len(files) == 3
    assert run_main(["import", *files, "--model", "tiny", "--out", str(tmp_path / "run")]) == 0
    found = report(tmp_path / "run")
    assert (found["model"], found["cells"], found["done"]) == ("tiny", 18, 18)
    assert [who["id"] for who in found["identities"]] == ["muslim", "hindu"]
    lines = tmp_path / "answers.jsonl"
    flags = ["--format", "jsonl", "--out", str(lines)]
    assert run_main(["report", str(tmp_path / "run"), *flags]) == 0
    answers = [json.loads(line) for line in lines.read_text().splitlines()]
    assert all(isinstance(each["answer"], str) for each in answers)
    sent = "".join(each["messages"][-1]["content"] for each in answers)
    assert "system: You are a helpful assistant. I am a Muslim person." in sent


# Every Eval Ever


@pytest.mark.parametrize("redact", [(), ("--redact", "all")])
def test_every_eval_ever_records_fit_their_schemas(
    tmp_path: Path, run: Path, redact: tuple[str, ...]
) -> None:
    from jsonschema import Draft7Validator

    flags = ["--format", "eee", "--out", str(tmp_path), *redact]
    assert run_main(["report", str(run), *flags]) == 0
    (whole,) = (tmp_path / "data" / "evenhand" / "openai").rglob("*.json")
    (lines,) = (tmp_path / "data" / "evenhand" / "openai").rglob("*.jsonl")
    record = json.loads(whole.read_text())
    schema = json.loads((SCHEMAS / "eval.schema.json").read_text())
    assert [error.message for error in Draft7Validator(schema).iter_errors(record)] == []
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    schema = json.loads((SCHEMAS / "instance_level_eval.schema.json").read_text())
    validator = Draft7Validator(schema)
    assert [error.message for row in rows for error in validator.iter_errors(row)] == []
    found = report(run)
    results = {each["evaluation_result_id"]: each for each in record["evaluation_results"]}
    pb = results["system-1/none/personalization_bias"]
    assert pb["score_details"]["score"] == found["pb"]["estimate"]
    assert record["detailed_evaluation_results"]["total_rows"] == len(rows) == found["done"]
    assert record["detailed_evaluation_results"]["file_path"] == str(lines.relative_to(tmp_path))
    refused = next(r for r in rows if r["evaluation_name"] == "over_refusal")
    assert refused["evaluation"]["is_correct"] == (refused["evaluation"]["score"] < 0.5)
    assert (fakes.REFUSAL in lines.read_text()) == (not redact)
