"""evenhand score: score the answers of a run anew, or have judges score them."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from evenhand.cli.judges import JudgeFlags
from evenhand.cli.progress import ProgressBar
from evenhand.cli.sandbox import SandboxFlags
from evenhand.errors import UsageError
from evenhand.judges import Judge, make_judge
from evenhand.judging import judge_run
from evenhand.run import Price, Progress
from evenhand.score import score_run
from evenhand.store import Store
from evenhand.text import one_line
from evenhand.verdicts import unscored_reasons

_AT_LEAST_1 = Number(gte=1)


def score(
    run: Annotated[Path, Parameter(help="Run folder.")],
    *,
    judges: JudgeFlags = JudgeFlags(),
    again: Annotated[
        bool, Parameter(negative="", help="Forget the judges' earlier verdicts; judge all anew.")
    ] = False,
    max_cost: Annotated[
        float | None,
        Parameter(validator=Number(gt=0), help="Dollars that the judges may cost."),
    ] = None,
    max_connections: Annotated[
        int, Parameter(validator=_AT_LEAST_1, help="Requests under way at once.")
    ] = 64,
    timeout: Annotated[
        float, Parameter(validator=Number(gt=0), help="Seconds for one attempt.")
    ] = 120.0,
    batch_size: Annotated[int, Parameter(validator=_AT_LEAST_1, help="For local weights.")] = 64,
    sandbox: SandboxFlags = SandboxFlags(),
) -> None:
    """Score all answers of a run anew, as after an update of evenhand; or have judges score them.

    The model is not asked again. A judge scores what it has not scored yet; what it has is on
    disk and is never paid for twice.

    Examples:

        evenhand score runs/first
        evenhand score runs/first --judge rubric:openai/gpt-4o-mini --judge-price 0.15/0.60
        evenhand score runs/first --judge classifier:LibrAI/longformer-action-ro
    """
    judging = judges.judging(
        max_connections=max_connections, timeout=timeout, batch_size=batch_size
    )
    if max_cost is not None and judging.price is None:
        raise UsageError(
            "--max-cost needs the price of the judge's tokens: --judge-price 0.15/0.60"
        )
    store = Store.open(run)
    try:
        if not judges.judge:
            with sandbox.using():
                print(f"{score_run(store, again=True):,} answers scored")
            return
        at_work = [make_judge(name, judging.options) for name in judges.judge]
        sys.exit(_judge(store, at_work, judging.price, max_cost, again) or None)
    finally:
        store.close()


def _judge(
    store: Store, judges: list[Judge], price: Price | None, max_cost: float | None, again: bool
) -> int:
    """Have each judge score the run; the exit code."""
    left, code = max_cost, 0
    for judge in judges:
        with ProgressBar(0, None, Console(stderr=True), judge_price=price) as bar:
            try:
                progress = asyncio.run(_judge_and_close(store, judge, bar, price, left, again))
            except KeyboardInterrupt:
                bar.close()
                print(
                    "Interrupted; the verdicts so far are safe. The same command (without "
                    "--again) goes on from there.",
                    file=sys.stderr,
                )
                return 130
        _print_outcome(store, judge.name, progress, price)
        if left is not None:
            left = max(0.0, left - progress.cost)
        if progress.done < progress.cells:
            reason = progress.stopped or "some answers have no verdict yet"
            print(f"Not finished: {reason}. The same command goes on.", file=sys.stderr)
            code = 3
    return code


async def _judge_and_close(
    store: Store,
    judge: Judge,
    bar: ProgressBar,
    price: Price | None,
    max_cost: float | None,
    again: bool,
) -> Progress:
    try:
        return await judge_run(
            store,
            judge,
            again=again,
            price=price,
            max_cost=max_cost,
            on_progress=lambda progress: bar.show_judging(judge.name, progress),
        )
    finally:
        await judge.close()


def _print_outcome(store: Store, judge: str, progress: Progress, price: Price | None) -> None:
    parts = [f"{progress.done:,} of {progress.cells:,} answers have a verdict"]
    parts.append(f"{progress.sent:,} of them new")
    for reason, count in unscored_reasons(store, judge).items():
        parts.append(f"{count:,} unscored ({one_line(reason)})")
    if progress.failures:
        parts.append(f"{progress.failures:,} failed attempts")
    if price:
        parts.append(f"about ${progress.cost:,.2f}")
    print(f"{judge}: {', '.join(parts)}")
