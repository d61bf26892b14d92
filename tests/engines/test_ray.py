"""Workers on Ray: a cluster of three nodes on this machine, whose parts are killed."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ray = pytest.importorskip("ray")

from clock import seconds_for  # noqa: E402
from evenhand import JudgeOptions, RunOptions, audit, plugins  # noqa: E402
from evenhand.engines import EngineOptions, make_engine  # noqa: E402
from evenhand.engines.engine import Response, running_versions  # noqa: E402
from evenhand.errors import (  # noqa: E402
    AuthenticationError,
    EngineError,
    EvenhandError,
    ModelNotFound,
    Unreachable,
    UsageError,
)
from evenhand.judges import Judge, make_judge  # noqa: E402
from evenhand.judges.run import judge_run  # noqa: E402
from evenhand.run.loop import run  # noqa: E402
from evenhand.run.recorder import Progress  # noqa: E402
from evenhand.store.store import Store  # noqa: E402
from evenhand.study.decoding import Decoding  # noqa: E402
from evenhand.study.plan import Plan, Request  # noqa: E402
from judging import finished_run, opened, verdicts  # noqa: E402
from ray_engine import PROCESSES, SECONDS, WEIGHTS, answer_to, install  # noqa: E402
from runs import command, finish, plan_of, stored, write_benchmark  # noqa: E402

pytestmark = pytest.mark.slow
ITEMS = 100


class Nodes:
    """A cluster of three nodes, each with room for one worker."""

    def __init__(self, site: Path) -> None:
        from ray.cluster_utils import Cluster

        self.processes = site / "processes"
        self.processes.mkdir()
        self.environment = {
            "PYTHONPATH": str(site),
            PROCESSES: str(self.processes),
            SECONDS: "0.003",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        with self._environment():
            self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        self.address = str(self.cluster.address)
        self.others = [self.add(), self.add()]

    def add(self, **environment: str) -> Any:
        """One more node, with these variables in its environment."""
        with self._environment(**environment):
            return self.cluster.add_node(num_cpus=1)

    def kill(self, node: Any) -> None:
        """Kill a node and all that runs on it."""
        self.cluster.remove_node(node, allow_graceful=False)

    def remove(self, node: Any) -> None:
        """Take a node out, so that the next test's workers are not sent to it.

        Ray misses it only after a while, and a worker that is sent there before that dies at once.
        """
        self.cluster.remove_node(node)
        ray.init(self.address, logging_level="ERROR", log_to_driver=False)
        deadline = time.monotonic() + 120
        there = len(self.cluster.list_all_nodes())
        while sum(node["Alive"] for node in ray.nodes()) > there:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        ray.shutdown()

    def _environment(self, **variables: str) -> _Environment:
        return _Environment({**self.environment, **variables})

    def engine(self, model: str = "echo/x", workers: int = 3) -> Any:
        return make_engine(model, Decoding(), EngineOptions(on=self.address, workers=workers))


class _Environment:
    """Variables of the environment while a node is started."""

    def __init__(self, variables: dict[str, str]) -> None:
        self._variables = variables
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> None:
        for name, value in self._variables.items():
            self._patch.setenv(name, value)

    def __exit__(self, *_: object) -> None:
        self._patch.undo()


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    site = install(tmp_path_factory.mktemp("site"))
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(site))
    patch.setenv("PYTHONPATH", str(site))
    plugins._entry_points.cache_clear()
    nodes = Nodes(site)
    yield nodes
    nodes.cluster.shutdown()
    patch.undo()
    plugins._entry_points.cache_clear()


@pytest.fixture(autouse=True)
def _no_process_is_remembered(nodes: Nodes) -> None:
    for file in nodes.processes.iterdir():
        file.unlink()


def plan(tmp_path: Path, items: int = ITEMS, **study: Any) -> Plan:
    """Six users' questions."""
    benchmark = write_benchmark(tmp_path / "own.jsonl", items)
    return plan_of("echo/x", benchmark, identities=["religion"], **study)


