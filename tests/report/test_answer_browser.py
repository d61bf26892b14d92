"""The browser of all answers: its data hold what the store holds, and the page finds it."""

from __future__ import annotations

import json
import re
import shutil
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from evenhand.report import browser as data
from evenhand.report.document import AnswerBrowser
from evenhand.store.store import Store
from evenhand.study.cue import Message
from runs import run_main

from .examples import HELP, HOSTILE, biased, hostile_run, html_of, make_run, write_items

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
MARKER = "zanzibar"


def told(messages: list[Message]) -> str:
    """As `biased`; harmful answers hold a word that no other text has."""
    answer = biased(messages)
    return (
        f"{answer} {MARKER}" if "safety" in messages[-1]["content"] and answer == HELP else answer
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browsed")
    items = [write_items(folder / "own.jsonl", 6)]
    return make_run(folder / "run", items, told, identities=["religion"], samples=2)


def browse(run: Path, folder: Path | None = None, **changes: Any) -> AnswerBrowser:
    store = Store.open(run)
    store.redaction = changes.get("redaction")
    try:
        made = data.browse(store, store.own_judge(), folder, changes.get("most"))
    finally:
        store.close()
    assert made is not None
    return made


def parts_of(made: AnswerBrowser, folder: Path | None = None) -> dict[str, Any]:
    if folder is None:
        return {name: json.loads(text) for name, text in made.inside.items()}
    whole = r'evenhandPart\("([\w-]+)",(.*)\)'
    found = (re.fullmatch(whole, f.read_text(), re.DOTALL) for f in folder.glob("*.js"))
    return {match[1]: json.loads(match[2]) for match in found if match}


def array(text: str, kind: str) -> np.ndarray[Any, Any]:
    return np.frombuffer(b64decode(text), kind)


def places_of(parts: dict[str, Any], word: str) -> list[int]:
    """As the page's script reads the index."""
    for name, shard in parts.items():
        if name.startswith("words-") and word in shard["words"]:
            n = shard["words"].index(word)
            packed = b64decode(shard["places"])[: shard["ends"][n]]
            packed = packed[shard["ends"][n - 1] if n else 0 :]
            values, value, shift, place = [], 0, 0, 0
            for byte in packed:
                value |= (byte & 127) << shift
                shift += 7
                if not byte & 128:
                    place += value
                    values.append(place)
                    value = shift = 0
            return values
    return []


def test_every_answer_is_there_as_it_is_stored(run: Path) -> None:
    parts = parts_of(browse(run))
    columns = parts["columns"]
    starts = array(columns["starts"], "<u4")
    conditions, samples = array(columns["condition"], "<u2"), array(columns["sample"], "<u2")
    scores = array(columns["scores"][0], "u1")
    answers = [row for name, chunk in sorted(parts.items()) if name.startswith("texts-")
               for item in chunk for row in ((item, each) for each in item["rows"])]  # fmt: skip
    store = Store.open(run)
    number = 0
    for place, answer in enumerate(store.stored_answers()):
        item, row = answers[place]
        assert item["texts"][row[0]] == answer.text
        assert item["question"] == answer.item.prompt
        user = columns["conditions"][conditions[place]]
        assert (user["id"], samples[place]) == (answer.condition.identity.id, answer.sample)
        assert scores[place] == (255 if answer.score is None else 100 * answer.score)
        number += 1
    store.close()
    assert number == len(conditions) == starts[-1] == 18 * 6 * 2


def test_what_was_sent_is_there_in_full(run: Path) -> None:
    """Each turn with the question in its place, as the store has it; nothing where texts go."""
    columns = parts_of(browse(run))["columns"]
    store = Store.open(run)
    try:
        answer = next(a for a in store.stored_answers() if a.condition.identity.id == "muslim")
        place = [c.id for c in store.conditions()].index(answer.condition.id)
    finally:
        store.close()
    sent = [
        {"role": role, "content": content.replace("{question}", answer.item.prompt)}
        for role, content in columns["sent"][place][0]
    ]
    assert sent == answer.messages
    assert "Muslim" in str(sent)
    for redaction in ("harmful", "all"):
        assert parts_of(browse(run, redaction=redaction))["columns"]["sent"] == []


def test_the_index_has_the_words_of_answers_and_questions(run: Path) -> None:
    parts = parts_of(browse(run))
    store = Store.open(run)
    answers = list(store.stored_answers())
    store.close()
    harmful = [n for n, answer in enumerate(answers) if MARKER in (answer.text or "")]
    assert harmful
    assert places_of(parts, MARKER) == harmful
    assert min(places_of(parts, "over_refusal")) >= len(answers), "a word of questions alone"
    assert places_of(parts, "absent") == []


def test_many_places_are_packed_without_loss() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 1 << 32, 500, dtype=np.uint64).astype(np.uint32)
    values[:5] = [0, 127, 128, 16_383, 16_384]
    packed, at = data._packed(values)
    ends = [*at[1:], len(packed)]
    for value, start, end in zip(values, at, ends, strict=True):
        assert sum((int(b) & 127) << (7 * n) for n, b in enumerate(packed[start:end])) == value


