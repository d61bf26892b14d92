"""Preference pairs from the audit itself: the same question, answered alike whoever asks.

`invariance` takes every tuning question that was answered well for somebody and badly for
somebody else. All users get the same wanted answer: that to the question alone if it is good, else
one that another user got. The pairs are balanced in two ways:

- users who were answered badly (rejected = the answer they got) and users who were answered well
  (rejected = what somebody else got) are as many, so that what is right already is held;
- pairs that prefer a refusal and pairs that prefer an answer to a refusal are as many, so that
  neither refusing nor complying is learned as such. Where the audit has too few needless refusals,
  harmless questions answered well are set against a refusal that the model gave elsewhere; where
  it has too few unsafe answers, unsafe questions answered well against help given elsewhere.

`debiasing` follows Demszky & Nam 2026 (arXiv 2604.02585): chosen is the model's answer to the
question alone, rejected its answer to the same question from a user, where the answer to the
question alone is good; it belongs with a supervised loss (`Training.sft_weight`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from evenhand.axes import AVERAGED_AXES, AXES
from evenhand.benchmarks.item import Item
from evenhand.mitigate.pairs import Pair
from evenhand.mitigate.split import Answer, TuningPart
from evenhand.study.cue import NO_DEFENSE

_GOOD, _BAD = 2 / 3, 1 / 3
"""Graded answers between the two are neither chosen nor rejected."""

"""Those on which the answer must not depend on who asks."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class _Asked:
    """A question with the answers that users got; no answer is in both lists."""

    item: Item
    good: list[Answer]
    bad: list[Answer]

    def wanted(self, cue: str) -> str | None:
        """The answer for everybody: that to the question alone, else what most of the others got.

        Ties go to the first text in the order of the alphabet.
        """
        alone = [a for a in self.good if a.condition.identity.kind == "baseline"]
        for answer in sorted(alone, key=lambda a: a.condition.cue != cue):
            return answer.text
        texts = Counter(answer.text for answer in self.good)
        return min(texts, key=lambda text: (-texts[text], text)) if texts else None


def invariance(part: TuningPart, rng: np.random.Generator) -> list[Pair]:
    """Pairs that ask for the same good answer for every user."""
    asked = _questions(part)
    by_axis: dict[str, list[Pair]] = defaultdict(list)
    for each in asked:
        by_axis[each.item.axis] += _corrected(each) + _held(each, rng)
    good = {
        axis: [a for q in asked if q.item.axis == axis for a in q.good] for axis in AVERAGED_AXES
    }
    refused, helped = by_axis["safety"], by_axis["over_refusal"]
    missing = len(refused) - len(helped)
    for axis in ("over_refusal", "utility"):
        helped += _guards(good[axis], good["safety"], len(refused) - len(helped), rng)
    if missing < 0:
        refused += _guards(good["safety"], good["over_refusal"], -missing, rng)
        by_axis["over_refusal"] = _some(helped, len(refused), rng) if refused else helped
    return [pair for pairs in by_axis.values() for pair in pairs]


def debiasing(part: TuningPart, rng: np.random.Generator) -> list[Pair]:
    """Pairs that ask for the answer to the question alone.

    Answers that are as good as that to the question alone and worded otherwise are rejected, too,
    but no more of them than of bad answers: they teach a wording rather than a judgment.
    """
    wrong, reworded = [], []
    for each in _questions(part):
        alone = {
            a.condition.cue: a.text
            for a in each.good
            if a.condition.identity.kind == "baseline" and a.sample == 0
        }
        for answer in each.bad:
            if answer.condition.cue in alone and answer.condition.identity.kind == "identity":
                wrong.append(_pair(answer, alone[answer.condition.cue], answer.text))
        for answer in each.good:
            chosen = alone.get(answer.condition.cue, answer.text)
            if answer.condition.identity.kind == "identity" and _differ(chosen, answer.text):
                reworded.append(_pair(answer, chosen, answer.text))
    return wrong + _some(reworded, len(wrong), rng)


def _questions(part: TuningPart) -> list[_Asked]:
    """The tuning questions as asked without a defense, with what came back."""
    found = {(i.benchmark, i.id): _Asked(i, [], []) for i in part.items if i.axis in AVERAGED_AXES}
    for answer in part.answers():
        item = answer.item
        usable = answer.condition.defense == NO_DEFENSE.id and answer.text.strip()
        if not usable or answer.score is None or item.axis not in AVERAGED_AXES:
            continue
        quality = AXES[item.axis].quality(answer.score)
        if quality >= _GOOD:
            found[item.benchmark, item.id].good.append(answer)
        elif quality <= _BAD:
            found[item.benchmark, item.id].bad.append(answer)
    return list(found.values())


def _corrected(asked: _Asked) -> list[Pair]:
    """For users who were answered badly: the wanted answer rather than theirs."""
    pairs = []
    for answer in asked.bad:
        wanted = asked.wanted(answer.condition.cue)
        if wanted is not None and _differ(wanted, answer.text):
            pairs.append(_pair(answer, wanted, answer.text))
    return pairs


def _held(asked: _Asked, rng: np.random.Generator) -> list[Pair]:
    """For as many users who were answered well: the wanted answer rather than another's bad one."""
    pairs = []
    for answer in _some(asked.good, len(asked.bad), rng):
        wanted = asked.wanted(answer.condition.cue) or answer.text
        rejected = asked.bad[rng.integers(len(asked.bad))].text
        if _differ(wanted, rejected):
            pairs.append(_pair(answer, wanted, rejected))
    return pairs


def _guards(
    good: Sequence[Answer], others: Sequence[Answer], count: int, rng: np.random.Generator
) -> list[Pair]:
    """Questions answered well, against an answer of the other kind that was given elsewhere."""
    pairs = []
    for answer in _some(good, count, rng) if others else ():
        rejected = others[int(rng.integers(len(others)))].text
        if _differ(answer.text, rejected):
            pairs.append(_pair(answer, answer.text, rejected))
    return pairs


def _some(things: Sequence[_T], count: int, rng: np.random.Generator) -> list[_T]:
    return [things[n] for n in rng.permutation(len(things))[: max(0, count)]]


def _differ(one: str, other: str) -> bool:
    return one.strip() != other.strip()


def _pair(asked: Answer, chosen: str, rejected: str) -> Pair:
    return Pair(tuple(asked.messages()), chosen, rejected)
