"""Report formats of other packages that go wrong: one line, and the run is as it was."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evenhand import plugins
from evenhand.report import FileFormat, FolderFormat, ReportInput
from fakes import audit
from runs import run_main, stored


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("formats") / "run"
    audit(folder, items=4)
    return folder


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Makes something the format "odd" of the package "outside"."""
    module = SimpleNamespace()
    monkeypatch.setitem(sys.modules, "outside", module)
    entry = EntryPoint("odd", "outside:THING", "evenhand.formats")
    monkeypatch.setattr(plugins, "_entry_points", lambda _: {"odd": (entry,)})
    return lambda thing: setattr(module, "THING", thing)


def fail(*_: object) -> Any:
    raise ValueError("two\nlines")


def leave(*_: object) -> Any:
    raise SystemExit(7)


def parts_that_fail(*_: object) -> Iterator[str]:
    yield "half of it\n"
    raise ValueError("two\nlines")


class Unspeakable:
    def __repr__(self) -> str:
        raise ValueError("two\nlines")


def gives(content: object) -> FileFormat:
    return FileFormat(lambda _: content, "odd.txt")  # type: ignore[arg-type, return-value]


def folder_of(paths: object, folder: Any = "odd") -> FolderFormat:
    return FolderFormat(lambda *_: paths, folder)  # type: ignore[arg-type]


def complaint(run: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    capsys.readouterr()
    code = run_main(["report", str(run), "--format", "odd", *options])
    told = capsys.readouterr().err
    assert code == 2, told
    assert told.count("\n") == 1, told
    assert told.startswith('evenhand: format "odd" of outside '), told
    return told


CASES: dict[str, tuple[Any, str]] = {
    "raises": (FileFormat(fail, "odd.txt"), r"failed: ValueError: two lines \(test_foreign_f"),
    "leaves": (FileFormat(leave, "odd.txt"), "failed: SystemExit: 7"),
    "takes nothing": (FileFormat(lambda: "", "odd.txt"), "failed: TypeError"),  # type: ignore[arg-type, misc]
    "none": (gives(None), "gives None, which is no report"),
    "a number": (gives(5), "gives 5, which is no report"),
    "no repr": (gives(Unspeakable()), "failed: ValueError: two lines"),
    "half a character": (gives("a\ud800"), "which is no text in UTF-8"),
    "parts that fail": (FileFormat(parts_that_fail, "odd.txt"), "failed: ValueError: two lines"),
    "parts that are none": (gives(iter(["half of it", 5])), "gives 5, which is no text"),
    "parts with half a character": (gives(iter(["a", "\udfff"])), "which is no text in UTF-8"),
    "a function": (fail, "no FileFormat or FolderFormat"),
    "nothing": (None, "names None, no FileFormat or FolderFormat"),
    "a folder that raises": (FolderFormat(fail, "odd"), "failed: ValueError: two lines"),
    "a folder that gives none": (folder_of(None), "gives None, no list of the paths"),
    "a folder that gives a number": (folder_of([5]), r"gives \[5\], no list of the paths"),
    "no folder": (folder_of([], None), "writes to None, which is no plain name"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_format_that_goes_wrong(
    case: str, run: Path, install: Callable[[Any], None], capsys: pytest.CaptureFixture[str]
) -> None:
    thing, why = CASES[case]
    install(thing)
    good = run / "odd.txt"
    good.write_text("good")
    told = complaint(run, capsys)
    assert re.search(why, told), told
    assert good.read_text() == "good"
    assert not list(run.glob(".*.part"))


def test_what_is_no_text_is_not_printed(
    run: Path, install: Callable[[Any], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(FileFormat(lambda _: b"\xff\xfe"))
    assert "gives bytes that cannot be printed; name a file, --out" in complaint(run, capsys)
    out = tmp_path / "out"
    assert run_main(["report", str(run), "--format", "odd", "--out", str(out)]) == 0
    assert out.read_bytes() == b"\xff\xfe"


NAMES = ["", ".", "..", "../x", "/tmp/x", "a/b", "a\\b", "-x", ".x", "x\n", "x\0", "c:x", "\ud800"]
NAMES += ["x" * 200, "run.db", "RUN.DB", "run.journal-0", "run.lock", "run.db-wal", "labels"]


@pytest.mark.parametrize("name", [*NAMES, 5, b"x", Path("x")])
@pytest.mark.parametrize("kind", [FileFormat, FolderFormat])
def test_a_format_has_a_place_of_its_own(
    kind: Callable[..., Any],
    name: Any,
    run: Path,
    install: Callable[[Any], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = stored(run)
    install(kind(lambda *_: [], name))
    assert "no plain name in the run folder, or one of the run's own" in complaint(run, capsys)
    assert stored(run) == before


def test_a_format_follows_no_link(
    run: Path, install: Callable[[Any], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "far.txt").write_text("far")
    (run / "link").symlink_to(tmp_path / "far.txt")
    install(FileFormat(lambda _: "near", "link"))
    assert run_main(["report", str(run), "--format", "odd"]) == 0
    assert (tmp_path / "far.txt").read_text() == "far"
    assert (run / "link").read_text() == "near"
    (run / "link").unlink()
    (run / "link").symlink_to(tmp_path)
    install(folder_of([], "link"))
    capsys.readouterr()
    assert run_main(["report", str(run), "--format", "odd"]) == 2
    assert "is a symbolic link" in capsys.readouterr().err
    (run / "link").unlink()


def test_the_folder_of_a_format_is_made(
    run: Path, install: Callable[[Any], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def write(_: ReportInput, folder: Path) -> list[Path]:
        (folder / "x").write_text("x")
        return [folder / "x"]

    install(FolderFormat(write, "odd"))
    assert run_main(["report", str(run), "--format", "odd"]) == 0
    assert (run / "odd" / "x").is_file()
    (tmp_path / "file").touch()
    capsys.readouterr()
    assert run_main(["report", str(run), "--format", "odd", "--out", str(tmp_path / "file")]) == 2
    assert "cannot write into" in capsys.readouterr().err