def test_a_large_run_has_its_parts_beside_the_page(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = parts_of(browse(run))
    monkeypatch.setattr(data, "INSIDE", 500)
    folder = tmp_path / "page-answers"
    made = browse(run, folder)
    assert (made.inside, made.folder) == ({}, "page-answers")
    assert parts_of(made, folder) == inside
    (folder / "own.js").write_text("kept")
    monkeypatch.setattr(data, "INSIDE", 10**9)
    browse(run, folder)
    assert [f.name for f in folder.iterdir()] == ["own.js"], "what an earlier page left is removed"


def test_too_large_a_run_has_questions_by_lot(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, most in (("USUAL", None), ("MOST", 10**9)):
        monkeypatch.setattr(data, limit, 3000)
        made = browse(run, most=most)
        assert 0 < made.questions < 18
        assert made.questions + made.left_out == 18
        assert len(parts_of(made)["columns"]["items"]) == made.questions
        monkeypatch.undo()


def test_more_answers_than_usual_can_be_asked_for(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "USUAL", 3000)
    assert browse(run).left_out
    assert not browse(run, most=18 * 12).left_out


def test_fewer_answers_can_be_asked_for_and_none(run: Path, tmp_path: Path) -> None:
    made = browse(run, most=60)
    assert made.questions == 18 * 60 // (18 * 12)
    assert made.left_out == 18 - made.questions
    page, parts = tmp_path / "page.html", tmp_path / "page-answers"
    parts.mkdir()
    (parts / "columns.js").touch()
    assert run_main(["report", str(run), "--answers", "0", "--out", str(page)]) == 0
    assert not parts.exists()
    assert "data-answers" not in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("redaction", ["harmful", "all"])
def test_what_is_left_out_is_in_no_part(run: Path, redaction: str) -> None:
    everything = "".join(browse(run, redaction=redaction).inside.values())
    assert MARKER not in everything
    assert ("Let me think" in everything) == (redaction == "harmful")


@pytest.fixture(scope="module")
def pages(run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    hostile = html_of(hostile_run(folder))
    made = {"small": html_of(run), "hostile": hostile}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "INSIDE", 500)
        made["large"] = html_of(run)
    for name, html in made.items():
        place = run if name == "large" else folder / name
        place.mkdir(exist_ok=True)
        (place / "report.html").write_text(html, encoding="utf-8")
        made[name] = place / "report.html"  # type: ignore[assignment]
    return made  # type: ignore[return-value]


@pytest.fixture(scope="module")
def chromium(pages: dict[str, Path]) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no chromium; apt-get install chromium")
    assert pages
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def opened(chromium: Browser, path: Path, asked: str) -> Page:
    page = chromium.new_page(viewport={"width": 1000, "height": 900})
    page.goto(f"{path.as_uri()}#answers?{asked}")
    count(page)
    return page


def count(page: Page, before: str = "The answers are loaded when they are in view.") -> str:
    """What the page says it found, once that is no longer what it said before."""
    for _ in range(300):
        text = page.inner_text("[data-answers=count]")
        if text != before:
            return text
        page.wait_for_timeout(50)
    raise AssertionError(before)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["small", "large"])
def test_answers_are_searched_filtered_and_compared(
    chromium: Browser, pages: dict[str, Path], name: str
) -> None:
    page = opened(chromium, pages[name], "identity=muslim&outcome=utility:0")
    wrong = count(page)
    assert re.match(r"\d+ answers to \d questions", wrong)
    for card in page.locator(".reply").all():
        assert card.locator("h3").inner_text() == "a Muslim person"
        assert "wrong" in card.locator(".outcome").inner_text()
        assert "a Muslim person" in (card.locator(".sent dd").first.text_content() or "")
    page.locator("[data-answers=outcome]").select_option("")
    count(page, wrong)
    page.locator("[data-answers=q]").fill(f"{MARKER[:4]} safety")
    for _ in range(200):
        if page.locator(".reply mark").count():
            break
        page.wait_for_timeout(50)
    assert "q=zanz" in page.evaluate("location.hash")
    assert set(page.locator(".reply .outcome").all_inner_texts()) == {"▼ unsafe, score 0"}
    page.locator(".reply a").first.click()
    page.wait_for_selector(".whole h3", state="attached")
    users = page.locator(".users li").all_inner_texts()
    assert len(users) == 12, "six users, two samples each"
    assert "question=own" in page.evaluate("location.hash")
    page.close()


@pytest.mark.slow
def test_hostile_answers_do_nothing_in_the_browser(
    chromium: Browser, pages: dict[str, Path]
) -> None:
    page = opened(chromium, pages["hostile"], "")
    page.locator("[data-answers=harmful]").check()
    while page.locator("[data-answers=more]").is_visible():
        page.locator("[data-answers=more]").click()
        page.wait_for_timeout(100)
    assert page.evaluate("window.hit") is None
    assert page.locator(".browser :is(img, svg, script, iframe, b, i)").count() == 0
    text = page.inner_text(".browser")
    assert HOSTILE[0] in text
    assert "⟨U+202E⟩" in text
    page.close()
