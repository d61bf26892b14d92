"""From an audit to a better model and the evidence: split, search, train, audit again, compare.

    OUT/search/           answers of the search for a defence, on the tuning part
    OUT/dpo-RECIPE/       the tuned model or adapter, with its card
    OUT/test/             the model on the test part, without and with the defence
    OUT/test-RECIPE/      the tuned model on the test part, without and with the defence
    OUT/summary.json      what came of it

Each step goes on where an earlier call was cut off: answers and checkpoints are on disk as they
come, and what is there is not asked or trained again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from evenhand.analysis import MARGIN
from evenhand.analysis.compare import Side, compare_sides
from evenhand.analysis.relevance import Relevance, relevance_of
from evenhand.api import RunOptions
from evenhand.benchmarks import load
from evenhand.benchmarks.item import Item
from evenhand.cue import (
    NO_DEFENCE,
    Cue,
    Defence,
    Place,
    read_defences,
    select_defences,
    shipped_defences,
)
from evenhand.engines.engine import Engine
from evenhand.errors import UnknownName, UsageError
from evenhand.mitigate.asking import Asking
from evenhand.mitigate.rerun import borrow, cues_of, plan_again, study_of
from evenhand.mitigate.results import Group, Mitigation, Parts, People, TrainingResult
from evenhand.mitigate.search import BUDGET, Search, search
from evenhand.mitigate.split import Split, TuningPart, Unit, plan_for_test, split_run
from evenhand.mitigate.tuning import Tuning, tune
from evenhand.plan import Plan
from evenhand.run import Progress
from evenhand.score import score_run
from evenhand.store import Store

Method = Literal["prompt", "withhold", "dpo", "hybrid"]
METHODS: tuple[Method, ...] = get_args(Method)

UNSEEN_CUES = ("system-2", "memory-1")
"""Asked in the test beside the cues of the run, unless they were tuned on: another wording of the
paper's cue, and another form."""

