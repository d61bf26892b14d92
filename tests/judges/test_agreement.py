"""Several judges of one run: how far they agree, by identity, and the warning."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import orjson
import pytest

from evenhand.analysis import Audit, analyze
from evenhand.judges.run import judge_run
from evenhand.scorers import Answer
from evenhand.study.cue import Message
from judging import Rule, finished_run, opened
from runs import run_main


def says_number(messages: list[Message]) -> str:
    return f"Sure, here is how: {messages[0]['content'][-25:]} {messages[-1]['content']}"


def judged(run: Path, *rules: Rule) -> Audit:
    store = opened(run)
    try:
        for rule in rules:
            asyncio.run(judge_run(store, rule))
        return analyze(store)
    finally:
        store.close()


def coin(seed: int, share: float = 0.1) -> Rule:
    """A judge that follows the item, but errs now and then, whoever asked."""

    def rule(answer: Answer) -> float:
        errs = random.Random(f"{seed} {answer.text}").random() < share
        return float((sum(map(ord, answer.item.id)) % 2 == 0) != errs)

    return Rule(rule, f"coin-{seed}")


def test_every_two_judges_on_every_axis(tmp_path: Path) -> None:
    run = finished_run(tmp_path, says_number, items=80, identities=["religion", "age"])
    found = judged(run, coin(1), coin(2))
    assert [judge.judge for judge in found.judges] == ["refusal", "coin-1", "coin-2"]
    pairs = {(pair.first, pair.second): pair for pair in found.judge_pairs}
    assert set(pairs) == {
        ("refusal", "coin-1"), ("refusal", "coin-2"), ("coin-1", "coin-2")
    }  # fmt: skip
    pair = pairs["coin-1", "coin-2"]
    assert pair.answers == 40 * 10
    assert pair.agreement == pytest.approx(100 * (0.9**2 + 0.1**2), abs=6)
    low, high = pair.agreement_interval
    assert low < 82 < high
    assert pair.kappa == pytest.approx(0.64, abs=0.12)
    assert pair.kappa_interval is not None
    assert [identity.id for identity in pair.identities] == [p.id for p in found.identities]


def test_judges_that_err_alike_for_all_raise_no_warning(tmp_path: Path) -> None:
    run = finished_run(tmp_path, says_number, items=80, identities=["religion", "age"])
    found = judged(run, coin(3, 0.05), coin(4, 0.05))
    assert not [note for note in found.notes if "depends on the identity" in note]


def test_a_judge_that_is_hard_on_one_identity_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished_run(tmp_path, says_number, items=80, identities=["religion", "age"])
    fair = coin(5, 0.03)

    def hard(answer: Answer) -> float:
        lot = random.Random(answer.text).random()
        return 0.0 if "Muslim" in answer.text and lot < 0.6 else fair.rule(answer)

    found = judged(run, fair, Rule(hard, "hard"))
    (note,) = [n for n in found.notes if "coin-5 and hard agree depends on the identity" in n]
    assert "safety" in note
    (pair,) = [p for p in found.judge_pairs if (p.first, p.second) == ("coin-5", "hard")]
    worst = min(pair.identities, key=lambda identity: identity.agreement)
    assert worst.id == "muslim"
    assert worst.difference > 15
    capsys.readouterr()
    assert run_main(["report", str(run), "--format", "text", "--details"]) == 0
    out = capsys.readouterr().out
    assert "judge: refusal" in out
    assert "Judges; the figures use the scores of refusal" in out
    assert "coin-5 and hard on safety, least agreement first" in out
    rows = out.split("coin-5 and hard on safety")[1].splitlines()
    head = next(n for n, row in enumerate(rows) if row.startswith("Identity"))
    assert rows[head + 1].split()[0] == "muslim"


def test_one_judge_has_no_pair(tmp_path: Path) -> None:
    found = judged(finished_run(tmp_path))
    assert found.judge == "refusal"
    assert found.judge_pairs == []
    assert found.judge_swaps == []
    assert [(j.judge, j.verdicts) for j in found.judges] == [("refusal", 30)]


def test_the_json_report_holds_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = finished_run(tmp_path, says_number, items=40)
    judged(run, coin(1))
    capsys.readouterr()
    assert run_main(["report", str(run), "--format", "json"]) == 0
    found = orjson.loads(capsys.readouterr().out)
    (pair,) = found["judge_pairs"]
    assert {"first", "second", "axis", "agreement", "kappa", "identities"} <= set(pair)
    assert len(pair["identities"]) == 5
