"""evenhand from Python: one call from a study to its audit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from evenhand.errors import NotFinished, UsageError
from evenhand.text import counted

if TYPE_CHECKING:
    from evenhand.analysis.compare import ArmComparison
    from evenhand.analysis.grid import UnitChoice
    from evenhand.analysis.results import Audit
    from evenhand.engines.access import Access
    from evenhand.engines.engine import Engine
    from evenhand.judges import Judge
    from evenhand.judges.run import JudgePanel
    from evenhand.run.options import RunOptions
    from evenhand.run.recorder import Progress
    from evenhand.stats import Spread
    from evenhand.store.record import Blocked, InterimAnalysis
    from evenhand.store.store import Store
    from evenhand.study.plan import Plan
    from evenhand.study.study import Study


def audit(
    model: str | Study,
    *,
    out: str | Path,
    options: RunOptions | None = None,
    engine: Engine | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    **study: Any,
) -> Audit:
    """Audit a model: ask, store, score and estimate. Resumes where an earlier call was cut off.

        evenhand.audit("organism", identities=["religion"], limit=50, out="runs/first").pb

    Args:
        model: "openai/NAME", "anthropic/NAME", "hf/ID-or-path", "organism", ...; or a `Study`.
        out: run folder; made if it is not there, resumed if it is.
        options: how to ask.
        engine: what answers, instead of the engine that the model's name stands for.
        on_progress: called with a `Progress` after every write to the disk.
        study: further fields of `Study`: benchmarks, identities, cues, samples, limit, ...

    Raises:
        EvenhandError: see `evenhand.errors`.
    """
    # Imported here so that `import evenhand` is fast.
    from evenhand.run.options import RunOptions
    from evenhand.study.entry import validate
    from evenhand.study.study import Study

    options = options or RunOptions()
    if isinstance(model, Study) and study:
        raise UsageError(f"a whole Study was given; {', '.join(study)} cannot be changed beside it")
    if not isinstance(model, Study):
        model = validate(Study, {"model": model, **study}, "study")
    plan = plan_for(model, offline=options.offline)
    auditing = audit_plan(plan, Path(out), options, engine, on_progress)
    return _run(auditing)


def compare(
    *arms: str | Path,
    margin: float = 2.0,
    identities: Sequence[str] | None = None,
    judge: str | None = None,
    blocked: Blocked | None = None,
    stages: bool = False,
    units: UnitChoice = "auto",
) -> ArmComparison:
    """Compare runs, or one run under several defenses, item by item; the first with the others.

        evenhand.compare("runs/base", "runs/base@ignore").changes[0].bias

    Args:
        arms: "RUN", "RUN@DEFENSE" or "RUN@CUE/DEFENSE"; a run alone stands for the first cue and
            defense of its study.
        margin: largest difference that does not matter, in points, > 0.
        identities: ids to compare; None for all that the arms share.
        judge: whose scores to compare; None for the first judge of each study.
        blocked: what blocked answers count as; None as `score --blocked` has set.
        stages: compare each arm with the one before it, and the last with the first.
        units: what intervals infer to: "items" for items like these everywhere; "auto" for topics
            or names like these where there are several.

    Raises:
        EvenhandError: see `evenhand.errors`.
    """
    from contextlib import ExitStack

    from evenhand.analysis.compare import Arm, compare_arms
    from evenhand.run.scoring import scored_run

    stores: dict[Path, Store] = {}
    found = []
    with ExitStack() as stack:
        for text in arms:
            folder, cue, defense = parse_arm(str(text))
            if folder not in stores:
                store = stores[folder] = stack.enter_context(scored_run(folder))
                if blocked is not None:
                    store.blocked = blocked
            found.append(Arm(stores[folder], cue, defense, judge=judge))
        return compare_arms(found, margin=margin, identities=identities, stages=stages, units=units)


def parse_arm(text: str) -> tuple[Path, str | None, str | None]:
    """Folder, cue and defense of RUN, RUN@DEFENSE or RUN@CUE/DEFENSE; None where not named."""
    if "@" not in text or Path(text).exists():
        return Path(text), None, None
    folder, _, setting = text.rpartition("@")
    if "/" in setting and not Path(folder).exists():
        return Path(text), None, None  # an @ in a folder's name
    cue, _, defense = setting.rpartition("/")
    return Path(folder), cue or None, defense or None


def plan_for(study: Study, *, offline: bool = False) -> Plan:
    """The plan of a study; without benchmarks of its own, with those that suit its model.

    Raises:
        UsageError, DataError: as `make_plan` and `Decoding.check`; or there is no engine for the
            model, or for one that a defense names.
    """
    from evenhand.benchmarks.item import BY_LOGPROB
    from evenhand.engines import engine_type
    from evenhand.run.withholding import check_deciders
    from evenhand.study.plan import make_plan

    kind = engine_type(study.model)
    study.decoding.check()
    plan = make_plan(study, offline=offline, default_suite=kind.default_suite)
    check_deciders({c.defense.id: c.defense for c in plan.conditions}.values())
    if not getattr(kind, "gives_logprobs", False) and any(
        i.scorer == BY_LOGPROB for i in plan.items
    ):
        raise UsageError(
            f"{study.model} gives no log-probabilities of its answers; ask without --choice logprob"
        )
    return plan


def _run(auditing: Coroutine[Any, Any, Audit]) -> Audit:
    """Run to the end, also from inside a running loop such as a notebook's."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor
    from contextvars import copy_context

    from evenhand.run.event_loop import run_async

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return run_async(auditing)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(copy_context().run, run_async, auditing).result()


