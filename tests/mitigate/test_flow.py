"""The whole of it on a made-up model: split, search, re-audit, comparison; resumed and refused."""

# mypy: disable-error-code="union-attr"
# A result that is missing fails the test where it is used.

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import evenhand
from evenhand.benchmarks import load
from evenhand.benchmarks.item import letters_by_identity
from evenhand.cli.study_flags import run_folder
from evenhand.engines import ENGINES
from evenhand.engines.engine import Response
from evenhand.engines.mock import MockEngine
from evenhand.errors import (
    NotFinished,
    PairsError,
    RunFolderError,
    UnknownName,
    Unreachable,
    UsageError,
)
from evenhand.mitigate.flow import _check_control, mitigate_run
from evenhand.mitigate.options import MitigationOptions, TuningOptions
from evenhand.mitigate.reporting import (
    card_tables,
    mitigation_document,
    no_longer_reported,
    to_json,
    write_results,
)
from evenhand.mitigate.results import Mitigation
from evenhand.mitigate.split import split_run
from evenhand.report.comparison import comparison_document
from evenhand.report.formats import render
from evenhand.report.wording import arm_change_sentences
from evenhand.run.options import RunOptions
from evenhand.run.recorder import Price
from evenhand.store.store import Store
from evenhand.study.cue import Message
from evenhand.study.identity import shipped_identities
from evenhand.study.plan import Request
from fakes import GOOD, HELP, IDLE, REFUSAL, STUDY, draw, harmless
from fakes import run as audited_run
from runs import run_main

HURT = ("Christian", "Hindu", "Muslim", "a minor", "a woman", "middle-aged", "a non-binary")
RELEVANT = {item.prompt: item for item in load("relevance")}
PEOPLE = {user.text: user.id for user in shipped_identities() if user.kind == "identity"}
CANDIDATES = tuple(defense.text for defense in (IDLE[0], IDLE[1], GOOD))


def persona(blinded_by: str = "") -> Callable[[list[Message]], str]:
    """A model that refuses less for some; `blinded_by` a sentence it no longer sees the user."""

    def reply(messages: list[Message]) -> str:
        told = " ".join(turn["content"] for turn in messages[:-1])
        question = messages[-1]["content"]
        if question in RELEVANT:
            return knowing(told if not blinded_by or blinded_by not in told else "", question)
        bias = 0.0 if GOOD.text in told else 0.5
        rate = 0.9 - bias * any(word in told for word in HURT)
        rate = 0.05 if question in harmless() else rate
        return REFUSAL if draw(told, question) < rate else HELP

    return reply


def knowing(told: str, question: str) -> str:
    """The answer that is right for this user; without one, that nothing is known."""
    item = RELEVANT[question]
    found = [who for text, who in PEOPLE.items() if re.search(rf"\b{text}\b", told)]
    letters = letters_by_identity(item.answer)
    last = "ABCDE"[len(item.choices) - 1]
    letter = next((letters[who] for who in found if who in letters), last)
    return f"Therefore, the answer is ({letter})."


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audited")
    evenhand.audit(STUDY, engine=MockEngine(persona()), out=folder)
    return folder


def fresh(audited: Path, folder: Path) -> Path:
    """A copy of the audit, so that each test has a split of its own."""
    folder.mkdir(parents=True)
    (folder / "run.db").write_bytes((audited / "run.db").read_bytes())
    return folder


def mitigated(
    run: Path, engine: MockEngine | None = None, options: RunOptions | None = None, **fields: Any
) -> Mitigation:
    wanted: dict[str, Any] = {
        "methods": ["prompt"],
        "defenses": CANDIDATES if "prompt" in fields.get("methods", ["prompt"]) else [],
        "budget": 3000,
        "cues": ["memory-1"],
    }
    return asyncio.run(
        mitigate_run(
            run,
            run / "mitigation",
            MitigationOptions(**{**wanted, **fields}),
            options or RunOptions(),
            engine=engine or MockEngine(persona()),
        )
    )


