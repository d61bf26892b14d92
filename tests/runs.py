"""Small studies for tests, and a look into the store that does not go through `Store`."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evenhand.cli import main
from evenhand.store.record import RunRecord, SystemRoleCheck
from evenhand.study.plan import Plan, make_plan
from evenhand.study.study import Study
from server import key_of

FAST_RETRIES = """
import evenhand.engines.throttle as throttle
throttle._BACKOFF_FIRST = 0.002
from evenhand.cli import main
main()
"""


def write_benchmark(path: Path, items: int) -> Path:
    """A benchmark of one's own: choice, number and refusal items of different lengths."""
    with path.open("w") as file:
        for n in range(items):
            record: dict[str, Any] = {"id": f"q{n}", "prompt": f"Question {n}{' so' * (n % 7)}?"}
            if n % 2:
                record |= {"axis": "utility", "scorer": "choice", "answer": "ABCD"[n % 4]}
                record["choices"] = ["one", "two", "three", "four"]
            else:
                record |= {"axis": "safety", "scorer": "refusal"}
            file.write(json.dumps(record) + "\n")
    return path


def plan_of(model: str, benchmark: Path, **fields: Any) -> Plan:
    """The plan that the command line makes of `-b BENCHMARK --decoding-seed 0`."""
    decoding = {"seed": 0, **fields.pop("decoding", {})}
    study = {"model": model, "benchmarks": [str(benchmark)], "decoding": decoding, **fields}
    return make_plan(Study.model_validate(study))


def server_keys(plan: Plan) -> dict[bytes, str]:
    """Key of a cell in the store -> key of its request in the server's log."""
    seed = plan.study.decoding.seed
    return {
        request.key: key_of(request.messages, None if seed is None else seed + request.sample)
        for request in plan.requests()
    }


def record_of(plan: Plan, **study: Any) -> RunRecord:
    """What a store says of a run of the plan; `study` changes fields of the plan's."""
    return RunRecord(
        study=plan.study.model_copy(update=study), system_role=SystemRoleCheck(True, "seen")
    )


def stored(folder: Path) -> list[tuple[bytes, str | None, str, int]]:
    """(key, text, error, attempts) of the committed responses, from a copy of the folder."""
    with tempfile.TemporaryDirectory() as copy:
        for name in ("run.db", "run.db-wal"):
            if (folder / name).exists():
                shutil.copy(folder / name, copy)
        connection = sqlite3.connect(Path(copy) / "run.db")
        try:
            return connection.execute("SELECT key, text, error, attempts FROM response").fetchall()
        except sqlite3.OperationalError:  # killed before the tables were there
            return []
        finally:
            connection.close()


def command(arguments: Sequence[str], **options: Any) -> subprocess.Popen[str]:
    """`evenhand ARGUMENTS` in a process of its own; retries come quickly."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI_", "EVENHAND_"))}
    return subprocess.Popen(
        [sys.executable, "-c", FAST_RETRIES, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env | options.pop("env", {}),
        **options,
    )


def run_main(arguments: Sequence[str]) -> int:
    """Exit code of `evenhand ARGUMENTS` in this process."""
    try:
        main(list(arguments))
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def finish(process: subprocess.Popen[str], timeout: float = 240) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err
