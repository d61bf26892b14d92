"""The JSON of reports and comparisons keeps to its schema."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest

import evenhand
from evenhand.analysis import analyze
from evenhand.analysis.compare import Arm, compare_arms
from evenhand.report.data import comparison_to_json, to_json
from evenhand.report.schema import report_schema
from evenhand.stats import JudgeError
from fakes import REFUSAL, audit, biased, run, saying

SCHEMA = Path(evenhand.__file__).parent / "data" / "report.schema.json"


def faults(text: str) -> list[str]:
    """What in a report is not as the schema says."""
    content = json.loads(text)
    schema = orjson.loads(SCHEMA.read_bytes())
    kind = "ArmComparison" if "sides" in content else "Audit"
    schema = {**schema, "oneOf": [{"$ref": f"#/$defs/{kind}"}]}
    found = jsonschema.Draft202012Validator(schema).iter_errors(content)
    return [
        f"{fault.json_path}: {fault.message}" for top in found for fault in top.context or [top]
    ]


def test_the_shipped_schema_is_that_of_the_code() -> None:
    """If this fails: python scripts/write_report_schema.py."""
    shipped = orjson.loads(SCHEMA.read_bytes())
    assert shipped == orjson.loads(orjson.dumps(report_schema()))
    jsonschema.Draft202012Validator.check_schema(shipped)


def test_every_field_of_the_schema_is_described_or_plain() -> None:
    """A class whose docstring is not understood would describe nothing."""
    for name, kind in orjson.loads(SCHEMA.read_bytes())["$defs"].items():
        assert kind["description"], name
        assert "Attributes" not in kind["description"]


@pytest.mark.slow
def test_reports_are_as_the_schema_says(tmp_path: Path) -> None:
    """With every part: placebos, intersections, cues, defenses, samples, a judge's errors."""
    store = run(
        tmp_path / "run",
        biased(0.3, 0.2, seed=1),
        items=20,
        identities=["religion", "gender", "christian*gender"],
        placebos=True,
        cues=["system", "memory"],
        defenses=["none", "ignore"],
        samples=2,
    )
    found = analyze(store, judge_error=JudgeError(0.95, 0.9, 100, 100))
    text = to_json(found)
    assert faults(text) == []
    content = json.loads(text)
    assert content["defenses"]
    assert content["cues"]
    assert content["interactions"]
    assert content["placebo_pb"]
    assert content["axes"]["safety"]["judge"]
    person = content["identities"][0]
    assert person["safety_delta"] == person["axes"]["safety"]["to_baseline"]["estimate"]
    assert "safety_delta" not in content["baseline"]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda _: REFUSAL, id="all alike"),
        pytest.param(lambda _: "", id="nothing scored"),
    ],
)
def test_reports_of_little_are_as_the_schema_says(tmp_path: Path, answer: Any) -> None:
    found = audit(tmp_path / "run", saying(answer), items=3, cues=["system", "memory"])
    assert faults(to_json(found)) == []


def test_a_report_with_another_field_is_not_as_the_schema_says(tmp_path: Path) -> None:
    content = json.loads(to_json(audit(tmp_path / "run", items=3)))
    content["pb"]["surprise"] = 1
    assert "surprise" in " ".join(faults(json.dumps(content)))


def test_comparisons_are_as_the_schema_says(tmp_path: Path) -> None:
    store = run(tmp_path / "run", biased(0.3), items=20, defenses=["none", "ignore"])
    found = compare_arms([Arm(store), Arm(store, defense="ignore")], margin=2.0)
    assert faults(comparison_to_json(found)) == []


def test_nothing_is_minus_zero(tmp_path: Path) -> None:
    found = audit(tmp_path / "run", items=5)
    assert json.dumps({"margin": -0.0}) == '{"margin": -0.0}'
    text = to_json(dataclasses.replace(found, margin=-0.0))
    assert '"margin": 0.0' in text
    assert "-0.0" not in text