@pytest.fixture(scope="module")
def found(audited: Path, tmp_path_factory: pytest.TempPathFactory) -> Mitigation:
    return mitigated(fresh(audited, tmp_path_factory.mktemp("found") / "run"))


@pytest.mark.slow
def test_the_defense_brings_the_bias_down_for_seen_and_unseen(found: Mitigation) -> None:
    assert found.search.chosen == found.defense
    for people in ("all", "tuning", "test"):
        for cue in ("system-1", "memory-1"):
            (change,) = found.group(people, cue).changes
            assert change.bias.before.estimate > 15
            assert change.bias.interval[1] < 0
            assert change.bias.after.estimate < 0.4 * change.bias.before.estimate
    assert [group.part for group in found.groups] == ["tuning"] * 3 + ["test"] * 3


@pytest.mark.slow
def test_all_that_is_compared_was_not_tuned_on(found: Mitigation) -> None:
    store = Store.open(Path(found.run))
    split = split_run(store)
    for folder, check in (("search", split.check_tuning), ("test", split.check_test)):
        asked = Store.open(Path(found.out) / folder)
        check(asked.items(inactive=True).values())
    assert found.parts.items == (160, 160)
    assert found.parts.identities == (10, 5)
    assert set(found.group("test").identities[0].means) == {"safety", "over_refusal"}
    unseen = {who.id for who in found.group("test").identities}
    assert not unseen & set(split.identities)


def test_wanted_personalization_is_compared(found: Mitigation) -> None:
    (change,) = found.head.changes
    assert change.relevance.difference == pytest.approx(0.0)
    assert set(found.relevance) == {side.name for side in found.head.sides}
    assert all(not each.is_blind for each in found.relevance.values())


def test_a_defense_that_blinds_the_model_shows_as_such(audited: Path, tmp_path: Path) -> None:
    result = mitigated(
        fresh(audited, tmp_path / "run"),
        MockEngine(persona(blinded_by=GOOD.text)),
        defenses=[GOOD.text],
        cues=[],
    )
    name = result.head.sides[1].name
    assert result.search is None
    assert result.relevance[name].is_blind
    assert not result.relevance["none"].is_blind
    sentences = arm_change_sentences(result.head.changes[0], result.head.margin)
    assert any("depends on the user" in sentence for sentence in sentences)


def test_withholding_is_tested_with_what_it_costs(audited: Path, tmp_path: Path) -> None:
    result = mitigated(fresh(audited, tmp_path / "run"), methods=("withhold",), cues=[])
    assert [side.name for side in result.head.sides] == ["none", "withhold"]
    (change,) = result.head.changes
    assert change.bias.after.estimate < 0.3 * change.bias.before.estimate
    assert change.relevance.interval[1] < 0
    assert any("the identity was withheld from" in note for note in result.notes)


@pytest.mark.slow
def test_a_control_changes_nothing(audited: Path, tmp_path: Path) -> None:
    result = mitigated(
        fresh(audited, tmp_path / "run"),
        defenses=[GOOD.text],
        control="The weather is mild today.",
        cues=[],
    )
    by_name = {result.head.sides[change.side].name: change for change in result.head.changes}
    low, high = by_name["control"].bias.interval
    assert low < 0 < high
    answer = mitigation_document(result).sections[0]
    moved, controls, *_ = answer.sentences
    assert re.match(r"PB came down with prompt \S+ -\d+\.\d \(-\d+\.\d to -\d+\.\d\)\.$", moved)
    assert controls == "Controls, which must not work: none changed PB significantly."


WEATHER = "The weather is mild today."


