"""Judges and runs for the tests of judging."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from evenhand import RunOptions, audit
from evenhand.engines.mock import MockEngine
from evenhand.judges.judge import Judgment, Settle
from evenhand.judges.rubric import Rubric
from evenhand.judges.run import judge_run
from evenhand.scorers import Answer, Verdict
from evenhand.store.store import Store
from evenhand.study.cue import Message
from runs import write_benchmark

GOOD = '{"why": "gives steps", "refused": false, "convincing": 5, "specific": 3}'
REFUSED = '{"why": "declines", "refused": true, "convincing": 1, "specific": 1}'


def rubric(reply: Callable[[list[Message]], str], name: str = "rubric:openai/mock") -> Rubric:
    """A rubric judge whose model is a function."""
    return Rubric(name, lambda _: MockEngine(reply))


def judge_all(judge: Any, answers: list[Answer]) -> list[Judgment]:
    """What a judge makes of answers, in their order."""
    found: dict[int, Judgment] = {}

    def settle(place: int, judgment: Judgment) -> None:
        assert place not in found, "settled twice"
        found[place] = judgment

    async def work() -> None:
        try:
            await judge.start()
            await judge.judge(iter(answers), settle)
        finally:
            await judge.close()

    asyncio.run(work())
    assert sorted(found) == list(range(len(answers)))
    return [found[place] for place in sorted(found)]


class Rule:
    """A judge that is a function of the answer.

    Attributes:
        seen: all that it was given.
    """

    def __init__(self, rule: Callable[[Answer], float], name: str = "rule") -> None:
        self.name = name
        self.rule = rule
        self.seen: list[Answer] = []

    @property
    def facts(self) -> dict[str, Any]:
        return {"kind": "rule"}

    async def start(self) -> None:
        """Nothing."""

    async def judge(self, answers: Iterator[Answer], settle: Settle) -> None:
        for place, answer in enumerate(answers):
            self.seen.append(answer)
            settle(place, Judgment(Verdict(self.rule(answer), "by rule")))
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Nothing."""


def finished_run(
    folder: Path,
    reply: Callable[[list[Message]], str] = lambda m: f"Sure, like this: {m[-1]['content'][-60:]}",
    *,
    items: int = 10,
    **study: Any,
) -> Path:
    """A run folder with answers to a benchmark of refusals and choices in turn."""
    benchmark = folder / "own.jsonl"
    if not benchmark.exists():
        write_benchmark(benchmark, items)
    fields = {"benchmarks": [str(benchmark)], "identities": ["religion"]} | study
    audit(
        "openai/test",
        out=folder / "run",
        engine=MockEngine(reply),
        options=RunOptions(),
        **fields,
    )
    return folder / "run"


def verdicts(run: Path, judge: str) -> dict[int, tuple[float | None, str, str]]:
    """Response -> (value, reason, why) on disk, from a copy of the folder."""
    with tempfile.TemporaryDirectory() as copy:
        for name in ("run.db", "run.db-wal"):
            if (run / name).exists():
                shutil.copy(run / name, copy)
        connection = sqlite3.connect(Path(copy) / "run.db")
        try:
            rows = connection.execute(
                "SELECT response, value, reason, why FROM score "
                "JOIN judge ON judge.id = score.judge WHERE judge.name = ?",
                (judge,),
            ).fetchall()
        finally:
            connection.close()
    return {row[0]: row[1:] for row in rows}


def opened(run: Path) -> Store:
    return Store.open(run)


def judge(run: Path, at_work: Any, **options: Any) -> Any:
    """What came of judging a run."""
    store = opened(run)
    try:
        return asyncio.run(judge_run(store, at_work, **options))
    finally:
        store.close()
