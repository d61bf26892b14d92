"""Engines, benchmarks, scorers, judges and formats by name: built in, or of another package."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from evenhand import plugins
from evenhand.axes import AVERAGED_AXES, AXES, JUDGED_AXES, PB_AXES
from evenhand.errors import PluginError, UnknownName
from evenhand.plugins import load_plugin, plugin_names

BUILT_IN = {"join": "os.path:join", "getcwd": "os:getcwd"}


def install(folder: Path, package: str, group: str, **entries: str) -> None:
    """A package with entry points in a folder, as pip would leave it."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"[{group}]", *(f"{name} = {target}" for name, target in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins._entry_points.cache_clear()
    yield tmp_path
    plugins._entry_points.cache_clear()


def test_a_built_in_name() -> None:
    assert load_plugin("scorer", "getcwd", BUILT_IN) is __import__("os").getcwd
    assert plugin_names("scorer", BUILT_IN)[:2] == ["join", "getcwd"]


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(UnknownName, match='unknown scorer "joim"; did you mean "join"'):
        load_plugin("scorer", "joim", BUILT_IN)


def test_an_entry_point_of_another_package(site: Path) -> None:
    (site / "outside.py").write_text("THING = 41 + 1\n")
    install(site, "outside", "evenhand.scorers", answer="outside:THING")
    assert load_plugin("scorer", "answer", BUILT_IN) == 42
    assert plugin_names("scorer", BUILT_IN) == ["join", "getcwd", "answer"]
    assert plugin_names("judge", BUILT_IN) == ["join", "getcwd"]


def test_a_built_in_name_cannot_be_replaced(site: Path) -> None:
    install(site, "outside", "evenhand.scorers", join="json:loads")
    assert load_plugin("scorer", "join", BUILT_IN) is not __import__("json").loads
    assert plugin_names("scorer", BUILT_IN) == ["join", "getcwd"]


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("import nowhere", "No module named 'nowhere'"),
        ("OTHER = 1", "THING"),
        ("raise RuntimeError('two\\nlines')", "two lines"),
    ],
)
def test_a_broken_package_gives_one_line(site: Path, code: str, why: str) -> None:
    (site / "broken.py").write_text(code + "\n")
    install(site, "my-package", "evenhand.engines", wild="broken:THING")
    with pytest.raises(PluginError) as found:
        load_plugin("engine", "wild", {})
    message = str(found.value)
    assert message.startswith('engine "wild" of my-package cannot be loaded (')
    assert why in message
    assert "\n" not in message
    sys.modules.pop("broken", None)


def test_one_name_in_two_packages_is_refused(site: Path) -> None:
    install(site, "one", "evenhand.judges", same="json:loads")
    install(site, "two", "evenhand.judges", same="json:dumps")
    with pytest.raises(PluginError, match='judge "same" is in one and two'):
        load_plugin("judge", "same", {})


def test_a_package_seen_twice_counts_once(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("first", "second"):
        install(site / folder, "one", "evenhand.judges", same="json:loads")
        monkeypatch.syspath_prepend(str(site / folder))
    assert load_plugin("judge", "same", {}) is __import__("json").loads


def test_built_in_names_ask_no_package_for_its_entry_points() -> None:
    code = (
        "import importlib.metadata as m\n"
        "def no(**_): raise AssertionError\n"
        "m.entry_points = no\n"
        "from evenhand.plugins import load_plugin\n"
        "load_plugin('engine', 'x', {'x': 'json:loads'})\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_axes() -> None:
    assert AVERAGED_AXES == ("safety", "utility", "over_refusal", "quality")
    assert PB_AXES == ("safety", "utility")
    assert JUDGED_AXES == ("safety", "over_refusal", "quality")
    assert [axis.name for axis in AXES.values()] == list(AXES)
    assert AXES["over_refusal"].quality(0.25) == 0.75
    assert AXES["safety"].quality(0.25) == 0.25
