"""What a reader must know before believing the figures."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from evenhand.analysis.grid import Grid
from evenhand.analysis.results import Missing, SettingResult
from evenhand.axes import AXES
from evenhand.benchmarks.item import LETTERED, Item
from evenhand.scorers.language import NOT_ENGLISH
from evenhand.stats import is_significant, shares_p_value
from evenhand.store.record import RunRecord, SystemRoleCheck
from evenhand.store.store import Store
from evenhand.study.identity import in_place_of_ours
from evenhand.text import counted, one_line, some_of

_MANY_UNSCORED = 0.05
_MOST_NAMED = 6
_FEW_SCORES = 20
"""Fewer scores than this are no level."""


def notes_on(
    record: RunRecord,
    missing: int,
    grid: Grid,
    settings: Sequence[SettingResult],
    items: Iterable[Item],
) -> list[str]:
    """One line for each thing to know.

    Args:
        missing: how many cells have no answer.
        items: what was asked.
    """
    return [
        *_on_import(record),
        *_on_what_was_asked(record),
        *in_place_of_ours(condition.identity for condition in grid.conditions),
        *_on_system_role(record.system_role),
        *_on_scores(missing, grid, imported=record.imported is not None),
        *_on_levels(grid, items),
        *(note for setting in settings for note in _on_missing(setting, len(settings) > 1)),
    ]


def larger_study_note(store: Store, done: int, samples: int) -> list[str]:
    """Whether the folder holds more answers than the study last asked for covers.

    Args:
        done: answers of the study.
        samples: of the study.
    """
    stored, most = store.stored()
    if stored <= done:
        return []
    of = f" ({samples} of {most} samples)" if most > samples else ""
    again = f"--samples {most}" if most > samples else "the larger study"
    return [
        f"the run folder holds {stored:,} answers; these figures are of the {done:,} that the "
        f"study last asked for covers{of}; run audit with {again} again for figures of all"
    ]


def _on_import(record: RunRecord) -> list[str]:
    """What the answers of an imported run are, and what is not known of them."""
    if record.imported is None:
        return []
    files = ", ".join(record.imported.files)
    return [
        f"the results are imported, not asked by evenhand: {one_line(files, 600)}",
        *record.imported.notes,
    ]


def _on_what_was_asked(record: RunRecord) -> list[str]:
    notes = []
    study, interim = record.study, record.interim
    if interim:
        notes.append(
            f"interim analysis {interim.analysis} of {interim.of}: {interim.items:,} of "
            f"{interim.all_items:,} items; intervals and p-values are adjusted for all "
            f"{interim.of} analyses"
        )
    if study.limit:
        items = "item" if study.limit == 1 else "items"
        notes.append(f"limited to {study.limit} {items} of each benchmark")
    if study.samples > 1 and study.decoding.temperature == 0:
        notes.append("samples at temperature 0 may all be identical and then add no information")
    notes += dict.fromkeys(note for session in record.sessions for note in session.notes)
    if len(record.addresses) > 1:
        notes.append(f"the answers come from more than one place: {', '.join(record.addresses)}")
    return notes


def _on_system_role(check: SystemRoleCheck) -> list[str]:
    notes = []
    if not check.system_role:
        notes.append(f"the cue was sent in front of the user's message ({check.evidence})")
    elif "unverified" in check.evidence:
        notes.append("whether the system message reaches the model could not be verified")
    if check.folded:
        notes.append("the chat template puts the system message into the user's turn")
    if check.default_system:
        own = check.default_system
        quoted = own if own.startswith("of ") else f'"{one_line(own)}"'
        notes.append(
            f"where none is sent, the chat template inserts a system prompt of its own ({quoted}): "
            "it reaches the baseline alone, so differences to the baseline carry its effect, too; "
            "--baseline neutral sends a neutral one instead"
        )
    if not check.template:
        notes.append(
            "the model has no chat template (a base model): it was sent a transcript to continue, "
            "and its answer ends where it begins another turn"
        )
    if check.ignored:
        named = ", ".join(f"{name} {one_line(str(v), 40)}" for name, v in check.ignored.items())
        notes.append(f"not used of the model's generation_config.json: {named} (--extra sets it)")
    return notes


def _on_scores(missing: int, grid: Grid, *, imported: bool) -> list[str]:
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
                left_out = ", so it is left out" if benchmark in grid.alone(axis) else ""
                silent.append(f"{benchmark}: only one item on {axis}; a bias needs two{left_out}")
    notes = []
    if missing and imported:
        notes.append(
            f"{counted(missing, 'cell of the grid is', 'cells of the grid are')} not in the "
            "imported files"
        )
    elif missing:
        notes.append(
            f"{counted(missing, 'cell has', 'cells have')} no answer yet; run the same "
            "command to resume"
        )
    if answers and scores < (1 - _MANY_UNSCORED) * answers:
        notes.append(f"{1 - scores / answers:.0%} of the answers could not be scored")
    return notes + silent


def _on_levels(grid: Grid, items: Iterable[Item]) -> list[str]:
    """Benchmarks where no bias can show: all scores alike, or no better than guessing."""
    chances: dict[str, list[float]] = defaultdict(list)
    for item in items:
        if item.choices and item.scorer in LETTERED and item.axis == "utility":
            chances[item.benchmark].append(1 / len(item.choices))
    notes = []
    for axis, benchmarks in grid.scores.items():
        for name, array in benchmarks.items():
            scored = array[array == array]
            if scored.size < _FEW_SCORES:
                continue
            where = f"{name} ({AXES[axis].label})"
            if scored.min() == scored.max() and scored[0] in (0, 1):
                notes.append(
                    f"{where}: every answer scores {100 * scored[0]:.0f}, whoever asks; "
                    "no bias can show there"
                )
            elif (
                axis == "utility"
                and chances[name]
                and _is_guessing(array, float(np.mean(chances[name])))
            ):
                chance = 100 * float(np.mean(chances[name]))
                notes.append(
                    f"{where}: {100 * scored.mean():.0f}% of the answers are correct, not shown to "
                    f"be more than guessing ({chance:.0f}%); differences there say little of what "
                    "the model can do"
                )
    return notes


def _is_guessing(array: NDArray[np.float64], chance: float) -> bool:
    """Whether the mean over items is within two standard errors of chance, or below it."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an item without any score
        means = np.nanmean(array, axis=(0, 2))
    means = means[means == means]
    if len(means) < 2:
        return False
    return bool(means.mean() < chance + 2 * means.std(ddof=1) / sqrt(len(means)))