@pytest.mark.parametrize("broken_by", [[WEATHER], [WEATHER, GOOD.text]])
@pytest.mark.slow
def test_what_breaks_the_model_is_left_out_and_leaves_the_others_their_cells(
    broken_by: list[str], audited: Path, tmp_path: Path
) -> None:
    whole = persona()

    def reply(messages: list[Message]) -> str:
        told, question = " ".join(m["content"] for m in messages), messages[-1]["content"]
        is_broken = any(sentence in told for sentence in broken_by)
        return "" if is_broken and draw("which", question) < 0.3 else whole(messages)

    result = mitigated(
        fresh(audited, tmp_path / "run"),
        MockEngine(reply),
        defenses=[GOOD.text],
        control=WEATHER,
        cues=[],
    )
    sides = [side.name for side in result.head.sides]
    assert re.search(r"control \((2|3)\d%\)", result.notes[0])
    assert result.notes[0] in " ".join(render(mitigation_document(result), "markdown").split())
    if broken_by == [WEATHER]:
        assert "control" not in sides
        assert len(sides) == 2
        assert result.head.cells == result.head.all_cells
        assert result.notes[0].startswith("left out, since so many answers")
    else:
        assert len(sides) == 3
        assert result.notes[0].startswith("believe no figure here, since so many answers")


@pytest.mark.slow
def test_what_intervals_infer_to_is_chosen_and_told(found: Mitigation) -> None:
    engine = MockEngine(persona())
    items = mitigated(Path(found.run), engine, units="items")
    assert engine.asked == 0
    told = "intervals and p-values are for topics like these"
    assert [any(told in note for note in each.notes) for each in (found, items)] == [True, False]
    (by_topic,), (by_item,) = found.head.changes, items.head.changes
    assert by_topic.bias.difference == pytest.approx(by_item.bias.difference, abs=1.5)
    assert by_topic.bias.interval != by_item.bias.interval
    assert by_topic.bias.before.units < by_item.bias.before.units == by_item.bias.before.items
    test = Path(found.out) / "test"
    arms = [f"{test}@{arm.cue}/{arm.defense}" for arm in items.head.sides]
    compared = evenhand.compare(*arms, units="items")
    assert compared.changes[0].bias == by_item.bias
    text = render(comparison_document(compared), "html")
    assert "--units items" in text
    assert told not in text
    assert told in render(comparison_document(evenhand.compare(*arms)), "html")


@pytest.mark.slow
def test_the_same_again_asks_nothing_and_finds_the_same(audited: Path, tmp_path: Path) -> None:
    run = fresh(audited, tmp_path / "run")
    first = mitigated(run)
    engine = MockEngine(persona())
    again = mitigated(run, engine)
    assert engine.asked == again.answers == 0
    assert again.groups == first.groups
    assert again.search.rounds == first.search.rounds


class Dying(MockEngine):
    """Stops answering after so many answers."""

    def __init__(self, answers: int) -> None:
        super().__init__(persona())
        self.left = answers

    async def answer(self, requests: Iterator[Request], settle: Callable[[Response], None]) -> None:
        def some() -> Iterator[Request]:
            for request in requests:
                if not self.left:
                    raise Unreachable("gone")
                self.left -= 1
                yield request

        await super().answer(some(), settle)


@pytest.mark.parametrize("after", [1, 700, 2500, 6000])
@pytest.mark.slow
def test_a_mitigation_cut_off_anywhere_goes_on(
    audited: Path, tmp_path: Path, after: int, found: Mitigation
) -> None:
    run = fresh(audited, tmp_path / "run")
    dying = Dying(after)
    with pytest.raises(Unreachable):
        mitigated(run, dying)
    engine = MockEngine(persona())
    result = mitigated(run, engine)
    assert dying.asked + engine.asked <= found.answers + 5
    assert [g.comparison.changes for g in result.groups] == [
        g.comparison.changes for g in found.groups
    ]


@pytest.mark.slow
def test_a_cost_limit_covers_all_steps(audited: Path, tmp_path: Path) -> None:
    run = fresh(audited, tmp_path / "run")
    priced = RunOptions(price=Price(1.0, 1.0), max_cost=0.05)
    with pytest.raises(NotFinished, match=r"the cost limit of \$0.05 is reached"):
        mitigated(run, options=priced)
    assert mitigated(run).search is not None


def test_the_outcome_is_written(found: Mitigation) -> None:
    out = Path(found.out)
    page = write_results(found, out)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["format"] == "evenhand mitigation 1"
    assert summary["groups"][0]["comparison"]["changes"][0]["bias"]["difference"] < 0
    text = page.read_text()
    assert "Was the bias of openai/any reduced?" in text
    assert "Does it carry over?" in text
    assert to_json(found) == (out / "summary.json").read_text()
    assert "| none |" in card_tables(found, ["none"])


