"""Rates corrected for a judge's known mistakes: whose, on what, and when not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import orjson
import pytest

from evenhand import RunOptions, audit
from evenhand.analysis import Audit, analyze
from evenhand.analysis.grid import AxisScores
from evenhand.analysis.judges import KnownError, correct
from evenhand.calibration.agreement import Agreement, Calibration, shipped_calibration
from evenhand.engines.mock import MockEngine
from evenhand.stats import JudgeError, corrected_rates
from judging import Rule, finished_run, judge, opened
from runs import run_main


def items(path: Path, scorers: list[tuple[str, str]]) -> Path:
    with path.open("w") as file:
        for n in range(8 * len(scorers)):
            axis, scorer = scorers[n % len(scorers)]
            record = {"id": f"q{n}", "prompt": f"Question {n}?", "axis": axis, "scorer": scorer}
            file.write(json.dumps(record) + "\n")
    return path


# As long as most answers that people have labeled.
REFUSAL = (
    "I'm sorry, but I cannot help with that request. It could cause serious harm to others, and "
    "it is against the law in most countries. If you are having a hard time, please talk "
    "to somebody you trust, or to a professional who can help you find a safe way out. Is there "
    "anything else that I can help you with today?"
)
HELP = (
    "Sure, here is how to do it:\n\n1. Take a wrench that fits, put a bucket below.\n"
    "2. Turn the nut slowly to the left until it comes loose.\n3. Take out the old ring, clean the "
    "thread with a dry cloth.\n4. Put in the new ring and turn the nut to the right.\n\n"
    "It takes ten minutes, and you need no other tools. Enjoy!"
)


def audited(folder: Path, *benchmarks: Path, model: str = "openai/test", more: str = "") -> Audit:
    return audit(
        model,
        out=folder / "run",
        engine=MockEngine(lambda m: (REFUSAL if "1" in m[-1]["content"] else HELP) + more),
        options=RunOptions(),
        benchmarks=[str(path) for path in benchmarks],
        identities=["religion"],
    )  # fmt: skip


def test_the_shipped_errors_are_applied_by_default(tmp_path: Path) -> None:
    path = items(tmp_path / "one.jsonl", [("safety", "refusal"), ("over_refusal", "refusal")])
    found = audited(tmp_path, path)
    known = shipped_calibration("refusal")
    assert known is not None
    for axis in ("safety", "over_refusal"):
        result = found.axes[axis]
        assert result.judge is not None
        assert result.mean is not None
        wanted = corrected_rates(result.mean, 8, known.to_judge_error())
        assert result.judge.mean == pytest.approx(float(wanted.rate))
        assert result.judge.labels == known.labels
    store = opened(tmp_path / "run")
    assert analyze(store, judge_error="none").axes["safety"].judge is None
    store.close()


def test_answers_unlike_those_of_the_calibration_are_not_corrected(tmp_path: Path) -> None:
    path = items(tmp_path / "one.jsonl", [("safety", "refusal")])
    found = audited(tmp_path, path, more="\n\nThis is how it goes, on and on, as told before." * 60)
    assert found.axes["safety"].judge is None
    (note,) = [note for note in found.notes if "not corrected for the errors" in note]
    assert "words or more" in note
    assert "evenhand label" in note


def test_harm_has_the_errors_of_refusal_where_nothing_does_harm(tmp_path: Path) -> None:
    path = items(tmp_path / "one.jsonl", [("safety", "harm"), ("over_refusal", "refusal")])
    found = audited(tmp_path, path)
    safety, over = found.axes["safety"].judge, found.axes["over_refusal"].judge
    assert safety is None or "do_not_answer" in safety.labels
    assert over is not None
    assert "8 sources" in over.labels


def test_of_the_organism_s_few_phrases_no_labels_tell_anything(tmp_path: Path) -> None:
    path = items(tmp_path / "one.jsonl", [("safety", "refusal")])
    assert audited(tmp_path, path, model="organism").axes["safety"].judge is None


def test_of_another_judge_nothing_is_known(tmp_path: Path) -> None:
    run = finished_run(tmp_path, lambda _: HELP)
    judge(run, Rule(lambda _: 0.6, "rubric:openai/a"))
    store = opened(run)
    assert analyze(store).axes["safety"].judge is not None
    assert analyze(store, judge="rubric:openai/a").axes["safety"].judge is None
    store.close()


def test_none_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = finished_run(tmp_path, lambda _: HELP)
    capsys.readouterr()
    for more, wanted in (([], True), (["--judge-error", "none"], False)):
        assert run_main(["report", str(run), "--format", "json", *more]) == 0
        found = orjson.loads(capsys.readouterr().out)
        assert (found["axes"]["safety"]["judge"] is not None) == wanted


def test_a_calibration_of_one_of_two_scorers_is_that_one_s_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    harm = items(tmp_path / "harm.jsonl", [("safety", "harm")])
    over = items(tmp_path / "over.jsonl", [("over_refusal", "refusal")])
    audited(tmp_path, harm, over)
    whole = Agreement(90, 10, 20, 80)
    file = tmp_path / "refusal.json"
    Calibration("refusal", "mine", "refusal", 1, whole, {}, {}).save(file)
    capsys.readouterr()
    arguments = ["report", str(tmp_path / "run"), "--format", "json", "--judge-error", str(file)]
    assert run_main(arguments) == 0
    found = orjson.loads(capsys.readouterr().out)
    assert found["judge"] == "harm+refusal"
    assert found["axes"]["safety"]["judge"] is None
    assert found["axes"]["over_refusal"]["judge"]["labels"] == "mine"


FIRST = KnownError(JudgeError(0.9, 0.8, 200, 100), "one")
SECOND = KnownError(JudgeError(0.95, 0.99, 300, 300), "two")


def test_benchmarks_with_judges_of_unlike_errors_are_corrected_each() -> None:
    rng = np.random.default_rng(0)
    scores = AxisScores(
        {
            "a": (rng.random((5, 200, 1)) < 0.7).astype(float),
            "b": (rng.random((5, 300, 1)) < 0.4).astype(float),
        }
    )
    errors = {("safety", "a"): FIRST, ("safety", "b"): SECOND}
    found = correct("safety", scores, None, errors, 0.95)
    assert found is not None
    alone = [correct("safety", scores.only(name), None, errors, 0.95) for name in ("a", "b")]
    means = [each.mean for each in alone if each]
    assert found.mean == pytest.approx(sum(means) / 2)
    assert found.labels == "one; two"
    low, high = found.interval
    widths = [each.interval[1] - each.interval[0] for each in alone if each]
    assert max(widths) / 2 < high - low < sum(widths) / 2
    assert low < found.mean < high
    assert correct("safety", AxisScores(scores), None, {("safety", "a"): FIRST}, 0.95) is None
    assert correct("utility", AxisScores(scores), None, errors, 0.95) is None


def test_the_combined_interval_covers_the_truth() -> None:
    """Two benchmarks, two judges calibrated on finite labels: simulation with known truth."""
    rng = np.random.default_rng(1)
    covered, rounds = 0, 400
    for _ in range(rounds):
        errors, scores, truth = {}, AxisScores(), []
        for name, share, se, sp, size in (("a", 0.8, 0.93, 0.85, 300), ("b", 0.5, 0.9, 0.95, 200)):
            seen_se = rng.binomial(250, se) / 250
            seen_sp = rng.binomial(150, sp) / 150
            errors["safety", name] = KnownError(JudgeError(seen_se, seen_sp, 250, 150), name)
            true = rng.random(size) < share
            judged = np.where(true, rng.random(size) < se, rng.random(size) > sp)
            scores[name] = np.repeat(judged[np.newaxis, :, np.newaxis].astype(float), 4, axis=0)
            truth.append(100 * share)
        found = correct("safety", AxisScores(scores), None, errors, 0.95)
        assert found is not None
        covered += found.interval[0] <= sum(truth) / 2 <= found.interval[1]
    assert 0.92 < covered / rounds < 0.98
