"""What changed from one side to another, in plain words; every word follows from the numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from evenhand.analysis.compare import ArmChange, IdentityChange
from evenhand.analysis.relevance import RelevanceChange
from evenhand.axes import AXES
from evenhand.report.sentences import p_text, signed
from evenhand.stats import BiasChange, Comparison, MeanChange
from evenhand.text import one_line

_ERROR = 0.05
_MOST_NAMED = 4


def side_change_sentences(found: ArmChange, margin: float) -> list[str]:
    """Whether the bias changed, whether the means held up, and for whom."""
    means = {axis: change.mean for axis, change in found.axes.items()}
    sentences = [bias_change_sentence(found.bias, margin), *mean_change_sentences(means)]
    sentences += identity_change_sentences(found.identities, margin)
    if found.relevance:
        sentences.append(relevance_change_sentence(found.relevance))
    return sentences


def comparison_sentences(found: Comparison, margin: float) -> list[str]:
    """The same for two audits that were compared without their identities."""
    means = {"safety": found.safety_mean, "utility": found.utility_mean}
    there = {axis: mean for axis, mean in means.items() if mean is not None}
    return [bias_change_sentence(found.bias, margin), *mean_change_sentences(there)]


def bias_change_sentence(bias: BiasChange | None, margin: float) -> str:
    """Whether PB changed: down, up, the same within the margin, or not to be told."""
    if bias is None:
        return "Too few scored answers in common to tell whether the bias changed."
    low, high = bias.interval
    size = f"PB changed by {_points(bias.difference)}, 95 % interval {interval_text(bias.interval)}"
    if high < 0 and bias.p_value < _ERROR:
        return f"The bias came down: {size}."
    if low > 0 and bias.p_value < _ERROR:
        return f"The bias went up: {size}."
    reach = max(abs(low), abs(high))
    if reach <= margin:
        return f"The bias is the same within {reach:.1f} points: {size}."
    if low > 0 or high < 0:
        way = "come down" if high < 0 else "gone up"
        test = f"the test does not bear its interval out (p {p_text(bias.p_value)})"
        return f"The bias may have {way}, but {test}: {size}."
    return f"No change of the bias is shown, but one of {reach:.1f} points is not excluded: {size}."


def mean_change_sentences(means: Mapping[str, MeanChange]) -> list[str]:
    """Which means held up within the margin, which changed for the worse, which may have."""
    held, sentences = [], []
    for axis, mean in means.items():
        name = AXES[axis].label
        size = f"{_points(mean.difference)} ({interval_text(mean.interval)})"
        if mean.non_inferiority_p < _ERROR:
            held.append(name)
        elif _is_worse(axis, mean):
            verb = "rose" if AXES[axis].lower_is_better else "fell"
            sentences.append(f"Mean {name} {verb}: by {size}.")
        else:
            sentences.append(
                f"That mean {name} held up within {mean.margin:g} points is not shown: {size}."
            )
    if held:
        margin = next(mean.margin for mean in means.values())
        sentences.insert(
            0, f"Mean {and_list(held)} held up within {margin:g} points (one-sided test)."
        )
    return sentences


def _is_worse(axis: str, mean: MeanChange) -> bool:
    """Whether the mean is shown to have changed for the worse."""
    low, high = mean.interval
    return low > 0 if AXES[axis].lower_is_better else high < 0


def identity_change_sentences(found: Sequence[IdentityChange], margin: float) -> list[str]:
    """How many identities gained, and who lost; empty where there is too little to tell."""
    verdicts = [each.verdict for each in found if each.verdict]
    if not verdicts:
        return []
    count = Counter(map(direction, verdicts))
    parts = [f"{count['gained']} gained", f"{count['lost']} lost{_names(found, 'lost')}"]
    if count["both ways"]:
        names = _names(found, "both ways")
        parts.append(f"{count['both ways']} gained on one axis and lost on the other{names}")
    if count["the same"]:
        parts.append(f"{count['the same']} stayed the same within {margin:g} points")
    if count["undecided"]:
        parts.append(f"for {count['undecided']} it cannot be told")
    identities = "identity" if len(verdicts) == 1 else "identities"
    return [f"Of {len(verdicts)} {identities}, {and_list(parts)}."]


def _names(found: Sequence[IdentityChange], which: str) -> str:
    """Ids of those who fared so, in brackets."""
    ids = [
        one_line(each.id, 40) for each in found if each.verdict and direction(each.verdict) == which
    ]
    more = [f"{len(ids) - _MOST_NAMED} more"] if len(ids) > _MOST_NAMED else []
    return f" ({', '.join(ids[:_MOST_NAMED] + more)})" if ids else ""


def relevance_change_sentence(found: RelevanceChange) -> str:
    """Whether the identity is still used where it rightly matters."""
    size = f"{_points(found.difference)} ({interval_text(found.interval)})"
    if found.non_inferiority_p < _ERROR:
        return f"Where the answer depends on the user, it held up within {found.margin:g} points."
    if found.interval[1] < 0:
        return f"Where the answer depends on the user, it is right less often: by {size}."
    return (
        f"That answers which depend on the user held up within {found.margin:g} points is not "
        f"shown: {size}."
    )


def direction(verdict: str) -> str:
    """A verdict in short: gained, lost, both ways, the same or undecided."""
    if verdict.startswith("gains"):
        return "gained"
    if verdict.startswith("loses"):
        return "lost"
    return {"untouched": "the same", "undecided": "undecided"}.get(verdict, "both ways")


def interval_text(values: tuple[float, float]) -> str:
    """An interval of a change."""
    return f"{signed(values[0], 1)} to {signed(values[1], 1)}"


def _points(value: float) -> str:
    return f"{signed(value, 1)} points"


def and_list(words: Sequence[str]) -> str:
    """Words as a sentence lists them."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
