"""evenhand label: the sample, the terminal, the page in a browser, and what the labels change."""

from __future__ import annotations

import io
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from evenhand.analysis import analyze
from evenhand.calibration.labeling import (
    labeler_agreement,
    open_sample,
    read_own_labels,
    save_label,
    settled,
    tasks_of,
)
from evenhand.cli import main
from evenhand.errors import RunFolderError, UsageError
from evenhand.report.html import render_labeling
from evenhand.store.rows import OWN
from evenhand.study.cue import Message
from judging import finished_run, opened
from runs import run_main

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
REFUSAL = "I'm sorry, but I can't help with that."
HELP = "Sure, here is how: first do this, then do that."


def refuses_some(messages: list[Message]) -> str:
    return REFUSAL if messages[-1]["content"].count("1") else HELP


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return finished_run(tmp_path, refuses_some, items=60, identities=["religion"])


def test_the_sample_is_stratified_and_blind(run: Path) -> None:
    store = opened(run)
    sample = open_sample(store, "refusal", OWN, 40, 0)
    people = {c.id: c.identity for c in store.conditions()}
    counts = Counter(people[condition].id for condition, _, _ in sample.cells)
    assert "baseline" not in {people[c].kind for c, _, _ in sample.cells}
    assert len(counts) == 5
    assert max(counts.values()) - min(counts.values()) <= 2
    answers = store.answers(sample.cells)
    for who in counts:
        said = {answers[c][0] for c in sample.cells if people[c[0]].id == who}
        assert said == {REFUSAL, HELP}
    shown = [vars_of(task) for task in tasks_of(store, sample)]
    assert all(set(each) == {"prompt", "answer", "kind"} for each in shown)
    assert not any(i.text in each["prompt"] for each in shown for i in people.values() if i.text)
    store.close()


def vars_of(task: Any) -> dict[str, str]:
    return {name: getattr(task, name) for name in task.__slots__}


def test_a_sample_is_kept_and_can_grow(run: Path) -> None:
    store = opened(run)
    first = open_sample(store, "refusal", OWN, 20, 0)
    assert open_sample(store, "refusal", OWN, None, 0) == first
    larger = open_sample(store, "refusal", OWN, 60, 0)
    assert larger.cells[: len(first.cells)] == first.cells
    assert len(set(larger.cells)) == len(larger.cells) > len(first.cells)
    with pytest.raises(UsageError, match="--seed 0"):
        open_sample(store, "refusal", OWN, 200, 1)
    (run / "labels" / "sample.json").write_text('{"schema": 1}')
    with pytest.raises(RunFolderError, match="damaged"):
        open_sample(store, "refusal", OWN, None, 0)
    store.close()


