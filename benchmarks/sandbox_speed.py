"""Programs a second in the sandbox, each with three tests, beside what bubblewrap alone takes.

    python benchmarks/sandbox_speed.py [PROGRAMS]

A program takes a new sandbox of its own, a fork of the tests' side, and a call for each test. The
bare figure is what `bwrap ... python -c pass` takes, with the same flags, from as many threads.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from evenhand.sandbox import Pool, Tests
from evenhand.sandbox.launch import bubblewrap_command, filter_program, python

PROGRAM = "def add(a, b):\n    return a + b"
TESTS = Tests(tuple(f"assert add({n}, {n}) == {2 * n}" for n in range(3)), ("add",))
PROCESSORS = len(os.sched_getaffinity(0))


def bare() -> None:
    """Start Python in bubblewrap and let it end."""
    read, write = os.pipe()
    os.write(write, filter_program())
    os.close(write)
    with Path(os.devnull).open("w") as null:
        argv = bubblewrap_command(
            (python(), "-S", "-s", "-P", "-B", "-c", "pass"),
            seccomp_fd=read,
            info_fd=null.fileno(),
            scratch_mib=16,
        )
        subprocess.run(argv, pass_fds=(read, null.fileno()), check=True)
    os.close(read)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    start = time.perf_counter()
    with ThreadPoolExecutor(PROCESSORS) as threads:
        list(threads.map(lambda _: bare(), range(count)))
    bare_rate = count / (time.perf_counter() - start)
    start = time.perf_counter()
    with Pool() as pool:
        tested = pool.test([([PROGRAM], TESTS)] * count)
    rate = count / (time.perf_counter() - start)
    assert all(result.passed for result in tested)
    print(f"{count:,} programs of 3 tests on {PROCESSORS} processors: {rate:.0f} a second")
    print(
        f"bubblewrap and Python alone: {bare_rate:.0f} a second, {bare_rate / rate:.1f} times that"
    )


if __name__ == "__main__":
    main()
