"""Batches of three services, by the command line: sent once, collected once, whatever happens."""

from __future__ import annotations

import gzip
import inspect
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from aiohttp import web

pytest.importorskip("openai", reason="for tests alone: pip install openai")
pytest.importorskip("anthropic", reason="for tests alone: pip install anthropic")
pytest.importorskip("google.genai", reason="for tests alone: pip install google-genai")

from endpoints.asking import STUDY, Result, ask, write_questions
from endpoints.batch_fakes import (
    KEY,
    SERVICES,
    FakeAnthropic,
    FakeGemini,
    FakeOpenAI,
    FakeService,
    FakeTogether,
    serving_batches,
)
from evenhand.engines.batches import ENVELOPES, BatchService
from evenhand.engines.providers import OpenAIWire
from evenhand.engines.services import services
from evenhand.run import batch as run_batch
from evenhand.store.sent import Sent
from evenhand.store.store import Store
from evenhand.study.decoding import Decoding
from runs import run_main

CELLS = 12


@pytest.fixture(autouse=True)
def _settled_at_once() -> Iterator[None]:
    with patch.object(run_batch, "_SETTLES", 0.0):
        yield


def batch(service: FakeService, folder: Path, *more: str, cue: str = "user") -> Result:
    env, study = {service.variable: KEY}, ("-i", "religion", "-c", cue)
    return ask(service.url, folder, "--batch", *more, model=service.model, env=env, study=study)


def is_settled(service: FakeService, found: Result, cells: int = CELLS) -> None:
    """Every cell has one answer, every one was paid once, and nothing was wrong."""
    assert service.faults == []
    assert len(found.rows) == cells
    assert len(service.paid) <= cells
    assert set(service.paid.values()) <= {1}
    assert under_way(found.folder) == 0
    assert KEY not in found.everything


def under_way(folder: Path) -> int:
    with sqlite3.connect(folder / "run.db") as connection:
        return int(connection.execute("SELECT count(*) FROM sent").fetchone()[0])


@pytest.mark.parametrize("kind", SERVICES)
def test_there_and_back(kind: type[FakeService], tmp_path: Path) -> None:
    with serving_batches(kind()) as service:
        sent = batch(service, tmp_path, cue="system")
        assert (sent.code, sent.rows, sent.out) == (3, [], ""), sent.err
        assert sent.err.count("\n") == 1
        assert "0 of 12 answers are here, and 12 requests are under way in 1 batch" in sent.err
        again = batch(service, tmp_path, cue="system")
        assert (again.code, len(service.jobs)) == (3, 1), "it is not sent twice"
        service.finish()
        found = batch(service, tmp_path, "--format", "json", cue="system")
    assert found.code == 0, found.err
    is_settled(service, found)
    assert {r.outcome for r in found.rows} == {"whole"}
    assert all(r.prompt_tokens and r.served for r in found.rows)
    report = json.loads(found.out)
    assert (report["done"], report["unscored"]) == (CELLS, 0)
    assert report["placement"].startswith("prompt tokens grow")


@pytest.mark.parametrize("kind", SERVICES)
def test_expired_failed_refused_double_foreign_and_missing_lines(
    kind: type[FakeService], tmp_path: Path
) -> None:
    fates = ["answer", "expired", "500", "400", "twice", "foreign", "silent", "answer"]
    dealt: dict[str, str] = {}

    def fate(name: str, _body: dict[str, Any]) -> str:
        key = name.rpartition("-")[2]
        first = key not in dealt
        return dealt.setdefault(key, fates[len(dealt) % len(fates)]) if first else "answer"

    with serving_batches(kind(fate=fate)) as service:
        batch(service, tmp_path)
        service.finish()
        second = batch(service, tmp_path)
        assert second.code == 3
        assert len(service.jobs[-1].requests) == 5, "expired, 500 and silent ones, and no others"
        service.finish()
        found = batch(service, tmp_path)
    assert found.code == 0, found.err
    is_settled(service, found)
    outcomes = Counter(r.outcome for r in found.rows)
    assert outcomes == {"whole": 10, "rejected": 2}
    assert len(found.failures) == 5


