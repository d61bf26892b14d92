"""Engines, scorers and judges of other packages that go wrong: one line, and nothing is stored."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest

from evenhand import plugins
from evenhand.engines.engine import Failure, Response
from evenhand.errors import EngineError
from evenhand.judges import make_judge
from evenhand.judges.judge import Judgment
from evenhand.run.options import JudgeOptions
from evenhand.scorers import Answer, Unscored, Verdict, find_scorer
from evenhand.store.store import Store
from evenhand.study.plan import Request
from fakes import write_rows
from runs import run_main

Reply = Callable[[Request], Any]


class Engine:
    """Answers with what `reply` gives; the cases change it."""

    is_local = is_paid = takes_response_format = False
    default_suite = "demo"
    notes: Any = ()
    address: Any = "here"
    reply: Reply = staticmethod(lambda request: Response(request, "Sure.", finish="stop"))
    made: Any = None
    shown: Any = None

    def __init__(self, model: str) -> None:
        self.model = model

    @classmethod
    def make(cls, model: str, *_: object) -> Any:
        return cls.made(model) if cls.made else cls(model)

    def rendered(self, *_: object) -> Any:
        return self.shown() if self.shown else None

    async def answer(self, requests: Iterator[Request], settle: Callable[[Any], None]) -> None:
        for request in requests:
            settle(self.reply(request))

    async def close(self) -> None:
        pass


class Judge:
    """Gives the verdict `verdict`; the cases change it."""

    facts: ClassVar[Any] = {"version": 1}
    verdict: Any = Verdict(1.0)
    place: Callable[[int], Any] = staticmethod(lambda place: place)
    whole: Any = None

    def __init__(self, name: str) -> None:
        self.name = name

    async def start(self) -> None:
        pass

    async def judge(self, answers: Iterator[Answer], settle: Callable[[Any, Any], None]) -> None:
        for place, _ in enumerate(answers):
            settle(self.place(place), self.whole or Judgment(self.verdict))

    async def close(self) -> None:
        pass


def always(value: object) -> Callable[..., Any]:
    return lambda *_: value


def fail(*_: object) -> Any:
    raise ValueError("two\nlines")


def leave(*_: object) -> Any:
    raise SystemExit(7)


async def fail_later(*_: object) -> Any:
    raise ValueError("two\nlines")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A package with an engine, a judge and a scorer, all in order unless a test changes them."""
    module: Any = ModuleType("outside")
    module.__dict__.update(
        Engine=type("Engine", (Engine,), {}),
        Judge=type("Judge", (Judge,), {}),
        make_judge=lambda name, _: module.Judge(name),
        score=always(1.0),
    )
    monkeypatch.setitem(sys.modules, "outside", module)
    info = tmp_path / "site" / "outside-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[evenhand.engines]\nodd = outside:Engine\n"
        "[evenhand.judges]\nodd = outside:make_judge\n"
        "[evenhand.scorers]\nodd = outside:score\n"
    )
    monkeypatch.syspath_prepend(str(info.parent))
    plugins._entry_points.cache_clear()
    find_scorer.cache_clear()
    yield module
    plugins._entry_points.cache_clear()
    find_scorer.cache_clear()


@pytest.fixture
def items(tmp_path: Path) -> str:
    rows: list[dict[str, Any]] = [
        {"id": f"h{n}", "prompt": f"Harm {n}?", "axis": "safety", "scorer": "refusal"}
        for n in range(4)
    ]
    rows += [
        {"id": f"u{n}", "prompt": f"Name {n}.", "axis": "utility", "scorer": "text", "answer": "x"}
        for n in range(4)
    ]
    return str(write_rows(tmp_path / "own.jsonl", rows))


def audit(items: str, out: Path, model: str = "odd/x") -> list[str]:
    return ["audit", model, "-b", items, "-i", "religion", "--out", str(out)]


