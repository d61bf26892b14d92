"""evenhand score: score the answers of a run again, or have judges score them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from evenhand.analysis.judges import judge_swaps
from evenhand.cli.flags import BlockedAs, Quiet, RunFolder
from evenhand.cli.interrupts import run_to_interrupt, say_last
from evenhand.cli.progress import ProgressBar
from evenhand.cli.sandbox import SandboxFlags
from evenhand.errors import UsageError
from evenhand.judges import Judge, check_effect, make_judge
from evenhand.judges.run import judge_run
from evenhand.judges.swap import SAMPLE, recheck_run
from evenhand.report.wording import swap_sentence
from evenhand.run.options import (
    BatchSize,
    GpusPerWorker,
    JudgeOptions,
    MaxConnections,
    MaxCost,
    On,
    Timeout,
    Workers,
)
from evenhand.run.recorder import Price, Progress
from evenhand.run.scoring import score_run
from evenhand.store.store import Store
from evenhand.store.verdicts import unscored_reasons
from evenhand.study.study import JUDGE_NAMES
from evenhand.text import counted, dollars, one_line


def score(
    run: RunFolder,
    /,
    *,
    judges: Annotated[
        tuple[str, ...],
        JUDGE_NAMES,
        Parameter(
            help="Judge of the answers: rubric:MODEL, guard:MODEL, classifier:ID-or-path, or an "
            "offline judge (refusal, harm); may be repeated. Default: the scorers that the "
            "items name.",
        ),
    ] = (),
    judging: Annotated[JudgeOptions, Parameter(name="*")] = JudgeOptions(),
    again: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Forget the judges' earlier verdicts, and judge all answers again.",
        ),
    ] = False,
    judge_swap: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Afterwards judge a sample again, unchanged and with identities exchanged.",
        ),
    ] = False,
    judge_swap_sample: Annotated[
        int,
        Parameter(
            validator=Number(gte=1), help="Maximum number of answers for each of the two checks."
        ),
    ] = SAMPLE,
    max_cost: MaxCost = None,
    max_connections: MaxConnections = 64,
    timeout: Timeout = 120.0,
    batch_size: BatchSize = None,
    on: On = None,
    workers: Workers = None,
    gpus_per_worker: GpusPerWorker = None,
    blocked: BlockedAs = None,
    quiet: Quiet = False,
    sandbox: SandboxFlags = SandboxFlags(),
) -> None:
    """Score all answers of a run again, as after an update of evenhand, or have judges score them.

    The model is not asked again. A judge scores only what it has not scored yet; its verdicts
    are on disk and are never paid for twice.

    Examples:

        evenhand score runs/first
        evenhand score runs/first --judge rubric:openai/gpt-4o-mini --judge-price 0.15/0.60
        evenhand score runs/first --judge classifier:LibrAI/longformer-action-ro
        evenhand score runs/first --judge refusal --judge-swap
    """
    judging = replace(
        judging,
        max_connections=max_connections,
        timeout=timeout,
        batch_size=batch_size,
        on=on,
        workers=workers,
        gpus_per_worker=gpus_per_worker,
    )
    if max_cost is not None and judging.price is None:
        raise UsageError(
            "--max-cost needs the price of the judge's tokens: --judge-price 0.15/0.60"
        )
    if judge_swap and not judges:
        raise UsageError("--judge-swap needs a judge: --judge refusal")
    check_effect(judging, judges)
    store = Store.open(run)
    try:
        store.record()  # without one there is nothing to score
        if blocked is not None:
            store.update_record(blocked=blocked)
        if not judges:
            with sandbox.using():
                print(f"{counted(score_run(store, again=True), 'answer')} scored")
            return
        sample = judge_swap_sample if judge_swap else None
        at_work = [make_judge(name, judging) for name in judges]
        with sandbox.using():
            code = _judge(store, at_work, _Terms(judging.price, max_cost, again, sample, quiet))
    finally:
        store.close()
    if code:
        sys.exit(code)


@dataclass(frozen=True, slots=True)
class _Terms:
    """How the judges work; `sample` is the size of the check by exchanged identities, if any."""

    price: Price | None
    max_cost: float | None
    again: bool
    sample: int | None
    quiet: bool

    def less(self, cost: float) -> _Terms:
        """The same with a part of the limit spent."""
        if self.max_cost is None:
            return self
        return replace(self, max_cost=max(0.0, self.max_cost - cost))


def _judge(store: Store, judges: Sequence[Judge], terms: _Terms) -> int:
    """Have each judge score the run; the exit code."""
    code = 0
    for judge in judges:
        with ProgressBar(
            0, None, Console(stderr=True), judge_price=terms.price, quiet=terms.quiet
        ) as bar:
            try:
                done = run_to_interrupt(_work(store, judge, terms, bar))
            except KeyboardInterrupt:
                bar.close()
                say_last(
                    "Interrupted; the verdicts so far are safe. Run the same command, without "
                    "--again, to resume."
                )
                return 130
        _print_outcome(store, judge.name, done, terms.price)
        terms = terms.less(sum(progress.cost for progress in done))
        for progress in done:
            if progress.done < progress.cells:
                reason = progress.stopped or "some answers have no verdict yet"
                print(f"Not finished: {reason}. Run the same command to resume.", file=sys.stderr)
                code = 3
    return code


async def _work(store: Store, judge: Judge, terms: _Terms, bar: ProgressBar) -> list[Progress]:
    """One judge's verdicts, and the check if it is wanted."""
    try:
        judged = await judge_run(
            store,
            judge,
            again=terms.again,
            price=terms.price,
            max_cost=terms.max_cost,
            on_progress=lambda progress: bar.show_judging(judge.name, progress),
        )
        if terms.sample is None:
            return [judged]
        checked = await recheck_run(
            store,
            judge,
            sample=terms.sample,
            price=terms.price,
            max_cost=terms.less(judged.cost).max_cost,
            on_progress=lambda progress: bar.show_judging(f"{judge.name} again", progress),
        )
        return [judged, checked]
    finally:
        await judge.close()


def _print_outcome(store: Store, judge: str, done: Sequence[Progress], price: Price | None) -> None:
    progress = done[0]
    parts = [f"{progress.done:,} of {progress.cells:,} answers have a verdict"]
    parts.append(f"{progress.sent:,} of them new")
    for reason, count in unscored_reasons(store, judge).items():
        parts.append(f"{count:,} unscored ({one_line(reason)})")
    if failures := sum(each.failures for each in done):
        parts.append(f"{failures:,} failed attempts")
    if price:
        parts.append(f"about {dollars(sum(each.cost for each in done))}")
    print(f"{judge}: {', '.join(parts)}")
    if progress.done == progress.cells:
        print(f"See them: evenhand report {store.folder} --judge {judge}", file=sys.stderr)
    if len(done) > 1:
        check = next(each for each in judge_swaps(store, 0.95) if each.judge == judge)
        print(swap_sentence(check))