STEPS: dict[str, tuple[type, str, bool]] = {
    "before the intent": (Sent, "intend", False),
    "after the intent": (Sent, "intend", True),
    "before the upload": (BatchService, "upload", False),
    "after the upload": (BatchService, "upload", True),
    "before it is noted that it is created": (Sent, "about_to_create", False),
    "before it is created": (BatchService, "create", False),
    "after it is created": (BatchService, "create", True),
    "after the id is noted": (Sent, "created", True),
    "before the download": (BatchService, "fetch", False),
    "after the download": (BatchService, "fetch", True),
    "before the answers are written": (Sent, "write", False),
    "after the answers are written": (Sent, "write", True),
    "before the end": (Sent, "end", False),
}


class Died(BaseException):
    """What no code catches."""


def dying_at(place: type, name: str, after: bool) -> Any:
    """A patch with which the first call of that name is the last thing that happens."""
    owners = place.__subclasses__() if place is BatchService else [place]
    owners = [owner for owner in owners if name in vars(owner)] or [place]
    return [patch.object(owner, name, _dying(getattr(owner, name), after)) for owner in owners]


def _dying(real: Callable[..., Any], after: bool) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(real):

        async def call_async(*given: Any) -> None:
            if after:
                await real(*given)
            raise Died

        return call_async

    def call(*given: Any) -> None:
        if after:
            real(*given)
        raise Died

    return call


@pytest.mark.parametrize("kind", SERVICES)
@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_any_step_pays_nothing_twice_and_loses_no_cell(
    step: str, kind: type[FakeService], tmp_path: Path
) -> None:
    fates = iter(["expired", "500"])
    with serving_batches(kind(fate=lambda _n, _b: next(fates, "answer"))) as service:
        for _ in range(4):  # until a call has met the step
            with ExitStack() as stack:
                for each in dying_at(*STEPS[step]):
                    stack.enter_context(each)
                try:
                    batch(service, tmp_path)
                except Died:
                    break
            service.finish()
        else:
            pytest.fail("the step was never reached")
        found = batch(service, tmp_path)
        for _ in range(4):
            if found.code == 0:
                break
            assert found.code == 3, found.err
            service.finish()
            found = batch(service, tmp_path)
    assert found.code == 0, found.err
    is_settled(service, found)


@pytest.mark.slow
def test_a_killed_process_pays_nothing_twice(tmp_path: Path) -> None:
    """The service kills its client when it has created the batch, before it answers."""
    client: list[subprocess.Popen[bytes]] = []

    def kill(step: str) -> web.Response | None:
        if step == "create" and len(client) == 1:
            os.kill(client[0].pid, signal.SIGKILL)
            client.append(client[0])
            time.sleep(0.2)
        return None

    questions = write_questions(tmp_path / "own.jsonl", 2)
    with serving_batches(FakeOpenAI(on=kill)) as service:
        command = [
            *(sys.executable, "-m", "evenhand", "audit", service.model, "-b", str(questions)),
            *(*STUDY, "--out", str(tmp_path / "run"), "--base-url", service.url, "--batch"),
        ]
        client.append(subprocess.Popen(command, env={**os.environ, service.variable: KEY}))
        assert client[0].wait(60) == -signal.SIGKILL
        sent = batch(service, tmp_path)
        assert (sent.code, len(service.jobs)) == (3, 1), sent.err
        service.finish()
        found = batch(service, tmp_path)
    assert found.code == 0, found.err
    is_settled(service, found)


@pytest.mark.parametrize("kind", SERVICES)
def test_a_lost_reply_to_the_creation_is_found_out_later(
    kind: type[FakeService], tmp_path: Path
) -> None:
    def lose(step: str) -> web.Response | None:
        lost = step == "create" and len(service.jobs) == 1
        return web.Response(status=502, text="bad gateway") if lost else None

    with serving_batches(kind(on=lose)) as service:
        sent = batch(service, tmp_path)
        assert (sent.code, sent.err.count("\n")) == (2, 1)
        assert "run again to resume" in sent.err
        assert batch(service, tmp_path).code == 3
        assert len(service.jobs) == 1, "it was there all the time"
        service.finish()
        found = batch(service, tmp_path)
    assert found.code == 0, found.err
    is_settled(service, found)


