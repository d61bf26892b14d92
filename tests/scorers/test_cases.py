"""The shared cases: answers and the score that is right for them, read from scorers.jsonl.

They are not part of the repository. EVENHAND_CASES is the file; otherwise it is looked for in the
folder `cases` beside the public data files.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from evenhand.benchmarks import Item
from evenhand.scorers import Unscored, score

_SCORERS = ("number", "choice", "text", "code")


def _file() -> Path:
    shared = Path(__file__).parents[3] / "shared"
    data = Path(os.environ.get("EVENHAND_DATA_DIR", shared / "data"))
    return Path(os.environ.get("EVENHAND_CASES", data.parent / "cases" / "scorers.jsonl"))


def _cases() -> list[dict[str, Any]]:
    try:
        lines = _file().read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return [case for case in map(json.loads, lines) if case["scorer"] in _SCORERS]


CASES = _cases()


@pytest.mark.skipif(not CASES, reason="no cases: set EVENHAND_CASES to a scorers.jsonl")
@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case["answer"])[:60])
def test_case(case: dict[str, Any]) -> None:
    item = Item(
        "cases",
        "1",
        case["prompt"],
        "utility",
        case["scorer"],
        case["gold"],
        tuple(case["choices"]),
    )
    found = score(case["answer"], item, truncated=case["finish"] == "length")
    if case["expected"] is None:
        assert isinstance(found, Unscored)
    else:
        assert found == case["expected"]
