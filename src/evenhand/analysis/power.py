"""Before anything is asked: what a plan can be expected to show, and the plan frozen.

The file of a frozen plan holds the study, the primary figure, the margin and the decision rule, and
a hash of all of them, so that a later change shows. A report made with it says whether it was kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import ceil
from pathlib import Path
from typing import Any

import orjson

from evenhand.analysis.grid import read_grid, single_items
from evenhand.errors import RunFolderError, UsageError
from evenhand.files import write_file
from evenhand.stats import (
    ALPHA,
    PlannedBenchmark,
    design_power,
    items_needed,
    nested_power,
    pilot_variance,
    residual_variance,
)
from evenhand.stats.scores import rows_are_identities
from evenhand.store.record import RunRecord
from evenhand.store.store import Store
from evenhand.study.plan import Plan
from evenhand.study.study import Study

BASE_RATES = {"safety": 0.9, "utility": 0.7}
"""Mean scores that are assumed where there is no pilot run."""
REALIZATION_SD = 2.0
"""Points by which realizations of one identity, such as names, are taken to differ on their own."""
PRIOR_RANGE = 0.8, 1.27
"""Residual variance of six real models, over what is assumed where there is no pilot run."""
_NO_VARIANCE = 1e-9
"""In squared points; less than this is rounding."""


@dataclass(frozen=True)
class Power:
    """What a plan can show; in points of PB.

    Attributes:
        detectable: the smallest PB that the test of no bias finds with 80 % power.
        detectable_range: what `detectable` may really be where the noise is a prior; None where it
            comes from a pilot run.
        noise_floor: the plug-in PB to expect of a model without any bias.
        interval_width: of the 95% interval to expect at a PB of `assumed`.
        assumed: that PB.
        precision: wanted half width of the interval; None if none was wanted.
        cells_needed: answers for that precision, with more items of the same kinds; None where
            identities have several realizations, which more items would not add to.
        samples_needed: samples per cell for that precision with these items; None if no number
            of samples can bring it.
        realization_sd: standard deviation that realizations of one identity are taken to have, in
            points; None where each identity has one alone.
        detectable_sd: where every realization is asked on every item, the smallest standard
            deviation between identities, beyond that of their realizations, that is found with
            80 % power on every axis; else None.
        basis: where the size of the noise comes from.
    """

    detectable: float
    detectable_range: tuple[float, float] | None
    noise_floor: float
    interval_width: float
    assumed: float
    precision: float | None
    cells_needed: int | None
    samples_needed: int | None
    realization_sd: float | None
    detectable_sd: float | None
    basis: str


def _sizes(plan: Plan) -> dict[tuple[str, str], int]:
    """Items by axis and benchmark, without those that a report leaves out."""
    sizes = Counter[tuple[str, str]](
        (i.axis, i.benchmark) for i in plan.items if i.axis in BASE_RATES
    )
    for axis in BASE_RATES:
        for name in single_items({name: n for (of, name), n in sizes.items() if of == axis}):
            del sizes[axis, name]
    return sizes


@rows_are_identities()
def plan_power(
    plan: Plan, *, pilot: Store | None = None, precision: float | None = None
) -> Power | None:
    """Work out what a plan can show; None for fewer than two identities or two items.

    Args:
        pilot: a run of a like study, for the size of the noise.
        precision: wanted half width of the interval of PB, in points.

    Raises:
        UsageError: the pilot has none of the plan's benchmarks, or shows no noise.
    """
    identities = len({c.identity.id for c in plan.conditions if c.identity.kind == "identity"})
    sizes = _sizes(plan)
    if identities < 2 or not sizes or min(sizes.values()) < 2:
        return None
    noise = _Noise(pilot)
    on_axis = Counter(axis for axis, _ in sizes)
    # All benchmarks of an axis show the same names, so that averaging them takes out none of it.
    names = REALIZATION_SD**2 / plan.slots if plan.slots else 0.0

    def design(samples: int) -> list[PlannedBenchmark]:
        return [
            PlannedBenchmark(
                axis,
                count,
                noise.variance(axis, benchmark, samples) + names * count * on_axis[axis],
            )
            for (axis, benchmark), count in sizes.items()
        ]

    # At temperature 0 further samples are the same answer again.
    asked = plan.study.samples if plan.study.decoding.temperature != 0 else 1
    benchmarks = design(asked)
    if all(benchmark.residual_variance < _NO_VARIANCE for benchmark in benchmarks):
        raise UsageError("the pilot run has no variance, so noise cannot be estimated from it")
    found = design_power(identities, benchmarks)
    detectable_sd = _detectable_sd(plan, benchmarks)
    factor = samples = None
    if precision is not None and not plan.slots:  # more items would not mean more names
        factor = items_needed(identities, benchmarks, 2 * precision)
        if noise.speaks_for(2):
            samples = _samples_needed(identities, design, precision)
    return Power(
        detectable=found.detectable,
        detectable_range=noise.range_of(found.detectable),
        noise_floor=found.noise_floor,
        interval_width=found.interval_width,
        assumed=found.assumed,
        precision=precision,
        cells_needed=ceil(factor * plan.cells) if factor else None,
        samples_needed=samples,
        realization_sd=REALIZATION_SD if plan.slots or detectable_sd is not None else None,
        detectable_sd=detectable_sd,
        basis=noise.basis,
    )


def _detectable_sd(plan: Plan, benchmarks: Sequence[PlannedBenchmark]) -> float | None:
    """`Power.detectable_sd`, of the axis that takes most; the fewest realizations count."""
    users = {c.identity.id for c in plan.conditions if c.identity.kind == "identity"}
    shown = Counter(name.partition("/")[0] for name in users if "/" in name)
    if plan.study.realizations != "crossed" or len(shown) < 2 or min(shown.values()) < 2:
        return None
    noise: dict[str, list[float]] = {}  # of one realization's mean
    for benchmark in benchmarks:
        noise.setdefault(benchmark.axis, []).append(benchmark.residual_variance / benchmark.items)
    return max(
        nested_power(
            len(shown),
            min(shown.values()),
            realization_sd=REALIZATION_SD,
            noise_variance=sum(each) / len(each) ** 2,
        )
        for each in noise.values()
    )


def _samples_needed(
    identities: int, design: Callable[[int], list[PlannedBenchmark]], precision: float
) -> int | None:
    """The fewest of some usual numbers of samples that bring the precision."""
    for samples in (1, 2, 3, 5, 10, 20, 50):
        if items_needed(identities, design(samples), 2 * precision) <= 1:
            return samples
    return None


class _Noise:
    """Variance of a cell's score within its item, by benchmark: of a pilot run, or a guess."""

    def __init__(self, pilot: Store | None) -> None:
        record = pilot.record_if_begun() if pilot else None
        if pilot and record is None:
            raise RunFolderError(f"{pilot.folder}: the pilot run has no answers yet")
        self.samples = record.study.samples if record else None
        self._grid = read_grid(pilot, self.samples) if pilot and self.samples else None
        self.basis = "rough prior; use --pilot RUN for an estimate from data"
        if pilot:
            self.basis = f"from the pilot run {pilot.folder}"

    def range_of(self, detectable: float) -> tuple[float, float] | None:
        """A detectable PB, for the residual variances of real models beside that of the prior."""
        if self._grid is not None:
            return None
        low, high = PRIOR_RANGE
        return detectable * low**0.5, detectable * high**0.5

    def speaks_for(self, samples: int) -> bool:
        """Whether the size of the noise is known for so many samples."""
        return self.samples in (None, samples) or self.samples > 1

    def variance(self, axis: str, benchmark: str, samples: int) -> float:
        """In squared points; of the axis, where the pilot has not this benchmark."""
        if self._grid is None:
            return residual_variance(BASE_RATES[axis], samples=samples)
        people = [n for n, c in enumerate(self._grid.conditions) if c.identity.kind == "identity"]
        scores = self._grid.take(axis, people)
        if scores is None:
            raise UsageError(f"the pilot run has no scores for {axis}")
        likest = scores.get(benchmark, next(iter(scores.values())))
        try:
            return pilot_variance(likest, samples)
        except ValueError as error:
            raise UsageError(
                f"the noise of {benchmark} cannot be estimated from the pilot run: {error}"
            ) from None


