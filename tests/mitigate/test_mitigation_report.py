"""What the report of a mitigation says of made-up models: the answer, what was done, what next."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import evenhand
from evenhand.analysis.compare import Arm, compare_arms
from evenhand.engines.mock import MockEngine
from evenhand.errors import TrainingError, UsageError
from evenhand.mitigate import results
from evenhand.mitigate.queries import cues_of, study_of
from evenhand.mitigate.reporting import mitigation_document
from evenhand.mitigate.results import (
    ConditionKey,
    IdentityGroup,
    Mitigation,
    SplitSizes,
    evaluate,
)
from evenhand.mitigate.split import split_run
from evenhand.report.formats import render
from evenhand.store.store import Store
from evenhand.study.cue import NO_DEFENSE
from fakes import STUDY
from mitigate.test_flow import persona

SMALL = STUDY.model_copy(update={"identities": ("religion",), "limit": 40})


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Store]:
    """Runs by what answered: a biased model, twice; one that knows nobody, twice; a broken one."""
    folder = tmp_path_factory.mktemp("stores")
    replies: dict[str, Any] = {
        "biased": persona(),
        "still-biased": persona(),
        "blind": lambda messages: persona()(messages[-1:]),
        "still-blind": lambda messages: persona()(messages[-1:]),
        "broken": lambda _: "",
        "broken-again": lambda _: "",
    }
    for name, reply in replies.items():
        evenhand.audit(SMALL, engine=MockEngine(reply), out=folder / name)
    return {name: Store.open(folder / name) for name in replies}


def reported(stores: dict[str, Store], keys: dict[str, ConditionKey], **fields: Any) -> Mitigation:
    """A mitigation whose conditions are some of the runs."""
    arms = [Arm(stores[run], "system-1", None, key.label) for run, key in keys.items()]
    group = IdentityGroup("all", "system-1", "tuning", compare_arms(arms, margin=2.0))
    usual: dict[str, Any] = {
        "run": "runs/one",
        "model": "hf/one",
        "out": "out",
        "margin": 2.0,
        "parts": SplitSizes(0, "item", (6, 6), (3, 0), (["system-1"], [])),
        "search": None,
        "defense": "",
        "trainings": [],
        "relevance": {},
        "groups": [group],
        "answers": 0,
        "cost": None,
        "notes": [],
        "conditions": list(keys.values()),
    }
    return Mitigation(**(usual | fields))


NONE = ConditionKey("none", 0, "none")


def words(mitigation: Mitigation) -> str:
    """The report as text on one line."""
    return " ".join(render(mitigation_document(mitigation), "markdown").split())


def answer(mitigation: Mitigation) -> list[str]:
    return list(mitigation_document(mitigation).sections[0].sentences)


def test_one_method_with_several_seeds_has_an_answer(stores: dict[str, Store]) -> None:
    keys = [NONE, *(ConditionKey("kto", n, f"kto, seed {n}") for n in range(2))]
    down = reported(stores, dict(zip(["biased", "blind", "still-blind"], keys, strict=True)))
    assert answer(down)[0].startswith("PB came down with kto -")
    same = reported(stores, dict(zip(["biased", "still-biased", "blind"], keys, strict=True)))
    assert answer(same)[0].startswith("PB did not change significantly with kto: -")
    (none, kto) = same.methods(same.groups[0]).rows
    assert none.pb
    assert kto.change
    assert kto.change.interval[0] == pytest.approx(
        -none.pb.interval[1]
    )  # no lower than to a PB of 0
    for axis, change in kto.mean_changes.items():
        low, high = (none.means[axis] + limit for limit in change.interval)
        assert low >= -1e-9
        assert high <= 100 + 1e-9


def test_a_lone_method_has_no_place_and_several_are_ranked_whatever_the_signs(
    stores: dict[str, Store],
) -> None:
    tuned, other = (ConditionKey(name, 0, name) for name in ("kto", "orpo"))
    alone = reported(stores, {"biased": NONE, "still-biased": tuned})
    assert "| place |" not in words(alone)
    assert "Ranked" not in words(alone)
    up = reported(stores, {"blind": NONE, "biased": tuned, "still-biased": other})
    said = answer(up)
    assert said[0].startswith("No method lowered PB significantly; PB went up with ")
    assert said[1].startswith("Ranked from the lowest change of PB on, with the ranks")
    assert "| place |" in words(up)
    assert "reduction first" not in words(up)


def test_a_lone_control_is_named_as_one(stores: dict[str, Store]) -> None:
    control = ConditionKey("kto-shuffled", 0, "kto-shuffled", is_control=True)
    found = reported(stores, {"biased": NONE, "still-biased": control})
    expected = "Controls, which must not work: none changed PB significantly."
    assert answer(found)[0] == expected


def conditions(stores: dict[str, Store], **named: str) -> list[results.TestedCondition]:
    """Name -> run; names of trainings have a blank for the underscore."""
    return [
        results.TestedCondition(name.replace("_", " "), stores[run], NO_DEFENSE)
        for name, run in {"none": "biased", **named}.items()
    ]


def evaluated(stores: dict[str, Store], tested: list[results.TestedCondition]) -> Any:
    audit = stores["biased"]
    cues = cues_of(study_of(audit), ["system-1"])
    return evaluate(audit, split_run(audit), cues, tested, None, 2.0)


def test_a_training_that_broke_the_model_ends_in_one_line_with_what_to_do(
    stores: dict[str, Store],
) -> None:
    with pytest.raises(TrainingError) as raised:
        evaluated(stores, conditions(stores, dpo_invariance="broken"))
    message = str(raised.value)
    assert "\n" not in message
    assert message.startswith("the answers of the tuned model can no longer be scored: dpo invaria")
    assert "lower the learning rate (--set learning_rate=...)" in message
    both = conditions(stores, dpo_invariance="broken", kto="broken-again")
    with pytest.raises(TrainingError, match=r"dpo invariance \(100%\); kto \(100%\)"):
        evaluated(stores, both)
    steered = [results.TestedCondition("steer", stores["broken"], NO_DEFENSE)]
    with pytest.raises(UsageError, match=r"nothing to compare: .*steer \(100%\)"):
        evaluated(stores, conditions(stores) + steered)


def test_a_broken_training_beside_others_is_left_out_with_what_to_do(
    stores: dict[str, Store],
) -> None:
    tested = conditions(stores, dpo_invariance="broken", kto="blind")
    tested.append(replace(tested[-1], store=stores["still-blind"], seed=1))
    found = evaluated(stores, tested)
    assert [key.name for key in found.conditions] == ["none", "kto", "kto"]
    assert found.notes[0].startswith("left out, since so many answers can no longer be scored")
    assert "lower the learning rate" in found.notes[0]
    assert any(note.startswith("kto: two seeds tell little") for note in found.notes)
