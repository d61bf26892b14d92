"""How often a judge agrees with people, and what `audit` and `report` need to know of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson

from evenhand.errors import UsageError
from evenhand.files import read_json, write_file
from evenhand.scorers.base import Score, Unscored
from evenhand.scorers.refusal_signs import NOT_ENGLISH
from evenhand.stats import JudgeError, item_mean, weighted_kappa
from evenhand.stats.judge import cohen_kappa, wilson

LEVEL = 0.95
SCHEMA = 1
"""Raised when a field of the file changes its meaning or goes."""

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Agreement:
    """A judge's verdicts beside people's; shares are in [0, 1].

    What is *positive* the `Calibration` says: a refusal, or a harmful answer.

    Attributes:
        true_positives, false_negatives: people say positive, the judge agrees or not.
        false_positives, true_negatives: people say negative, the judge disagrees or agrees.
        unscored_positives, unscored_negatives: the judge could not tell. They count nowhere
            else, so all shares are those among the answers that it judged.
    """

    true_positives: int
    false_negatives: int
    false_positives: int
    true_negatives: int
    unscored_positives: int = 0
    unscored_negatives: int = 0

    @property
    def unscored(self) -> int:
        """Answers that the judge could not tell."""
        return self.unscored_positives + self.unscored_negatives

    @property
    def judged(self) -> int:
        """Answers that the judge decided."""
        return (
            self.true_positives + self.false_negatives + self.false_positives + self.true_negatives
        )

    @property
    def n(self) -> int:
        """All labeled answers."""
        return self.judged + self.unscored

    @property
    def positives(self) -> int:
        """Judged answers that people call positive."""
        return self.true_positives + self.false_negatives

    @property
    def negatives(self) -> int:
        """Judged answers that people call negative."""
        return self.false_positives + self.true_negatives

    @property
    def accuracy(self) -> float | None:
        """Share on which judge and people agree; None where nothing was judged."""
        return _share(self.true_positives + self.true_negatives, self.judged)

    @property
    def sensitivity(self) -> float | None:
        """Share of people's positives that the judge finds; None where there are none."""
        return _share(self.true_positives, self.positives)

    @property
    def specificity(self) -> float | None:
        """Share of people's negatives that the judge finds; None where there are none."""
        return _share(self.true_negatives, self.negatives)

    @property
    def kappa(self) -> float | None:
        """Cohen's (1960) kappa; None where judge and people all say the same."""
        return self._kappa(LEVEL)[0]

    def intervals(self, level: float = LEVEL) -> dict[str, Interval | None]:
        """Intervals of accuracy, kappa, sensitivity and specificity.

        Wilson's (1927) for shares; for kappa the large-sample one of Fleiss, Cohen & Everitt
        (1969, Psychol. Bull. 72), cut to [-1, 1]; where all agree, by that of the accuracy.
        """
        right = self.true_positives + self.true_negatives
        return {
            "accuracy": _wilson(right, self.judged, level),
            "kappa": self._kappa(level)[1],
            "sensitivity": _wilson(self.true_positives, self.positives, level),
            "specificity": _wilson(self.true_negatives, self.negatives, level),
        }

    def _kappa(self, level: float) -> tuple[float | None, Interval | None]:
        if not self.judged:
            return None, None
        table = (
            self.true_positives,
            self.false_negatives,
            self.false_positives,
            self.true_negatives,
        )
        return cohen_kappa(np.array(table, dtype=np.float64), level=level)


@dataclass(frozen=True, slots=True)
class GradeAgreement:
    """A judge's grades beside people's, in points of 0 to 100 (a grade is 25).

    Attributes:
        answers: graded by both.
        kappa: Cohen's kappa with quadratic weights; None where both say the same throughout.
        difference: mean of the judge's less people's; above 0 for a lenient judge.
        difference_interval: of it; None for a single answer.
        distance: mean absolute difference.
    """

    answers: int
    kappa: float | None
    difference: float
    difference_interval: Interval | None
    distance: float


def grade_agreement(people: Sequence[float], scores: Sequence[Score]) -> GradeAgreement | None:
    """How far a judge's grades are from people's; None where the judge graded nothing.

    Args:
        people: grades as scores in [0, 1].
        scores: the judge's, in the same order.
    """
    both = [(p, s) for p, s in zip(people, scores, strict=True) if not isinstance(s, Unscored)]
    if not both:
        return None
    own, judged = (100 * np.array(column) for column in zip(*both, strict=True))
    interval = None
    if len(both) > 1:
        interval = item_mean(judged - own, level=LEVEL).interval
    return GradeAgreement(
        answers=len(both),
        kappa=weighted_kappa(judged, own),
        difference=float(np.mean(judged - own)),
        difference_interval=interval,
        distance=float(np.mean(np.abs(judged - own))),
    )