@pytest.mark.parametrize("kind", SERVICES)
def test_a_batch_that_may_be_there_is_looked_for_where_it_was_sent(
    kind: type[FakeService], tmp_path: Path
) -> None:
    """Another address does not list it, and would be paid for it once more."""
    with serving_batches(kind()) as service, serving_batches(kind()) as other:
        with ExitStack() as stack:
            for each in dying_at(BatchService, "create", after=True):
                stack.enter_context(each)
            with pytest.raises(Died):
                batch(service, tmp_path)
        told = batch(other, tmp_path)
        assert (told.code, told.err.count("\n"), other.jobs) == (2, 1, [])
        assert f"was sent to {service.url}" in told.err
        assert "give this as --base-url" in told.err
        batch(service, tmp_path)
        service.finish()
        found = batch(service, tmp_path)
        assert (found.code, other.jobs, len(service.jobs)) == (0, [], 1), found.err
    is_settled(service, found)


@pytest.mark.parametrize("hours", [-12, 12])
@pytest.mark.parametrize("kind", SERVICES)
def test_a_clock_that_is_wrong_pays_nothing_twice(
    kind: type[FakeService], hours: int, tmp_path: Path
) -> None:
    now = time.time()
    with serving_batches(kind()) as service:
        with ExitStack() as stack:
            for each in dying_at(BatchService, "create", after=True):
                stack.enter_context(each)
            stack.enter_context(patch("evenhand.store.sent.time.time", lambda: now + 3600 * hours))
            with pytest.raises(Died):
                batch(service, tmp_path)
        service.finish()
        for _ in range(3):
            if (found := batch(service, tmp_path)).code == 0:
                break
        assert (found.code, len(service.jobs)) == (0, 1), found.err
    is_settled(service, found)


def test_a_clock_that_is_set_back_is_not_waited_for(tmp_path: Path) -> None:
    with serving_batches(FakeOpenAI()) as service:
        with ExitStack() as stack:
            for each in dying_at(BatchService, "create", after=False):
                stack.enter_context(each)
            stack.enter_context(patch("evenhand.store.sent.time.time", lambda: 4e9))
            with pytest.raises(Died):
                batch(service, tmp_path)
        started = time.monotonic()
        with patch.object(run_batch, "_SETTLES", 0.2):
            assert batch(service, tmp_path).code == 3
        assert time.monotonic() - started < 20


@pytest.mark.parametrize("step", ["state", "fetch", "list"])
@pytest.mark.parametrize("status", [404, 409, 410, 429, 500, 503])
def test_a_service_that_refuses_to_tell_loses_and_pays_nothing(
    status: int, step: str, tmp_path: Path
) -> None:
    refused = True

    def refuse(at: str) -> web.Response | None:
        text = json.dumps({"error": {"message": "not so"}})
        lost = step == "list" and at == "create" and not asked
        asked.append(at)
        if lost:
            return web.Response(status=502, text=text)
        return web.Response(status=status, text=text) if refused and at == step else None

    asked: list[str] = []
    with (
        serving_batches(FakeAnthropic(on=refuse)) as service,
        patch("evenhand.engines.batches.backoff", lambda _: 0.0),
    ):
        batch(service, tmp_path)
        if step != "list":
            service.finish()
        told = batch(service, tmp_path)
        is_passing = status in (429, 500, 503)
        code = 3 if is_passing and step == "list" else 2
        assert (told.code, told.rows, len(service.jobs)) == (code, [], 1), told.err
        assert told.err.count("\n") == 1
        assert f"HTTP {status}" in told.err
        assert ("batch forget" in told.err) == (not is_passing), told.err
        refused = False
        batch(service, tmp_path)
        service.finish()
        found = batch(service, tmp_path)
    assert found.code == 0, found.err
    is_settled(service, found)


