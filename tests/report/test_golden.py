"""What reports of four stored runs say, word for word: a change of them is made on purpose.

`EVENHAND_UPDATE_GOLDEN=1 pytest tests/report/test_golden.py` writes the files anew.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from zlib import crc32

import pytest
from rich.console import Console

import evenhand
from evenhand.cli import app
from evenhand.mitigate.reporting import card_tables, mitigation_document
from evenhand.mitigate.results import (
    ConditionKey,
    IdentityGroup,
    Mitigation,
    SplitSizes,
    TrainingResult,
)
from evenhand.report.formats import render
from evenhand.report.terminal import print_document
from evenhand.study.cue import Message

from .examples import HELP, biased, make_run, write_items

GOLDEN = Path(__file__).parent / "golden"
WIDTH = "100"


def fair(messages: list[Message]) -> str:
    """As `biased`, but nobody fares worse; some answers cannot be scored."""
    told, question = messages[0]["content"], messages[-1]["content"]
    if crc32(f"{question}|{told}|x".encode()) % 11 == 0 and "utility" in question:
        return "I would rather not choose."
    if crc32(f"{question}{told}".encode()) % 9 == 0 and "over_refusal" in question:
        return ""
    return biased([{"role": "system", "content": f"{told}."}, messages[-1]]).replace("Muslim", "M")


def tuned(messages: list[Message]) -> str:
    """As `biased`, but alike for all, and safe less often."""
    if "safety" in messages[-1]["content"] and crc32(messages[-1]["content"].encode()) % 4 == 0:
        return HELP
    return biased([{"role": "system", "content": "."}, messages[-1]])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("golden")
    items = [write_items(folder / "own.jsonl", 20)]
    people = ["religion", "man"]
    make_run(folder / "plain", items, identities=people)
    make_run(
        folder / "crossed",
        items,
        identities=["religion", "woman", "minor", "woman*minor"],
        placebos=True,
        cues=["system", "user"],
        defenses=["none", "ignore"],
    )
    make_run(folder / "unscored", items, fair, identities=people, samples=2)
    make_run(folder / "tuned", items, tuned, identities=people)
    return folder


FORMS = ("text", "details", "json", "markdown", "latex", "html")
SEEN = [
    *(("report", "plain", form) for form in FORMS),
    *(("report", run, form) for run in ("crossed", "unscored") for form in FORMS if form != "json"),
    *(("compare", "plain-tuned", form) for form in FORMS if form != "details"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("verb", "run", "form"), SEEN)
def test_a_report_says_what_it_said(
    runs: Path, verb: str, run: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs)
    monkeypatch.setenv("COLUMNS", WIDTH)
    written = runs / f"{run}.{form}"
    command = [verb, *run.split("-"), "--format", "text" if form == "details" else form]
    command += ["--details"] if form == "details" else []
    app([*command, "--out", str(written)], result_action="return_value")
    text = written.read_text(encoding="utf-8")
    _check(f"{run}.{form}", text.replace(str(runs), "RUNS"))


@pytest.mark.parametrize("form", ["text", "markdown", "html"])
def test_a_mitigation_says_what_it_said(runs: Path, form: str) -> None:
    found, unseen = (
        evenhand.compare(runs / "plain", runs / "tuned", margin=2.0, identities=ids)
        for ids in (None, ["jewish", "man"])
    )
    mitigation = Mitigation(
        run="plain",
        model="openai/example",
        out="out",
        margin=2.0,
        parts=SplitSizes(0, "item", (40, 60), (4, 2), (["system-1"], ["user-1"])),
        search=None,
        defense="",
        trainings=[TrainingResult("tuned", "all", "hf/out/dpo-all", 120, 30, 4.0, 0, "")],
        relevance={},
        groups=[
            IdentityGroup("all", "system-1", "tuning", found),
            IdentityGroup("test", "system-1", "tuning", unseen),
        ],
        answers=0,
        cost=None,
        notes=["The organism is no real model."],
        conditions=[
            ConditionKey("plain", 0, "plain"),
            ConditionKey("tuned", 0, "tuned", sentence="Treat <b>all</b> users alike."),
        ],
    )
    if form == "html":
        text = render(mitigation_document(mitigation), "html")
    elif form == "markdown":
        text = card_tables(mitigation, ["plain", "tuned"])
    else:
        console = Console(file=io.StringIO(), width=int(WIDTH))
        print_document(mitigation_document(mitigation), console)
        text = console.file.getvalue()  # type: ignore[attr-defined]
    _check(f"mitigation.{form}", text.replace(str(runs), "RUNS"))


def _check(name: str, text: str) -> None:
    now = _constant("\n".join(text_of(text)) + "\n" if name.endswith("html") else text)
    golden = GOLDEN / f"{name}.txt"
    if os.environ.get("EVENHAND_UPDATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(now, encoding="utf-8")
    assert now == golden.read_text(encoding="utf-8")


def _constant(text: str) -> str:
    """Without what differs from day to day, and to the digits that every machine agrees on."""
    text = re.sub(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?[.\d]*( UTC)?", "TIME", text)
    text = re.sub(r"(evenhand|python|numpy|scipy|torch|transformers) [\d.]+\d\S*", r"\1 N", text)
    text = re.sub(r"Versions\n.*", "Versions", text)
    text = re.sub(r"version = \{[\d.]+\}", "version = {N}", text)
    text = re.sub(r'"evenhand": "[^"]+"', '"evenhand": "N"', text)
    text = re.sub(r"\[Pair 4\]\n.*(?=\nShow more\n)", "...", text, flags=re.DOTALL)
    return re.sub(r"-?\d+\.\d{5,}(e-?\d+)?", lambda m: f"{float(m[0]) + 0.0:.4g}", text)


def text_of(page: str) -> Iterator[str]:
    """What a reader of a page sees, a line for each paragraph, row and label."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    for line in "".join(reader.parts).splitlines():
        if line.strip(" |"):
            yield re.sub(r"\s+", " ", line).strip(" |")


_LINES = frozenset(
    [
        "p",
        "tr",
        "h1",
        "h2",
        "h3",
        "li",
        "caption",
        "figcaption",
        "summary",
        "div",
        "dt",
        "pre",
        "option",
        "label",
        "button",
        "title",
    ]
)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.silent += tag in ("script", "style")
        if tag in _LINES and tag != "button":
            self.parts.append("\n")
        elif tag in ("td", "th", "dd"):
            self.parts.append(" | ")
        if tag in ("div", "article") and (label := dict(attrs).get("aria-label")):
            self.parts.append(f"[{label}]\n")

    def handle_endtag(self, tag: str) -> None:
        self.silent -= tag in ("script", "style")
        if tag in _LINES and tag != "button":
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.parts.append(data.replace("\n", " "))
