"""All that a mitigation asks, under one price, one limit and one count."""

from __future__ import annotations

from collections.abc import Callable

from evenhand.api import RunOptions
from evenhand.engines import make_engine
from evenhand.engines.engine import Engine
from evenhand.errors import NotFinished
from evenhand.plan import Plan
from evenhand.run import Progress, run
from evenhand.score import score_run
from evenhand.store import Store
from evenhand.study import Study


class Asking:
    """Runs plans one after the other; what is done is done, whatever happens next.

    Args:
        options: how to ask; the cost limit is for all plans together.
        on_progress: called after every write, with the title of the step.
        engine: what answers for the audited model, instead of the engine of its name.

    Attributes:
        progress: of the last plan; answers sent, tokens and cost count all plans.
    """

    def __init__(
        self,
        options: RunOptions,
        on_progress: Callable[[str, Progress], None],
        engine: Engine | None = None,
    ) -> None:
        self.progress: Progress | None = None
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

    async def ask(self, title: str, plan: Plan, store: Store) -> None:
        """Ask what the store has no answer for yet, and score it.

        Raises:
            NotFinished: the cost limit is reached, or some cells have no answer.
            EvenhandError: as `evenhand.run.run`.
        """
        self.progress = await run(
            plan,
            self._engine(plan.study),
            store,
            price=self._options.price,
            max_cost=self._options.max_cost,
            on_progress=lambda progress: self._on_progress(title, progress),
            earlier=self.progress,
        )
        score_run(store)
        left = self.progress.cells - self.progress.done
        if self.progress.stopped or left:
            reason = self.progress.stopped or f"{left:,} cells have no answer yet"
            raise NotFinished(f"{title}: {reason}")

    def forget(self, model: str) -> None:
        """Let go of a model, and of the memory it takes."""
        self._engines.pop(model, None)

    async def close(self) -> None:
        """Release what the engines hold."""
        for engine in self._engines.values():
            await engine.close()

    def _engine(self, study: Study) -> Engine:
        if self._given is not None and study.model not in self._engines:
            self._engines[study.model], self._given = self._given, None
        if study.model not in self._engines:
            options = self._options
            self._engines[study.model] = make_engine(
                study.model,
                study.decoding,
                base_urls=options.base_urls,
                max_connections=options.max_connections,
                timeout=options.timeout,
                batch_size=options.batch_size,
            )
        return self._engines[study.model]