class CountingEngine(MockEngine):
    """Counts words as tokens."""

    async def answer(self, requests: Iterator[Request], settle: Callable[[Response], None]) -> None:
        def counted(response: Response) -> None:
            prompt = " ".join(m["content"] for m in response.request.messages)
            response.prompt_tokens = len(prompt.split())
            response.completion_tokens = len((response.text or "").split())
            settle(response)

        await super().answer(requests, counted)


def test_what_a_request_costs_with_the_defense(tmp_path: Path) -> None:
    study = STUDY.model_copy(update={"identities": ("gender",), "limit": 8})
    evenhand.audit(study, engine=CountingEngine(persona()), out=tmp_path / "run")
    result = mitigated(
        tmp_path / "run",
        CountingEngine(persona()),
        RunOptions(price=Price(1.0, 2.0)),
        defenses=[GOOD.text],
        cues=[],
    )
    (plain, defended) = result.requests.values()
    assert defended.prompt - plain.prompt == pytest.approx(len(GOOD.text.split()))
    assert defended.dollars == pytest.approx((defended.prompt + 2 * defended.answer) / 1e6)
    page = render(mitigation_document(result), "markdown")
    assert f"| none | {plain.prompt:.1f} | {plain.answer:.1f} |" in page


@pytest.mark.slow
def test_few_identities_are_not_held_out_and_it_is_said(tmp_path: Path) -> None:
    study = STUDY.model_copy(update={"identities": ("religion",)})
    evenhand.audit(study, engine=MockEngine(persona()), out=tmp_path / "run")
    note = "too few identities to hold any out: all of them were tuned on"
    named = mitigated(tmp_path / "run", defenses=[GOOD.text], cues=[])
    assert note not in named.notes  # nothing was tuned
    assert {group.people for group in named.groups} == {"all", "tuning"}
    searched = mitigated(tmp_path / "run", cues=[])
    assert note in searched.notes


def test_one_identity_is_refused(tmp_path: Path) -> None:
    study = STUDY.model_copy(update={"identities": ("muslim",)})
    evenhand.audit(study, engine=MockEngine(persona()), out=tmp_path / "run")
    with pytest.raises(UsageError, match="needs at least two identities"):
        mitigated(tmp_path / "run")


def test_candidates_are_sentences(tmp_path: Path) -> None:
    ids = {defense.id for defense in MitigationOptions().candidates()}
    assert {"ignore", "safety"} <= ids
    assert not any(name.startswith("withhold") for name in ids)
    own = tmp_path / "own.yaml"
    own.write_text("defenses:\n  - {id: mine, text: Be fair., place: user}\n")
    assert [d.id for d in MitigationOptions(defenses_file=own).candidates()] == ["mine"]


@pytest.mark.slow
def test_the_best_is_tried_in_its_other_places(audited: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    lines = [f"  - {{id: '{d.id}', text: '{d.text}'}}\n" for d in (*IDLE[:2], GOOD)]
    own.write_text("defenses:\n" + "".join(lines))
    result = mitigated(
        fresh(audited, tmp_path / "run"), defenses=[], defenses_file=own, budget=6000, cues=[]
    )
    last = result.search.rounds[-1]
    assert {trial.defense for trial in last.trials} == {"good", "good.before", "good.user"}
    assert result.search.answers <= result.search.planned <= 6000
    assert result.defense in ("good", "good.before")  # the made-up model reads no user turn


def test_a_method_or_defense_that_is_none(audited: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match='unknown method "prompts"; did you mean "prompt"'):
        MitigationOptions(methods=("prompts",))
    with pytest.raises(UsageError, match='"withhold" has no sentence'):
        mitigated(fresh(audited, tmp_path / "a"), defenses=["withhold"])
    with pytest.raises(UsageError, match=r"only local weights can be tuned, steered.*--weights"):
        mitigated(fresh(audited, tmp_path / "b"), methods=("dpo",))
    with pytest.raises(UsageError, match="needs preference data: --data"):
        mitigated(
            fresh(audited, tmp_path / "c"),
            methods=("dpo",),
            tuning=TuningOptions(recipes=("random",), weights="hf/x"),
        )


def test_a_bad_file_of_pairs_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "a", "chosen": "b", "rejected": "b"}\n')
    for data, complaint in ((bad, "bad.jsonl:1: "), (tmp_path / "no.jsonl", "no such file")):
        tuning = TuningOptions(recipes=("random",), data=str(data))
        with pytest.raises(PairsError, match=complaint):
            tuning.check("organism")


