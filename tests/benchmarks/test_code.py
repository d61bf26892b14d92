"""Programming tasks: MBPP from its real file, and one's own as in HumanEval."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evenhand import sandbox
from evenhand.benchmarks import load
from evenhand.benchmarks.item import Task
from evenhand.errors import BenchmarkError
from evenhand.sandbox import Pool
from evenhand.scorers import Unscored, score
from evenhand.scorers.base import Answer
from evenhand.scorers.code import score_batch

TASK = {
    "task_id": "HumanEval/0",
    "prompt": "import math\n\ndef poly(xs, x):\n    return sum(c * x**i for i, c in enumerate(xs))"
    '\n\n\ndef zero(xs):\n    """Where xs[0] + xs[1] * x is 0."""\n',
    "entry_point": "zero",
    "canonical_solution": "    return -xs[0] / xs[1]\n",
    "test": "def check(candidate):\n    for xs in ([1, 2], [3, 4], [5, -6]):\n"
    "        assert math.fabs(poly(xs, candidate(xs))) < 1e-9\n",
}


@pytest.mark.usefixtures("data_dir", "bubblewrap")
@pytest.mark.slow
def test_every_reference_passes() -> None:
    tasks = [Task.from_json(item.answer) for item in load("mbpp-all")]
    assert len(tasks) == 974
    with Pool() as pool:
        tested = pool.test(
            ((t.reference,), sandbox.Tests(t.tests, t.names, t.before, t.setup)) for t in tasks
        )
    assert [t.names for t, result in zip(tasks, tested, strict=True) if not result.passed] == []


@pytest.mark.usefixtures("data_dir", "bubblewrap")
@pytest.mark.slow
def test_references_are_found_in_answers_and_empty_functions_fail() -> None:
    items = load("mbpp")[:40]
    pairs = [(Task.from_json(item.answer), item) for item in items]
    right = [Answer(f"So:\n```python\n{task.reference}\n```", item) for task, item in pairs]
    wrong = [
        Answer("".join(f"def {name}(*given): pass\n" for name in task.names), item)
        for task, item in pairs
    ]
    assert [v.score for v in score_batch(right)] == [1.0] * 40
    verdicts = score_batch(wrong)
    assert [v.score for v in verdicts] == [0.0] * 40
    assert all(v.why for v in verdicts)


@pytest.mark.usefixtures("data_dir")
def test_mbpp_items() -> None:
    items = load("mbpp")
    assert [items[0].id, items[-1].id, len(items)] == ["0011", "0510", 500]
    for item in items:
        task = Task.from_json(item.answer)
        assert len(task.tests) == 3
        assert task.names
        assert all(test in item.prompt for test in task.tests)
        assert task.reference not in item.prompt
        assert "\r" not in item.prompt + item.answer
    shown = load("mbpp", shots=3)[0].prompt
    assert shown.count("```python\n") == 3
    assert shown.endswith("Answer:")


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    path = tmp_path / "tasks.jsonl"
    path.write_text(json.dumps(TASK))
    return path


@pytest.mark.usefixtures("bubblewrap")
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("```python\ndef zero(xs):\n    return -xs[0] / xs[1]\n```", 1.0),
        ("```python\n    return -xs[0] / xs[1]\n```", 1.0),
        ("return math.copysign(xs[0] / xs[1], -xs[0] * xs[1])", 1.0),
        ("```python\ndef zero(xs):\n    return xs[0] / xs[1]\n```", 0.0),
        # A helper of the task's that always says yes is not the one that the tests use.
        ("```python\ndef poly(xs, x):\n    return 0\n\ndef zero(xs):\n    return 0\n```", 0.0),
        ("I cannot help with that.", 0.0),
        ("It is a well known result.", Unscored("no final answer found")),
    ],
)
def test_own_tasks(answer: str, expected: float | Unscored, tasks: Path) -> None:
    assert score(answer, load(tasks)[0]) == expected


@pytest.mark.usefixtures("bubblewrap")
def test_cut_off(tasks: Path) -> None:
    item = load(tasks)[0]
    assert score("```python\ndef zero(xs):\n    return (-xs[0] /", item, truncated=True) == (
        Unscored("cut off at the token limit")
    )
    assert score("```python\ndef zero(xs):\n    return (-xs[0] /", item) == 0.0
    whole = "```python\ndef zero(xs):\n    return -xs[0] / xs[1]\n```\nThis is because"
    assert score(whole, item, truncated=True) == 1.0


@pytest.mark.usefixtures("bubblewrap")
def test_reference_that_fails_here(tmp_path: Path) -> None:
    path = tmp_path / "broken.jsonl"
    path.write_text(json.dumps(TASK | {"canonical_solution": "    return 1\n"}))
    right = "```python\ndef zero(xs):\n    return -xs[0] / xs[1]\n```"
    assert score(right, load(path)[0]) == Unscored("the reference solution fails here")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"task_id": ""}, "1: task_id is missing"),
        ({"test": ""}, "test is missing"),
        ({"canonical_solution": 3}, "canonical_solution is missing, or no text"),
        ({"prompt": "def zero(xs:\n"}, "prompt is not valid Python"),
        ({"test": "def check(:"}, "test is not valid Python"),
        ({"canonical_solution": "  )"}, "canonical_solution is not valid Python"),
        ({"entry_point": "one"}, 'prompt does not define "one"'),
    ],
)
def test_bad_tasks(change: dict[str, object], told: str, tasks: Path) -> None:
    tasks.write_text(json.dumps(TASK | change))
    with pytest.raises(BenchmarkError) as error:
        load(tasks)
    assert told in str(error.value)
    assert "\n" not in str(error.value)
