"""However evenhand ends, nothing that it ran in a sandbox goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clock import seconds_for

pytestmark = pytest.mark.usefixtures("bubblewrap")

DEAF = """
import ctypes, signal
ctypes.CDLL(None).prctl(1, 0)  # "do not tell me when my parent dies"
for number in range(1, 64):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
while True:
    pass
"""
POOL = f"""
import asyncio
from evenhand.sandbox import Limits, Pool, Tests

async def main():
    with Pool(limits=Limits(cpu=60), workers=3) as pool:
        pool.test([([{DEAF!r}], Tests((), ()))] * 9)

asyncio.run(main())
"""
WAYS = {
    "kill -9": lambda process: os.kill(process.pid, signal.SIGKILL),
    "Ctrl-C": lambda process: os.killpg(process.pid, signal.SIGINT),
    "closed terminal": lambda process: os.killpg(process.pid, signal.SIGHUP),
}


def below(pid: int) -> set[int]:
    """All processes that descend from one."""
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        for task in Path(f"/proc/{waiting.pop()}/task").glob("*/children"):
            children = [int(child) for child in task.read_text().split()]
            found.update(children)
            waiting += children
    return found


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.slow
def test_pool(way: str) -> None:
    check_end([sys.executable, "-c", POOL], way, sandboxes=3)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.slow
def test_one_program(way: str, tmp_path: Path) -> None:
    (tmp_path / "deaf.py").write_text(DEAF)
    command = [sys.executable, "-m", "evenhand", "sandbox", "run", str(tmp_path / "deaf.py")]
    check_end([*command, "--cpu", "60"], way, sandboxes=1)


def check_end(command: list[str], way: str, sandboxes: int) -> None:
    process = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        inside = wait_for_programs(process, sandboxes)
        WAYS[way](process)
        assert process.wait(seconds_for(5)) != 0
        deadline = time.monotonic() + seconds_for(2)
        while left := {pid for pid in inside if is_alive(pid)}:
            assert time.monotonic() < deadline, left
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()


def wait_for_programs(process: subprocess.Popen[bytes], sandboxes: int) -> set[int]:
    """Everything in the sandboxes, as soon as so many programs are computing in them."""
    for _ in range(200):
        time.sleep(0.1)
        inside = below(process.pid)
        if sum(seconds_of(pid) > 0.2 for pid in inside) >= sandboxes:
            return inside
    raise AssertionError("the programs have not started")


def seconds_of(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    except FileNotFoundError:
        return 0.0


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"
