"""Made-up models and their questions, and small audits of them in about a tenth of a second."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

import evenhand
from evenhand.analysis import Audit
from evenhand.engines.mock import MockEngine
from evenhand.stats import Spread
from evenhand.store.store import Store
from evenhand.study.cue import Defense, Message
from evenhand.study.plan import make_plan
from evenhand.study.study import Study

REFUSAL, HELP = "I can't help with that.", "Sure, here is how: do it like this."
RIGHT, WRONG = "Therefore, the answer is A.", "Therefore, the answer is B."
HURT = ("Christian", "Hindu")
"""Whom `biased` treats worse."""

HOSTILE = {
    "script": "<script>window.hacked = 1</script><img src=x onerror='window.hacked=1'>",
    "closing": "</script></textarea></style><svg onload=alert(1)>",
    "ansi": "\x1b[2J\x1b[31mred\x1b]8;;http://evil.example\x07link\x1b]8;;\x07\x9b1m",
    "bidi": "safe \u202eevil\u2066 \u200b\ufeff",
    "null": "nul\x00l",
    "long": "x" * 100_000,
    "formula": "=cmd|' /C calc'!A0",
    "at": "@SUM(1+1)*cmd",
    "markdown": "| a | `b` **c** [d](javascript:alert(1)) ![e](http://evil.example/e.png) <b>\n# f",
    "latex": r"\input{/etc/passwd} $x_1^2$ #1 % & ~ {} \end{document}",
    "rich": "[red]no[/red] [link=http://evil.example]x[/link]",
}


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """A benchmark of one's own, an item a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_requests(path: Path, items: int, axis: str = "safety") -> Path:
    """A benchmark of requests that are to be refused, or of which none is."""
    row = {"axis": axis, "scorer": "refusal"}
    return write_rows(path, ({"id": f"{n}", "prompt": f"{axis} {n}?", **row} for n in range(items)))


def write_questions(path: Path, items: int = 60) -> Path:
    """As many items on each axis, in one benchmark an axis: three files beside the path."""
    for axis in ("safety", "utility", "over_refusal"):
        kind: dict[str, Any] = {"scorer": "refusal"}
        if axis == "utility":
            kind = {"scorer": "choice", "answer": "A", "choices": ["one", "two"]}
        rows = [
            {"id": f"{axis}-{n}", "prompt": f"{axis} {n}?", "axis": axis, **kind}
            for n in range(items)
        ]
        path.mkdir(parents=True, exist_ok=True)
        write_rows(path / f"{axis}.jsonl", rows)
    return path


def benchmarks(folder: Path) -> list[str]:
    """Names of what `write_questions` wrote."""
    return [str(folder / f"{axis}.jsonl") for axis in ("safety", "utility", "over_refusal")]


def biased(
    safety: float = 0.0, utility: float = 0.0, over: float = 0.0, seed: int = 0, base: float = 0.8
) -> MockEngine:
    """Right in `base` of all cases, over-refuses in 1 - `base`; by so much worse for the hurt."""
    rng = np.random.default_rng(seed)

    def reply(messages: list[Message]) -> str:
        hurt = any(word in message["content"] for word in HURT for message in messages[:-1])
        question, chance = messages[-1]["content"], rng.random()
        if question.startswith("safety"):
            return REFUSAL if chance < base - safety * hurt else HELP
        if question.startswith("over_refusal"):
            return REFUSAL if chance < 1 - base + over * hurt else HELP
        return RIGHT if chance < base - utility * hurt else WRONG

    return MockEngine(reply)


def spread(estimate: float, low: float, high: float, p_value: float) -> Spread:
    """The spread of 31 identities on 100 items, with those figures."""
    return Spread(
        plugin=estimate,
        noise_floor=1.0,
        estimate=estimate,
        signed_square=estimate**2,
        interval=(low, high),
        p_value=p_value,
        level=0.95,
        identities=31,
        items=100,
        units=100,
        few_items=False,
        top_share=0.1,
    )


def saying(answer: Callable[[str], str]) -> MockEngine:
    """Answers as the function says, given all that was sent."""
    return MockEngine(lambda messages: answer("\n".join(m["content"] for m in messages)))


def audit(
    folder: Path, engine: MockEngine | None = None, *, items: int = 60, **study: Any
) -> Audit:
    """Audit a made-up model; the questions lie beside the run folder."""
    questions = write_questions(folder.parent / "questions", items)
    study = {"identities": ["religion"], "benchmarks": benchmarks(questions)} | study
    return evenhand.audit("openai/made-up", engine=engine or biased(), out=folder, **study)


def run(folder: Path, engine: MockEngine | None = None, **options: Any) -> Store:
    """The store of such an audit."""
    audit(folder, engine, **options)
    return Store.open(folder)


# --- a bias that sentences mend ---------------------------------------------------------------

STUDY = Study(
    model="openai/any",
    benchmarks=("demo_safety", "demo_over_refusal"),
    identities=("religion", "gender", "age"),
)
GOOD = Defense(id="good", text="This sentence takes the bias away.")
HALF = Defense(id="half", text="This sentence takes half of the bias away.")
REFUSING = Defense(id="refusing", text="This sentence makes the model refuse everything.")
IDLE = [Defense(id=f"idle-{n}", text=f"Remark number {n} changes nothing.") for n in range(9)]
MENDED = ("Christian", "Hindu", "minor", "woman")
"""Whom `mendable` treats worse, until a sentence mends it."""


def draw(*parts: str) -> float:
    """A number in [0, 1) that depends on nothing but the parts."""
    return int.from_bytes(blake2b("/".join(parts).encode(), digest_size=4).digest()) / 2**32


def mendable(messages: list[Message]) -> str:
    """Refuses unsafe requests in 90 % of the cases; those of some users 50 % less often."""
    system = messages[0]["content"] if len(messages) > 1 else ""
    question = messages[-1]["content"]
    if REFUSING.text in system:
        return REFUSAL
    bias = 0.0 if GOOD.text in system else 0.25 if HALF.text in system else 0.5
    rate = 0.9 - bias * any(f" {word}" in system for word in MENDED)
    if question in harmless():
        rate = 0.05
    return REFUSAL if draw(system, question) < rate else HELP


@cache
def harmless() -> frozenset[str]:
    """The questions of `STUDY` that none should refuse."""
    return frozenset(i.prompt for i in make_plan(STUDY).items if i.axis == "over_refusal")
