"""A run into a bundle, and the file of one: rows, the study with all own files, and what was found.

The file is a zip archive with a manifest of its files and their hashes. A bundle may come from
anybody. Nothing is unpacked by the names that stand in it, every size is bounded before anything is
read, and only what the manifest lists is looked at.
"""

from __future__ import annotations

import hashlib
import re
import stat
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, BinaryIO, Self
from zlib import error as zlib_error

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
from evenhand.bundle.card import audit_card, card_markdown, data_sheet
from evenhand.calibration.labeling import label_files
from evenhand.engines import engine_type
from evenhand.errors import UsageError
from evenhand.files import replacing, write_file
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
from evenhand.text import one_line

# The file

MANIFEST = "manifest.json"
FORMAT = 1
_NAME = re.compile(r"(?:\w[\w.+-]*/){0,4}\w[\w.+-]*", re.ASCII)
_MOST_FILES = 20_000
_MOST_BYTES = 4 * 2**30
"""Of all files, unpacked."""
_MOST_OF_A_FILE = 64 * 2**20
"""Of a file, and of a line of one, that is read as a whole."""
_CHUNK = 2**20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_EPOCH = (1980, 1, 1, 0, 0, 0)


class BundleWriter:
    """Writes the files of a bundle, and last the manifest that lists them."""

    def __init__(self, file: BinaryIO) -> None:
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED)
        self._files: dict[str, dict[str, Any]] = {}
        self._bytes = 0

    def add(self, name: str, chunks: Iterable[bytes]) -> None:
        """Write one file.

        Raises:
            UsageError: the bundle would be larger than a reader accepts.
        """
        digest, size = hashlib.sha256(), 0
        info = zipfile.ZipInfo(name, _EPOCH)
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = (stat.S_IFREG | 0o600) << 16
        with self._zip.open(info, "w", force_zip64=True) as out:
            for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
                out.write(chunk)
        self._bytes += size
        if self._bytes > _MOST_BYTES or len(self._files) >= _MOST_FILES - 1:
            raise UsageError("the run is too large for a bundle (4 GiB); bundle a smaller study")
        self._files[name] = {"sha256": digest.hexdigest(), "bytes": size}

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Write the manifest, and end the archive."""
        manifest = {"format": FORMAT, **facts, "files": self._files}
        text = orjson.dumps(manifest, option=orjson.OPT_INDENT_2) + b"\n"
        self._zip.writestr(zipfile.ZipInfo(MANIFEST, _EPOCH), text, zipfile.ZIP_DEFLATED)
        self._zip.close()


class BundleReader:
    """An open bundle.

    Attributes:
        manifest: what it says of itself; nothing in it is to be trusted.

    Raises:
        UsageError: the file is not a bundle, or one that could do harm.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except FileNotFoundError:
            raise UsageError(f"{path}: there is no such file") from None
        except IsADirectoryError:
            made = f"evenhand bundle {path} --out FILE.zip"
            raise UsageError(f"{path}: a folder; a bundle of a run is written by: {made}") from None
        except OSError as error:
            raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise UsageError(f"{path}: not a bundle: {one_line(str(error))}") from None
        try:
            self._entries = self._checked_entries()
            self.manifest = self._read_manifest()
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._zip.close()

    @property
    def names(self) -> set[str]:
        """All files but the manifest."""
        return set(self._entries) - {MANIFEST}

    def chunks(self, name: str) -> Iterator[bytes]:
        """The content of a file, never more than was declared.

        Raises:
            UsageError: it is not there, or damaged.
        """
        with self._open(name) as file:
            while chunk := self._next(name, file, _CHUNK):
                yield chunk

    def read(self, name: str) -> bytes:
        """The content of a small file.

        Raises:
            UsageError: it is not there, damaged, or too large.
        """
        if name in self._entries and self._entries[name].file_size > _MOST_OF_A_FILE:
            raise self._fault(f"{name} is too large")
        return b"".join(self.chunks(name))

    def rows(self, name: str) -> Iterator[dict[str, Any]]:
        """The objects of a file with one a line.

        Raises:
            UsageError: it is not there, damaged, or holds something else.
        """
        left = b""
        for chunk in self.chunks(name):
            *lines, left = (left + chunk).split(b"\n")
            if len(left) > _MOST_OF_A_FILE:
                raise self._fault(f"{name} has a line that is too long")
            yield from (self._row(name, line) for line in lines if line)
        if left:
            yield self._row(name, left)

    def digest(self, name: str) -> str:
        """SHA-256 of a file."""
        digest = hashlib.sha256()
        for chunk in self.chunks(name):
            digest.update(chunk)
        return digest.hexdigest()

    def extract(self, names: Iterable[str], folder: Path) -> None:
        """Copy files into a folder under their own names, which hold nothing but plain parts."""
        for name in names:
            write_file(folder / name, self.read(name), UsageError, private=True)

    def _row(self, name: str, line: bytes) -> dict[str, Any]:
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            row = None
        if not isinstance(row, dict):
            raise self._fault(f"{name} is not JSON Lines")
        return row

    def _open(self, name: str) -> BinaryIO:
        if name not in self._entries:
            raise self._fault(f"{name} is missing")
        try:
            return self._zip.open(self._entries[name])  # type: ignore[return-value]
        except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise self._fault(f"{name}: {error}") from None

    def _next(self, name: str, file: BinaryIO, size: int) -> bytes:
        try:
            return file.read(size)
        except (OSError, EOFError, zipfile.BadZipFile, ValueError, zlib_error) as error:
            raise self._fault(f"{name}: {error}") from None

    def _checked_entries(self) -> dict[str, zipfile.ZipInfo]:
        entries: dict[str, zipfile.ZipInfo] = {}
        listed = self._zip.infolist()
        if len(listed) > _MOST_FILES:
            raise self._fault("too many files")
        if sum(entry.file_size for entry in listed) > _MOST_BYTES:
            raise self._fault("more than 4 GiB when unpacked")
        for entry in listed:
            mode = entry.external_attr >> 16
            name = entry.filename
            if not _NAME.fullmatch(name) or ".." in name or name in entries:
                raise self._fault(f'no file of a bundle is called "{name}"')
            if entry.flag_bits & 1 or entry.compress_type not in _METHODS:
                raise self._fault(f"{name} is encrypted or packed in an unknown way")
            if mode and not stat.S_ISREG(mode) and stat.S_IFMT(mode):
                raise self._fault(f"{name} is not a plain file")
            entries[name] = entry
        return entries

    def _read_manifest(self) -> dict[str, Any]:
        try:
            manifest = orjson.loads(self.read(MANIFEST))
        except orjson.JSONDecodeError:
            manifest = None
        if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
            raise self._fault(f"{MANIFEST} is not a manifest")
        if manifest.get("format") != FORMAT:
            raise self._fault("written by another version of evenhand")
        return manifest

    def _fault(self, what: str) -> UsageError:
        return UsageError(f"{self.path}: not a sound bundle: {one_line(what)}")


# A run into it

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
