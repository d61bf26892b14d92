"""Runs made for reports: answered by a function, small, and each with a point of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import evenhand
from evenhand.analysis import analyze
from evenhand.engines.mock import MockEngine
from evenhand.report import ReportInput
from evenhand.report.formats import HTML
from evenhand.run.scoring import score_run
from evenhand.store.store import Store
from evenhand.study.cue import Message

REFUSAL, HELP = "I'm sorry, but I can't help with that.", "Sure, here is how: first do it."
HOSTILE = [
    "</script><script>window.hit = 1</script>",
    "<img src=x onerror='window.hit = 2'><svg onload='window.hit = 3'>",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07",
    "\u202eesrever\u2066 \u200bmarks\u2069",
    "long " + "a" * 100_000,
    "null \x00 byte \x7f and \x9b",
    "{{ 7 * 7 }} {% raw %} <!-- --> ]]> &amp; \u2028 😀",
    "<a href='javascript:window.hit = 4' autofocus onfocus='window.hit = 5'>x</a>",
]
HOSTILE_NAME = "a person</script><script>window.hit = 6</script><b onclick=alert(1)>"


def write_items(path: Path, each: int, subgroups: int = 2, prompt: str = "") -> Path:
    """A benchmark of one's own on all three axes, `each` items on each."""
    with path.open("w", encoding="utf-8") as file:
        for n in range(each):
            group = f"group {n % subgroups}"
            rows: list[dict[str, Any]] = [
                {"axis": "safety", "scorer": "refusal"},
                {"axis": "over_refusal", "scorer": "refusal"},
                {
                    "axis": "utility",
                    "scorer": "choice",
                    "answer": "AB"[n % 2],
                    "choices": ["x", "y"],
                },
            ]
            for row in rows:
                name = f"{row['axis']}-{n}"
                row |= {"id": name, "prompt": f"{prompt}{name}?", "subgroup": group}
                file.write(json.dumps(row) + "\n")
    return path


def biased(messages: list[Message]) -> str:
    """Right and safe by lot, but less often for Muslims, and for women who are minors."""
    told, question = messages[0]["content"], messages[-1]["content"]
    lot = crc32(f"{told}|{question}".encode()) % 100
    fails = lot < (75 if "Muslim" in told else 50 if "woman and a minor" in told else 12)
    if "safety" in question:
        return HELP if fails else REFUSAL
    if "over_refusal" in question:
        return REFUSAL if fails else HELP
    right = "AB"[int(question.split("-")[1].split("?")[0]) % 2]
    wrong = "B" if right == "A" else "A"
    return f"Let me think, {told[-12:]}. Therefore, the answer is {wrong if fails else right}."


def make_run(
    folder: Path,
    benchmarks: Sequence[Path],
    reply: Callable[[list[Message]], str] = biased,
    **study: Any,
) -> Path:
    """A run of these benchmarks, answered by the function."""
    evenhand.audit(
        "openai/example",
        benchmarks=[str(path) for path in benchmarks],
        engine=MockEngine(reply),
        out=folder,
        **study,
    )
    return folder


def html_of(folder: Path) -> str:
    """The report of a run."""
    store = Store.open(folder)
    try:
        score_run(store)
        beside = folder / "report-answers"
        return str(HTML.write(ReportInput(analyze(store), store, beside=beside)))
    finally:
        store.close()


def write_report(folder: Path) -> Path:
    """The report of a run, written into its folder."""
    path = folder / "report.html"
    path.write_text(html_of(folder), encoding="utf-8")
    return path


def full_run(folder: Path) -> Path:
    """Two cues, two defenses, placebos and intersections."""
    return make_run(
        folder / "run",
        [write_items(folder / "own.jsonl", 24)],
        identities=["religion", "woman", "man", "minor", "adult", "woman*minor", "muslim*minor"],
        placebos=True,
        cues=["system", "user"],
        defenses=["none", "ignore"],
    )


def hostile_run(folder: Path) -> Path:
    """Everything that comes from elsewhere tries to be more than text."""
    people = folder / "people.yaml"
    entries = [
        {"id": "plain", "category": "k", "text": "a plain person"},
        {"id": "nasty", "category": "<i>k</i>", "text": HOSTILE_NAME},
        {"id": "other", "category": "k", "text": "\u202ea person"},
    ]
    people.write_text(json.dumps({"identities": entries}), encoding="utf-8")
    items = write_items(folder / "own.jsonl", 2 * len(HOSTILE), prompt=HOSTILE[0])

    def reply(messages: list[Message]) -> str:
        told, question = messages[0]["content"], messages[-1]["content"]
        number = int(question.split("?")[0].rsplit("-", 1)[1])
        nasty = HOSTILE[number % len(HOSTILE)]
        if "plain" in told:
            return (
                f"Therefore, the answer is {'AB'[number % 2]}."
                if "utility" in question
                else REFUSAL
            )
        return f"{nasty}\nTherefore, the answer is {'BA'[number % 2]}."

    return make_run(folder / "run", [items], reply, identities_file=people)


def large_run(folder: Path) -> Path:
    """32 users on 8 benchmarks with long answers that all differ."""
    items = []
    for n in range(8):
        path = folder / f"bench{n}.jsonl"
        kind: dict[str, Any] = {"axis": "safety", "scorer": "refusal"}
        if n % 2:
            kind = {"axis": "utility", "scorer": "choice", "answer": "A", "choices": ["x", "y"]}
        rows = [
            {"id": f"{k}", "prompt": f"utility-{k}?" if n % 2 else f"safety-{k}?"} | kind
            for k in range(30)
        ]
        groups = [{"subgroup": f"subject {k % 6}"} for k in range(30)]
        path.write_text("\n".join(json.dumps(a | b) for a, b in zip(rows, groups, strict=True)))
        items.append(path)

    def reply(messages: list[Message]) -> str:
        lot = crc32(f"{messages}".encode())
        words = " ".join(f"<w{(lot * k) % 9973}>" for k in range(1, 260))
        return f"{biased(messages)} {words} {biased(messages)}"

    return make_run(folder / "run", items, reply)
