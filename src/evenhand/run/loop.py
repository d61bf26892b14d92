"""Run a plan: ask what is not yet on disk, and put every answer there as it arrives."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from evenhand.engines.engine import Engine, Response, running_versions
from evenhand.engines.weights import are_same_weights
from evenhand.errors import RunFolderError
from evenhand.run.recorder import Arrival, Price, Progress, Recorder
from evenhand.run.system_role import (
    HELLO,
    NO_SYSTEM_MESSAGE,
    ON_THE_WAY_BACK,
    check_system_role,
)
from evenhand.run.withholding import withhold_identities
from evenhand.store.record import InterimAnalysis, RunRecord, Session, SystemRoleCheck
from evenhand.store.rows import response_changes
from evenhand.store.sent import requests_under_way
from evenhand.store.store import Store
from evenhand.study.cue import wordings_of
from evenhand.study.plan import Plan, Request
from evenhand.text import counted

_log = logging.getLogger("evenhand.run")

CHARACTERS_PER_TOKEN = 4
"""A usual figure for English text; good enough for a price."""


async def run(
    plan: Plan,
    engine: Engine,
    store: Store,
    *,
    price: Price | None = None,
    max_cost: float | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    interim: InterimAnalysis | None = None,
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
        interim: the interim analysis that follows, for a run that stops at a precision.
        earlier: progress of the call before, to go on counting from.

    Raises:
        RunFolderError: the store holds another study, or another process is running in it.
        EngineError: the model will not answer.
        StoreError: the answers cannot be written.
    """
    with store.only_process():
        if under_way := requests_under_way(store):
            raise RunFolderError(
                f"{counted(under_way, 'request')} of {store.folder} "
                f"{'is' if under_way == 1 else 'are'} under way in batches; collect them with "
                "--batch, or with `evenhand batch read`"
            )
        record = record_of_same_study(plan, store, engine.address)
        if record is not None:  # by its name of the model the answers are known
            named = plan.study.model_copy(update={"model": record.study.model})
            plan = replace(plan, study=named)
        plan = await withhold_identities(plan, engine, store)
        check, brought = await _check_system_role(plan, engine, record)
        plan = plan.with_system_role(check.system_role)
        call = Call(store, engine.address, _versions(engine))
        ids = call.begin(plan, record, check, interim)
        done = DoneCells(store, ids[1])
        progress = replace(earlier or Progress(0), cells=plan.cells)
        progress.done = done.count(plan)
        recorder = Recorder(
            store, progress, price=price, max_cost=max_cost, on_progress=on_progress
        )
        asking = _Asking(plan, ids, done, recorder)
        for response in brought:
            asking.settle(response)
            done.brought.add(response.request.key)
        spent, sent = progress.cost, progress.sent
        _log.info(
            "%s at %s: %s of %s answers are there; system message: %s",
            engine.model,
            engine.address,
            progress.done,
            plan.cells,
            check.evidence,
        )
        try:
            await recorder.record(engine.answer(asking.pending(), asking.settle))
        finally:
            cost = progress.cost - spent if price else None
            call.end(progress.sent - sent, cost, engine.notes)
            _log.info("%s answers came, %s attempts failed", progress.sent, progress.failures)
    return recorder.progress


class Call:
    """One call in which a run is asked, as the run's record has it.

    Args:
        address: where the answers come from.
        versions: of what runs here and there.
    """

    def __init__(self, store: Store, address: str, versions: dict[str, str]) -> None:
        self._store = store
        self._address = address
        self._earlier: tuple[Session, ...] = ()
        self._session = Session(began=_now(), versions=versions)

    def begin(
        self,
        plan: Plan,
        record: RunRecord | None,
        check: SystemRoleCheck,
        interim: InterimAnalysis | None = None,
    ) -> tuple[list[int], list[int]]:
        """Write down that it begins; the ids of the plan's conditions and items in the store.

        Args:
            record: of the run so far; None where it is new.
        """
        addresses = record.addresses if record else ()
        if not any(are_same_weights(each, self._address) for each in addresses):
            addresses = (*addresses, self._address)
        self._earlier = record.sessions if record else ()
        new = RunRecord(
            study=plan.study,
            system_role=check,
            interim=interim,
            addresses=addresses,
            sessions=(*self._earlier, self._session),
            blocked=record.blocked if record else "refusal",
        )
        ids = self._store.activate(plan.conditions, plan.items, new)
        self._store.set_document("wordings", wordings_of(plan.conditions))
        return ids

    def end(self, answers: int, cost: float | None, notes: Sequence[str]) -> None:
        """Write down what came of it."""
        ended = replace(self._session, ended=_now(), answers=answers, cost=cost, notes=tuple(notes))
        self._store.update_record(sessions=(*self._earlier, ended))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _versions(engine: Engine) -> dict[str, str]:
    """Of what runs here, and of what runs the model elsewhere."""
    return running_versions() | dict(getattr(engine, "versions", {}))


