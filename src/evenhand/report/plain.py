"""The sentences of a report on one run: what each section found and how sure that is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from evenhand.analysis.evidence import Evidence
from evenhand.analysis.results import (
    Audit,
    AxisResult,
    Difference,
    IdentityResult,
    Interaction,
    SettingResult,
)
from evenhand.analysis.subgroups import FALSE_DISCOVERIES, GroupResult, Where
from evenhand.axes import AXES
from evenhand.calibration.agreement import Calibration
from evenhand.report.sentences import p_text, signed
from evenhand.text import one_line

_ERROR = 0.05


def extent_sentence(audit: Audit) -> str:
    """How much was asked, and what is missing."""
    whole = audit.done == audit.cells
    asked = f"All {audit.cells:,}" if whole else f"{audit.done:,} of {audit.cells:,}"
    scored = f"; {audit.unscored:,} could not be scored" if audit.unscored else ", all scored"
    rest = "" if whole else " The run is not finished; figures may change."
    return f"{asked} answers are there{scored}.{rest}"


def standing_sentence(people: Sequence[IdentityResult], margin: float) -> str:
    """How many gain, lose or cannot be told, against the user of whom nothing is said."""
    counts = Counter(person.verdict for person in people if person.verdict)
    if not counts:
        return ""
    told = {name: n for name, n in counts.most_common() if name not in ("undecided", "untouched")}
    parts = [_verdict_words(name, n) for name, n in told.items()]
    if counts["untouched"]:
        stay = f"{counts['untouched']} {_verb('stay', counts['untouched'])}"
        parts.append(f"{stay} within {margin:g} points on both axes")
    if counts["undecided"]:
        parts.append(f"for {counts['undecided']} the answers do not suffice to tell")
    return f"Against a user of whom nothing is said: {', '.join(parts)}."


def _verdict_words(name: str, count: int) -> str:
    kind, _, rest = name.partition(" ")
    if kind in ("loses", "gains"):
        what = "safety and utility" if rest == "both" else rest
        return f"{count} {_verb(kind.removesuffix('s'), count)} {what}"
    gain, _, loss = name.partition(" for ")
    return f"{count} {_verb('give', count)} {gain} for {loss}"


def _verb(verb: str, count: int) -> str:
    """As it goes with a number."""
    return f"{verb}s" if count == 1 else verb


def difference_sentence(axis: str, people: Sequence[tuple[str, Difference]], margin: float) -> str:
    """How many identities differ from the baseline on an axis, and which most.

    Args:
        people: text of each identity and its difference.
    """
    name = AXES[axis].label
    if not people:
        return f"{name.capitalize()}: too few scored answers to compare identities."
    told = [(text, found) for text, found in people if found.p_holm < _ERROR]
    if told:
        text, found = max(told, key=lambda person: abs(person[1].estimate))
        low, high = found.simultaneous
        most = ":" if len(told) == 1 else "; most of all"
        sure = f"{signed(low, 1)} to {signed(high, 1)}"
        if low <= 0 <= high:
            sure = (
                f"p {p_text(found.p_holm)} after Holm, though the interval that holds for all "
                f"together, {sure}, includes 0"
            )
        return (
            f"{name.capitalize()}: {len(told)} of {len(people)} identities "
            f"{_verb('differ', len(told))} from the no-identity baseline beyond chance{most} "
            f"{one_line(text)}, by {signed(found.estimate, 1)} points ({sure})."
        )
    if all(found.equivalence_p < _ERROR for _, found in people):
        return (
            f"{name.capitalize()}: every identity is within {margin:g} points of the no-identity "
            "baseline."
        )
    reach = max(abs(limit) for _, found in people for limit in found.simultaneous)
    return (
        f"{name.capitalize()}: no identity is shown to differ from the no-identity baseline, but "
        f"differences of up to {reach:.1f} points are not excluded."
    )


def where_sentence(where: Where, places: Sequence[GroupResult], kind: str) -> str:
    """How many differences exceed noise among some places, and where the largest is."""
    tests = sum(int((place.difference == place.difference).sum()) for place in places)
    if not tests:
        return f"By {kind}: too few scored answers to tell."
    told = [
        (abs(place.difference[n]), place, n)
        for place in places
        for n in range(len(where.identities))
        if place.beyond_noise[n]
    ]
    if not told:
        return f"By {kind}: none of {tests:,} differences exceeds noise."
    _, place, n = max(told, key=lambda found: found[0])
    at = f"{place.benchmark}, {place.name}" if place.name else place.benchmark
    return (
        f"By {kind}: {len(told):,} of {tests:,} differences "
        f"{_verb('exceed', len(told))} noise; the largest is "
        f"{one_line(where.texts[n])} on {one_line(at)}, {place.difference[n]:+.0f} points."
    )


def rule_of_noise() -> str:
    """What is gray on the heat maps, and why."""
    return (
        "A cell compares one identity with the mean of all identities on the same questions. It "
        "has a color only where the difference exceeds noise: within-item permutation and t-test, "
        "all cells of an axis judged together, so that no more than "
        f"{FALSE_DISCOVERIES:.0%} of the colored ones are expected to be chance "
        "(Benjamini-Hochberg). All others are gray, whatever their size."
    )


def interaction_sentence(found: Sequence[Interaction]) -> str:
    """Whether two identities in one user do more than the sum of the two."""
    tests = [axis for interaction in found for axis in interaction.axes.values()]
    told = sum(axis.p_holm < _ERROR for axis in tests)
    if told:
        return (
            f"{told} of {len(tests)} effects of two identities in one user "
            f"{_verb('differ', told)} from the sum of the two beyond chance."
        )
    return (
        f"None of {len(tests)} effects of two identities in one user is shown to differ from the "
        "sum of the two."
    )


def settings_sentence(settings: Sequence[SettingResult]) -> str:
    """Range of PB over cues and defenses; not a test of their difference."""
    known = [(s.pb.estimate, f"{s.cue} / {s.defense}") for s in settings if s.pb]
    if not known:
        return "Too few scored answers for PB under any cue or defense."
    (low, least), (high, most) = min(known), max(known)
    return (
        f"Over {len(settings)} combinations of cue and defense PB runs from {low:.1f} ({least}) "
        f"to {high:.1f} ({most}); the intervals tell how much of that may be chance."
    )


def evidence_sentences(evidence: Evidence) -> list[str]:
    """How many pairs with another outcome there are, and how those shown were chosen."""
    found, questions = sum(evidence.found.values()), sum(evidence.questions.values())
    if not found:
        return ["No question has two users whose answers fared differently."]
    shown = len(evidence.pairs)
    extent = f"On {questions:,} questions two users got answers that fared differently."
    if shown == found:
        return [extent, f"All {found:,} pairs of such answers are shown."]
    return [
        extent,
        f"There are {found:,} pairs of such answers. {shown:,} are shown, drawn by lot (seed "
        f"{evidence.seed}): the same number from each benchmark as far as it has them; within one, "
        "questions by lot, none twice before all had their turn; of each question, one pair of "
        "users by lot. A single pair proves nothing: the sections above say what is beyond chance.",
    ]


def check_sentence(audit: Audit, placement: Mapping[str, Any]) -> str:
    """Whether the model was told who asks, and how many attempts failed."""
    evidence = one_line(str(placement["evidence"]))
    if "unverified" in evidence:
        told = f"Whether the cue reached the model could not be checked ({evidence})"
    elif placement["system_role"]:
        told = f"The cue was checked to reach the model ({evidence})"
    else:
        told = f"The cue was sent in front of the user's message ({evidence})"
    if not audit.failed_attempts:
        return f"{told}; no attempt failed."
    return f"{told}; {audit.failed_attempts:,} attempts failed and were repeated."


def mean_sentence(axis: str, result: AxisResult) -> str:
    """What saying who one is does to a mean."""
    name, found = AXES[axis].label, result.to_baseline
    if found is None or result.mean is None or result.baseline is None:
        return ""
    low, high = found.interval
    size = f"{signed(found.estimate, 1)} points ({signed(low, 1)} to {signed(high, 1)})"
    told = "" if found.p_value < _ERROR else ", which may be chance"
    return (
        f"Mean {name} is {result.mean:.1f} over the identities and {result.baseline:.1f} without "
        f"one: {size}{told}."
    )


def calibration_sentence(judge: str, found: Calibration | None) -> str:
    """How often the judge agrees with people."""
    if found is None or found.overall.accuracy is None:
        return f"How often {one_line(judge)} agrees with people is not known to this report."
    agreement = found.overall
    low, high = agreement.intervals()["accuracy"] or (0.0, 1.0)
    sizes = {
        "kappa": agreement.kappa,
        "sensitivity": agreement.sensitivity,
        "specificity": agreement.specificity,
    }
    rest = ", ".join(f"{name} {value:.2f}" for name, value in sizes.items() if value is not None)
    return (
        f"The judge {one_line(judge)} agreed with people on {agreement.accuracy:.1%} of "
        f"{agreement.judged:,} answers ({low:.1%} to {high:.1%}; {rest}), labels of "
        f"{one_line(found.labels)}."
    )


def missing_sentence(setting: SettingResult) -> str:
    """Whether missing scores depend on the identity."""
    found = {AXES[name].label: axis.missing for name, axis in setting.axes.items() if axis.missing}
    if not any(missing.count for missing in found.values()):
        others = sum(user.unscored for user in (setting.baseline, *setting.placebos))
        rest = f"; {others:,} of the baseline and the placebos are" if others else ""
        return f"No score of an identity is missing{rest}."
    uneven = [name for name, missing in found.items() if missing.p_value < _ERROR]
    total = sum(missing.count for missing in found.values())
    if uneven:
        return (
            f"{total:,} scores of identities are missing, and on {' and '.join(uneven)} more often "
            "for some than for others: see the bounds."
        )
    return (
        f"{total:,} scores of identities are missing, not shown to be more for some than for "
        "others."
    )
