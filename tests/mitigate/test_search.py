"""The search finds the defense that works, on the tuning part alone, within its budget."""

# mypy: disable-error-code="operator"
# A result that is missing fails the test where it is used.

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import evenhand
from evenhand.engines.mock import MockEngine
from evenhand.errors import NotFinished, UsageError
from evenhand.mitigate.queries import QueryLoop
from evenhand.mitigate.search import SearchResult, make_schedule, search
from evenhand.mitigate.split import Split, plan_for_tuning, split_run
from evenhand.run.options import RunOptions
from evenhand.run.recorder import Price
from evenhand.store.store import Store
from evenhand.study.cue import Defense, Message
from evenhand.study.plan import Request, make_plan
from fakes import GOOD, HALF, IDLE, REFUSING, STUDY, mendable


class Counting(MockEngine):
    """Keeps which questions were asked."""

    def __init__(self) -> None:
        super().__init__(mendable)
        self.questions: set[str] = set()

    async def answer(self, requests: Iterator[Request], settle: object) -> None:
        def seen() -> Iterator[Request]:
            for request in requests:
                self.questions.add(request.messages[-1]["content"])
                yield request

        await super().answer(seen(), settle)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("run")
    evenhand.audit(STUDY, engine=MockEngine(mendable), out=folder)
    return Store.open(folder)


@pytest.fixture(scope="module")
def split(run: Store) -> Split:
    return split_run(run)


def find(
    run: Store,
    split: Split,
    folder: Path,
    defenses: Sequence[Defense],
    engine: MockEngine | None = None,
    options: RunOptions | None = None,
    budget: int = 4000,
) -> SearchResult:
    store = Store.create(folder)
    asking = QueryLoop(options or RunOptions(), lambda *_: None, engine or MockEngine(mendable))
    return asyncio.run(search(run, split, store, defenses, asking, budget=budget))


@pytest.mark.slow
def test_the_defense_that_works_is_found(run: Store, split: Split, tmp_path: Path) -> None:
    found = find(run, split, tmp_path, [*IDLE, HALF, GOOD])
    assert found.chosen == "good"
    assert found.better
    assert [len(r.trials) for r in found.rounds] == [11, 4, 2]
    assert found.rounds[0].items < found.rounds[1].items < found.rounds[2].items
    assert found.rounds[-1].trials[0].pb < 0.5 * found.rounds[-1].reference.pb


def test_what_refuses_everything_is_not_taken_for_fair(
    run: Store, split: Split, tmp_path: Path
) -> None:
    found = find(run, split, tmp_path, [REFUSING, HALF])
    assert found.chosen == "half"
    refusing = found.rounds[-1].trials[-1]
    assert refusing.pb == pytest.approx(0.0, abs=1e-6)
    assert refusing.lost > 80


def test_what_breaks_the_model_comes_last(run: Store, split: Split, tmp_path: Path) -> None:
    """With no score for any answer it has no PB; the search goes on without it."""

    def breakable(messages: list[Message]) -> str:
        return "" if messages[0]["content"].endswith(REFUSING.text) else mendable(messages)

    found = find(run, split, tmp_path, [REFUSING, HALF], MockEngine(breakable))
    assert found.chosen == "half"
    broken = found.rounds[-1].trials[-1]
    assert (broken.defense, broken.pb, broken.value) == ("refusing", None, None)


def test_only_tuning_items_and_people_are_asked(run: Store, split: Split, tmp_path: Path) -> None:
    engine = Counting()
    find(run, split, tmp_path, [HALF, GOOD], engine)
    asked = [item for item in run.items().values() if item.prompt in engine.questions]
    split.check_tuning(asked)
    store = Store.open(tmp_path)
    people = {c.identity.id for c in store.conditions(inactive=True)}
    assert people == {"baseline", *split.identities}


def test_the_budget_is_kept_and_what_the_audit_knows_is_not_asked_again(
    run: Store, split: Split, tmp_path: Path
) -> None:
    engine = Counting()
    found = find(run, split, tmp_path, [*IDLE, GOOD], engine, budget=3000)
    assert found.answers == engine.asked <= found.planned <= 3000
    assert found.planned > 2500


def test_the_same_search_again_sends_nothing(run: Store, split: Split, tmp_path: Path) -> None:
    first = find(run, split, tmp_path, [*IDLE, GOOD])
    engine = Counting()
    again = find(run, split, tmp_path, [*IDLE, GOOD], engine)
    assert engine.asked == again.answers == 0
    assert again.rounds == first.rounds


@pytest.mark.slow
def test_a_cost_limit_stops_it_and_the_next_call_goes_on(
    run: Store, split: Split, tmp_path: Path
) -> None:
    options = RunOptions(price=Price(1.0, 1.0), max_cost=0.01)
    engine = Counting()
    with pytest.raises(NotFinished, match="search, round 1 of 3: the cost limit"):
        find(run, split, tmp_path, [*IDLE, GOOD], engine, options)
    assert 0 < engine.asked < 1500
    again = Counting()
    found = find(run, split, tmp_path, [*IDLE, GOOD], again, RunOptions(price=Price(1.0, 1.0)))
    assert found.cost is not None
    assert found.cost > 0.01
    assert engine.asked + again.asked == find(run, split, tmp_path / "b", [*IDLE, GOOD]).answers


@pytest.mark.parametrize("candidates", [1, 2, 3, 4, 24])
@pytest.mark.parametrize("budget", [2_000, 20_000, 10**9])
def test_schedules_stay_within_the_budget(split: Split, candidates: int, budget: int) -> None:
    plan = plan_for_tuning(make_plan(STUDY), split)
    found = make_schedule(plan, candidates, budget)
    assert found.answers <= budget
    assert found.candidates[0] == candidates
    assert found.candidates[-1] <= 3
    assert list(found.shares) == sorted(found.shares)
    if budget == 10**9:
        assert found.shares[-1] == 1.0


def test_a_budget_too_small_is_told(split: Split) -> None:
    plan = plan_for_tuning(make_plan(STUDY), split)
    with pytest.raises(UsageError, match=r"needs [0-9,]+ answers at least"):
        make_schedule(plan, 24, 100)


def test_the_price_is_told_before_anything_is_asked(
    run: Store, split: Split, tmp_path: Path
) -> None:
    told: list[str] = []
    asking = QueryLoop(RunOptions(price=Price(1.0, 1.0)), lambda text, _: told.append(text))
    defenses = [*IDLE, GOOD]
    asking.announce("search", 1000, run)
    with pytest.raises(UsageError):
        asyncio.run(search(run, split, Store.create(tmp_path), defenses, asking, budget=1))
    assert told == ["search: at most 1,000 answers, about $0.00"]
    given = MockEngine(mendable)
    asking = QueryLoop(RunOptions(), lambda text, _: told.append(text), given)
    found = asyncio.run(search(run, split, Store.create(tmp_path), defenses, asking, budget=4000))
    assert told[1] == f"search among 10 defenses in 3 rounds: at most {found.planned:,} answers"
