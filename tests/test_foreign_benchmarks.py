"""Benchmarks of other packages that are not as they should be: one line that names the package."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evenhand import plugins
from evenhand.benchmarks import Benchmark, Item, load
from evenhand.errors import PluginError
from fakes import audit, saying
from runs import run_main

ITEM = Item("odd", "1", "How?", "safety", "refusal")
ASKED = Item("odd", "1", "Which?", "utility", "choice", "A", ("one", "two"))
GOOD = Benchmark(
    "odd", "Odd", ("safety", "utility"), 1, "Odd ones.", "CC0-1.0", "", "", lambda *_: [ITEM]
)

Install = Callable[[Any], None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Makes something the benchmark "odd" of the package "outside"."""
    module = SimpleNamespace()
    monkeypatch.setitem(sys.modules, "outside", module)
    entry = EntryPoint("odd", "outside:THING", "evenhand.benchmarks")
    monkeypatch.setattr(
        plugins, "_entry_points", lambda kind: {"odd": (entry,)} if kind == "benchmark" else {}
    )
    return lambda thing: setattr(module, "THING", thing)


def complaint() -> str:
    with pytest.raises(PluginError) as found:
        load("odd")
    told = str(found.value)
    assert told.startswith('benchmark "odd" of outside ')
    assert "\n" not in told
    return told


def fail(*_: object) -> Any:
    raise ValueError("two\nlines")


def leave(*_: object) -> Any:
    raise SystemExit(7)


ITEMS: dict[str, tuple[Item, dict[str, Any], str]] = {
    "no prompt": (ITEM, {"prompt": " "}, "prompt is missing or empty"),
    "prompt None": (ITEM, {"prompt": None}, "prompt must be text, not None"),
    "half a character": (ITEM, {"prompt": "a\ud800"}, "half a UTF-16 pair"),
    "half a character in an answer": (
        replace(ASKED, scorer="text", choices=()),
        {"answer": "a\ud800"},
        "half a UTF-16 pair",
    ),
    "no id": (ITEM, {"id": ""}, "id is missing or empty"),
    "id of a number": (ITEM, {"id": 1}, "id must be text, not 1"),
    "axis": (ITEM, {"axis": "speed"}, 'unknown axis "speed"'),
    "no axis": (ITEM, {"axis": None}, "axis must be text, not None"),
    "evenhand's own axis": (ITEM, {"axis": "recognition"}, 'unknown axis "recognition"'),
    "another axis": (ITEM, {"axis": "over_refusal"}, "of over_refusal, which is not in axes"),
    "scorer": (ITEM, {"scorer": "refusl"}, 'unknown scorer "refusl"; did you mean "refusal"?'),
    "scorer of another axis": (ITEM, {"scorer": "text"}, "axis safety goes with scorer refusal"),
    "benchmark": (ITEM, {"benchmark": "even"}, 'which is no Item of the benchmark "odd"'),
    "letter": (ASKED, {"answer": "C"}, "answer must be a letter from A to B"),
    "no letter": (ASKED, {"answer": "two"}, "answer must be a letter from A to B, here B"),
    "no answer": (ASKED, {"answer": ""}, "answer is missing or empty"),
    "answer None": (ASKED, {"answer": None}, "answer must be text, not None"),
    "no options": (ASKED, {"scorer": "choice-logprob", "choices": ()}, "needs choices"),
    "one option": (ASKED, {"choices": ("one",)}, "there must be 2 to 26 choices, not 1"),
    "options None": (ASKED, {"choices": None}, "choices must be a tuple of texts"),
    "options of a text": (ASKED, {"choices": "AB"}, "choices must be a tuple of texts"),
    "options of numbers": (ASKED, {"choices": (1, 2)}, "choices must be a list of texts"),
    "number": (
        ASKED,
        {"scorer": "number", "choices": (), "answer": "two"},
        'answer must be a number, not "two"',
    ),
    "text": (ASKED, {"scorer": "text", "choices": (), "answer": ""}, "answer is missing or empty"),
    "code": (
        ASKED,
        {"scorer": "code", "choices": (), "answer": "def f(): ..."},
        "answer must be a programming task",
    ),
    "code of numbers": (
        ASKED,
        {"scorer": "code", "choices": (), "answer": '{"reference": 5, "names": [], "tests": []}'},
        "answer must be a programming task",
    ),
    "relevance": (
        ASKED,
        {"axis": "relevance", "scorer": "relevance", "answer": "muslim, jewish=B"},
        "answer must be a letter for each identity",
    ),
    "subgroup": (ITEM, {"subgroup": 5}, "subgroup must be text, not 5"),
}


