"""What has come survives the death of the process; the run folder is the user's alone."""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from evenhand.cli.progress import ProgressBar
from evenhand.errors import StoreError
from evenhand.run.recorder import Progress
from evenhand.store import database
from evenhand.store.database import OWN_FILES
from evenhand.store.store import Store
from evenhand.store.tallies import condition_tallies
from runs import command, finish, plan_of, run_main, stored, write_benchmark
from server import serving

MODEL = "openai/test"

DIES_AMID_ANSWERS = """
import os, signal, sys
import evenhand
from evenhand.engines.engine import Response

class Engine:
    model, address, notes = "test", "here", ()

    def rendered(self, messages):
        return str(messages)

    async def answer(self, requests, settle):
        for number, request in enumerate(requests):
            if number == int(sys.argv[3]):
                os.kill(os.getpid(), signal.SIGKILL)
            settle(Response(request, f"answer {number}", thought="hm", served="m-1"))

    async def close(self):
        pass

evenhand.audit("openai/test", benchmarks=[sys.argv[1]], out=sys.argv[2], engine=Engine())
"""


def dies_after(answers: int, benchmark: Path, run: Path) -> None:
    """An audit that is killed when so many answers have come, before it awaits anything."""
    arguments = [sys.executable, "-c", DIES_AMID_ANSWERS, str(benchmark), str(run), str(answers)]
    ended = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


@pytest.mark.slow
def test_kill_at_full_speed_loses_no_answer_that_has_come(tmp_path: Path) -> None:
    benchmark = write_benchmark(tmp_path / "own.jsonl", 40)
    run = tmp_path / "run"
    dies_after(1000, benchmark, run)
    assert len(stored(run)) < 1000, "nothing was left to the journal, and this shows nothing"
    store = Store.open(run)
    answers = [answer.text for answer in store.stored_answers() if answer.text]
    assert sorted(answers) == sorted(f"answer {number}" for number in range(1000))
    store.close()
    assert len(stored(run)) == 1000
    assert not list(run.glob("*journal*"))


@pytest.mark.slow
def test_a_second_death_amid_the_same_run_loses_nothing_either(tmp_path: Path) -> None:
    benchmark = write_benchmark(tmp_path / "own.jsonl", 40)
    run = tmp_path / "run"
    dies_after(500, benchmark, run)
    dies_after(500, benchmark, run)
    store = Store.open(run)
    assert len(store.keys()) == 1000
    tallies = condition_tallies(store).values()
    assert sum(tally.responses for tally in tallies) == 1000
    store.close()


@pytest.mark.slow
def test_the_last_line_of_a_journal_may_be_cut_short(tmp_path: Path) -> None:
    benchmark = write_benchmark(tmp_path / "own.jsonl", 10)
    run = tmp_path / "run"
    dies_after(200, benchmark, run)
    journal = next(file for file in run.glob("run.journal-*") if file.stat().st_size)
    journal.write_bytes(journal.read_bytes()[:-20])
    store = Store.open(run)
    assert len(store.keys()) == 199
    store.close()


@pytest.mark.slow
def test_a_journal_that_says_nonsense_is_told_in_one_line(tmp_path: Path) -> None:
    benchmark = write_benchmark(tmp_path / "own.jsonl", 10)
    run = tmp_path / "run"
    dies_after(200, benchmark, run)
    journal = next(file for file in run.glob("run.journal-*") if file.stat().st_size)
    for nonsense in (b'[999,[["drop",[1]]]]\n', b'[999,[["response",["xy"]]]]\n'):
        journal.write_bytes(nonsense)
        with pytest.raises(StoreError, match="was left as it is"):
            Store.open(run)


@pytest.mark.slow
def test_kill_9_costs_the_requests_under_way_at_most(tmp_path: Path) -> None:
    """Over HTTP, as fast as it goes: what was answered is hardly ever asked again."""
    benchmark = write_benchmark(tmp_path / "own.jsonl", 60)
    run = tmp_path / "run"
    connections = 16
    with serving() as server:
        arguments = ["audit", MODEL, "-b", str(benchmark), "--base-url", server.url]
        arguments += ["--out", str(run), "--max-connections", str(connections)]
        for kill_at in (300, 700, 1100):
            process = command(arguments)
            while len(server.answers) < kill_at:
                assert process.poll() is None, process.communicate()[1]
                time.sleep(0.0005)
            process.kill()
            finish(process)
        code, _, error = finish(command(arguments))
        assert code == 0, error
        again = Counter(server.requests)
        assert sum(again.values()) - len(again) <= 3 * connections
    assert len(stored(run)) == 32 * 60


