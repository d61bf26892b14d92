"""Two runs compared: a bias that was planted and then taken away."""

# mypy: disable-error-code="union-attr"
# A result that is missing fails the test where it is used.

from __future__ import annotations

from pathlib import Path

import pytest

import evenhand
from evenhand.analysis.compare import Arm, compare_arms
from evenhand.axes import AXES
from evenhand.cli import main
from evenhand.engines.mock import MockEngine
from evenhand.store.store import Store
from fakes import HELP, HURT, REFUSAL, biased, draw, saying, write_requests

ITEMS = 150


def audit(folder: Path, engine: MockEngine, items: int = ITEMS) -> Store:
    """Audit on the five religions; the benchmark's file lies beside the folder."""
    questions = write_requests(folder.parent / "questions.jsonl", items)
    evenhand.audit(
        "openai/any",
        benchmarks=[str(questions)],
        identities=["religion"],
        engine=engine,
        out=folder,
    )
    return Store.open(folder)


def test_a_bias_taken_away_is_seen_as_such(tmp_path: Path) -> None:
    """PB of 0.4 for two of five is 0.4 * sqrt(2/5 * 3/5) = 19.6 points."""
    before, after = (
        audit(tmp_path / "before", biased(0.4, seed=1)),
        audit(tmp_path / "after", biased(0, seed=2)),
    )
    found = compare_arms([Arm(before), Arm(after)], margin=2.0)
    change = found.changes[0]
    low, high = change.bias.interval
    assert low <= -19.6 <= high < 0
    mean = change.axes["safety"].mean
    assert mean.interval[0] <= 16.0 <= mean.interval[1]
    verdicts = {each.id: each.verdict for each in change.identities}
    assert list(verdicts) == ["jewish", "christian", "atheist", "muslim", "hindu"]
    assert verdicts["christian"] == verdicts["hindu"] == "gains safety"
    assert "gains safety" not in (verdicts["jewish"], verdicts["muslim"])
    assert not found.left_out


def test_what_only_one_run_has_is_left_out_and_named(tmp_path: Path) -> None:
    before = audit(tmp_path / "before", biased(0, seed=1))
    after = audit(tmp_path / "after", biased(0, seed=2), 100)
    found = compare_arms([Arm(before), Arm(after)], margin=2.0)
    assert found.items == {"questions": 100}
    assert found.left_out == ["50 items of questions (safety) that not every side has, of before"]


def test_runs_with_nothing_in_common_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audit(tmp_path / "before", biased(0, seed=1))
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "other.jsonl").write_text(
        '{"id": "0", "prompt": "Other.", "axis": "safety", "scorer": "refusal"}\n'
    )
    evenhand.audit(
        "openai/any",
        benchmarks=[str(other / "other.jsonl")],
        engine=biased(0, seed=3),
        out=tmp_path / "after",
    )
    with pytest.raises(SystemExit) as ended:
        main(["compare", str(tmp_path / "before"), str(tmp_path / "after")])
    assert ended.value.code == 2
    assert "before and after have no item in common" in capsys.readouterr().err


def test_the_terminal_names_both_sides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audit(tmp_path / "before", biased(0.4, seed=1)), audit(tmp_path / "after", biased(0, seed=2))
    main(["compare", str(tmp_path / "before"), str(tmp_path / "after")])
    out = capsys.readouterr().out
    assert "The bias came down" in out
    assert "mean safety" in out


def test_a_benchmark_of_one_item_does_not_end_the_estimates_of_others(tmp_path: Path) -> None:
    """It has no variance; it is left out and named, and the rest is as without it."""
    own = tmp_path / "own.jsonl"
    own.write_text(
        '{"id": "1", "prompt": "safety?", "axis": "safety", "scorer": "refusal"}\n'
        '{"id": "2", "prompt": "over?", "axis": "over_refusal", "scorer": "refusal"}\n'
    )
    files = [
        str(write_requests(tmp_path / f"{axis}.jsonl", 20, axis))
        for axis in ("safety", "over_refusal")
    ]
    stores, alone = [], []
    for n in range(2):

        def answer(sent: str, less: float = 0.6 - 0.4 * n) -> str:
            hurt = any(word in sent for word in HURT)
            return REFUSAL if draw(sent) < 0.8 - less * hurt else HELP

        def audit_of(asked: list[str], folder: str, engine: MockEngine) -> evenhand.Audit:
            out = tmp_path / folder
            return evenhand.audit(
                "openai/m", benchmarks=asked, identities=["religion"], engine=engine, out=out
            )

        with_one = audit_of([*files, str(own)], f"both{n}", saying(answer))
        without = audit_of(files, f"one{n}", saying(answer))
        assert with_one.pb == without.pb
        assert with_one.head.axes["safety"].mean == without.head.axes["safety"].mean
        assert with_one.cells == without.cells + 2 * 6
        for axis in ("safety", "over_refusal"):
            label = AXES[axis].label
            note = f"only one item of own on {label}; a bias needs two, so it is left out"
            assert note in with_one.notes
        stores.append(Arm(Store.open(tmp_path / f"both{n}")))
        alone.append(Arm(Store.open(tmp_path / f"one{n}")))
    found, same = compare_arms(stores, margin=2.0), compare_arms(alone, margin=2.0)
    assert found.changes[0].bias == same.changes[0].bias
    assert "own, whose only item in common on safety has no variance" in found.left_out
