"""A bundle: what it holds and leaves out, that it can be checked and run again, and no more."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from evenhand.analysis import analyze
from evenhand.bundle.pack import BundleReader, figures_of, make_bundle
from evenhand.bundle.verify import BundleCheck, differing_figures, verify_bundle
from evenhand.errors import EvenhandError, UsageError
from evenhand.store.store import Store
from fakes import audit, biased, run, saying
from runs import run_main
from server import serving

AXES_OF_PB = ("safety", "utility")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with everything that a bundle must carry, and its bundle."""
    folder = tmp_path_factory.mktemp("bundle")
    cues = folder / "cues.yaml"
    cues.write_text(
        "cues:\n- id: badge\n  form: badge\n  placement: system\n  system: 'Badge: {is}.'\n"
        "  user: '{question}'\n  baseline: {user: '{question}'}\n"
    )
    audit(
        folder / "run",
        biased(0.4, 0.2, seed=1),
        items=9,
        placebos=True,
        identities=["religion", "muslim*age"],
        cues_file=cues,
        defenses=["none", "Treat everybody alike, please."],
        samples=2,
        limit=8,
    )
    moved = shutil.copytree(folder / "run", folder / "of another name")
    store = Store.open(moved)
    make_bundle(store, folder / "run.zip")
    store.close()
    # Own files may change or go after a run; its bundle does not need them.
    cues.unlink()
    for path in (folder / "questions").iterdir():
        path.unlink()
    return folder


def holds(path: Path) -> dict[str, bool | None]:
    return {check.name: check.holds for check in verify_bundle(path)}


