"""evenhand score: score the answers of a run anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from evenhand.score import score_run
from evenhand.store import Store


def score(run: Annotated[Path, Parameter(help="Run folder.")]) -> None:
    """Score all answers of a run anew, as after an update of evenhand. Nothing is asked.

    Examples:

        evenhand score runs/first
    """
    store = Store.open(run)
    try:
        print(f"{score_run(store, again=True):,} answers scored")
    finally:
        store.close()