def _check_prices(plan: Plan, options: RunOptions, engine: Engine | None) -> None:
    """A cost limit that does not know every price would limit nothing."""
    from evenhand.engines import engine_type
    from evenhand.judges import is_paid

    paid_model = engine is None and engine_type(plan.study.model).is_paid
    if paid_model and options.price is None:
        raise UsageError(
            "a cost limit needs the price of the model, too: --price 0/0 if it is free"
        )
    paid = [name for name in plan.study.judges if is_paid(name)]
    if paid and options.judging.price is None:
        raise UsageError(
            f"a cost limit needs the price of {paid[0]}, too: --judge-price 0/0 if it is free"
        )


async def audit_plan(
    plan: Plan,
    out: Path,
    options: RunOptions,
    engine: Engine | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    *,
    judges: Sequence[Judge] | None = None,
    on_judging: Callable[[str, Progress], None] = lambda _name, _progress: None,
) -> Audit:
    """The same for a plan, from asynchronous code.

    Args:
        judges: who scores, instead of the judges that the study names.
        on_judging: called with a judge's name and a `Progress` after every write of verdicts.
    """
    from evenhand.analysis import analyze
    from evenhand.engines import make_engine
    from evenhand.judges import check_effect
    from evenhand.judges.run import JudgePanel
    from evenhand.run.loop import run
    from evenhand.run.probe import can_probe, probe
    from evenhand.sandbox import require
    from evenhand.store.store import Store

    options = options.with_known_prices(plan.study.model, plan.study.judges)
    if options.max_cost is not None:
        options.check_limit()
        _check_prices(plan, options, engine)
    if engine is None:
        check_effect(options, plan.study.judges, plan.study.model)
    # First the sandbox and the judges: what is missing there must show before anything is paid.
    require(plan.items)
    panel = JudgePanel.of(plan.study, options.judging, judges, options.max_cost, on_judging)
    if options.batch:
        return await _audit_in_batches(plan, out, options, panel, on_progress)
    engine = engine or make_engine(plan.study.model, plan.study.decoding, options.for_engine)
    store = Store.create(out)
    try:
        await panel.start(store, plan.cells)
        ask = partial(run, price=options.price, max_cost=options.max_cost, on_progress=on_progress)
        if options.precision is not None:
            return await _run_sequentially(plan, engine, store, ask, panel, options.precision)
        progress = await ask(plan, engine, store)
        if plan.study.check_cues and can_probe(engine):
            await probe(plan, engine, store)
        await panel.score(store, progress.cost)
        return analyze(store)
    finally:
        await panel.close()
        await engine.close()
        store.close()


