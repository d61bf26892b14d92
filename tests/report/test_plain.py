"""The sentences of the report's sections follow from the numbers, in all their cases."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from evenhand.analysis.evidence import Evidence, GroupResult, Where
from evenhand.analysis.results import AxisResult, Difference, IdentityResult, Interaction, Missing
from evenhand.calibration.agreement import Agreement, Calibration
from evenhand.report.wording import (
    calibration_sentence,
    check_sentence,
    difference_sentence,
    evidence_sentences,
    extent_sentence,
    interaction_sentence,
    missing_sentence,
    settings_sentence,
    standing_sentence,
    where_sentence,
)
from evenhand.store.record import SystemRoleCheck

SURE = Difference(-20.0, (-25.0, -15.0), (-28.0, -12.0), 0.0001, 0.001, 1.0)
BARELY = Difference(-20.0, (-35.0, -5.0), (-41.0, 1.0), 0.001, 0.01, 1.0)
UNSURE = Difference(-3.0, (-9.0, 3.0), (-12.0, 6.0), 0.4, 1.0, 0.8)
ALIKE = Difference(0.1, (-0.5, 0.7), (-0.9, 1.1), 0.7, 1.0, 0.001)


@pytest.mark.parametrize(
    ("people", "expected"),
    [
        ([], "Safety: too few scored answers to compare identities."),
        (
            [("a man", SURE), ("a woman", UNSURE)],
            "Safety: 1 of 2 identities differs significantly from the no-identity baseline: a man, "
            "-20.0 points (-28.0 to -12.0, 95% simultaneous).",
        ),
        (
            [("a man", SURE), ("a woman", replace(SURE, estimate=-21.0))],
            "Safety: 2 of 2 identities differ significantly from the no-identity baseline; the "
            "largest difference is that of a woman, -21.0 points (-28.0 to -12.0, 95% "
            "simultaneous).",
        ),
        (
            [("a man", BARELY), ("a woman", UNSURE)],
            "Safety: 1 of 2 identities differs significantly from the no-identity baseline: a man, "
            "-20.0 points (-41.0 to +1.0, 95% simultaneous; the p-value and the interval disagree "
            "(p = 0.010)).",
        ),
        (
            [("a man", ALIKE), ("a woman", ALIKE)],
            "Safety: every identity is within 2 points of the no-identity baseline.",
        ),
        (
            [("a man", ALIKE), ("a woman", UNSURE)],
            "Safety: no identity differs significantly from the no-identity baseline, but "
            "differences of up to 12.0 points are not excluded.",
        ),
    ],
)
def test_identities(people: list[tuple[str, Difference]], expected: str) -> None:
    assert difference_sentence("safety", people, 2.0) == expected


def axis(mean: float | None, baseline: float | None, found: Difference | None) -> AxisResult:
    return AxisResult(mean, baseline, found, None, None, None, {}, [], None, None, None, None)


def test_standing() -> None:
    def person(verdict: str | None) -> IdentityResult:
        return IdentityResult("x", "x", "k", {}, verdict, 1, 0, {}, 0)

    verdicts = ["loses both", "loses safety", "loses safety", "safety for utility", "gains utility"]
    people = [person(verdict) for verdict in [*verdicts, "untouched", "undecided", "undecided"]]
    text = standing_sentence(people, 2.0)
    assert text == (
        "Compared with the no-identity baseline, 2 lose safety, 1 loses safety and utility, "
        "1 loses safety and gains utility, 1 gains utility, 1 stays within 2 points on both axes "
        "and the data are inconclusive for 2."
    )
    assert standing_sentence([person(None)], 2.0) == ""


def where(difference: list[float], told: list[bool]) -> Where:
    place = GroupResult("safety", "own", "group", 9, 50.0, np.array(difference), np.array(told))
    return Where(["a", "b"], ["a man", "a woman"], [], [place])


@pytest.mark.parametrize(
    ("difference", "told", "expected"),
    [
        ([np.nan, np.nan], [False, False], "By subgroup: too few scored answers to tell."),
        ([-30.0, 30.0], [False, False], "By subgroup: none of 2 differences exceeds noise."),
        (
            [-30.0, 31.0],
            [True, False],
            "By subgroup: 1 of 2 differences exceeds noise; the largest is that of a man on own, "
            "group, -30 points.",
        ),
        (
            [-30.0, 31.0],
            [True, True],
            "By subgroup: 2 of 2 differences exceed noise; the largest is that of a woman on own, "
            "group, +31 points.",
        ),
    ],
)
def test_where(difference: list[float], told: list[bool], expected: str) -> None:
    found = where(difference, told)
    assert where_sentence(found, found.subgroups, "subgroup") == expected


def test_interactions() -> None:
    one = Interaction("a+b", "a and b", {"safety": SURE, "utility": UNSURE})
    assert interaction_sentence([one]).startswith("1 of 2 effects of two identities in one user d")
    none = Interaction("a+b", "a and b", {"safety": UNSURE})
    assert interaction_sentence([none]).startswith("None of 1 effects")
    unmeasured = Interaction("a+b", "a and b", {})
    assert interaction_sentence([unmeasured]).startswith("Too few scored answers")


def test_settings() -> None:
    def setting(cue: str, pb: float | None) -> Any:
        spread = None if pb is None else SimpleNamespace(estimate=pb)
        return SimpleNamespace(cue=cue, defense="none", pb=spread)

    text = settings_sentence([setting("a", 3.0), setting("b", None), setting("c", 1.0)])
    assert "ranges from 1.0 (c / none) to 3.0 (a / none)" in text
    assert settings_sentence([setting("a", None)]).startswith("Too few")


def test_evidence() -> None:
    none = Evidence([], {"own": 0}, {"own": 0}, 0)
    assert evidence_sentences(none) == [
        "On no question did two users receive answers that were scored differently."
    ]
    some = Evidence([None] * 3, {"own": 3}, {"own": 2}, 0)  # type: ignore[list-item]
    assert evidence_sentences(some) == [
        "On 2 questions, two users received answers that were scored differently.",
        "All 3 pairs of such answers are shown.",
    ]
    many = Evidence([None] * 3, {"own": 3000}, {"own": 70}, 5)  # type: ignore[list-item]
    _, chosen = evidence_sentences(many)
    assert chosen.startswith("There are 3,000 pairs of such answers. 3 are shown, a stratified")
    assert "seed 5" in chosen


def run(done: int, unscored: int = 0, failed: int = 0) -> Any:
    return SimpleNamespace(done=done, cells=100, unscored=unscored, failed_attempts=failed)


def test_extent() -> None:
    assert extent_sentence(run(0)) == "None of 100 answers has been collected yet."
    assert extent_sentence(run(100)) == "All 100 answers have been collected; all are scored."
    assert extent_sentence(run(100, 4)) == (
        "All 100 answers have been collected; 4 could not be scored."
    )
    assert extent_sentence(run(30, 4)) == (
        "30 of 100 answers have been collected; 4 could not be scored. The run is not finished; "
        "figures may change."
    )


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        (
            SystemRoleCheck(True, "seen"),
            "The cue was verified to reach the model (seen)",
        ),
        (
            SystemRoleCheck(True, "unverified: x"),
            "It could not be verified that",
        ),
        (SystemRoleCheck(False, "dropped"), "The cue was sent in front of the user's"),
    ],
)
def test_checks(check: SystemRoleCheck, expected: str) -> None:
    assert check_sentence(run(1), check).startswith(expected)
    assert check_sentence(run(1), check).endswith("; no attempt failed.")
    assert "; 7 attempts failed and were repeated." in check_sentence(run(1, failed=7), check)


def test_calibration() -> None:
    assert calibration_sentence("other", None) == ("No calibration available for judge `other`.")
    agreement = Agreement(45, 5, 4, 46)
    found = Calibration("mine", "labels.csv", "refusal", 1, agreement, {}, {})
    assert calibration_sentence("mine", found).startswith(
        "Judge `mine` agreed with human labels on 91.0% of 100 answers (83.8% to 95.2%; kappa "
        "0.82, sensitivity 0.90, specificity 0.92); labels from labels.csv."
    )


@pytest.mark.parametrize(
    ("count", "p_value", "expected"),
    [
        (0, 1.0, "No score of an identity is missing."),
        (9, 0.4, "9 scores of identities are missing; their share does not differ signif"),
        (
            9,
            0.01,
            "9 scores of identities are missing; on safety their share differs signi",
        ),
    ],
)
def test_missing(count: int, p_value: float, expected: str) -> None:
    missing = replace(axis(1.0, 1.0, None), missing=Missing(count, p_value, (1.0, 2.0)))
    nobody = SimpleNamespace(unscored=0)
    setting: Any = SimpleNamespace(axes={"safety": missing}, baseline=nobody, placebos=[])
    assert missing_sentence(setting).startswith(expected)


def test_what_only_placebos_miss_is_told() -> None:
    placebo, nobody = SimpleNamespace(unscored=2), SimpleNamespace(unscored=0)
    missing = replace(axis(1.0, 1.0, None), missing=Missing(0, 1.0, (1.0, 1.0)))
    setting: Any = SimpleNamespace(
        axes={"safety": missing}, baseline=nobody, placebos=[placebo, placebo]
    )
    assert missing_sentence(setting) == (
        "No score of an identity is missing; 4 scores of the baseline and the placebos are."
    )
