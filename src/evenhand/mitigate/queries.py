"""All that a mitigation asks, under one price, one limit and one count; and what it asks again.

What is asked again are the items and identities that the run has stored, word for word, so that
nothing depends on files that may have changed since.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from evenhand.engines import make_engine
from evenhand.engines.engine import Engine
from evenhand.errors import NotFinished
from evenhand.judges.run import JudgePanel
from evenhand.run.loop import record_of_same_study, run
from evenhand.run.options import RunOptions
from evenhand.run.recorder import Progress
from evenhand.sandbox import require
from evenhand.store.record import RunRecord
from evenhand.store.store import Store
from evenhand.store.tallies import condition_tallies
from evenhand.study.cue import (
    Condition,
    Cue,
    Defense,
    read_cues,
    select_cues,
    with_neutral_baseline,
)
from evenhand.study.plan import Plan
from evenhand.study.study import Study
from evenhand.text import dollars


class QueryLoop:
    """Runs plans one after the other; what is done is done, whatever happens next.

    Args:
        options: how to ask; the cost limit is for all plans together.
        on_progress: called after every write, with the title of the step; with None for what is
            announced before anything is asked.
        engine: what answers for the audited model, instead of the engine of its name.

    Attributes:
        progress: of the last plan; answers sent, tokens and cost count all plans.
        judging: dollars that judges have cost so far.
    """

    def __init__(
        self,
        options: RunOptions,
        on_progress: Callable[[str, Progress | None], None],
        engine: Engine | None = None,
    ) -> None:
        self.progress: Progress | None = None
        self.judging = 0.0
        self._options = options
        self._on_progress = on_progress
        self._engines: dict[str, Engine] = {}
        self._given = engine

    @property
    def has_price(self) -> bool:
        """Whether costs are known."""
        return self._options.price is not None

    @property
    def answers(self) -> int:
        """Sent in all."""
        return self.progress.sent if self.progress else 0

    @property
    def cost(self) -> float:
        """Dollars in all, judges included."""
        return (self.progress.cost if self.progress else 0.0) + self.judging

    def announce(self, text: str, answers: int, like: Store) -> None:
        """Tell what comes and what it may cost, if its answers are like those of a run."""
        price, tallies = self._options.price, condition_tallies(like).values()
        message = f"{text}: at most {answers:,} answers"
        if price is not None:
            cost = price.cost(
                sum(tally.prompt_tokens for tally in tallies),
                sum(tally.completion_tokens for tally in tallies),
            )
            each = cost / max(1, sum(tally.responses for tally in tallies))
            message += f", about {dollars(answers * each)}"
        self._on_progress(message, None)

    async def ask(self, title: str, plan: Plan, store: Store) -> None:
        """Ask what the store has no answer for yet, and score it.

        Raises:
            NotFinished: the cost limit is reached, or some cells have no answer.
            EvenhandError: as `evenhand.run.loop.run`.
        """
        require(plan.items)
        options = self._options
        limit = None if options.max_cost is None else max(0.0, options.max_cost - self.judging)
        panel = JudgePanel.of(
            plan.study,
            options.judging,
            None,
            limit,
            lambda judge, progress: self._on_progress(f"{title}, {judge}", progress),
        )
        try:
            await panel.start(store, plan.cells)
            self.progress = await run(
                plan,
                self._engine(plan.study),
                store,
                price=options.price,
                max_cost=limit,
                on_progress=lambda progress: self._on_progress(title, progress),
                earlier=self.progress,
            )
            await panel.score(store, self.progress.cost)
        finally:
            await panel.close()
            self.judging += sum(progress.cost for progress in panel.progress.values())
        self._check_done(title, [self.progress, *panel.progress.values()])

    async def forget(self, model: str) -> None:
        """Let go of a model, and of what it holds."""
        engine = self._engines.pop(model, None)
        if engine is not None:
            await engine.close()

    async def close(self) -> None:
        """Release what the engines hold."""
        for model in list(self._engines):
            await self.forget(model)

    def _check_done(self, title: str, found: list[Progress]) -> None:
        for progress in found:
            left = progress.cells - progress.done
            if progress.stopped or left:
                reason = progress.stopped or f"{left:,} cells have no answer yet"
                raise NotFinished(f"{title}: {reason}")

    def _engine(self, study: Study) -> Engine:
        if self._given is not None and study.model not in self._engines:
            self._engines[study.model], self._given = self._given, None
        if study.model not in self._engines:
            self._engines[study.model] = make_engine(
                study.model, study.decoding, self._options.for_engine
            )
        return self._engines[study.model]


def study_of(store: Store) -> Study:
    """The study of a run.

    Raises:
        RunFolderError: the run has not begun.
    """
    return store.record().study


def cues_of(study: Study, names: Iterable[str]) -> list[Cue]:
    """Cues by name, those of the study's own file included.

    Raises:
        UnknownName: a name fits nothing.
        StudyError: the file is invalid.
    """
    own = read_cues(Path(study.cues_file)) if study.cues_file else []
    cues = select_cues(names, own)
    return [with_neutral_baseline(cue) for cue in cues] if study.baseline == "neutral" else cues


def plan_again(store: Store, cues: Sequence[Cue], defenses: Sequence[Defense]) -> Plan:
    """The run's items and identities under these cues and defenses; placebos are left out."""
    study = study_of(store)
    asked = study.model_copy(
        update={
            "cues": tuple(cue.id for cue in cues),
            "defenses": tuple(defense.id for defense in defenses),
            "placebos": False,
            "check_cues": False,
        }
    )
    people = dict.fromkeys(c.identity for c in store.conditions() if c.identity.kind != "placebo")
    conditions = tuple(
        Condition(person, cue, defense) for cue in cues for defense in defenses for person in people
    )
    items = tuple(item for item in store.items().values() if item.axis != "recognition")
    return Plan(asked, conditions, items)


def copy_answers(source: Store, target: Store, plan: Plan) -> int:
    """Copy the answers that `source` has for cells of the plan, so that they are not paid twice.

    They are found by their keys, which hold model, decoding and every word sent.

    Returns:
        How many cells of the plan were copied.

    Raises:
        RunFolderError: `target` holds answers of another model, or with other decoding parameters.
    """
    record = source.record()
    placed = plan.with_system_role(record.system_role.system_role)
    begun = record_of_same_study(placed, target) or RunRecord(
        study=placed.study, system_role=record.system_role, blocked=record.blocked
    )
    new = begun.model_copy(update={"study": placed.study})
    ids = target.activate(placed.conditions, placed.items, new)
    missing = source.keys() - target.keys()
    requests = {r.key: r for r in placed.requests() if r.key in missing} if missing else {}
    copied = source.responses(requests)
    target.write(copied, *ids)
    return len(copied)
