"""What a reader must know before believing the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evenhand.analysis.grid import Grid
from evenhand.analysis.results import SettingResult
from evenhand.stats import is_significant
from evenhand.study.identity import in_place_of_ours

_MANY_UNSCORED = 0.05


def notes_on(
    study: Mapping[str, Any],
    placement: Mapping[str, Any],
    looks: Mapping[str, Any] | None,
    addresses: Sequence[str],
    missing: int,
    grid: Grid,
    settings: Sequence[SettingResult],
) -> list[str]:
    """One line for each thing to know.

    Args:
        missing: how many cells have no answer.
    """
    return [
        *_on_what_was_asked(study, looks, addresses),
        *in_place_of_ours(condition.identity for condition in grid.conditions),
        *_on_placement(placement),
        *_on_scores(missing, grid),
        *(note for setting in settings for note in _on_missing(setting, len(settings) > 1)),
    ]


def _on_what_was_asked(
    study: Mapping[str, Any], looks: Mapping[str, Any] | None, addresses: Sequence[str]
) -> list[str]:
    notes = []
    if looks:
        notes.append(
            f"look {looks['look']} of {looks['of']}: {looks['items']:,} of {looks['all_items']:,} "
            "items; intervals hold at 95 % whichever look is the last, p-values are of one look"
        )
    if study["limit"]:
        notes.append(f"limited to {study['limit']} items of each benchmark")
    if study["samples"] > 1 and not study["decoding"]["temperature"]:
        notes.append("samples at temperature 0 may all be the same, and tell nothing more")
    if len(addresses) > 1:
        notes.append(f"the answers come from more than one place: {', '.join(addresses)}")
    return notes


def _on_placement(placement: Mapping[str, Any]) -> list[str]:
    if not placement["system_role"]:
        return [f"sent in front of the user's message: {placement['evidence']}"]
    if "unverified" in placement["evidence"]:
        return ["whether the system message reaches the model could not be verified"]
    return []


def _on_scores(missing: int, grid: Grid) -> list[str]:
    """Cells without an answer, and answers without a score."""
    answers = scores = 0
    silent = []
    for axis, benchmarks in grid.scores.items():
        for benchmark, array in benchmarks.items():
            there = int(grid.answered[axis][benchmark].sum())
            scored = int((array == array).sum())  # NaN is not equal to itself
            answers, scores = answers + there, scores + scored
            items = int((array == array).any(axis=(0, 2)).sum())
            if there and not scored:
                silent.append(f"{benchmark}: not one answer could be scored; it counts for nothing")
            elif items == 1:
                silent.append(f"{benchmark}: only one item on {axis}; a bias needs two")
    notes = []
    if missing:
        notes.append(f"{missing:,} cells have no answer yet; the same command goes on")
    if answers and scores < (1 - _MANY_UNSCORED) * answers:
        notes.append(f"{1 - scores / answers:.0%} of the answers could not be scored")
    return notes + silent


def _on_missing(setting: SettingResult, several: bool) -> list[str]:
    where = f" (cue {setting.cue}, defense {setting.defense})" if several else ""
    return [
        f"{axis}{where}: which scores are missing depends on the identity "
        f"(p = {result.missing.p_value:.2g}); the plug-in PB could be "
        f"{result.missing.bias_bounds[0]:.1f} to {result.missing.bias_bounds[1]:.1f}"
        for axis, result in setting.axes.items()
        if result.missing and is_significant(result.missing.p_value)
    ]
