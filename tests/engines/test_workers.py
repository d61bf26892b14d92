"""Sharing requests out to workers that may die, without Ray: workers live in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count, islice
from typing import Any

import pytest

from evenhand import JudgeOptions, RunOptions
from evenhand.engines import EngineOptions
from evenhand.engines import workers as seam
from evenhand.engines.engine import Response
from evenhand.errors import (
    AuthenticationError,
    EngineError,
    MissingExtra,
    ModelNotFound,
    UnknownName,
    Unreachable,
    UsageError,
)
from evenhand.study.decoding import Decoding
from evenhand.study.plan import Request


class Death(Exception):
    """What Ray raises for a worker that has died."""


class Model:
    """Answers all it is asked in one batch, unless a question ends its life."""

    is_local, is_paid, default_suite, takes_response_format = True, False, "demo", False
    notes: Sequence[str] = ()
    address = "here"
    labels = ("LABEL_0", "LABEL_1")
    ignored: Mapping[str, Any] = {"top_h": 1}

    def __init__(self, fate: Callable[[str], None]) -> None:
        self._fate = fate
        self.batches: list[int] = []

    def rendered(self, messages: Any) -> str:
        return str(messages)

    async def answer(self, requests: Iterator[Request], settle: Callable[[Response], None]) -> None:
        while batch := list(islice(requests, 32)):
            for request in batch:
                self._fate(request.messages[-1]["content"])
            await asyncio.sleep(0)
            for request in batch:
                settle(Response(request, "yes", failures=()))


class Actor:
    """A worker, called as Ray calls it."""

    def __init__(self) -> None:
        self._worker = seam.Worker()
        self.sent: list[int] = []

    def __getattr__(self, name: str) -> Any:
        class Method:
            def remote(_, *arguments: Any) -> Any:  # noqa: N805
                if name == "exchange":
                    self.sent.append(len(arguments[0]))
                return getattr(self._worker, name)(*arguments)

        return Method()


class Here:
    """In the place of a cluster."""

    death = (Death,)

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self.actors: list[Actor] = []
        self.left = False

    def room(self, _workers: int | None, _gpus: float | None) -> tuple[int, float]:
        return self._workers, 0.0

    def threads(self, _workers: int) -> None:
        """As Ray says."""

    def start(self, _kind: type, _gpus: float) -> Actor:
        self.actors.append(Actor())
        return self.actors[-1]

    def wait(self, references: list[Any], number: int, _timeout: float | None) -> list[Any]:
        return references[:number]

    def get(self, reference: Any) -> Any:
        return asyncio.run(reference)

    def kill(self, actor: Any) -> None:
        """Nothing runs on; but there must have been something."""
        assert actor is not None

    def leave(self) -> None:
        self.left = True


def peaceful(_: str) -> None:
    """No question ends it."""


def engine_of(
    monkeypatch: pytest.MonkeyPatch, workers: int, fate: Callable[[str], None] = peaceful
) -> tuple[seam.WorkersEngine, Here]:
    """The engine on workers in this process."""
    here = Here(workers)
    monkeypatch.setattr(seam, "Cluster", lambda _: here)
    monkeypatch.setattr(seam, "make_engine", lambda *_: Model(fate))
    return seam.WorkersEngine("organism", Decoding(), EngineOptions(on="local")), here


def ask(engine: seam.WorkersEngine, cells: int, poison: Sequence[int] = ()) -> dict[int, Response]:
    """What is settled, by place; never twice."""
    found: dict[int, Response] = {}

    def settle(response: Response) -> None:
        assert response.request.item not in found
        found[response.request.item] = response

    def requests() -> Iterator[Request]:
        for n in range(cells):
            text = "poison" if n in poison else "question"
            yield Request(bytes([1]), 0, n, 0, [{"role": "user", "content": text}])

    asyncio.run(asyncio.wait_for(engine.answer(requests(), settle), 30))
    return found


def dies(text: str) -> None:
    if text == "poison":
        raise Death("the process is gone")


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("poison", [(), (0,), (1200,), (5, 700, 1999), (3, 4)])
def test_what_kills_workers_is_found_and_all_else_answered(
    monkeypatch: pytest.MonkeyPatch, workers: int, poison: tuple[int, ...]
) -> None:
    engine, here = engine_of(monkeypatch, workers, dies)
    found = ask(engine, 2000, poison)
    assert sorted(found) == list(range(2000))
    left_open = [n for n, response in found.items() if not response.settled]
    assert sorted(left_open) == list(poison)
    for n in poison:
        assert [each.error for each in found[n].failures] == [
            "the worker died: the process is gone"
        ] * 3
    assert len(here.actors) <= workers + 3 * len(poison), "three deaths find one request"
    assert all(len(response.failures) <= 2 for response in found.values() if response.settled)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_model_that_always_dies_is_given_up(
    monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    engine, here = engine_of(monkeypatch, workers, dies)
    with pytest.raises(EngineError, match="no worker of organism is left: each has died 4 times"):
        ask(engine, 5000, range(5000))
    assert len(here.actors) <= 4 * workers + workers
    assert f"workers given up: {workers}" in engine.notes


def test_a_short_plan_is_shared_out_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, here = engine_of(monkeypatch, 4)
    assert len(ask(engine, 40)) == 40
    assert all(max(actor.sent) <= 15 for actor in here.actors)
    assert all(sum(actor.sent) for actor in here.actors)


def test_requests_are_drawn_lazily(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, _ = engine_of(monkeypatch, 2)
    drawn = settled = most = 0

    def requests() -> Iterator[Request]:
        nonlocal drawn, most
        for n in range(20_000):
            drawn += 1
            most = max(most, drawn - settled)
            yield Request(b"", 0, n, 0, [{"role": "user", "content": "question"}])

    def settle(_: Response) -> None:
        nonlocal settled
        settled += 1

    asyncio.run(engine.answer(requests(), settle))
    assert settled == 20_000
    assert most <= 2 * 3 * seam.CHUNK


def test_what_is_known_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, _ = engine_of(monkeypatch, 2)
    assert (engine.address, engine.labels, engine.ignored) == (
        "here",
        ("LABEL_0", "LABEL_1"),
        {"top_h": 1},
    )
    assert engine.versions["evenhand"]
    assert engine.has_template
    assert not engine.notes
    assert engine.rendered([{"role": "user", "content": "Hello"}]) is not None


def test_a_cluster_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fate(_: str) -> None:
        raise ConnectionError("Ray Client is not connected")

    engine, _ = engine_of(monkeypatch, 2, fate)
    with pytest.raises(Unreachable, match=r"the Ray cluster is gone .Ray Client is not connected."):
        ask(engine, 10)


def test_gpus_without_a_place_for_them() -> None:
    for options in (RunOptions, JudgeOptions):
        with pytest.raises(UsageError, match="--gpus-per-worker needs --on"):
            options(gpus_per_worker=1)


@pytest.mark.parametrize(("deaths", "loads"), [(1, True), (3, True), (4, False)])
def test_a_worker_that_dies_while_it_loads_is_started_again(
    monkeypatch: pytest.MonkeyPatch, deaths: int, loads: bool
) -> None:
    here = Here(1)
    left = deaths

    def make(*_: Any) -> Model:
        nonlocal left
        left -= 1
        if left >= 0:
            raise Death("its node is gone")
        return Model(peaceful)

    monkeypatch.setattr(seam, "Cluster", lambda _: here)
    monkeypatch.setattr(seam, "make_engine", make)
    options = EngineOptions(on="local")
    if not loads:
        with pytest.raises(EngineError, match=r"has died 4 times \(.*its node is gone\)"):
            seam.WorkersEngine("organism", Decoding(), options)
        assert here.left
        return
    engine = seam.WorkersEngine("organism", Decoding(), options)
    assert len(here.actors) == deaths + 1
    assert len(ask(engine, 20)) == 20
    assert f"workers that died and were started again: {deaths}" in engine.notes


class Later(Here):
    """A cluster on which only the first worker is there when the run begins."""

    def wait(self, references: list[Any], _number: int, timeout: float | None) -> list[Any]:
        return references[:1] if timeout is None else []


def joining_late(
    monkeypatch: pytest.MonkeyPatch, makes: Callable[[int], Model]
) -> tuple[seam.WorkersEngine, Later]:
    """Two workers, of which the second loads its model when the first is at work.

    Args:
        makes: the model that the n-th worker loads.
    """
    here = Later(2)
    numbers = count()
    monkeypatch.setattr(seam, "Cluster", lambda _: here)
    monkeypatch.setattr(seam, "make_engine", lambda *_: makes(next(numbers)))
    return seam.WorkersEngine("organism", Decoding(), EngineOptions(on="local")), here


def test_a_worker_that_joins_late_takes_its_part(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, here = joining_late(monkeypatch, lambda _: Model(peaceful))
    assert len(ask(engine, 2000)) == 2000
    assert all(sum(actor.sent) > 200 for actor in here.actors)


def other_weights(n: int) -> Model:
    model = Model(peaceful)
    model.address = "elsewhere" if n else "here"
    return model


def without_folder(n: int) -> Model:
    if n:
        raise ModelNotFound("cannot load m: there is no such folder")
    return Model(peaceful)


@pytest.mark.parametrize(
    ("makes", "told"),
    [
        (other_weights, "one worker has weights elsewhere, but another has weights here; make"),
        (without_folder, "cannot load m: there is no such folder"),
    ],
)
def test_a_worker_that_joins_late_and_differs_ends_the_run_in_one_line(
    monkeypatch: pytest.MonkeyPatch, makes: Callable[[int], Model], told: str
) -> None:
    engine, here = joining_late(monkeypatch, makes)
    with pytest.raises(EngineError, match=told):
        ask(engine, 2000)
    assert len(here.actors) == 2, "nothing is started again"
    assert all(not actor.sent for actor in here.actors[1:]), "it is asked nothing"


@pytest.mark.parametrize("deaths", [1, 3, 4, 99])
def test_a_worker_that_dies_while_it_joins_late_costs_nothing(
    monkeypatch: pytest.MonkeyPatch, deaths: int
) -> None:
    def makes(n: int) -> Model:
        if 1 <= n <= deaths:
            raise Death("its node was taken away")
        return Model(peaceful)

    engine, here = joining_late(monkeypatch, makes)
    found = ask(engine, 3000)
    assert len(found) == 3000
    assert all(response.settled and not response.failures for response in found.values())
    assert len(here.actors) == 2 + min(deaths, 3)
    assert f"workers that died and were started again: {min(deaths, 3)}" in engine.notes
    assert ("workers given up: 1" in engine.notes) == (deaths > 3)


def test_the_only_worker_that_is_there_dies_before_it_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine, here = joining_late(monkeypatch, lambda _: Model(peaceful))

    class Gone:
        class exchange:  # noqa: N801
            @staticmethod
            async def remote(_: Any) -> None:
                raise Death("its node was taken away")

    engine._slots[0].actor = Gone()
    assert len(ask(engine, 1000)) == 1000
    assert len(here.actors) == 3


def test_nothing_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, here = engine_of(monkeypatch, 2)
    assert ask(engine, 0) == {}
    asyncio.run(engine.close())
    assert here.left


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError("no key"),
        MissingExtra("models on vLLM", "vllm"),
        UnknownName("model", "x", ["y", "z"]),
    ],
)
def test_errors_keep_class_and_text(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fate(text: str) -> None:
        if text == "poison":
            raise error

    engine, _ = engine_of(monkeypatch, 2, fate)
    with pytest.raises(type(error)) as caught:
        ask(engine, 600, [300])
    assert str(caught.value) == str(error)
    assert len(ask(engine, 600)) == 600, "with new workers, as the old ones are still at work"


def test_an_engine_that_settles_less_than_it_drew(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lossy(Model):
        async def answer(self, requests: Iterator[Request], _: Any) -> None:
            list(requests)

    engine, _ = engine_of(monkeypatch, 1)
    monkeypatch.setattr(seam, "make_engine", lambda *_: Lossy(peaceful))
    asyncio.run(engine.close())
    with pytest.raises(RuntimeError, match="settled all but 10 requests"):
        ask(engine, 10)
