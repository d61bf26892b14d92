"""A judge asked again: does it waver, and does it go by identity words within answers?"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import orjson
import pytest

from evenhand.analysis import analyze
from evenhand.analysis.results import JudgeSwap
from evenhand.errors import EngineError, RunFolderError
from evenhand.judges import make_judge
from evenhand.judges.run import judge_run
from evenhand.judges.swap import exchanged, mention_of, name_of, recheck_run
from evenhand.scorers import Answer
from evenhand.study.cue import Message
from evenhand.study.identity import Identity, shipped_identities
from judging import Rule, finished_run, opened
from runs import run_main

PEOPLE = {identity.id: identity for identity in shipped_identities()}


@pytest.mark.parametrize(
    ("identity", "name"),
    [
        ("muslim", "Muslim"),
        ("physically_disabled", "physically-disabled"),
        ("woman", "woman"),
        ("straight", "straight"),
        ("independent_voter", "independent voter"),
        ("able_bodied", "able-bodied"),
    ],
)
def test_the_name_of_an_identity(identity: str, name: str) -> None:
    assert name_of(PEOPLE[identity]) == name


@pytest.mark.parametrize(
    ("text", "identity", "other", "result"),
    [
        ("As a Muslim person, rest.", "muslim", "hindu", "As a Hindu person, rest."),
        ("a MUSLIM and muslim-owned", "muslim", "jewish", "a Jewish and muslim-owned"),
        ("A woman, no man.", "man", "woman", "A woman, no woman."),
        ("You are physically disabled.", "physically_disabled", "able_bodied",
         "You are able-bodied."),
        ("African Americans and an African-American", "african_american", "asian",
         "African Americans and an Asian"),
        ("nothing here", "muslim", "hindu", "nothing here"),
        (r"a Muslim \1", "muslim", "hindu", r"a Hindu \1"),
    ],
)  # fmt: skip
def test_exchange(text: str, identity: str, other: str, result: str) -> None:
    assert exchanged(text, PEOPLE[identity], PEOPLE[other]) == result


def test_a_name_with_odd_characters_is_taken_as_it_is() -> None:
    odd = Identity("c", "a C++ (or C#) developer", "own")
    assert mention_of(odd).search("You, a C++ (or C#) developer, know.")
    assert exchanged("a C++ (or C#) developer.", odd, PEOPLE["man"]) == "a man."


def says_who(messages: list[Message]) -> str:
    """An answer that names its user."""
    who = messages[0]["content"].rpartition("I am ")[2].strip(".")
    return f"Sure, here is how. As {who}, take {messages[-1]['content'][:12]} and begin with it."


def check(run: Path, at_work: Any, sample: int = 200) -> JudgeSwap:
    store = opened(run)
    try:
        asyncio.run(judge_run(store, at_work))
        asyncio.run(recheck_run(store, at_work, sample=sample))
        (found,) = analyze(store).judge_swaps
        return found
    finally:
        store.close()


def test_a_fair_judge_that_always_says_the_same(tmp_path: Path) -> None:
    run = finished_run(tmp_path, says_who, items=20)
    found = check(run, Rule(lambda a: float("3" in a.item.prompt)))
    assert found.repeated == 60
    assert found.repeat_changed == 0
    assert found.swap is not None
    assert found.swap.answers == 50  # of five identities; the baseline has no name
    assert (found.swap.changed, found.swap.difference, found.swap.p_value) == (0, 0, 1)
    assert {identity.id for identity in found.identities} == {
        "jewish", "christian", "atheist", "muslim", "hindu"
    }  # fmt: skip


def test_a_judge_that_goes_by_a_name_is_found(tmp_path: Path) -> None:
    run = finished_run(tmp_path, says_who, items=40)
    rule = Rule(lambda a: float("Muslim" not in a.text), "unfair")
    found = check(run, rule)
    assert found.swap is not None
    assert found.repeat_changed == 0
    # A fifth name Muslims and lose that name; others get it.
    assert found.swap.changed > 20
    assert found.swap.p_value < 1e-4
    (muslim,) = [identity for identity in found.identities if identity.id == "muslim"]
    assert muslim.difference == 100
    assert all(i.difference <= 0 for i in found.identities if i.id != "muslim")
    store = opened(run)
    notes = analyze(store).notes
    store.close()
    assert any("unfair goes by identity words in the answers" in note for note in notes)


def test_a_judge_that_wavers_is_not_taken_for_unfair(tmp_path: Path) -> None:
    run = finished_run(tmp_path, says_who, items=60)
    rng = random.Random(1)
    found = check(run, Rule(lambda _: float(rng.random() < 0.7), "wavering"))
    assert found.swap is not None
    assert 25 < found.repeat_changed < 60
    assert found.swap.p_value > 0.05
    low, high = found.repeat_interval
    assert low < 42 < high


def test_answers_that_name_nobody_prove_nothing(tmp_path: Path) -> None:
    run = finished_run(tmp_path, lambda m: f"Do it. {len(m[0]['content'])}")
    found = check(run, Rule(lambda _: 1.0))
    assert found.repeated == 30
    assert found.swap is None


def test_the_sample_is_small_shuffled_and_grows_by_what_is_new(tmp_path: Path) -> None:
    run = finished_run(tmp_path, says_who, items=40)
    rule = Rule(lambda _: 1.0)
    store = opened(run)
    asyncio.run(judge_run(store, rule))
    order = [answer.text for answer in rule.seen]
    rule.seen.clear()
    first = asyncio.run(recheck_run(store, rule, sample=10))
    assert 20 < first.cells == first.sent == len(rule.seen) <= 30
    places = [order.index(a.text) for a in rule.seen if a.text in order]
    assert places != sorted(places)
    rule.seen.clear()
    assert asyncio.run(recheck_run(store, rule, sample=10)).sent == 0
    assert rule.seen == []
    grown = asyncio.run(recheck_run(store, rule, sample=20))
    assert grown.cells > first.cells
    assert len(rule.seen) == grown.cells - first.cells
    store.close()


def test_what_was_rechecked_is_on_disk_when_the_judge_fails(tmp_path: Path) -> None:
    run = finished_run(tmp_path, says_who, items=40)
    rule = Rule(lambda _: 1.0)
    store = opened(run)
    asyncio.run(judge_run(store, rule))
    rule.seen.clear()

    def fail(_: Answer) -> float:
        if len(rule.seen) > 30:
            raise EngineError("gone")
        return 1.0

    rule.rule = fail
    with pytest.raises(EngineError):
        asyncio.run(recheck_run(store, rule))
    rule.seen.clear()
    rule.rule = lambda _: 1.0
    progress = asyncio.run(recheck_run(store, rule))
    assert progress.done == progress.cells
    assert len(rule.seen) == progress.cells - 30
    store.close()


def test_there_must_be_verdicts_to_check(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    store = opened(run)
    with pytest.raises(RunFolderError, match="holds no scores of rule to check"):
        asyncio.run(recheck_run(store, Rule(lambda _: 1.0)))
    store.close()


def test_the_offline_judge_through_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished_run(tmp_path, says_who)
    for _ in range(2):
        capsys.readouterr()
        assert run_main(["score", str(run), "--judge", "refusal", "--judge-swap"]) == 0
        out, err = capsys.readouterr()
        assert f"See them: evenhand report {run} --judge refusal" in err
        assert "refusal: 30 of 30 answers have a verdict" in out
        assert "Judge `refusal`, asked again: 0.0% of 30 verdicts change" in out
        assert "0.0% of 25 verdicts change" in out
    assert run_main(["score", str(run), "--judge-swap"]) == 2
    assert "--judge refusal" in capsys.readouterr().err
    assert run_main(["report", str(run), "--format", "text", "--details"]) == 0
    assert "Judge `refusal`, asked again" in " ".join(capsys.readouterr().out.split())
    assert run_main(["report", str(run), "--format", "json"]) == 0
    (swap,) = orjson.loads(capsys.readouterr().out)["judge_swaps"]
    assert swap["judge"] == make_judge("refusal").name
    assert run_main(["score", str(run)]) == 0  # anew: the check was of scores that are gone
    capsys.readouterr()
    assert run_main(["report", str(run), "--format", "json"]) == 0
    assert orjson.loads(capsys.readouterr().out)["judge_swaps"] == []
