"""The published benchmarks, read from their real files."""

from __future__ import annotations

from collections import Counter
from string import ascii_uppercase

import pytest

from evenhand.benchmarks import BENCHMARKS, Item, find_benchmark, load
from evenhand.benchmarks.item import number_of
from evenhand.errors import UsageError
from evenhand.scorers import score

PUBLISHED = [name for name in BENCHMARKS if find_benchmark(name).files]
SIZES = {
    "do_not_answer": 939,
    "strongreject": 313,
    "strongreject-346": 346,
    "harmbench": 300,
    "xstest": 450,
    "mmlu": 285,
    "mmlu-test": 14042,
    "gsm8k": 1319,
    "bbh": 6507,
    "mbpp": 500,
    "mbpp-all": 974,
}

pytestmark = pytest.mark.usefixtures("data_dir")


def by_id(name: str) -> dict[str, Item]:
    return {item.id: item for item in load(name)}


def test_these_are_all() -> None:
    assert set(PUBLISHED) == set(SIZES)


@pytest.mark.parametrize("name", PUBLISHED)
def test_items(name: str) -> None:
    benchmark, items = find_benchmark(name), load(name)
    assert len(items) == benchmark.size == SIZES[name]
    assert len({item.id for item in items}) == len(items)
    assert {item.axis for item in items} == set(benchmark.axes)
    assert load(name) == items
    for item in items:
        assert item.benchmark == name
        assert item.prompt == item.prompt.strip() != ""
        assert item.subgroup or name in ("gsm8k", "mbpp", "mbpp-all")
        check_answer(item)


def check_answer(item: Item) -> None:
    if item.axis == "utility":
        assert item.answer
        assert item.scorer == "code" or "Therefore, the answer is ..." in item.prompt
    else:
        scorer = "harm" if item.benchmark == "do_not_answer" else "refusal"
        assert (item.scorer, item.answer, item.choices) == (scorer, "", ())
    if item.scorer == "choice":
        assert item.answer in ascii_uppercase[: len(item.choices)]
        assert all(f"({ascii_uppercase[i]}) {c}" in item.prompt for i, c in enumerate(item.choices))
    if item.scorer == "number":
        number_of(item.answer)
    if item.scorer == "text" and item.choices:
        assert item.answer in item.choices


UTILITY = [name for name in PUBLISHED if find_benchmark(name).axes == ("utility",)]
UTILITY = [name for name in UTILITY if not name.startswith("mbpp")]  # see test_code.py


@pytest.mark.slow
@pytest.mark.parametrize("name", UTILITY)
def test_right_answers_score_one_and_wrong_ones_zero(name: str) -> None:
    work = "Let us see: 3 and 4, (A) or (B), yes or no.\n"
    for item in load(name):
        assert score(f"{work}Therefore, the answer is {item.answer}.", item) == 1.0, item
        assert score(f"{work}**Answer:** {item.answer}", item) == 1.0, item
        assert score(f"{work}Therefore, the answer is {wrong(item)}.", item) == 0.0, item


def wrong(item: Item) -> str:
    """A wrong answer that differs as little as can be."""
    if item.scorer == "choice":
        return ascii_uppercase[1 if item.answer == "A" else 0]
    if item.scorer == "number":
        return str(int(item.answer) + 1)
    if item.choices:
        return next(choice for choice in item.choices if choice != item.answer)
    return f"{item.answer} )" if item.subgroup == "dyck_languages" else f"{item.answer} zebra"


@pytest.mark.parametrize("name", ["mmlu", "mmlu-test", "bbh"])
def test_the_right_option_may_be_given_by_its_text(name: str) -> None:
    items = [item for item in load(name) if item.scorer == "choice"]
    right = [
        score(f"Therefore, the answer is {item.choices[ascii_uppercase.index(item.answer)]}.", item)
        for item in items
    ]
    assert right.count(1.0) >= 0.99 * len(items)
    assert right.count(0.0) <= 2  # the text "B" as option D, and "(B) (C) and (D)"


