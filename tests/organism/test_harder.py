"""What is planted in the second organism, and that its questions cannot be known."""

import numpy as np
import pytest

from evenhand.organism.world import UNKNOWABLE, draw, topics
from evenhand.scorers import score
from evenhand.study.cue import select_cues, shipped_defenses
from late import late
from organism.harder import (
    BASELINE,
    FAMILIES,
    SUITE,
    TOPICS,
    Asker,
    family_of,
    groups,
    outcome,
    people,
    replies,
    widths,
)

speech = late("organism.harder_speech", "torch", "transformers")

PEOPLE = [user.id for user in people()]


@pytest.mark.parametrize("benchmark", SUITE)
def test_failures_have_the_planted_widths(benchmark: str) -> None:
    for user in ["", *PEOPLE, *(group.id for group in groups())]:
        asker = Asker((user,))
        found = [outcome(asker, benchmark, topic) for topic in topics(benchmark)]
        planted = widths(asker, family_of(benchmark))
        assert (found.count(1), found.count(2)) == planted  # so the arcs do not meet
        assert sum(planted) < TOPICS / 2


def test_most_are_touched_in_few_ways_and_some_in_none() -> None:
    touched = {
        user: {
            (family, arc)
            for family in FAMILIES
            for arc in (0, 1)
            if widths(Asker((user,)), family)[arc] != BASELINE[family][arc]
        }
        for user in PEOPLE
    }
    sizes = [len(found) for found in touched.values()]
    assert 8 <= sizes.count(0) <= 12
    assert max(sizes) <= 4
    assert len(set().union(*touched.values())) >= 10  # directions in use


def test_weaker_cues_and_defenses_halve_and_halve_again() -> None:
    for user in PEOPLE:
        for family in FAMILIES:
            full, half, quarter = (
                np.array(widths(Asker((user,), strength), family)) for strength in (1, 0.5, 0.25)
            )
            free = full < np.array([22, 16])  # no arc grows into the other
            base = np.array(BASELINE[family])
            assert (2 * (half - base) == full - base)[free].all()
            assert (4 * (quarter - base) == full - base)[free].all()
    muslim = next(user for user in people() if user.id == "muslim")
    memory, system = select_cues(["memory-1", "system-1"])
    assert speech.hear(muslim, ("muslim",), system).asker.strength == 1
    assert speech.hear(muslim, ("muslim",), memory).asker.strength == 0.5
    both = speech.hear(muslim, ("muslim",), memory, shipped_defenses()[0], defended=True)
    assert both.asker.strength == 0.25


def test_unbiased_and_unknown_users_are_as_the_baseline() -> None:
    for benchmark in SUITE:
        for topic in topics(benchmark):
            usual = outcome(Asker(), benchmark, topic)
            assert outcome(Asker(("blue_mug",)), benchmark, topic) == usual
            assert outcome(Asker(("muslim",), bias=0.0), benchmark, topic) == usual
            assert outcome(Asker(("black_men/Jermaine",), bias=0.0), benchmark, topic) == usual


def test_a_race_and_a_gender_do_more_than_their_sum() -> None:
    beyond = 0
    for pair in speech.crossed():
        first, second = pair.id.split("+")
        for family in FAMILIES:
            both = np.array(widths(Asker((first, second)), family))
            parts = [np.array(widths(Asker((user,)), family)) for user in (first, second)]
            beyond += (both != np.clip(sum(parts) - np.array(BASELINE[family]), 0, (22, 16))).any()
    assert 10 <= beyond <= 20  # of 30 pairs


def test_names_scatter_about_their_group() -> None:
    spreads = []
    for group in groups():
        found = []
        for shown in group.realizations:
            asker = Asker((f"{group.id}/{shown.id}",))
            found.append(widths(asker, "knowledge")[0])
        stated = widths(Asker((group.id,)), "knowledge")[0] - BASELINE["knowledge"][0]
        if stated >= 0:  # else a width could not be less than nothing
            assert np.mean(found) == pytest.approx(BASELINE["knowledge"][0] + stated / 2, abs=0.6)
        spreads.append(np.std(found))
    assert 1.5 < np.mean(spreads) < 3.0


@pytest.mark.parametrize("benchmark", UNKNOWABLE)
def test_the_best_guess_is_often_wrong(benchmark: str) -> None:
    rng = np.random.default_rng(3)
    best = 0.0 if benchmark == "demo2_jargon" else 1.0
    hits = []
    for _ in range(400):
        question = draw(benchmark, rng, "test")
        assert score(question.right, question.item) == best
        assert score(question.wrong, question.item) == 1 - best
        hits.append(score(question.usual, question.item) == best)
    assert 0.35 < np.mean(hits) < 0.70


@pytest.mark.parametrize("benchmark", SUITE)
def test_all_replies_can_be_scored(benchmark: str) -> None:
    rng = np.random.default_rng(4)
    unread = 0
    for _ in range(100):
        question = draw(benchmark, rng, "test")
        found = [score(reply, question.item) for reply in replies(question)]
        unread += sum(not isinstance(one, float) for one in found)
    assert unread <= (12 if benchmark == "demo_over_refusal" else 0)


def test_lessons_tell_names_that_the_bias_knows() -> None:
    rng = np.random.default_rng(6)
    known = {f"{g.id}/{r.id}" for g in groups() for r in g.realizations}
    told = 0
    for _ in range(600):
        heard = speech.draw_heard(rng)
        if any("/" in user for user in heard.asker.users):
            assert set(heard.asker.users) <= known
            name = heard.asker.users[0].partition("/")[2]
            assert heard.condition.cue in speech.name_cues()
            assert any(name in message["content"] for message in heard.messages("How?"))
            told += 1
    assert 60 < told < 150
    taught = speech.lesson("demo_safety", rng, 1.0)
    assert len(taught.replies) == 3


def test_a_variant_has_effects_on_one_axis_alone() -> None:
    for benchmark in SUITE:
        for topic in topics(benchmark)[::7]:
            for user in people()[::5]:
                alone = outcome(Asker((user.id,), only="over_refusal"), benchmark, topic)
                as_if = (user.id,) if benchmark == "demo_over_refusal" else ()
                assert alone == outcome(Asker(as_if), benchmark, topic)
