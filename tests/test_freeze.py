"""A plan that was frozen before a run, and what a report says of it afterwards."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from evenhand.analysis.power import freeze_plan, frozen_notes
from evenhand.cli import main
from evenhand.errors import UsageError
from test_analysis import SIZES, Study


def test_a_kept_plan_and_a_changed_one(tmp_path: Path) -> None:
    study = Study(tmp_path, SIZES, identities=["religion"])
    study.score(lambda *_: 1.0)
    path = tmp_path / "plan.json"
    record = study.store.record()
    digest = freeze_plan(record.study, 2.0, path)
    (note,) = frozen_notes(path, record, 2.0)
    assert digest in note
    assert note.endswith("was kept")
    (note,) = frozen_notes(path, record, 5.0)
    assert "was not kept: margin (2 in the plan, 5 in this report)" in note
    freeze_plan(record.study.model_copy(update={"limit": 7}), 2.0, path)
    (note,) = frozen_notes(path, record, 2.0)
    assert "limit (7 in the plan, null in the run)" in note


def test_a_plan_changed_by_hand_is_refused(tmp_path: Path) -> None:
    study = Study(tmp_path, SIZES, identities=["religion"])
    study.score(lambda *_: 1.0)
    path = tmp_path / "plan.json"
    freeze_plan(study.store.record().study, 2.0, path)
    plan = orjson.loads(path.read_bytes())
    path.write_bytes(orjson.dumps({**plan, "margin": 9.0}))
    with pytest.raises(UsageError, match="changed after it was frozen"):
        frozen_notes(path, study.store.record(), 9.0)
    for content in (b"", b"[]", b"{}", b'{"hash": "x", "schema": 1, "study": 3, "margin": 1}'):
        path.write_bytes(content)
        with pytest.raises(UsageError, match="not a frozen plan"):
            frozen_notes(path, study.store.record(), 2.0)


def test_by_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "plan.json"
    study = ["--identity", "religion", "--benchmark", str(_questions(tmp_path))]
    main(["plan", "openai/made-up", *study, "--freeze", str(path)])
    digest = orjson.loads(path.read_bytes())["hash"]
    assert f"Frozen plan {digest}" in capsys.readouterr().err


def _questions(folder: Path) -> Path:
    path = folder / "own.jsonl"
    rows = [{"id": str(n), "prompt": f"question {n}", "axis": "safety", "scorer": "refusal"}
            for n in range(5)]  # fmt: skip
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path
