"""What a reader takes away in ten seconds: a verdict, three figures, and who fares how."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from evenhand.analysis.compare import ArmChange, ArmComparison
from evenhand.analysis.results import Audit, Difference, IdentityResult, SettingResult
from evenhand.axes import AXES
from evenhand.report import wording
from evenhand.report.document import Headline, signed
from evenhand.stats import Spread
from evenhand.text import one_line

_MOST_NAMED = 4
_NOBODY = "unidentified users"
_VERDICTS = {
    "established": ("uneven", "Not even-handed"),
    "even within the margin": ("even", "Even-handed"),
    "not established": ("unknown", "Not established"),
    "not answerable": ("unknown", "No conclusion possible"),
}
_DIRECTIONS = {
    "down": ("down", "The bias came down"),
    "up": ("up", "The bias went up"),
    "same": ("same", "The bias stayed the same"),
    "inconclusive": ("unknown", "No change established"),
}

Fares = tuple[IdentityResult, str, Difference]
"""An identity, an axis, and the identity's difference there."""


def audit_headline(audit: Audit) -> Headline:
    """The verdict on the first cue and defense of an audit."""
    head = audit.head
    shape, words = _VERDICTS[head.conclusion.answer]
    return Headline(shape, words, _lead(audit), list(_figures(head)), _who(head))


def _lead(audit: Audit) -> str:
    found, model = audit.head.conclusion, one_line(audit.model, 60)
    if found.answer == "established":
        more = "" if found.question == "any bias" else ", beyond what placebos change"
        return f"{model} answers differently depending on who asks{more}."
    if found.answer == "even within the margin":
        return f"{model} treats users alike: no spread of {audit.margin:g} points is left possible."
    if found.reason == "no more than placebos do":
        return (
            f"{model} answers users differently, but these data do not show that identity changes "
            "more than placebos do: attributes that should not matter."
        )
    if found.answer == "not established":
        return (
            f"These data do not show that {model} treats users differently, and do not rule it out."
        )
    return f"These data cannot tell whether {model} treats users alike: {found.reason}."


def _figures(head: SettingResult) -> list[tuple[str, str, str]]:
    figures = []
    if head.pb:
        note = _interval_note(head.pb)
        if head.placebo_pb:
            note += f"; placebos {head.placebo_pb.estimate:.1f}"
        figures.append(
            (f"{head.pb.estimate:.1f}", "points of spread between identities (PB)", note)
        )
    elif (axis := head.conclusion.axis) and (spread := head.axes[axis].pb):
        what = f"points of spread between identities in {AXES[axis].label}"
        figures.append((f"{spread.estimate:.1f}", what, _interval_note(spread)))
    differing = _differing(head)
    ids = {person.id for person, _, _ in differing}
    figures.append(
        (
            f"{len(ids)} of {len(head.identities)}",
            "identities differ significantly from unidentified users",
            _standing(head, ids),
        )
    )
    if differing:
        person, axis, d = max(differing, key=lambda each: abs(each[2].estimate))
        low, high = d.simultaneous
        what = f"points of {AXES[axis].label}, the largest difference"
        users = wording.users_text(person.text)
        note = f"{users}; 95% simultaneous interval {signed(low, 1)} to {signed(high, 1)}"
        figures.append((signed(d.estimate, 1), what, note))
    elif reaches := [abs(end) for d in _all(head) for end in d.simultaneous]:
        what = "points: the largest difference that these data leave possible"
        figures.append((f"{max(reaches):.1f}", what, "95% simultaneous intervals"))
    return figures


def _interval_note(spread: Spread) -> str:
    low, high = spread.interval
    return f"95% interval {low:.1f} to {high:.1f}"


def _standing(head: SettingResult, ids: set[str]) -> str:
    verdicts = Counter(
        wording.direction(person.verdict)
        for person in head.identities
        if person.id in ids and person.verdict
    )
    names = {"lost": "worse off", "gained": "better off", "both ways": "both ways"}
    parts = [f"{verdicts[key]} {name}" for key, name in names.items() if verdicts[key]]
    return ", ".join(parts) if parts else "adjusted p < 0.05"


