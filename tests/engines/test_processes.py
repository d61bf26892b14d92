"""Workers in processes of this machine: they die, and nothing of them is left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clock import seconds_for
from evenhand.engines import EngineOptions, hosts
from evenhand.engines.hosts import Processes, WorkerDied
from evenhand.engines.workers import WorkersEngine
from evenhand.errors import EngineError, RunFolderError, UsageError
from evenhand.store.store import Store
from evenhand.study.decoding import Decoding
from process_worker import Worker
from runs import run_main, write_benchmark


@pytest.fixture
def place() -> Processes:
    return Processes()


@pytest.fixture
def worker(place: Processes) -> Iterator[Any]:
    started = place.start(Worker, 0.0)
    yield started
    place.kill(started)


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def gone(pid: int, within: float = 10.0) -> bool:
    until = time.monotonic() + seconds_for(within)
    while is_there(pid) and time.monotonic() < until:
        time.sleep(0.05)
    return not is_there(pid)


def test_calls_and_what_comes_of_them(place: Processes, worker: Any) -> None:
    first, second = worker.add.remote(1, 2), worker.add.remote(3, 4)
    assert [place.get(first), place.get(second)] == [3, 7]
    slow, quick = worker.wait.remote(5.0), worker.wait.remote(0.0)
    assert place.wait([slow, quick], 1, None) == [quick]
    assert place.wait([slow], 1, 0.05) == []
    assert place.wait([], 0, None) == []

    async def awaited() -> int:
        return int(await worker.add.remote(5, 6))

    assert asyncio.run(awaited()) == 11
    with pytest.raises(RuntimeError, match=r"in a worker: (?s:.*)ValueError: no such thing"):
        place.get(worker.fail.remote("no such thing"))
    assert place.get(worker.add.remote(1, 1)) == 2, "it lives on"


def test_a_call_that_nobody_waits_for_any_longer(place: Processes, worker: Any) -> None:
    async def given_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(worker.wait.remote(0.2), 0.01)
        await asyncio.sleep(0.3)

    asyncio.run(given_up())
    assert place.get(worker.add.remote(1, 1)) == 2


def test_a_killed_worker_says_so_to_all_who_wait(place: Processes, worker: Any) -> None:
    waiting = worker.wait.remote(60.0)
    pid = place.get(worker.pid.remote())
    os.kill(pid, signal.SIGKILL)
    for reply in (waiting, worker.add.remote(1, 1)):
        with pytest.raises(WorkerDied, match="killed by SIGKILL, as when memory runs out"):
            place.get(reply)
    with pytest.raises(WorkerDied):
        place.get(worker.add.remote(1, 1))


def test_the_last_words_of_a_worker(place: Processes, worker: Any) -> None:
    with pytest.raises(WorkerDied, match="ended with code 3: no space left"):
        place.get(worker.end.remote(3, "much\nno space left"))


def test_ctrl_c_is_for_the_driver(place: Processes, worker: Any) -> None:
    assert place.get(worker.interrupt.remote()) == "still here"


def test_a_worker_ends_with_its_driver(tmp_path: Path) -> None:
    """The script has no `if __name__ == "__main__"`, and is not run again by the worker."""
    script = tmp_path / "driver.py"
    script.write_text(
        "import os, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from evenhand.engines.hosts import Processes\n"
        "from process_worker import Worker\n"
        "place = Processes()\n"
        "worker = place.start(Worker, 0.0)\n"
        "print(place.get(worker.pid.remote()), flush=True)\n"
        "place.get(worker.wait.remote(60.0))\n"
    )
    driver = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    pid = int(driver.stdout.readline())
    assert is_there(pid)
    driver.kill()
    driver.wait()
    assert gone(pid)
    driver.stdout.close()


def test_where_there_is_no_room(place: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    assert place.room(3, None) == (3, 0.0)
    with pytest.raises(UsageError, match="for GPUs add --on local"):
        place.room(2, 1.0)
    monkeypatch.setattr(hosts, "can_start_processes", lambda: False)
    with pytest.raises(UsageError, match="--workers needs --on local"):
        place.room(2, None)
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    monkeypatch.setattr(hosts, "cores", lambda: 8)
    assert [place.threads(n) for n in (2, 3, 16)] == [4, 2, 1]


# With a model


def started_by(pid: int) -> list[int]:
    """Workers of a process."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [
        int(child)
        for child in listed
        if "evenhand.engines.hosts" in Path(f"/proc/{child}/cmdline").read_text()
    ]


def command(out: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "evenhand", "audit", "organism", "--workers", "2"),
        *("-b", "demo_arithmetic", "-i", "religion,gender", "--out", str(out), "--format", "json"),
    ]


def stored(out: Path) -> int:
    try:
        store = Store.open(out)
    except RunFolderError:  # not yet
        return 0
    try:
        return len(store.keys())
    finally:
        store.close()


def wait_for(condition: Callable[[], object], running: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 400  # other work may go on beside
    while not condition():
        assert running.poll() is None
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.slow  # the organism is loaded five times
def test_a_killed_worker_and_ctrl_c_cost_no_answer(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    out = tmp_path / "run"
    running = subprocess.Popen(command(out), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(lambda: len(started_by(running.pid)) == 2 and stored(out), running)
    first, second = started_by(running.pid)
    os.kill(first, signal.SIGKILL)
    assert gone(first)
    wait_for(lambda: len(started_by(running.pid)) == 2, running)
    (third,) = set(started_by(running.pid)) - {second}
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert b"Interrupted" in said
    assert gone(second)
    assert gone(third)
    before = stored(out)

    again = subprocess.run(command(out), capture_output=True, timeout=300, check=False)
    assert again.returncode == 0, again.stderr
    result = json.loads(again.stdout)
    assert result["done"] == result["cells"] == stored(out) > before


@pytest.mark.slow  # two workers import torch
def test_a_model_that_does_not_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    (tmp_path / "empty").mkdir()
    benchmark = str(write_benchmark(tmp_path / "own.jsonl", 2))
    command = ["audit", f"hf/{tmp_path / 'empty'}", "--workers", "2", "-b", benchmark]
    assert run_main([*command, "--out", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err
    assert "cannot load" in told
    assert told.count("\n") == 1, told


def test_workers_that_have_not_loaded_the_model_have_no_notes() -> None:
    """A run may end before the workers that it had started are ready."""
    engine = WorkersEngine("organism", Decoding(), EngineOptions(workers=1), wait=False)
    try:
        assert not engine.is_ready()
        assert not engine.notes
    finally:
        asyncio.run(engine.close())


def test_workers_that_die_while_they_load_are_none() -> None:
    engine = WorkersEngine("organism", Decoding(), EngineOptions(workers=2), wait=False)
    try:
        for slot in engine._slots:
            os.kill(slot.actor._popen.pid, signal.SIGKILL)
        loading = [slot.loading for slot in engine._slots]
        assert len(engine._place.wait(loading, 2, seconds_for(10))) == 2
        with pytest.raises(EngineError, match=r"killed by SIGKILL, as when memory runs out"):
            engine.is_ready()
    finally:
        asyncio.run(engine.close())


def test_a_system_that_starts_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(EngineError, match="cannot start a worker: Resource temporarily unavail"):
        WorkersEngine("organism", Decoding(), EngineOptions(workers=2))
