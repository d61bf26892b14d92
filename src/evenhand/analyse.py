"""From the scores of a run to its estimates: PB, means, and the differences of each identity."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from evenhand import __version__
from evenhand.errors import RunFolderError
from evenhand.stats import (
    Differences,
    Spread,
    differences_to_baseline,
    differences_to_mean,
    personalization_bias,
)
from evenhand.store import Store, StoredCondition

AXES = ("safety", "utility", "over_refusal")

Scores = dict[str, NDArray[np.float64]]
"""Benchmark -> (conditions, items, samples); NaN where there is no score."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Bias:
    """A personalization bias, in points of 0-100.

    Attributes:
        plugin: the paper's number, which sampling noise pushes up.
        noise_floor: what `plugin` would be with no bias at all.
        estimate: PB with the noise taken out.
        signed_square: the same before the root, in squared points; below 0 by chance at no bias.
        interval: (low, high) of PB at 95 %.
        p_value: of no bias.
    """

    plugin: float
    noise_floor: float
    estimate: float
    signed_square: float
    interval: tuple[float, float]
    p_value: float


@dataclass(frozen=True)
class AxisResult:
    """One axis: safety, utility or over-refusal, in points of 0-100.

    Attributes:
        mean: over the identities; each benchmark counts the same.
        baseline: of the user of whom nothing is said; None if nothing of it is scored.
        pb: spread of the identities on this axis alone; None if there is too little data.
        benchmarks: mean over the identities for each benchmark.
    """

    mean: float | None
    baseline: float | None
    pb: Bias | None
    benchmarks: dict[str, float | None]


@dataclass(frozen=True)
class IdentityResult:
    """One identity, placebo or the baseline; in points. None where there is too little data.

    Attributes:
        safety, utility, over_refusal: means of the axes.
        safety_delta, ...: difference to the baseline.
        safety_delta_interval, ...: its 95 % interval, for this identity alone.
        safety_delta_p_holm, ...: p-value of no difference, adjusted for all identities.
        safety_to_mean, ...: difference to the mean of the identities.
        done, unscored, failed_attempts: counts of answers, of those without a score, and of
            attempts that brought none.
    """

    id: str
    text: str
    category: str
    safety: float | None = None
    utility: float | None = None
    over_refusal: float | None = None
    safety_delta: float | None = None
    safety_delta_interval: tuple[float, float] | None = None
    safety_delta_p_holm: float | None = None
    safety_to_mean: float | None = None
    utility_delta: float | None = None
    utility_delta_interval: tuple[float, float] | None = None
    utility_delta_p_holm: float | None = None
    utility_to_mean: float | None = None
    over_refusal_delta: float | None = None
    over_refusal_delta_interval: tuple[float, float] | None = None
    over_refusal_delta_p_holm: float | None = None
    over_refusal_to_mean: float | None = None
    done: int = 0
    unscored: int = 0
    failed_attempts: int = 0


@dataclass(frozen=True)
class SettingResult:
    """Results under one cue and one defence.

    Attributes:
        pb: joint PB over safety and utility; None if there is too little data.
        placebo_pb: the same over the placebos; None where they were not asked.
        baseline: the user of whom nothing is said.
    """

    cue: str
    defence: str
    pb: Bias | None
    placebo_pb: Bias | None
    axes: dict[str, AxisResult]
    baseline: IdentityResult
    identities: list[IdentityResult]
    placebos: list[IdentityResult]


@dataclass(frozen=True)
class Audit:
    """What an audit found. The headline is that of the first cue and defence of the study.

    Attributes:
        cells: answers planned.
        done: answers on disk.
        unscored: answers without a score, by reason.
        limit: the most items of each benchmark, if the study was limited.
        placement: how the system message reaches the model.
        settings: results for each cue and defence, the headline's first.
        notes: what a reader must know of before believing the figures.
    """

    evenhand: str
    model: str
    cells: int
    done: int
    unscored: int
    pb: Bias | None
    placebo_pb: Bias | None
    axes: dict[str, AxisResult]
    identities: list[IdentityResult]
    baseline: IdentityResult
    placebos: list[IdentityResult]
    settings: list[SettingResult]
    benchmarks: dict[str, int]
    samples: int
    limit: int | None
    decoding: dict[str, Any]
    placement: str
    unscored_reasons: dict[str, int]
    failed_attempts: int
    prompt_tokens: int
    completion_tokens: int
    notes: list[str] = field(default_factory=list)


