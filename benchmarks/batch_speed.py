"""Microseconds a request to write batches, and a line to read their results into the run.

    python benchmarks/batch_speed.py

A study of 43,520 cells is written as OpenAI's batches; the results hold one percent each of
doubled, expired, failed (500), refused (400) and foreign lines, in random order. Times are of the
CPU, SQLite and the disk's part included.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import time
from pathlib import Path

import orjson

from evenhand.engines.access import Access
from evenhand.run.batch import read_files, write_files
from evenhand.store.sent import Sent
from evenhand.store.store import Store
from evenhand.study.plan import Plan, make_plan
from evenhand.study.study import Study

IDENTITIES, ITEMS = 31, 1360
LIMITS = 50_000, 200_000_000
TEXT = "I understand the question. " * 20


def main() -> None:
    """Print one line for each way."""
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder))


def measure(folder: Path) -> None:
    """Write, work off and read."""
    plan = plan_of(folder / "own.jsonl")
    access = Access(plan.study.model, plan.study.decoding, needs_key=False)
    store = Store.create(folder / "run")
    drawn = sum(1 for _ in plan.requests())  # as every run does
    began = time.process_time()
    for request in plan.requests():
        del request
    planning = time.process_time() - began

    began = time.process_time()
    made = asyncio.run(write_files(plan, access, store, folder / "requests", LIMITS))
    out = time.process_time() - began
    requests = sum(count for _, count in made)
    assert requests == drawn == plan.cells
    print(
        f"{requests:,} requests in {len(made)} file(s): {out / requests * 1e6:.1f} us a line out, "
        f"of which {planning / requests * 1e6:.1f} to make the requests and their keys"
    )

    results = folder / "results.jsonl"
    lines = work_off([path for path, _ in made], results)
    began = time.process_time()
    found = read_files(access, store, [results])
    back = time.process_time() - began
    left = len(Sent(store).cells())
    assert found.answered + found.failed == requests
    assert left == 0
    print(
        f"{lines:,} lines: {back / lines * 1e6:.1f} us a line in; {found.answered:,} answered, "
        f"{found.failed:,} to ask again, {found.known:,} known, {found.foreign:,} foreign"
    )
    store.close()


def plan_of(path: Path) -> Plan:
    """31 identities and the baseline, 1,360 questions of 200 characters."""
    questions = [
        {"id": f"q{n}", "prompt": f"Question {n}: {'why ' * 48}?", "axis": "safety",
         "scorer": "refusal"}
        for n in range(ITEMS)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(each) + "\n" for each in questions))
    return make_plan(Study(model="vllm-server/any", benchmarks=(str(path),), cues=("user",)))


def work_off(files: list[Path], target: Path) -> int:
    """Write the results of request files; the number of lines."""
    draw = random.Random(0)
    lines: list[bytes] = []
    for path in files:
        for row in path.read_bytes().splitlines():
            lines += results_of(orjson.loads(row)["custom_id"], draw.random())
    draw.shuffle(lines)
    target.write_bytes(b"\n".join(lines) + b"\n")
    return len(lines)


def results_of(name: str, chance: float) -> list[bytes]:
    """The lines of one request."""
    if chance < 0.01:
        return [_line(name, answer()), _line(name, answer())]
    if chance < 0.02:
        error = {"code": "batch_expired", "message": "This request could not be executed."}
        return [orjson.dumps({"id": "b", "custom_id": name, "response": None, "error": error})]
    if chance < 0.04:
        status = 500 if chance < 0.03 else 400
        told = {"error": {"message": "The request has failed.", "type": "x", "code": None}}
        return [_line(name, told, status)]
    if chance < 0.05:
        return [_line(name, answer()), _line(f"0-{name[-31:]}f", answer())]
    return [_line(name, answer())]


def answer() -> dict[str, object]:
    """A chat completion of 540 characters."""
    message = {"role": "assistant", "content": TEXT, "refusal": None}
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": "any-1",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": {"prompt_tokens": 80, "completion_tokens": 100, "total_tokens": 180},
    }  # fmt: skip


def _line(name: str, body: object, status: int = 200) -> bytes:
    response = {"status_code": status, "request_id": "r", "body": body}
    return orjson.dumps({"id": "b", "custom_id": name, "response": response, "error": None})


if __name__ == "__main__":
    main()