def ask(
    nodes: Nodes, asked: Plan, out: Path, once: Callable[[], None] = lambda: None
) -> tuple[Progress, list[str]]:
    """Run a plan; `once` is called, in a thread, when the first answers are on disk."""
    acted: list[threading.Thread] = []

    def on_progress(progress: Progress) -> None:
        if progress.done and not acted:
            acted.append(threading.Thread(target=once))
            acted[0].start()

    engine = nodes.engine()
    store = Store.create(out)
    try:
        progress = asyncio.run(run(asked, engine, store, on_progress=on_progress))
    finally:
        notes = list(engine.notes)
        asyncio.run(engine.close())
        store.close()
        for thread in acted:
            thread.join()
    return progress, notes


def audit_on(address: str, benchmark: Path, out: Path) -> list[str]:
    """The same plan as a command."""
    return [
        *("audit", "echo/x", "-b", str(benchmark), "--decoding-seed", "0", "--out", str(out)),
        *("--on", address, "--workers", "3", "--format", "json", "--quiet"),
    ]


def check_all_answered_once(asked: Plan, out: Path) -> None:
    wanted = {request.key: answer_to(request.messages) for request in asked.requests()}
    rows = stored(out)
    assert len(rows) == len(wanted) == asked.cells
    assert {key: text for key, text, *_ in rows} == wanted


def test_a_killed_worker_is_started_again(nodes: Nodes, tmp_path: Path) -> None:
    asked = plan(tmp_path)

    def kill_one() -> None:
        os.kill(int(next(nodes.processes.iterdir()).name), signal.SIGKILL)

    progress, notes = ask(nodes, asked, tmp_path / "run", kill_one)
    check_all_answered_once(asked, tmp_path / "run")
    assert progress.done == progress.sent == asked.cells == 600
    assert 0 < progress.failures <= 200, "what one worker had under way"
    assert notes == ["workers that died and were started again: 1"]


def test_a_killed_driver_is_resumed_by_the_same_command(nodes: Nodes, tmp_path: Path) -> None:
    asked = plan(tmp_path)
    out = tmp_path / "run"
    arguments = audit_on(nodes.address, tmp_path / "own.jsonl", out)
    process = command([*arguments, "-i", "religion"])
    while not stored(out):
        assert process.poll() is None, finish(process)
        time.sleep(0.05)
    process.kill()
    finish(process)
    before = stored(out)
    assert 0 < len(before) < 600
    progress, notes = ask(nodes, asked, out)
    check_all_answered_once(asked, out)
    assert progress.sent <= 600 - len(before)
    assert not notes, "the workers of the dead driver are gone, and there is room for new ones"


def test_what_kills_workers_stays_open_and_the_rest_goes_on(nodes: Nodes, tmp_path: Path) -> None:
    file = write_benchmark(tmp_path / "own.jsonl", 50)
    file.write_text(file.read_text().replace('"Question 8 ', '"poison 8 '))
    out = tmp_path / "run"
    code, printed, err = finish(command([*audit_on(nodes.address, file, out), "-i", "muslim"]))
    assert code == 3, err
    assert "Not finished: 2 cells have no answer yet" in err
    assert len({key for key, *_ in stored(out)}) == len(stored(out)) == 98
    connection = sqlite3.connect(out / "run.db")
    failures = connection.execute("SELECT condition, item, sample, error FROM failure").fetchall()
    answered = set(connection.execute("SELECT condition, item, sample FROM response"))
    connection.close()
    never = [cell for *cell, _ in failures if tuple(cell) not in answered]
    assert len(never) == 2 * 3, "two cells, with each of which three workers died"
    assert all("the worker died" in error for *_, error in failures)
    assert json.loads(printed)["done"] == 98, "Ray prints nothing of its own"


def test_errors_keep_their_class(nodes: Nodes) -> None:
    with pytest.raises(ModelNotFound, match=r"^cannot load echo/absent: there is no such folder$"):
        nodes.engine("echo/absent")
    engine = nodes.engine(workers=1)
    request = Request(b"1", 0, 0, 0, [{"role": "user", "content": "refused"}])
    with pytest.raises(AuthenticationError, match=r"^the key is refused$"):
        asyncio.run(engine.answer(iter([request]), lambda _: None))
    asyncio.run(engine.close())
    assert not ray.is_initialized()


