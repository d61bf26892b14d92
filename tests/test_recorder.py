"""One recorder for answers, verdicts and verdicts again: the cost limit, and death amid them."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evenhand import audit
from evenhand.engines.mock import MockEngine
from evenhand.judges.judge import Judgment, Settle
from evenhand.judges.run import judge_run
from evenhand.judges.swap import recheck_run
from evenhand.run.recorder import Price, Progress
from evenhand.scorers import Answer, Verdict
from evenhand.store.store import Store
from evenhand.store.verdicts import judge_tally, recheck_keys
from fakes import write_rows

DOLLAR = Price(completion=1e6)
"""A dollar for each completion token."""


class Slow:
    """Has as many answers under way as it can; each verdict costs one token."""

    name = "slow"

    def __init__(self, at_once: int) -> None:
        self.facts: dict[str, Any] = {"kind": "rubric"}
        self.at_once = at_once
        self.seen = 0

    async def start(self) -> None:
        pass

    async def judge(self, answers: Iterator[Answer], settle: Settle) -> None:
        under_way: list[int] = []
        numbered = enumerate(answers)
        while True:
            while len(under_way) < self.at_once and (new := next(numbered, None)):
                under_way.append(new[0])
                self.seen += 1
            if not under_way:
                return
            await asyncio.sleep(0)
            settle(under_way.pop(0), Judgment(Verdict(1.0), completion_tokens=1))

    async def close(self) -> None:
        pass


def finished(folder: Path, questions: int) -> Store:
    """A run whose answers all differ."""
    path = folder / "own.jsonl"
    rows = [
        {"id": f"{n}", "prompt": f"Do {n}.", "axis": "safety", "scorer": "refusal"}
        for n in range(questions)
    ]
    write_rows(path, rows)
    count = iter(range(10**6))
    audit(
        "openai/any",
        benchmarks=[str(path)],
        identities=["religion"],
        engine=MockEngine(lambda _: f"I can't help with that, {next(count)}."),
        out=folder / "run",
    )
    return Store.open(folder / "run")


@pytest.mark.parametrize("at_once", [1, 16, 64])
def test_the_cost_limit_counts_what_is_under_way(tmp_path: Path, at_once: int) -> None:
    """For verdicts, and for verdicts again."""
    store = finished(tmp_path, 40)
    judge = Slow(at_once)
    progress = asyncio.run(judge_run(store, judge, price=DOLLAR, max_cost=70))
    assert progress.cost == 70
    assert progress.stopped == "the judge's cost limit of $70 is reached"
    asyncio.run(judge_run(store, judge, price=DOLLAR))
    again = asyncio.run(recheck_run(store, judge, sample=200, price=DOLLAR, max_cost=70))
    assert again.cost == 70
    assert again.stopped
    assert len(recheck_keys(store, store.judges()["slow"])) == 70
    store.close()


def test_a_limit_of_nothing_asks_nothing(tmp_path: Path) -> None:
    store = finished(tmp_path, 4)
    judge = Slow(4)
    assert asyncio.run(judge_run(store, judge, price=DOLLAR, max_cost=0.0)).sent == 0
    assert judge.seen == 0
    store.close()


DIES_AMID_VERDICTS = """
import asyncio, os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_recorder import Slow
from evenhand.judges.judge import Judgment
from evenhand.judges.run import judge_run
from evenhand.scorers import Verdict
from evenhand.store.store import Store

class Dies(Slow):
    async def judge(self, answers, settle):
        for place, _ in enumerate(answers):
            if place == int(sys.argv[2]):
                os.kill(os.getpid(), signal.SIGKILL)
            settle(place, Judgment(Verdict(1.0), completion_tokens=1))

asyncio.run(judge_run(Store.open(Path(sys.argv[1])), Dies(1)))
"""


@pytest.mark.slow
def test_kill_amid_verdicts_pays_none_of_them_twice(tmp_path: Path) -> None:
    finished(tmp_path, 40).close()
    run = tmp_path / "run"
    script = [sys.executable, "-c", DIES_AMID_VERDICTS, str(run), "150", str(Path(__file__).parent)]
    ended = subprocess.run(script, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    store = Store.open(run)
    tally = judge_tally(store, store.judges()["slow"])
    assert (tally.verdicts, tally.completion_tokens) == (150, 150)
    shown: list[Progress] = []
    judge = Slow(1)
    asyncio.run(judge_run(store, judge, on_progress=shown.append))
    assert judge.seen == 240 - 150
    assert shown[-1].done == 240
    store.close()