COMPLAINTS = [
    (["runs/nowhere"], "no run in runs/nowhere"),
    (["opnai/x"], "no run in opnai/x"),
    (["organisn"], 'unknown model "organisn"; did you mean "organism"'),
    (["RUN", "--method", "magic"], 'unknown method "magic"'),
    (["RUN", "--method", ","], "--method: was given without any name"),
    (["RUN", "-d", "ignor"], 'unknown defense "ignor"; did you mean "ignore"'),
    (["RUN", "--budget", "5"], "raise --budget"),
    (["RUN", "--limit", "5"], "is an existing run"),
    (["RUN", "--precision", "1"], "--precision belongs to an audit"),
    (["RUN", "-m", "dpo", "--recipe", "magic", "--weights", "hf/x"], 'unknown recipe "magic"'),
    (["RUN", "-m", "dpo", "--set", "steps"], "is not of the form NAME=VALUE"),
    (["RUN", "-m", "dpo", "--weights", "hf/x", "--set", "stepz=5"], 'unknown key "stepz"'),
    (["RUN", "-m", "consistency", "--target", "all", "--weights", "hf/x"], "--target"),
    (["RUN", "-m", "steer"], "only local weights can be tuned, steered"),
    (["RUN", "-m", "kto,orpo,consistency"], "only local weights can be tuned, steered"),
    (["RUN", "--test-cue", "sistem"], 'unknown cue "sistem"'),
    (["RUN", "--defenses-file", "none.yaml"], "none.yaml"),
    (["RUN", "--margin", "0"], "--margin"),
    (["RUN", "--set", "steps=2"], "--set is for one of the methods dpo"),
    (
        ["RUN", "-m", "prompt,withhold", "--data", "pairs.jsonl"],
        "--data is for one of the methods dpo, orpo, hybrid; named is ",
    ),
    (["RUN", "-m", "dpo", "--data", "pairs.jsonl"], "--data is for the recipes as-is"),
    (["RUN", "-m", "kto", "--recipe", "debiasing"], "--recipe is for one of the methods dpo"),
    (
        ["RUN", "-m", "dpo", "--target", "mixture"],
        "--target is for the method consistency",
    ),
    (["RUN", "--seeds", "3"], "--seeds is for one of the methods dpo"),
    (["RUN", "-m", "steer", "--gpus", "2"], "--gpus is for one of the methods dpo"),
    (["RUN", "-m", "steer", "-d", "ignore"], "a defense is for the methods prompt and hybrid"),
    (["RUN", "--weights", "hf/x"], "--weights is for one of the methods dpo"),
]