@dataclass(frozen=True, slots=True)
class Profile:
    """What answers look like to a judge, to see whether two sets of answers are alike.

    Attributes:
        unscored: share of the answers that it cannot tell, in [0, 1].
        foreign: share in a language that it does not read.
        unsure: share of the readings with less than 0.9 of probability for either side.
        words: lower quartile, median and upper quartile of the answers' words.
    """

    unscored: float
    foreign: float
    unsure: float
    words: tuple[float, float, float]

    def difference(self, other: Profile) -> str:
        """What keeps figures on these answers from holding for the others; "" if nothing does.

        Answers that are easier to judge than these are no reason.
        """
        shares = (
            ("the judge abstains on {}% of them", self.unscored, other.unscored),
            ("{}% of them are in other languages", self.foreign, other.foreign),
            ("the judge is unsure of {}% of them", self.unsure, other.unsure),
        )
        for what, here, there in shares:
            if there - here > _ALIKE:
                return f"{what.format(round(100 * there))} ({100 * here:.0f}% in the calibration)"
        low, high = self.words[0] / _LENGTH_FACTOR, self.words[2] * _LENGTH_FACTOR
        if not low <= other.words[1] <= high:
            here, there = self.words[1], other.words[1]
            return f"half of them have {there:.0f} words or more ({here:.0f} in the calibration)"
        return ""


_ALIKE = 0.15  # the shares of single sources differ by as much
_LENGTH_FACTOR = 2.0
_SURE_READING = 0.9


def profile_of(
    texts: Sequence[str], scores: Sequence[Score], probabilities: Sequence[float]
) -> Profile:
    """The profile of answers.

    Args:
        texts: the answers, at least one.
        scores: the judge's scores of them.
        probabilities: of a positive answer, as far as the judge could read the answers.
    """
    missing = [score.reason for score in scores if isinstance(score, Unscored)]
    foreign = sum(reason.startswith(NOT_ENGLISH) for reason in missing)
    unsure = [max(each, 1 - each) < _SURE_READING for each in probabilities]
    low, middle, high = np.quantile([len(text.split()) for text in texts], [0.25, 0.5, 0.75])
    return Profile(
        unscored=len(missing) / len(scores),
        foreign=foreign / len(scores),
        unsure=sum(unsure) / max(1, len(unsure)),
        words=(float(low), float(middle), float(high)),
    )


@dataclass(frozen=True, slots=True)
class Calibration:
    """How often one judge agrees with people's labels.

    Attributes:
        judge: its name, "refusal".
        labels: where the labels come from: a file's name, "xstest", "do_not_answer".
        positive: what people's positive means, in words: "refusal or partial refusal".
        positive_score: the judge's score of a positive answer: 1 for a refusal; 0 for a harmful
            answer, since a score of 1 is a safe one.
        overall: all answers.
        by_model: the answers of each model that the labels tell apart.
        by_class: answers of each of people's classes, "partial" or "action 3".
        profile: of the answers; None where it was not taken.
        grades: of answers labeled with grades; None for other labels.
    """

    judge: str
    labels: str
    positive: str
    positive_score: Literal[0, 1]
    overall: Agreement
    by_model: dict[str, Agreement]
    by_class: dict[str, Agreement]
    profile: Profile | None = None
    grades: GradeAgreement | None = None

    def to_judge_error(self) -> JudgeError:
        """The judge's error rates in terms of its score, for corrected rates.

        Where the labels are of several models or sources, the numbers of labels are reduced to
        those that would tell the rates as well for a further one: what counts is how far the
        groups differ, more than how many answers they have.

        Raises:
            UsageError: people's labels lack one of the kinds, or the judge is no better than
                chance.
        """
        found = self.overall
        if self.grades is not None:
            raise UsageError(
                f"{self.labels}: grades are not corrected by rates of another sample; label the "
                "run's own answers with `evenhand label`"
            )
        if found.sensitivity is None or found.specificity is None:
            raise UsageError(f"{self.labels}: the labels must hold answers of both kinds")
        groups = list(self.by_model.values())
        ones = (
            found.sensitivity,
            _effective(found.positives, [(g.true_positives, g.positives) for g in groups]),
        )
        zeros = (
            found.specificity,
            _effective(found.negatives, [(g.true_negatives, g.negatives) for g in groups]),
        )
        if self.positive_score == 0:
            ones, zeros = zeros, ones
        try:
            return JudgeError(ones[0], zeros[0], ones[1], zeros[1])
        except ValueError as error:
            raise UsageError(f"{self.labels}: {error}") from None

    def to_json(self) -> str:
        """As JSON; the overall figures stand flat beside the tables."""
        content = {
            "schema": SCHEMA,
            "judge": self.judge,
            "labels": self.labels,
            "positive": self.positive,
            "positive_score": self.positive_score,
            **_figures(self.overall),
            "by_model": {name: _figures(part) for name, part in self.by_model.items()},
            "by_class": {name: _figures(part) for name, part in self.by_class.items()},
            "profile": asdict(self.profile) if self.profile else None,
            "grades": asdict(self.grades) if self.grades else None,
        }
        return orjson.dumps(content, option=orjson.OPT_INDENT_2).decode()

    def save(self, path: Path) -> None:
        """Write it to a file.

        Raises:
            UsageError: the file cannot be written.
        """
        write_file(path, self.to_json() + "\n", UsageError)

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """Read what `save` wrote.

        Raises:
            UsageError: there is no such file, or it is no calibration.
        """
        return _from_json(path, read_json(path, UsageError))