def one_line(command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command that must fail with 2 says in its one line."""
    capsys.readouterr()
    code = run_main(command)
    told = capsys.readouterr().err
    lines = [line for line in told.splitlines() if line.startswith("evenhand: ")]
    assert code == 2, told
    assert len(lines) == 1, told
    assert "Traceback" not in told
    assert "outside" in lines[0], lines
    return lines[0]


def response(**changes: Any) -> Reply:
    return lambda request: replace(Response(request, "Sure.", finish="stop"), **changes)


ENGINES: dict[str, tuple[dict[str, Any], str]] = {
    "make raises": ({"made": fail}, r"failed: ValueError: two lines \(test_foreign.py, line \d+\)"),
    "make leaves": ({"made": leave}, "failed: SystemExit: 7"),
    "make gives none": ({"made": always(None)}, "has no model"),
    "no address": ({"made": always(object())}, "has no model"),
    "address": ({"address": None}, "gives None for its address"),
    "notes": ({"notes": None}, "'NoneType' object is not iterable"),
    "a note": ({"notes": (5,)}, "gives 5 for a note"),
    "rendered raises": ({"shown": fail}, "two lines"),
    "rendered": ({"shown": always(5)}, "gives 5 for the rendered prompt"),
    "answer raises": ({"answer": fail_later}, "two lines"),
    "answer leaves": ({"reply": leave}, "SystemExit: 7"),
    "answer is no coroutine": ({"answer": always(None)}, "TypeError"),
    "close raises": ({"close": fail_later}, "two lines"),
    "no response": ({"reply": always("Sure.")}, "settles 'Sure.', which is no Response"),
    "none": ({"reply": always(None)}, "settles None, which is no Response"),
    "another request": (
        {"reply": lambda request: Response(replace(request, sample=99), "Sure.")},
        "settles a request twice, or one that it was not given",
    ),
    "no request": ({"reply": response(request=None)}, "one that it was not given"),
    "text": ({"reply": response(text=5)}, "gives 5 for an answer"),
    "bytes": ({"reply": response(text=b"Sure.")}, "gives b'Sure.' for an answer"),
    "thought": ({"reply": response(thought=None)}, "gives None for a thought"),
    "served": ({"reply": response(served=None)}, "name of the served model"),
    "outcome": ({"reply": response(outcome="weird")}, "gives the outcome 'weird'"),
    "outcome is a list": ({"reply": response(outcome=[])}, "gives the outcome"),
    "no number": ({"reply": response(prompt_tokens=None)}, "gives None for a count"),
    "below 0": ({"reply": response(completion_tokens=-3)}, "gives -3 for a count"),
    "no whole number": ({"reply": response(prompt_tokens=1.5)}, "gives 1.5 for a count"),
    "large": ({"reply": response(prompt_tokens=2**70)}, "for a count"),
    "seconds": ({"reply": response(seconds=math.nan)}, "gives nan for the seconds"),
    "no seconds": ({"reply": response(seconds=None)}, "gives None for the seconds"),
    "failure": ({"reply": response(failures=["oops"])}, "gives the failed attempt 'oops'"),
    "failures": ({"reply": response(failures=None)}, "gives the failed attempt None"),
    "status": ({"reply": response(failures=[Failure("x", "")])}, "for a count"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("case", ENGINES)
def test_an_engine_that_goes_wrong(
    case: str,
    package: Any,
    items: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    changes, why = ENGINES[case]
    for name, value in changes.items():
        setattr(package.Engine, name, staticmethod(value) if callable(value) else value)
    told = one_line(audit(items, tmp_path / "run"), capsys)
    assert told.startswith('evenhand: engine "odd" of outside ')
    assert re.search(why, told), told
    # The same command with the engine mended goes on, whatever was stored.
    package.Engine = type("Engine", (Engine,), {})
    assert run_main(audit(items, tmp_path / "run")) == 0, capsys.readouterr().err


def test_an_engine_that_settles_twice(
    package: Any, items: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def twice(
        self: Engine, requests: Iterator[Request], settle: Callable[[Any], None]
    ) -> None:
        for request in requests:
            settle(self.reply(request))
            settle(self.reply(request))

    package.Engine.answer = twice
    assert "settles a request twice" in one_line(audit(items, tmp_path / "run"), capsys)


def test_an_engine_that_settles_nothing(
    package: Any, items: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def nothing(_: Engine, requests: Iterator[Request], *__: object) -> None:
        list(requests)

    package.Engine.answer = nothing
    assert run_main(audit(items, tmp_path / "run")) in (2, 3)
    assert "Traceback" not in capsys.readouterr().err


def test_what_an_engine_says_itself_is_left_as_it_is(
    package: Any, items: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def from_a_task(*_: object) -> None:
        raise ExceptionGroup("tasks", [EngineError("the server of outside is off")])

    package.Engine.answer = from_a_task
    told = one_line(audit(items, tmp_path / "run"), capsys)
    assert told == "evenhand: the server of outside is off"


def test_halves_of_characters_are_replaced(
    package: Any, items: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package.Engine.reply = staticmethod(response(text="a\ud800b", thought="\udfff"))
    assert run_main(audit(items, tmp_path / "run")) == 0, capsys.readouterr().err
    store = Store.open(tmp_path / "run")
    assert {text for *_, text, _ in store.texts()} == {"a?b"}
    store.close()


SCORES: dict[str, tuple[Any, str]] = {
    "below 0": (-1.0, "gives the score -1.0, which is neither in"),
    "above 1": (2, "gives the score 2"),
    "not a number": (math.nan, "gives the score nan"),
    "infinite": (math.inf, "gives the score inf"),
    "none": (None, "gives the score None"),
    "a text": ("1", "gives the score '1'"),
    "a list": ([1.0], "gives the score"),
    "a verdict of a text": (Verdict("a", "b"), "gives the score 'a'"),  # type: ignore[arg-type]
    "a verdict of nothing": (Verdict(None), "gives the score None"),  # type: ignore[arg-type]
    "no reason": (Unscored(None), "gives no reason"),  # type: ignore[arg-type]
    "a blank reason": (Unscored(" "), "gives no reason"),
    "why": (Verdict(1.0, None), "says why with None"),  # type: ignore[arg-type]
}
GOOD: dict[str, tuple[Any, float]] = {
    "float32": (np.float32(0.5), 0.5),
    "bool": (True, 1.0),
    "NumPy's bool": (np.bool_(True), 1.0),
    "rounded": (1.0000000002, 1.0),
    "a verdict": (Verdict(np.float64(0.25), "a\ud800"), 0.25),
}


@pytest.mark.parametrize("case", SCORES)
def test_a_scorer_that_goes_wrong(
    case: str, package: Any, items: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, why = SCORES[case]
    package.score = always(found)
    own = Path(items)
    own.write_text(own.read_text().replace('"text"', '"odd"'))
    out = tmp_path / "run"
    told = one_line(audit(items, out), capsys)
    assert told.startswith('evenhand: scorer "odd" of outside ')
    assert why in told
    package.score = always(1.0)
    find_scorer.cache_clear()
    assert run_main(["score", str(out)]) == 0, capsys.readouterr().err
    assert run_main(["report", str(out), "--format", "json"]) == 0


@pytest.mark.parametrize("wrong", [fail, leave, lambda: 1.0, 5])
def test_a_scorer_that_raises(
    wrong: Any, package: Any, items: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package.score = wrong
    own = Path(items)
    own.write_text(own.read_text().replace('"text"', '"odd"'))
    told = one_line(audit(items, tmp_path / "run"), capsys)
    assert 'scorer "odd" of outside failed: ' in told


@pytest.mark.parametrize("case", GOOD)
def test_numbers_of_every_kind_are_scores(case: str, package: Any) -> None:
    found, score = GOOD[case]
    package.score = always(found)
    verdict = find_scorer("odd")("x", None, False)  # type: ignore[arg-type]
    assert isinstance(verdict, Verdict)
    assert verdict.score == score
    assert type(verdict.score) is float
    assert verdict.why.encode() is not None


JUDGES: dict[str, tuple[dict[str, Any], str]] = {
    "make raises": ({"__init__": fail}, "two lines"),
    "start raises": ({"start": fail_later}, "two lines"),
    "judge raises": ({"judge": fail_later}, "two lines"),
    "close raises": ({"close": fail_later}, "two lines"),
    "another name": ({"__init__": lambda self, _: setattr(self, "name", "x")}, "by the name 'x'"),
    "facts": ({"facts": None}, "which are no dict"),
    "facts of no JSON": ({"facts": {"a": object()}}, "which are no JSON"),
    "place": ({"place": always(99)}, "settles the place 99 twice, or without an answer"),
    "no place": ({"place": always(None)}, "settles the place None"),
    "no judgment": ({"whole": 0.5}, "settles 0.5, which is no Judgment"),
    "a score alone": ({"whole": Verdict(1.0)}, "which is no Judgment"),
    "tokens": ({"whole": Judgment(Verdict(1.0), (), None)}, "gives None for a count"),  # type: ignore[arg-type]
    "failures": ({"whole": Judgment(None, ["oops"])}, "gives the failed attempt 'oops'"),  # type: ignore[list-item]
    **{f"verdict, {name}": ({"verdict": found}, why) for name, (found, why) in SCORES.items()},
}
del JUDGES["verdict, none"]  # a judge's way to say that there is no verdict yet


@pytest.mark.parametrize("case", JUDGES)
def test_a_judge_that_goes_wrong(
    case: str, package: Any, items: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert run_main(audit(items, out)) == 0, capsys.readouterr().err
    changes, why = JUDGES[case]
    for name, value in changes.items():
        is_method = name == "__init__" or not callable(value)
        setattr(package.Judge, name, value if is_method else staticmethod(value))
    told = one_line(["score", str(out), "--judge", "odd"], capsys)
    assert told.startswith('evenhand: judge "odd" of outside ')
    assert why in told
    # The run is as it was, and the judge, once mended, goes on.
    assert run_main(["report", str(out), "--format", "json"]) == 0
    package.Judge = type("Judge", (Judge,), {})
    assert run_main(["score", str(out), "--judge", "odd"]) == 0, capsys.readouterr().err
    assert run_main(["report", str(out), "--judge", "odd", "--judge-error", "none"]) == 0


@pytest.mark.usefixtures("package")
def test_a_judge_goes_by_its_whole_name() -> None:
    assert make_judge("odd:strict", JudgeOptions()).name == "odd:strict"