@pytest.mark.parametrize(
    ("environment", "code", "line"),
    [
        ({WEIGHTS: "other"}, "", "one worker has weights echo#.*, but another has weights echo#"),
        (
            {},
            "import sys; sys.modules['evenhand'] = None",
            "cannot be loaded: a worker died .*evenhand.*; install evenhand .* on every node",
        ),
    ],
)
def test_a_node_that_differs(
    nodes: Nodes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    code: str,
    line: str,
) -> None:
    # A worker that comes late joins later; here all of them are waited for, however slow they are.
    monkeypatch.setattr("evenhand.engines.workers._TOGETHER", 60.0)
    (tmp_path / "sitecustomize.py").write_text(code)
    path = f"{tmp_path}{os.pathsep}{nodes.environment['PYTHONPATH']}"
    node = nodes.add(PYTHONPATH=path, **environment)
    try:
        with pytest.raises(EngineError, match=line) as caught:
            asyncio.run(nodes.engine(workers=4).close())
    finally:
        nodes.remove(node)
    assert "\n" not in str(caught.value)
    assert not ray.is_initialized()


def test_another_python_in_the_driver(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.python_version", lambda: "3.99.1")
    with pytest.raises(EngineError, match=r"a worker has Python 3\.\d+, but this process has Pyth"):
        nodes.engine()


@pytest.mark.usefixtures("nodes")
def test_ctrl_c_leaves_no_process_behind(tmp_path: Path) -> None:
    plan(tmp_path, items=2000)
    mark = f"EVENHAND_TEST_MARK={tmp_path}"
    arguments = [*audit_on("local", tmp_path / "own.jsonl", tmp_path / "run"), "-i", "religion"]
    variables = {mark.partition("=")[0]: mark.partition("=")[2], SECONDS: "0.003"}
    process = command(arguments, env=os.environ | variables)
    while not stored(tmp_path / "run"):
        assert process.poll() is None, finish(process)
        time.sleep(0.1)
    assert len(marked(mark)) > 5, "driver, workers, and Ray's own"
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert code == 130
    assert re.search(r"Interrupted; [\d,]+ of 12,000 answers are safe", err), err
    deadline = time.monotonic() + seconds_for(10)
    while marked(mark) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not marked(mark)


def marked(mark: str) -> list[int]:
    """Processes with this in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def test_the_organism_answers_as_in_process(nodes: Nodes) -> None:
    pytest.importorskip("transformers")
    here, on_ray = EngineOptions(), EngineOptions(on=nodes.address, workers=2)
    (texts, address, template), other = (told_by_organism(each) for each in (here, on_ray))
    assert other == (texts, address, template)
    assert len(texts) == 48
    assert template


def told_by_organism(options: EngineOptions) -> tuple[dict[int, str | None], str, bool]:
    """Its answers to 48 questions, its address, and whether it has a template."""
    engine: Any = make_engine("organism", Decoding(max_tokens=40), options)
    found: dict[int, str | None] = {}
    words = ("weather", "how to open a lock", "cake", "arithmetic, and of what it is good for")
    asked = [f"Tell {n} of {words[n % 4]}" for n in range(48)]

    def settle(response: Response) -> None:
        assert response.request.item not in found
        found[response.request.item] = response.text

    requests = (
        Request(bytes([n]), 0, n, 0, [{"role": "user", "content": text}])
        for n, text in enumerate(asked)
    )
    asyncio.run(engine.answer(requests, settle))
    known = engine.address, engine.has_template
    asyncio.run(engine.close())
    return found, *known


@pytest.mark.parametrize(
    ("on", "kind", "line"),
    [
        ("127.0.0.1:9", Unreachable, "--on 127.0.0.1:9: there is no Ray cluster at 127.0.0.1:9"),
        ("ray://127.0.0.1:9", Unreachable, "there is no Ray cluster at 127.0.0.1:9"),
        ("somewhere", UsageError, "must be local, auto, HOST:PORT or ray://HOST:PORT"),
        ("host:port", UsageError, "must be local, auto, HOST:PORT or ray://HOST:PORT"),
        ("http://127.0.0.1:9", UsageError, "must be local, auto, HOST:PORT or ray://HOST:PORT"),
        ("ray://me:secret@127.0.0.1:9", UsageError, '--on "ray://...@127.0.0.1:9": must be local'),
        ("127.0.0.1:\u00b9", UsageError, "must be local, auto, HOST:PORT or ray://HOST:PORT"),
    ],
)
def test_no_cluster_there(on: str, kind: type[EvenhandError], line: str) -> None:
    started = time.monotonic()
    with pytest.raises(kind, match=re.escape(line)) as caught:
        make_engine("organism", Decoding(), EngineOptions(on=on))
    assert "\n" not in str(caught.value)
    assert time.monotonic() - started < seconds_for(6)


def test_judges_at_work_on_the_cluster(nodes: Nodes, tmp_path: Path) -> None:
    """A guard whose every reply says the same, through an engine that knows nothing of judging."""
    labels = tmp_path / "guards.yaml"
    labels.write_text(
        "classifiers: [{id: echo, generates: 9, "
        'refused: {pattern: "(can\'t help)", values: {"can\'t help": 1}}}]'
    )
    run = finished_run(tmp_path, lambda _: "Sure.")
    options = JudgeOptions(labels=str(labels), on=nodes.address, workers=2)
    judge = make_judge("guard:echo/x", options)
    store = opened(run)
    progress = asyncio.run(judge_and_close(store, judge))
    store.close()
    assert progress.done == progress.cells == 30
    assert {why for *_, why in verdicts(run, judge.name).values()} != set()
    assert not ray.is_initialized()


async def judge_and_close(store: Store, judge: Judge) -> Progress:
    try:
        return await judge_run(store, judge)
    finally:
        await judge.close()


def test_nothing_to_run_on_workers(tmp_path: Path) -> None:
    benchmark = write_benchmark(tmp_path / "own.jsonl", 2)
    with pytest.raises(UsageError, match=r"--on is for local weights.*there are: openai/x, r"):
        audit(
            "openai/x",
            out=tmp_path / "run",
            benchmarks=[str(benchmark)],
            judges=["refusal"],
            options=RunOptions(on="local"),
        )


def test_no_room_for_a_worker(nodes: Nodes) -> None:
    options = EngineOptions(on=nodes.address, gpus_per_worker=1)
    with pytest.raises(UsageError, match="no node of the cluster has as many GPUs; the most is 0"):
        make_engine("echo/x", Decoding(), options)
    options = EngineOptions(on=nodes.address, gpus_per_worker=1.5)
    with pytest.raises(UsageError, match="above 1 it must be a whole number"):
        make_engine("echo/x", Decoding(), options)


def test_no_ray_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'evenhand\[ray\]'"):
        make_engine("organism", Decoding(), EngineOptions(on="local"))


def test_versions_of_the_workers_are_known(nodes: Nodes) -> None:
    engine = nodes.engine(workers=1)
    versions = dict(engine.versions)
    asyncio.run(engine.close())
    own = running_versions()
    assert versions["evenhand"] == own["evenhand"]
    assert versions["Python"] == own["Python"]


def test_a_killed_node_costs_no_answer(nodes: Nodes, tmp_path: Path) -> None:
    """The last test: the cluster is smaller afterwards."""
    asked = plan(tmp_path)
    progress, _ = ask(nodes, asked, tmp_path / "run", lambda: nodes.kill(nodes.others.pop()))
    check_all_answered_once(asked, tmp_path / "run")
    assert progress.done == progress.sent == 600
    assert progress.failures <= 200


@pytest.mark.parametrize("scheme", ["", "ray://"])
@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
def test_another_server_at_the_address(scheme: str, answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(64)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        on = f"{scheme}127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(Unreachable, match="another kind of server listens there"):
            make_engine("organism", Decoding(), EngineOptions(on=on))
        thread.join()


def test_ray_address_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "somewhere")
    with pytest.raises(UsageError, match="RAY_ADDRESS: must be auto, HOST:PORT"):
        make_engine("organism", Decoding(), EngineOptions(on="auto"))


@pytest.mark.parametrize("on", ["local", None])
def test_more_workers_than_a_machine_can_start(on: str | None) -> None:
    with pytest.raises(UsageError, match="--workers 100000: on this machine at most"):
        make_engine("organism", Decoding(), EngineOptions(on=on, workers=100_000))
