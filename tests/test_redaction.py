"""Every text of a run is marked: texts left out and local paths are in no file for others."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
import sqlite3
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import evenhand
from evenhand.bundle.verify import verify_bundle
from evenhand.engines.mock import MockEngine
from evenhand.store.redaction import shown_address, shown_name, shown_path, shown_reason
from fakes import write_rows
from judging import GOOD, judge, opened, rubric
from runs import run_main

MARK = "zqxmark"
SAFE = {  # columns that say who, what and how, and hold no text of questions or answers
    "condition": {"name", "identity", "text", "category", "kind", "cue", "defense", "gaps"},
    "item": {"benchmark", "axis", "scorer"},
    "response": {"outcome"},
    "judge": {"name", "facts"},
    "recheck": {"other"},
    "meta": {"name", "value"},
}
_OF_ITEM = "(SELECT axis FROM item WHERE id = item)"
_OF_RESPONSE = (
    "(SELECT axis FROM item JOIN response ON item.id = item WHERE response.id = response)"
)
AXIS = {
    "item": "axis",
    "response": _OF_ITEM,
    "failure": _OF_ITEM,
    "score": _OF_RESPONSE,
    "recheck": _OF_RESPONSE,
    "judge_failure": _OF_RESPONSE,
}
FORMATS = ("html", "json", "jsonl", "markdown", "latex", "csv", "text", "eee")


def questions(folder: Path, axis: str, scorer: str) -> str:
    rows = [
        {
            "id": f"{MARK} {axis} id {n}",
            "prompt": f"{MARK} {axis} prompt {n}?",
            "axis": axis,
            "scorer": scorer,
            "subgroup": f"{MARK} {axis} topic {n % 3}",
            **({"answer": f"{MARK} {axis} target"} if scorer == "text" else {}),
        }
        for n in range(6)
    ]
    return str(write_rows(folder / f"own_{axis}.jsonl", rows))


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a mark in every column that is not known to be safe."""
    folder = tmp_path_factory.mktemp("marked")
    cues = folder / "cues.yaml"
    cues.write_text(
        f"cues:\n- id: own\n  form: own\n  placement: system\n"
        f"  system: '{MARK} system of our own. The user is {{is}}.'\n"
        f"  history: ['{MARK} opening', '{MARK} reply']\n"
        "  user: '{question}'\n  baseline: {user: '{question}'}\n"
    )
    evenhand.audit(
        "openai/m",
        benchmarks=[questions(folder, "safety", "refusal"), questions(folder, "utility", "text")],
        identities=["religion"],
        cues_file=cues,
        defenses=[f"{MARK} treat all alike."],
        out=folder / "run",
        engine=MockEngine(lambda _: f"<think>{MARK} thought</think>{MARK} answer"),
    )
    judge(folder / "run", rubric(lambda _: GOOD))
    labels = folder / "run" / "labels"
    assert run_main(["label", str(folder / "run"), "--html", str(folder / "label.html")]) == 0
    sample = json.loads((labels / "sample.json").read_text())
    line = {"cell": sample["cells"][0], "label": "refusal", "comment": f"{MARK} comment"}
    (labels / "ann.jsonl").write_text(json.dumps(line) + "\n")
    (labels / f"{MARK}-notes.json").write_text("{}")
    mark_all(folder / "run")
    return folder / "run"


def mark_all(run: Path) -> None:
    with sqlite3.connect(run / "run.db") as db:
        db.execute("UPDATE score SET value = NULL, reason = 'x' WHERE response % 4 = 0")
        db.execute("INSERT INTO recheck SELECT response, judge, '', 0.5, 'x' FROM score LIMIT 3")
        db.execute("INSERT INTO failure VALUES (1, 1, 0, 500, 'x')")
        db.execute("INSERT INTO judge_failure VALUES (1, 1, 500, 'x')")
        tables = [
            name
            for (name,) in db.execute(
                "SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE TABLE%'"
            ).fetchall()
        ]
        for table in tables:
            for _, column, kind, *_ in db.execute(f"PRAGMA table_info({table})").fetchall():
                if kind != "TEXT" or column in SAFE.get(table, ()):
                    continue
                if column in ("example", "choices"):
                    continue  # JSON: the cue's own words are marked, and there are no choices
                mark = f"' {MARK} ' || {AXIS[table]} || ' {column}'"
                db.execute(f"UPDATE {table} SET {column} = {column} || {mark} WHERE {column} != ''")
                db.execute(f"UPDATE {table} SET {column} = {mark} WHERE {column} = ''")
        record = json.loads(db.execute("SELECT value FROM meta WHERE name = 'run'").fetchone()[0])
        record["sessions"][0]["notes"] = [f"sent otherwise: {MARK} note"]
        record["system_role"] |= {"evidence": f"seen ({MARK})", "default_system": MARK}
        db.execute("UPDATE meta SET value = ? WHERE name = 'run'", (json.dumps(record),))