@pytest.mark.parametrize("status", ["expired", "cancelled", "failed"])
@pytest.mark.parametrize("kind", [FakeOpenAI, FakeTogether, FakeGemini])
def test_a_batch_that_ends_halfway_keeps_what_it_has_answered(
    kind: type[FakeService], status: str, tmp_path: Path
) -> None:
    fates = iter(["answer"] * 7)
    with serving_batches(kind(fate=lambda _n, _b: next(fates, "silent"))) as service:
        batch(service, tmp_path)
        service.finish()
        service.jobs[0].status = status
        told = batch(service, tmp_path)
        assert (told.code, len(told.rows)) == (3, 7), told.err
        assert len(service.jobs[1].requests) == 5
        service.fate = lambda _n, _b: "answer"
        service.finish()
        found = batch(service, tmp_path)
    assert found.code == 0, found.err
    is_settled(service, found)


@pytest.mark.parametrize("lost", ["err", "out"])
def test_of_two_files_the_one_that_is_left_is_read(lost: str, tmp_path: Path) -> None:
    """What it holds is paid for, and is not asked again when the batch is forgotten."""

    class Forgetful(FakeOpenAI):
        async def _fetch(self, request: web.Request) -> web.Response:
            if request.match_info["id"] == f"batch_0-{lost}":
                return web.json_response({"error": {"message": "no such file"}}, status=404)
            return await super()._fetch(request)

    fates = iter(["answer"] * 7)
    with serving_batches(Forgetful(fate=lambda _n, _b: next(fates, "500"))) as service:
        batch(service, tmp_path)
        service.finish()
        for _ in range(2):
            told = batch(service, tmp_path)
            assert (told.code, told.err.count("\n"), len(service.jobs)) == (2, 1, 1)
            assert len(told.rows) == (7 if lost == "err" else 0)
            assert "HTTP 404: no such file; if it is gone for good, `evenhand batch" in told.err
        assert run("batch", "forget", str(told.folder), "batch_0") == 0
        batch(service, tmp_path)
        assert len(service.jobs[1].requests) == (5 if lost == "err" else 12)
        service.fate = lambda _n, _b: "answer"
        service.finish()
        found = batch(service, tmp_path)
    assert (found.code, len(found.rows)) == (0, 12), found.err
    if lost == "err":
        is_settled(service, found)


def test_a_service_that_asks_for_a_long_pause_is_not_waited_for(tmp_path: Path) -> None:
    def pause(step: str) -> web.Response | None:
        given = {"Retry-After": "3600"}
        return web.Response(status=429, headers=given) if step == "state" else None

    with serving_batches(FakeOpenAI(on=pause)) as service:
        batch(service, tmp_path)
        told = batch(service, tmp_path)
    assert (told.code, told.err.count("\n")) == (2, 1)
    assert "HTTP 429: Too Many Requests; run again to resume" in told.err


def test_another_batch_of_that_size_is_not_taken_for_ours(tmp_path: Path) -> None:
    """Anthropic's batches carry no id of ours but in their requests."""
    with serving_batches(FakeAnthropic()) as service:
        with ExitStack() as stack:
            for each in dying_at(BatchService, "create", after=False):
                stack.enter_context(each)
            with pytest.raises(Died):
                batch(service, tmp_path)
        theirs: dict[str, dict[str, Any]] = {f"x-{n:032x}": {} for n in range(CELLS)}
        service.job(theirs, {}, "msgbatch_theirs").status = "ended"
        service.named("msgbatch_theirs").answers = [service.answer("x-00", 3)]
        batch(service, tmp_path)
        assert [job.name for job in service.jobs] == ["msgbatch_theirs", "msgbatch_1"]
        service.finish()
        found = batch(service, tmp_path)
    is_settled(service, found)


def test_limits_make_several_batches(tmp_path: Path) -> None:
    table = services()
    small = {**table, "openai": replace(table["openai"], batch_requests=5)}
    with (
        serving_batches(FakeOpenAI()) as service,
        patch("evenhand.engines.access.services", lambda: small),
    ):
        sent = batch(service, tmp_path)
        assert "12 requests are under way in 3 batches" in sent.err
        assert [len(job.requests) for job in service.jobs] == [5, 5, 2]
        size = max(map(len, service.files.values()))
        service.finish()
        is_settled(service, batch(service, tmp_path))
    (tmp_path / "second").mkdir()
    small["openai"] = replace(table["openai"], batch_bytes=size)
    with (
        serving_batches(FakeOpenAI()) as service,
        patch("evenhand.engines.access.services", lambda: small),
    ):
        batch(service, tmp_path / "second")
        assert all(len(content) <= size for content in service.files.values())
        assert len(service.jobs) >= 3
    small["openai"] = replace(table["openai"], batch_bytes=100)
    with (
        serving_batches(FakeOpenAI()) as service,
        patch("evenhand.engines.access.services", lambda: small),
    ):
        (tmp_path / "third").mkdir()
        told = batch(service, tmp_path / "third")
        assert (told.code, told.err.count("\n"), service.jobs) == (2, 1, [])


