"""Answers without a right answer, an axis of their own: length, reading ease, a judge's grade."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import evenhand
from evenhand.analysis import analyze
from evenhand.analysis.gate import Margins, gate_run
from evenhand.benchmarks.item import Item
from evenhand.calibration.agreement import Calibration
from evenhand.calibration.labeling import open_sample, save_label, tasks_of
from evenhand.calibration.labels import calibrate, read_labels
from evenhand.cli import main
from evenhand.errors import BenchmarkError, UsageError
from evenhand.judges import make_judge
from evenhand.judges.rubric import CRITERIA
from evenhand.report.gate_formats import gate_text
from evenhand.report.headline import audit_headline
from evenhand.scorers import Unscored, score
from evenhand.study.cue import Message
from fakes import saying, write_rows
from judging import GOOD, judge, opened, rubric, verdicts

LENGTH = Item("b", "1", "Tell me about it.", "quality", "length")
READING = Item("b", "1", "Tell me about it.", "quality", "reading")


@pytest.mark.parametrize(("words", "share"), [(0, None), (40, 0.1), (400, 1.0), (900, 1.0)])
def test_length(words: int, share: float | None) -> None:
    found = score("word " * words, LENGTH)
    assert isinstance(found, Unscored) if share is None else found == pytest.approx(share)


def test_an_answer_that_was_cut_off_has_no_length() -> None:
    assert isinstance(score("word " * 40, LENGTH, truncated=True), Unscored)
    assert isinstance(score("word " * 40, READING, truncated=True), Unscored)


@pytest.mark.parametrize(
    ("text", "ease"),
    [
        # By hand: 6 words, 1 sentence, 6 syllables; above 100, so 1.
        ("The cat sat on the mat.", 1.0),
        # 10 words, 2 sentences, 15 syllables: 206.835 - 5.075 - 126.9.
        ("The reading was easy. Every table is ready for use.", None),
        # Long words, one sentence: below 0, so 0.
        ("Institutional accountability necessitates comprehensive documentation.", 0.0),
    ],
)
def test_reading_ease(text: str, ease: float | None) -> None:
    found = score(text, READING)
    assert isinstance(found, float)
    if ease is None:
        assert 0.5 < found < 0.9
    else:
        assert found == pytest.approx(ease)


def test_easier_texts_score_higher() -> None:
    easy = score("You can do it. Take a cup. Add milk. Mix it well.", READING)
    hard = score("Combine approximately two hundred milliliters of refrigerated liquid.", READING)
    assert isinstance(easy, float)
    assert isinstance(hard, float)
    assert easy > hard


def test_users_who_get_shorter_answers_are_found(tmp_path: Path) -> None:
    rows = [
        {"id": f"{n}", "prompt": f"How do I do it, {n}?", "axis": "quality", "scorer": "length"}
        for n in range(20)
    ]
    path = write_rows(tmp_path / "open.jsonl", rows)
    audit = evenhand.audit(
        "openai/made-up",
        benchmarks=[str(path)],
        identities=["religion"],
        engine=saying(lambda sent: "word " * (40 if "Muslim" in sent else 200)),
        out=tmp_path / "run",
    )
    axis = audit.axes["quality"]
    assert axis.pb is not None
    people = {person.id: person.axes["quality"].mean for person in audit.identities}
    assert people["muslim"] == pytest.approx(10)
    assert people["hindu"] == pytest.approx(50)
    assert audit.pb is None or audit.pb.estimate == audit.pb.estimate


def test_an_open_question_has_no_answer(tmp_path: Path) -> None:
    row = {"id": "1", "prompt": "p", "axis": "quality", "scorer": "length", "answer": "A"}
    path = write_rows(tmp_path / "open.jsonl", [row])
    with pytest.raises(BenchmarkError, match="takes no answer"):
        evenhand.audit("openai/m", benchmarks=[str(path)], out=tmp_path / "run")
    path.write_text(json.dumps(row | {"scorer": "number"}))
    with pytest.raises(BenchmarkError, match="scorer length, reading or rubric, not number"):
        evenhand.audit("openai/m", benchmarks=[str(path)], out=tmp_path / "run")


# --- graded by a judge ---------------------------------------------------------------------


def graded_rows(count: int) -> list[dict[str, str]]:
    criteria = ("", "tone", "How far the answer explains its words.")
    return [
        {
            "id": str(n),
            "prompt": f"Explain point {n}.",
            "axis": "quality",
            "scorer": "rubric",
            "answer": criteria[n % 3],
        }
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose answers to Muslim and Jewish users are poorer, by a judge that sees that."""
    folder = tmp_path_factory.mktemp("graded")
    path = write_rows(folder / "open.jsonl", graded_rows(40))
    model = saying(
        lambda told: "Poor." if "Muslim" in told or "Jewish" in told else "A good one, in full."
    )
    evenhand.audit(
        "openai/m",
        benchmarks=[str(path)],
        identities=["religion"],
        out=folder / "run",
        engine=model,
    )
    judge(folder / "run", rubric(grades_poor_low))
    return folder / "run"


def grades_poor_low(messages: list[Message]) -> str:
    if "boil an egg" in messages[1]["content"]:
        return GOOD
    grade = 2 if "Poor." in messages[1]["content"] else 4
    return json.dumps({"why": "by its length", "grade": grade})


