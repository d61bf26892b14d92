"""What is written is there, once, and for good."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from evenhand.engines.engine import Failure, Response
from evenhand.errors import RunFolderError, StoreError
from evenhand.run.scoring import score_run
from evenhand.scorers import BATCH_SCORERS, Answer, Unscored, Verdict
from evenhand.store.database import locked
from evenhand.store.store import Store
from evenhand.store.tallies import Tally, condition_tallies
from evenhand.study.plan import Plan
from runs import plan_of, record_of, write_benchmark


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return plan_of("openai/m", write_benchmark(tmp_path / "own.jsonl", 4), identities=["age"])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "run")


def test_responses_and_failures_are_there_after_the_write(store: Store, plan: Plan) -> None:
    ids = store.activate(plan.conditions, plan.items, record_of(plan, samples=1))
    requests = list(plan.requests())
    failures = [Failure(429, "slow down"), Failure(0, "gone")]
    responses = [
        Response(requests[0], "yes", finish="stop", prompt_tokens=5, completion_tokens=7),
        Response(requests[1], "", failures=failures),
        Response(requests[2], None, outcome="rejected", error="HTTP 400: filtered"),
        Response(requests[3], None, failures=failures),  # all attempts failed: still to be asked
    ]
    store.write(responses, *ids)
    other = Store.open(store.folder)
    assert other.keys() == {request.key for request in requests[:3]}
    tallies = condition_tallies(other)
    assert tallies[ids[0][0]] == Tally(1, 0, 5, 7)
    assert tallies[ids[0][1]] == Tally(1, 2, 0, 0)
    rows = other.unscored(0)
    assert [row[3:5] for row in rows] == [
        ("yes", "whole"),
        ("", "whole"),
        (None, "rejected"),
    ]


def test_a_cell_is_written_once_and_never_changed(store: Store, plan: Plan) -> None:
    ids = store.activate(plan.conditions, plan.items, record_of(plan, samples=1))
    request = plan.request(0, 0)
    store.write([Response(request, "first")], *ids)
    store.write([Response(request, "second"), Response(request, "third")], *ids)
    assert [row[3] for row in store.unscored(0)] == ["first"]


def test_a_write_is_all_or_nothing(store: Store, plan: Plan) -> None:
    ids = store.activate(plan.conditions, plan.items, record_of(plan, samples=1))
    good, bad = Response(plan.request(0, 0), "a"), Response(plan.request(1, 0), ["no text"])  # type: ignore[arg-type]
    with pytest.raises(StoreError):
        store.write([good, bad], *ids)
    assert store.keys() == set()
    store.write([good], *ids)
    assert len(store.keys()) == 1


def test_odd_characters_come_back_as_they_were(store: Store, plan: Plan) -> None:
    ids = store.activate(plan.conditions, plan.items, record_of(plan, samples=1))
    text = "a\x00b\r\n'; DROP TABLE response; -- é漢😀 {is}"
    store.write([Response(plan.request(0, 0), text)], *ids)
    assert store.unscored(0)[0][3] == text


def test_durable_when_written(store: Store) -> None:
    connection = store._connection
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_only_the_active_cells_are_counted(store: Store, plan: Plan) -> None:
    ids = store.activate(plan.conditions, plan.items, record_of(plan, samples=2))
    failed = [Failure(500, "x")]
    requests = [plan.request(c, i, s) for i in range(4) for c in range(6) for s in range(2)]
    store.write([Response(r, "I cannot help.", failures=failed) for r in requests], *ids)
    score_run(store)
    assert len(store.scores()) == 48
    store.activate(plan.conditions[:3], plan.items[1:], record_of(plan, samples=1))
    assert len(store.conditions()) == 3
    assert [item.id for item in store.items().values()] == [i.id for i in plan.items[1:]]
    assert len(store.items(inactive=True)) == 4
    assert len(store.scores()) == 9
    assert [(t.responses, t.failures) for t in condition_tallies(store).values()] == [(3, 3)] * 3
    store.activate(plan.conditions, plan.items, record_of(plan, samples=2))
    assert len(store.scores()) == 48


def test_conditions_and_items_come_back_as_they_were(store: Store, plan: Plan) -> None:
    store.activate(plan.conditions, plan.items, record_of(plan, samples=1))
    assert tuple(store.items().values()) == plan.items
    stored = store.conditions()
    assert [c.identity for c in stored] == [c.identity for c in plan.conditions]
    assert stored[1].example == plan.conditions[1].messages("{question}")


def test_a_refused_study_changes_nothing(store: Store, plan: Plan) -> None:
    store.activate(plan.conditions, plan.items, record_of(plan, samples=1))
    with pytest.raises(RunFolderError):
        store.activate(
            plan.with_system_role(False).conditions[:2], plan.items[:1], record_of(plan, samples=1)
        )
    assert len(store.conditions()) == 6
    assert len(store.items()) == 4


def test_scores_are_written_anew_and_keep_their_reasons(store: Store, plan: Plan) -> None:
    ids = store.activate(plan.conditions, plan.items, record_of(plan, samples=1))
    store.write([Response(plan.request(c, 0), "?") for c in range(3)], *ids)
    store.write_scores([(1, 0.25), (2, Unscored("no answer")), (3, 1.0)])
    assert store.reasons() == [(ids[0][1], "no answer", 1)]
    np.testing.assert_array_equal(store.scores()[:, 3], [0.25, np.nan, 1.0])
    store.write_scores([(2, 0.5)])
    assert store.reasons() == []
    np.testing.assert_array_equal(store.scores()[:, 3], [0.25, 0.5, 1.0])
    assert store.unscored(0) == []
    assert len(store.unscored(0, again=True)) == 3


@pytest.mark.slow
def test_thousands_of_answers_are_scored_in_parts(store: Store, plan: Plan) -> None:
    ids = store.activate(plan.conditions, plan.items, record_of(plan, samples=300))
    store.write([Response(r, "I cannot help.") for r in _many(plan, 300)], *ids)
    assert score_run(store) == 24 * 300
    assert score_run(store) == 0
    assert score_run(store, again=True) == 24 * 300


def _many(plan: Plan, samples: int) -> list:  # type: ignore[type-arg]
    return [plan.request(c, i, s) for i in range(4) for c in range(6) for s in range(samples)]


def test_a_reader_sees_what_is_committed_while_another_writes(store: Store, plan: Plan) -> None:
    ids = store.activate(plan.conditions, plan.items, record_of(plan, samples=1))
    reader = Store.open(store.folder)
    store.write([Response(plan.request(0, 0), "a")], *ids)
    assert len(reader.keys()) == 1


def test_creating_again_opens_what_is_there(store: Store) -> None:
    store.set_document("color", {"is": "green"})
    store.close()
    assert Store.create(store.folder).document("color") == {"is": "green"}
    assert Store.open(store.folder).document("nothing") is None


def test_a_locked_store_is_told_in_one_line(store: Store) -> None:
    store._connection.execute("PRAGMA busy_timeout = 10")
    other = sqlite3.connect(store.folder / "run.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match=r"run\.db: database is locked"):
        store.set_document("a", 1)
    other.close()


def test_a_score_keeps_what_led_to_it(store: Store, plan: Plan) -> None:
    ids = store.activate(plan.conditions, plan.items, record_of(plan, samples=1))
    store.write([Response(plan.request(0, 0), "?")], *ids)
    store.write_scores([(1, Verdict(0.5, 'says "perhaps"'))])
    (row,) = store._connection.execute("SELECT value, reason, why FROM score")
    assert row == (0.5, "", 'says "perhaps"')


def test_a_batch_scorer_gets_many_answers_at_once(
    store: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = store.activate(plan.conditions, plan.items, record_of(plan, samples=1))
    store.write(
        [Response(plan.request(c, i), f"{c} {i}") for c in range(6) for i in range(4)], *ids
    )
    sizes = []

    def lengths(answers: list[Answer]) -> list[float]:
        sizes.append(len(answers))
        return [len(answer.text) / 10 for answer in answers]

    monkeypatch.setattr("evenhand.scorers.code.score_batch", lengths)
    monkeypatch.setitem(BATCH_SCORERS, "choice", "evenhand.scorers.code:score_batch")
    monkeypatch.setattr("evenhand.run.scoring._SLOW_CHUNK", 12)
    assert score_run(store) == 24
    assert sizes == [6, 6]
    assert sum(store.scores()[:, 3] == 0.3) == 12


def test_the_state_changes_with_every_write(tmp_path: Path) -> None:
    store, other = Store.create(tmp_path / "run"), None
    try:
        first = store.state()
        assert store.state() == first
        store.set_document("a", 1)
        second = store.state()
        assert second != first
        other = Store.open(tmp_path / "run")
        other.set_document("b", 2)
        assert store.state() != second
    finally:
        store.close()
        if other:
            other.close()


def _bloated(store: Store, plan: Plan) -> None:
    """Scores with long reasons that were deleted, as when a judge scores everything again."""
    ids = store.activate(plan.conditions, plan.items, record_of(plan, samples=1))
    store.write(
        [Response(request, f"answer {n}") for n, request in enumerate(plan.requests())], *ids
    )
    answers = [row[0] for row in store.unscored(0)]
    why = Verdict(1.0, "x" * 100_000)
    store.write_scores([(answer, why) for answer in answers], judge=7)
    with store.writing() as connection:
        connection.execute("DELETE FROM score WHERE judge = 7")


def _rows(folder: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(folder / "run.db")) as connection:
        return connection.execute("SELECT id, key, text FROM response ORDER BY id").fetchall()


def test_space_that_deleted_rows_have_left_goes_back_to_the_disk(store: Store, plan: Plan) -> None:
    _bloated(store, plan)
    before = _rows(store.folder)
    (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
    store.close()
    size = (store.folder / "run.db").stat().st_size
    assert 4096 * pages > 1_000_000
    assert size < 200_000
    assert _rows(store.folder) == before != []
    Store.open(store.folder).close()
    assert (store.folder / "run.db").stat().st_size == size, "a reader leaves it as it is"


def test_the_space_is_kept_while_another_process_has_the_folder(store: Store, plan: Plan) -> None:
    _bloated(store, plan)
    before = _rows(store.folder)
    with locked(store.folder):
        store.close()
    assert (store.folder / "run.db").stat().st_size > 1_000_000
    assert _rows(store.folder) == before


def test_a_death_while_space_is_given_back_loses_nothing(store: Store, plan: Plan) -> None:
    _bloated(store, plan)
    before = _rows(store.folder)
    store._connection.close()  # as it is after a death
    child = os.fork()
    if not child:
        dying = Store.open(store.folder)
        with dying.writing() as connection:
            connection.execute("UPDATE item SET active = active")
        steps = iter([None] * 9)  # the first are of the questions before

        def step() -> None:
            if next(steps, "dead") == "dead":
                os.kill(os.getpid(), signal.SIGKILL)

        dying._connection.set_progress_handler(step, 20)
        dying.close()
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    again = Store.open(store.folder)
    assert _rows(store.folder) == before
    again.set_document("touched", 1)
    again.close()
    assert (store.folder / "run.db").stat().st_size < 200_000
    assert _rows(store.folder) == before
