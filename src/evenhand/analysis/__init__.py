"""From the scores of a run to its estimates: PB, means, and the differences of each identity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from threadpoolctl import threadpool_limits

from evenhand.analysis.conclusion import yardstick_of
from evenhand.analysis.grid import (
    AxisScores,
    Grid,
    UnitChoice,
    clusters_of,
    if_enough,
    read_grid,
    select_judge,
    unit_notes,
)
from evenhand.analysis.judges import (
    KnownError,
    calibration_misfits,
    grading_doubts,
    judge_doubts,
    judge_notes,
    judge_pairs,
    judge_records,
    judge_swaps,
    known_errors,
    misfit_notes,
)
from evenhand.analysis.notes import (
    blocked_unevenly,
    few_scored_notes,
    find_outcomes,
    language_notes,
    larger_study_note,
    notes_on,
    withholding_notes,
)
from evenhand.analysis.own_labels import labeled_axes
from evenhand.analysis.realizations import (
    crossed_notes,
    fact_effects,
    implied_contrasts,
    realization_shares,
)
from evenhand.analysis.recognition import recognitions
from evenhand.analysis.relevance import relevance_of
from evenhand.analysis.results import Audit, DefenseChange
from evenhand.analysis.setting import analyze_setting, with_conclusion
from evenhand.axes import PB_AXES
from evenhand.organism import SHIPPED
from evenhand.run.probe import read_probe
from evenhand.stats import (
    CueComponents,
    JudgeError,
    LookPlan,
    compare_audits,
    cue_components,
    plan_looks,
    sequential_p_value,
)
from evenhand.stats.scores import rows_are_identities
from evenhand.store.store import Store
from evenhand.store.tallies import Tally, condition_tallies
from evenhand.study.plan import cells_of

__all__ = ["MARGIN", "Audit", "analyze"]

MARGIN = 2.0
"""Points within which a difference is said not to matter, unless the user says otherwise."""


@rows_are_identities()
def analyze(
    store: Store,
    *,
    margin: float = MARGIN,
    judge: str | None = None,
    judge_error: JudgeError | KnownError | Literal["none"] | None = None,
    level: float = 0.95,
    units: UnitChoice = "auto",
) -> Audit:
    """Estimate everything from the scores of a run.

    Args:
        margin: differences within so many points do not matter, > 0.
        judge: whose scores to go by; None as `select_judge` says.
        judge_error: how often this judge is right; for corrected rates. None for what comes
            with evenhand, which is known of its own judges; "none" for no correction.
        units: what to infer to: "auto" for topics like these where a benchmark has ten or more, and
            items like these elsewhere; "items" for items like these everywhere.
        level: of the confidence intervals, in (0, 1). A run that stops at a precision takes a
            higher one, so that those of all its interim analyses hold together at this level; its
            p-values are adjusted in the same way.

    Raises:
        RunFolderError: the run has not begun, or this judge has scored nothing in it.
        StoreError: the store cannot be read.
    """
    record = store.shown_record()
    judge, number = select_judge(store, judge)
    looks = plan_looks(record.interim.of if record.interim else 1, level=level)
    grid = read_grid(store, record.study.samples, looks.look_level, judge, units=units)
    given = KnownError(judge_error) if isinstance(judge_error, JudgeError) else judge_error
    misfits: dict[str, str] = {}
    if given is None and record.study.model not in SHIPPED:
        misfits = calibration_misfits(store, judge)
    errors = {} if given == "none" else known_errors(store, judge, misfits, given)
    judged = None
    if store.blocked == "refusal" and store.has_blocked():
        judged = read_grid(store, grid.samples, grid.level, judge, "missing", units=units)
    tallies = condition_tallies(store)
    counts, reasons = _counts(store, number, tallies)
    names = list(dict.fromkeys((c.cue, c.defense) for c in grid.conditions))
    # Many small matrices: BLAS threads gain nothing, and on a busy machine they wait in vain.
    with threadpool_limits(limits=1, user_api="blas"):
        settings = [
            analyze_setting(grid, cue, defense, margin, errors, counts, judged)
            for cue, defense in names
        ]
        pairs = judge_pairs(store, grid, *names[0])
        cues = _cues(grid, names)
        changes = _defense_changes(grid, names, margin)
        shares = realization_shares(grid, names, record.study.realizations)
        implied = implied_contrasts(grid, names, margin)
        facts = fact_effects(grid, names, margin)
    labeled, label_notes = labeled_axes(store, grid)
    if record.interim:
        settings, cues, changes, shares, implied, facts, labeled = _allow_for(
            looks, (settings, cues, changes, shares, implied, facts, labeled)
        )
    judges, swaps = judge_records(store), judge_swaps(store, grid.level)
    doubts = judge_doubts(judge, pairs, swaps)
    by_grade, grading_notes = grading_doubts(store, judge, labeled)
    for axis, why in by_grade.items():
        doubts.setdefault(axis, []).extend(why)
    settings = [
        with_conclusion(
            setting,
            margin=margin,
            doubts=doubts,
            yardstick=yardstick_of(
                setting.pb, _sizes_in_pb(grid), grid.samples, record.study.limit
            ),
            cautions=blocked_unevenly(store, setting.cue, setting.defense),
        )
        for setting in settings
    ]
    people = [c.identity.id for c in grid.conditions]
    cells = cells_of(people, store.items().values(), grid.samples)
    done = sum(count["done"] for count in counts.values())
    outcomes, answer_notes = find_outcomes(store)
    return Audit(
        model=record.study.model,
        cells=cells,
        done=done,
        unscored=sum(reasons.values()),
        unscored_reasons=reasons,
        failed_attempts=sum(count["failed_attempts"] for count in counts.values()),
        prompt_tokens=sum(tally.prompt_tokens for tally in tallies.values()),
        completion_tokens=sum(tally.completion_tokens for tally in tallies.values()),
        benchmarks=grid.items,
        samples=grid.samples,
        limit=record.study.limit,
        decoding=record.study.decoding.model_dump(mode="json"),
        placement=record.system_role.evidence,
        margin=margin,
        settings=settings,
        cues=cues,
        defenses=changes,
        relevance=relevance_of(store),
        judge=judge,
        judges=judges,
        judge_pairs=pairs,
        judge_swaps=swaps,
        labeled=labeled,
        blocked=store.blocked,
        outcomes=outcomes,
        interim=record.interim,
        units=list(grid.units),
        notes=[
            *larger_study_note(store, done, grid.samples),
            *notes_on(record, cells - done, grid, settings, store.items().values()),
            *misfit_notes(misfits),
            *few_scored_notes(store, grid),
            *language_notes(store, grid),
            *answer_notes,
            *unit_notes(grid.units),
            *crossed_notes(shares),
            *judge_notes(judge, judges, pairs, swaps),
            *label_notes,
            *grading_notes,
            *withholding_notes(store),
        ],
        realizations=shares,
        implied=implied,
        facts=facts,
        recognition=recognitions(store),
        probe=read_probe(store),
    )


_P_VALUES = {"p_value", "p_adjusted", "equivalence_p", "non_inferiority_p"}


def _allow_for(looks: LookPlan, found: Any) -> Any:
    """Results of an interim analysis with their p-values adjusted for all the looks."""
    if is_dataclass(found) and not isinstance(found, type):
        changed = {
            field.name: _adjusted(looks, value)
            if field.name in _P_VALUES
            else _allow_for(looks, value)
            for field in fields(found)
            if (value := getattr(found, field.name)) is not None
        }
        return replace(found, **changed)
    if isinstance(found, dict):
        return type(found)({key: _allow_for(looks, each) for key, each in found.items()})
    if isinstance(found, list | tuple):
        return type(found)(_allow_for(looks, each) for each in found)
    return found


def _adjusted(looks: LookPlan, p_value: Any) -> Any:
    """One p-value, or an array of them."""
    if isinstance(p_value, np.ndarray):
        return np.vectorize(lambda each: sequential_p_value(each, looks.shares))(p_value)
    return sequential_p_value(p_value, looks.shares)


def _sizes_in_pb(grid: Grid) -> dict[str, int]:
    return {
        name: len(names) for axis in PB_AXES for name, names in grid.names.get(axis, {}).items()
    }


def _counts(
    store: Store, judge: int, tallies: Mapping[int, Tally]
) -> tuple[dict[int, dict[str, Any]], dict[str, int]]:
    """Answers, unscored answers and failed attempts by condition; unscored ones by reason."""
    unscored: dict[int, dict[str, int]] = {}
    reasons: Counter[str] = Counter()
    for condition, reason, count in store.reasons(judge=judge):
        unscored.setdefault(condition, {})[reason] = count
        reasons[reason] += count
    counts = {}
    for condition in (c.id for c in store.conditions()):
        tally = tallies.get(condition)
        counts[condition] = {
            "done": tally.responses if tally else 0,
            "unscored": sum(unscored.get(condition, {}).values()),
            "unscored_reasons": unscored.get(condition, {}),
            "failed_attempts": tally.failures if tally else 0,
        }
    return counts, dict(reasons.most_common())


def _cues(grid: Grid, names: Sequence[tuple[str, str]]) -> dict[str, CueComponents]:
    """Variance components over the cues, under the first defense, where there are two or more."""
    first = names[0][1]
    rows = [grid.rows(cue, defense, "identity") for cue, defense in names if defense == first]
    if len(rows) < 2:
        return {}
    found = {}
    for axis in grid.scores:
        together = grid.take(axis, [row for cue in rows for row in cue])
        if together is None:
            continue
        scores = {name: _split_by_cue(array, len(rows)) for name, array in together.items()}
        components = if_enough(
            partial(cue_components, scores, level=grid.level, clusters=clusters_of(together))
        )
        if components is not None:
            found[axis] = components
    return found


def _split_by_cue(array: Any, cues: int) -> Any:
    """(cues x identities, items, samples) -> (identities, cues, items, samples)."""
    people = array.shape[0] // cues
    return np.swapaxes(array.reshape(cues, people, *array.shape[1:]), 0, 1)


def _defense_changes(
    grid: Grid, names: Sequence[tuple[str, str]], margin: float
) -> list[DefenseChange]:
    """Each further defense against the first under the same cue, on the same items."""
    first = names[0][1]
    changes = []
    for cue, defense in names:
        if defense == first:
            continue
        before_safety, after_safety = _both(grid, "safety", cue, first, defense)
        before_utility, after_utility = _both(grid, "utility", cue, first, defense)
        change = if_enough(
            partial(
                compare_audits,
                before_safety=before_safety,
                before_utility=before_utility,
                after_safety=after_safety,
                after_utility=after_utility,
                margin=margin,
                level=grid.level,
                clusters=clusters_of(before_safety, before_utility),
            )
        )
        if change is not None:
            changes.append(DefenseChange(cue, first, defense, change))
    return changes


def _both(
    grid: Grid, axis: str, cue: str, before: str, after: str
) -> tuple[AxisScores | None, AxisScores | None]:
    """The identities' scores under two defenses, on the items that any of them has."""
    rows = grid.rows(cue, before, "identity")
    together = grid.take(axis, rows + grid.rows(cue, after, "identity"))
    if together is None:
        return None, None
    size = len(rows)
    together = together.of_axis(axis)
    return together.rows(None, size), together.rows(size, None)