@pytest.mark.parametrize(("arguments", "fragment"), COMPLAINTS, ids=lambda value: str(value)[:40])
def test_bad_input_is_one_line(
    arguments: list[str],
    fragment: str,
    audited: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = fresh(audited, tmp_path / "run")
    given = [str(run) if word == "RUN" else word for word in arguments]
    assert run_main(["mitigate", *given]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert fragment in error[0]


@pytest.mark.parametrize(
    ("arguments", "ids", "complaint"),
    [
        (
            ["-m", "prompt,withhold"],
            ["withhold"],
            'mitigate itself gives the id "withhold"; rename',
        ),
        (["--control", "Be kind."], ["control"], 'mitigate itself gives the id "control"; rename'),
        ([], ["a", "a.before"], 'mitigate itself gives the id "a.before"; rename'),
        (["-m", "hybrid", "--weights", "hf/x"], ["none"], "duplicate"),
    ],
)
def test_ids_that_a_mitigation_gives_itself(
    arguments: list[str],
    ids: list[str],
    complaint: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Before an audit, which they would come after."""
    own = tmp_path / "own.yaml"
    own.write_text(json.dumps({"defenses": [{"id": i, "text": f"As {i} says."} for i in ids]}))
    given = ["mitigate", "organism", "--defenses-file", str(own), "--out", str(tmp_path / "out")]
    assert run_main([*given, *arguments]) == 2
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_to_withhold_is_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("defenses: [{id: a, withhold: foo}]")
    for command in (["mitigate", "organism"], ["audit", "organism", "--defense", "a"]):
        given = [*command, "--defenses-file", str(own), "--out", str(tmp_path / "out")]
        assert run_main(given) == 2
        assert 'defense "a", withhold: unknown model "foo"' in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
    own.write_text("defenses: [{id: a, withhold: rule}]")
    with pytest.raises(UsageError, match="no defense has a text"):
        MitigationOptions(defenses_file=own).candidates()


def test_another_control_sentence_is_told(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("defenses: [{id: control, text: Be kind.}]")
    study: dict[str, Any] = {
        "cues": ["system", "user"],
        "defenses": ["none", "control"],
        "defenses_file": own,
    }
    audited_run(tmp_path / "test", items=2, **study).close()
    _check_control(tmp_path / "test", "Be kind.")
    _check_control(tmp_path / "test", "")
    _check_control(tmp_path / "none", "Be quick.")
    with pytest.raises(UsageError, match=f"{tmp_path} holds the test of another --control"):
        _check_control(tmp_path / "test", "Be quick.")


@pytest.mark.slow
def test_another_split_is_refused(audited: Path, tmp_path: Path) -> None:
    run = fresh(audited, tmp_path / "run")
    mitigated(run, seed=3, defenses=[GOOD.text], cues=[])
    with pytest.raises(UsageError, match="was split with seed 3"):
        mitigated(run, seed=4)


def test_the_folder_of_another_mitigation_is_left_alone(audited: Path, tmp_path: Path) -> None:
    """Two audits' answers to one question were averaged as if one model had given both."""
    run, other = fresh(audited, tmp_path / "run"), fresh(audited, tmp_path / "other")
    mitigated(run, defenses=[GOOD.text], cues=[])
    folder = run / "mitigation"
    before = {path: path.read_bytes() for path in folder.rglob("*.db")}

    def again(audit: Path) -> None:
        options = MitigationOptions(defenses=(GOOD.text,), seed=7, cues=())
        asyncio.run(mitigate_run(audit, folder, options, RunOptions(), engine=MockEngine(str)))

    with pytest.raises(UsageError, match=r"holds the mitigation of another audit of openai/"):
        again(other)
    (folder / "audit.json").unlink()  # as an earlier version left it
    renamed(other, "openai/another")
    with pytest.raises(RunFolderError, match=r"holds a run of openai/\S+, not of openai/another"):
        again(other)
    assert {path: path.read_bytes() for path in folder.rglob("*.db")} == before


def renamed(run: Path, model: str) -> None:
    """Make a run that of another model."""
    store = Store.open(run)
    study = store.record().study
    store.update_record(study=study.model_copy(update={"model": model}))
    store.close()


@pytest.mark.slow
def test_an_audit_that_is_not_finished_is_said_to_be(audited: Path, tmp_path: Path) -> None:
    run = fresh(audited, tmp_path / "run")
    with sqlite3.connect(run / "run.db") as connection:
        asked = connection.execute("SELECT count(*) FROM response").fetchone()[0]
        connection.execute("DELETE FROM response WHERE item % 7 = 0")
        left = connection.execute("SELECT count(*) FROM response").fetchone()[0]
    connection.close()
    told = f"the audit has {left:,} of {asked:,} answers; finish it first to tune on all of them"
    assert told in mitigated(run, defenses=[GOOD.text], cues=[]).notes
    assert not any(
        "finish it" in note
        for note in mitigated(
            fresh(audited, tmp_path / "whole"), defenses=[GOOD.text], cues=[]
        ).notes
    )


@pytest.mark.slow
def test_what_cannot_be_trained_is_told_before_the_test_is_asked(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    run, engine = tmp_path / "run", MockEngine(lambda _: REFUSAL)
    evenhand.audit(STUDY, engine=MockEngine(lambda _: REFUSAL), out=run)
    tuning = TuningOptions(weights="organism")
    with pytest.raises(PairsError, match="found no pairs"):
        mitigated(run, engine, methods=["dpo"], tuning=tuning)
    assert engine.asked == 0


def test_what_is_named_twice_is_done_once() -> None:
    tuning = TuningOptions(
        recipes=("invariance", "invariance"), targets=("mixture", "mixture"), seeds=2
    )
    options = MitigationOptions(methods=("dpo", "dpo", "consistency"), tuning=tuning)
    names = [(each.name, each.seed) for each in options.trainings(None)]
    assert names == [
        (name, seed) for seed in (0, 1) for name in ("dpo invariance", "consistency mixture")
    ]


@pytest.mark.slow
def test_methods_that_the_report_no_longer_has_are_named(audited: Path, tmp_path: Path) -> None:
    run = fresh(audited, tmp_path / "run")
    options: dict[str, Any] = {"defenses": [GOOD.text], "cues": []}
    both = mitigated(run, methods=["prompt", "withhold"], **options)
    folder = run / "mitigation"
    assert no_longer_reported(both, folder) == []
    write_results(both, folder)
    assert no_longer_reported(both, folder) == []
    assert no_longer_reported(mitigated(run, **options), folder) == ["withhold"]


def test_the_flags_are_the_options() -> None:
    """Every repeated flag counts, and what is not given keeps its default."""
    from evenhand.cli import app

    def options(*flags: str) -> MitigationOptions:
        words = ["run", *flags]
        bound = app["mitigate"].parse_args(words, exit_on_error=False, print_error=False)[1]
        found = bound.arguments.get("mitigation", MitigationOptions())
        assert isinstance(found, MitigationOptions)
        return found

    assert options() == MitigationOptions()
    given = options(
        *("--set", "steps=3", "--set", "schedule=linear", "-m", "prompt,dpo", "-m", "hybrid"),
        *("-d", "One, two.", "-d", "ignore", "--test-cue", "none", "--recipe", "random,all"),
        *("--units", "items"),
    )
    assert given.tuning.settings == {"steps": 3, "schedule": "linear"}
    assert given.tuning.recipes == ("random", "all")
    assert given.methods == ("prompt", "dpo", "hybrid")
    assert given.defenses == ("One, two.", "ignore")
    assert given.cues == ()
    assert given.units == "items"
    assert given.margin == MitigationOptions().margin


@pytest.mark.parametrize("name", [n if n.startswith("organism") else f"{n}/x" for n in ENGINES])
def test_a_folder_without_a_run_hides_no_model(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir(parents=True)
    (tmp_path / name / "code.py").write_text("", encoding="utf-8")
    assert run_folder(name) is None
    (tmp_path / name / "run.db").touch()
    assert run_folder(name) == Path(name)


def test_a_folder_that_is_no_model_is_taken_for_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    for name in ("mine", "runs/mine", "./organism"):
        assert run_folder(name) == Path(name)
        assert run_main(["mitigate", name, "--limit", "3"]) == 2
        assert f"no run in {Path(name)}" in capsys.readouterr().err
    assert run_folder("study.yaml") is run_folder("gpt-4o") is None


@pytest.mark.slow
def test_from_beside_a_folder_of_its_name_the_organism_is_mitigated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "organism").mkdir()
    study = "--limit 4 -b demo_knowledge --identity gender --test-cue none"
    options = ["-d", "ignore", *study.split(), "--out", "out", "--format", "json", "--quiet"]
    assert run_main(["mitigate", "organism", *options]) == 0
    assert '"prompt ignore"' in capsys.readouterr().out
    assert run_main(["export", "organism", "--to", "merged", "--out", "merged"]) == 0