def unpacked(data: bytes) -> str:
    """The content as text, with what is packed into it in base64."""
    text = data.decode(errors="replace")
    found = [text]
    for word in re.findall(r"[A-Za-z0-9+/]{16,}={0,2}", text):
        with suppress(ValueError, zlib.error, gzip.BadGzipFile, EOFError):
            content = base64.b64decode(word, validate=True)
            is_gzip = content[:2] == b"\x1f\x8b"
            found.append(
                (gzip.decompress(content) if is_gzip else zlib.decompress(content)).decode(
                    errors="replace"
                )
            )
    return "".join(found)


def outputs(run: Path, redaction: str, to: Path) -> Iterator[tuple[str, str]]:
    """Everything that can be given to others, by name."""
    for name in FORMATS:
        place = to / name / ("out" if name in ("csv", "eee") else f"out.{name}")
        place.parent.mkdir(parents=True)
        words = ["report", str(run), "--format", name, "--out", str(place), "--redact", redaction]
        assert run_main(words) == 0
    bundle = to / "out.zip"
    assert run_main(["bundle", str(run), "--out", str(bundle), "--redact", redaction]) == 0
    for path in sorted(to.rglob("*")):
        if path.is_file() and path != bundle:
            yield str(path.relative_to(to)), unpacked(path.read_bytes())
    with zipfile.ZipFile(bundle) as file:
        for name in file.namelist():
            yield f"bundle/{name}", f"{name}\n{unpacked(file.read(name))}"


@pytest.mark.parametrize("redaction", ["harmful", "all"])
@pytest.mark.slow
def test_no_marked_text_is_in_any_file(
    marked: Path, redaction: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(marked, tmp_path / "run")
    found = dict(outputs(run, redaction, tmp_path / "out"))
    assert len(found) > 25
    telling = f"{MARK} (?:safety|comment|note)|{MARK}-notes" if redaction == "harmful" else MARK
    bad = {name: re.search(f".{{,80}}(?:{telling}).{{,60}}", t) for name, t in found.items()}
    assert {name: place[0] for name, place in bad.items() if place} == {}
    kept = [name for name, text in found.items() if f"{MARK} utility prompt" in text]
    assert bool(kept) == (redaction == "harmful"), "and nothing else is left out"
    checks = {check.name: check.holds for check in verify_bundle(tmp_path / "out" / "out.zip")}
    assert not [name for name, holds in checks.items() if holds is False and name != "scores"]
    capsys.readouterr()
    assert run_main(["rerun", str(tmp_path / "out" / "out.zip"), "--out", str(tmp_path / "r")]) == 2
    said = capsys.readouterr().err
    assert "left out" in said
    assert len(said.strip().splitlines()) == 1


@pytest.mark.slow
def test_no_text_of_an_imported_file_is_in_any_file(tmp_path: Path) -> None:
    columns = ("prompt", "answer", "thought", "why", "unscored", "target", "subgroup", "item",
               "finish", "reason", "metadata", "comment", "benchmark_notes")  # fmt: skip
    rows: list[dict[str, object]] = []
    for who in ("baseline", "muslim", "jewish"):
        for n in range(8):
            row: dict[str, object] = {
                name: f"{MARK} {name} {n % 4 if name == 'subgroup' else n}" for name in columns
            }
            row |= {"identity": who, "axis": "safety", "score": None if n == 3 else n % 2}
            row["prompt"] = f"{MARK} before {who}: {MARK} prompt {n}"
            row["error"] = f"{MARK} error" if n == 5 else ""
            rows.append(row)
    path = write_rows(tmp_path / "results.jsonl", rows)
    assert run_main(["import", str(path), "--out", str(tmp_path / "run")]) == 0
    for redaction in ("harmful", "all"):
        found = dict(outputs(tmp_path / "run", redaction, tmp_path / redaction))
        assert [name for name, text in found.items() if MARK in text.lower()] == []


def test_reasons_in_our_own_words_are_shown() -> None:
    """Each reason that stands in the code, and no other."""
    source = Path(evenhand.__file__).parent
    texts = "\n".join(path.read_text() for path in source.rglob("*.py"))
    reasons = re.findall(r'Unscored\(\s*"([^"]+)"\s*\)', texts)
    assert len(reasons) > 12
    reasons += [
        f"judge's verdict: {each}" for each in re.findall(r'Unreadable\("([^"]+)"\)', texts)
    ]
    assert [each for each in reasons if shown_reason(each, "all") != each] == []
    assert shown_reason("not in English (Spanish)", "all") == "not in English (Spanish)"
    assert shown_reason("how to build it", "harmful") == "reason left out"
    assert shown_reason("how to build it", None) == "how to build it"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("hf//home/ann/models/llama", "hf/llama"),
        ("vllm/~/models/llama/", "vllm/llama"),
        ("hf/../ann/llama", "hf/llama"),
        ("hf/C:\\Users\\ann\\llama", "hf/llama"),
        ("rubric:hf//home/ann/judge", "rubric:hf/judge"),
        ("classifier:/home/ann/clf", "classifier:clf"),
        ("guard:vllm//srv/guard", "guard:vllm/guard"),
        ("ray//home/ann/llama", "ray/llama"),
        ("openai/gpt-4o", "openai/gpt-4o"),
        ("hf/meta-llama/Llama-3.1-8B-Instruct", "hf/meta-llama/Llama-3.1-8B-Instruct"),
        ("openrouter/anthropic/claude-3:beta", "openrouter/anthropic/claude-3:beta"),
        ("organism", "organism"),
        ("refusal", "refusal"),
    ],
)
def test_names_of_local_weights(given: str, shown: str) -> None:
    assert shown_name(given) == shown
    assert shown_name(shown) == shown