@pytest.mark.parametrize("umask", [0o022, 0o000])
@pytest.mark.slow
def test_the_folder_is_the_users_alone(tmp_path: Path, umask: int) -> None:
    benchmark = write_benchmark(tmp_path / "own.jsonl", 4)
    run = tmp_path / "runs" / "first"
    with serving(latency=0.05) as server:
        arguments = ["audit", MODEL, "-b", str(benchmark), "--base-url", server.url]
        process = command([*arguments, "--out", str(run)], umask=umask)
        seen: dict[str, int] = {}
        while process.poll() is None:
            if run.exists():
                modes = {file.name: file.stat().st_mode for file in run.iterdir() if file.exists()}
                seen |= {name: stat.S_IMODE(mode) for name, mode in modes.items()}
            time.sleep(0.01)
        assert finish(process)[0] == 0
    assert stat.S_IMODE(run.stat().st_mode) == 0o700
    assert {"run.db", "run.lock", "run.db-wal", "run.journal-0"} <= set(seen)
    assert set(seen.values()) == {0o600}
    code, _, error = finish(command(["report", str(run)], umask=umask))
    assert code == 0, error
    left = {file.name: stat.S_IMODE(file.stat().st_mode) for file in run.iterdir()}
    assert left == dict.fromkeys(["run.db", "run.lock", "run.clean", "report.html"], 0o600)