OnStep = Callable[[str, Progress | None], None]
"""(what is being done, and how far; None where it has just begun)"""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to do.

    Attributes:
        methods: names of `METHODS`.
        defences: ids or sentences to choose from; empty for every shipped or own sentence in
            each place. With a single one nothing is searched.
        defences_file: of one's own.
        budget: answers that the search may need.
        seed, unit: of the split; None for that of the run, or the defaults.
        cues: to test on beside those tuned on; None for `UNSEEN_CUES`.
        relevance: whether to test wanted personalisation, too; None: yes, but not of the
            organism, which knows nothing of it.
        margin: losses of so many points do not matter, > 0.
        tuning: recipes and settings of the training.
    """

    methods: Sequence[str] = METHODS
    defences: Sequence[str] = ()
    defences_file: Path | None = None
    budget: int = BUDGET
    seed: int | None = None
    unit: Unit | None = None
    cues: Sequence[str] | None = None
    relevance: bool | None = None
    margin: float = MARGIN
    tuning: Tuning = field(default_factory=Tuning)

    def __post_init__(self) -> None:
        if not self.methods:
            raise UsageError("name a method: prompt, withhold, dpo or hybrid")
        for method in self.methods:
            if method not in METHODS:
                raise UnknownName("method", method, METHODS)

    @property
    def needs_defence(self) -> bool:
        """Whether a sentence is to be found."""
        return bool({"prompt", "hybrid"} & set(self.methods))

    @property
    def needs_training(self) -> bool:
        """Whether a model is to be tuned."""
        return bool({"dpo", "hybrid"} & set(self.methods))


@dataclass(frozen=True)
class _Condition:
    """One column of the result: a run under a defence, by a name."""

    name: str
    store: Store
    defence: Defence


async def mitigate_run(
    run: Path,
    out: Path,
    wanted: Wanted,
    options: RunOptions,
    *,
    engine: Engine | None = None,
    on_step: OnStep = lambda *_: None,
) -> Mitigation:
    """Bring the bias of an audited model down, and measure what came of it on the test part.

    Args:
        run: folder of the audit.
        out: folder of the mitigation; resumed if it is there.
        engine: what answers for the audited model, instead of the engine of its name.

    Raises:
        UsageError: something in `wanted` does not fit, or the run is too small.
        NotFinished: the cost limit is reached; the same call goes on.
        EvenhandError: see `evenhand.errors`.
    """
    with ExitStack() as stack:
        audit = _open(Store.open(run), stack)
        score_run(audit)
        candidates = candidate_defences(wanted) if wanted.needs_defence else []
        wanted.tuning.check(study_of(audit).model, wanted.needs_training)
        cues = _cues(audit, wanted)
        split = split_run(audit, seed=wanted.seed, unit=wanted.unit)
        asking = Asking(options, on_step, engine)
        try:
            found = await _search(audit, split, candidates, wanted, out, asking, stack)
            chosen = _chosen(candidates, found)
            trained = _train(audit, split, wanted, out, on_step)
            conditions = await _ask_again(
                audit, split, cues, chosen, trained, wanted, out, asking, stack
            )
        finally:
            await asking.close()
        on_step("comparing", None)
        return Mitigation(
            run=str(run),
            model=study_of(audit).model,
            out=str(out),
            margin=wanted.margin,
            parts=_parts(audit, split, cues),
            search=found,
            defence=chosen.id if chosen else "",
            trainings=trained,
            relevance=_relevance(conditions, cues[0]),
            groups=list(_groups(conditions, split, cues, audit, wanted.margin)),
            answers=asking.answers,
            cost=asking.cost if asking.has_price else None,
            notes=_notes(found, split, audit),
        )


def candidate_defences(wanted: Wanted) -> list[Defence]:
    """The sentences to choose from, each in each of its places.

    Raises:
        UnknownName: there is no such defence.
        UsageError: a named one has no sentence.
    """
    own = read_defences(wanted.defences_file) if wanted.defences_file else []
    if wanted.defences:
        named = select_defences(wanted.defences, own)
        for defence in named:
            if not defence.text:
                raise UsageError(f'"{defence.id}" has no sentence; it is no defence by prompt')
        return named
    sentences = [d for d in own or shipped_defences() if d.text]
    endings = [place for place in get_args(Place) if place != "after"]
    names = [f"{d.id}.{place}" for d in sentences if d.place == "after" for place in endings]
    return [*sentences, *select_defences(names, own)]


def _open(store: Store, stack: ExitStack) -> Store:
    stack.callback(store.close)
    return store


def _cues(audit: Store, wanted: Wanted) -> list[Cue]:
    """The run's own cues in their order, then further ones to test on."""
    study = study_of(audit)
    own = dict.fromkeys(condition.cue for condition in audit.conditions())
    more = UNSEEN_CUES if wanted.cues is None else wanted.cues
    return cues_of(study, dict.fromkeys([*own, *more]))


async def _search(
    audit: Store,
    split: Split,
    candidates: Sequence[Defence],
    wanted: Wanted,
    out: Path,
    asking: Asking,
    stack: ExitStack,
) -> Search | None:
    if len(candidates) < 2:
        return None
    store = _open(Store.create(out / "search"), stack)
    return await search(audit, split, store, candidates, asking, budget=wanted.budget)


def _chosen(candidates: Sequence[Defence], found: Search | None) -> Defence | None:
    if found is None:
        return candidates[0] if candidates else None
    return next(defence for defence in candidates if defence.id == found.chosen)


def _train(
    audit: Store, split: Split, wanted: Wanted, out: Path, on_step: OnStep
) -> list[TrainingResult]:
    if not wanted.needs_training:
        return []
    part, model = TuningPart(audit, split), study_of(audit).model
    return [
        tune(recipe, part, model, out, wanted.tuning, lambda line: on_step(line, None))
        for recipe in wanted.tuning.recipes
    ]