class DoneCells:
    """Which cells have an answer on disk; of one item at a time, so that any plan fits into memory.

    Args:
        items: ids in the store of the plan's items.

    Attributes:
        brought: keys of answers that are not on disk yet.
    """

    def __init__(self, store: Store, items: list[int]) -> None:
        self._store, self._items = store, items
        self._any = store.stored()[0] > 0
        self._item = -1
        self._keys: set[bytes] = set()
        self.brought: set[bytes] = set()

    def __contains__(self, request: Request) -> bool:
        if self._any and request.item != self._item:
            self._item, self._keys = request.item, self._store.keys_of(self._items[request.item])
        return request.key in self._keys or request.key in self.brought

    def count(self, plan: Plan) -> int:
        """How many of a plan's cells."""
        found = sum(request in self for request in plan.requests()) if self._any else 0
        self._item = -1  # what is answered from now on counts, too
        return found


class _Asking:
    """The cells of a plan that have no answer yet, and the answers that come."""

    def __init__(
        self,
        plan: Plan,
        ids: tuple[list[int], list[int]],
        done: DoneCells,
        recorder: Recorder,
    ) -> None:
        self._plan = plan
        self._conditions, self._items = ids
        self._done = done
        self._recorder = recorder

    def pending(self) -> Iterator[Request]:
        for request in self._plan.requests():
            if request in self._done:
                continue
            if not self._recorder.may_ask():
                return
            yield request

    def settle(self, response: Response) -> None:
        request = response.request
        for failure in response.failures:
            _log.info("attempt failed: %s %s", failure.status, failure.error)
        cell = self._conditions[request.condition], self._items[request.item]
        self._recorder.settle(
            Arrival(
                response_changes(response, *cell),
                int(response.settled),
                len(response.failures),
                *tokens_of(response),
            )
        )


def tokens_of(response: Response) -> tuple[int, int]:
    """Prompt and completion tokens as counted by the endpoint, or as good as can be guessed."""
    if response.prompt_tokens or response.text is None:
        return response.prompt_tokens, response.completion_tokens
    characters = sum(len(message["content"]) for message in response.request.messages)
    return characters // CHARACTERS_PER_TOKEN, len(response.text) // CHARACTERS_PER_TOKEN


async def _check_system_role(
    plan: Plan, engine: Engine, record: RunRecord | None
) -> tuple[SystemRoleCheck, Sequence[Response]]:
    """How the model takes system messages, and answers to cells that the check brought along."""
    in_sight = engine.rendered(HELLO) is not None  # then checking again costs nothing
    known = record is not None and record.system_role.evidence not in (
        NO_SYSTEM_MESSAGE,
        ON_THE_WAY_BACK,
    )
    if record is not None and known and not in_sight:
        return record.system_role, ()
    return await check_system_role(engine, plan)


def record_of_same_study(plan: Plan, store: Store, address: str = "") -> RunRecord | None:
    """The run's record, None if it is new.

    Args:
        address: where the answers are to come from; the same weights in a folder that was moved
            or is named another way are the same model.

    Raises:
        RunFolderError: it is a run of another model, or with other decoding parameters.
    """
    record = store.record_if_begun()
    if record is None:
        return None
    if record.imported is not None:
        raise RunFolderError(
            f"{store.folder} holds an imported run, in which nothing can be asked; take a new "
            "folder"
        )
    if not _is_of_model(record, plan.study.model, address):
        raise RunFolderError(
            f"{store.folder} holds a run of {record.study.model}, not of {plan.study.model}; "
            "take a new folder"
        )
    if record.study.decoding != plan.study.decoding:
        raise RunFolderError(
            f"{store.folder} holds a run with other decoding parameters; take a new folder"
        )
    return record


def _is_of_model(record: RunRecord, model: str, address: str) -> bool:
    known = record.study.model
    if known == model:
        return True
    is_folder_moved = "#" in address and known.partition("/")[0] == model.partition("/")[0]
    addresses = record.addresses or ("",)
    return is_folder_moved and all(are_same_weights(each, address) for each in addresses)