def analyse(store: Store) -> Audit:
    """Estimate everything from the scores of a run.

    Raises:
        RunFolderError: the run has not begun.
        StoreError: the store cannot be read.
    """
    study = store.meta("study")
    if study is None:
        raise RunFolderError(f"{store.folder}: the run has no answers yet; start it again")
    conditions, items, tallies = store.conditions(), store.items(), store.tallies()
    reasons: dict[str, int] = {}
    unscored: dict[int, int] = {}
    for condition, reason, count in store.reasons():
        reasons[reason] = reasons.get(reason, 0) + count
        unscored[condition] = unscored.get(condition, 0) + count
    counts = {
        c.id: {
            "done": tallies[c.id].responses if c.id in tallies else 0,
            "unscored": unscored.get(c.id, 0),
            "failed_attempts": tallies[c.id].failures if c.id in tallies else 0,
        }
        for c in conditions
    }
    arrays = _arrays(store, study["samples"])
    names = list(dict.fromkeys((c.cue, c.defence) for c in conditions))
    settings = [_setting(cue, defence, conditions, arrays, counts) for cue, defence in names]
    cells = len(conditions) * len(items) * study["samples"]
    done = sum(count["done"] for count in counts.values())
    head = settings[0]
    benchmarks: dict[str, int] = {}
    for item in items.values():
        benchmarks[item.benchmark] = benchmarks.get(item.benchmark, 0) + 1
    return Audit(
        evenhand=__version__,
        model=study["model"],
        cells=cells,
        done=done,
        unscored=sum(unscored.values()),
        pb=head.pb,
        placebo_pb=head.placebo_pb,
        axes=head.axes,
        identities=head.identities,
        baseline=head.baseline,
        placebos=head.placebos,
        settings=settings,
        benchmarks=benchmarks,
        samples=study["samples"],
        limit=study["limit"],
        decoding=study["decoding"],
        placement=store.meta("placement")["evidence"],
        unscored_reasons=reasons,
        failed_attempts=sum(count["failed_attempts"] for count in counts.values()),
        prompt_tokens=sum(t.prompt_tokens for t in tallies.values()),
        completion_tokens=sum(t.completion_tokens for t in tallies.values()),
        notes=_notes(study, store.meta("placement"), cells, done, counts),
    )


def _arrays(store: Store, samples: int) -> dict[str, Scores]:
    """Axis -> benchmark -> scores of all active conditions."""
    rows = store.scores()
    column = {condition.id: n for n, condition in enumerate(store.conditions())}
    where: dict[str, dict[str, list[int]]] = {}
    for item_id, item in store.items().items():
        where.setdefault(item.axis, {}).setdefault(item.benchmark, []).append(item_id)
    place = _lookup(column)[rows[:, 0].astype(int)] if len(rows) else np.zeros(0, int)
    arrays: dict[str, Scores] = {}
    for axis, names in where.items():
        arrays[axis] = {}
        for benchmark, item_ids in names.items():
            position = _lookup({item_id: n for n, item_id in enumerate(item_ids)})
            ids = rows[:, 1].astype(int)
            mine = np.isin(ids, item_ids)
            array = np.full((len(column), len(item_ids), samples), np.nan)
            array[place[mine], position[ids[mine]], rows[mine, 2].astype(int)] = rows[mine, 3]
            arrays[axis][benchmark] = array
    return arrays


def _lookup(places: Mapping[int, int]) -> NDArray[np.int64]:
    """The mapping as an array that can be indexed by id."""
    table = np.zeros(max(places) + 1, dtype=np.int64)
    for key, place in places.items():
        table[key] = place
    return table


def _setting(
    cue: str,
    defence: str,
    conditions: Sequence[StoredCondition],
    arrays: Mapping[str, Scores],
    counts: Mapping[int, dict[str, int]],
) -> SettingResult:
    mine = [n for n, c in enumerate(conditions) if (c.cue, c.defence) == (cue, defence)]
    rows = {
        kind: [n for n in mine if conditions[n].identity.kind == kind]
        for kind in ("baseline", "identity", "placebo")
    }
    results = {n: _counts_of(conditions[n], counts) for n in mine}
    axes = {}
    for axis in AXES:
        if axis in arrays:
            axes[axis] = _axis(arrays[axis], rows)
            _add_identities(results, axis, arrays[axis], rows)
    finished = {n: IdentityResult(**values) for n, values in results.items()}
    return SettingResult(
        cue=cue,
        defence=defence,
        pb=_joint(arrays, rows["identity"]),
        placebo_pb=_joint(arrays, rows["placebo"]) if rows["placebo"] else None,
        axes=axes,
        baseline=finished[rows["baseline"][0]],
        identities=[finished[n] for n in rows["identity"]],
        placebos=[finished[n] for n in rows["placebo"]],
    )


def _counts_of(condition: StoredCondition, counts: Mapping[int, dict[str, int]]) -> dict[str, Any]:
    who = condition.identity
    return {"id": who.id, "text": who.text, "category": who.category, **counts[condition.id]}


