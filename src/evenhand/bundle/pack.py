"""A run into a bundle: its rows, its study with all own files, and what was found."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import yaml

from evenhand import __version__
from evenhand.analysis import analyze
from evenhand.analysis.evidence import AuditDetails, read_details
from evenhand.analysis.results import Audit
from evenhand.benchmarks import BENCHMARKS, find_benchmark, is_own, known_benchmarks, resolve
from evenhand.benchmarks.files import sources
from evenhand.benchmarks.item import Item
from evenhand.benchmarks.own import own_record
from evenhand.bundle.archive import BundleWriter
from evenhand.bundle.card import audit_card, card_markdown, data_sheet
from evenhand.calibration.labeling import label_files
from evenhand.engines import engine_type
from evenhand.errors import UsageError
from evenhand.files import replacing
from evenhand.report.browser import browse
from evenhand.report.data import to_json, write_csv_tables
from evenhand.report.findings import audit_document
from evenhand.report.html import to_html
from evenhand.run.scoring import score_run
from evenhand.store.dump import Row, dump_run
from evenhand.store.redaction import Redaction, leaves_out
from evenhand.store.store import Store
from evenhand.study.identity import identity_entries, is_half
from evenhand.study.study import stated_fields

ANSWERS_PER_PAGE = 5_000
STUDY = "study/study.yaml"
DOCUMENTS, FAILURES = "run/documents.json", "run/failures.jsonl"
CONDITIONS, QUESTIONS, JUDGES = "run/conditions.jsonl", "run/questions.jsonl", "run/judges.jsonl"
ANSWERS, LABELS = "run/answers-", "run/labels/"
REPORT = "report.json"
TABLES = ("tables/scores.csv", "tables/identities.csv")
_RERUN = "evenhand rerun BUNDLE.zip --out DIR"


def make_bundle(store: Store, path: Path, redaction: Redaction | None = None) -> dict[str, Any]:
    """Write the bundle of a run; the facts of its manifest.

    Args:
        redaction: whose texts to leave out.

    Raises:
        RunFolderError: the run has no answers yet.
        StoreError: the file cannot be written.
    """
    score_run(store)
    sets = data_sets(store)
    store.redaction = redaction
    audit = analyze(store)
    details = read_details(store, audit)
    dump = dump_run(store)
    served: Counter[str] = Counter()
    with replacing(path, private=True) as file, TemporaryDirectory() as scratch:
        bundle = BundleWriter(file.buffer)
        bundle.add(DOCUMENTS, [orjson.dumps(dump.documents, option=orjson.OPT_INDENT_2)])
        for name, rows in (
            (CONDITIONS, dump.conditions),
            (QUESTIONS, dump.items),
            (JUDGES, dump.judges),
            (FAILURES, dump.failures),
        ):
            bundle.add(name, _lines(rows))
        answers = 0
        for number, page in enumerate(_pages(dump.answers, ANSWERS_PER_PAGE), 1):
            bundle.add(f"{ANSWERS}{number:05d}.jsonl", _lines(page))
            answers += len(page)
            served.update(row["served"] for row in page if row["served"])
        for name, content in label_files(store):
            bundle.add(f"{LABELS}{name}", [content])
        fault = _add_study(bundle, store)
        facts = _facts(store, audit, answers, served) | {"data_sets": sets}
        facts["command"] = _RERUN if not fault else f"cannot be run again: {fault}"
        for name, content in readings(store, audit, details, facts, Path(scratch)):
            bundle.add(name, [content])
        bundle.finish(facts)
    return facts


def readings(
    store: Store, audit: Audit, details: AuditDetails, facts: Mapping[str, Any], scratch: Path
) -> Iterator[tuple[str, bytes]]:
    """Name and content of what people read: the report, its tables, the card and the data sheet.

    Args:
        facts: of the manifest.
        scratch: an empty folder.
    """
    details = replace(details, folder="run")  # the same wherever it lies
    beside = scratch / "report-answers"
    answers_shown = browse(store, audit.judge, beside)
    yield "report.html", to_html(audit_document(audit, details, answers_shown)).encode()
    for part in sorted(beside.glob("*.js")):
        yield f"{beside.name}/{part.name}", part.read_bytes()
    yield REPORT, to_json(audit).encode()
    for table in write_csv_tables(audit, store, scratch):
        yield f"tables/{table.name}", table.read_bytes()
    card = audit_card(audit, details, facts)
    yield "card.json", orjson.dumps(card, option=orjson.OPT_INDENT_2)
    yield "card.md", card_markdown(audit, card).encode()
    yield "datasheet.md", data_sheet(facts).encode()


def figures_of(audit: Audit) -> dict[str, Any]:
    """The figures that a reader holds the bundle to, in points."""
    pb = audit.pb
    return {
        "pb": pb and {"estimate": pb.estimate, "interval": pb.interval, "p_value": pb.p_value},
        "axes": {
            name: {
                "mean": axis.mean,
                "baseline": axis.baseline,
                "pb": axis.pb and axis.pb.estimate,
            }
            for name, axis in audit.axes.items()
        },
    }


def _pages(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    left = iter(rows)
    while page := list(islice(left, size)):
        yield page


def _lines(rows: Iterable[Row]) -> Iterator[bytes]:
    for page in _pages(rows, 500):
        yield b"".join(orjson.dumps(row) + b"\n" for row in page)


def _facts(store: Store, audit: Audit, answers: int, served: Counter[str]) -> dict[str, Any]:
    record = store.shown_record()
    began = [session.began for session in record.sessions]
    ended = [session.ended for session in record.sessions if session.ended]
    return {
        "evenhand": __version__,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": audit.model,
        "served": dict(served.most_common()),
        "endpoints": list(record.addresses),
        "dates": " to ".join(dict.fromkeys((min(began)[:10], max(ended or began)[:10])))
        if began
        else "date not known",
        "versions": [session.versions for session in record.sessions],
        "redaction": store.redaction,
        "counts": {
            "answers": answers,
            "questions": len(store.items()),
            "conditions": len(store.conditions()),
            "samples": audit.samples,
            "unscored": audit.unscored,
        },
        "figures": figures_of(audit),
    }


def data_sets(store: Store) -> dict[str, Any]:
    """Of each benchmark, how many questions were asked, their hash, and where they come from.

    The hash is that of the questions as asked, also where their texts are left out.
    """
    asked: dict[str, list[Item]] = {}
    for item in store.items().values():
        asked.setdefault(item.benchmark, []).append(item)
    known = set(known_benchmarks())
    found = {}
    for name, items in asked.items():
        benchmark = find_benchmark(name) if name in known else None
        files = [*benchmark.files, *benchmark.shot_files] if benchmark else []
        lines = sorted(orjson.dumps([i.id, i.prompt, i.axis, i.answer, i.choices]) for i in items)
        found[name] = {
            "questions": len(items),
            "axes": sorted({item.axis for item in items}),
            "sha256": hashlib.sha256(b"\n".join(lines)).hexdigest(),
            "files": {file: sources()[file].sha256 for file in files if file in sources()},
            "license": benchmark.license if benchmark else "as its owner says",
            "home": (benchmark.home or "comes with evenhand") if benchmark else "the auditor's own",
        }
    return found


# The study with all own files


def _add_study(bundle: BundleWriter, store: Store) -> str:
    """Add the study file and what it names; why it cannot be run again, or an empty text.

    Everything the user can change is written out as it was asked, so that neither a file that has
    changed since nor a newer evenhand asks otherwise.
    """
    record, wordings = store.record(), store.document("wordings")
    study = stated_fields(record.study)
    shown = stated_fields(store.shown_record().study)
    study |= {name: shown[name] for name in ("model", "judges") if name in shown}
    if store.redaction == "all" and store.own_wordings():
        return "the texts of its own cues and defenses are left out"
    try:
        suite = engine_type(record.study.model).default_suite
        names = resolve(record.study.benchmarks or [suite])
        study["benchmarks"] = [_add_benchmark(bundle, store, name) for name in names]
    except UsageError as error:
        return str(error)
    crossed = record.study.realizations == "crossed"
    if not crossed or record.study.identities_file:  # ours are known by their names
        people = list(dict.fromkeys(c.identity for c in store.conditions()))
        people = [i for i in people if i.kind != "baseline" and not is_half(i)]  # drawn again
        study["identities"] = [identity.id for identity in people]
        study["identities_file"] = "files/identities.yaml"
        _add_yaml(bundle, "study/files/identities.yaml", identity_entries(people))
    if wordings is not None:
        study["cues"] = [cue["id"] for cue in wordings["cues"]]
        study["cues_file"] = "files/cues.yaml"
        _add_yaml(bundle, "study/files/cues.yaml", {"cues": wordings["cues"]})
        if wordings["defenses"]:
            study["defenses"] = list(dict.fromkeys(c.defense for c in store.conditions()))
            study["defenses_file"] = "files/defenses.yaml"
            _add_yaml(bundle, "study/files/defenses.yaml", {"defenses": wordings["defenses"]})
    elif record.study.cues_file or record.study.defenses_file:
        return "the run is of a version that did not keep own cues; audit again to keep them"
    _add_yaml(bundle, STUDY, study)
    return ""


def _add_benchmark(bundle: BundleWriter, store: Store, name: str) -> str:
    """The name for the study file; an own benchmark is written from what was asked of it.

    Raises:
        UsageError: its questions are left out, or cannot be written down.
    """
    if not is_own(name) or name in BENCHMARKS:
        return name
    stem = Path(name).stem
    items = [item for item in store.items().values() if item.benchmark == stem]
    if any(leaves_out(store.redaction, item.axis) for item in items):
        raise UsageError(f"the questions of {stem} are left out")
    file = f"files/{_plain_name(stem)}.jsonl"
    bundle.add(f"study/{file}", _lines(own_record(item) for item in items))
    return file


def _plain_name(stem: str) -> str:
    if not stem.replace("_", "").replace("-", "").isalnum() or not stem.isascii():
        raise UsageError(f'the name of the benchmark "{stem}" has signs that a bundle cannot hold')
    return stem


def _add_yaml(bundle: BundleWriter, name: str, content: Any) -> None:
    bundle.add(name, [yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode()])
