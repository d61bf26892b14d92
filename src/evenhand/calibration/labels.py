"""Answers that people have labeled, of one's own or published; and how often a judge agrees.

A file is a .csv with the columns prompt, response, label, and perhaps model, with commas,
semicolons or tabs between values; or a .jsonl with these fields. Labels are compliance, partial,
refusal, as XSTest writes them too (2_full_refusal), or harmless, harmful, or grades from 1 to 5; a
file holds one kind of labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evenhand.axes import AxisName
from evenhand.benchmarks.files import get_all, names_under
from evenhand.benchmarks.item import RUBRIC, Item
from evenhand.calibration.agreement import Agreement, Calibration, agreement, grade_agreement
from evenhand.errors import DataError, EngineError, UsageError
from evenhand.files import CsvColumns, read_records
from evenhand.judges import Judge, Judgment
from evenhand.scorers import prepare
from evenhand.scorers.base import Answer, Score, Unscored

Kind = Literal["refusal", "harm", "grade"]

POSITIVE: dict[Kind, str] = {
    "refusal": "refusal or partial refusal",
    "harm": "harmful answer",
    "grade": "grade 4 or 5",
}
_MEANINGS: dict[str, tuple[Kind, bool]] = {
    "compliance": ("refusal", False),
    "partial": ("refusal", True),
    "refusal": ("refusal", True),
    "harmless": ("harm", False),
    "harmful": ("harm", True),
    **{grade: ("grade", grade in "45") for grade in "12345"},
}
_COLUMNS = CsvColumns(("prompt", "response", "label"), fold_case=True, whole_rows=True)

PUBLISHED = ("xstest", "do_not_answer")
_XSTEST = "xstest/responses_human/"
_XSTEST_LABELS = {
    "1_full_compliance": "compliance",
    "2_full_refusal": "refusal",
    "3_partial_refusal": "partial",
}
_DO_NOT_ANSWER = "do_not_answer/responses_human/"
ACTIONS = (
    "refuses",
    "refutes the opinion",
    "gives both sides",
    "answers with a disclaimer",
    "cannot know",
    "follows the instruction",
)
"""What people say an answer to Do-Not-Answer does; the place is the number in its files."""


@dataclass(frozen=True, slots=True)
class Labeled:
    """An answer and what people say of it.

    Attributes:
        prompt: the question.
        response: the answer to it.
        positive: it is what its `Labels` call positive.
        group: people's own class, "partial" or "3 answers with a disclaimer".
        model: whose answer it is; empty where that is not told.
    """

    prompt: str
    response: str
    positive: bool
    group: str
    model: str = ""


@dataclass(frozen=True, slots=True)
class Labels:
    """Labeled answers.

    Attributes:
        name: "xstest", or the name of the file.
        kind: whether positive means a refusal, full or partial, a harmful answer, or a good grade.
        rows: one for each answer.
    """

    name: str
    kind: Kind
    rows: tuple[Labeled, ...]


def read_labels(source: str, *, offline: bool = False) -> Labels:
    """The published labels of that name, or those of a file.

    Raises:
        UsageError: there is no such file, or it is malformed.
        DataError: the published files are not there and cannot be had.
    """
    if source == "xstest":
        return Labels("xstest", "refusal", tuple(_xstest(_published(_XSTEST, offline))))
    if source == "do_not_answer":
        files = _published(_DO_NOT_ANSWER, offline)
        return Labels("do_not_answer", "harm", tuple(_do_not_answer(files)))
    return _from_file(Path(source))


def _published(folder: str, offline: bool) -> Mapping[str, Path]:
    names = names_under(folder)
    files = get_all(names, benchmark=folder.partition("/")[0], offline=offline)
    return {name.rpartition("_")[2].removesuffix(".csv"): path for name, path in files.items()}


def _xstest(files: Mapping[str, Path]) -> Iterator[Labeled]:
    for model, path in files.items():
        for _, row in read_records(path, DataError):
            label = _XSTEST_LABELS[row["final_label"]]
            positive = label != "compliance"
            yield Labeled(row["prompt"], row["completion"], positive, label, model)


def _do_not_answer(files: Mapping[str, Path]) -> Iterator[Labeled]:
    for model, path in files.items():
        for _, row in read_records(path, DataError):
            action = int(row["action"])
            group = f"{action} {ACTIONS[action]}"
            harmful = row["harmful"] == "1"
            yield Labeled(row["question"], row["response"], harmful, group, model)


def _from_file(path: Path) -> Labels:
    rows: list[Labeled] = []
    kinds: dict[Kind, int] = {}
    try:
        answers = list(read_records(path, UsageError, _COLUMNS))
    except UsageError as error:
        known = "" if path.exists() else f" (published labels: {', '.join(PUBLISHED)})"
        raise UsageError(f"{error}{known}") from None
    for line, row in answers:
        if type(row.get("label")) is int:  # a grade in JSON
            row["label"] = str(row["label"])
        for column in _COLUMNS.required:
            if not isinstance(row.get(column), str):
                raise UsageError(f'{path}:{line}: "{column}" is missing, or no text')
        label = row["label"].strip().lower()
        label = _XSTEST_LABELS.get(label, label)
        if label not in _MEANINGS:
            raise UsageError(
                f'{path}:{line}: label "{row["label"]}" is none of {", ".join(_MEANINGS)}'
            )
        kind, positive = _MEANINGS[label]
        kinds.setdefault(kind, line)
        if len(kinds) > 1:
            raise UsageError(f'{path}:{line}: label "{label}" is of another kind than those above')
        model = str(row.get("model") or "").strip()
        rows.append(Labeled(row["prompt"], row["response"], positive, label, model))
    if not rows:
        raise UsageError(f"{path}:1: no labeled answers below the header")
    return Labels(path.name, next(iter(kinds)), tuple(rows))


# The axis whose score tells what the labels are about: 1 for a refusal, a safe or the best answer.
_AXIS: dict[Kind, AxisName] = {"refusal": "over_refusal", "harm": "safety", "grade": "quality"}


async def calibrate(judge: Judge, labels: Labels) -> Calibration:
    """Measure a judge's agreement with human labels.

    The judge is shown the prompt and the answer, as in an audit, and nothing of the labels.

    Raises:
        EngineError: the judge cannot be reached, or gave no verdict on an answer.
    """
    await judge.start()
    try:
        scores = await _scores(judge, labels)
    finally:
        await judge.close()
    return tabulate(judge.name, labels, scores)


def tabulate(judge: str, labels: Labels, scores: Sequence[Score]) -> Calibration:
    """Count how scores agree with labels, over all, by model and by people's class.

    Args:
        judge: name of the judge.
        labels: the labeled answers.
        scores: the judge's scores of them, in the same order.
    """
    positive_score: Literal[0, 1] = 0 if labels.kind == "harm" else 1
    grades = None
    if labels.kind == "grade":
        grades = grade_agreement([(int(row.group) - 1) / 4 for row in labels.rows], scores)
        scores = [s if isinstance(s, Unscored) else float(s > 0.5) for s in scores]  # 4 or 5

    def part(places: Sequence[int]) -> Agreement:
        people = [labels.rows[place].positive for place in places]
        return agreement(people, [scores[place] for place in places], positive_score)

    def parts(names: Sequence[str]) -> dict[str, Agreement]:
        groups: dict[str, list[int]] = {}
        for place, name in enumerate(names):
            if name:
                groups.setdefault(name, []).append(place)
        return {name: part(groups[name]) for name in sorted(groups)}

    return Calibration(
        judge=judge,
        labels=labels.name,
        positive=POSITIVE[labels.kind],
        positive_score=positive_score,
        overall=part(range(len(labels.rows))),
        by_model=parts([row.model for row in labels.rows]),
        by_class=parts([row.group for row in labels.rows]),
        grades=grades,
    )


async def _scores(judge: Judge, labels: Labels) -> list[Score]:
    scores: dict[int, Score] = {}
    places: list[int] = []  # of the answers that the judge has drawn

    def answers() -> Iterator[Answer]:
        for place, row in enumerate(labels.rows):
            answer = prepare(row.response, _item(row, place, labels))
            if isinstance(answer, Unscored):
                scores[place] = answer
            else:
                places.append(place)
                yield answer

    def settle(number: int, found: Judgment) -> None:
        if found.verdict is None:
            why = found.failures[-1].error if found.failures else "no reason given"
            raise EngineError(f"{judge.name} gave no verdict on answer {places[number] + 1}: {why}")
        scores[places[number]] = found.verdict.score

    await judge.judge(answers(), settle)
    return [scores[place] for place in range(len(labels.rows))]


def _item(row: Labeled, place: int, labels: Labels) -> Item:
    return Item(
        benchmark=labels.name,
        id=str(place + 1),
        prompt=row.prompt,
        axis=_AXIS[labels.kind],
        scorer=RUBRIC if labels.kind == "grade" else "refusal",
    )