def keys(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


def test_labels_are_on_disk_at_once_and_resumed(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys(monkeypatch, "r", "x", "c", "b", "p", "q")
    main(["label", str(run), "--by", "ann", "--number", "10"])
    assert "answers left; run the same command to resume" in capsys.readouterr().out
    store = opened(run)
    assert list(read_own_labels(store)["ann"].values()) == ["refusal", "partial"]
    store.close()
    keys(monkeypatch, *["c"] * 20)
    main(["label", str(run), "--by", "ann"])
    assert "answers are labeled" in capsys.readouterr().out
    with (run / "labels" / "ann.jsonl").open("a") as file:
        file.write('{"cell": [1,')  # a crash in the middle of a line
    store = opened(run)
    labels = read_own_labels(store)["ann"]
    assert Counter(labels.values())["compliance"] == len(labels) - 2
    store.close()


def test_a_hostile_answer_does_not_steer_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = "\x1b[2J\x1b]0;owned\x07[red]Sure[/red], here is how."
    run = finished_run(tmp_path, lambda _: bad, items=10, identities=["religion"])
    keys(monkeypatch, "q")
    main(["label", str(run), "--by", "ann", "--number", "10"])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "[red]Sure[/red]" in out


@pytest.mark.parametrize("name", ["../evil", "a b", "", "x" * 41])
def test_a_labeler_s_name_is_no_path(run: Path, name: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["label", str(run), "--by", name])
    assert stopped.value.code == 2


def label_all(run: Path, labeler: str, judge_errs: bool) -> None:
    """Labels by the truth: the judge is wrong on some of one identity's answers."""
    store = opened(run)
    sample = open_sample(store, "refusal", OWN, 100, 0)
    people = {c.id: c.identity.id for c in store.conditions()}
    for number, (cell, task) in enumerate(zip(sample.cells, tasks_of(store, sample), strict=True)):
        refused = task.answer == REFUSAL
        if judge_errs and people[cell[0]] == "muslim" and number % 2:
            refused = not refused
        save_label(store, labeler, cell, "refusal" if refused else "compliance")
    store.close()


def test_the_report_is_corrected_and_names_whom_the_judge_wrongs(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    label_all(run, "ann", judge_errs=True)
    store = opened(run)
    found = analyze(store)
    store.close()
    axis = next(each for each in found.labeled if each.axis == "safety")
    errors = {each.identity: each.judge_error for each in axis.identities}
    assert all(error == 0 for who, error in errors.items() if who != "muslim")
    assert errors["muslim"] is not None
    assert errors["muslim"] > 20
    capsys.readouterr()
    main(["report", str(run), "--format", "text"])
    out = " ".join(capsys.readouterr().out.split())
    assert "labels of your own" in out
    main(["report", str(run), "--format", "json"])
    content = json.loads(capsys.readouterr().out)
    assert content["labeled"][0]["identities"][0]["interval"][1] > 0


def test_the_page_to_label_says_how_its_labels_come_back(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "label.html"
    assert run_main(["label", str(run), "--html", str(page), "--number", "12", "--by", "ann"]) == 0
    assert f"evenhand label {run} --import FILE" in capsys.readouterr().err
    assert page.is_file()


def test_two_labelers(run: Path) -> None:
    label_all(run, "ann", judge_errs=False)
    label_all(run, "ben", judge_errs=True)
    store = opened(run)
    labels = read_own_labels(store)
    (found,) = labeler_agreement(labels)
    store.close()
    assert (found.first, found.second) == ("ann", "ben")
    assert 0 < found.answers - found.same < 0.2 * found.answers
    assert found.kappa is not None
    assert 0.5 < found.kappa < 1
    assert len(settled(labels)) == found.same  # where they are divided, nothing is settled


def test_only_some_identities_labeled_corrects_nothing(run: Path) -> None:
    store = opened(run)
    sample = open_sample(store, "refusal", OWN, 100, 0)
    save_label(store, "ann", sample.cells[0], "refusal")
    found = analyze(store)
    store.close()
    assert not found.labeled
    assert any("have no labels yet" in note for note in found.notes)


# The page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no chromium; apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("label")
    hostile = (
        "</script><script>document.title = 'owned'</script><img src=x onerror=alert(1)> " + HELP
    )
    run = finished_run(folder, lambda _: hostile, items=10, identities=["religion"])
    store = opened(run)
    sample = open_sample(store, "refusal", OWN, 12, 0)
    path = folder / "label.html"
    path.write_text(render_labeling(sample, tasks_of(store, sample), "ann"), encoding="utf-8")
    store.close()
    return path


@pytest.mark.slow
def test_the_page_by_keyboard_alone(page_file: Path, browser: Browser, tmp_path: Path) -> None:
    context = browser.new_context(accept_downloads=True)
    page: Page = context.new_page()
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(page_file.as_uri())
    count = int(page.title().split()[1])
    assert "owned" not in page.title()
    assert "onerror" in page.inner_text("#answer")
    page.keyboard.press("r")
    page.keyboard.press("c")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("p")
    assert f"Answer 3 of {count}; 2 labeled." in page.inner_text("#progress")
    page.wait_for_timeout(500)  # Chromium keeps what a page stores beyond it a moment later
    page.reload()
    assert f"Answer 3 of {count}; 2 labeled." in page.inner_text("#progress")
    page.keyboard.press("Tab")
    for _ in range(12):
        if page.evaluate("document.activeElement.id") == "save":
            break
        page.keyboard.press("Tab")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    saved = tmp_path / "labels.json"
    download.value.save_as(saved)
    content = json.loads(saved.read_text(encoding="utf-8"))
    assert content["labels"] == {"0": "refusal", "1": "partial"}
    assert content["labeler"] == "ann"
    assert [url for url in asked if not url.startswith(("file:", "blob:"))] == []
    assert complaints == []
    found = Axe().run(page).response["violations"]
    assert found == [], [each["id"] for each in found]
    for name in ("Request", "Answer"):
        assert page.get_by_role("region", name=name, exact=True).count() >= 1
    assert page.get_by_role("button", name="refusal").get_attribute("aria-keyshortcuts") == "r"
    context.close()
    run = page_file.parent / "run"
    main(["label", str(run), "--import", str(saved)])
    store = opened(run)
    assert sorted(read_own_labels(store)["ann"].values()) == ["partial", "refusal"]
    store.close()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"sample": "other"}, "labels of another sample"),
        ({"labels": {"0": "nonsense"}}, "invalid label"),
        ({"labels": {"999": "refusal"}}, "invalid label"),
        ({"labels": 3}, "not a file of labels"),
    ],
)
def test_a_file_that_is_no_file_of_labels(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Any, complaint: str
) -> None:
    store = opened(run)
    sample = open_sample(store, "refusal", OWN, 10, 0)
    store.close()
    content = {"sample": sample.digest, "labeler": "ann", "labels": {"0": "refusal"}} | change
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(SystemExit) as stopped:
        main(["label", str(run), "--import", str(path)])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1
