"""`report --format jsonl`: every answer one line, as sent, as given and as scored."""

from __future__ import annotations

import json
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from evenhand import plugins
from evenhand.analysis import analyze
from evenhand.report.browser import transcript_lines
from evenhand.store.record import SystemRoleCheck
from evenhand.store.store import Store
from fakes import HOSTILE, audit, biased, run, saying
from runs import run_main
from test_plugins import install

FIELDS = {
    "benchmark", "item", "subgroup", "axis", "identity", "kind", "realization", "cue", "defense",
    "sample", "outcome", "finish", "score", "unscored", "judge",
}  # fmt: skip
TEXTS = {"messages", "answer", "thought", "error", "why"}


def lines(store: Store, **options: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in transcript_lines(store, **options)]


@pytest.mark.slow
def test_every_answer_is_one_line_with_all_its_fields(tmp_path: Path) -> None:
    store = run(
        tmp_path / "run",
        biased(0.4, seed=1),
        items=6,
        placebos=True,
        cues=["system", "memory"],
        defenses=["none", "ignore"],
        samples=2,
    )
    found = lines(store)
    assert len(found) == analyze(store).done
    assert all(set(line) == FIELDS | TEXTS for line in found)
    keys = [
        (x["identity"], x["cue"], x["defense"], x["axis"], x["item"], x["sample"]) for x in found
    ]
    assert len(set(keys)) == len(keys)
    assert {line["kind"] for line in found} == {"identity", "placebo", "baseline"}
    assert {line["judge"] for line in found} == {"refusal", "choice"}
    christian = next(x for x in found if x["identity"] == "christian" and x["cue"] == "system-1")
    assert "a Christian person" in christian["messages"][0]["content"]
    assert christian["messages"][-1]["role"] == "user"


def test_means_of_the_lines_are_those_of_the_audit(tmp_path: Path) -> None:
    store = run(tmp_path / "run", biased(0.4, 0.2, seed=3), items=12)
    found = lines(store)
    for person in analyze(store).identities:
        for axis, result in person.axes.items():
            scores = [
                line["score"]
                for line in found
                if (line["identity"], line["axis"]) == (person.id, axis)
            ]
            assert result.mean == pytest.approx(100 * sum(scores) / len(scores))


def test_an_unscored_answer_has_its_reason(tmp_path: Path) -> None:
    store = run(tmp_path / "run", saying(lambda _: ""), items=2)
    for line in lines(store):
        assert line["score"] is None
        assert line["unscored"] == "empty answer"
        assert line["answer"] == ""


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_answers_are_ascii_and_whole(kind: str, tmp_path: Path) -> None:
    store = run(tmp_path / "run", saying(lambda _: HOSTILE[kind]), items=1)
    for line in transcript_lines(store):
        assert line.count("\n") == 1
        assert line.isascii()
        assert all(letter.isprintable() for letter in line[:-1])
        assert json.loads(line)["answer"] == HOSTILE[kind].encode("utf-8", "replace").decode()


def test_redacted_lines_hold_no_text(tmp_path: Path) -> None:
    store = run(tmp_path / "run", saying(lambda _: "MARKER of an answer"), items=3)
    store.redaction = "all"
    for line in transcript_lines(store):
        assert set(json.loads(line)) == FIELDS
        assert "MARKER" not in line
        assert "helpful assistant" not in line


@pytest.mark.slow
def test_redaction_holds_on_the_page_too(tmp_path: Path) -> None:
    refusal, help_ = "I can't help with that. MARKER", "Sure, here it is: do it. MARKER"
    audit(tmp_path / "run", saying(lambda sent: refusal if "Muslim" in sent else help_), items=4)
    for form in ("html", "jsonl"):
        out = tmp_path / form
        command = ["report", str(tmp_path / "run"), "--format", form, "--out", str(out)]
        assert run_main(command) == 0
        assert "MARKER" in out.read_text()
        for redact in (["--redact"], ["--redact", "all"], ["--redact=all"]):
            assert run_main([*command, *redact]) == 0
            assert "MARKER" not in out.read_text()


def test_harmful_texts_alone_are_left_out(tmp_path: Path) -> None:
    """Whatever the judge says: one that errs must not let a harmful answer through."""

    def answer(sent: str) -> str:
        mark = "HARMFUL" if "safety" in sent else "GOOD"
        return f"{'I cannot help with that.' if 'Muslim' in sent else 'Sure, do it.'} {mark}"

    audit(tmp_path / "run", saying(answer), items=4)
    for form in ("html", "jsonl"):
        out = tmp_path / form
        command = ["report", str(tmp_path / "run"), "--format", form, "--out", str(out)]
        assert run_main([*command, "--redact", "harmful"]) == 0
        text = out.read_text()
        assert "GOOD" in text
        assert "HARMFUL" not in text
        assert "safety 1?" not in text
        assert "over_refusal 1?" in text


def test_what_an_endpoint_says_of_a_question_is_left_out(tmp_path: Path) -> None:
    store = run(tmp_path / "run", biased(), items=2)
    check = SystemRoleCheck(
        False, "the endpoint rejects a system message (HTTP 400: MARKER)", prompts={"a": "MARKER"}
    )
    store.update_record(system_role=check)
    store.redaction = "harmful"
    assert store.record().system_role == SystemRoleCheck(
        False, "the endpoint rejects a system message"
    )
    assert "MARKER" not in str(analyze(store))


def test_the_command_prints_and_writes_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audit(tmp_path / "run", biased(), items=3)
    capsys.readouterr()
    assert run_main(["report", str(tmp_path / "run"), "--format", "jsonl"]) == 0
    printed = capsys.readouterr().out
    out = tmp_path / "answers.jsonl"
    assert run_main(["report", str(tmp_path / "run"), "--format", "jsonl", "--out", str(out)]) == 0
    assert out.read_text() == printed
    assert [json.loads(line) for line in printed.splitlines()]


def test_memory_does_not_grow_with_the_answers(tmp_path: Path) -> None:
    """Answers of a megabyte in all pass one item at a time."""
    store = run(tmp_path / "run", saying(lambda sent: sent[-20:] + "x" * 2000), items=60)
    tracemalloc.start()
    size = sum(len(line) for line in transcript_lines(store))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size > 2_000_000
    assert peak < size / 3


# Formats of other packages


def test_a_format_of_another_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    plugins._entry_points.cache_clear()
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "shouting.py").write_text(
        "from evenhand.report import FileFormat, ReportInput\n\n\n"
        "def write(report: ReportInput) -> str:\n"
        "    return f'{report.audit.model.upper()}: {report.audit.pb.estimate:.1f}!'\n\n\n"
        "SHOUT = FileFormat(write)\n"
    )
    install(tmp_path / "site", "shouting", "evenhand.formats", shout="shouting:SHOUT")
    audit(tmp_path / "run", biased(0.4), items=8)
    capsys.readouterr()
    assert run_main(["report", str(tmp_path / "run"), "--format", "shout"]) == 0
    assert capsys.readouterr().out.startswith("OPENAI/MADE-UP: ")
    assert run_main(["report", str(tmp_path / "run"), "--format", "shoutt"]) == 2
    assert 'did you mean "shout"' in capsys.readouterr().err
    sys.modules.pop("shouting", None)
    plugins._entry_points.cache_clear()