def test_a_setting_that_is_refused_is_left_out_from_then_on(tmp_path: Path) -> None:
    def fate(_name: str, body: dict[str, Any]) -> str:
        return "400 temperature" if "temperature" in body else "answer"

    with serving_batches(FakeOpenAI(fate=fate)) as service:
        batch(service, tmp_path)
        service.finish()
        second = batch(service, tmp_path)
        assert "does not take temperature, which is left out" in second.err
        service.finish()
        found = batch(service, tmp_path)
    assert found.code == 0, found.err
    is_settled(service, found)


def test_a_batch_that_is_refused_as_a_whole_ends_in_one_line(tmp_path: Path) -> None:
    with serving_batches(FakeOpenAI()) as service:
        batch(service, tmp_path)
        service.jobs[0].why = f"The model `x` does not exist for {KEY}."
        service.finish("failed")
        told = batch(service, tmp_path)
        assert (told.code, told.err.count("\n")) == (2, 1)
        assert "batch_0 was refused: The model `x` does not exist for [key]." in told.err
        batch(service, tmp_path)
        service.finish()
        found = batch(service, tmp_path)
    assert found.code == 0, found.err
    is_settled(service, found)


def test_every_request_refused_stores_nothing(tmp_path: Path) -> None:
    with serving_batches(FakeOpenAI(fate=lambda _n, _b: "400")) as service:
        batch(service, tmp_path)
        service.finish()
        told = batch(service, tmp_path)
    assert (told.code, told.rows) == (2, [])
    assert "every request was refused (HTTP 400: The question cannot be read." in told.err


@pytest.mark.parametrize("kind", SERVICES)
def test_a_dropped_system_message_is_seen_on_the_way_back(
    kind: type[FakeService], tmp_path: Path
) -> None:
    def tokens(body: dict[str, Any]) -> int:
        turns = body.get("contents") or body["messages"]
        return len([turn for turn in turns if turn["role"] != "system"]) * 21

    with serving_batches(kind(tokens=tokens)) as service:
        batch(service, tmp_path, cue="system")
        service.finish()
        told = batch(service, tmp_path, cue="system")
    assert (told.code, told.err.count("\n"), told.rows) == (2, 1, [])
    assert "drops system messages: 21 prompt tokens with and without" in told.err


def test_refused_system_messages_are_seen_on_the_way_back(tmp_path: Path) -> None:
    def fate(_name: str, body: dict[str, Any]) -> str:
        return "400" if body["messages"][0]["role"] == "system" else "answer"

    with serving_batches(FakeOpenAI(fate=fate)) as service:
        batch(service, tmp_path, cue="system")
        service.finish()
        told = batch(service, tmp_path, cue="system")
    assert (told.code, told.err.count("\n"), told.rows) == (2, 1, [])
    assert "rejects every request with a system message" in told.err


def test_half_a_result_is_read_again(tmp_path: Path) -> None:
    def cut(step: str) -> web.Response | None:
        if step != "fetch" or len(fetched) == 1:
            return None
        fetched.append(step)
        return web.Response(text="".join(service.jobs[0].answers)[:-40])

    fetched: list[str] = []
    with serving_batches(FakeOpenAI(on=cut)) as service:
        batch(service, tmp_path)
        service.finish()
        told = batch(service, tmp_path)
        assert (told.code, told.err.count("\n"), len(told.rows)) == (2, 1, 11)
        assert "break off; run again to resume" in told.err
        found = batch(service, tmp_path)
    assert found.code == 0, found.err
    is_settled(service, found)