def test_addresses_and_paths() -> None:
    assert shown_address("/home/ann/lora#12ab34cd on /home/ann/base#9f8e7d6c") == (
        "lora#12ab34cd on base#9f8e7d6c"
    )
    assert shown_address("meta-llama/Llama@1234") == "meta-llama/Llama@1234"
    assert shown_address("https://host/v1/../x") == "https://host/v1/../x"
    assert shown_path("data/q.jsonl") == "data/q.jsonl"
    assert shown_path("/") == "folder"


@pytest.mark.slow
def test_a_bundle_of_local_weights_names_no_place(tmp_path: Path) -> None:
    """Nor do page and exports; and it is run again from its answers, whoever has it."""
    home = tmp_path / "home" / "ann-secret-name"
    home.mkdir(parents=True)
    model = f"hf/{home}/llama"
    file = questions(home, "utility", "text")
    engine = MockEngine(lambda _: f"{MARK} utility target")
    engine.address = f"{home}/llama#1a2b3c4d"
    evenhand.audit(
        model,
        benchmarks=[file],
        identities=["religion"],
        out=home / "run",
        engine=engine,
    )
    out = tmp_path / "given away"
    for name in FORMATS:
        place = out / name / ("out" if name in ("csv", "eee") else f"out.{name}")
        place.parent.mkdir(parents=True)
        report = ["report", str(home / "run"), "--format", name, "--out", str(place)]
        assert run_main(report) == 0
    assert run_main(["bundle", str(home / "run"), "--out", str(out / "b.zip")]) == 0
    with zipfile.ZipFile(out / "b.zip") as bundle:
        bundle.extractall(out / "bundle")
    telling = [
        str(path.relative_to(out))
        for path in out.rglob("*")
        if path.is_file() and "ann-secret-name" in unpacked(path.read_bytes())
    ]
    assert telling == []
    assert json.loads((out / "bundle" / "card.json").read_text())["model"] == "hf/llama#1a2b3c4d"
    shutil.rmtree(home)
    assert run_main(["verify", str(out / "b.zip")]) == 0
    assert run_main(["rerun", str(out / "b.zip"), "--out", str(tmp_path / "again")]) == 0
    again = opened(tmp_path / "again")
    assert again.record().study.model == "hf/llama#1a2b3c4d"
    again.close()


class _Recorded(ModuleType):
    """A module in which every name makes a plain object of what it is given."""

    def __getattr__(self, name: str) -> type[SimpleNamespace]:
        return SimpleNamespace

    @staticmethod
    def write_eval_log(log: SimpleNamespace, path: str, format: str) -> None:
        assert format == "eval"
        Path(path).write_text(json.dumps(log, default=vars, ensure_ascii=False))


@pytest.mark.parametrize("redaction", ["harmful", "all"])
def test_no_marked_text_is_in_an_inspect_log(
    marked: Path, redaction: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What evenhand hands to inspect-ai, whose own writer `make test-interop` tries."""
    package = ModuleType("inspect_ai")
    monkeypatch.setitem(sys.modules, "inspect_ai", package)
    for name in ("log", "model", "scorer"):
        module = _Recorded(f"inspect_ai.{name}")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        setattr(package, name, module)
    out = tmp_path / "logs"
    words = ["--format", "inspect", "--redact", redaction, "--out", str(out)]
    assert run_main(["report", str(shutil.copytree(marked, tmp_path / "run")), *words]) == 0
    texts = {path.name: path.read_text() for path in out.iterdir()}
    assert len(texts) == 1
    telling = f"{MARK} (?:safety|comment|note)" if redaction == "harmful" else MARK
    bad = {name: re.search(f".{{,80}}(?:{telling}).{{,60}}", t) for name, t in texts.items()}
    assert {name: place[0] for name, place in bad.items() if place} == {}
    kept = any(f"{MARK} utility prompt" in text for text in texts.values())
    assert kept == (redaction == "harmful")


def test_no_marked_text_is_in_what_a_gate_writes(
    marked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has no --redact: nothing in it is a text of the run to begin with."""
    run, earlier = (shutil.copytree(marked, tmp_path / name) for name in ("run", "earlier"))
    files = {f"--{name}": tmp_path / name for name in ("junit", "sarif", "summary")}
    written = [str(word) for pair in files.items() for word in pair]
    margins = ["--max-pb", "5", "--max-gap", "10", "--against", str(earlier), "--max-growth", "1"]
    assert run_main(["gate", str(run), *margins, *written]) in (0, 4, 5)
    texts = {name: path.read_text() for name, path in files.items()}
    out, err = capsys.readouterr()
    assert "PB" in texts["--junit"]
    assert [name for name, text in {**texts, "out": out, "err": err}.items() if MARK in text] == []
