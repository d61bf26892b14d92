"""The API key and authorization headers appear nowhere but in the requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runs import command, finish, write_benchmark
from server import Faults, Server, error, key_of, refuse_key, serving

KEY = "sk-secret-0123456789abcdefghijklmnopqrstuvwxyz"


def refuse_some(status: int, padding: str = "") -> Any:
    """A third of the questions is refused, once, with the whole header in the error text."""
    refused: set[str] = set()

    def refuse(body: dict[str, Any], authorization: str) -> Any:
        key = key_of(body["messages"], None)
        asked = body["messages"][-1]["content"]
        if int(key, 16) % 3 or key in refused or not asked.startswith("Question"):
            return None
        refused.add(key)
        return status, error(f"{padding}your header was Authorization: {authorization}")

    return refuse


def refuse_bare_text(_body: dict[str, Any], authorization: str) -> Any:
    return 403, {"detail": f"{authorization} is not allowed; {authorization.upper()}"}


def audit(server: Server, tmp_path: Path) -> tuple[int, str]:
    """Exit code, and all that was written anywhere."""
    benchmark = write_benchmark(tmp_path / "own.jsonl", 4)
    run = tmp_path / "run"
    study = ["audit", "openai/test", "-b", str(benchmark), "-i", "religion"]
    env = {"OPENAI_API_KEY": KEY}
    process = command([*study, "--base-url", server.url, "--out", str(run)], env=env)
    code, out, err = finish(process)
    _, report, complaint = finish(command(["report", str(run), "--format", "json"]))
    files = [f.read_bytes().decode("latin-1") for f in run.rglob("*") if f.is_file()]
    assert files
    return code, "\n".join([out, err, report, complaint, *files])


def assert_no_secret(text: str) -> None:
    assert "evenhand" in text
    # Nor any part of it that is long enough to tell.
    assert KEY[:12] not in text
    assert KEY[-12:] not in text
    assert KEY.upper()[:12] not in text
    assert "bearer" not in text.lower()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("behavior", "code"),
    [
        ({}, 0),
        ({"faults": Faults()}, 0),
        ({"refuse": refuse_some(500)}, 0),
        ({"refuse": refuse_some(400, "x" * 240)}, 0),  # cut off within the key
        ({"refuse": refuse_key}, 2),
        ({"refuse": refuse_bare_text}, 2),
    ],
    ids=["success", "faults", "500", "long-400", "401", "403"],
)
def test_the_key_is_in_no_file_and_no_output(
    tmp_path: Path, behavior: dict[str, Any], code: int
) -> None:
    with serving(**behavior) as server:
        found, text = audit(server, tmp_path)
    assert found == code
    assert_no_secret(text)


@pytest.mark.slow
def test_the_wal_of_a_killed_run_does_not_hold_it_either(tmp_path: Path) -> None:
    benchmark = write_benchmark(tmp_path / "own.jsonl", 40)
    run = tmp_path / "run"
    with serving(refuse=refuse_some(400), latency=0.1) as server:
        arguments = ["audit", "openai/test", "-b", str(benchmark), "--base-url", server.url]
        process = command([*arguments, "--out", str(run)], env={"OPENAI_API_KEY": KEY})
        while len(server.requests) < 600 and process.poll() is None:
            pass
        process.kill()
        finish(process)
    written = b"".join(file.read_bytes() for file in run.iterdir())
    assert (run / "run.db-wal").stat().st_size > 0
    assert b"your header was" in written
    assert KEY.encode() not in written
    assert b"Bearer" not in written