def test_results_that_are_gone_are_not_paid_for_again(tmp_path: Path) -> None:
    with serving_batches(FakeOpenAI()) as service:
        batch(service, tmp_path)
        job = service.jobs[0]
        job.status = "ended"  # paid for, and its files are deleted
        told = batch(service, tmp_path)
        assert (told.code, told.err.count("\n"), len(service.jobs)) == (2, 1, 1)
        assert "batch_0: its results are gone" in told.err
        service.jobs.clear()
        told = batch(service, tmp_path)  # with another account, say
        assert (told.code, told.err.count("\n"), service.jobs) == (2, 1, [])
        assert f"evenhand batch forget {told.folder} batch_0" in told.err
        assert run("batch", "forget", str(told.folder), "batch_0") == 0
        service.faults.clear()
        batch(service, tmp_path)
        service.finish()
        found = batch(service, tmp_path)
    assert found.code == 0, found.err
    is_settled(service, found)


def test_a_line_longer_than_any_reply_is_left(tmp_path: Path) -> None:
    with (
        serving_batches(FakeOpenAI()) as service,
        patch("evenhand.run.returned._LONGEST_LINE", 2000),
    ):
        batch(service, tmp_path)
        service.finish()
        service.jobs[0].answers[3] = service.answer("x" * 9000, 3)
        assert batch(service, tmp_path).code == 3
        assert len(service.jobs[1].requests) == 1


def test_price_and_limit_of_cost(tmp_path: Path) -> None:
    with serving_batches(FakeOpenAI()) as service:
        price = ("--price", "10/20", "--max-tokens", "1000")
        whole = batch(service, tmp_path, *price, "--dry-run", "--format", "json")
        half = json.loads(whole.out)["most_cost"]
        env = {service.variable: KEY}
        full = ask(service.url, tmp_path, *price, "--dry-run", "--format", "json", env=env)
        assert half == pytest.approx(json.loads(full.out)["most_cost"] / 2)
        limit = (*price, "--max-cost", str(half / 2))
        batch(service, tmp_path, *limit)
        assert len(service.jobs[0].requests) == 6
        batch(service, tmp_path, *limit)
        assert len(service.jobs) == 1, "what is under way counts"
        service.finish()
        found = batch(service, tmp_path, *limit)
        assert len(service.jobs) == 2, "it was cheaper than it might have been"
        assert found.code == 3


@pytest.mark.parametrize(
    ("model", "more", "told"),
    [
        ("organism", (), "is not asked over HTTP"),
        ("groq/x", (), "has no batch API that evenhand knows"),
        ("openai/x", ("--precision", "1"), "--precision stops early"),
        ("openai/x", ("--base-url", "http://127.0.0.1:9/v1"), "--batch takes one --base-url"),
        ("openai/x", ("-d", "withhold-model"), "asks the model about every question first"),
    ],
)
def test_what_a_batch_cannot(model: str, more: tuple[str, ...], told: str, tmp_path: Path) -> None:
    env = {"OPENAI_API_KEY": KEY, "GROQ_API_KEY": KEY}
    url = "" if model == "organism" else "http://127.0.0.1:8/v1"
    found = ask(url, tmp_path, "--batch", *more, model=model, env=env)
    assert (found.code, found.out, found.err.count("\n")) == (2, "", 1)
    assert told in found.err


def test_without_batch_nothing_is_asked_that_is_under_way(tmp_path: Path) -> None:
    with serving_batches(FakeOpenAI()) as service:
        batch(service, tmp_path)
        told = ask(service.url, tmp_path, env={service.variable: KEY})
    assert (told.code, told.err.count("\n")) == (2, 1)
    assert "12 requests of" in told.err
    assert "are under way in batches; collect them with --batch" in told.err


# Files for clusters without a network


def work_off(requests: Path, results: Path) -> None:
    """What `vllm run-batch` does."""
    service = FakeOpenAI()
    rows = [json.loads(line) for line in requests.read_text().splitlines()]
    results.write_text("".join(service.answer(row["custom_id"], 20) for row in rows))


def run(*arguments: str) -> int:
    return run_main(list(arguments))


def written(folder: Path, name: str = "run", questions: int = 2) -> Path:
    own = write_questions(folder / f"{name}.jsonl", questions)
    study = ("-b", str(own), "-i", "religion", "-c", "user")
    assert run("batch", "write", str(folder / name), "vllm-server/m", *study) == 0
    (made,) = (folder / f"{name}-requests").iterdir()
    return made


