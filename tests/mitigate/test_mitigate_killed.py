"""A mitigation that is killed, or interrupted, goes on where it was."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from clock import seconds_for
from runs import command, finish, write_benchmark
from server import Server, serving

MODEL = "openai/test"
CONNECTIONS = 8


def mitigate(server: Server, run: Path) -> list[str]:
    defenses = ["-d", "ignore", "-d", "safety", "-d", "relevance", "-d", "equal-help"]
    asked = ["--test-cue", "memory-1", "--budget", "2000", "--no-relevance"]
    reach = ["--base-url", server.url, "--max-connections", str(CONNECTIONS)]
    return ["mitigate", str(run), "-m", "prompt", *defenses, *asked, *reach]


def groups(run: Path) -> Any:
    text = (run / "mitigation" / "summary.json").read_text()
    return json.loads(text.replace(str(run), "RUN"))["groups"]


@pytest.mark.slow
def test_killed_and_interrupted_it_goes_on_and_finds_the_same(tmp_path: Path) -> None:
    benchmark = write_benchmark(tmp_path / "own.jsonl", 32)
    study = [MODEL, "-b", str(benchmark), "-i", "religion,gender", "--decoding-seed", "0"]
    with serving() as server:
        whole, broken = tmp_path / "whole", tmp_path / "broken"
        audit = command(["audit", *study, "--base-url", server.url, "--out", str(whole)])
        code, _, error = finish(audit)
        assert code == 0, error
        shutil.copytree(whole, broken)

        before = len(server.answers)
        code, _, error = finish(command(mitigate(server, whole)), timeout=120)
        assert code == 0, error
        needed = len(server.answers) - before

        server.latency = 0.02
        before = len(server.answers)
        for cut, how in ((100, signal.SIGKILL), (300, signal.SIGINT), (480, signal.SIGKILL)):
            process = command(mitigate(server, broken))
            deadline = time.monotonic() + seconds_for(60)
            while len(server.answers) < before + cut and time.monotonic() < deadline:
                assert process.poll() is None, process.communicate()[1]
                time.sleep(0.005)
            process.send_signal(how)
            code, _, error = finish(process)
            if how == signal.SIGINT:
                assert code == 130
                assert "Run the same command to resume" in error
            time.sleep(0.1)
        server.latency = 0.0
        code, _, error = finish(command(mitigate(server, broken)), timeout=120)
        assert code == 0, error
        again = len(server.answers) - before - needed
    # Of each kill, what was under way, and what had come in the quarter second before a write.
    assert 0 <= again < 0.35 * needed
    assert groups(broken) == groups(whole)
