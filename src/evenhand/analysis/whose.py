"""Whose scores an analysis goes by, where several judges have scored the same answers."""

from __future__ import annotations

from evenhand.benchmarks.item import JUDGED
from evenhand.errors import RunFolderError
from evenhand.store.rows import OWN
from evenhand.store.store import Store


def whose_scores(store: Store, judge: str | None = None) -> tuple[str, int]:
    """The judge to go by: its name, and its number in the store.

    Args:
        judge: a name; None for the study's first judge that has scored anything, or without one
            for the scorers that the items themselves name.

    Raises:
        RunFolderError: this judge has scored nothing in the run.
    """
    known = store.judges()
    own = own_name(store)
    if judge is None:
        study = store.meta("study") or {}
        judge = next((name for name in study.get("judges", ()) if name in known), own)
    if judge == own:
        return own, OWN
    if judge not in known:
        raise RunFolderError(
            f"{store.folder} holds no scores of {judge}; to make them: evenhand score "
            f"{store.folder} --judge {judge}"
        )
    return judge, known[judge]


def own_name(store: Store) -> str:
    """The name of the scorers in whose place a judge stands: "refusal"."""
    scorers = store.scorers() & JUDGED
    return "+".join(sorted(scorers or JUDGED))