def _take(scores: Scores, rows: Sequence[int]) -> Scores:
    """Some conditions' scores, of the items that at least one of them has answered."""
    taken = {name: array[list(rows)] for name, array in scores.items()}
    return {name: array[:, ~np.isnan(array).all(axis=(0, 2))] for name, array in taken.items()}


def _if_enough(estimate: Callable[[], Result]) -> Result | None:
    """The estimate; None where the scores so far are too few for it."""
    try:
        return estimate()
    except ValueError:
        return None


def _joint(arrays: Mapping[str, Scores], rows: Sequence[int]) -> Bias | None:
    safety, utility = (
        _take(arrays[axis], rows) if axis in arrays else None for axis in ("safety", "utility")
    )
    return _bias(_if_enough(lambda: personalization_bias(safety, utility)))


def _bias(spread: Spread | None) -> Bias | None:
    if spread is None:
        return None
    return Bias(
        plugin=spread.plugin,
        noise_floor=spread.noise_floor,
        estimate=spread.estimate,
        signed_square=spread.signed_square,
        interval=spread.interval,
        p_value=spread.p_value,
    )


def _axis(scores: Scores, rows: Mapping[str, Sequence[int]]) -> AxisResult:
    people = _take(scores, rows["identity"])
    means = {name: _mean_of_means(array) for name, array in people.items()}
    base = {name: _mean_of_means(a) for name, a in _take(scores, rows["baseline"]).items()}
    return AxisResult(
        mean=_points(list(means.values())),
        baseline=_points(list(base.values())),
        pb=_bias(_if_enough(lambda: personalization_bias(people, None))),
        benchmarks={name: _points([mean]) for name, mean in means.items()},
    )


def _mean_of_means(array: NDArray[np.float64]) -> float:
    """Mean over the conditions of their means, so that missing scores shift no weight."""
    per_condition = [row[~np.isnan(row)] for row in array]
    means = [row.mean() for row in per_condition if row.size]
    return float(np.mean(means)) if means else float("nan")


def _points(means: Sequence[float]) -> float | None:
    value = 100 * float(np.mean(means)) if means else float("nan")
    return None if np.isnan(value) else value


def _add_identities(
    results: dict[int, dict[str, Any]],
    axis: str,
    scores: Scores,
    rows: Mapping[str, Sequence[int]],
) -> None:
    """Means of an axis and differences to the baseline and to the mean of the identities."""
    for n, values in results.items():
        own = _take(scores, [n])
        values[axis] = _points([_mean_of_means(array) for array in own.values()])
    for kind in ("identity", "placebo"):
        _add_deltas(results, axis, _to_baseline(scores, rows[kind], rows["baseline"]), rows[kind])
    people = _take(scores, rows["identity"])
    to_mean = _if_enough(lambda: differences_to_mean(people))
    if to_mean is not None:
        for n, difference in zip(rows["identity"], to_mean.difference, strict=True):
            results[n][f"{axis}_to_mean"] = float(difference)


def _to_baseline(
    scores: Scores, rows: Sequence[int], baseline: Sequence[int]
) -> Differences | None:
    if not rows:
        return None
    together = _take(scores, [*rows, *baseline])
    people = {name: array[:-1] for name, array in together.items()}
    base = {name: array[-1:] for name, array in together.items()}
    return _if_enough(lambda: differences_to_baseline(people, base))


def _add_deltas(
    results: dict[int, dict[str, Any]], axis: str, found: Differences | None, rows: Sequence[int]
) -> None:
    if found is None:
        return
    for index, n in enumerate(rows):
        low, high = found.interval[index]
        results[n][f"{axis}_delta"] = float(found.difference[index])
        results[n][f"{axis}_delta_interval"] = (float(low), float(high))
        results[n][f"{axis}_delta_p_holm"] = float(found.p_holm[index])


def _notes(
    study: dict[str, Any],
    placement: dict[str, Any],
    cells: int,
    done: int,
    counts: Mapping[int, dict[str, int]],
) -> list[str]:
    notes = []
    if done < cells:
        notes.append(f"{cells - done:,} of {cells:,} cells have no answer yet; run again to go on")
    if study["limit"]:
        notes.append(f"limited to {study['limit']} items of each benchmark")
    if not placement["system_role"]:
        notes.append(f"sent in front of the user's message: {placement['evidence']}")
    elif "unverified" in placement["evidence"]:
        notes.append("whether the system message reaches the model could not be verified")
    shares = [c["unscored"] / c["done"] for c in counts.values() if c["done"]]
    if shares and max(shares) > 0.02:
        notes.append(
            f"{min(shares):.1%} to {max(shares):.1%} of a condition's answers are unscored"
        )
    return notes
