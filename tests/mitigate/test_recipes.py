"""Recipes for pairs: what they choose, how they are balanced, and that they see no test data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

import evenhand
from evenhand.axes import AXES, AxisName
from evenhand.benchmarks import load
from evenhand.benchmarks.item import Item
from evenhand.engines.engine import Outcome
from evenhand.engines.mock import MockEngine
from evenhand.errors import PairsError, UnknownName
from evenhand.mitigate import recipes
from evenhand.mitigate.examples import PreferencePair, balance_of
from evenhand.mitigate.recipes import RECIPES, half_defended, needs_data
from evenhand.mitigate.split import TuningAnswer, TuningPart, split_run
from evenhand.store.store import Store
from evenhand.study.cue import Condition, Defense, DefensePlace, Message, shipped_cues
from evenhand.study.identity import Identity, shipped_identities
from evenhand.study.study import Study

REFUSAL = "I'm sorry, but I can't help with that."
HELP = "Sure, here is how: step one, get ready; step two, begin; step three, finish."
BENCHMARKS = ("demo_safety", "demo_over_refusal", "demo_knowledge")
STUDY = Study(
    model="openai/any",
    benchmarks=BENCHMARKS,
    identities=("religion", "gender"),
    cues=("system-1", "system-2", "memory-1"),
    limit=20,
)
ANSWERS = {item.prompt: item.choices["ABCD".index(item.answer)] for item in load("demo_knowledge")}
UNSAFE = {item.prompt for item in load("demo_safety")}
TEXTS = {user.text for user in shipped_identities() if user.kind == "identity"}


def biased(messages: list[Message]) -> str:
    """Women get unsafe help, men needless refusals, Hindus wrong answers; all others good ones."""
    who = " ".join(message["content"] for message in messages)
    question = next(q for q in (*UNSAFE, *ANSWERS, who) if q in who)
    if question in ANSWERS:
        right = ANSWERS[question]
        others = [x for x in ("tools", "fish", "birds", "kitchen", "fruit") if x != right]
        told = others[0] if "Hindu" in who else right
        return f"Therefore, the answer is {told}."
    if question in UNSAFE:
        return HELP if "woman" in who else REFUSAL
    return REFUSAL if " man" in who else HELP


def tuning_part(folder: Path, reply: Callable[[list[Message]], str] = biased) -> TuningPart:
    evenhand.audit(STUDY, engine=MockEngine(reply), out=folder / "run")
    store = Store.open(folder / "run")
    return TuningPart(store, split_run(store))


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> TuningPart:
    return tuning_part(tmp_path_factory.mktemp("recipes"))


def data(count: int = 30) -> list[PreferencePair]:
    """Preference data with system messages and earlier turns of their own."""
    system: Message = {"role": "system", "content": "Be brief."}
    earlier: list[Message] = [
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Hello."},
    ]
    return [
        PreferencePair(
            (system, *earlier, {"role": "user", "content": f"Question {n}?"}), "Yes.", "No."
        )
        for n in range(count)
    ]


def make_pairs(*arguments: Any, **named: Any) -> list[PreferencePair]:
    return recipes.make_pairs(*arguments, **named).pairs


def everything(pair: PreferencePair) -> str:
    return "\n".join(message["content"] for message in pair.messages)


@pytest.mark.parametrize("recipe", RECIPES)
def test_nothing_of_the_test_part_is_in_any_pair(part: TuningPart, recipe: str) -> None:
    store, split = part._store, part.split
    test_prompts = [i.prompt for i in store.items().values() if split.item_part(i) == "test"]
    assert len(test_prompts) == 30
    people = [user for user in shipped_identities() if user.category in ("religion", "gender")]
    unseen = [user.text for user in people if user.id not in split.identities]
    cues = [cue for cue in shipped_cues() if cue.id in STUDY.cues and cue.id not in split.cues]
    assert len(unseen) >= 3
    assert len(cues) == 1
    stolen = [
        PreferencePair(({"role": "user", "content": p.upper()},), "Yes.", "No.")
        for p in test_prompts
    ]
    pairs = make_pairs(recipe, part, [*data(), *stolen])
    assert pairs
    for pair in pairs:
        text = everything(pair)
        assert not any(prompt.casefold() in text.casefold() for prompt in test_prompts)
        assert not any(f"am {who}." in text or f"is {who}." in text for who in unseen)
        assert not any(cue.system.split("{is}")[0] in text for cue in cues if cue.system)


def test_as_is_and_without_system_messages(part: TuningPart) -> None:
    kept = make_pairs("as-is", part, data())
    assert sorted(map(everything, kept)) == sorted(map(everything, data()))
    for pair in make_pairs("vanilla", part, data()):
        assert [message["role"] for message in pair.messages] == ["user", "assistant", "user"]


def test_one_random_identity_a_pair(part: TuningPart) -> None:
    pairs = make_pairs("random", part, data(300), seed=3)
    assert len(pairs) == 300
    seen = Counter(who for pair in pairs for who in TEXTS if f"{who}." in everything(pair))
    assert len(seen) == len(part.split.identities)
    assert all("Be brief." not in everything(pair) for pair in pairs)
    assert all("Hello." in everything(pair) for pair in pairs), "earlier turns stay"
    assert pairs == make_pairs("random", part, data(300), seed=3)
    assert pairs != make_pairs("random", part, data(300), seed=4)


def test_several_identities_a_pair(part: TuningPart) -> None:
    pairs = make_pairs("all", part, data(10), several=3)
    assert Counter(pair.question for pair in pairs) == {f"Question {n}?": 3 for n in range(10)}
    assert len(set(map(everything, pairs))) == 30
    assert len(make_pairs("all", part, data(300), several=3, most=50)) == 50
    everybody = make_pairs("all", part, data(10))
    assert {pair.identity for pair in everybody} == set(part.split.identities), "as in the paper"


def test_invariance_wants_the_good_answer_for_everybody(part: TuningPart) -> None:
    pairs = make_pairs("invariance", part)
    for pair in pairs:
        if pair.question in UNSAFE:
            assert pair.chosen == REFUSAL
        elif pair.question in ANSWERS:
            assert ANSWERS[pair.question] in pair.chosen
        else:
            assert pair.chosen == HELP
    wronged = [p for p in pairs if "woman" in everything(p) and p.question in UNSAFE]
    held = [p for p in pairs if "woman" not in everything(p) and p.question in UNSAFE]
    assert wronged
    assert len(held) >= len(wronged), "what is right already is held"


def test_invariance_teaches_refusing_and_complying_alike(part: TuningPart) -> None:
    pairs = make_pairs("invariance", part)
    refusing = [pair for pair in pairs if pair.chosen == REFUSAL]
    complying = [pair for pair in pairs if pair.rejected == REFUSAL]
    assert len(refusing) == len(complying) > 10


@pytest.mark.slow
def test_invariance_holds_refusals_where_only_help_is_missing(tmp_path: Path) -> None:
    def timid(messages: list[Message]) -> str:
        """Refuses men everything, and nobody else a harmless question."""
        who = " ".join(message["content"] for message in messages)
        return REFUSAL if " man" in who or any(q in who for q in UNSAFE) else HELP

    pairs = make_pairs("invariance", tuning_part(tmp_path, timid))
    refusing = [pair for pair in pairs if pair.chosen == REFUSAL]
    assert len(refusing) == len(pairs) - len(refusing) > 10
    assert all(pair.question in UNSAFE and pair.rejected == HELP for pair in refusing)


class OneQuestion:
    """A tuning part with one question: good for the first who asked it, bad for the second."""

    def __init__(self, part: TuningPart, axis: AxisName) -> None:
        self.items = [Item("own", "q", "May I vote?", axis, "text", "Yes")]
        told = [c for c in part.conditions if c.cue == part.conditions[0].cue]
        scores = (0.0, 1.0) if axis == "over_refusal" else (1.0, 0.0)
        self._answers = [
            TuningAnswer(condition, self.items[0], 0, f"Answer {score}.", score)
            for condition, score in zip(told[:2], scores, strict=True)
        ]

    def answers(self) -> Iterator[TuningAnswer]:
        return iter(self._answers)


@pytest.mark.parametrize("recipe", ["invariance", "debiasing"])
@pytest.mark.parametrize("axis", get_args(AxisName))
def test_an_answer_that_rightly_depends_on_the_user_is_left_alone(
    part: TuningPart, axis: AxisName, recipe: str
) -> None:
    one: Any = OneQuestion(part, axis)
    if not AXES[axis].is_averaged:
        with pytest.raises(PairsError, match="found no pairs"):
            make_pairs(recipe, one, clean=False)
    else:
        assert make_pairs(recipe, one, clean=False)


def test_debiasing_wants_the_answer_to_the_question_alone(part: TuningPart) -> None:
    pairs = make_pairs("debiasing", part)
    assert pairs
    for pair in pairs:
        alone = biased([{"role": "user", "content": pair.question}])
        assert pair.chosen == alone
        assert pair.rejected != alone
    assert all(any(who in everything(p) for who in TEXTS) for p in pairs)


def test_the_control_swaps_half(part: TuningPart) -> None:
    straight = make_pairs("invariance", part, seed=1)
    shuffled = make_pairs("invariance-shuffled", part, seed=1)
    swapped = [a != b for a, b in zip(straight, shuffled, strict=True)]
    assert sum(swapped) == len(straight) // 2
    assert all(
        (a.chosen, a.rejected) in ((b.chosen, b.rejected), (b.rejected, b.chosen))
        for a, b in zip(straight, shuffled, strict=True)
    )


DEFENDED = {
    "after": ("You help. I am old. Be fair.", "How?"),
    "before": ("Be fair. You help. I am old.", "How?"),
    "user": ("You help. I am old.", "Be fair.\n\nHow?"),
}


@pytest.mark.parametrize("place", DEFENDED)
def test_half_of_a_hybrid_s_pairs_carry_the_defense_as_an_audit_sends_it(
    place: DefensePlace,
) -> None:
    defense = Defense(id="fair", text="Be fair.", place=place)
    told: Message = {"role": "system", "content": "You help. I am old."}
    asked: Message = {"role": "user", "content": "How?"}
    pairs = [PreferencePair((told, asked), f"good {n}", "bad") for n in range(40)]
    made = half_defended(pairs, defense, seed=0)
    assert [pair.chosen for pair in made] == [pair.chosen for pair in pairs]
    changed = [pair for pair, before in zip(made, pairs, strict=True) if pair != before]
    assert len(changed) == 20
    cue = next(cue for cue in shipped_cues() if cue.id == "system-1")
    identity = Identity(id="old", text="old", category="age")
    cue = cue.model_copy(update={"system": "You help. I am {is}."})
    sent = Condition(identity, cue, defense).messages("How?")
    for pair in changed:
        assert tuple(message["content"] for message in pair.messages) == DEFENDED[place]
        assert list(pair.messages) == sent


def test_without_a_system_message_the_defense_becomes_it() -> None:
    pair = PreferencePair(({"role": "user", "content": "How?"},), "good", "bad")
    made = half_defended([pair] * 2, Defense(id="fair", text="Be fair."), seed=1)
    assert sum(pair.messages[0] == {"role": "system", "content": "Be fair."} for pair in made) == 1


@pytest.mark.slow
def test_a_model_that_treats_all_alike_gives_no_pairs(tmp_path: Path) -> None:
    fair = tuning_part(tmp_path, lambda _: REFUSAL)
    for recipe in ("invariance", "debiasing"):
        with pytest.raises(PairsError, match="found no pairs"):
            make_pairs(recipe, fair)
    with pytest.raises(PairsError, match="it needs preference data"):
        make_pairs("random", fair)


def test_an_unknown_recipe(part: TuningPart) -> None:
    with pytest.raises(UnknownName, match='did you mean "invariance"'):
        make_pairs("invariant", part)
    assert needs_data("vanilla")
    assert not needs_data("debiasing")


# Clean pairs

GIVEN: list[tuple[str, str, str, float, Outcome]] = [
    # axis, why it is left out, text, score, outcome
    ("safety", "the answer was cut off", "I can't help with that, since", 1.0, "cut off"),
    ("safety", "the answer was blocked", "I can't help with that.", 1.0, "blocked"),
    ("safety", "repeats the same words", "I can't do it. " * 40, 1.0, "whole"),
    ("safety", "not surely a refusal", "First, buy the parts. Then join them.", 1.0, "whole"),
    ("over_refusal", "not surely", "I would rather not say, sorry about that.", 0.0, "whole"),
    ("utility", "the answer was cut off", "The answer is Yes. But then", 1.0, "cut off"),
    ("utility", "empty", " ", 1.0, "whole"),
    ("utility", "corrects itself", "The answer is No. Wait, I mean yes: Yes.", 1.0, "whole"),
    ("over_refusal", "refuses and helps", f"{HELP} {HELP} I can't help with it.", 0.0, "whole"),
]


class GivenAnswer(OneQuestion):
    """A tuning part whose one good answer is the given one; the bad one is whole."""

    def __init__(self, part: TuningPart, axis: Any, text: str, score: float, outcome: Any) -> None:
        super().__init__(part, axis)
        good, bad = sorted(self._answers, key=lambda a: a.score != score)
        self._answers = [replace(good, text=text, outcome=outcome), replace(bad, text="Bad.")]


@pytest.mark.parametrize(("axis", "why", "text", "score", "outcome"), GIVEN)
def test_what_a_model_should_not_learn_is_left_out_and_said(
    part: TuningPart, axis: str, why: str, text: str, score: float, outcome: Outcome
) -> None:
    one: Any = GivenAnswer(part, axis, text, score, outcome)
    with pytest.raises(PairsError, match="found no pairs"):
        make_pairs("invariance", one)
    _, left_out = recipes._questions(one, clean=True)
    assert [(why in reason, count) for reason, count in (+left_out).items()] == [(True, 1)]
    if text.strip():
        taught = make_pairs("invariance", one, clean=False)
        assert all(pair.chosen == text for pair in taught), "with the filter off it returns"


def test_what_is_sure_is_kept_with_axis_and_identity(part: TuningPart) -> None:
    made = recipes.make_pairs("invariance", part)
    assert {pair.axis for pair in made.pairs} == {"safety", "over_refusal", "utility"}
    balance = balance_of(made.pairs)
    assert sum(balance["axis"].values()) == len(made.pairs)
    assert sum(balance["identity"].values()) == len(made.pairs)
    assert balance["words"]["chosen"] > 0


def test_pairs_that_nearly_repeat_another_are_left_out(part: TuningPart) -> None:
    def asked(question: str, chosen: str = "Yes.") -> PreferencePair:
        return PreferencePair(({"role": "user", "content": question},), chosen, "No.")

    long = "Is it true that the sun is larger than the moon and the earth together"
    alike = [
        asked(f"{long}?"),
        asked(f"{long.upper()} ?"),
        asked(f"So {long[0].lower()}{long[1:]}?"),
    ]
    others = [asked(f"{long}?", "Yes, it is."), asked("Is it true?")]
    made = recipes.make_pairs("as-is", part, [*alike, *others])
    assert made.left_out == {"nearly the same pair as another": 2}
    assert len(made.pairs) == 3
    assert len(make_pairs("as-is", part, [*alike, *others], clean=False)) == 5


def test_of_preference_data_chosen_answers_that_correct_themselves_are_left_out(
    part: TuningPart,
) -> None:
    given = [
        PreferencePair(({"role": "user", "content": question},), chosen, "No.")
        for question, chosen in (
            ("Is it so?", "No. Wait, I made a mistake: yes."),
            ("Can it be?", "Yes, it can."),
        )
    ]
    made = recipes.make_pairs("as-is", part, given)
    assert [pair.chosen for pair in made.pairs] == ["Yes, it can."]
    assert made.left_out == {"the chosen answer corrects itself or starts again": 1}
    assert len(make_pairs("as-is", part, given, clean=False)) == 2


def test_unclean_preference_data_is_left_out_and_said(part: TuningPart) -> None:
    given = [
        PreferencePair(({"role": "user", "content": question},), chosen, rejected)
        for question, chosen, rejected in (
            ("Is it so?", "Yes, it is.", "No."),
            ("Is it here?", "Here it is.", "here it is"),
            ("Is it big?", "It is big.", "It is small."),
            ("is it BIG", "It is small.", "It is big."),
            ("Is it cold?", "It is cold and windy, but", "No."),
            ("Is it warm?", "It is warm.", "It is not warm at all. " * 9),
            ("Is it old?", "It is old.<|im_end|>", "No."),
        )
    ]
    made = recipes.make_pairs("as-is", part, given)
    assert [pair.chosen for pair in made.pairs] == ["Yes, it is."]
    assert made.left_out == {
        "chosen and rejected differ in spelling alone": 1,
        "another pair prefers the other answer": 2,
        "the chosen answer breaks off in the middle of a sentence": 1,
        "the rejected answer repeats the same words over and over": 1,
        "the chosen answer contains marks of a chat template": 1,
    }
    assert len(make_pairs("as-is", part, given, clean=False)) == 7
    with pytest.raises(PairsError, match="--no-clean-pairs"):
        make_pairs("as-is", part, given[1:])
