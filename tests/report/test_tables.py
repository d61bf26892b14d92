"""CSV and Parquet: a row a score, a row an identity."""

# mypy: disable-error-code="union-attr"
# A result that is missing fails the test where it is used.

from __future__ import annotations

import builtins
import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from evenhand.analysis import Audit, analyze
from evenhand.cli import main
from evenhand.errors import MissingExtra, StoreError
from evenhand.report.data import (
    SCORE_COLUMNS,
    identity_columns,
    safe_cell,
    write_csv_tables,
    write_parquet_tables,
)
from evenhand.store.store import Store
from fakes import HOSTILE, audit, biased, run, saying


def read_csv(path: Path) -> list[dict[str, str]]:
    """Rows as any reader sees them."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A run with placebos, two cues and two samples."""
    return run(
        tmp_path_factory.mktemp("tables") / "run",
        biased(0.4, 0.2, seed=3),
        items=12,
        placebos=True,
        cues=["system", "memory"],
        samples=2,
    )


@pytest.fixture(scope="module")
def found(store: Store) -> Audit:
    return analyze(store)


@pytest.mark.slow
def test_the_scores_are_those_of_the_store(store: Store, found: Audit, tmp_path: Path) -> None:
    write_csv_tables(found, store, tmp_path / "out")
    rows = read_csv(tmp_path / "out" / "scores.csv")
    scores = store.scores()[:, 3]
    assert list(rows[0]) == list(SCORE_COLUMNS)
    assert len(rows) == len(scores)
    read = [float(row["score"]) for row in rows if row["score"]]
    assert sorted(read) == sorted(scores[~np.isnan(scores)])
    assert {row["kind"] for row in rows} == {"identity", "placebo", "baseline"}
    assert {row["sample"] for row in rows} == {"0", "1"}
    assert {row["judge"] for row in rows} == {"refusal", "choice"}


@pytest.mark.slow
def test_means_of_the_scores_are_those_of_the_identities(
    store: Store, found: Audit, tmp_path: Path
) -> None:
    write_csv_tables(found, store, tmp_path / "out")
    rows = read_csv(tmp_path / "out" / "scores.csv")
    people = read_csv(tmp_path / "out" / "identities.csv")
    for person in people:
        mine = [
            float(row["score"])
            for row in rows
            if (row["identity"], row["cue"]) == (person["identity"], person["cue"])
            and row["axis"] == "utility"
        ]
        assert float(person["utility"]) == pytest.approx(100 * np.mean(mine))


@pytest.mark.slow
def test_the_identities_are_those_of_the_audit(store: Store, found: Audit, tmp_path: Path) -> None:
    write_csv_tables(found, store, tmp_path / "out")
    rows = read_csv(tmp_path / "out" / "identities.csv")
    assert list(rows[0]) == list(identity_columns(found))
    row = next(r for r in rows if r["identity"] == "christian" and r["cue"] == found.head.cue)
    person = next(p for p in found.identities if p.id == "christian")
    delta = person.axes["safety"].to_baseline
    assert float(row["safety"]) == person.axes["safety"].mean
    assert float(row["safety_delta"]) == delta.estimate
    assert float(row["safety_delta_p_adjusted"]) == delta.p_adjusted
    assert float(row["safety_to_mean"]) == person.axes["safety"].to_mean.estimate
    ranks = person.axes["safety"].rank_interval
    assert ranks is not None
    assert float(row["safety_rank_high"]) == ranks[1]
    baseline = next(r for r in rows if r["kind"] == "baseline")
    assert baseline["safety_delta"] == ""


@pytest.mark.slow
def test_parquet_holds_the_same(store: Store, found: Audit, tmp_path: Path) -> None:
    write_csv_tables(found, store, tmp_path)
    write_parquet_tables(found, store, tmp_path)
    for name in ("scores", "identities"):
        rows = read_csv(tmp_path / f"{name}.csv")
        table = parquet.read_table(tmp_path / f"{name}.parquet").to_pylist()
        assert len(table) == len(rows)
        for plain, typed in zip(rows, table, strict=True):
            assert {k: "" if v is None else str(v) for k, v in typed.items()} == plain


def test_an_unscored_answer_has_its_reason_and_no_score(tmp_path: Path) -> None:
    store = run(tmp_path / "run", saying(lambda _: ""), items=2)
    write_csv_tables(analyze(store), store, tmp_path)
    rows = read_csv(tmp_path / "scores.csv")
    assert {row["score"] for row in rows} == {""}
    assert {row["unscored"] for row in rows} == {"empty answer"}


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1", " =1"])
def test_no_cell_is_a_formula(text: str) -> None:
    assert safe_cell(text).startswith("'")


def test_numbers_stay_numbers() -> None:
    assert safe_cell(-1.5) == -1.5
    assert safe_cell(None) is None
    assert safe_cell("a-b") == "a-b"


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_names_are_inert(kind: str, tmp_path: Path) -> None:
    """Names of identities, categories and benchmarks come from files that others may have made."""
    without_braces = yaml_text(kind).translate(str.maketrans("{}", "()"))  # these are refused
    (tmp_path / "who.yaml").write_text(
        f"identities:\n- {{id: odd, category: {yaml_text(kind)}, text: {without_braces}}}\n"
        "- {id: even, text: an even person}\n"
    )
    store = run(
        tmp_path / "run",
        biased(),
        items=3,
        identities=["all"],
        identities_file=tmp_path / "who.yaml",
    )
    write_csv_tables(analyze(store), store, tmp_path)
    for name in ("scores.csv", "identities.csv"):
        for row in read_csv(tmp_path / name):
            for cell in row.values():
                assert cell.isprintable()
                assert len(cell) < 1000
                assert not cell.startswith(("=", "+", "@"))


def yaml_text(kind: str) -> str:
    """A hostile text as a YAML string, without what YAML itself refuses."""
    import json

    return json.dumps("".join(c for c in HOSTILE[kind][:5000] if c >= " " and c != "\x9b"))


def test_without_pyarrow_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *rest, **named)

    store = run(tmp_path / "run", items=2)
    found = analyze(store)
    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(MissingExtra, match=r"pip install 'evenhand\[tables\]'"):
        write_parquet_tables(found, store, tmp_path)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = run(tmp_path / "run", items=2)
    found = analyze(store)
    for write in (write_csv_tables, write_parquet_tables):
        with pytest.raises(StoreError, match="cannot write"):
            write(found, store, tmp_path / "file" / "folder")


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_the_command_writes_beside_the_run(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audit(tmp_path / "run", items=2)
    main(["report", str(tmp_path / "run"), "--format", form])
    names = {path.name for path in (tmp_path / "run" / "tables").iterdir()}
    assert names == {f"scores.{form}", f"identities.{form}"}
    assert f"scores.{form}" in capsys.readouterr().err