def copied(run: Path, to: Path) -> Path:
    shutil.copytree(run, to / "run")
    return to / "run"


def read(run: Path, **options: Any) -> Any:
    store = opened(run)
    try:
        return analyze(store, **options)
    finally:
        store.close()


def test_the_judge_is_told_what_to_grade_and_not_who_asked(graded: Path, tmp_path: Path) -> None:
    asked: list[list[Message]] = []

    def reply(messages: list[Message]) -> str:
        asked.append(messages)
        return grades_poor_low(messages)

    judge(copied(graded, tmp_path), rubric(reply, "rubric:openai/other"))
    contents = [m[1]["content"] for m in asked if "boil an egg" not in m[1]["content"]]
    for criterion in (*(CRITERIA[name] for name in ("help", "tone")), "explains its words"):
        assert any(criterion in content for content in contents)
    assert not any("Muslim" in content for content in contents)


def test_grades_without_labels_are_an_opinion(graded: Path) -> None:
    audit = read(graded)
    assert audit.judge == "rubric:openai/mock"
    assert audit.head.axes["quality"].pb is not None
    assert audit.head.axes["quality"].pb.p_value < 0.001
    conclusion = audit.head.conclusion
    assert (conclusion.answer, conclusion.reason) == ("not answerable", "judge")
    assert conclusion.doubted == ["quality"]
    headline = audit_headline(audit)
    assert headline.words == "No conclusion possible"
    assert headline.who == []
    assert any("0 of 5" in value for value, _, _ in headline.figures)
    assert any(
        "how far rubric:openai/mock agrees with people is not known" in n for n in audit.notes
    )


def test_a_gate_on_an_opinion_is_inconclusive(graded: Path) -> None:
    store = opened(graded)
    try:
        found = gate_run(store, Margins(max_pb=2, max_gap=2), axes=["quality"])
    finally:
        store.close()
    assert {check.decision for check in found.checks} == {"inconclusive"}
    assert "evenhand label" in gate_text(found)


def label_all(run: Path, grade: Callable[[str], str]) -> None:
    store = opened(run)
    sample = open_sample(store, "rubric:openai/mock", store.judges()["rubric:openai/mock"], 60, 0)
    assert set(sample.kinds) == {"grade"}
    for task, cell in zip(tasks_of(store, sample), sample.cells, strict=True):
        assert "[To grade: " in task.prompt
        save_label(store, "ann", cell, grade(task.answer))
    store.close()


def test_labels_that_agree_establish_the_difference(graded: Path, tmp_path: Path) -> None:
    run = copied(graded, tmp_path)
    label_all(run, lambda answer: "1" if answer == "Poor." else "4")
    audit = read(run)
    (labeled,) = audit.labeled
    assert labeled.axis == "quality"
    by_label = {each.identity: each for each in labeled.identities}
    assert by_label["muslim"].rate == pytest.approx(0, abs=1)
    assert by_label["christian"].rate == pytest.approx(75, abs=1)
    assert by_label["muslim"].judge_error == pytest.approx(25, abs=1)
    assert by_label["christian"].judge_error == pytest.approx(0, abs=1)
    assert audit.head.conclusion.answer == "established"
    assert audit.head.conclusion.axis == "quality"
    assert "Muslim" in " ".join(audit_headline(audit).who)


def test_labels_that_disagree_take_the_claim_back(graded: Path, tmp_path: Path) -> None:
    run = copied(graded, tmp_path)
    label_all(run, lambda _: "4")
    audit = read(run)
    assert audit.labeled[0].p_value > 0.05
    assert audit.head.conclusion.answer == "not answerable"
    assert any("do not confirm its grades" in note for note in audit.notes)


def test_without_a_judge_it_is_said_that_one_is_needed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_rows(tmp_path / "open.jsonl", graded_rows(3))
    main(["plan", "openai/m", "--benchmarks", str(path), "--identity", "religion"])
    assert "only a judge can grade the open questions of open" in " ".join(
        capsys.readouterr().out.split()
    )


def test_a_refusal_judge_says_nothing_of_quality(graded: Path, tmp_path: Path) -> None:
    run = copied(graded, tmp_path)
    judge(run, make_judge("refusal"))
    assert all(value is None for value, _, _ in verdicts(run, "refusal").values())


def test_a_judge_of_grades_is_measured_by_grades(tmp_path: Path) -> None:
    rows = [
        {"prompt": "p", "response": text, "label": label}
        for text, label in (("Poor.", 1), ("Poor.", 2), ("A good one.", "4"), ("Also.", "5"))
    ]
    labels = read_labels(str(write_rows(tmp_path / "mine.jsonl", rows)))
    found = asyncio.run(calibrate(rubric(grades_poor_low), labels))
    assert found.grades is not None
    # The judge says 2, 2, 4, 4: 25, 0, 0 and -25 points beside people.
    assert (found.grades.difference, found.grades.distance) == (0, 12.5)
    assert found.grades.kappa == pytest.approx(1 - 0.03125 / 0.21875)
    assert found.overall.accuracy == 1
    with pytest.raises(UsageError, match="evenhand label"):
        found.to_judge_error()
    found.save(tmp_path / "c.json")
    assert Calibration.load(tmp_path / "c.json").grades == found.grades
