"""Ask a plan in batches: send what is open, collect what has come, and never pay for one twice.

Every command does the same: it finds out what became of batches that an interrupted command may
have created, reads the results of those that have ended, and sends what is open then. How a
system message fares is seen in the first results, before any of them is stored.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, TypeVar

from evenhand.engines.access import Access
from evenhand.engines.batches import BatchService, Intent
from evenhand.engines.engine import running_versions
from evenhand.errors import (
    AuthenticationError,
    EngineError,
    RequestRejected,
    RunFolderError,
    Unreachable,
    UsageError,
)
from evenhand.files import write_file
from evenhand.run.loop import CHARACTERS_PER_TOKEN, Call, record_of_same_study
from evenhand.run.recorder import Price, Progress
from evenhand.run.returned import ResultCounts, ResultReader
from evenhand.run.system_role import ON_THE_WAY_BACK
from evenhand.run.withholding import withhold_identities
from evenhand.store.record import SystemRoleCheck
from evenhand.store.sent import AIR_GAPPED, Sent, SentBatch, new_token
from evenhand.store.store import Store
from evenhand.store.tallies import condition_tallies
from evenhand.study.plan import Plan
from evenhand.text import counted

_Result = TypeVar("_Result")
_SETTLES = 60.0
"""Seconds after which a batch stands in the service's list if it was created at all."""


@dataclass(slots=True)
class BatchProgress:
    """Where a run in batches stands.

    Attributes:
        progress: as of a run; `sent` counts the answers that this command has collected.
        under_way: one line for each batch that is not collected yet.
        requests: that are under way.
        notes: what the user should know.
    """

    progress: Progress
    under_way: list[str]
    requests: int
    notes: list[str]


