"""An endpoint that fails, a process that is killed, a user who interrupts: nothing is lost."""

from __future__ import annotations

import importlib
import random
import shutil
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from clock import seconds_for
from evenhand import RunOptions, audit
from evenhand.cli import interrupts
from evenhand.engines import throttle
from evenhand.run.recorder import Progress
from runs import command, finish, plan_of, server_keys, stored, write_benchmark
from server import Faults, Server, answer_of, serving

MODEL = "openai/test"


def arguments(server: Server, benchmark: Path, out: Path, *more: str) -> list[str]:
    study = ["-b", str(benchmark), "--decoding-seed", "0"]
    return ["audit", MODEL, *study, "--base-url", server.url, "--out", str(out), *more]


def assert_all_right(folder: Path, benchmark: Path, **fields: object) -> None:
    """Every cell once, each with the answer that the server gives to exactly this cell."""
    rows = stored(folder)
    keys = server_keys(plan_of(MODEL, benchmark, **fields))
    assert Counter(key for key, *_ in rows) == dict.fromkeys(keys, 1)
    assert {key: text for key, text, *_ in rows} == {k: answer_of(v) for k, v in keys.items()}


@pytest.mark.slow
def test_every_cell_once_and_right_under_all_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "_BACKOFF_FIRST", 0.02)
    benchmark = write_benchmark(tmp_path / "own.jsonl", 60)
    shown: list[tuple[int, int]] = []

    def show(progress: Progress) -> None:
        shown.append((progress.done, len(stored(tmp_path / "run"))))

    with serving(faults=Faults(), log=tmp_path / "log") as server:
        result = audit(
            MODEL,
            out=tmp_path / "run",
            options=RunOptions(base_urls=(server.url,), timeout=10),
            on_progress=show,
            benchmarks=[str(benchmark)],
            decoding={"seed": 0},
        )
    assert result.cells == result.done == 32 * 60
    assert_all_right(tmp_path / "run", benchmark)
    assert Counter(server.answers) == Counter(set(server.answers)), "an answered cell asked again"
    # What was shown as done was on disk at that moment; and it was not all shown at the end.
    assert all(done <= on_disk for done, on_disk in shown)
    assert len({done for done, _ in shown}) > 2
    # Each attempt is accounted for: those that failed, and the one that brought the answer.
    failed = len(server.requests) - len(server.answers)
    attempts = Counter({key: attempts for key, _, _, attempts in stored(tmp_path / "run")})
    assert failed > 100
    assert result.failed_attempts == failed
    assert sum(attempts.values()) == len(server.requests)
    in_log = Counter(server.requests)
    keys = server_keys(plan_of(MODEL, benchmark))
    assert all(attempts[key] == in_log[name] for key, name in keys.items())
    with sqlite3.connect(tmp_path / "run" / "run.db") as connection:
        statuses = dict(connection.execute("SELECT status, count(*) FROM failure GROUP BY status"))
    assert statuses[429] == server.statuses.count(429)
    assert statuses[500] == server.statuses.count(500)
    assert statuses[0] > 0  # dropped connections and truncated JSON


@pytest.mark.slow
def test_killed_at_ten_random_moments(tmp_path: Path) -> None:
    draw = random.Random(20240607)
    benchmark = write_benchmark(tmp_path / "own.jsonl", 40)
    run = tmp_path / "run"
    names = server_keys(plan_of(MODEL, benchmark))
    kills_amid_answers = 0
    with serving(latency=0.02, faults=Faults(seed=1)) as server:
        for _ in range(10):
            before = len(server.requests)
            on_disk = {names[key] for key, *_ in stored(run)} if run.exists() else set()
            process = command(arguments(server, benchmark, run, "--max-connections", "16"))
            wanted = draw.choice([0, 1, draw.randrange(200), draw.randrange(200)])
            deadline = time.monotonic() + seconds_for(20)
            while len(server.requests) < before + wanted and time.monotonic() < deadline:
                assert process.poll() is None, process.communicate()[1]
                time.sleep(0.002)
            time.sleep(draw.uniform(0, 0.5))
            process.kill()
            finish(process)
            time.sleep(0.1)  # what it had sent still arrives
            assert not on_disk & set(server.requests[before:])
            kills_amid_answers += len(on_disk) < len(stored(run))
        assert kills_amid_answers >= 3
        assert len(stored(run)) < len(names), "the run was over before the last kill"
        before, on_disk = len(server.requests), {names[key] for key, *_ in stored(run)}
        code, _, error = finish(command(arguments(server, benchmark, run)))
        assert code == 0, error
        assert not on_disk & set(server.requests[before:])
    assert_all_right(run, benchmark)