@pytest.mark.parametrize("case", ITEMS)
def test_an_item_that_is_wrong(case: str, install: Install) -> None:
    item, changes, why = ITEMS[case]
    install(replace(GOOD, read=lambda *_: [replace(item, **changes)]))
    assert why in complaint()


FIELDS: list[tuple[str, Any]] = [
    ("axes", None),
    ("axes", ("speed",)),
    ("axes", ([],)),
    ("axes", ()),
    ("axes", "safety"),
    ("size", "many"),
    ("size", 0),
    ("size", True),
    ("files", None),
    ("files", ("nowhere.csv",)),
    ("files", "xstest/xstest_prompts.csv"),
    ("shot_files", ("../x",)),
    ("max_shots", None),
    ("read", None),
    ("description", None),
    ("title", "a\ud800"),
]


@pytest.mark.parametrize(("field", "value"), FIELDS)
def test_a_field_that_is_wrong(field: str, value: Any, install: Install) -> None:
    install(replace(GOOD, **{field: value}))
    told = complaint()
    assert f"for its {field}" in told


BENCHMARKS: dict[str, tuple[Any, str]] = {
    "none": (None, 'must name a Benchmark whose name is "odd"'),
    "another name": (replace(GOOD, name="even"), 'must name a Benchmark whose name is "odd"'),
    "raises": (replace(GOOD, read=fail), "failed: ValueError: two lines (test_foreign_b"),
    "leaves": (replace(GOOD, read=leave), "failed: SystemExit: 7"),
    "gives none": (replace(GOOD, read=lambda *_: None), "failed: TypeError"),  # type: ignore[arg-type]
    "gives no items": (replace(GOOD, read=lambda *_: []), "gives 0 items, and its size is 1"),
    "gives texts": (replace(GOOD, read=lambda *_: ["a"]), "gives 'a', which is no Item"),
    "gives an id twice": (
        replace(GOOD, read=lambda *_: [ITEM, replace(ITEM, id=" 1")]),
        "every item needs an id of its own",
    ),
    "another size": (replace(GOOD, size=1_000), "gives 1 item, and its size is 1,000"),
}


@pytest.mark.parametrize("case", BENCHMARKS)
def test_a_benchmark_that_is_wrong(case: str, install: Install) -> None:
    thing, why = BENCHMARKS[case]
    install(thing)
    assert why in complaint()


def test_an_item_is_read_as_of_a_file_but_for_its_prompt(install: Install) -> None:
    given = replace(ASKED, prompt="Which? A) one  B) two ", answer="(b)", choices=["one", "two "])  # type: ignore[arg-type]
    install(replace(GOOD, read=lambda *_: [given]))
    assert load("odd") == [replace(given, answer="B", choices=("one", "two"))]


@pytest.mark.parametrize("thing", [None, replace(GOOD, size="many"), replace(GOOD, axes=None)])  # type: ignore[arg-type]
def test_lists_leave_a_broken_package_out(
    thing: Any, install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install(thing)
    for format in ("text", "json"):
        assert run_main(["benchmarks", "--format", format]) == 0
        out, err = capsys.readouterr()
        assert "demo_safety" in out
        assert err.startswith('left out: benchmark "odd" of outside ')
        assert err.count("\n") == 1


def test_everything_is_fetched_but_for_a_broken_package(
    install: Install, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(None)
    asked: list[str] = []

    def fetch(names: list[str]) -> list[Path]:
        asked.extend(names)
        return []

    monkeypatch.setattr("evenhand.benchmarks.fetch", fetch)
    assert run_main(["fetch"]) == 0
    assert "mmlu" in asked
    assert "odd" not in asked
    assert capsys.readouterr().err.startswith('left out: benchmark "odd" of outside ')


@pytest.mark.parametrize(
    ("scorer", "answer"), [("code", "x"), ("number", "two"), ("relevance", "A"), ("odd", "")]
)
def test_a_run_with_an_item_that_cannot_be_scored_is_left_out(
    scorer: str, answer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As an earlier version may have stored it."""
    runs = tmp_path / "runs"
    audit(runs / "good", saying(lambda _: "Therefore, the answer is 5."), items=4)
    shutil.copytree(runs / "good", runs / "bad")
    with closing(sqlite3.connect(runs / "bad" / "run.db")) as connection:
        connection.execute(
            "UPDATE item SET scorer = ?, answer = ? WHERE axis = 'utility'", (scorer, answer)
        )
        connection.execute("DELETE FROM score")
        connection.commit()
    capsys.readouterr()
    assert run_main(["history", str(runs), "--format", "json"]) == 0
    out, err = capsys.readouterr()
    assert [row["run"] for row in json.loads(out)] == ["good"]
    assert err.startswith(f"left out: {runs / 'bad'}: ")
    assert err.count("\n") == 1
    assert run_main(["runs", str(runs)]) == 0
