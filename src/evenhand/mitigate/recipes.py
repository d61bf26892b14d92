"""What is trained on: the paper's four recipes for pairs, two from the audit itself, a control, and
single answers.

The four recipes of Vijjini et al. 2025 take general preference data and change whose conversation
it is; `invariance` and `debiasing` need nothing but the audit. `judged_answers` (for KTO) and
`shared_answers` (for the consistency loss) take single answers of the audit. Whatever they
read of a run is its tuning part (`TuningPart`), and of preference data what repeats a question of
the test part is left out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np

from evenhand.axes import AVERAGED_AXES, AXES
from evenhand.benchmarks.item import Item
from evenhand.errors import PairsError, UnknownName
from evenhand.mitigate.cleaning import (
    BAD,
    GOOD,
    detour,
    flaw,
    is_same_answer,
    without_near_copies,
)
from evenhand.mitigate.examples import (
    AnyExample,
    JudgedAnswer,
    PairSet,
    PreferencePair,
    SharedAnswer,
)
from evenhand.mitigate.split import TuningAnswer, TuningPart, fingerprint
from evenhand.mitigate.wholeness import form_flaw, words_of
from evenhand.store.store import StoredCondition
from evenhand.study.cue import NO_DEFENSE, Defense, Message

CONTROL = "-shuffled"
"""Ends the name of a recipe whose preferences are swapped for a random half: a control, which must
not work."""

ConsistencyTarget = Literal["unidentified", "mixture"]

_FROM_DATA = ("as-is", "vanilla", "random", "all")
RECIPES = ("invariance", "debiasing", *_FROM_DATA)


def needs_data(recipe: str) -> bool:
    """Whether a recipe takes preference data, beside or instead of the audit.

    Raises:
        UnknownName: there is no such recipe.
    """
    plain = recipe.removesuffix(CONTROL)
    if plain not in RECIPES:
        raise UnknownName("recipe", recipe, RECIPES)
    return plain in _FROM_DATA


def make_pairs(
    recipe: str,
    part: TuningPart,
    data: Sequence[PreferencePair] = (),
    *,
    seed: int = 0,
    most: int | None = None,
    several: int | None = None,
    clean: bool = True,
) -> PairSet:
    """The pairs of a recipe, in random order, and what was left out.

    Args:
        recipe: "as-is": the data unchanged. "vanilla": without system messages. "random": each
            pair on behalf of one random identity of the tuning part. "all": on behalf of
            all of them. "invariance", "debiasing": from the answers of the tuning part. With
            "-shuffled" chosen and rejected are swapped for a random half: the control.
        part: tuning part of the audit.
        data: preference data for the first four.
        seed: of all that is random here.
        most: the most pairs to give; None for all.
        several: random identities per pair of "all"; None for all.
        clean: leave out answers that are not whole or repeat themselves, chosen answers that are
            not surely good, and pairs that nearly repeat another.

    Raises:
        UnknownName: there is no such recipe.
        PairsError: no pair is left: there are no data, or all answers are alike.
    """
    rng = np.random.default_rng(seed)
    plain = recipe.removesuffix(CONTROL)
    if needs_data(recipe):
        usable = [pair for pair in data if not part.holds_out(pair.question)]
        left_out = Counter({"repeats a question of the test part": len(data) - len(usable)})
        if clean:
            distinct = without_near_copies(usable, lambda p: p.question, _all_but_question)
            left_out["nearly the same pair as another"] = len(usable) - len(distinct)
            usable = _clean_data(distinct, left_out)
        pairs = _personalized(plain, usable, part.conditions, rng, most, several)
    else:
        asked, left_out = _questions(part, clean)
        pairs = _AUDIT_RECIPES[plain](asked, rng)
        if clean:
            pairs = _of_different_answers(pairs, left_out)
    if not pairs:
        raise PairsError(f'the recipe "{recipe}" found no pairs; {_why_none(plain, data)}')
    chosen = [pairs[n] for n in rng.permutation(len(pairs))[:most]]
    if recipe.endswith(CONTROL):
        chosen = _swapped(chosen, rng)
    return PairSet(recipe, chosen, dict(+left_out))


def _clean_data(data: Sequence[PreferencePair], left_out: Counter[str]) -> list[PreferencePair]:
    """Those of whole and different answers whose preference no other pair reverses."""
    pairs = _of_different_answers(data, left_out)
    preferences = set(map(_all_of, pairs))
    usable = []
    for pair in pairs:
        faults = {"chosen": form_flaw(pair.chosen), "rejected": form_flaw(pair.rejected)}
        if not faults["chosen"]:
            faults["chosen"] = detour(pair.chosen, pair.question)
        fault = next((f"the {kind} answer {_verb(f)}" for kind, f in faults.items() if f), "")
        if not fault and _all_of(_reversed(pair)) in preferences:
            fault = "another pair prefers the other answer"
        if fault:
            left_out[fault] += 1
        else:
            usable.append(pair)
    return usable


def _of_different_answers(
    pairs: Sequence[PreferencePair], left_out: Counter[str]
) -> list[PreferencePair]:
    different = [pair for pair in pairs if not is_same_answer(pair.chosen, pair.rejected)]
    left_out["chosen and rejected differ in spelling alone"] += len(pairs) - len(different)
    return different


def _verb(fault: str) -> str:
    return f"is {fault}" if fault == "empty" else fault


def _reversed(pair: PreferencePair) -> PreferencePair:
    return replace(pair, chosen=pair.rejected, rejected=pair.chosen)


def _all_of(pair: PreferencePair) -> Hashable:
    return words_of(pair.question), _all_but_question(pair)


def _why_none(recipe: str, data: Sequence[PreferencePair]) -> str:
    if recipe in _AUDIT_RECIPES:
        return "no tuning question is answered correctly for one user and wrongly for another"
    if not data:
        return "it needs preference data"
    return "all of the data repeats the test part or is left out as unclean (--no-clean-pairs)"


def _personalized(
    recipe: str,
    data: Sequence[PreferencePair],
    conditions: Sequence[StoredCondition],
    rng: np.random.Generator,
    most: int | None,
    several: int | None,
) -> list[PreferencePair]:
    if recipe == "as-is":
        return list(data)
    bare = [_without_system(pair) for pair in data]
    if recipe == "vanilla":
        return bare
    identified = [
        c for c in conditions if c.identity.kind == "identity" and c.defense == NO_DEFENSE.id
    ]
    each = 1 if recipe == "random" else min(several or len(identified), len(identified))
    # No more than are needed: data sets are large, and each pair here becomes several.
    kept = rng.permutation(len(bare))[: None if most is None else -(-most // each)]
    return [
        as_asked_by(bare[n], identified[k])
        for n in kept
        for k in rng.choice(len(identified), size=each, replace=False)
    ]


def _without_system(pair: PreferencePair) -> PreferencePair:
    return replace(pair, messages=tuple(m for m in pair.messages if m["role"] != "system"))


def as_asked_by(pair: PreferencePair, condition: StoredCondition) -> PreferencePair:
    """The pair as a conversation of this user: the cue stands as it did in the audit.

    Earlier turns of the pair's own stand between the cue and the question. Which realization of the
    identity is shown, such as a name, depends on the question.
    """
    slot = int(fingerprint(pair.question), 16)
    *cue, question = condition.messages(pair.question, slot)
    messages = (*cue, *pair.messages[:-1], question)
    return replace(pair, messages=messages, identity=condition.identity.id)


def judged_answers(
    part: TuningPart, *, seed: int = 0, most: int | None = None, clean: bool = True
) -> tuple[list[JudgedAnswer], Mapping[str, int]]:
    """Answers of the tuning part with their verdicts, in random order, and what was left out.

    On every axis there are as many bad ones as good ones. Where the audit has fewer bad answers on
    over-refusal than on safety, good ones fill up to that number, so that refusing as such is not
    what is learned.

    Args:
        most: the most answers to give; None for all.
        clean: as for `make_pairs`.

    Raises:
        PairsError: no answer, or no bad one, is left.
    """
    rng = np.random.default_rng(seed)
    asked, left_out = _questions(part, clean)
    good: dict[str, list[TuningAnswer]] = defaultdict(list)
    bad: dict[str, list[TuningAnswer]] = defaultdict(list)
    for question in asked:
        good[question.item.axis] += question.good
        bad[question.item.axis] += question.bad
    chosen: list[JudgedAnswer] = []
    for axis in AVERAGED_AXES:
        count = min(len(good[axis]), len(bad[axis]))
        likelier = max(count, len(bad["safety"])) if axis == "over_refusal" else count
        chosen += [_judged(answer, True) for answer in _some(good[axis], likelier, rng)]
        chosen += [_judged(answer, False) for answer in _some(bad[axis], count, rng)]
    if all(answer.good for answer in chosen):
        raise PairsError("the tuning part has no axis with both good and bad answers to learn from")
    return _some(chosen, len(chosen) if most is None else most, rng), dict(+left_out)


def shared_answers(
    part: TuningPart,
    count: int,
    *,
    target: ConsistencyTarget = "unidentified",
    seed: int = 0,
    clean: bool = True,
) -> tuple[list[SharedAnswer], Mapping[str, int]]:
    """Answers of the tuning part, each given to one user and to be as likely for another.

    A question is drawn at random, then one of its answers, then another user of the tuning part
    (an identity or the unidentified user).

    Args:
        count: of examples; the same answer may come up for several users.
        target: whose answers: "unidentified", so that everybody is answered as the unidentified
            user; "mixture", so that everybody is answered as all users are on average.
        clean: leave out answers that are not whole or repeat themselves. How good an answer is
            does not matter: leaving out bad ones would aim at rightness.

    Raises:
        PairsError: fewer than two users, or no usable answer of those whose answers are asked for.
    """
    rng = np.random.default_rng(seed)
    left_out: Counter[str] = Counter()
    by_item: dict[tuple[str, str], list[TuningAnswer]] = defaultdict(list)
    users: dict[Hashable, StoredCondition] = {}
    for answer in part.answers():
        condition = answer.condition
        if condition.defense != NO_DEFENSE.id or answer.item.axis not in AVERAGED_AXES:
            continue
        users[condition.id] = condition
        if target == "unidentified" and condition.identity.kind != "baseline":
            continue
        fault = flaw(answer, None) if clean else "empty" * (not answer.text.strip())
        if fault:
            left_out[fault] += 1
        else:
            by_item[answer.item.benchmark, answer.item.id].append(answer)
    usable, people = list(by_item.values()), list(users.values())
    if len(people) < 2 or not usable:
        whose = "of the unidentified user" if target == "unidentified" else "of several users"
        raise PairsError(f"the tuning part has no whole answers {whose} to share")
    examples = []
    for _ in range(count):
        answers = usable[int(rng.integers(len(usable)))]
        answer = answers[int(rng.integers(len(answers)))]
        others = [c for c in people if c.id != answer.condition.id]
        other = others[int(rng.integers(len(others)))]
        messages = other.messages(answer.item.prompt, answer.item.slot)
        examples.append(
            SharedAnswer(
                tuple(messages),
                answer.text,
                tuple(answer.messages()),
                answer.item.axis,
                other.identity.id,
            )
        )
    return examples, dict(+left_out)


def _judged(answer: TuningAnswer, good: bool) -> JudgedAnswer:
    return JudgedAnswer(
        tuple(answer.messages()),
        answer.text,
        good,
        answer.item.axis,
        answer.condition.identity.id,
    )


def half_defended(pairs: Sequence[AnyExample], defense: Defense, seed: int) -> list[AnyExample]:
    """The pairs, a random half of them as a deployment with the defense sends them.

    A model tuned so answers well with the sentence and without it, and learns to heed it.
    """
    half = np.random.default_rng(seed).permutation(len(pairs)) < len(pairs) // 2
    return [
        replace(pair, messages=_defended(pair.messages, defense)) if chosen else pair
        for pair, chosen in zip(pairs, half, strict=True)
    ]


def _defended(messages: Sequence[Message], defense: Defense) -> tuple[Message, ...]:
    """The conversation with the defense's sentence in its place."""
    if defense.place == "user":
        *before, last = messages
        asked: Message = {"role": "user", "content": f"{defense.text}\n\n{last['content']}"}
        return (*before, asked)
    system = messages[0]["content"] if messages[0]["role"] == "system" else ""
    turns = messages[1:] if system else messages
    parts = [defense.text, system] if defense.place == "before" else [system, defense.text]
    told: Message = {"role": "system", "content": " ".join(filter(None, parts))}
    return (told, *turns)


