"""What is tuned on and what is tested on never meet."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import evenhand
from evenhand.benchmarks import load
from evenhand.benchmarks.item import Item
from evenhand.engines.mock import MockEngine
from evenhand.errors import UsageError
from evenhand.mitigate.split import (
    TuningPart,
    Unit,
    make_split,
    plan_for_test,
    plan_for_tuning,
    split_run,
)
from evenhand.store.store import Store
from evenhand.study.cue import Message
from evenhand.study.identity import BASELINE, Identity, shipped_identities
from evenhand.study.plan import make_plan
from evenhand.study.study import Study

DEMO = [item for name in ("demo_safety", "demo_knowledge") for item in load(name)]
PEOPLE = [user for user in shipped_identities() if user.kind == "identity"]
STUDY = Study(
    model="openai/any",
    benchmarks=("demo_safety", "demo_knowledge"),
    identities=("religion", "gender"),
    cues=("system-1", "system-2", "memory-1"),
    placebos=True,
    limit=20,
)


def parts(items: list[Item], seed: int = 0, unit: Unit = "item") -> tuple[list[Item], list[Item]]:
    split = make_split(items, PEOPLE, ["system-1"], seed=seed, unit=unit)
    tuning = [item for item in items if split.item_part(item) == "tuning"]
    return tuning, [item for item in items if item not in tuning]


def audited(folder: Path) -> Store:
    evenhand.audit(STUDY, engine=MockEngine(lambda _: "I can't help."), out=folder)
    return Store.open(folder)


def test_every_topic_is_shared_out_to_within_one_item() -> None:
    tuning, test = parts(DEMO)
    for benchmark in ("demo_safety", "demo_knowledge"):
        in_tuning = Counter(i.subgroup for i in tuning if i.benchmark == benchmark)
        in_test = Counter(i.subgroup for i in test if i.benchmark == benchmark)
        assert abs(in_tuning.total() - in_test.total()) <= 1
        assert all(abs(in_tuning[topic] - in_test[topic]) <= 1 for topic in {*in_tuning, *in_test})


def test_whole_subgroups_go_to_one_part() -> None:
    tuning, test = parts(DEMO, unit="subgroup")
    for benchmark in ("demo_safety", "demo_knowledge"):
        seen = {i.subgroup for i in tuning if i.benchmark == benchmark}
        unseen = {i.subgroup for i in test if i.benchmark == benchmark}
        assert seen
        assert unseen
        assert not seen & unseen


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(4, 120))
def test_parts_are_whole_fixed_and_as_large_as_said(seed: int, size: int) -> None:
    items = DEMO[:size]
    tuning, test = parts(items, seed)
    assert parts(items, seed) == (tuning, test)
    assert len(tuning) + len(test) == len(items)
    assert abs(len(tuning) - len(test)) <= 1


def test_another_seed_is_another_split() -> None:
    assert parts(DEMO, 1) != parts(DEMO, 2)


def test_the_same_question_under_another_id_is_of_the_same_part() -> None:
    twins = [
        Item(f"b{n % 2}", f"{n}", f"  Question {n // 2}\nOF  two?", "safety", "refusal")
        for n in range(40)
    ]
    split = make_split(twins, PEOPLE, ["system-1"])
    for first, second in zip(twins[::2], twins[1::2], strict=True):
        assert split.item_part(first) == split.item_part(second)
    known = next(i for i in twins if split.item_part(i) == "tuning")
    copy = Item("elsewhere", "copy", known.prompt.upper(), "safety", "refusal")
    assert split.item_part(copy) == "tuning"


def test_a_third_of_the_identities_of_each_category_is_held_out() -> None:
    split = make_split(DEMO, [BASELINE, *PEOPLE], ["system-1"])
    assert len(split.identities) in (20, 21)
    kept = Counter(user.category for user in PEOPLE if user.id in split.identities)
    sizes = Counter(user.category for user in PEOPLE)
    assert all(abs(kept[name] - 2 / 3 * size) < 1 for name, size in sizes.items())


def test_an_intersection_is_seen_only_if_both_its_identities_are() -> None:
    split = make_split(DEMO, PEOPLE, ["system-1"])
    seen, unseen = split.identities[:2], [p.id for p in PEOPLE if p.id not in split.identities]
    pair = Identity(f"{seen[0]}+{seen[1]}", "", "")
    mixed = Identity(f"{seen[0]}+{unseen[0]}", "", "")
    assert (split.identity_part(pair), split.identity_part(mixed)) == ("tuning", "test")


def test_few_identities_are_all_tuned_on_and_one_cue_too() -> None:
    split = make_split(DEMO, PEOPLE[:5], ["memory-2"])
    assert len(split.identities) == 5
    assert split.cues == ("memory-2",)
    assert split.cue_part("system-1") == "test"


def test_too_few_items_are_told() -> None:
    with pytest.raises(UsageError, match="demo_safety has 3 items on safety; at least 4"):
        make_split(DEMO[:3], PEOPLE, ["system-1"])


@pytest.mark.slow
def test_the_view_of_the_tuning_part_holds_nothing_else(tmp_path: Path) -> None:
    store = audited(tmp_path / "run")
    split = split_run(store)
    part = TuningPart(store, split)
    answers = list(part.answers())
    people = {a.condition.identity.id for a in answers}
    assert people == {"baseline", *split.identities}
    assert {a.condition.cue for a in answers} == set(split.cues)
    assert {split.item_part(a.item) for a in answers} == {"tuning"}
    assert len(split.cues) == 2
    assert len(answers) == len(people) * 2 * len(part.items)
    assert all(a.score in (0.0, 1.0) for a in answers if a.item.axis == "safety")


def test_an_answer_knows_the_conversation_that_was_sent(tmp_path: Path) -> None:
    sent: list[list[Message]] = []

    def reply(messages: list[Message]) -> str:
        sent.append(messages)
        return "No."

    evenhand.audit(STUDY, engine=MockEngine(reply), out=tmp_path / "run")
    store = Store.open(tmp_path / "run")
    assert all(a.messages() in sent for a in TuningPart(store, split_run(store)).answers())


@pytest.mark.slow
def test_the_split_of_a_run_is_fixed_once_written(tmp_path: Path) -> None:
    store = audited(tmp_path / "run")
    first = split_run(store, seed=7)
    assert split_run(store) == split_run(store, seed=7, unit="item") == first
    with pytest.raises(UsageError, match="was split with seed 7"):
        split_run(store, seed=8)
    with pytest.raises(UsageError, match="was split with unit item"):
        split_run(store, unit="subgroup")


@pytest.mark.slow
def test_items_that_join_the_run_later_are_unseen(tmp_path: Path) -> None:
    store = audited(tmp_path / "run")
    split = split_run(store)
    more = make_plan(STUDY.model_copy(update={"limit": 60}))
    old = {item.id for item in make_plan(STUDY).items}
    assert {split.item_part(i) for i in more.items if i.id not in old} == {"test"}


@pytest.mark.slow
def test_plans_for_tuning_and_for_the_test_share_no_item(tmp_path: Path) -> None:
    store = audited(tmp_path / "run")
    split, plan = split_run(store), make_plan(STUDY)
    tuning, test = plan_for_tuning(plan, split), plan_for_test(plan, split)
    assert len(tuning.items) + len(test.items) == len(plan.items)
    split.check_tuning(tuning.items)
    split.check_test(test.items)
    assert {c.identity.id for c in tuning.conditions} == {"baseline", *split.identities}
    with pytest.raises(UsageError, match="belongs to the test part"):
        split.check_tuning(test.items)
    with pytest.raises(UsageError, match="belongs to the tuning part"):
        split.check_test(tuning.items)
