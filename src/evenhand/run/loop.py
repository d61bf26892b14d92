"""Run a plan: ask what is not yet on disk, and put every answer there as it arrives."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from filelock import FileLock, Timeout

from evenhand import __version__
from evenhand.engines.engine import Engine, Response
from evenhand.errors import RunFolderError, StoreError
from evenhand.run.system_role import HELLO, NO_SYSTEM_MESSAGE, find_placement
from evenhand.run.withholding import route
from evenhand.run.writing import write_as_they_come
from evenhand.store.database import LOCK_FILE
from evenhand.store.store import Store
from evenhand.study.decoding import Decoding
from evenhand.study.plan import Plan, Request

CHARACTERS_PER_TOKEN = 4
"""A usual figure for English text; good enough for a price."""


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars for a million tokens."""

    prompt: float = 0.0
    completion: float = 0.0

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Dollars."""
        return (self.prompt * prompt_tokens + self.completion * completion_tokens) / 1e6


@dataclass(slots=True)
class Progress:
    """Where a run stands; all counts are of what is on disk.

    Attributes:
        cells: answers wanted in all.
        done: cells that have an answer, those of earlier runs included.
        sent: answers of this run.
        failures: attempts of this run that brought no answer.
        prompt_tokens, completion_tokens: of this run.
        cost: dollars of this run, by the price given.
        stopped: why the run ended before all was done; empty if it did not.
    """

    cells: int
    done: int = 0
    sent: int = 0
    failures: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    stopped: str = ""


async def run(
    plan: Plan,
    engine: Engine,
    store: Store,
    *,
    price: Price | None = None,
    max_cost: float | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    look: Mapping[str, Any] | None = None,
    earlier: Progress | None = None,
) -> Progress:
    """Ask every cell of the plan that has no answer in the store.

    What `on_progress` has been shown as done is on disk, whatever happens next.

    Args:
        price: of the tokens; None if they cost nothing. Where an endpoint counts no tokens they
            are estimated from the length of the text.
        max_cost: dollars of this call after which nothing more is sent. What is under way is
            counted at the mean price so far, so the limit is kept but for the first answers.
        on_progress: called after every write.
        look: for a run in looks, which one this is; kept with the results.
        earlier: progress of the looks before, to go on counting from.

    Raises:
        RunFolderError: the store holds another study, or another process is running in it.
        EngineError: the model will not answer.
        StoreError: the answers cannot be written.
    """
    with only_process(store):
        _check_same_study(plan, store)
        plan = await route(plan, engine, store)
        plan, brought = await _place(plan, engine, store)
        addresses = store.meta("addresses") or []
        facts = {
            "study": plan.study.model_dump(mode="json"),
            "looks": look,
            "addresses": [*addresses, *({engine.address} - set(addresses))],
        }
        ids = store.activate(plan.conditions, plan.items, facts)
        progress = replace(earlier or Progress(0), cells=plan.cells)
        recorder = Recorder(plan, store, ids, price or Price(), max_cost, progress, on_progress)
        for response in brought:
            recorder.settle(response)
        spent = progress.cost
        with _session(store) as session:
            try:
                await recorder.record(engine)
            finally:
                session["answers"] = progress.sent - (earlier.sent if earlier else 0)
                session["cost"] = progress.cost - spent if price else None
    return recorder.progress


@contextmanager
def _session(store: Store) -> Iterator[dict[str, Any]]:
    """When and with which versions it is asked, for the report; more can be added at the end."""
    sessions = store.meta("sessions") or []
    session: dict[str, Any] = {"began": _now(), "ended": None, "versions": _versions()}
    store.set_meta("sessions", [*sessions, session])
    try:
        yield session
    finally:
        session["ended"] = _now()
        store.set_meta("sessions", [*sessions, session])


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _versions() -> dict[str, str]:
    """Of evenhand, Python and the packages that run a model here, where one does."""
    found = {"evenhand": __version__, "Python": platform.python_version()}
    loaded = [name for name in ("torch", "transformers") if name in sys.modules]
    return found | {name: version(name) for name in loaded}


class Recorder:
    """Between the engine and the store: what is still to ask, and what has come back."""

    def __init__(
        self,
        plan: Plan,
        store: Store,
        ids: tuple[list[int], list[int]],
        price: Price,
        max_cost: float | None,
        progress: Progress,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._plan = plan
        self._store = store
        self._ids = ids
        self._price = price
        self._max_cost = max_cost
        self._on_progress = on_progress
        self._keys = store.keys()
        self._waiting: list[Response] = []
        self._spent = progress.cost
        self._sent = self._settled = 0
        self.progress = progress

    def settle(self, response: Response) -> None:
        """Take a response; it is on disk after the next write."""
        self._waiting.append(response)
        self._keys.add(response.request.key)
        self._spent += self._price.cost(*tokens_of(response))
        self._settled += 1

    async def record(self, engine: Engine) -> None:
        """Ask all that is left, writing as the answers come; write the rest in any case."""
        self.progress.done = self._count_stored()
        self._on_progress(self.progress)
        await write_as_they_come(
            engine.answer(self._pending(), self.settle),
            self._waiting,
            lambda batch: self._store.write(batch, *self._ids),
            self._count,
        )

    def _count_stored(self) -> int:
        stored = self._keys - {response.request.key for response in self._waiting}
        return sum(r.key in stored for r in self._plan.requests()) if stored else 0

    def _pending(self) -> Iterator[Request]:
        for request in self._plan.requests():
            if request.key in self._keys:
                continue
            if self._max_cost is not None and self._expected_cost() >= self._max_cost:
                self.progress.stopped = f"the cost limit of ${self._max_cost:g} is reached"
                return
            self._sent += 1
            yield request

    def _expected_cost(self) -> float:
        """What has been spent, and what the requests under way will cost if they are like it."""
        under_way = max(0, self._sent - self._settled)
        return self._spent + under_way * self._spent / max(1, self._settled)

    def _count(self, batch: list[Response]) -> None:
        progress = self.progress
        for response in batch:
            progress.failures += len(response.failures)
            prompt_tokens, completion_tokens = tokens_of(response)
            progress.prompt_tokens += prompt_tokens
            progress.completion_tokens += completion_tokens
            progress.sent += response.settled
            progress.done += response.settled
        progress.cost = self._price.cost(progress.prompt_tokens, progress.completion_tokens)
        self._on_progress(progress)


def tokens_of(response: Response) -> tuple[int, int]:
    """Prompt and completion tokens as counted by the endpoint, or as good as can be guessed."""
    if response.prompt_tokens or response.text is None:
        return response.prompt_tokens, response.completion_tokens
    characters = sum(len(message["content"]) for message in response.request.messages)
    return characters // CHARACTERS_PER_TOKEN, len(response.text) // CHARACTERS_PER_TOKEN


async def _place(plan: Plan, engine: Engine, store: Store) -> tuple[Plan, tuple[Response, ...]]:
    """The plan with its system messages placed as the model takes them."""
    known = store.meta("placement") if store.meta("study") else None
    in_sight = engine.rendered(HELLO) is not None  # then checking again costs nothing
    if known is not None and known["evidence"] != NO_SYSTEM_MESSAGE and not in_sight:
        return plan.with_system_role(known["system_role"]), ()
    placement = await find_placement(engine, plan)
    facts = {"system_role": placement.system_role, "evidence": placement.evidence}
    store.set_meta("placement", facts)
    return plan.with_system_role(placement.system_role), placement.responses


def _check_same_study(plan: Plan, store: Store) -> None:
    stored = store.meta("study")
    if stored is None:
        return
    if stored["model"] != plan.study.model:
        raise RunFolderError(
            f"{store.folder} holds a run of {stored['model']}, not of {plan.study.model}; "
            "take a new folder with --out"
        )
    if Decoding.model_validate(stored["decoding"]) != plan.study.decoding:
        raise RunFolderError(
            f"{store.folder} holds a run with other decoding parameters; "
            "take a new folder with --out"
        )


@contextmanager
def only_process(store: Store) -> Iterator[None]:
    """Hold the run folder for this process alone.

    Raises:
        RunFolderError: another process has it.
    """
    lock = FileLock(store.folder / LOCK_FILE, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise RunFolderError(f"another evenhand is running in {store.folder}") from None
    except OSError as error:
        raise StoreError(f"cannot lock {store.folder}: {error.strerror}") from None
    try:
        yield
    finally:
        lock.release()