async def _audit_in_batches(
    plan: Plan,
    out: Path,
    options: RunOptions,
    panel: JudgePanel,
    on_progress: Callable[[Progress], None],
) -> Audit:
    """Collect what has come and send what is open; analyze when nothing is under way any more.

    Raises:
        NotFinished: requests are under way.
    """
    from evenhand.analysis import analyze
    from evenhand.engines.batches import batch_service
    from evenhand.run.batch import run_in_batches
    from evenhand.store.store import Store

    service = batch_service(access_to(plan.study, options), options.timeout)
    store = Store.create(out)
    try:
        found = await run_in_batches(
            plan,
            service,
            store,
            price=options.asking_price,
            max_cost=options.max_cost,
            on_progress=on_progress,
        )
        if found.under_way:
            notes = "".join(f"; {note}" for note in found.notes)
            raise NotFinished(
                f"{found.progress.done:,} of {found.progress.cells:,} answers are here, and "
                f"{counted(found.requests, 'request is', 'requests are')} under way in "
                f"{counted(len(found.under_way), 'batch', 'batches')} "
                f"({'; '.join(found.under_way[:4])}){notes}"
            )
        await panel.start(store, plan.cells)
        await panel.score(store, found.progress.cost)
        return analyze(store)
    finally:
        await panel.close()
        await service.close()
        store.close()


def access_to(study: Study, options: RunOptions, *, needs_key: bool = True) -> Access:
    """The way to the service of a study's model, for batches.

    Raises:
        UsageError: the model is not one of a service; or as `Access`.
    """
    from evenhand.engines.access import Access
    from evenhand.engines.services import services

    if study.model.partition("/")[0] not in services():
        raise UsageError(
            f"{study.model} is not asked over HTTP, so that there are no batches; name the model "
            "by its service: openai/MODEL, anthropic/MODEL, vllm-server/MODEL, ..."
        )
    return Access(
        study.model,
        study.decoding,
        base_urls=options.base_urls,
        headers=options.headers,
        query=options.query,
        needs_key=needs_key,
    )


# Sequential stopping. The items stand in a random order that the seed fixes, so that the first of
# them are a random sample of all. The interim analyses and their confidence level are fixed before
# the first answer, so that the interval holds at 95% whichever analysis is the last.


class _Ask(Protocol):
    """`evenhand.run.loop.run` with a price and a limit to it."""

    def __call__(
        self,
        plan: Plan,
        engine: Engine,
        store: Store,
        *,
        interim: InterimAnalysis,
        earlier: Progress | None,
    ) -> Awaitable[Progress]: ...


async def _run_sequentially(
    plan: Plan, engine: Engine, store: Store, ask: _Ask, panel: JudgePanel, precision: float
) -> Audit:
    """Run the plan from one interim analysis to the next, until PB is known well enough.

    Args:
        ask: runs a part of the plan.
        panel: scores what has been answered.
        precision: half the width that the interval of PB may have, in points, > 0.

    Raises:
        UsageError: the plan has fewer than two identities, so that it has no PB.
        EvenhandError: as `run`.
    """
    from evenhand.analysis import analyze
    from evenhand.stats import plan_looks
    from evenhand.store.record import InterimAnalysis
    from evenhand.study.plan import first_of_each

    if len({c.identity for c in plan.conditions if c.identity.kind == "identity"}) < 2:
        raise UsageError("--precision is about the spread of identities: choose at least two")
    planned = plan_looks()
    progress = None
    for number, share in enumerate(planned.shares, 1):
        items = first_of_each(plan.items, share)
        interim = InterimAnalysis(
            analysis=number,
            of=len(planned.shares),
            items=len(items),
            all_items=len(plan.items),
            precision=precision,
            level=planned.look_level,
        )
        part = replace(plan, items=items)
        progress = await ask(part, engine, store, interim=interim, earlier=progress)
        await panel.score(store, progress.cost)
        audit = analyze(store)
        stopped = progress.stopped or panel.stopped or audit.done < audit.cells
        if stopped or _is_precise(audit.pb, precision):
            break
    return audit


def _is_precise(pb: Spread | None, precision: float) -> bool:
    return pb is not None and pb.interval[1] - pb.interval[0] <= 2 * precision
