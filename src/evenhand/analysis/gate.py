"""A gate: has a run stayed within its margins? Decided by confidence intervals, never by estimates.

A check passes where the whole interval is below its margin, fails where the whole interval is above
it, and is inconclusive otherwise: then there is too little data for this margin, or the truth lies
close to it. All checks must pass for the gate to pass, and one that fails fails it
(intersection-union test: Berger & Hsu 1996, Statistical Science 11).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from evenhand.analysis import analyze
from evenhand.analysis.compare import Arm, compare_arms
from evenhand.analysis.results import Audit
from evenhand.axes import AXES, PB_AXES
from evenhand.errors import UsageError
from evenhand.store.store import Store

Decision = Literal["passed", "failed", "inconclusive"]


_FOR_POWER = (1.96 + 0.84) / 1.96
"""An interval is to end so much nearer than its margin that it does so in 80% of runs."""


@dataclass(frozen=True)
class Margins:
    """The largest values that are accepted, in points; None where a figure is not checked.

    Attributes:
        max_pb: of PB, joint and of each axis.
        max_gap: of any identity's distance from the baseline.
        max_growth: of the growth of PB since an earlier run.
    """

    max_pb: float | None = None
    max_gap: float | None = None
    max_growth: float | None = None


@dataclass(frozen=True)
class GateCheck:
    """One figure against its margin, in points.

    Attributes:
        estimate: of the figure.
        interval: of `estimate`.
        margin: that it is held against.
        decision: passed if all of the interval is below the margin, failed if all is above it.
    """

    name: str
    """What is checked: "PB", "PB of over-refusal", "largest gap in utility", "growth of PB"."""
    estimate: float
    interval: tuple[float, float]
    margin: float
    decision: Decision
    detail: str
    """Whom the figure is about, where it is about one identity."""
    needed: float | None
    """How many times the present number of items is planned to settle an inconclusive check in 80%
    of runs, were the estimate the truth."""
    needs_labels: bool = False
    """Inconclusive because it rests on grades that no labels of this run bear out."""


@dataclass(frozen=True)
class Gate:
    """What a gate decided, and why.

    Attributes:
        decision: that of the worst check.
        level: of the intervals, 0 to 1.
        checks: each figure with its margin.
        notes: what a reader must know before believing them.
    """

    decision: Decision
    level: float
    checks: list[GateCheck]
    items: dict[str, int]
    """Items asked, by benchmark."""
    notes: list[str]


def gate_run(
    store: Store,
    margins: Margins,
    *,
    against: Store | None = None,
    axes: Collection[str] | None = None,
    level: float = 0.95,
    judge: str | None = None,
) -> Gate:
    """Check a run, under its first cue and defense, against margins.

    Args:
        against: an earlier run, for `max_growth`.
        axes: axes to check; None for all that the run has scores on.
        level: of the confidence intervals.

    Raises:
        UsageError: no margin is given, a margin of growth has no run to compare with, or nothing
            that was asked for can be estimated from this run.
    """
    if margins == Margins():
        raise UsageError("a gate needs a margin: --max-pb, --max-gap or --max-growth")
    if (margins.max_growth is None) != (against is None):
        raise UsageError("--max-growth and --against belong together: growth over which run?")
    audit = analyze(store, judge=judge, level=level)
    chosen = _chosen(audit, axes)
    checks, notes = [], []
    if margins.max_pb is not None:
        checks += _bias_checks(audit, chosen, margins.max_pb)
    if margins.max_gap is not None:
        found, said = _gap_checks(audit, chosen, margins.max_gap)
        checks += found
        notes += said
    if margins.max_growth is not None and against is not None:
        checks += _growth_checks(against, store, chosen, margins.max_growth, level, judge)
    if not checks:
        raise UsageError("nothing to check: this run has too few scores on the axes asked for")
    return Gate(decide(checks), level, checks, audit.benchmarks, [*notes, *audit.notes])


def _chosen(audit: Audit, axes: Collection[str] | None) -> list[str]:
    there = [name for name, axis in audit.axes.items() if axis.pb is not None]
    if axes is None:
        return there
    for name in axes:
        if name not in AXES:
            raise UsageError(f'no axis "{name}"; there are: {", ".join(AXES)}')
        if name not in there:
            raise UsageError(f"this run has too few scores on {AXES[name].label} to check it")
    return [name for name in there if name in axes]


def _bias_checks(audit: Audit, axes: list[str], margin: float) -> list[GateCheck]:
    """PB over safety and utility together, where both are checked, and of every other axis."""
    checks = []
    joint = all(name in axes for name in PB_AXES) and audit.pb is not None
    if joint and audit.pb is not None:
        checks.append(hold_to("PB", audit.pb.estimate, audit.pb.interval, margin))
    for name in axes:
        pb = audit.axes[name].pb
        if pb is not None and not (joint and name in PB_AXES):
            check = hold_to(f"PB of {AXES[name].label}", pb.estimate, pb.interval, margin)
            checks.append(_by_opinion(check, name, audit))
    return checks


def _by_opinion(check: GateCheck, axis: str, audit: Audit) -> GateCheck:
    """The check; inconclusive where it rests on grades that no labels of this run bear out."""
    if not AXES[axis].is_graded or axis not in audit.head.conclusion.doubted:
        return check
    return replace(check, decision="inconclusive", needed=None, needs_labels=True)


def _gap_checks(audit: Audit, axes: list[str], margin: float) -> tuple[list[GateCheck], list[str]]:
    """The largest absolute difference of an identity to the baseline, by axis.

    Its interval is that of the maximum, from intervals that hold for all identities together.
    """
    checks, notes = [], []
    for name in axes:
        own = {i.id: i.axes[name] for i in audit.identities if name in i.axes}
        found = {
            who: difference
            for who, each in own.items()
            if (difference := each.to_baseline or each.to_mean)
        }
        if not found:
            continue
        if not any(own[who].to_baseline for who in found):
            notes.append(
                f"{AXES[name].label}: the run has no baseline, so gaps are to the mean of the "
                "identities"
            )
        who = max(found, key=lambda one: abs(found[one].estimate))
        check = hold_to(
            f"largest gap in {AXES[name].label}",
            abs(found[who].estimate),
            gap_interval([d.simultaneous for d in found.values()]),
            margin,
            f"{who} {found[who].estimate:+.1f}",
        )
        checks.append(_by_opinion(check, name, audit))
    return checks, notes


def gap_interval(simultaneous: Iterable[Sequence[float]]) -> tuple[float, float]:
    """The interval of the largest absolute difference, from intervals that hold together."""
    pairs = [(low, high) for low, high in simultaneous]
    least = max(max(0.0, low, -high) for low, high in pairs)
    return least, max(max(abs(low), abs(high)) for low, high in pairs)


def _growth_checks(
    before: Store,
    after: Store,
    axes: list[str],
    margin: float,
    level: float,
    judge: str | None,
) -> list[GateCheck]:
    """How much PB has grown, on the cells that both runs have."""
    found = compare_arms(
        [Arm(before, judge=judge), Arm(after, judge=judge)], margin=margin, level=level
    ).changes[0]
    if found.bias is not None and all(name in axes for name in PB_AXES):
        return [hold_to("growth of PB", found.bias.difference, found.bias.interval, margin)]
    return [
        hold_to(f"growth of PB of {AXES[name].label}", change.difference, change.interval, margin)
        for name, axis in found.axes.items()
        if name in axes and (change := axis.bias) is not None
    ]


def hold_to(
    name: str, estimate: float, interval: tuple[float, float], margin: float, detail: str = ""
) -> GateCheck:
    """One figure against its margin: decided by its interval alone."""
    low, high = interval
    decision: Decision = "passed" if high < margin else "failed" if low > margin else "inconclusive"
    needed = None
    if decision == "inconclusive" and estimate != margin:
        needed = max(1.0, math.ceil(10 * items_to_settle(estimate, interval, margin)) / 10)
    return GateCheck(name, estimate, interval, margin, decision, detail, needed)


def items_to_settle(estimate: float, interval: tuple[float, float], margin: float) -> float:
    """How many times the number of items would settle a check in 80% of runs.

    Intervals are taken to shrink with the root of the number of items.
    """
    low, high = interval
    reach = high - estimate if estimate < margin else estimate - low
    return (_FOR_POWER * reach / (margin - estimate)) ** 2


def decide(checks: list[GateCheck]) -> Decision:
    """All must pass; one that fails fails."""
    decisions = {check.decision for check in checks}
    if "failed" in decisions:
        return "failed"
    return "inconclusive" if "inconclusive" in decisions else "passed"