def shipped_calibration(judge: str) -> Calibration | None:
    """What is known of one of evenhand's own judges; None for any other.

    Every model that it is held against was left out of its training; written by
    scripts/judge_tables.py.
    """
    if judge not in ("refusal", "harm"):
        return None
    return Calibration.load(Path(__file__).parents[1] / "data" / "calibrations" / f"{judge}.json")


def agreement(people: Sequence[bool], scores: Sequence[Score], positive_score: int) -> Agreement:
    """Count how a judge's scores agree with people.

    Args:
        people: whether people call the answer positive.
        scores: the judge's scores; a score on the far side of 0.5 counts as positive.
        positive_score: the score of a positive answer, 0 or 1.
    """
    counts: dict[tuple[bool, bool | None], int] = {}
    for true, score in zip(people, scores, strict=True):
        said = None if isinstance(score, Unscored) else (score >= 0.5) == (positive_score == 1)
        counts[true, said] = counts.get((true, said), 0) + 1
    return Agreement(
        true_positives=counts.get((True, True), 0),
        false_negatives=counts.get((True, False), 0),
        false_positives=counts.get((False, True), 0),
        true_negatives=counts.get((False, False), 0),
        unscored_positives=counts.get((True, None), 0),
        unscored_negatives=counts.get((False, None), 0),
    )


def _figures(part: Agreement) -> dict[str, Any]:
    return {
        "n": part.n,
        "unscored": part.unscored,
        "accuracy": part.accuracy,
        "kappa": part.kappa,
        "sensitivity": part.sensitivity,
        "specificity": part.specificity,
        "intervals": part.intervals(),
        "confusion": asdict(part),
    }


def _from_json(path: Path, content: Any) -> Calibration:
    try:
        if content["schema"] != SCHEMA:
            raise UsageError(f"{path}: written by another version of evenhand; calibrate again")
        if content["positive_score"] not in (0, 1):
            raise ValueError("positive_score")
        return Calibration(
            judge=str(content["judge"]),
            labels=str(content["labels"]),
            positive=str(content["positive"]),
            positive_score=content["positive_score"],
            overall=_counts(content),
            by_model={str(name): _counts(part) for name, part in content["by_model"].items()},
            by_class={str(name): _counts(part) for name, part in content["by_class"].items()},
            profile=_profile(content.get("profile")),
            grades=_grades(content.get("grades")),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UsageError(f"{path}: no calibration; `evenhand calibrate --out` writes it") from None


def _profile(content: Any) -> Profile | None:
    if content is None:
        return None
    unscored, foreign, unsure = (float(content[n]) for n in ("unscored", "foreign", "unsure"))
    low, middle, high = map(float, content["words"])
    return Profile(unscored, foreign, unsure, (low, middle, high))


def _grades(content: Any) -> GradeAgreement | None:
    if content is None:
        return None
    kappa, limits = content["kappa"], content["difference_interval"]
    return GradeAgreement(
        answers=int(content["answers"]),
        kappa=None if kappa is None else float(kappa),
        difference=float(content["difference"]),
        difference_interval=None if limits is None else (float(limits[0]), float(limits[1])),
        distance=float(content["distance"]),
    )


def _effective(total: int, groups: Sequence[tuple[int, int]]) -> int:
    """How many independent answers tell a share for a further group as well as these groups do.

    The variance between groups is that of DerSimonian & Laird (1986, Control. Clin. Trials 7).

    Args:
        total: answers behind the share.
        groups: (right, answers) of each group.
    """
    parts = [(right, n) for right, n in groups if n >= _LEAST_OF_GROUP]
    if len(parts) < 2:
        return total
    right, sizes = (np.array(column, dtype=np.float64) for column in zip(*parts, strict=True))
    share = (right.sum() + 0.5) / (sizes.sum() + 1)
    spread = share * (1 - share)
    heterogeneity = float(np.sum(sizes * (right / sizes - share) ** 2) / spread) - (len(parts) - 1)
    scale = sizes.sum() - np.sum(sizes**2) / sizes.sum()
    between = max(heterogeneity, 0.0) * spread / scale
    return max(2, min(total, round(float(spread / (between + spread / total)))))


_LEAST_OF_GROUP = 5


def _counts(part: Any) -> Agreement:
    counts = part["confusion"]
    if not all(type(count) is int and count >= 0 for count in counts.values()):
        raise ValueError("counts")
    return Agreement(**counts)


def _share(count: int, of: int) -> float | None:
    return count / of if of else None


def _wilson(count: int, of: int, level: float) -> Interval | None:
    return wilson(count / of, of, level) if of else None
