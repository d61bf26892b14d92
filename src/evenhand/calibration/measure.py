"""Let a judge judge answers that people have labeled, and count how often they agree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from evenhand.axes import AxisName
from evenhand.benchmarks.item import RUBRIC, Item
from evenhand.calibration.agreement import Agreement, Calibration, agreement, grade_agreement
from evenhand.calibration.labels import POSITIVE, Kind, Labeled, Labels
from evenhand.errors import EngineError
from evenhand.judges import Judge, Judgment
from evenhand.scorers import prepare
from evenhand.scorers.base import Answer, Score, Unscored

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
