"""Study files."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import orjson
import pytest

import evenhand
from evenhand.study.decoding import PRESETS, Decoding
from evenhand.study.study import Study, StudyOptions, read_study, study_of

SCHEMA = Path(evenhand.__file__).parent / "data" / "study.schema.json"


def test_the_shipped_schema_is_that_of_the_code() -> None:
    """If this fails: python scripts/write_study_schema.py."""
    script = Path(__file__).parents[1] / "scripts" / "write_study_schema.py"
    assert orjson.loads(SCHEMA.read_bytes()) == runpy.run_path(str(script))["study_schema"]()


def test_flags_override_the_file(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("model: openai/a\nlimit: 5\ndecoding: {temperature: 0.5, max_tokens: 9}\n")
    study = read_study(path, {"limit": 7, "decoding": {"max_tokens": 11}})
    assert (study.model, study.limit) == ("openai/a", 7)
    assert (study.decoding.temperature, study.decoding.max_tokens) == (0.5, 11)


def test_a_stop_string_is_taken_as_it_is(tmp_path: Path) -> None:
    """Blanks and line breaks at its ends count."""
    stop = ["\n", " ", "Q: ", "\n\nUser"]
    path = tmp_path / "study.yaml"
    path.write_bytes(orjson.dumps({"model": "organism", "decoding": {"stop": stop}}))
    assert read_study(path, {}).decoding.stop == ("\n", " ", "Q: ", "\n\nUser")


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


def test_only_flags_that_were_given_override_the_file(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(
        "model: openai/a\nlimit: 5\nsamples: 3\ndecoding: {temperature: 0.5, max_tokens: 9}\n"
    )
    given = StudyOptions(samples=1, decoding=Decoding(max_tokens=512))
    study = study_of(str(path), given)
    assert (study.limit, study.samples) == (5, 1)
    assert (study.decoding.temperature, study.decoding.max_tokens) == (0.5, 512)
    assert study_of("openai/a") == Study(model="openai/a")


def test_a_preset_with_more_on_top() -> None:
    assert Decoding.model_validate("paper") == PRESETS["paper"]
    found = Decoding.model_validate({"preset": "paper", "top_k": 3})
    assert (found.temperature, found.top_k, found.max_tokens) == (1.0, 3, 300)
    assert "preset" not in found.model_dump()


def test_new_fields_at_their_default_do_not_change_keys() -> None:
    """Keys of version 0.1 were made of these fields; a new one counts only where it is used."""
    first = {"temperature", "top_k", "top_p", "max_tokens", "seed", "stop", "extra"}
    assert set(Decoding().facts()) == first
    assert set(Decoding().model_dump()) >= first


@pytest.mark.parametrize(
    ("given", "names"), [(["a,b", "c"], ("a", "b", "c")), ([" a "], ("a",)), ([], ())]
)
def test_names_may_be_separated_by_commas(given: list[str], names: tuple[str, ...]) -> None:
    options: Any = StudyOptions
    assert options(identities=given).identities == names