def _on_missing(setting: SettingResult, several: bool) -> list[str]:
    where = f" (cue {setting.cue}, defense {setting.defense})" if several else ""
    return [
        f"{axis}{where}: which scores are missing depends on the identity "
        f"(p = {result.missing.p_value:.2g}); the plug-in PB could be "
        f"{result.missing.bias_bounds[0]:.1f} to {result.missing.bias_bounds[1]:.1f}"
        f"{_weighted(result.missing)}"
        for axis, result in setting.axes.items()
        if result.missing and is_significant(result.missing.p_value)
    ]


def few_scored_notes(store: Store, grid: Grid) -> list[str]:
    """Which identities have no value on an axis, for want of answers that could be scored."""
    notes = []
    for axis in grid.scores:
        mostly: dict[int, tuple[int, str]] = {}
        for number, reason, count in store.reasons(judge=grid.judge, axis=axis):
            mostly[number] = max(mostly.get(number, (0, "")), (count, reason))
        rows = range(len(grid.conditions))
        few = sorted(set(rows) - set(grid.enough(axis, rows)))
        by_reason: dict[str, dict[str, None]] = {}
        for row in few:
            condition = grid.conditions[row]
            why = mostly.get(condition.id, (0, "not scored yet"))[1]
            share = f"{condition.identity.id} ({100 * grid.scored_share(axis, row):.0f}%)"
            by_reason.setdefault(why, {})[share] = None
        if by_reason:
            named = "; ".join(
                f"{some_of(list(people), _MOST_NAMED)}, mostly: {one_line(why)}"
                for why, people in by_reason.items()
            )
            notes.append(
                f"{AXES[axis].label}: under half of the answers could be scored for {named}; no "
                "value there, and left out of PB"
            )
    return notes


def language_notes(store: Store, grid: Grid) -> list[str]:
    """Whether the share of answers in other languages depends on the identity."""
    first = grid.conditions[0]
    rows = grid.rows(first.cue, first.defense, "identity")
    ids = [grid.conditions[row].id for row in rows]
    foreign = dict.fromkeys(ids, 0)
    languages: dict[str, int] = {}
    for condition, reason, count in store.reasons(judge=grid.judge):
        if condition in foreign and reason.startswith(NOT_ENGLISH):
            foreign[condition] += count
            name = reason.removeprefix(NOT_ENGLISH).strip(" ()")
            languages[name] = languages.get(name, 0) + count
    answered = [
        sum(int(there[row].sum()) for axis in grid.answered.values() for there in axis.values())
        for row in rows
    ]
    table = [(foreign[i], n - foreign[i]) for i, n in zip(ids, answered, strict=True) if n]
    if len(table) < 2 or not languages:
        return []
    p_value = shares_p_value([one for one, _ in table], [one + other for one, other in table])
    if not is_significant(p_value):
        return []
    worst = max(range(len(rows)), key=lambda n: foreign[ids[n]] / max(answered[n], 1))
    found = ", ".join(sorted(languages, key=lambda name: -languages[name])[:3])
    return [
        f"the share of answers that are not in English ({found}) depends on the identity: most "
        f"for {grid.conditions[rows[worst]].identity.id} (p = {p_value:.2g}); they are unscored"
    ]


def _weighted(missing: Missing) -> str:
    if missing.weighted is None:
        return ""
    low, high = missing.weighted.interval
    return (
        f"; with scores weighted by their chance of not being missing, PB of the axis is "
        f"{missing.weighted.estimate:.1f} ({low:.1f} to {high:.1f})"
    )


def withholding_notes(store: Store) -> list[str]:
    """For each withholding defense of the study last asked for, how much it withheld."""
    asked = {condition.defense for condition in store.conditions()}
    questions = list(dict.fromkeys(item.prompt for item in store.items().values()))
    notes = []
    for name, decided in store.withholdings().items():
        if name in asked:
            counts = decided.counts(questions)
            unclear = counts.get("unclear", 0)
            doubt = f"; on {unclear:,} its word could not be made out" if unclear else ""
            notes.append(
                f"defense {name} (decided by {decided.how}): the identity was withheld from "
                f"{counts.get('not needed', 0):,} of {len(questions):,} questions{doubt}"
            )
    return notes
