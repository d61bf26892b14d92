"""Any engine with local weights, many times over: workers on this machine, or on a Ray cluster.

The driver, which is the process that the user started, draws requests, sends them to the workers
and settles what comes back; nothing else writes to the run. Where workers live is a `Place`. On Ray
they are core actors: Ray Data would read the whole plan first, and costs six times as much a cell.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import count, islice
from typing import Any, Protocol

from evenhand import errors
from evenhand.engines import EngineOptions, engine_type, make_engine
from evenhand.engines.engine import Engine, Failure, Response, running_versions
from evenhand.engines.hosts import Cluster, Processes, reason_of
from evenhand.errors import EngineError, EvenhandError, Unreachable
from evenhand.study.cue import Message
from evenhand.study.decoding import Decoding
from evenhand.study.plan import Request

CHUNK = 256
"""Most requests that are sent to a worker at once; it has up to two such chunks under way."""
RESTARTS = 3
"""How often in a row a worker is started again before it has answered anything."""
_CHUNK_AFTER_DEATHS = (CHUNK, 16, 1)
"""Size of a chunk by how often its requests have been lost with a worker: so the request that
kills workers is found within three deaths, and only its own cell stays open."""
_GATHER = 2.0
"""Seconds for which a worker collects answers before it hands them over: each time costs the driver
half a millisecond."""
_QUIET = 60.0
"""Seconds for the first worker to start, after which the user is told what is waited for."""
_TOGETHER = 2.0
"""Seconds that the other workers have to start after the first one."""
_log = logging.getLogger("evenhand")
_FIELDS = tuple(each.name for each in fields(Response) if each.name != "request")


# --- in a worker ------------------------------------------------------------------------------


class Worker:
    """One copy of the model, in a process of its own on this machine or somewhere on a cluster.

    What comes and goes is plain data: the other side may run another version of evenhand, which
    must show as such.
    """

    def __init__(self) -> None:
        self._numbers = count()
        self._asked: dict[int, tuple[int, Request]] = {}
        self._waiting: deque[Request] = deque()
        self._found: list[tuple[Any, ...]] = []
        self._enough = 0
        self._first = asyncio.Event()
        self._half = asyncio.Event()
        self._serving: asyncio.Future[None] | None = None

    async def load(
        self,
        model: str,
        decoding: dict[str, Any],
        options: dict[str, Any],
        driver: dict[str, str],
        threads: int | None,
    ) -> dict[str, Any]:
        """Load the model; what there is to know of it, or {"fault": ...}.

        Args:
            driver: the versions that must be the same here.
            threads: for torch, which reads it when it is imported; None to leave it to Ray.
        """
        if threads is not None:
            os.environ["OMP_NUM_THREADS"] = str(threads)
        own = _must_agree(running_versions())
        if own != driver:
            return _fault(EngineError(_disagreement("a worker", own, "this process", driver)))
        try:
            self._engine: Engine = make_engine(
                model, Decoding.model_validate(decoding), EngineOptions(**options)
            )
        except EvenhandError as error:
            return _fault(error)
        return {
            "address": self._engine.address,
            "versions": running_versions(),
            "notes": tuple(self._engine.notes),
            "has_template": getattr(self._engine, "has_template", True),
            "ignored": dict(getattr(self._engine, "ignored", {})),
            "labels": tuple(getattr(self._engine, "labels", ())),
        }

    async def rendered(self, messages: list[Message]) -> dict[str, Any]:
        """The prompt as the model reads it, or {"fault": ...}."""
        try:
            return {"prompt": self._engine.rendered(messages)}
        except EvenhandError as error:
            return _fault(error)

    async def exchange(self, requests: list[Request]) -> dict[str, Any]:
        """Take further requests, and hand over what has been answered since the last call.

        Returns as soon as half of all requests here are answered, or a moment after the first
        one is. Answers are tuples: the request's number, counted from 0 over all that this worker
        was ever sent, and the fields of the response.
        """
        for request in requests:
            self._asked[id(request)] = next(self._numbers), request
        self._waiting.extend(requests)
        if self._serving is None:
            self._serving = asyncio.ensure_future(self._serve())
            self._serving.add_done_callback(self._wake)
        self._enough = len(self._asked) // 2
        self._half.clear()
        await self._first.wait()
        if not self._serving.done():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._half.wait(), _GATHER)
        found, self._found = self._found, []
        self._first.clear()
        reply: dict[str, Any] = {"found": found}
        if self._serving.done():
            serving, self._serving = self._serving, None
            try:
                serving.result()
            except EvenhandError as error:
                reply |= _fault(error)
        return reply

    def _wake(self, _: object = None) -> None:
        self._first.set()
        self._half.set()

    async def _serve(self) -> None:
        """Answer until nothing is waiting; what comes in meanwhile is drawn by the engine, too."""
        while self._waiting:
            await self._engine.answer(self._draw(), self._take)
        if self._asked:
            raise RuntimeError(f"the engine settled all but {len(self._asked)} requests")

    def _draw(self) -> Iterator[Request]:
        while self._waiting:
            yield self._waiting.popleft()

    def _take(self, response: Response) -> None:
        number, _ = self._asked.pop(id(response.request))
        self._found.append((number, *(getattr(response, name) for name in _FIELDS)))
        self._first.set()
        if len(self._asked) <= self._enough:
            self._half.set()


def _fault(error: EvenhandError) -> dict[str, Any]:
    """An error as plain data: the names of its classes, nearest first, and what it says."""
    names = [each.__name__ for each in type(error).__mro__]
    return {"fault": (names, str(error))}


def _raise_fault(reply: Mapping[str, Any]) -> None:
    """Raise what went wrong in a worker, in the class that it had there."""
    if "fault" not in reply:
        return
    names, text = reply["fault"]
    kind = next(getattr(errors, name) for name in names if hasattr(errors, name))
    error = kind.__new__(kind)  # some have constructors of their own, which write the text
    error.args = (text,)
    raise error


def _must_agree(versions: Mapping[str, str]) -> dict[str, str]:
    """Of all versions, those in which driver and workers must not differ."""
    python = ".".join(versions["Python"].split(".")[:2])
    return {"evenhand": versions["evenhand"], "Python": python}


def _disagreement(who: str, its: Mapping[str, str], other: str, others: Mapping[str, str]) -> str:
    """One line for two sets of facts that differ."""
    names = [name for name in (*its, *others) if its.get(name) != others.get(name)]
    shown = dict.fromkeys(names)
    ours = ", ".join(f"{name} {its.get(name, 'none')}" for name in shown)
    theirs = ", ".join(f"{name} {others.get(name, 'none')}" for name in shown)
    return f"{who} has {ours}, but {other} has {theirs}; make them the same on every node"


# --- in the driver ----------------------------------------------------------------------------


class Place(Protocol):
    """Where workers live. Their methods are called as `worker.METHOD.remote(...)`, which gives a
    reference to what will come of it: to be awaited, or to be asked for with `get`."""

    death: tuple[type[Exception], ...]
    """What is raised for a worker that has died."""

    def room(self, workers: int | None, gpus: float | None) -> tuple[int, float]:
        """How many workers to start, and GPUs for each."""
        ...

    def threads(self, workers: int) -> int | None:
        """Threads of each for torch; None where the place itself sees to it."""
        ...

    def start(self, worker: type, gpus: float) -> Any:
        """A new worker of this class, in a process of its own."""
        ...

    def wait(self, references: Sequence[Any], number: int, timeout: float | None) -> list[Any]:
        """As many references as wished whose results are there; fewer after the timeout."""
        ...

    def get(self, reference: Any) -> Any:
        """What has come of a call."""
        ...

    def kill(self, actor: Any) -> None:
        """End a worker."""
        ...

    def leave(self) -> None:
        """Release what holds the workers."""
        ...


@dataclass(slots=True)
class _Cell:
    """A request on its way, and the workers that died with it."""

    request: Request
    deaths: list[Failure] = field(default_factory=list)


class _Supply:
    """The requests without an answer: new ones, drawn lazily, and those that died with a worker.

    Args:
        workers: how many will take from here.
    """

    def __init__(self, requests: Iterator[Request], workers: int) -> None:
        first = list(islice(requests, 2 * workers * CHUNK))
        self._first = deque(first)
        self._requests = requests
        # A plan that is shorter than what the workers could hold is shared out evenly.
        self.size = min(CHUNK, max(1, math.ceil(len(first) / (2 * workers))))
        self._again: deque[list[_Cell]] = deque()
        self._open = 0
        self._drawn = False
        self._changed = asyncio.Event()

    def take(self, *, idle: bool) -> list[_Cell]:
        """Up to a chunk of requests; none where there is nothing at this moment.

        Args:
            idle: whether the worker has nothing else under way. Only such a one gets requests that
                died with another: if it dies, too, it is by them.
        """
        chunk = [self._first.popleft() for _ in range(min(self.size, len(self._first)))]
        chunk += islice(self._requests, self.size - len(chunk))
        if chunk:
            self._open += len(chunk)
            return [_Cell(request) for request in chunk]
        self._drawn = True
        return self._again.popleft() if idle and self._again else []

    async def wait(self) -> list[_Cell]:
        """As `take`, for an idle worker; none only once everything is settled."""
        while not (chunk := self.take(idle=True)) and not self.over:
            self._changed.clear()
            await self._changed.wait()
        return chunk

    @property
    def over(self) -> bool:
        """Whether all is drawn and settled."""
        return self._drawn and not self._open

    def settled(self) -> None:
        """One more request has come to its end."""
        self._open -= 1
        if not self._open:
            self._changed.set()

    def lose(self, cells: Sequence[_Cell], why: str) -> list[_Cell]:
        """Take back what was under way with a worker that died; those given up, still open."""
        for cell in cells:
            cell.deaths.append(Failure(0, why))
        by_deaths: dict[int, list[_Cell]] = {}
        for cell in cells:
            by_deaths.setdefault(len(cell.deaths), []).append(cell)
        given_up = by_deaths.pop(len(_CHUNK_AFTER_DEATHS), [])
        for deaths, left in by_deaths.items():
            size = _CHUNK_AFTER_DEATHS[deaths]
            self._again += (left[at : at + size] for at in range(0, len(left), size))
        self._changed.set()
        return given_up


class _Slot:
    """A place for one worker: the worker that holds it now, and what that is at."""

    def __init__(self, start: Callable[[], tuple[Any, Any]]) -> None:
        self._start = start
        self.actor: Any = None
        self.loading: Any = None
        self.loaded = False
        self.deaths = 0
        self.under_way: dict[int, _Cell] = {}
        self._numbers = count()

    def start(self) -> None:
        """Have a worker started; `loading` stands for the facts that it will send."""
        self.actor, self.loading = self._start()
        self.loaded = False
        self.under_way = {}
        self._numbers = count()

    def add(self, cells: Sequence[_Cell]) -> None:
        for cell in cells:
            self.under_way[next(self._numbers)] = cell

    @property
    def suspicious(self) -> bool:
        """Whether it is trying requests that died with another worker."""
        return any(cell.deaths for cell in self.under_way.values())


class WorkersEngine:
    """Another engine, many times over.

    A worker that dies is started again, and what it was at is asked again: nothing of it had been
    settled, so that each cell is settled once. A request with which three workers have died stays
    without an answer, and the others go on.

    Args:
        model: any model with local weights.
        decoding: how the model picks its words.
        options: `on` says where, on this machine if it is None; `workers` and `gpus_per_worker` how
            many.
        wait: whether to wait until one of them is ready.

    Raises:
        MissingExtra: Ray is not installed.
        UsageError: no node has room for a worker.
        Unreachable: there is no such cluster.
        EngineError: the workers differ in weights or versions, or as the model's own engine.
    """

    is_local = True
    is_paid = False

    def __init__(
        self, model: str, decoding: Decoding, options: EngineOptions, *, wait: bool = True
    ) -> None:
        kind = engine_type(model)
        self.model = model
        self.default_suite = kind.default_suite
        self._place: Place = Processes() if options.on is None else Cluster(options.on)
        self._facts: dict[str, Any] = {}
        self._restarted = 0
        self._given_up: list[str] = []
        self._slots: list[_Slot] = []
        try:
            workers, gpus = self._place.room(options.workers, options.gpus_per_worker)
            here = workers if options.on in (None, "local") else 1
            # What is for endpoints stays here: headers may hold keys.
            asked = replace(
                options,
                headers=None,
                query=None,
                on=None,
                workers=1,
                copies=here,
                gpus_per_worker=gpus,
            )
            arguments = (
                model,
                decoding.model_dump(),
                asdict(asked),
                _must_agree(running_versions()),
                self._place.threads(workers),
            )

            def start() -> tuple[Any, Any]:
                worker = self._place.start(Worker, gpus)
                return worker, worker.load.remote(*arguments)

            self._slots = [_Slot(start) for _ in range(workers)]
            for slot in self._slots:
                slot.start()
            if wait:
                self._wait()
        except BaseException:
            self._release()
            raise

    def is_ready(self) -> bool:
        """Whether a worker has loaded the model.

        Raises:
            EvenhandError: none of them could.
        """
        faults: list[Exception] = []
        failing: tuple[type[Exception], ...] = (EvenhandError, *self._place.death)
        for slot in self._slots:
            if self._place.wait([slot.loading], 1, 0):
                try:
                    _raise_fault(self._place.get(slot.loading))
                    return True
                except failing as error:
                    faults.append(error)
        if len(faults) == len(self._slots):
            raise EngineError(reason_of(faults[0]))
        return False

    @property
    def notes(self) -> Sequence[str]:
        """What the workers note, and how many of them died."""
        found = list(self._facts.get("notes", ()))  # none before one has loaded the model
        if self._restarted:
            found.append(f"workers that died and were started again: {self._restarted}")
        if self._given_up:
            found.append(f"workers given up: {len(self._given_up)}")
        return found

    @property
    def address(self) -> str:
        """Where the weights are, and their state, as the model's own engine says it."""
        return str(self._facts["address"])

    @property
    def versions(self) -> Mapping[str, str]:
        """Of the packages that run the model in the workers."""
        versions: dict[str, str] = self._facts["versions"]
        return versions

    @property
    def has_template(self) -> bool:
        return bool(self._facts["has_template"])

    @property
    def ignored(self) -> Mapping[str, Any]:
        ignored: dict[str, Any] = self._facts["ignored"]
        return ignored

    @property
    def labels(self) -> Sequence[str]:
        """Of a classifier."""
        labels: Sequence[str] = self._facts["labels"]
        return labels

    def rendered(self, messages: list[Message]) -> str | None:
        """The prompt as the model reads it; see `Engine.rendered`."""
        for slot in self._slots:
            if not slot.loaded:
                continue
            try:
                reply = self._place.get(slot.actor.rendered.remote(messages))
            except self._place.death:
                continue
            _raise_fault(reply)
            prompt: str | None = reply["prompt"]
            return prompt
        raise Unreachable(f"no worker of {self.model} is left; run the same command to resume")

    async def answer(self, requests: Iterator[Request], settle: Callable[[Response], None]) -> None:
        """Answer all requests; see `Engine.answer`."""
        supply = _Supply(requests, len(self._slots))
        serving = {asyncio.create_task(self._serve(s, supply, settle)) for s in self._slots}
        try:
            while serving and not supply.over:
                done, serving = await asyncio.wait(serving, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)
            for slot in self._slots:
                if slot.under_way:  # it must not be at work on what nobody waits for
                    self._drop(slot)
        if not supply.over:
            raise EngineError(
                f"no worker of {self.model} is left: each has died {RESTARTS + 1} times without "
                f"an answer ({self._given_up[-1]}); run the same command to resume"
            )

    async def close(self) -> None:
        """End the workers, and the cluster if it was started for them."""
        self._release()

    def _release(self) -> None:
        for slot in self._slots:
            if slot.actor is not None:
                self._drop(slot)
        self._place.leave()

    def _drop(self, slot: _Slot) -> None:
        """End a worker, and forget what it was at."""
        self._place.kill(slot.actor)
        slot.actor = None
        slot.loaded = False
        slot.under_way = {}

    def _wait(self) -> None:
        """Wait for the first worker, and shortly for the others.

        A cluster may have room for more of them later; they join when they have loaded the model.
        """
        waiting = {slot.loading: slot for slot in self._slots}
        if not self._place.wait(list(waiting), 1, _QUIET):
            _log.warning("waiting for a worker: it loads the model, or the cluster has no room yet")
        while waiting and not self._facts:
            self._take_in(self._place.wait(list(waiting), 1, None), waiting)
        if not self._facts:
            raise EngineError(
                f"{self.model} cannot be loaded: each worker has died {RESTARTS + 1} times "
                f"({self._given_up[-1]})"
            )
        self._take_in(self._place.wait(list(waiting), len(waiting), _TOGETHER), waiting)

    def _take_in(self, references: Sequence[Any], waiting: dict[Any, _Slot]) -> None:
        """Take in the workers that have loaded the model, and start again those that have died."""
        for reference in references:
            slot = waiting.pop(reference)
            try:
                self._join(slot, self._place.get(reference))
            except self._place.death as error:
                self._raise_if_incomplete(error)
                if self._may_start_again(slot, f"the worker died: {reason_of(error)}"):
                    slot.start()
                    waiting[slot.loading] = slot

    def _raise_if_incomplete(self, error: BaseException) -> None:
        """A worker that lacks a package will lack it again.

        Raises:
            EngineError: it does.
        """
        if "ModuleNotFoundError" in str(error):
            why = f"a worker died ({reason_of(error)})"
            raise EngineError(f"{self.model} cannot be loaded: {why}") from None

    def _may_start_again(self, slot: _Slot, why: str) -> bool:
        """Count the death of a worker; False if it was one too many without an answer."""
        self._drop(slot)  # it may only have been out of reach
        slot.deaths += 1
        if slot.deaths > RESTARTS:
            self._given_up.append(why)
            return False
        self._restarted += 1
        return True

    def _join(self, slot: _Slot, facts: Mapping[str, Any]) -> None:
        """Take a worker in whose facts agree with those of the others.

        Raises:
            EngineError: they do not.
        """
        _raise_fault(facts)
        if not self._facts:
            self._facts = dict(facts)
        first, own = (
            {**each["versions"], "weights": each["address"]} for each in (self._facts, facts)
        )
        if own != first:
            raise EngineError(_disagreement("one worker", own, "another", first))
        slot.loaded = True

    async def _serve(
        self, slot: _Slot, supply: _Supply, settle: Callable[[Response], None]
    ) -> None:
        """Keep one worker at work until all is settled, or it has died too often."""
        while True:
            try:
                if slot.actor is None:
                    slot.start()
                if not slot.loaded:
                    self._join(slot, await slot.loading)
                return await self._feed(slot, supply, settle)
            except self._place.death as error:
                self._raise_if_incomplete(error)
                why = f"the worker died: {reason_of(error)}"
            except ConnectionError as error:
                raise Unreachable(
                    f"the Ray cluster is gone ({reason_of(error)}); run the same command to resume"
                ) from None
            lost = list(slot.under_way.values())
            may_start_again = self._may_start_again(slot, why)
            for cell in supply.lose(lost, why):
                settle(Response(cell.request, None, failures=tuple(cell.deaths)))
                supply.settled()
            if not may_start_again:
                return None

    async def _feed(self, slot: _Slot, supply: _Supply, settle: Callable[[Response], None]) -> None:
        """Send requests and settle what comes back, until there is no more of either."""
        while True:
            new: list[_Cell] = []
            if not slot.suspicious:
                while len(slot.under_way) + len(new) <= supply.size:
                    chunk = supply.take(idle=not slot.under_way and not new)
                    if not chunk:
                        break
                    new += chunk
                    if chunk[0].deaths:
                        break
            if not new and not slot.under_way:
                new = await supply.wait()
                if not new:
                    return
            slot.add(new)
            reply = await slot.actor.exchange.remote([cell.request for cell in new])
            for number, *values in reply["found"]:
                cell = slot.under_way.pop(number)
                response = Response(cell.request, *values)
                if cell.deaths:
                    failures = (*cell.deaths, *response.failures)
                    response = replace(response, failures=failures)
                settle(response)
                supply.settled()
                slot.deaths = 0
            _raise_fault(reply)
