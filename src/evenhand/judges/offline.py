"""The offline scorers of answers as judges: no network, no price."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import islice
from typing import Any

from evenhand.judges.judge import Judgment, Settle
from evenhand.scorers import Verdict, find_scorer
from evenhand.scorers.base import Answer

_BATCH = 1000


class Offline:
    """One of evenhand's own scorers, whichever scorer the item itself names."""

    def __init__(self, name: str) -> None:
        self.name: str = name
        self._score = find_scorer(name)

    @property
    def facts(self) -> dict[str, Any]:
        """None: its scores can be made anew at any time."""
        return {"kind": "offline"}

    async def start(self) -> None:
        """Nothing to find out."""

    async def judge(self, answers: Iterator[Answer], settle: Settle) -> None:
        """Score all answers; see `Judge.judge`."""
        numbered = enumerate(answers)
        while batch := list(islice(numbered, _BATCH)):
            for place, answer in batch:
                score = self._score(answer.text, answer.item, answer.truncated)
                verdict = score if isinstance(score, Verdict) else Verdict(score)
                settle(place, Judgment(verdict))
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Nothing to release."""