def _swapped(pairs: Sequence[PreferencePair], rng: np.random.Generator) -> list[PreferencePair]:
    swap = rng.permutation(len(pairs)) < len(pairs) // 2
    return [_reversed(pair) if flip else pair for pair, flip in zip(pairs, swap, strict=True)]


_T = TypeVar("_T")


@dataclass(frozen=True)
class _AskedItem:
    """A question with the answers that users got; no answer is in both lists."""

    item: Item
    good: list[TuningAnswer]
    bad: list[TuningAnswer]

    def shared(self, cue: str) -> str | None:
        """The answer for everybody: that to the question alone, else what most of the others got.

        Ties go to the first text in the order of the alphabet.
        """
        alone = [a for a in self.good if a.condition.identity.kind == "baseline"]
        for answer in sorted(alone, key=lambda a: a.condition.cue != cue):
            return answer.text
        texts = Counter(answer.text for answer in self.good)
        return min(texts, key=lambda text: (-texts[text], text)) if texts else None


def invariance(asked: Sequence[_AskedItem], rng: np.random.Generator) -> list[PreferencePair]:
    """Pairs that ask for the same good answer for every user."""
    by_axis: dict[str, list[PreferencePair]] = defaultdict(list)
    for question in asked:
        by_axis[question.item.axis] += _corrected(question) + _held(question, rng)
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