def test_files_there_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    requests, results = written(tmp_path), tmp_path / "results.jsonl"
    work_off(requests, results)
    folder = str(tmp_path / "run")
    assert run("batch", "write", folder) == 0
    assert len(list(requests.parent.iterdir())) == 1, "nothing is open"
    assert run("batch", "read", folder, str(results)) == 0
    assert "12 answers" in capsys.readouterr().out
    assert run("batch", "read", folder, str(results)) == 0
    assert "12 lines that were known already" in capsys.readouterr().out
    assert run("batch", "write", folder) == 0
    assert "No request is open or under way." in capsys.readouterr().err
    assert run("report", folder, "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["done"] == CELLS


def test_a_thought_that_the_template_has_opened_is_no_answer_where_it_is_cut_off(
    tmp_path: Path,
) -> None:
    """Also in lines before the first that shows how the model's answers start."""
    requests, results = written(tmp_path), tmp_path / "results.jsonl"
    work_off(requests, results)
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    for k, row in enumerate(rows):
        (choice,) = row["response"]["body"]["choices"]
        choice["message"]["content"] = "Is it harmful?" if k < 4 else "Is it?</think>Gladly."
        choice["finish_reason"] = "length" if k < 4 else "stop"
    results.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert run("batch", "read", str(tmp_path / "run"), str(results)) == 0
    stored = Store.open(tmp_path / "run").stored_answers()
    found = Counter((a.text, a.outcome, a.thought) for a in stored)
    assert found == {
        ("", "cut off", "Is it harmful?"): 4,
        ("Gladly.", "whole", "Is it?"): CELLS - 4,
    }


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--decoding-seed", "3"), "holds a run with other decoding parameters; take a new folder"),
        (("--on", "local"), "--on has no effect on files of requests"),
        (("--workers", "2"), "--workers has no effect on files of requests"),
        (("--max-cost", "1", "--price", "1/1"), "--price has no effect on files of requests"),
        (("--precision", "1"), "--precision has no effect on files of requests"),
        (("--timeout", "9"), "--timeout has no effect on files of requests"),
        (("--max-connections", "2"), "--max-connections has no effect on files of requests"),
        (("--header", "a=b"), "--header has no effect on files of requests"),
        (("--judge-price", "1/1"), "an option of judges has no effect on files of requests"),
    ],
)
def test_writing_names_no_option_that_it_lacks_and_ignores_none(
    more: tuple[str, ...], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, questions = tmp_path / "run", write_questions(tmp_path / "own.jsonl", 2)
    written(tmp_path)
    capsys.readouterr()
    asked = ("-b", str(questions), "-i", "religion", "-c", "user")
    assert run("batch", "write", str(folder), "vllm-server/m", *asked, *more) == 2
    error = capsys.readouterr().err
    assert (error.count("\n"), "--out" in error) == (1, False)
    assert told in error


def test_half_a_file_and_one_of_another_study(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    requests, results = written(tmp_path), tmp_path / "results.jsonl"
    work_off(requests, results)
    whole = results.read_bytes()
    results.write_bytes(whole[: len(whole) // 2 - 10])
    folder = str(tmp_path / "run")
    capsys.readouterr()
    assert run("batch", "read", folder, str(results)) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "results.jsonl:6: the file breaks off; the 5 results before are stored" in told
    other = tmp_path / "other.jsonl"
    work_off(written(tmp_path, "another", questions=3), other)
    other.write_text("".join(other.read_text().splitlines(keepends=True)[12:]))
    capsys.readouterr()
    assert run("batch", "read", folder, str(other)) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "none of its 6 lines answers a request of" in told
    results.write_bytes(b"")
    assert run("batch", "read", folder, str(results)) == 2
    assert "is empty" in capsys.readouterr().err
    results.write_bytes(whole)
    assert run("batch", "read", folder, str(results)) == 0


def test_a_lost_file_is_forgotten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    requests = written(tmp_path)
    folder = str(tmp_path / "run")
    assert run("batch", "forget", folder, "no.jsonl") == 2
    assert run("batch", "forget", folder, requests.name) == 0
    assert "12 requests are open again" in capsys.readouterr().out
    assert run("batch", "write", folder) == 0
    assert len(list(requests.parent.iterdir())) == 2


def test_a_request_larger_than_a_batch_is_refused_wherever_it_stands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = write_questions(tmp_path / "q.jsonl", 1)
    lines = own.read_text().splitlines()
    large = {**json.loads(lines[-1]), "id": "large", "prompt": "x" * 1_100_000}
    own.write_text("\n".join([*lines, json.dumps(large)]) + "\n")
    study = ("-b", str(own), "-i", "religion", "-c", "user", "--most-megabytes", "1")
    assert run("batch", "write", str(tmp_path / "run"), "vllm-server/m", *study) == 2
    assert "one request alone is larger than a batch may be" in capsys.readouterr().err


def test_a_request_that_failed_may_be_answered_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files of errors and of results may come in any order, and again; so may what was given up."""
    requests, results, errors = written(tmp_path), tmp_path / "results.jsonl", tmp_path / "errors"
    work_off(requests, results)
    names = [json.loads(line)["custom_id"] for line in results.read_text().splitlines()]
    expired = {"code": "batch_expired", "message": "expired"}
    rows = [{"custom_id": name, "response": None, "error": expired} for name in names]
    errors.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    folder = str(tmp_path / "run")
    for told in ("12 failed or expired requests", "12 lines that were known already"):
        assert run("batch", "read", folder, str(errors)) == 3
        found = capsys.readouterr()
        assert told in found.out
        assert "12 requests have failed" in found.err
    with sqlite3.connect(tmp_path / "run" / "run.db") as connection:
        assert connection.execute("SELECT count(*) FROM failure").fetchone() == (12,)
    assert run("batch", "write", folder) == 0, "they are free to be asked"
    (again,) = set(requests.parent.iterdir()) - {requests}
    assert run("batch", "forget", folder, again.name) == 0
    assert run("batch", "read", folder, str(results), str(errors)) == 0
    assert "12 answers, 12 lines that were known already" in capsys.readouterr().out
    assert under_way(tmp_path / "run") == 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda _results, requests: requests, "is it the file of requests"),
        (lambda results, _: gzip.compress(results), "is compressed; unpack it"),
        (lambda results, _: results.decode().encode("utf-16"), "is UTF-16 text; save it as UTF-8"),
        (lambda results, _: b"[%s]" % b",".join(results.splitlines()), "is one list"),
        (lambda _results, _: b'{\n "custom_id":\n "x"\n}', "no line answers a request of"),
    ],
)
def test_a_file_of_another_form_changes_nothing(
    change: Callable[[bytes, bytes], bytes],
    told: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    requests, results = written(tmp_path), tmp_path / "results.jsonl"
    work_off(requests, results)
    whole = results.read_bytes()
    results.write_bytes(change(whole, requests.read_bytes()))
    folder = str(tmp_path / "run")
    capsys.readouterr()
    assert run("batch", "read", folder, str(results)) == 2
    found = capsys.readouterr().err
    assert told in found
    assert found.count("\n") == 1
    assert under_way(tmp_path / "run") == CELLS
    results.write_bytes(b"\xef\xbb\xbf" + whole.replace(b"\n", b"\r\n"))
    assert run("batch", "read", folder, str(results)) == 0


@pytest.mark.parametrize("wire", sorted(ENVELOPES))
def test_a_request_is_not_taken_for_its_result(wire: str) -> None:
    envelope = ENVELOPES[wire]
    line = envelope.request("token-00", b"{}")
    assert envelope.result(line, OpenAIWire("m", Decoding(), services()["openai"])) is None


def test_a_folder_that_cannot_be_written_leaves_every_request_open(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = write_questions(tmp_path / "q.jsonl", 2)
    study = ("-b", str(own), "-i", "religion", "-c", "user")
    folder = tmp_path / "run"
    (tmp_path / "file").touch()
    command = ("batch", "write", str(folder), "vllm-server/m", *study, "--to")
    assert run(*command, str(tmp_path / "file" / "folder")) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert under_way(folder) == 0
    assert run(*command, str(tmp_path / "there")) == 0
    assert under_way(folder) == CELLS