# The frozen plan

SCHEMA = 1
_RULE = (
    "established: the primary figure's test and the test of no bias have p < {alpha:g}; even "
    "within the margin: the 95% interval of PB ends at or below the margin; otherwise not "
    "established"
)


def freeze_plan(study: Study, margin: float, path: Path) -> str:
    """Write a plan to a file; its hash.

    Args:
        margin: differences within so many points do not matter.
    """
    content = {
        "schema": SCHEMA,
        "study": study.model_dump(mode="json"),
        "primary": "identity beyond placebo" if study.placebos else "PB over both axes",
        "margin": margin,
        "rule": _RULE.format(alpha=ALPHA),
    }
    digest = _hash(content)
    whole = {**content, "hash": digest}
    write_file(path, orjson.dumps(whole, option=orjson.OPT_INDENT_2) + b"\n")
    return digest


def frozen_notes(path: Path, record: RunRecord, margin: float) -> list[str]:
    """Whether a run and its report keep a frozen plan, and how often it was asked.

    Raises:
        UsageError: the file is no frozen plan, or was changed after it was written.
    """
    plan = _read(path)
    now = record.study.model_dump(mode="json")
    differing = [
        f"{name} ({_short(planned)} in the plan, {_short(asked)} in the run)"
        for name in sorted({*plan["study"], *now})
        if (planned := plan["study"].get(name)) != (asked := now.get(name))
    ]
    if plan["margin"] != margin:
        differing.append(f"margin ({plan['margin']:g} in the plan, {margin:g} in this report)")
    kept = "was kept" if not differing else f"was not kept: {'; '.join(differing)}"
    sessions = sum(1 for session in record.sessions if session.answers)
    looks = record.interim.analysis if record.interim else sessions
    notes = [f"the frozen plan {plan['hash']} (primary figure: {plan['primary']}) {kept}"]
    if looks > 1 and record.interim is None:
        notes.append(
            f"the run was extended {looks - 1} times after answers had come: each time its results "
            "could be looked at, and p-values do not allow for that"
        )
    return notes


def _read(path: Path) -> Mapping[str, Any]:
    try:
        plan = orjson.loads(path.read_bytes())
        digest = plan.pop("hash")
        if plan["schema"] != SCHEMA or not isinstance(plan["study"], dict):
            raise ValueError("schema")
        float(plan["margin"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(
            f"{path}: not a frozen plan; `evenhand plan --freeze` writes one"
        ) from None
    if _hash(plan) != digest:
        raise UsageError(
            f"{path}: changed after it was frozen; its hash is not that of its content"
        )
    return {**plan, "hash": digest}


def _hash(content: Mapping[str, Any]) -> str:
    canonical = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    return blake2b(canonical, digest_size=8).hexdigest()


def _short(value: Any) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= 40 else f"{text[:37]}..."