def test_killed_at_any_step_of_the_start(tmp_path: Path) -> None:
    """A folder in the state that each step of the start leaves behind is taken up again."""
    benchmark = write_benchmark(tmp_path / "own.jsonl", 2)
    run = tmp_path / "run"
    with serving() as server:
        for step in ("folder", "blank file", "empty database"):
            run.mkdir()
            if step == "blank file":
                (run / "run.db").touch()
            if step == "empty database":
                sqlite3.connect(run / "run.db").execute("PRAGMA journal_mode=WAL")
            result = audit(
                MODEL,
                out=run,
                options=RunOptions(base_urls=(server.url,)),
                benchmarks=[str(benchmark)],
                identities=["religion"],
            )
            assert result.done == result.cells, step
            shutil.rmtree(run)


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupt_ends_soon_and_resumes(tmp_path: Path, ending: signal.Signals) -> None:
    benchmark = write_benchmark(tmp_path / "own.jsonl", 30)
    run = tmp_path / "run"
    with serving(latency=0.05) as server:
        process = command(arguments(server, benchmark, run, "--max-connections", "8"))
        while len(server.answers) < 100:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.01)
        server.latency = 30  # requests under way must not hold it up
        time.sleep(0.1)
        process.send_signal(ending)
        started = time.monotonic()
        code, out, error = finish(process)
        assert time.monotonic() - started < seconds_for(2)
        assert code == 130
        assert out == ""
        assert error.count("\n") == 1
        assert "Run the same command to resume." in error
        assert str(run) in error
        kept = {key for key, *_ in stored(run)}
        assert f"{len(kept):,} of 960" in error
        assert len(kept) >= 90, "what had arrived was not written down"
        names, before = server_keys(plan_of(MODEL, benchmark)), len(server.requests)
        server.latency = 0
        code, _, error = finish(command(arguments(server, benchmark, run)))
        assert code == 0, error
        assert not {names[key] for key in kept} & set(server.requests[before:])
    assert_all_right(run, benchmark)


@pytest.mark.parametrize("gap", [0.0, 0.003, 0.01, 0.03])
@pytest.mark.slow
def test_an_interrupt_that_comes_twice_ends_like_one(tmp_path: Path, gap: float) -> None:
    """As `timeout -s INT` and other programs that start us send it."""
    benchmark = write_benchmark(tmp_path / "own.jsonl", 30)
    with serving(latency=0.02) as server:
        process = command(arguments(server, benchmark, tmp_path / "run"))
        while len(server.answers) < 100:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        time.sleep(gap)
        process.send_signal(signal.SIGINT)
        code, _, error = finish(process)
    assert code in (130, -signal.SIGINT), "the second may meet us on the way out"
    assert error.startswith("Interrupted;")
    assert "Traceback" not in error.partition("to resume")[0]


def test_answers_that_come_during_the_last_write_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slow disk, fast end: the engine finishes while a batch is being written."""
    from evenhand.store.store import Store

    flush = Store.flush

    def slow_flush(self: Store) -> None:
        flush(self)
        time.sleep(0.4)

    monkeypatch.setattr(Store, "flush", slow_flush)
    benchmark = write_benchmark(tmp_path / "own.jsonl", 6)
    with serving(latency=0.1) as server:
        result = audit(
            MODEL,
            out=tmp_path / "run",
            options=RunOptions(base_urls=(server.url,), max_connections=8),
            benchmarks=[str(benchmark)],
            identities=["religion"],
            decoding={"seed": 0},
        )
    assert result.done == result.cells == 36
    assert len(stored(tmp_path / "run")) == 36
    assert len(server.answers) == 36


def write_slow_module(folder: Path, seconds: float) -> str:
    """A module that is interrupted while it is imported, and takes so long for it; its name."""
    name = f"slow_{seconds}".replace(".", "_")
    (folder / f"{name}.py").write_text(
        "import signal, time\n"
        "signal.raise_signal(signal.SIGTERM)\n"
        f"time.sleep({seconds})\n"
        "IS_WHOLE = True\n"
    )
    return name


def test_an_interrupt_leaves_modules_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the start of a module of C++, as torch is, an exception ends the process."""
    monkeypatch.syspath_prepend(str(tmp_path))
    names = [write_slow_module(tmp_path, seconds) for seconds in (0.2, 0.8)]

    def imported(name: str) -> None:
        importlib.import_module(name)
        time.sleep(30)

    async def work() -> None:
        imported(names[1])

    begun: list[Callable[[], None]] = [
        lambda: imported(names[0]),
        lambda: interrupts.run_to_interrupt(work()),
    ]
    for begin in begun:
        monkeypatch.setattr(interrupts, "_last", -1.0)
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt), interrupts.ended_alike():
            begin()
        assert time.monotonic() - started < 20
    assert all(sys.modules.pop(name).IS_WHOLE for name in names)
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