async def _ask_again(
    audit: Store,
    split: Split,
    cues: Sequence[Cue],
    chosen: Defence | None,
    trained: Sequence[TrainingResult],
    wanted: Wanted,
    out: Path,
    asking: Asking,
    stack: ExitStack,
) -> list[_Condition]:
    """Every condition on the test part; the first is the model as it was."""
    tested = wanted.relevance
    if tested is None:
        tested = study_of(audit).model != "organism"
    extra = load("relevance") if tested else []
    methods = set(wanted.methods)
    named: dict[str, Defence] = {"none": NO_DEFENCE}
    if chosen and "prompt" in methods:
        named[f"prompt {chosen.id}"] = chosen
    if "withhold" in methods:
        named["withhold"] = select_defences(["withhold"])[0]
    store = _open(Store.create(out / "test"), stack)
    plan = _test_plan(audit, split, cues, list(named.values()), extra)
    borrow(audit, store, plan)
    await asking.ask("test, as it was", plan, store)
    conditions = [_Condition(name, store, defence) for name, defence in named.items()]
    if trained:
        await asking.forget(plan.study.model)
    for training in trained:
        named = {}
        if "dpo" in methods:
            named[training.name] = NO_DEFENCE
        if chosen and "hybrid" in methods:
            named[f"hybrid {training.recipe}, {chosen.id}"] = chosen
        plan = _test_plan(audit, split, cues, list(named.values()), extra)
        study = plan.study.model_copy(update={"model": training.model})
        store = _open(Store.create(out / f"test-{training.recipe}"), stack)
        await asking.ask(f"test, {training.name}", replace(plan, study=study), store)
        await asking.forget(training.model)
        conditions += [_Condition(name, store, defence) for name, defence in named.items()]
    return conditions


def _test_plan(
    audit: Store,
    split: Split,
    cues: Sequence[Cue],
    defences: Sequence[Defence],
    extra: Sequence[Item],
) -> Plan:
    plan = plan_for_test(plan_again(audit, cues, defences), split)
    there = {item.benchmark for item in plan.items}
    plan = replace(plan, items=(*plan.items, *(i for i in extra if i.benchmark not in there)))
    split.check_test(plan.items)
    return plan


def _groups(
    conditions: Sequence[_Condition],
    split: Split,
    cues: Sequence[Cue],
    audit: Store,
    margin: float,
) -> Iterator[Group]:
    people = [c.identity for c in audit.conditions() if c.identity.kind == "identity"]
    by_part: dict[People, list[str]] = {"all": [who.id for who in people]}
    for part in ("tuning", "test"):
        by_part[part] = [who.id for who in people if split.identity_part(who) == part]
    ordered = sorted(cues, key=lambda cue: split.cue_part(cue.id) == "test")
    for cue in ordered:
        sides = [Side(c.store, cue.id, c.defence.id, c.name) for c in conditions]
        for name, ids in by_part.items():
            if len(set(ids)) >= 2:
                found = compare_sides(sides, margin=margin, identities=set(ids))
                yield Group(name, cue.id, split.cue_part(cue.id), found)


def _relevance(conditions: Sequence[_Condition], cue: Cue) -> dict[str, Relevance]:
    return {
        condition.name: each
        for condition in conditions
        for each in relevance_of(condition.store)
        if (each.cue, each.defence) == (cue.id, condition.defence.id)
    }


def _parts(audit: Store, split: Split, cues: Sequence[Cue]) -> Parts:
    items = [split.item_part(item) for item in audit.items().values()]
    people = {c.identity for c in audit.conditions() if c.identity.kind == "identity"}
    parts = [split.identity_part(who) for who in people]
    names = [cue.id for cue in cues]
    return Parts(
        seed=split.seed,
        unit=split.unit,
        items=(items.count("tuning"), items.count("test")),
        identities=(parts.count("tuning"), parts.count("test")),
        cues=(
            [name for name in names if split.cue_part(name) == "tuning"],
            [name for name in names if split.cue_part(name) == "test"],
        ),
    )


def _notes(found: Search | None, split: Split, audit: Store) -> list[str]:
    notes = []
    if found is not None and not found.better:
        notes.append(
            f"no defence did better than none in the last round of the search; {found.chosen} "
            "came nearest"
        )
    people = {c.identity for c in audit.conditions() if c.identity.kind == "identity"}
    if all(split.identity_part(who) == "tuning" for who in people):
        notes.append("too few identities to hold any out: all of them were tuned on")
    return notes