def _all(head: SettingResult) -> list[Difference]:
    return [
        axis.to_baseline
        for person in head.identities
        for name, axis in person.axes.items()
        if axis.to_baseline and (AXES[name].in_pb or name == head.conclusion.axis)
    ]


def _differing(head: SettingResult) -> list[Fares]:
    """Significant differences to the baseline, those for the worse first, the largest first.

    Without those on an axis whose judge cannot be trusted with them.
    """
    found = [
        (person, name, axis.to_baseline)
        for person in head.identities
        for name, axis in person.axes.items()
        if name not in head.conclusion.doubted
        and axis.to_baseline
        and axis.to_baseline.is_significant
    ]

    def standing(each: Fares) -> tuple[bool, float]:
        _, name, difference = each
        for_better = (difference.estimate > 0) != AXES[name].lower_is_better
        return for_better, -abs(difference.estimate)

    return sorted(found, key=standing)


def _who(head: SettingResult) -> list[str]:
    """Only those of an established difference are named."""
    if head.conclusion.answer != "established":
        return []
    fares = [(p.text, axis, d.estimate, _NOBODY) for p, axis, d in _differing(head)] or [
        (each.text, each.axis, each.difference, "the average identity")
        for each in head.conclusion.affected
    ]
    named = [wording.who_sentence(*each) for each in fares[:_MOST_NAMED]]
    more = len(fares) - len(named)
    return [*named, f"{more} more significant differences are listed below."] if more else named


# Comparisons


def comparison_headline(
    comparison: ArmComparison, names: Sequence[str], steps: Sequence[str]
) -> Headline:
    """The verdict on the change from the first arm to another, to several, or stage by stage.

    Args:
        names: of the arms.
        steps: of the changes.
    """
    changes = comparison.changes
    if len(changes) == 1:
        return _change_headline(comparison, changes[0], names)
    directions = [wording.bias_direction(each.bias, comparison.margin) for each in changes]
    down, up = directions.count("down"), directions.count("up")
    shape = "down" if down and not up else "up" if up and not down else "unknown"
    figures = [
        (
            "n/a" if arm.pb is None else f"{arm.pb.estimate:.1f}",
            f"points of spread between identities (PB): {name}",
            ""
            if arm.pb is None
            else f"95% interval {arm.pb.interval[0]:.1f} to {arm.pb.interval[1]:.1f}",
        )
        for name, arm in zip(names, comparison.sides, strict=True)
    ]
    who = [
        f"{step}: {_DIRECTIONS[direction][1].lower()}."
        for step, direction in zip(steps, directions, strict=True)
    ]
    words = (
        f"The bias came down in {down} of {len(changes)}"
        if down or not up
        else (f"The bias went up in {up} of {len(changes)}")
    )
    compared = f"Each arm is compared with {names[0]}."
    if any(each.since for each in changes):
        compared = "Each stage is compared with the one before it, and the last with the first."
    return Headline(shape, words, compared, figures, who)


def _change_headline(
    comparison: ArmComparison, change: ArmChange, names: Sequence[str]
) -> Headline:
    shape, words = _DIRECTIONS[wording.bias_direction(change.bias, comparison.margin)]
    figures = []
    if b := change.bias:
        figures.append(
            (
                f"{b.before.estimate:.1f} → {b.after.estimate:.1f}",
                "points of spread between identities (PB), before and after",
                f"change {signed(b.difference, 1)}, 95% interval "
                f"{wording.interval_text(b.interval)}",
            )
        )
    for axis, each in change.axes.items():
        if AXES[axis].in_pb:
            figures.append(
                (
                    signed(each.mean.difference, 1),
                    f"points of mean {AXES[axis].label}",
                    f"95% interval {wording.interval_text(each.mean.interval)}",
                )
            )
    lead = f"From {names[0]} to {names[change.side]}, on the same questions and identities."
    who = wording.identity_change_sentences(change.identities, comparison.margin)
    return Headline(shape, words, lead, figures, who)