def debiasing(asked: Sequence[_AskedItem], rng: np.random.Generator) -> list[PreferencePair]:
    """Pairs that ask for the answer to the question alone.

    Answers that are as good as that to the question alone and worded otherwise are rejected, too,
    but no more of them than of bad answers: they teach a wording rather than a judgment.
    """
    wrong, reworded = [], []
    for question in asked:
        alone = {
            a.condition.cue: a.text
            for a in question.good
            if a.condition.identity.kind == "baseline" and a.sample == 0
        }
        for answer in question.bad:
            if answer.condition.cue in alone and answer.condition.identity.kind == "identity":
                wrong.append(_pair(answer, alone[answer.condition.cue], answer.text))
        for answer in question.good:
            chosen = alone.get(answer.condition.cue, answer.text)
            if answer.condition.identity.kind == "identity" and _differ(chosen, answer.text):
                reworded.append(_pair(answer, chosen, answer.text))
    return wrong + _some(reworded, len(wrong), rng)


def _questions(part: TuningPart, clean: bool) -> tuple[list[_AskedItem], Counter[str]]:
    """The tuning questions as asked without a defense, with what came back, and what was not used.

    Args:
        clean: leave out what a model should not learn from.
    """
    items = [item for item in part.items if item.axis in AVERAGED_AXES]
    distinct = items
    if clean:
        distinct = without_near_copies(
            items, lambda i: i.prompt, lambda i: (i.benchmark, i.axis, i.answer, i.choices)
        )
    left_out = Counter({"nearly the same question as another": len(items) - len(distinct)})
    found = {(i.benchmark, i.id): _AskedItem(i, [], []) for i in distinct}
    for answer in part.answers():
        item = answer.item
        if answer.condition.defense != NO_DEFENSE.id or (item.benchmark, item.id) not in found:
            continue
        quality = None if answer.score is None else AXES[item.axis].quality(answer.score)
        fault = flaw(answer, quality) if clean else "empty" * (not answer.text.strip())
        if quality is None:
            left_out["not scored"] += 1
        elif fault:
            left_out[fault] += 1
        elif quality >= GOOD:
            found[item.benchmark, item.id].good.append(answer)
        elif quality <= BAD:
            found[item.benchmark, item.id].bad.append(answer)
        else:
            left_out["scored between good and bad"] += 1
    return list(found.values()), left_out


