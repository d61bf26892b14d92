"""From an audit to a better model and the evidence: split, search, train, audit again, compare.

    OUT/audit.json        which audit it is of
    OUT/search/           answers of the search for a defense, on the tuning part
    OUT/METHOD-RECIPE/    the tuned model or adapter, with its card; -seed1, -seed2 for more seeds
    OUT/test/             the model on the test part, without and with the defense
    OUT/test-METHOD-RECIPE/   the tuned model on the test part
    OUT/steer/            the steering; its controls in steer-random/ and steer-outcome/
    OUT/summary.json      the result; for readers OUT/report.html

Each step resumes where an earlier call was cut off: answers and checkpoints are on disk as they
come, and what is there is not asked or trained again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import orjson

from evenhand.benchmarks import load
from evenhand.engines.engine import Engine
from evenhand.errors import NotFinished, RunFolderError, UsageError
from evenhand.files import read_json, write_file
from evenhand.mitigate.examples import TrainingExample, load_pairs, world_pairs
from evenhand.mitigate.job import TrainingFiles, TrainingJob, prepare
from evenhand.mitigate.options import (
    CONTROL_ID,
    HELD_OUT_CUES,
    MitigationOptions,
    PlannedTraining,
    TrainingSettings,
)
from evenhand.mitigate.queries import QueryLoop, copy_answers, cues_of, plan_again, study_of
from evenhand.mitigate.recipes import (
    ConsistencyTarget,
    half_defended,
    judged_answers,
    make_pairs,
    needs_data,
    shared_answers,
)
from evenhand.mitigate.results import (
    Mitigation,
    TestedCondition,
    TrainingResult,
    evaluate,
    with_seed,
)
from evenhand.mitigate.search import SearchResult, in_other_places, search
from evenhand.mitigate.split import Split, TuningPart, fingerprint, plan_for_test, split_run
from evenhand.mitigate.steer import SteeringFolders, SteeringSearch
from evenhand.organism import SHIPPED
from evenhand.run.options import RunOptions
from evenhand.run.recorder import Progress
from evenhand.run.scoring import score_run
from evenhand.store.store import Store
from evenhand.store.tallies import condition_tallies
from evenhand.study.cue import NO_DEFENSE, Cue, Defense, select_defenses
from evenhand.study.plan import Plan, cells_of

_TEST = "test"
"""Folder of the test of the model as it was audited."""

OnStep = Callable[[str, Progress | None], None]
"""(what is being done, how far; None where it has just begun)"""


async def mitigate_run(
    run: Path,
    out: Path,
    options: MitigationOptions,
    run_options: RunOptions,
    *,
    engine: Engine | None = None,
    on_step: OnStep = lambda *_: None,
) -> Mitigation:
    """Reduce the bias of an audited model, and measure the effect on the test part.

    Args:
        run: folder of the audit.
        out: folder of the mitigation; resumed if it is there.
        options: what to do.
        run_options: how to ask.
        engine: answers for the audited model, instead of the engine of its name.

    Raises:
        UsageError: an option does not fit, or the run is too small.
        NotFinished: the cost limit is reached; the same call resumes.
        EvenhandError: see `evenhand.errors`.
    """

    def say(line: str) -> None:
        on_step(line, None)

    with ExitStack() as stack:
        audit = _open(Store.open(run), stack)
        score_run(audit)
        model = study_of(audit).model
        options.check(model)
        candidates = options.candidates()
        _check_identities(audit)
        split = split_run(audit, seed=options.seed, unit=options.unit)
        _claim(out, model, split)
        _check_control(out / _TEST, options.control)
        unfinished = _unfinished(audit)
        for line in unfinished:
            say(line)
        cues = _cues(audit, split, options)
        loop = QueryLoop(run_options, on_step, engine)
        try:
            searched = await _search(audit, split, candidates, options, out, loop, stack)
            chosen = _chosen(candidates, searched)
            part = TuningPart(audit, split)
            # What cannot be trained or steered is told before the test part is asked.
            trainings = [
                prepared(each, part, model, out, options, say) for each in options.trainings(chosen)
            ]
            steerer = steering = None
            if "steer" in options.methods:
                await loop.forget(model)  # the search for a steering needs the memory
                steerer = SteeringSearch(
                    audit,
                    split,
                    options.tuning.weights or model,
                    out,
                    loop,
                    options.budget,
                    stack,
                    say,
                )
                steering = await steerer.find()
            test = _HeldOutTest(audit, split, cues, options, out, loop, stack)
            conditions = await test.untuned(chosen)
            await loop.forget(model)
            trained = []
            for each in trainings:
                trained.append(each.train(say))
                conditions += await test.tuned(trained[-1], each.planned)
            if steerer and steering:
                for seed in options.seeds:
                    folders = await steerer.made(steering, seed)
                    conditions += await test.steered(folders, seed)
        finally:
            await loop.close()
        say("comparing")
        tested = evaluate(
            audit,
            split,
            cues,
            conditions,
            searched,
            options.margin,
            run_options.price,
            options.units,
        )
        return Mitigation(
            run=str(run),
            model=model,
            out=str(out),
            margin=options.margin,
            search=searched,
            defense=chosen.id if chosen else "",
            trainings=trained,
            steering=steering,
            conditions=tested.conditions,
            answers=loop.answers,
            cost=loop.cost if loop.has_price else None,
            parts=tested.parts,
            relevance=tested.relevance,
            groups=tested.groups,
            notes=[*unfinished, *tested.notes],
            requests=tested.requests,
        )


def _open(store: Store, stack: ExitStack) -> Store:
    stack.callback(store.close)
    return store


def _check_identities(audit: Store) -> None:
    identities = {c.identity.id for c in audit.conditions() if c.identity.kind == "identity"}
    if len(identities) < 2:
        raise UsageError(f"{audit.folder}: bias, and so mitigation, needs at least two identities")


def _cues(audit: Store, split: Split, options: MitigationOptions) -> list[Cue]:
    """The cues that are tuned on, then those of the run that are not, then further ones."""
    own = dict.fromkeys(condition.cue for condition in audit.conditions())
    more = HELD_OUT_CUES if options.cues is None else options.cues
    return cues_of(study_of(audit), dict.fromkeys([*split.cues, *own, *more]))


def _claim(out: Path, model: str, split: Split) -> None:
    """Make a folder that of a mitigation of this audit.

    Raises:
        UsageError: it is that of another one, whose figures this one would replace.
    """
    path = out / "audit.json"
    mine = {"model": model, "split": fingerprint(split.model_dump_json())}
    found = read_json(path, RunFolderError) if path.exists() else mine
    if found != mine:
        of = found.get("model") if isinstance(found, dict) else None
        raise UsageError(
            f"{out} holds the mitigation of another audit{f' of {of}' if of else ''}; name another "
            "folder with --out"
        )
    if not path.exists():
        write_file(path, orjson.dumps(mine, option=orjson.OPT_INDENT_2))


def _check_control(test: Path, sentence: str) -> None:
    """Refuse a control sentence where another one was asked.

    Raises:
        UsageError: it was.
    """
    if not sentence or not test.exists():
        return
    with ExitStack() as stack:
        for condition in _open(Store.create(test), stack).conditions(inactive=True):
            texts = [f"{turn['content']}\n\n" for turn in condition.example]
            if condition.defense == CONTROL_ID and not any(f"{sentence}\n\n" in t for t in texts):
                raise UsageError(
                    f"{test.parent} holds the test of another --control sentence; name another "
                    "folder with --out"
                )


def _unfinished(audit: Store) -> list[str]:
    """A line that says so where answers of the audit are missing."""
    record = audit.record()
    if record.imported or record.interim:  # which have as many as they were to have
        return []
    people = [c.identity.id for c in audit.conditions()]
    cells = cells_of(people, audit.items().values(), record.study.samples)
    done = sum(tally.responses for tally in condition_tallies(audit).values())
    if done >= cells:
        return []
    return [f"the audit has {done:,} of {cells:,} answers; finish it first to tune on all of them"]


async def _search(
    audit: Store,
    split: Split,
    candidates: Sequence[Defense],
    options: MitigationOptions,
    out: Path,
    loop: QueryLoop,
    stack: ExitStack,
) -> SearchResult | None:
    if len(candidates) < 2:
        return None
    store = _open(Store.create(out / "search"), stack)
    places = not options.defenses  # a named defense stays in the place that its name gives
    return await search(audit, split, store, candidates, loop, places=places, budget=options.budget)


def _chosen(candidates: Sequence[Defense], searched: SearchResult | None) -> Defense | None:
    if searched is None:
        return candidates[0] if candidates else None
    tried = [d for candidate in candidates for d in (candidate, *in_other_places(candidate))]
    return next(defense for defense in tried if defense.id == searched.chosen)


@dataclass(frozen=True)
class PreparedTraining:
    """A training whose data are on disk.

    Attributes:
        planned: what it is.
        job: what stands in its folder.
        folder: of the tuned model.
        devices: GPUs to train on.
    """

    planned: PlannedTraining
    job: TrainingJob
    folder: Path
    devices: int

    def train(self, on_line: Callable[[str], None]) -> TrainingResult:
        """Train a model, or finish a training that was cut off.

        Args:
            on_line: called with the state of the training, one line.

        Raises:
            TrainingError: the training was stopped; the same call resumes it.
            NotFinished: the training must be run on several devices.
        """
        from evenhand.mitigate.train import launch_command, train

        planned, files = self.planned, TrainingFiles(self.folder)
        title = with_seed(planned.name, planned.seed)
        if self.devices > 1 and not files.finished():
            command = launch_command(self.folder, self.devices)
            raise NotFinished(f"{title}: now run the training: {command}")
        trained = train(self.folder, lambda progress: on_line(f"{title}: {progress.line()}"))
        return TrainingResult(
            name=planned.name,
            seed=planned.seed,
            recipe=planned.recipe,
            model=f"hf/{self.folder}",
            pairs=self.job.pairs,
            left_out=self.job.left_out,
            steps=self.job.training.steps,
            seconds=float(orjson.loads(files.curves.read_bytes())["seconds"]),
            resumed_from=trained.resumed_from,
            example=self.job.example,
        )


def prepared(
    planned: PlannedTraining,
    part: TuningPart,
    model: str,
    out: Path,
    options: MitigationOptions,
    on_line: Callable[[str], None],
) -> PreparedTraining:
    """Write down what a training learns from.

    Args:
        part: the tuning part of the audit.
        out: folder of the mitigation; the model goes to a folder in it.
        on_line: called with what is being done.

    Raises:
        PairsError: nothing is found to train on, or the data are invalid.
        TrainingError: the folder holds another training, or the model is not there.
    """
    tuning = options.tuning
    settings = tuning.settings_for(planned, model)
    folder = out / planned.folder
    on_line(f"data for {with_seed(planned.name, planned.seed)}")
    examples, left_out = _examples(planned, part, options, settings)
    if planned.defense:
        examples = half_defended(examples, planned.defense, planned.seed)
    job = prepare(
        tuning.weights or model,
        examples,
        folder,
        settings,
        loss=planned.loss,
        recipe=planned.recipe,
        defense=planned.defense.text if planned.defense else "",
        left_out=left_out,
    )
    return PreparedTraining(planned, job, folder, tuning.devices)


def _examples(
    planned: PlannedTraining,
    part: TuningPart,
    options: MitigationOptions,
    settings: TrainingSettings,
) -> tuple[Sequence[TrainingExample], Mapping[str, int]]:
    """What the training learns from, and why answers were not used -> how many."""
    tuning = options.tuning
    seed, most, clean = planned.seed, settings.pairs_needed * tuning.devices, tuning.clean_pairs
    if planned.loss == "kto":
        return judged_answers(part, seed=seed, most=most, clean=clean)
    if planned.loss == "consistency":
        target = cast(ConsistencyTarget, planned.recipe)
        return shared_answers(part, most, target=target, seed=seed, clean=clean)
    data = []
    if needs_data(planned.recipe):
        data = load_pairs(tuning.data).pairs if tuning.data else world_pairs()
    made = make_pairs(planned.recipe, part, data, seed=seed, most=most, clean=clean)
    return made.pairs, made.left_out


@dataclass(frozen=True)
class _HeldOutTest:
    """Asks the test part of an audit again: as it was, with a defense, tuned, or both.

    Attributes:
        cues: tuned on or not; all are asked.
        out: folder of the mitigation.
        stack: closes the stores.
    """

    audit: Store
    split: Split
    cues: Sequence[Cue]
    options: MitigationOptions
    out: Path
    loop: QueryLoop
    stack: ExitStack

    async def untuned(self, chosen: Defense | None) -> list[TestedCondition]:
        """The audited model without and with a defense; answers of the audit are reused."""
        methods = self.options.methods
        named = {"none": NO_DEFENSE}
        if chosen and "prompt" in methods:
            named[f"prompt {chosen.id}"] = chosen
        if "withhold" in methods:
            named["withhold"] = select_defenses(["withhold"])[0]
        if self.options.control:
            named["control"] = Defense(id=CONTROL_ID, text=self.options.control)
        return await self._ask(_TEST, "test, as it was", named, None)

    async def tuned(
        self, training: TrainingResult, planned: PlannedTraining
    ) -> list[TestedCondition]:
        """A tuned model; with the defense where it was tuned with it."""
        tested = await self._ask(
            f"test-{planned.folder}",
            f"test, {with_seed(planned.name, planned.seed)}",
            {training.name: planned.defense or NO_DEFENSE},
            training.model,
        )
        await self.loop.forget(training.model)
        return [replace(condition, seed=planned.seed) for condition in tested]

    async def steered(self, folders: SteeringFolders, seed: int) -> list[TestedCondition]:
        """A steered model, and its controls."""
        found = []
        for name, folder in folders.named().items():
            model = f"hf/{folder}"
            title = f"test, {with_seed(name, seed)}"
            found += await self._ask(f"test-{folder.name}", title, {name: NO_DEFENSE}, model)
            await self.loop.forget(model)
        return [replace(condition, seed=seed) for condition in found]

    async def _ask(
        self, folder: str, title: str, named: dict[str, Defense], model: str | None
    ) -> list[TestedCondition]:
        store = _open(Store.create(self.out / folder), self.stack)
        plan = self._plan(list(named.values()))
        if model:
            plan = replace(plan, study=plan.study.model_copy(update={"model": model}))
        else:
            copy_answers(self.audit, store, plan)
        self.split.check_test(plan.items)
        await self.loop.ask(title, plan, store)
        return [TestedCondition(name, store, defense) for name, defense in named.items()]

    def _plan(self, defenses: Sequence[Defense]) -> Plan:
        plan = plan_for_test(plan_again(self.audit, self.cues, defenses), self.split)
        asks_relevance = self.options.relevance
        if asks_relevance is None:
            asks_relevance = study_of(self.audit).model not in SHIPPED
        present = {item.benchmark for item in self.audit.items().values()}
        more = load("relevance") if asks_relevance and "relevance" not in present else []
        return replace(plan, items=(*plan.items, *more))
