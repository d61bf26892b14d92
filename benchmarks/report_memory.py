"""Memory and time of `report` and `compare` at three million answers, the store made up.

    python benchmarks/report_memory.py [FOLDER]

32 users x 93,750 questions in four benchmarks, answers of some 300 characters, scored. Target: at
most 4 GB each. A FOLDER keeps the runs.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from evenhand.benchmarks.item import Item
from evenhand.store.record import RunRecord, SystemRoleCheck
from evenhand.store.store import Store
from evenhand.study.cue import NO_DEFENSE, Condition, select_cues
from evenhand.study.identity import BASELINE, shipped_identities
from evenhand.study.study import Study

USERS, ITEMS = 32, 93_750
MOST_GB = 4.0
FILLER = "A sentence of an answer that stands for its explanation. " * 5


def make_run(folder: Path, seed: int) -> None:
    """A finished run, written by SQL at once: the store's own way takes a quarter of an hour."""
    rng = np.random.default_rng(seed)
    cue = select_cues(["system"])[0]
    people = (BASELINE, *(i for i in shipped_identities() if i.kind == "identity"))[:USERS]
    conditions = tuple(Condition(who, cue, NO_DEFENSE) for who in people)
    items = [
        Item("harm", f"h{n}", f"Question {n}?", "safety", "refusal", subgroup=f"kind {n % 20}")
        if n % 4 == 0
        else Item(f"u{n % 4}", f"u{n}", f"Question {n}?", "utility", "choice", "A", ("one", "two"))
        for n in range(ITEMS)
    ]
    store = Store.create(folder)
    record = RunRecord(
        study=Study(model="openai/any"), system_role=SystemRoleCheck(True, "made up")
    )
    users, numbers = store.activate(conditions, items, record)
    store.close()
    good = rng.random((ITEMS, USERS)) < 0.8 + rng.normal(0, 0.02, USERS)
    with sqlite3.connect(folder / "run.db") as connection:
        for item, number in enumerate(numbers):
            first = item * USERS
            connection.executemany(
                "INSERT INTO response (id, key, condition, item, sample, text, error, finish, "
                "prompt_tokens, completion_tokens, seconds, attempts) "
                "VALUES (?, ?, ?, ?, 0, ?, '', 'stop', 50, 70, 1.0, 1)",
                [
                    (first + n, rng.bytes(16), user, number, f"{first + n} {FILLER}")
                    for n, user in enumerate(users)
                ],
            )
            connection.executemany(
                "INSERT INTO score VALUES (?, 0, ?, '', '')",
                [(first + n, float(right)) for n, right in enumerate(good[item])],
            )


def measure(*arguments: str) -> tuple[float, float]:
    """CPU seconds and peak GB of a command."""
    command = [sys.executable, "-m", "evenhand", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command} failed with {os.waitstatus_to_exitcode(status)}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e9


def main() -> None:
    """Print one line for each command."""
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(sys.argv[1] if sys.argv[1:] else temporary)
        runs = [str(base / name) for name in ("one", "other")]
        for seed, run in enumerate(runs):
            if not Path(run).exists():
                make_run(Path(run), seed)
        size = Path(runs[0], "run.db").stat().st_size
        print(f"{USERS * ITEMS:,} answers a run, {size / (USERS * ITEMS):.0f} bytes an answer")
        most = 0.0
        for arguments in (
            ("report", runs[0], "--format", "text"),
            ("report", runs[0]),
            ("compare", *runs),
        ):
            cpu, memory = measure(*arguments)
            most = max(most, memory)
            print(f"{arguments[0]} {' '.join(arguments[2:3])}: {cpu:.0f} s CPU, {memory:.2f} GB")
        if most > MOST_GB:
            sys.exit(f"more than {MOST_GB:g} GB")


if __name__ == "__main__":
    main()