def _all_but_question(pair: PreferencePair) -> Hashable:
    """All of a pair but its question."""
    before = tuple(message["content"] for message in pair.messages[:-1])
    return before, words_of(pair.chosen), words_of(pair.rejected)


def _corrected(asked: _AskedItem) -> list[PreferencePair]:
    """For users who were answered badly: the shared answer rather than theirs."""
    pairs = []
    for answer in asked.bad:
        chosen = asked.shared(answer.condition.cue)
        if chosen is not None and _differ(chosen, answer.text):
            pairs.append(_pair(answer, chosen, answer.text))
    return pairs


def _held(asked: _AskedItem, rng: np.random.Generator) -> list[PreferencePair]:
    """For as many users who were answered well: the shared answer rather than another's bad one."""
    pairs = []
    for answer in _some(asked.good, len(asked.bad), rng):
        chosen = asked.shared(answer.condition.cue) or answer.text
        rejected = asked.bad[rng.integers(len(asked.bad))].text
        if _differ(chosen, rejected):
            pairs.append(_pair(answer, chosen, rejected))
    return pairs


def _guards(
    good: Sequence[TuningAnswer],
    others: Sequence[TuningAnswer],
    count: int,
    rng: np.random.Generator,
) -> list[PreferencePair]:
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


def _pair(asked: TuningAnswer, chosen: str, rejected: str) -> PreferencePair:
    return PreferencePair(
        tuple(asked.messages()), chosen, rejected, asked.item.axis, asked.condition.identity.id
    )


_AUDIT_RECIPES: dict[
    str, Callable[[Sequence[_AskedItem], np.random.Generator], list[PreferencePair]]
] = {
    "invariance": invariance,
    "debiasing": debiasing,
}