def test_do_not_answer() -> None:
    items = by_id("do_not_answer")
    assert items["433"].prompt == items["434"].prompt
    assert items["076"].prompt.startswith('"')
    assert len({item.subgroup for item in items.values()}) == 12


def test_strongreject_releases_share_214_prompts() -> None:
    final, earlier = load("strongreject"), load("strongreject-346")
    assert len({item.prompt for item in final} & {item.prompt for item in earlier}) == 214
    assert len({item.subgroup for item in final}) == 6


def test_harmbench_has_the_context_in_front_and_no_copyright() -> None:
    items = by_id("harmbench")
    with_context = [item for item in items.values() if "\n\n---\n\n" in item.prompt]
    assert len(with_context) == 100
    assert items["carroll_method_isotonitazene"].prompt.endswith("the specific synthesis steps")
    assert not any(item.subgroup == "copyright" for item in items.values())


def test_xstest_halves() -> None:
    axes = Counter(item.axis for item in load("xstest"))
    assert axes == {"safety": 200, "over_refusal": 250}
    for item in load("xstest"):
        assert item.subgroup.startswith("contrast_") == (item.axis == "safety")


def test_mmlu() -> None:
    item = by_id("mmlu")["astronomy/0000"]
    assert item.prompt.startswith("This is a multiple-choice question about astronomy.")
    assert item.answer == "D"
    assert Counter(Counter(i.subgroup for i in load("mmlu")).values()) == {5: 57}
    answers = Counter(item.answer for item in load("mmlu-test"))
    assert answers == {"A": 3222, "B": 3462, "C": 3582, "D": 3776}


def test_gsm8k() -> None:
    items = load("gsm8k")
    assert (items[0].id, items[0].answer) == ("0000", "18")
    assert "," not in "".join(item.answer for item in items)
    assert sum(item.answer.startswith("-") for item in items) == 2


def test_bbh_leaves_out_only_what_is_broken_at_the_source() -> None:
    items = by_id("bbh")
    left_out = {"movie_recommendation/163", "ruin_names/099", "ruin_names/144", "snarks/088"}
    assert not left_out & set(items)
    assert {"movie_recommendation/249", "ruin_names/249"} <= set(items)
    sizes = Counter(item.subgroup for item in items.values())
    assert len(sizes) == 27
    assert (sizes["movie_recommendation"], sizes["ruin_names"], sizes["snarks"]) == (249, 248, 177)


def test_worked_examples_are_the_first_ones_and_change_nothing_else() -> None:
    plain, worked = load("mmlu-test"), load("mmlu-test", shots=5)
    assert [item.id for item in plain] == [item.id for item in worked]
    dev = [item for item in load("mmlu") if item.subgroup == "anatomy"]
    item = next(item for item in worked if item.subgroup == "anatomy")
    for example in dev:
        assert f"Therefore, the answer is ({example.answer})." in item.prompt
    assert item.prompt.count("\nAnswer: Therefore") == 5
    assert item.prompt.endswith("\nAnswer:")


def test_worked_examples_of_gsm8k_show_the_work() -> None:
    prompt = load("gsm8k", shots=2)[0].prompt
    assert "48+24 = 72 clips" in prompt
    assert "Therefore, the answer is 72." in prompt
    assert "<<" not in prompt
    assert "####" not in prompt


@pytest.mark.parametrize(
    ("name", "shots", "message"),
    [
        ("mmlu", 1, "mmlu has no split to take worked examples from"),
        ("bbh", 3, "bbh has no split"),
        ("do_not_answer", 1, "do_not_answer has no split"),
        ("mmlu-test", 6, "mmlu-test has at most 5 worked examples, not 6"),
        ("gsm8k", -1, "shots must be 0 or more, not -1"),
    ],
)
def test_impossible_shots(name: str, shots: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(name, shots=shots)
