"""Stopping early: ask the items in looks, and stop when PB is known well enough.

The items stand in a random order that the seed fixes, so the first of them are a random sample
of all. The looks and their confidence level are fixed before the first answer
(`evenhand.stats.plan_looks`), so that the interval holds at 95 % whichever look is the last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import Any, Protocol

from evenhand.analysis import Audit, analyze
from evenhand.benchmarks.item import Item
from evenhand.engines.engine import Engine
from evenhand.errors import UsageError
from evenhand.judges.run import Bench
from evenhand.run.loop import Progress
from evenhand.stats import Spread, plan_looks
from evenhand.store.store import Store
from evenhand.study.plan import Plan


class Ask(Protocol):
    """`evenhand.run.loop.run` with a price and a limit to it."""

    def __call__(
        self,
        plan: Plan,
        engine: Engine,
        store: Store,
        *,
        look: Mapping[str, Any],
        earlier: Progress | None,
    ) -> Awaitable[Progress]:
        """Run a part of the plan."""
        ...


async def run_in_looks(
    plan: Plan, engine: Engine, store: Store, ask: Ask, bench: Bench, precision: float
) -> Audit:
    """Run the plan look by look until the interval of PB reaches no farther than wanted.

    Args:
        ask: runs a part of the plan.
        bench: scores what has been answered.
        precision: half the width that the interval of PB may have, in points, > 0.

    Raises:
        UsageError: the plan has fewer than two identities, so that it has no PB.
        EvenhandError: as `run`.
    """
    if len({c.identity for c in plan.conditions if c.identity.kind == "identity"}) < 2:
        raise UsageError("--precision is about the spread of identities: choose at least two")
    looks = plan_looks()
    progress = None
    for number, share in enumerate(looks.shares, 1):
        items = first_of_each(plan.items, share)
        look = {
            "look": number,
            "of": len(looks.shares),
            "items": len(items),
            "all_items": len(plan.items),
            "precision": precision,
            "level": looks.look_level,
        }
        part = replace(plan, items=items)
        progress = await ask(part, engine, store, look=look, earlier=progress)
        await bench.score(store, progress.cost)
        audit = analyze(store)
        if (
            progress.stopped
            or bench.stopped
            or audit.done < audit.cells
            or _is_precise(audit.pb, precision)
        ):
            break
    return audit


def first_of_each(items: Sequence[Item], share: float) -> tuple[Item, ...]:
    """The first items of every benchmark, in their order; two of each at least."""
    sizes = Counter((item.axis, item.benchmark) for item in items)
    left = {key: max(2, ceil(share * size)) for key, size in sizes.items()}
    chosen = []
    for item in items:
        key = (item.axis, item.benchmark)
        if left[key]:
            left[key] -= 1
            chosen.append(item)
    return tuple(chosen)


def _is_precise(pb: Spread | None, precision: float) -> bool:
    return pb is not None and pb.interval[1] - pb.interval[0] <= 2 * precision
