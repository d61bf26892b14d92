"""Sides of a comparison: how they are named, what they share, and what about them differs."""

# mypy: disable-error-code="union-attr"
# A result that is missing fails the test where it is used.

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import evenhand
from evenhand.analysis.compare import Arm, compare_arms
from evenhand.audit import parse_arm
from evenhand.cli import main
from evenhand.errors import RunFolderError, UnknownName, UsageError
from evenhand.stats import Spread
from evenhand.store.record import InterimAnalysis, Session
from evenhand.store.store import Store
from fakes import RIGHT, audit, benchmarks, biased, run, saying, write_questions, write_rows
from runs import run_main


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line with which the command refuses."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if not line.startswith("Report: ")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("runs/a", ("runs/a", None, None)),
        ("runs/a@ignore", ("runs/a", None, "ignore")),
        ("runs/a@memory-1/ignore", ("runs/a", "memory-1", "ignore")),
        ("runs/a@memory-1/", ("runs/a", "memory-1", None)),
        ("here@home/b", ("here@home/b", None, None)),
        ("here@home", ("here@home", None, None)),
        ("here@home@ignore", ("here@home", None, "ignore")),
    ],
)
def test_how_a_side_is_named(
    text: str,
    parts: tuple[str, str | None, str | None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("runs/a", "here@home/b"):
        (tmp_path / folder).mkdir(parents=True)
    assert parse_arm(text) == (Path(parts[0]), *parts[1:])


@pytest.mark.slow
def test_one_run_under_several_defenses(tmp_path: Path) -> None:
    store = run(
        tmp_path / "run",
        biased(0.4, seed=1),
        cues=["system", "memory"],
        defenses=["none", "ignore", "same-standard"],
    )
    found = compare_arms(
        [Arm(store), Arm(store, defense="ignore"), Arm(store, "memory-1", "same-standard")],
        margin=2.0,
    )
    assert [side.name for side in found.sides] == [
        "cue system-1, defense none",
        "cue system-1, defense ignore",
        "cue memory-1, defense same-standard",
    ]
    assert [change.side for change in found.changes] == [1, 2]
    assert not found.left_out
    assert len(found.caveats) == 1
    assert found.caveats[0].endswith("also differ in cue: system-1 and memory-1")


def test_the_figures_of_a_side_are_those_of_its_audit(tmp_path: Path) -> None:
    """Where nothing is left out, a side has the PB and the means that a report shows."""
    report = audit(tmp_path / "run", biased(0.4, 0.2, seed=1), defenses=["none", "ignore"])
    store = Store.open(tmp_path / "run")
    found = compare_arms([Arm(store), Arm(store, defense="ignore")], margin=2.0)
    for side, setting in zip(found.sides, report.settings, strict=True):
        assert isinstance(side.pb, Spread)
        assert side.pb == setting.pb
        for axis, result in setting.axes.items():
            assert side.axes[axis].mean == result.mean
            assert side.axes[axis].baseline == result.baseline
            assert side.axes[axis].pb == result.pb
    for n, who in enumerate(found.identities):
        for axis, means in who.means.items():
            assert means == [s.identities[n].axes[axis].mean for s in report.settings]
    change = report.defenses[0].change
    assert found.changes[0].bias == change.bias
    assert found.changes[0].axes["safety"].mean == change.safety_mean


def test_only_some_identities(tmp_path: Path) -> None:
    store = run(tmp_path / "run", biased(0.4, seed=1), defenses=["none", "ignore"])
    sides = [Arm(store), Arm(store, defense="ignore")]
    found = compare_arms(sides, margin=2.0, identities=["hindu", "muslim", "nobody"])
    assert [who.id for who in found.identities] == ["muslim", "hindu"]
    assert found.left_out == ["asked for, but not on every side: nobody"]
    with pytest.raises(UnknownName, match='unknown identity "nobody"'):
        compare_arms(sides, margin=2.0, identities=["nobody"])


def test_one_identity_alone_has_a_change_but_no_bias(tmp_path: Path) -> None:
    store = run(tmp_path / "run", biased(seed=1), defenses=["none", "ignore"])
    found = compare_arms(
        [Arm(store), Arm(store, defense="ignore")], margin=2.0, identities=["hindu"]
    )
    (change,) = found.changes
    assert change.bias is None
    assert change.axes == {}
    assert set(change.identities[0].axes) == {"safety", "utility", "over_refusal"}


def test_three_runs_are_compared_on_what_all_have(tmp_path: Path) -> None:
    stores = [
        run(tmp_path / "a" / "run", biased(seed=1), items=30),
        run(tmp_path / "b" / "run", biased(seed=2), items=20),
        run(tmp_path / "c" / "run", biased(seed=3), items=30, identities=["muslim", "hindu"]),
    ]
    found = compare_arms([Arm(s, name=n) for s, n in zip(stores, "abc", strict=True)], margin=2.0)
    assert found.items == {"over_refusal": 20, "safety": 20, "utility": 20}
    assert [who.id for who in found.identities] == ["muslim", "hindu"]
    assert (
        "3 identities that not every side has, of a: jewish, christian, atheist" in found.left_out
    )
    assert "10 items of safety (safety) that not every side has, of c" in found.left_out


def test_every_figure_rests_on_the_cells_that_all_arms_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What one arm lacks, of an identity or of the unidentified user, is taken from both."""
    folders = [tmp_path / name / "run" for name in "ab"]
    for folder in folders:
        run(folder, biased(0.3, seed=1), items=20).close()
    for folder in folders[1:]:
        store = Store.open(folder)
        with store.writing() as connection:
            connection.execute(
                "DELETE FROM response WHERE item % 3 = 0 AND condition IN "
                "(SELECT id FROM condition WHERE identity IN ('baseline', 'hindu'))"
            )
            connection.execute("DELETE FROM score WHERE response NOT IN (SELECT id FROM response)")
        store.close()
    first, second = map(Store.open, folders)
    found = compare_arms([Arm(first), Arm(second)], margin=2.0)
    assert (found.cells, found.all_cells) == (280, 300)
    before, after = found.sides
    assert {axis: (a.mean, a.baseline) for axis, a in before.axes.items()} == {
        axis: (a.mean, a.baseline) for axis, a in after.axes.items()
    }
    assert before.pb.estimate == after.pb.estimate
    change = found.changes[0]
    assert (change.changed, change.unidentified.changed) == (0, 0)
    assert change.unidentified.items == 40
    assert run_main(["compare", *map(str, folders)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "nothing changed, nor for the unidentified user: all 280 cells have the same" in said
    assert "on the same 280 of 300 cells (identity by item)" in said
    assert "0 of 280 cells are scored otherwise" in said


def test_the_same_id_with_another_question_is_no_common_item(tmp_path: Path) -> None:
    first = run(tmp_path / "a" / "run", biased(seed=1), items=10)
    questions = write_questions(tmp_path / "b" / "questions", 10)
    path = questions / "utility.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0]["prompt"], rows[1]["answer"] = "Something else?", "B"
    write_rows(path, rows)
    import evenhand

    evenhand.audit(
        "openai/made-up",
        engine=biased(seed=2),
        identities=["religion"],
        benchmarks=benchmarks(questions),
        out=tmp_path / "b" / "run",
    )
    second = Store.open(tmp_path / "b" / "run")
    found = compare_arms([Arm(first), Arm(second)], margin=2.0)
    assert found.items["utility"] == 8
    assert found.left_out == [
        "2 items of utility (utility) with the same id but another wording, answer key or scorer"
    ]


def test_identities_of_the_same_id_with_other_words_are_left_out(tmp_path: Path) -> None:
    stores = []
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(
            f"identities:\n- {{id: x, text: one who is {name}}}\n- {{id: y, text: any y}}\n"
            "- {id: z, text: any z}\n"
        )
        stores.append(
            run(
                tmp_path / name,
                biased(seed=1),
                identities=["x", "y", "z"],
                identities_file=tmp_path / f"{name}.yaml",
            )
        )
    found = compare_arms([Arm(store) for store in stores], margin=2.0)
    assert [who.id for who in found.identities] == ["y", "z"]
    assert found.left_out == ["worded otherwise under the same id: x"]


def test_what_else_differs_is_told(tmp_path: Path) -> None:
    first = run(tmp_path / "a", biased(seed=1), items=10)
    second = run(tmp_path / "b", biased(seed=2), items=10, samples=2, decoding={"temperature": 1.0})
    second.update_record(
        sessions=(Session(began="now", versions={"evenhand": "9.9"}),),
        interim=InterimAnalysis(1, of=3, items=1, all_items=3, precision=1.0, level=0.98),
    )
    caveat, stopped = compare_arms([Arm(first), Arm(second)], margin=2.0).caveats
    assert stopped == '"b" was to stop at a precision; intervals here do not allow for it'
    assert "decoding: temperature 0.0 and 1.0" in caveat
    assert "answers per cell, 1 and 2" in caveat
    assert "and 9.9" in caveat


def test_sides_by_a_judge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that takes every answer for a refusal; where the judges differ, it is told."""
    stores = []
    for name in ("a", "b"):
        stores.append(run(tmp_path / name, biased(0.5, seed=1), items=20))
        with stores[-1].writing() as connection:
            connection.execute("INSERT INTO judge (id, name, facts) VALUES (7, 'stern', '{}')")
            connection.execute(
                "INSERT INTO score SELECT response, 7, 1.0, '', '' FROM score WHERE judge = 0"
            )
    theirs = compare_arms([Arm(s, judge="stern") for s in stores], margin=2.0)
    assert {side.judge for side in theirs.sides} == {"stern"}
    assert [side.axes["safety"].mean for side in theirs.sides] == [100.0, 100.0]
    mean = theirs.sides[0].axes["utility"].mean
    assert mean is not None
    assert mean < 100
    mixed = compare_arms([Arm(stores[0]), Arm(stores[1], judge="stern")], margin=2.0)
    assert mixed.caveats == ['"a" and "b" also differ in the judge: refusal and stern']
    folders = [str(tmp_path / name) for name in "ab"]
    assert "holds no scores of kind" in refused(["compare", *folders, "-j", "kind"], capsys)
    main(["compare", *folders, "-j", "stern"])
    assert "100.0" in capsys.readouterr().out


def test_other_messages_under_the_same_cue_are_told(tmp_path: Path) -> None:
    stores = []
    for name, words in (("a", "I am {is}."), ("b", "Note: {is}.")):
        (tmp_path / f"{name}.yaml").write_text(
            f"cues:\n- id: own\n  form: note\n  placement: system\n  system: '{words}'\n"
            "  user: '{question}'\n  baseline: {user: '{question}'}\n"
        )
        stores.append(
            run(
                tmp_path / name,
                biased(seed=1),
                items=5,
                cues=["own"],
                cues_file=tmp_path / f"{name}.yaml",
            )
        )
    (caveat,) = compare_arms([Arm(store) for store in stores], margin=2.0).caveats
    assert caveat.endswith("the messages sent under the same cue and defense")


def test_items_without_any_score_on_a_side_are_left_out(tmp_path: Path) -> None:
    first = run(tmp_path / "a", biased(seed=1), items=10)
    second = run(
        tmp_path / "b", saying(lambda sent: "" if "utility 3?" in sent else RIGHT), items=10
    )
    found = compare_arms([Arm(first), Arm(second)], margin=2.0)
    assert found.items["utility"] == 9
    assert "1 item of utility (utility) without any score, of b" in found.left_out
    assert '"b": 5 of 150 cells have no score' in found.caveats


def lose_answers(store: Store, which: str) -> None:
    """Delete those answers, an SQL condition, and their scores."""
    with store.writing() as connection:
        connection.execute(f"DELETE FROM response WHERE {which}")
        connection.execute("DELETE FROM score WHERE response NOT IN (SELECT id FROM response)")


def test_a_run_cut_short_is_compared_on_what_it_has(tmp_path: Path) -> None:
    """As a kill leaves it: half of the questions answered, for all identities."""
    first = run(tmp_path / "a", biased(seed=1), items=10)
    second = run(tmp_path / "b", biased(seed=2), items=10)
    lose_answers(second, "item % 2")
    found = compare_arms([Arm(first), Arm(second)], margin=2.0)
    assert sum(found.items.values()) == 15
    assert found.changes[0].bias is not None
    assert any("without any score, of b" in line for line in found.left_out)
    assert '"b": 75 of 150 cells have no score' in found.caveats


def test_a_run_without_any_answer_is_named(tmp_path: Path) -> None:
    first = run(tmp_path / "a", biased(seed=1), items=10)
    second = run(tmp_path / "b", biased(seed=2), items=10)
    lose_answers(second, "TRUE")
    with pytest.raises(RunFolderError, match=r"no item in common \(10 items .* of b"):
        compare_arms([Arm(first), Arm(second)], margin=2.0)


def test_samples_may_differ_in_number(tmp_path: Path) -> None:
    first = run(tmp_path / "a", biased(seed=1))
    second = run(tmp_path / "b", biased(0.4, seed=2), samples=3)
    found = compare_arms([Arm(first), Arm(second)], margin=2.0)
    assert found.changes[0].bias.difference > 0
    assert np.isfinite(found.changes[0].axes["safety"].mean.standard_error)


# What the user can mend


def test_a_side_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = run(tmp_path / "run", items=3)
    folder = str(tmp_path / "run")
    with pytest.raises(UnknownName, match=r'unknown defense "ignore" in .*; there is only "none"'):
        compare_arms([Arm(store), Arm(store, defense="ignore")], margin=2.0)
    assert "unknown cue" in refused(["compare", folder, f"{folder}@nothing/none"], capsys)
    assert "no run in" in refused(["compare", folder, str(tmp_path / "none")], capsys)
    assert "is named twice" in refused(["compare", folder, folder], capsys)
    assert "needs two runs" in refused(["compare", folder], capsys)
    with pytest.raises(UsageError):
        compare_arms([], margin=2.0)


def test_a_run_that_has_not_begun(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audit(tmp_path / "run", items=3)
    Store.create(tmp_path / "empty").close()
    folders = [str(tmp_path / "run"), str(tmp_path / "empty")]
    assert "has no answers yet" in refused(["compare", *folders], capsys)


@pytest.mark.parametrize("form", ["text", "html", "json", "markdown", "latex"])
def test_runs_of_different_studies(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is left out is said in every form; with nothing in common there is one line."""
    audit(tmp_path / "a" / "run", biased(seed=1), items=20)
    audit(tmp_path / "b" / "run", biased(seed=2), items=10, identities=["religion", "age"])
    folders = [str(tmp_path / name / "run") for name in "ab"]
    out = tmp_path / "out"
    main(["compare", *folders, "--format", form, *(["--out", str(out)] * (form != "text"))])
    text = capsys.readouterr().out if form == "text" else out.read_text()
    assert "10 items of safety" in text
    assert "5 identities that not every side has" in text
    audit(tmp_path / "c" / "run", items=10, identities=["age"])
    line = refused(["compare", folders[0], str(tmp_path / "c" / "run"), "--format", form], capsys)
    assert "have no identity in common (5 identities that not every side has, of " in line
    assert "without any score" not in line


def test_an_identity_that_no_side_has_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    for name in ("a", "b"):
        run(tmp_path / name, biased(seed=1), items=3).close()
    sides = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert run_main(["compare", *sides, "-i", "jewsh"]) == 2
    assert 'unknown identity "jewsh"; did you mean "jewish"?' in capsys.readouterr().err
    assert run_main(["compare", *sides, "-i", "jewish"]) == 0
    assert "1 identity on" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("webbrowser.open", opened.append)
    assert run_main(["compare", *sides, "--open"]) == 0
    assert [Path(url).name for url in opened] == ["comparison.html"]
    assert run_main(["compare", *sides, "--open", "--format", "text"]) == 2
    assert "--open shows a file" in capsys.readouterr().err
    for verb in (["compare", *sides], ["report", sides[0]]):
        assert run_main([*verb, "--open", "--format", "png"]) == 2
        assert "--format png writes several" in capsys.readouterr().err
    assert run_main(["compare", *sides, "--out", str(tmp_path / "text")]) == 0
    assert "evenhand compare: " in (tmp_path / "text").read_text()
    assert not capsys.readouterr().out


@pytest.mark.slow
def test_stages_are_compared_with_the_one_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, size, seed in (("base", 0.1, 1), ("instruct", 0.5, 2), ("tuned", 0.2, 3)):
        run(tmp_path / name, biased(size, seed=seed)).close()
    arms = [str(tmp_path / name) for name in ("base", "instruct", "tuned")]
    found = evenhand.compare(*arms, stages=True)
    assert [(each.since, each.side) for each in found.changes] == [(0, 1), (1, 2), (0, 2)]
    spreads = [side.pb.estimate for side in found.sides]
    for each in found.changes:
        assert np.sign(each.bias.difference) == np.sign(spreads[each.side] - spreads[each.since])
        own = evenhand.compare(arms[each.since], arms[each.side]).changes[0]
        assert each.bias.difference == pytest.approx(own.bias.difference)
        assert each.identities == own.identities
    usual = evenhand.compare(*arms)
    assert [(each.since, each.side) for each in usual.changes] == [(0, 1), (0, 2)]
    assert evenhand.compare(*arms[:2], stages=True).changes == usual.changes[:1]
    capsys.readouterr()
    main(["compare", *arms, "--stages"])
    printed = capsys.readouterr().out
    assert f"PB by stage, in points: base {spreads[0]:.1f}" in " ".join(printed.split())
    for title in ("From base to instruct", "From instruct to tuned", "From base to tuned"):
        assert title in printed
    page = tmp_path / "comparison.html"
    main(["compare", *arms, "--stages", "--format", "html", "--out", str(page)])
    text = page.read_text()
    assert "What changed from base to instruct to tuned?" in text
    assert "--format html --stages" in text
