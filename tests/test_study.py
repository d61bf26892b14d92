"""Study files."""

from __future__ import annotations

from pathlib import Path

import orjson

import evenhand
from evenhand.study.decoding import PRESETS
from evenhand.study.study import Study, read_study

SCHEMA = Path(evenhand.__file__).parent / "data" / "study.schema.json"


def test_the_shipped_schema_is_that_of_the_code() -> None:
    """If this fails: python scripts/write_study_schema.py."""
    assert orjson.loads(SCHEMA.read_bytes()) == Study.model_json_schema()


def test_flags_override_the_file(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("model: openai/a\nlimit: 5\ndecoding: {temperature: 0.5, max_tokens: 9}\n")
    study = read_study(path, {"limit": 7, "decoding": {"max_tokens": 11}})
    assert (study.model, study.limit) == ("openai/a", 7)
    assert (study.decoding.temperature, study.decoding.max_tokens) == (0.5, 11)


def test_a_preset_by_name(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text('model = "openai/a"\ndecoding = "paper"\n')
    assert read_study(path, {}).decoding == PRESETS["paper"]


def test_files_are_looked_up_beside_the_study(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("model: openai/a\nidentities_file: own.yaml\nbenchmarks: [mine.csv, mmlu]\n")
    study = read_study(path, {})
    assert study.identities_file == tmp_path / "own.yaml"
    assert study.benchmarks == (str(tmp_path / "mine.csv"), "mmlu")
