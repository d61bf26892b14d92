"""What all tests share."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Generator
from functools import cache
from pathlib import Path
from typing import Any

import coverage
import pytest

from evenhand.errors import SandboxError
from evenhand.sandbox import check

# A shell's background job ignores Ctrl-C, and one under nohup the end of its terminal; so would
# every program that a test starts and stops.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
# Two workers share two cores: torch and NumPy take one thread each, also in programs of their own.
os.environ.setdefault("OMP_NUM_THREADS", "1")

_BESIDE_THE_REPOSITORY = Path(__file__).parents[2] / "shared" / "data"
# Read before any test, as some take the variables of evenhand out of the environment.
_DATA = Path(os.environ.get("EVENHAND_DATA_DIR", _BESIDE_THE_REPOSITORY))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests go first, so that two workers end at about the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@cache
def _with_torch() -> frozenset[str]:
    """The test files that import modules late, as they stand in the names of tests."""
    root = Path(__file__).parents[1]
    return frozenset(
        path.relative_to(root).as_posix()
        for path in root.glob("tests/**/test_*.py")
        if "from late import late" in path.read_text(encoding="utf-8")
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file at a time to each worker; those that need torch, which is dear to import, to one."""
    from xdist.scheduler import LoadFileScheduling

    class OneImportsTorch(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "torch" if file in _with_torch() else file

    return OneImportsTorch(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Slow tests are not traced: what they alone reach does not count as covered.

    Tracing costs half as much again of what Python code takes, and slow tests would pay most.
    """
    measured = coverage.Coverage.current() if item.get_closest_marker("slow") else None
    if measured is None:
        return (yield)
    measured.stop()
    try:
        return (yield)
    finally:
        measured.start()


@pytest.fixture
def data_dir(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Local copies of the public data files; the test is skipped where there are none."""
    if not _DATA.is_dir():
        pytest.skip(f"no public data files in {_DATA}; set EVENHAND_DATA_DIR to a copy")
    monkeypatch.setenv("EVENHAND_DATA_DIR", str(_DATA))
    return _DATA


@pytest.fixture(scope="session")
def bubblewrap() -> None:
    """The test is skipped, and says why, where bubblewrap cannot run."""
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed: apt install bubblewrap")
    try:
        check("bwrap")
    except SandboxError as error:
        pytest.skip(f"bubblewrap cannot run here: {error}")