@pytest.mark.parametrize("name", sorted(OWN_FILES))
def test_links_in_a_run_folder_are_not_followed(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark = write_benchmark(tmp_path / "own.jsonl", 2)
    run, target = tmp_path / "run", tmp_path / "precious"
    target.write_text("precious")
    with serving() as server:
        arguments = ["audit", MODEL, "-b", str(benchmark), "--base-url", server.url]
        arguments += ["--out", str(run)]
        assert run_main(arguments) == 0
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(target)
        capsys.readouterr()
        assert run_main([*arguments, "--samples", "2"]) == 2
        error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{name} is a symbolic link" in error
    assert target.read_text() == "precious"


def test_a_link_in_a_new_folder_is_not_followed(tmp_path: Path) -> None:
    run, target = tmp_path / "run", tmp_path / "precious"
    run.mkdir()
    (run / "run.db").symlink_to(target)
    with pytest.raises(StoreError, match="symbolic link"):
        Store.create(run)
    assert not target.exists()


def test_a_report_does_not_follow_a_link_to_another_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark = write_benchmark(tmp_path / "own.jsonl", 4)
    run, target = tmp_path / "run", tmp_path / "precious"
    target.mkdir()
    with serving() as server:
        arguments = ["audit", MODEL, "-b", str(benchmark), "--base-url", server.url]
        assert run_main([*arguments, "--out", str(run)]) == 0
    (run / "tables").symlink_to(target)
    (run / "report.html").symlink_to(target / "page")
    capsys.readouterr()
    assert run_main(["report", str(run), "--format", "csv"]) == 2
    assert "is a symbolic link, which is not followed" in capsys.readouterr().err
    assert run_main(["report", str(run)]) == 0
    assert not (run / "report.html").is_symlink()
    assert not list(target.iterdir())


@pytest.mark.slow
def test_nohup_is_obeyed(tmp_path: Path) -> None:
    """A program that is told to ignore the end of its terminal goes on."""
    benchmark = write_benchmark(tmp_path / "own.jsonl", 10)
    with serving(latency=0.05) as server:
        arguments = ["audit", MODEL, "-b", str(benchmark), "-i", "religion", "--max-connections"]
        arguments += ["4", "--base-url", server.url, "--out", str(tmp_path / "run")]
        ignore = partial(signal.signal, signal.SIGHUP, signal.SIG_IGN)
        process = command(arguments, preexec_fn=ignore)
        while len(server.answers) < 5:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGHUP)
        assert finish(process)[0] == 0
    assert len(stored(tmp_path / "run")) == 60


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP])
def test_other_commands_end_in_one_line_too(tmp_path: Path, ending: signal.Signals) -> None:
    script = "import time; from evenhand.cli import app, main\n"
    script += "def sleep():\n print('up', flush=True)\n time.sleep(300)\n"
    script += "app.command(sleep); main()"
    process = subprocess.Popen(
        [sys.executable, "-c", script, "sleep"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(ending)
    code, _, error = finish(process)
    assert (code, error) == (130, "Interrupted.\n")


def test_a_file_that_was_closed_in_order_is_not_read_through_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(MODEL, write_benchmark(tmp_path / "own.jsonl", 2))
    Store.create(tmp_path / "run").close()
    checked: list[str] = []
    looking = database._looking

    @contextmanager
    def counting(folder: Path) -> Iterator[sqlite3.Connection]:
        with looking(folder) as connection:
            connection.set_trace_callback(checked.append)
            yield connection

    monkeypatch.setattr(database, "_looking", counting)

    def checks() -> int:
        found = sum("quick_check" in statement for statement in checked)
        checked.clear()
        return found

    Store.open(tmp_path / "run").close()
    assert checks() == 0
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    os.utime(tmp_path / "copy" / "run.db", (1, 1))
    Store.open(tmp_path / "copy").close()
    assert checks() == 1
    Store.open(tmp_path / "copy").close()
    assert checks() == 0
    store = Store.open(tmp_path / "copy")
    store.set_document("a", plan.cells)
    other = Store.open(tmp_path / "copy")
    assert checks() == 1
    other.close()
    store.close()


def test_off_a_terminal_a_line_now_and_then_unless_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("evenhand.cli.progress.time.monotonic", lambda: now[0])
    for quiet in (False, True):
        now[0] = 0.0
        log = io.StringIO()
        with ProgressBar(1000, None, Console(file=log), quiet=quiet) as bar:
            for step in range(0, 4000):
                now[0] = step / 4  # the recorder calls four times a second, come what may
                bar.show(Progress(1000, done=step // 4, failures=3))
            bar.show_judging("rubric:m", Progress(50, done=7))
        lines = log.getvalue().splitlines()
        if quiet:
            assert not lines
            continue
        assert 1000 / 30 <= len(lines) <= 60
        assert re.match(r"asking  \d+/1,000  .*3 retries$", lines[0])


@pytest.mark.slow
def test_a_silent_endpoint_still_has_progress(tmp_path: Path) -> None:
    benchmark = write_benchmark(tmp_path / "own.jsonl", 10)
    often = "from evenhand.cli import main, progress; progress._LINE_EVERY = 0.3; main()"
    for quiet, lines in (([], range(2, 20)), (["--quiet"], range(1))):
        with serving(latency=1.5) as server:
            arguments = ["audit", MODEL, "-b", str(benchmark), "-i", "religion", *quiet]
            arguments += ["--base-url", server.url, "--out", str(tmp_path / f"run{len(quiet)}")]
            environment = os.environ | {"OPENAI_API_KEY": "none"}
            process = subprocess.Popen(
                [sys.executable, "-c", often, *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
            )
            code, _, error = finish(process)
        assert code == 0, error
        assert len(re.findall(r"^asking  \d+/60", error, re.MULTILINE)) in lines


@pytest.mark.slow
def test_closed_standard_streams(tmp_path: Path) -> None:
    """As some schedulers start programs: no socket may take the number of such a stream."""
    benchmark, run = write_benchmark(tmp_path / "own.jsonl", 2), tmp_path / "run"
    with serving() as server:
        words = ["audit", MODEL, "-b", str(benchmark), "-i", "religion", "-c", "user"]
        words += ["--base-url", server.url, "--out", str(run)]
        line = shlex.join([sys.executable, "-m", "evenhand", *words])
        ended = subprocess.run(["bash", "-c", f"{line} <&- >&- 2>&-"], check=False, timeout=60)
    assert ended.returncode == 0
    assert len(stored(run)) == 12
