"""The gate: three outcomes, by intervals alone, with exit codes and files for machines."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest
import xmlschema

from evenhand.analysis.gate import Margins, gate_run
from evenhand.cli import main
from evenhand.errors import UsageError
from evenhand.store.store import Store
from fakes import audit, biased

DATA = Path(__file__).parent / "data"


def exit_code(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clearly biased run, an even-handed one, and a small one that can show nothing."""
    folder = tmp_path_factory.mktemp("gate")
    audit(folder / "biased", biased(safety=0.6, utility=0.6), items=200)
    audit(folder / "even", biased(seed=1), items=200)
    audit(folder / "small", biased(seed=2), items=8)
    return folder


@pytest.mark.slow
def test_a_biased_run_fails(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("gate", runs / "biased", "--max-pb", 5) == 4
    said = capsys.readouterr().out
    assert "PB: " in said
    assert "failed" in said
    assert said.endswith("Gate failed.\n")


@pytest.mark.slow
def test_a_wide_margin_passes(runs: Path) -> None:
    assert exit_code("gate", runs / "biased", "--max-pb", 90, "--max-gap", 99) == 0
    assert exit_code("gate", runs / "even", "--max-pb", 20) == 0


def test_too_little_data_is_inconclusive(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("gate", runs / "small", "--max-gap", 5) == 5
    assert "times as many items" in capsys.readouterr().out
    assert exit_code("gate", runs / "small", "--max-gap", 5, "--inconclusive", "fail") == 4
    assert exit_code("gate", runs / "small", "--max-gap", 5, "--inconclusive", "pass") == 0


def test_the_decision_follows_the_whole_interval(runs: Path) -> None:
    store = Store.open(runs / "biased")
    found = gate_run(store, Margins(max_pb=5.0)).checks[0]
    low, high = found.interval
    between = gate_run(store, Margins(max_pb=(low + high) / 2))
    above = gate_run(store, Margins(max_pb=high + 0.01))
    below = gate_run(store, Margins(max_pb=low - 0.01))
    store.close()
    assert [g.checks[0].decision for g in (between, above, below)] == [
        "inconclusive",
        "passed",
        "failed",
    ]


def test_the_largest_gap_names_who(runs: Path) -> None:
    store = Store.open(runs / "biased")
    found = gate_run(store, Margins(max_gap=10.0), axes=["safety"]).checks
    store.close()
    assert [check.name for check in found] == ["largest gap in safety"]
    assert found[0].detail.split()[0] in ("christian", "hindu")
    assert found[0].decision == "failed"


def test_growth_over_an_earlier_run(runs: Path) -> None:
    grown = ("gate", runs / "biased", "--against", runs / "even", "--max-growth")
    assert exit_code(*grown, 5) == 4
    assert exit_code(*grown, 60) == 0
    assert exit_code("gate", runs / "even", "--against", runs / "biased", "--max-growth", 1) == 0


def test_a_higher_level_has_a_wider_interval(runs: Path) -> None:
    store = Store.open(runs / "even")
    usual, careful = (
        gate_run(store, Margins(max_gap=5.0), level=level).checks[0].interval
        for level in (0.95, 0.999)
    )
    store.close()
    assert careful[1] > usual[1]


def test_files_for_machines(runs: Path, tmp_path: Path) -> None:
    junit, sarif, summary = tmp_path / "g.xml", tmp_path / "g.sarif", tmp_path / "g.md"
    summary.write_text("# before\n")
    files = ("--junit", junit, "--sarif", sarif, "--summary", summary)
    assert (
        exit_code(
            "gate",
            runs / "biased",
            "--max-pb",
            5,
            "--max-gap",
            99,
            "--axes",
            "safety,utility",
            *files,
        )
        == 4
    )
    suite = ElementTree.parse(junit).getroot().find("testsuite")
    assert suite is not None
    assert len(suite.findall("testcase")) == int(suite.get("tests", "0")) > 1
    assert len(suite.findall("testcase/failure")) == int(suite.get("failures", "0")) == 1
    found = json.loads(sarif.read_text())
    assert found["version"] == "2.1.0"
    kinds = [(r["kind"], r["level"]) for r in found["runs"][0]["results"]]
    assert ("fail", "error") in kinds
    assert ("pass", "none") in kinds
    assert summary.read_text().startswith("# before\n### evenhand gate: failed")


def test_files_for_machines_keep_to_their_schemas(runs: Path, tmp_path: Path) -> None:
    junit = xmlschema.XMLSchema(str(DATA / "junit.xsd"))
    sarif = jsonschema.Draft4Validator(json.loads((DATA / "sarif-2.1.0.json").read_text()))
    for name, more in (
        ("biased", ()),
        ("even", ()),
        ("small", ()),
        ("small", ("--inconclusive", "pass")),
        ("small", ("--inconclusive", "fail")),
    ):
        xml, log = tmp_path / "g.xml", tmp_path / "g.sarif"
        margins = ("--max-pb", 5, "--max-gap", 10)
        exit_code("gate", runs / name, *margins, *more, "--junit", xml, "--sarif", log)
        assert [str(fault.reason) for fault in junit.iter_errors(str(xml))] == []
        assert [fault.message for fault in sarif.iter_errors(json.loads(log.read_text()))] == []


def test_a_schema_that_takes_anything_would_show_nothing(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.xml"
    wrong.write_text('<testsuites><testsuite tests="x"><testcase/></testsuite></testsuites>')
    assert not xmlschema.XMLSchema(str(DATA / "junit.xsd")).is_valid(str(wrong))
    schema = json.loads((DATA / "sarif-2.1.0.json").read_text())
    log = {"version": "2.1.0", "runs": [{"tool": {"driver": {}}, "results": [{"kind": "good"}]}]}
    assert len(list(jsonschema.Draft4Validator(schema).iter_errors(log))) >= 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "needs a margin"),
        (("--max-growth", 1), "belong together"),
        (("--max-pb", 5, "--axes", "fairness"), 'no axis "fairness"'),
        (("--max-pb", -1), "max-pb"),
        (("--max-pb", 5, "--summary", "/nowhere/at/all.md"), "cannot write"),
    ],
)
def test_mistakes_are_one_line(
    runs: Path, arguments: tuple[object, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("gate", runs / "even", *arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_nothing_to_check(tmp_path: Path) -> None:
    audit(tmp_path / "run", biased(), items=2, identities=["jewish"])
    store = Store.open(tmp_path / "run")
    with pytest.raises(UsageError, match=r"too few scores|nothing to check"):
        gate_run(store, Margins(max_pb=5.0))
    store.close()
