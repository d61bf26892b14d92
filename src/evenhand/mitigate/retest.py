"""The test part asked again, under every condition: as it was, with a defense, tuned, or both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from evenhand.benchmarks import load
from evenhand.mitigate.asking import Asking
from evenhand.mitigate.rerun import borrow, plan_again, study_of
from evenhand.mitigate.results import TrainingResult
from evenhand.mitigate.split import Split, plan_for_test
from evenhand.mitigate.wanted import Wanted
from evenhand.store.store import Store
from evenhand.study.cue import NO_DEFENSE, Cue, Defense, select_defenses
from evenhand.study.plan import Plan


@dataclass(frozen=True)
class Condition:
    """One side of the result: a run on the test part under a defense, by a name."""

    name: str
    store: Store
    defense: Defense


@dataclass(frozen=True)
class Retest:
    """Asks the test part of an audit again.

    Attributes:
        cues: tuned on or not; all are asked.
        out: folder of the mitigation.
        stack: closes the stores.
    """

    audit: Store
    split: Split
    cues: Sequence[Cue]
    out: Path
    asking: Asking
    stack: ExitStack

    async def base(self, wanted: Wanted, chosen: Defense | None) -> list[Condition]:
        """The model as it was, then with a defense; what the audit knows is not asked again."""
        named = {"none": NO_DEFENSE}
        if chosen and "prompt" in wanted.methods:
            named[f"prompt {chosen.id}"] = chosen
        if "withhold" in wanted.methods:
            named["withhold"] = select_defenses(["withhold"])[0]
        if wanted.control:
            named["control"] = Defense(id="control", text=wanted.control)
        store = self._open("test")
        plan = self._plan(wanted, list(named.values()))
        borrow(self.audit, store, plan)
        return await self._ask("test, as it was", plan, store, named)

    async def tuned(
        self, wanted: Wanted, training: TrainingResult, chosen: Defense | None
    ) -> list[Condition]:
        """A tuned model, and the same with the defense where one is given."""
        named = {training.name: NO_DEFENSE} if "dpo" in wanted.methods else {}
        if chosen and "hybrid" in wanted.methods:
            named[f"hybrid {training.recipe}, {chosen.id}"] = chosen
        plan = self._plan(wanted, list(named.values()))
        study = plan.study.model_copy(update={"model": training.model})
        store = self._open(f"test-{training.recipe}")
        plan = replace(plan, study=study)
        found = await self._ask(f"test, {training.name}", plan, store, named)
        await self.asking.forget(training.model)
        return found

    async def _ask(
        self, title: str, plan: Plan, store: Store, named: Mapping[str, Defense]
    ) -> list[Condition]:
        self.split.check_test(plan.items)
        await self.asking.ask(title, plan, store)
        return [Condition(name, store, defense) for name, defense in named.items()]

    def _plan(self, wanted: Wanted, defenses: Sequence[Defense]) -> Plan:
        plan = plan_for_test(plan_again(self.audit, self.cues, defenses), self.split)
        tested = wanted.relevance
        if tested is None:
            tested = study_of(self.audit).model != "organism"
        there = {item.benchmark for item in self.audit.items().values()}
        more = load("relevance") if tested and "relevance" not in there else []
        return replace(plan, items=(*plan.items, *more))

    def _open(self, name: str) -> Store:
        store = Store.create(self.out / name)
        self.stack.callback(store.close)
        return store