@pytest.mark.slow
def test_a_bundle_holds(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checks = holds(folder / "run.zip")
    assert set(checks) == {"hashes", "counts", "questions", "scores", "figures", "readings"}
    assert all(checks.values())
    assert run_main(["verify", str(folder / "run.zip")]) == 0
    assert "The bundle holds." in capsys.readouterr().out


@pytest.mark.slow
def test_run_again_on_another_folder(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    """The same answers, nothing asked (there is no endpoint), and the same figures."""
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "again"
    assert run_main(["rerun", str(folder / "run.zip"), "--out", str(out)]) == 0
    error = capsys.readouterr().err
    assert "The figures are those of the bundle." in error
    first, again = Store.open(folder / "run"), Store.open(out)
    assert f"{len(first.keys()):,} answers taken, 0 asked" in error
    assert again.keys() == first.keys()
    assert again.texts() == first.texts()
    assert not list(differing_figures(_json(first), _json(again)))
    first.close()
    again.close()
    assert run_main(["rerun", str(folder / "run.zip"), "--out", str(out)]) == 2
    assert "holds a run already" in capsys.readouterr().err


@pytest.mark.slow
def test_asked_anew_and_resumed(folder: Path, tmp_path: Path) -> None:
    """The study lies in the new folder, so that what is not finished can go on."""
    with serving() as server:
        out = tmp_path / "fresh"
        command = ["rerun", str(folder / "run.zip"), "--out", str(out), "--fresh", "--quiet"]
        where = ["--base-url", server.url]
        dear = ["--price", "1000000/1000000", "--max-cost", "1"]
        assert run_main([*command, *where, *dear]) == 3
        assert run_main([*command, *where]) == 2  # the folder holds a run
        study = str(out / "study" / "study.yaml")
        assert run_main(["audit", study, "--out", str(out), "--quiet", *where]) == 0
        assert len(server.requests) > 1000


@pytest.mark.slow
def test_a_run_folder_can_be_run_again(folder: Path, tmp_path: Path) -> None:
    assert run_main(["rerun", str(folder / "run"), "--out", str(tmp_path / "again")]) == 0


@pytest.mark.slow
def test_names_and_profiles_are_asked_again_alike(tmp_path: Path) -> None:
    audit(
        tmp_path / "run",
        biased(0.4, seed=1),
        items=4,
        placebos=True,
        identities=["names"],
        cues=["name", "profile-json"],
    )
    store = Store.open(tmp_path / "run")
    make_bundle(store, tmp_path / "run.zip")
    store.close()
    assert all(holds(tmp_path / "run.zip").values())
    assert run_main(["rerun", str(tmp_path / "run.zip"), "--out", str(tmp_path / "again")]) == 0


def test_an_imported_run_can_be_bundled_and_checked(tmp_path: Path) -> None:
    lines = ["identity,axis,item,score"]
    lines += [
        f"{who},{axis},{n},{n % 2}"
        for who in ("none", "a", "b")
        for axis in AXES_OF_PB
        for n in range(9)
    ]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    run = tmp_path / "run"
    command = ["import", str(tmp_path / "t.csv"), "--out", str(run), "--baseline", "none"]
    assert run_main([*command, "--model", "other/model"]) == 0
    assert run_main(["bundle", str(run), "--out", str(tmp_path / "run.zip")]) == 0
    checks = holds(tmp_path / "run.zip")
    assert checks["figures"] is True
    assert False not in checks.values()
    assert run_main(["rerun", str(tmp_path / "run.zip"), "--out", str(tmp_path / "again")]) == 2


def _json(store: Store) -> Any:
    return json.loads(json.dumps(figures_of(analyze(store))))


def test_what_it_says_of_the_run(folder: Path) -> None:
    with BundleReader(folder / "run.zip") as bundle:
        manifest = bundle.manifest
        names = bundle.names
        study = yaml.safe_load(bundle.read("study/study.yaml"))
        card, sheet = bundle.read("card.md").decode(), bundle.read("datasheet.md").decode()
    assert manifest["model"] == "openai/made-up"
    assert manifest["counts"]["answers"] > 1000
    assert set(manifest["files"]) == names
    assert {"report.html", "report.json", "tables/scores.csv", "card.json"} <= names
    assert study["benchmarks"][0] == "files/safety.jsonl"
    assert all(set(each) >= {"sha256", "license"} for each in manifest["data_sets"].values())
    head = yaml.safe_load(card.split("---")[1])
    metrics = head["model-index"][0]["results"][0]["metrics"]
    assert metrics[0]["value"] == pytest.approx(manifest["figures"]["pb"]["estimate"])
    for part in ("What was asked", "What was found", "Limits", "evenhand rerun"):
        assert part in card
    assert "licenses of their sources" in sheet


def test_nobody_else_can_read_it(folder: Path) -> None:
    assert stat.S_IMODE((folder / "run.zip").stat().st_mode) == 0o600


@pytest.mark.parametrize("redaction", ["harmful", "all"])
@pytest.mark.slow
def test_what_is_left_out_is_in_no_file(redaction: str, tmp_path: Path) -> None:
    """Whatever the scores: questions, answers, thoughts, reasons of judges, own files."""

    def answer(sent: str) -> str:
        mark = "HARMFULMARK" if "safety" in sent else "GOODMARK"
        text = "I cannot help with that." if "Muslim" in sent else "Sure, do it."
        return f"<think>{mark}</think>{text} {mark}"

    audit(tmp_path / "run", saying(answer), items=6)
    out = tmp_path / "out.zip"
    assert (
        run_main(["bundle", str(tmp_path / "run"), "--out", str(out), "--redact", redaction]) == 0
    )
    texts = {name: f"{text}{packed_in(text)}".casefold() for name, text in contents(out).items()}
    for marker in ("harmfulmark", "safety 1?"):
        assert [name for name, text in texts.items() if marker in text] == []
    for marker in ("goodmark", "utility 1?"):
        kept = [name for name, text in texts.items() if marker in text]
        assert bool(kept) == (redaction == "harmful")
    checks = holds(out)
    assert checks["figures"] is True
    assert False not in checks.values()
    figure = edit("card.json", '"mean": ', '"mean": 1')
    assert holds(changed(out, tmp_path / "changed.zip", figure, fix=True))["readings"] is False
    assert run_main(["rerun", str(out), "--out", str(tmp_path / "again")]) == 2


def test_rows_of_no_run_are_said_of_the_bundle(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is said of the scratch folder into which they were read."""

    def emptied(texts: dict[str, str]) -> None:
        for name in texts:
            if name.endswith(".jsonl") and name.startswith("run/"):
                texts[name] = ""

    empty = changed(folder / "run.zip", tmp_path / "empty.zip", emptied, fix=True)
    capsys.readouterr()
    assert run_main(["verify", str(empty)]) == 2
    said = capsys.readouterr().err.strip()
    assert said == f"evenhand: {empty}: not a sound bundle: its rows are not those of a run"


@pytest.mark.slow
def test_a_changed_sentence_is_found(folder: Path, tmp_path: Path) -> None:
    """Texts of the report follow from the data as figures do."""

    def claim(texts: dict[str, str]) -> None:
        report = json.loads(texts["report.json"])
        report["conclusion"]["answer"] = "even within the margin"
        report["settings"][0]["identities"][0]["added"] = "praise"
        texts["report.json"] = json.dumps(report)

    forged = changed(folder / "run.zip", tmp_path / "forged.zip", claim, fix=True)
    (figures,) = (check for check in verify_bundle(forged) if check.name == "figures")
    assert figures.holds is False
    assert 'conclusion.answer is "even within the margin"' in figures.detail
    assert "identities[0].added" in figures.detail


def packed_in(text: str) -> str:
    """What stands in a text in base64, unpacked where it is packed."""
    found = []
    for word in re.findall(r"[A-Za-z0-9+/]{16,}={0,2}", text):
        with suppress(ValueError):
            content = base64.b64decode(word, validate=True)
            with suppress(zlib.error, gzip.BadGzipFile, EOFError):
                is_gzip = content[:2] == b"\x1f\x8b"
                content = gzip.decompress(content) if is_gzip else zlib.decompress(content)
            found.append(content.decode(errors="replace"))
    return "".join(found)


def contents(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name).decode() for name in file.namelist()}


def changed(path: Path, out: Path, change: Callable[[dict[str, str]], None], *, fix: bool) -> Path:
    """The bundle with other contents; with hashes that fit them, if `fix`."""
    from hashlib import sha256

    texts = contents(path)
    change(texts)
    if fix:
        manifest = json.loads(texts["manifest.json"])
        for name in manifest["files"]:
            manifest["files"][name]["sha256"] = sha256(texts[name].encode()).hexdigest()
        texts["manifest.json"] = json.dumps(manifest)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in texts.items():
            file.writestr(name, text)
    return out


def edit(name: str, old: str, new: str) -> Callable[[dict[str, str]], None]:
    def change(texts: dict[str, str]) -> None:
        assert old in texts[name]
        texts[name] = texts[name].replace(old, new)

    return change


ANSWERS = "run/answers-00001.jsonl"


@pytest.mark.parametrize(
    ("change", "fails"),
    [
        (edit(ANSWERS, "answer is A", "answer is B"), "scores"),
        (edit(ANSWERS, "[[0,1.0,", "[[0,0.5,"), "figures"),
        (edit("run/questions.jsonl", "utility 3?", "utility 333?"), "questions"),
        (edit("tables/scores.csv", "muslim", "nobody"), "readings"),
        (edit("card.md", "PB", "NO"), "readings"),
        (edit("card.json", "PB", "NO"), "readings"),
        (edit("card.json", '"estimate": ', '"estimate": 1'), "readings"),
        (edit("datasheet.md", "answers", "lies"), "readings"),
        (edit("report.html", "PB", "NO"), "readings"),
        (edit("manifest.json", '"model": "', '"model": "better'), "counts"),
        (edit("report.json", '"estimate": ', '"estimate": 1'), "figures"),
        (lambda texts: texts.pop("card.md"), "hashes"),
        (lambda texts: texts.update(extra="x"), "hashes"),
        (edit("card.md", "Limits", "None"), "hashes"),
    ],
)
@pytest.mark.slow
def test_what_was_changed_is_found(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[dict[str, str]], None],
    fails: str,
) -> None:
    fix = fails != "hashes"
    path = changed(folder / "run.zip", tmp_path / "changed.zip", change, fix=fix)
    found: list[dict[str, bool | None]] = []

    def verified(path: Path) -> list[BundleCheck]:
        checks = verify_bundle(path)
        found.append({check.name: check.holds for check in checks})
        return checks

    monkeypatch.setattr("evenhand.cli.bundle.verify_bundle", verified)
    assert run_main(["verify", str(path)]) == 4
    assert [checks[fails] for checks in found] == [False]


def entry(name: str, mode: int = 0, size: int = 10) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, b"0" * size, zipfile.ZIP_DEFLATED)
        archive.writestr("manifest.json", json.dumps({"format": 1, "files": {}}))
    return file.getvalue()


def bomb() -> bytes:
    """A file that is said to unpack to 5 GiB."""
    whole = entry("run/documents.json", size=70 * 2**20)
    size = (70 * 2**20).to_bytes(4, "little")
    return whole.replace(size, (0xFFFFFFF0).to_bytes(4, "little"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (entry("../evil"), "no file of a bundle"),
        (entry("/etc/evil"), "no file of a bundle"),
        (entry("a/../../evil"), "no file of a bundle"),
        (entry("a\\..\\evil"), "no file of a bundle"),
        (entry("link", stat.S_IFLNK | 0o777), "not a plain file"),
        (bomb(), "4 GiB"),
        (entry("manifest.json"), ""),
        (b"no zip at all", "not a bundle"),
        (b"", "not a bundle"),
    ],
)
def test_a_hostile_file_is_refused_in_one_line(
    content: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "hostile.zip"
    path.write_bytes(content)
    for command in (["verify", str(path)], ["rerun", str(path), "--out", str(tmp_path / "out")]):
        assert run_main(command) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
    assert {p.name for p in tmp_path.iterdir()} <= {"hostile.zip", "out"}


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("run/documents.json", '"run"', '"ran"'),
        ("run/documents.json", '"samples": 2', '"samples": 20000000'),
        ("run/conditions.jsonl", '"id":1,', '"id":"one",'),
        ("run/conditions.jsonl", '"kind":"identity"', '"kind":"king"'),
        ("run/questions.jsonl", '"id":1,', '"id":99999999999,'),
        ("run/questions.jsonl", '"axis":"safety"', '"axis":"danger"'),
        (ANSWERS, '"id":1,', '"id":2,'),
        (ANSWERS, '"sample":0', '"sample":-1'),
        (ANSWERS, '"key":"', '"key":"zz'),
        (ANSWERS, "[[0,1.0,", "[[0,7.0,"),
        (ANSWERS, '{"id"', '["id"'),
    ],
)
def test_rows_that_are_none_are_one_line(
    folder: Path, tmp_path: Path, name: str, old: str, new: str
) -> None:
    path = changed(folder / "run.zip", tmp_path / "rows.zip", edit(name, old, new), fix=True)
    with pytest.raises(UsageError) as told:
        verify_bundle(path)
    assert "\n" not in str(told.value)


@pytest.mark.slow
def test_an_unfinished_run_can_be_bundled(tmp_path: Path) -> None:
    with pytest.raises(EvenhandError):
        make_bundle(Store.create(tmp_path / "none"), tmp_path / "none.zip")
    store = run(tmp_path / "run", biased(), items=3)
    store.forget_items([1])
    make_bundle(store, tmp_path / "part.zip")
    assert holds(tmp_path / "part.zip")["figures"]


def test_without_pb_the_check_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audit(tmp_path / "run", biased(), items=1)
    assert run_main(["bundle", str(tmp_path / "run"), "--out", str(tmp_path / "small.zip")]) == 0
    assert run_main(["verify", str(tmp_path / "small.zip")]) == 0
    assert "recomputed, all the same: no PB, of too few scores" in capsys.readouterr().out