async def run_in_batches(
    plan: Plan,
    service: BatchService,
    store: Store,
    *,
    price: Price | None = None,
    max_cost: float | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> BatchProgress:
    """Collect what has come, and send what is open.

    Args:
        price: of the tokens in a batch.
        max_cost: dollars that the whole run may cost, what is under way included at the most that
            its answers can cost.

    Raises:
        RunFolderError: the store holds another study, or another process is running in it.
        EngineError: the service refuses, or no system message reaches the model.
        StoreError: the answers cannot be written.
    """
    with store.only_process():
        plan, call, ids = await _begin(plan, store, service.access)
        reader = ResultReader(store, service.access)
        recover_files(reader.sent)
        progress = _progress_of(plan, store)
        spent = progress.cost
        on_progress(progress)
        work = _Work(plan, ids, service, store, reader, price, max_cost, progress, on_progress)
        try:
            await work.find_the_unknown()
            await work.collect()
            await work.send()
        finally:
            cost = progress.cost - spent if price else None
            call.end(progress.sent, cost, reader.notes)
        return BatchProgress(progress, work.lines(), len(reader.sent.cells()), reader.notes)


async def _begin(
    plan: Plan, store: Store, access: Access
) -> tuple[Plan, Call, tuple[list[int], list[int]]]:
    record = record_of_same_study(plan, store)
    plan = await withhold_identities(plan, None, store)
    check = record.system_role if record else SystemRoleCheck(True, ON_THE_WAY_BACK)
    plan = plan.with_system_role(check.system_role)
    call = Call(store, access.address or AIR_GAPPED, running_versions())
    return plan, call, call.begin(plan, record, check)


def _progress_of(plan: Plan, store: Store) -> Progress:
    keys = store.keys()
    done = sum(request.key in keys for request in plan.requests()) if keys else 0
    return Progress(plan.cells, done=done)


class _Work:
    """One command's work."""

    def __init__(
        self,
        plan: Plan,
        ids: tuple[list[int], list[int]],
        service: BatchService,
        store: Store,
        reader: ResultReader,
        price: Price | None,
        max_cost: float | None,
        progress: Progress,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._plan = plan
        self._ids = ids
        self._service = service
        self._store = store
        self._reader = reader
        self._sent = reader.sent
        self._price = price
        self._max_cost = max_cost
        self._progress = progress
        self._on_progress = on_progress
        self._states: dict[int, str] = {}
        self._refused = ""  # why the service refused a batch as a whole

    def lines(self) -> list[str]:
        """What is under way, one line a batch."""
        return [
            f"{batch.remote or batch.file or batch.token}: {counted(batch.requests, 'request')}, "
            f"{self._states.get(batch.id, 'just sent')}"
            for batch in self._sent.under_way()
        ]

    async def find_the_unknown(self) -> None:
        """What became of batches that an interrupted command may have created."""
        for batch in self._sent.under_way():
            if batch.remote or batch.address == AIR_GAPPED:
                continue
            if not batch.tried:
                self._sent.forget(batch.id)
                continue
            self._check_address(batch)
            left = batch.tried + _SETTLES - time.time()
            await asyncio.sleep(min(max(0.0, left), _SETTLES))  # clocks may be set back
            known = self._sent.remotes()
            intent = Intent(batch.token, batch.file, batch.requests, batch.tried, known)
            try:
                remote = await self._or_forget(batch, self._service.find(intent))
            except Unreachable as reason:
                self._states[batch.id] = f"not known yet ({reason})"
                continue
            if remote:
                self._sent.created(batch.id, remote)
            else:
                self._sent.forget(batch.id)

    async def collect(self) -> None:
        """Read the results of the batches that have ended."""
        for batch in self._sent.under_way():
            if not batch.remote:
                self._states.setdefault(batch.id, "written to a file")
                continue
            self._check_address(batch)
            state = await self._or_forget(batch, self._service.state(batch.remote))
            note = self._service.access.messages.name(state.note)
            self._states[batch.id] = note
            if state.stage == "failed":
                self._refused = f"{batch.remote} was refused: {note}"
                self._reader.notes.append(self._refused)
                self._sent.end(batch.id)
            elif state.stage == "ended":
                await self._read(batch, state.results, note)

    async def _or_forget(self, batch: SentBatch, work: Awaitable[_Result]) -> _Result:
        """What comes of work on a batch; where the service refuses it, the way out is told."""
        try:
            return await work
        except (Unreachable, AuthenticationError):
            raise
        except EngineError as error:
            name = batch.remote or batch.token
            raise EngineError(
                f"{name}: {error}; if it is gone for good, `evenhand batch forget "
                f"{self._store.folder} {name}` has its requests asked again"
            ) from None

    def _check_address(self, batch: SentBatch) -> None:
        if batch.address != self._service.access.address:
            raise UsageError(
                f"{batch.remote or batch.token} was sent to {batch.address}; give this as "
                "--base-url to collect it"
            )

    async def _read(self, batch: SentBatch, results: Sequence[str], note: str) -> None:
        gone = None
        with ExitStack() as stack:
            files = []
            for place in results:
                file = stack.enter_context(TemporaryFile())
                try:
                    await self._or_forget(batch, self._service.fetch(place, file))
                    files.append(file)
                except (Unreachable, AuthenticationError):
                    raise
                except EngineError as error:
                    gone = error  # what the other files hold is paid for
            found = self._reader.read(files, batch.remote)
        self._count(found)
        if gone:
            raise gone
        if found.cut_off:
            raise Unreachable(f"the results of {batch.remote} break off; run again to resume")
        self._reader.end(batch.id, f"no result in the batch ({note})")

    def _count(self, found: ResultCounts) -> None:
        progress = self._progress
        progress.done += found.answered
        progress.sent += found.answered
        progress.failures += found.failed
        progress.prompt_tokens += found.prompt_tokens
        progress.completion_tokens += found.completion_tokens
        if self._price:
            tokens = progress.prompt_tokens, progress.completion_tokens
            progress.cost = self._price.cost(*tokens)
        self._on_progress(progress)

    async def send(self) -> None:
        """Send what is neither answered nor under way.

        Raises:
            EngineError: the service refuses it, and nothing else is under way.
        """
        try:
            if self._refused:
                raise RequestRejected(self._refused)
            service = self._service.access.service
            limits = service.batch_requests, service.batch_bytes
            self._service.wire = self._reader.wire
            within_budget = self._budget()
            for parcel in parcels(self._plan, self._ids, self._reader, limits, within_budget):
                await self._send(parcel)
        except Unreachable:
            raise
        except EngineError as error:
            if not self._sent.under_way():
                raise
            self._reader.notes.append(f"nothing more is sent now: {error}")

    async def _send(self, parcel: Parcel) -> None:
        """Create one batch; each step is on disk before the next one begins."""
        service, sent = self._service, self._sent
        tokens = parcel.prompt_tokens, parcel.completion_tokens
        batch = sent.intend(parcel.token, service.access.address, parcel.rows, tokens)
        try:
            file = await service.upload(parcel.token, parcel.content)
            sent.about_to_create(batch, file)
            remote = await service.create(parcel.token, file, parcel.content)
        except Unreachable:
            raise  # what came of it is found out by the next command
        except EngineError:
            sent.forget(batch)
            raise
        sent.created(batch, remote)

    def _budget(self) -> Callable[[int, int], bool]:
        """Whether so many tokens more may be paid for, beside all that is answered or under way."""
        if self._max_cost is None or self._price is None:
            return lambda _prompt, _completion: True
        price, limit = self._price, self._max_cost
        tallies, batches = condition_tallies(self._store).values(), self._sent.under_way()
        spent = sum(price.cost(t.prompt_tokens, t.completion_tokens) for t in tallies)
        spent += sum(price.cost(b.prompt_tokens, b.completion_tokens) for b in batches)

        def may_send(prompt_tokens: int, completion_tokens: int) -> bool:
            if spent + price.cost(prompt_tokens, completion_tokens) <= limit:
                return True
            self._progress.stopped = f"the cost limit of ${limit:g} is reached"
            return False

        return may_send


# Out


@dataclass(slots=True)
class Parcel:
    """The requests of one batch.

    Attributes:
        token: our own id of it.
        content: the file of requests.
        rows: key, ids of condition and item in the store, and sample of each.
        prompt_tokens: about so many.
        completion_tokens: the most.
    """

    token: str
    content: bytes
    rows: list[tuple[bytes, int, int, int]]
    prompt_tokens: int
    completion_tokens: int


def parcels(
    plan: Plan,
    ids: tuple[list[int], list[int]],
    reader: ResultReader,
    limits: tuple[int, int],
    may_send: Callable[[int, int], bool] = lambda _prompt, _completion: True,
) -> Iterator[Parcel]:
    """The requests that are neither answered nor under way, in files within the limits.

    Args:
        limits: requests and bytes of a file.
        may_send: whether so many prompt and completion tokens may be paid for, of all files
            together. Where they may not, a file ends before them, and is the last.
    """
    access, envelope = reader.access, reader.envelope
    wire, most = reader.wire, plan.study.decoding.max_tokens
    conditions, items = ids
    done = reader.have | reader.sent.cells().keys()
    most_requests, most_bytes = limits
    token, size, characters, all_characters, all_rows = new_token(), 0, 0, 0, 0
    lines: list[bytes] = []
    rows: list[tuple[bytes, int, int, int]] = []
    overhead = len(envelope.begin) + len(envelope.end)

    def parcel() -> Parcel:
        content = envelope.begin + envelope.between.join(lines) + envelope.end
        return Parcel(token, content, rows, characters // CHARACTERS_PER_TOKEN, len(rows) * most)

    for request in plan.requests():
        if request.key in done:
            continue
        body = wire.body_of(request, access.seed_of(request, wire))
        line = envelope.request(f"{token}-{request.key.hex()}", body)
        length = len(line) + len(envelope.between)
        if overhead + length > most_bytes:
            raise UsageError(
                f"one request alone is larger than a batch may be: {most_bytes:,} bytes"
            )
        if len(rows) == most_requests or overhead + size + length > most_bytes:
            yield parcel()
            token, lines, rows, size, characters = new_token(), [], [], 0, 0
            line = envelope.request(f"{token}-{request.key.hex()}", body)
        more = sum(len(message["content"]) for message in request.messages)
        all_characters, all_rows = all_characters + more, all_rows + 1
        if not may_send(all_characters // CHARACTERS_PER_TOKEN, all_rows * most):
            break
        lines.append(line)
        rows.append(
            (request.key, conditions[request.condition], items[request.item], request.sample)
        )
        size += length
        characters += more
    if rows:
        yield parcel()


# Files that somebody carries to and from a cluster without a network


async def write_files(
    plan: Plan, access: Access, store: Store, folder: Path, limits: tuple[int, int]
) -> list[tuple[Path, int]]:
    """Write all requests that are neither answered nor under way; (file, requests) of each.

    Raises:
        RunFolderError: the store holds another study, or another process is running in it.
        StoreError: a file cannot be written.
    """
    made = []
    with store.only_process():
        plan, call, ids = await _begin(plan, store, access)
        reader = ResultReader(store, access)
        recover_files(reader.sent)
        try:
            for parcel in parcels(plan, ids, reader, limits):
                path = folder / f"requests-{parcel.token}{reader.envelope.suffix}"
                tokens = parcel.prompt_tokens, parcel.completion_tokens
                batch = reader.sent.intend(parcel.token, AIR_GAPPED, parcel.rows, tokens, str(path))
                try:
                    write_file(path, parcel.content)
                except BaseException:
                    reader.sent.forget(batch)
                    raise
                reader.sent.about_to_create(batch, str(path))
                made.append((path, len(parcel.rows)))
        finally:
            call.end(0, None, reader.notes)
    return made


def recover_files(sent: Sent) -> None:
    """After a crash amid writing: requests whose file was not finished are free again."""
    for batch in sent.under_way():
        if batch.address == AIR_GAPPED and not batch.tried:
            if Path(batch.file).exists():
                sent.about_to_create(batch.id, batch.file)
            else:
                sent.forget(batch.id)


def read_files(access: Access, store: Store, files: Iterable[Path]) -> ResultCounts:
    """Read files of results; each whole file that belongs to the run is stored.

    Raises:
        UsageError: a file cannot be read, is of another run, or is only a half; what it holds of
            this run is stored then.
        EngineError: no system message has reached the model, or it refused every request.
    """
    total = ResultCounts()
    with store.only_process():
        reader = ResultReader(store, access)
        for path in files:
            try:
                with path.open("rb") as file:
                    _check_form(file, path)
                    found = reader.read([file], str(path))
            except OSError as error:
                raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
            for name in ("lines", "answered", "failed", "known", "foreign"):
                setattr(total, name, getattr(total, name) + getattr(found, name))
            if found.cut_off and found.foreign == found.lines:
                raise RunFolderError(
                    f"{path}: no line answers a request of {store.folder}, and the last one breaks "
                    "off; it is to hold one result in each line (JSON Lines)"
                )
            if found.cut_off:
                raise UsageError(
                    f"{path}:{found.lines + 1}: the file breaks off; the {found.lines:,} results "
                    "before are stored; copy it whole and read it again"
                )
            if not found.lines:
                raise UsageError(f"{path} is empty; it is to hold one result in each line")
            if found.foreign == found.lines:
                raise RunFolderError(
                    f"{path}: none of its {found.lines:,} lines answers a request of "
                    f"{store.folder}; is it the file of requests, or the result of another study?"
                )
        for batch in reader.sent.under_way():
            if batch.address == AIR_GAPPED and not reader.sent.cells(batch.id):
                reader.sent.end(batch.id)
    return total


def _check_form(file: BinaryIO, path: Path) -> None:
    """Say what to do about a file that holds results in another form."""
    start = file.read(512)
    if start.startswith((b"\x1f\x8b", b"PK\x03\x04", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ")):
        raise UsageError(f"{path} is compressed; unpack it, and read what was in it")
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UsageError(f"{path} is UTF-16 text; save it as UTF-8, and read it again")
    if start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
        raise UsageError(
            f"{path} is one list; it is to hold one result in each line (JSON Lines): "
            "jq -c '.[]' FILE"
        )
