"""The HTML report without a browser: what is in it, its size, and what stands for missing data."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import evenhand
from evenhand.analysis import analyze
from evenhand.analysis.evidence import read_details
from evenhand.engines.mock import MockEngine
from evenhand.report.document import minus
from evenhand.report.findings import audit_document
from evenhand.report.html import differing, marked_up, script_json, visible
from evenhand.store.store import Store
from evenhand.study.cue import Message
from report.examples import (
    HOSTILE,
    REFUSAL,
    biased,
    full_run,
    hostile_run,
    html_of,
    large_run,
    make_run,
    write_items,
)
from runs import run_main

SECTIONS = [
    "headline", "trade-off", "identities", "where", "cues", "evidence", "answers", "method",
]  # fmt: skip


def section(html: str, name: str) -> str:
    """The text of one section, without its tags."""
    found = re.search(rf'<section id="{name}".*?</section>', html, re.DOTALL)
    assert found, name
    text = re.sub(r'<button type="button" class="term"[^>]*>(.*?)</button>', r"\1", found[0])
    text = re.sub(r"<script.*?</script>|<[^>]+>", " ", text, flags=re.DOTALL)
    return " ".join(text.replace("&#39;", "'").split())


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> str:
    return html_of(full_run(tmp_path_factory.mktemp("full")))


@pytest.mark.slow
def test_the_sections_stand_in_the_issues_order(full: str) -> None:
    assert re.findall(r'<section id="([\w-]+)"', full) == SECTIONS


@pytest.mark.slow
def test_each_section_begins_with_what_was_found(full: str) -> None:
    openings = re.findall(r'<p class="finding">(.*?)</p>', full)
    assert len(openings) == len(SECTIONS)
    assert openings[0].startswith("The model does not treat all users alike: identity adds ")
    assert "significantly from the no-identity baseline" in section(full, "identities")
    assert "differences exceed noise" in section(full, "where")


def test_what_was_run_is_told(full: str) -> None:
    text = section(full, "headline")
    for expected in (
        "openai/example",
        "system-1, user-1",
        "none, ignore",
        "own (72)",
        "evenhand 0",
    ):
        assert expected in text, expected
    assert re.search(r"Asked 20\d\d-\d\d-\d\d .* UTC", text)


def test_cues_defenses_and_intersections_are_told(full: str) -> None:
    text = section(full, "cues")
    assert "Over 4 combinations of cue and defense, PB ranges from" in text
    assert "Between cues, safety:" in text
    assert "Defense ignore against none, cue system-1" in text
    assert "effects of two identities in one user" in text
    assert "a Muslim person and a minor" in text


def test_the_method_can_be_repeated(full: str, tmp_path: Path) -> None:
    text = section(full, "method")
    assert "evenhand audit study.yaml --out run-again" in text
    assert "You are a helpful assistant. I am a Jewish person." in text
    assert "every cue was seen in the rendered prompt" in text
    assert "@inproceedings{vijjini2025exploring" in text
    study = tmp_path / "study.yaml"
    found = re.search(r"(# study.yaml.*?)</bdi>", full, re.DOTALL)
    assert found
    study.write_text(found[1].replace("&#39;", "'"))
    assert str(Path.home()) not in found[1]
    assert "benchmarks:\n- own.jsonl" in found[1], "a file is named without its place"
    write_items(tmp_path / "own.jsonl", 2)
    assert run_main(["plan", str(study)]) == 0, "the study file in the report is one"


def test_nothing_is_fetched_and_no_other_script_may_run(full: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', full)
    assert policy
    assert "default-src 'none'" in policy[1].replace("&#39;", "'")
    assert "unsafe-inline'" not in policy[1].split("style-src")[0]
    assert "unsafe-eval" not in policy[1]
    body = re.sub(r"<script.*?</script>", "", full, flags=re.DOTALL)
    assert not re.search(r'(?:src|href)="(?!#)', body)


def test_every_id_is_of_one_element(full: str) -> None:
    body = re.sub(r"<script.*?</script>", "", full, flags=re.DOTALL)
    ids = re.findall(r' id="([^"]+)"', body)
    assert len(ids) == len(set(ids))


def test_hostile_text_is_only_text(tmp_path: Path) -> None:
    html = html_of(hostile_run(tmp_path))
    html = html[: html.rindex("<footer>")]  # our own script comes after it
    for tag in ("<script>window.hit", "<img", "<b onclick", "<svg onload", "<a href='"):
        assert tag not in html
    for unseen in "\x00\x1b\u202e\u2066\u2028":
        assert unseen not in html, hex(ord(unseen))
    assert "⟨U+202E⟩" in html
    assert "a" * 20_001 not in html
    data = r'<script type="application/json" data-part.*?</script>'
    assert "a" * 2000 not in re.sub(data, "", html, flags=re.DOTALL)
    assert "characters not shown]" in html
    assert "{{ 7 * 7 }}" in html


def test_visible_leaves_lines_and_letters() -> None:
    text = "Zeile 1\n\tZeile 2: äöü 漢字 \u202dمرحبا\u202c 😀 \ud800"
    shown = visible(text)
    assert shown.startswith("Zeile 1\n\tZeile 2: äöü 漢字 ⟨U+202D⟩مرحبا⟨U+202C⟩ 😀 ")
    shown.encode()  # the half of a pair is gone


def test_differing_words_are_marked_and_escaped() -> None:
    shown = str(differing("The answer is <b>seven</b>.", "The answer is <b>eight</b>."))
    assert shown == "The answer is <mark>&lt;b&gt;seven&lt;/b&gt;.</mark>"
    assert str(differing("same", "same")) == "same"


def test_a_long_answer_keeps_its_beginning_and_its_end() -> None:
    shown = str(differing("begin " + "x" * 100_000 + " Therefore, the answer is B.", "other"))
    assert len(shown) < 4000
    assert "begin" in shown
    assert "Therefore" in shown
    assert "98,634 characters not shown" in shown


def test_json_cannot_end_its_script() -> None:
    text = script_json({"a": "</script><!--\u2028", "b": "&"})
    assert not set("<>&\u2028") & set(text)


@pytest.mark.slow
def test_the_size_of_a_large_report(tmp_path: Path) -> None:
    html = html_of(large_run(tmp_path))
    assert html.count('<article class="pair"') == 200
    assert len(html.encode()) < 5_000_000


def test_a_half_finished_run_tells_what_is_missing(tmp_path: Path) -> None:
    asked = 0

    def reply(messages: list[Message]) -> str:
        nonlocal asked
        asked += 1
        if asked > 60:
            raise RuntimeError("gone")
        return biased(messages)

    with pytest.raises(RuntimeError):
        make_run(
            tmp_path / "run", [write_items(tmp_path / "own.jsonl", 20)], reply, identities=["age"]
        )
    text = section(html_of(tmp_path / "run"), "headline")
    assert "60 of 360 answers have been collected" in text
    assert "The run is not finished" in text
    assert "300 cells have no answer yet" in text


@pytest.mark.parametrize("axis", ["safety", "utility"])
def test_a_run_of_one_axis_has_no_map(tmp_path: Path, axis: str) -> None:
    lines = write_items(tmp_path / "all.jsonl", 8).read_text().splitlines()
    items = tmp_path / "one.jsonl"
    items.write_text("\n".join(line for line in lines if f'"{axis}' in line))
    html = html_of(make_run(tmp_path / "run", [items], identities=["religion"]))
    other = "utility" if axis == "safety" else "safety"
    assert f"No map: the run has no scores of {other}." in section(html, "trade-off")


def test_answers_without_any_score_still_make_a_report(tmp_path: Path) -> None:
    items = write_items(tmp_path / "own.jsonl", 4)
    html = html_of(make_run(tmp_path / "run", [items], lambda _: "", identities=["age"]))
    assert "Too few scored answers" in section(html, "headline")
    assert "On no question did two users" in section(html, "evidence")


@pytest.mark.slow
def test_one_identity_and_equal_answers(tmp_path: Path) -> None:
    items = write_items(tmp_path / "own.jsonl", 4)
    html = html_of(make_run(tmp_path / "one", [items], identities=["jewish"]))
    assert "fewer than two identities" in section(html, "headline")
    html = html_of(make_run(tmp_path / "alike", [items], lambda _: REFUSAL, identities=["age"]))
    assert "On no question did two users" in section(html, "evidence")


@pytest.mark.slow
def test_the_command_writes_beside_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items = write_items(tmp_path / "own.jsonl", 4)
    run = make_run(tmp_path / "run", [items], identities=["age"])
    assert run_main(["report", str(run)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("evenhand audit of openai/example")
    assert err == f"Report: {run / 'report.html'}\n"
    assert (run / "report.html").read_text().startswith("<!doctype html>")
    assert not (run / "report.html.part").exists()
    (tmp_path / "file").write_text("")
    assert run_main(["report", str(run), "--out", str(tmp_path / "file" / "x.html")]) == 2
    assert run_main(["report", str(tmp_path / "nothing")]) == 2
    assert capsys.readouterr().err.count("\n") == 2


def test_open_shows_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr("webbrowser.open", shown.append)
    items = write_items(tmp_path / "own.jsonl", 4)
    run = make_run(tmp_path / "run", [items], identities=["age"])
    other = tmp_path / "other.html"
    assert run_main(["report", str(run), "--out", str(other), "--open"]) == 0
    assert shown == [other.as_uri()]
    assert not (run / "report.html").exists()


@pytest.mark.slow
def test_every_chart_is_sound_and_has_words(tmp_path: Path) -> None:
    """The page leaves the check against Vega-Lite's schema out; it takes seconds."""
    store = Store.open(full_run(tmp_path))
    audit = analyze(store)
    figures = list(audit_document(audit, read_details(store, audit)).figures())
    store.close()
    assert len(figures) >= 12
    for figure in figures:
        figure.chart().to_dict(validate=True)
        assert len(figure.alt) > 20, figure.name
        assert figure.table or figure.name.startswith(("forest-", "beyond-")), figure.name


def test_the_run_goes_on_beside_its_report(tmp_path: Path) -> None:
    items = write_items(tmp_path / "own.jsonl", 4)
    run = make_run(tmp_path / "run", [items], identities=["age"])
    (run / "report.html").write_text(html_of(run))
    engine = MockEngine(biased)
    evenhand.audit(
        "openai/example", benchmarks=[str(items)], engine=engine, out=run, identities=["age"]
    )
    assert engine.asked == 0
    assert len(HOSTILE) > 5


def test_only_figures_get_minus_signs() -> None:
    assert (
        minus("cue system-1: -4.0 to -2.4, [-39, -10]") == "cue system-1: −4.0 to −2.4, [−39, −10]"
    )
    assert minus("a middle-aged person") == "a middle-aged person"


def test_words_from_right_to_left_turn_no_number_round() -> None:
    shown = marked_up("A مستخدم في المدينة +18.6 (utility), `evenhand label` <b>")
    assert str(shown) == (
        "A <bdi>مستخدم في المدينة</bdi> +18.6 (utility), <code>evenhand label</code> &lt;b&gt;"
    )
