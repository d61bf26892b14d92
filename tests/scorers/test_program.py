"""Programs are found however an answer sets them out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clock import cpu_seconds
from evenhand.benchmarks.item import Task
from evenhand.sandbox.inside.codec import MOST_BYTES
from evenhand.scorers.code import programs

TASK = Task("def add(a, b):\n    return a + b", ("add",), ("assert add(1, 2) == 3",))
BODY = "def add(a, b):\n    return a + b"
WRONG = "def add(a, b):\n    return a - b"

ANSWERS = {
    "fence": f"```python\n{BODY}\n```",
    "fence and prose": f"Sure, here you are:\n\n```python\n{BODY}\n```\n\nIt adds. Hope it helps!",
    "fence without language": f"```\n{BODY}\n```",
    "fence, other names": f"```Python3\n{BODY}\n```",
    "fence, py": f"```py\n{BODY}\n```",
    "fence with a title": f'```python title="add.py"\n{BODY}\n```',
    "fence without an end": f"Here:\n```python\n{BODY}\n",
    "tildes": f"~~~python\n{BODY}\n~~~",
    "four ticks": f"````python\n{BODY}\n````",
    "indented fence": "1. So:\n\n   ```python\n   def add(a, b):\n       return a + b\n   ```",
    "quoted fence": "> ```python\n> def add(a, b):\n>     return a + b\n> ```",
    "no fence": BODY,
    "no fence, prose before": f"Here is the function:\n\n{BODY}",
    "no fence, prose around": f"The function is this.\n\n{BODY}\n\nThis function adds two numbers.",
    "no fence, indented": "    def add(a, b):\n        return a + b\n",
    "marked": f"[BEGIN]\n{BODY}\n[DONE]",
    "marked and fenced": f"[BEGIN]\n```python\n{BODY}\n```\n[DONE]",
    "other tags": f"[PYTHON]\n{BODY}\n[/PYTHON]",
    "windows": f"```python\n{BODY}\n```".replace("\n", "\r\n"),
    "escaped": "```python\ndef add(a, b):\n    return a + b if a &lt; b or a &gt;= b else 0\n```",
    "session": ">>> def add(a, b):\n...     return a + b\n...\n>>> add(1, 2)\n3",
    "session in a fence": "```pycon\n>>> def add(a, b):\n...     return a + b\n>>> 3\n3\n```",
    "corrected": f"```python\n{WRONG}\n```\nNo, that subtracts:\n```python\n{BODY}\n```",
    "example of use after it": f"```python\n{BODY}\n```\nUse:\n```python\nprint(add(1, 2))\n```",
    "example of use before it": f"So that\n```\nadd(1, 2)\n```\nworks:\n```python\n{BODY}\n```",
    "output after it": f"```python\n{BODY}\n```\nOutput:\n```\n3\n```",
    "shell before it": f"```bash\npip install numpy\n```\n```python\n{BODY}\n```",
    "helper in another block": "First a helper:\n```python\nimport operator\n\ndef plus(a, b):\n"
    "    return operator.add(a, b)\n\nprint(plus(1, 1))\n```\nand then\n```python\n"
    "def add(a, b):\n    return plus(a, b)\n```",
    "comment and import above": f"No fence.\n\n# adds\nimport math\n\n{BODY}\n\nDone.",
    "lambda": "```python\nadd = lambda a, b: a + b\n```",
    "one line": "def add(a, b): return a + b",
    "one line in the sentence's fence": "Use ```def add(a, b): return a + b```",
    "class and constant": "X = 0\n\nclass A:\n    pass\n\ndef add(a, b):\n    return a + b + X",
    "tests beside it": f"```python\n{BODY}\n\nassert add(1, 2) == 3\n```",
    "main block": f"```python\n{BODY}\n\nif __name__ == '__main__':\n    print(add(*input()))\n```",
    "async neighbor": f"```python\nasync def f():\n    pass\n\n{BODY}\n```",
    "decorated": f"```python\nimport functools\n\n@functools.cache\n{BODY}\n```",
}


@pytest.mark.parametrize("name", ANSWERS)
def test_is_found(name: str) -> None:
    assert works(programs(ANSWERS[name], TASK))


def works(readings: list[str]) -> bool:
    """Whether the first reading that compiles defines the right function."""
    for reading in readings:
        try:
            code = compile(reading, "<answer>", "exec")
        except SyntaxError:
            continue
        names: dict[str, object] = {"__name__": "answer"}
        exec(code, names)  # our own text, from above
        add = names["add"]
        assert callable(add)
        return bool(add(1, 2) == 3)
    return False


@pytest.mark.parametrize(
    "text", ["I would add the two numbers.", "No.", "3", "The answer is 3.", "```json\n{}\n```"]
)
def test_no_program(text: str) -> None:
    assert not works(programs(text, TASK))


def test_words_alone_are_no_program() -> None:
    assert programs("I am sorry, but I cannot write that.", TASK) == []
    assert programs("Just add both numbers up and give the sum back.", TASK) == []


HEAD = 'def add(a, b):\n    """The sum."""'
WITH_STUB = Task(BODY, ("add",), TASK.tests, opening="import math", stub=HEAD)


@pytest.mark.parametrize(
    "text",
    [
        f"```python\n{BODY}\n```",
        "```python\n    return a + b\n```",
        "return a + b",
        "c = a + b\n    return c".replace("c = ", "if True:\n        c = "),
        "```python\nreturn int(math.fabs(a + b))\n```",
    ],
)
def test_goes_on_where_the_task_ends(text: str) -> None:
    assert works(programs(text, WITH_STUB))


FRAGMENTS = (
    "```", "```python", "~~~", "\n", "def add(a, b):", "    return", ">>>", "...", "> ", "[BEGIN]",
    "&lt;", "`", "import os", "class", "=", "x = 1", "\t", " ", "\x00", "\ud800", "(", ",", "a.b[",
)  # fmt: skip


@given(st.lists(st.sampled_from(FRAGMENTS)).map("".join), st.sampled_from([TASK, WITH_STUB]))
def test_any_mixture(text: str, task: Task) -> None:
    assert all(isinstance(reading, str) for reading in programs(text, task))


@pytest.mark.parametrize("fragment", [*FRAGMENTS, "```\n", "x, ", "```python\nx = 1\n```\n"])
def test_no_text_is_slow(fragment: str) -> None:
    text = fragment * (100_000 // len(fragment))
    assert cpu_seconds(lambda: programs(text, WITH_STUB), 0.5) < 0.5


def test_readings_fit_into_a_message() -> None:
    """One large block of helpers is in each of many readings."""
    blocks = [f"```python\nX = '{80_000 * '𝕏'}&lt;'\n```"]
    blocks += [f"```python\ndef add(a, b): return '&lt;{n}'\n```" for n in range(45)]
    readings = programs("\n".join(blocks), TASK)
    assert readings
    assert sum(len(reading.encode()) for reading in readings) < MOST_BYTES
