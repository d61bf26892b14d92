"""What the report of a mitigation says of made-up models: the answer, what was done, what next."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

import evenhand
from evenhand.analysis.compare import Arm, compare_arms
from evenhand.engines.mock import MockEngine
from evenhand.errors import TrainingError, UsageError
from evenhand.mitigate import results
from evenhand.mitigate.queries import cues_of, study_of
from evenhand.mitigate.reporting import (
    card_tables,
    carried_over_table,
    mitigation_document,
    to_json,
)
from evenhand.mitigate.results import (
    NOT_CREDIBLE,
    ConditionKey,
    IdentityGroup,
    Mitigation,
    SplitSizes,
    TrainingResult,
    evaluate,
)
from evenhand.mitigate.search import Round, SearchResult, Trial
from evenhand.mitigate.split import split_run
from evenhand.report.document import Paragraphs
from evenhand.report.formats import render
from evenhand.store.store import Store
from evenhand.study.cue import NO_DEFENSE
from fakes import GOOD, STUDY
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
    assert any(note.startswith("two seeds tell little (kto)") for note in found.notes)


def section(mitigation: Mitigation, name: str) -> str:
    """Sentences, paragraphs and warnings of a section, one a line."""
    (found,) = (s for s in mitigation_document(mitigation).sections if s.name == name)
    code = [text for b in found.blocks if isinstance(b, Paragraphs) for text in b.texts]
    return "\n".join(filter(None, [*found.sentences, *code, *found.warnings]))


MARKED = '<b>"Treat" all alike.</b>'


def test_the_sentence_of_each_defense_and_control_is_shown(stores: dict[str, Store]) -> None:
    kinds = {
        "biased": NONE,
        "still-biased": ConditionKey("control", 0, "control", True, "It is mild today.", "before"),
        "blind": ConditionKey("prompt own-1", 0, "prompt own-1", sentence=MARKED, place="user"),
    }
    found = reported(stores, kinds)
    done = section(found, "done")
    assert f'prompt own-1 has a sentence in front of the user\'s message: "{MARKED}"' in done
    assert 'control has a sentence at the beginning of the system prompt: "It is mild tod' in done
    page = render(mitigation_document(found), "html")
    assert MARKED not in page
    assert "&lt;b&gt;&#34;Treat&#34; all alike.&lt;/b&gt;" in page
    summary = json.loads(to_json(found))
    assert [c["sentence"] for c in summary["conditions"]] == ["", "It is mild today.", MARKED]
    tested = results.TestedCondition("control", stores["biased"], GOOD)
    assert tested.key.sentence == GOOD.text


def test_what_was_done_says_so_where_nothing_was_tuned(stores: dict[str, Store]) -> None:
    keys = {"biased": NONE, "blind": ConditionKey("prompt good", 0, "prompt good")}
    named = section(reported(stores, keys), "done")
    assert named == (
        "Nothing was tuned or searched for. Tested on 6 held-out items and 3 identities, with cue "
        "system-1."
    )
    one = SplitSizes(0, "item", (6, 1), (3, 1), (["system-1"], []))
    rounds = [Round(6, trial := Trial("none", 1.0, 1.0, None, None, None, 0.0), [trial, trial])]
    searched = SearchResult("good", True, 90, 90, 0, None, rounds, {"good": GOOD.text})
    done = section(reported(stores, keys, search=searched, parts=one), "done")
    assert done.startswith(
        "The defense was chosen on 6 items and 3 identities, with cue system-1. Tested on 1 "
        "held-out item, with 1 held-out identity in addition."
    )
    assert "Search among 2 defenses in 1 round, at most 90 answers (0 sent now): good." in done
    page = render(mitigation_document(reported(stores, keys, search=searched)), "html")
    assert f"good: &#34;{GOOD.text}&#34;" in page


TUNED = TrainingResult("dpo all", "all", "hf/my out/dpo-all", 1, 30, 4.0, 0, "", {"x": 1})


def test_tuning_identities_are_shown_beside_held_out_ones_alone(stores: dict[str, Store]) -> None:
    """Where nobody is held out they are all, and the table of all conditions has them."""
    keys = {"biased": NONE, "blind": ConditionKey("dpo all", 0, "dpo all")}
    whole = reported(stores, keys, trainings=[TUNED]).groups[0]
    arms = [Arm(stores[run], "system-1", None, key.label) for run, key in keys.items()]
    some = compare_arms(arms, margin=2.0, identities=["hindu", "jewish"])
    tuning = replace(whole, people="tuning")
    held_out = IdentityGroup("test", "system-1", "tuning", some)
    other = replace(whole, cue="memory-1")
    same = replace(held_out, cue="memory-1")

    def carried(*groups: IdentityGroup, **fields: Any) -> tuple[list[str], str, list[str]]:
        made = reported(stores, keys, groups=[whole, *groups], **{"trainings": [TUNED], **fields})
        table = carried_over_table(made)
        heads = [column.name for column in table.columns[1:]]
        return heads, table.caption.partition("rest on ")[2], [row.head for row in table.rows]

    cells = f"{whole.comparison.cells:,} cells"
    assert carried(tuning)[0] == []
    assert carried(tuning, other) == (["cue memory-1"], f"the same {cells}", ["none", "dpo all"])
    assert carried(other, other, other)[1] == f"the same {cells}"
    heads, caption, rows = carried(tuning, held_out, other)
    assert heads == ["tuning identities", "held-out identities", "cue memory-1"]
    assert caption == 'the same cells, as many as the row "cells in common" says'
    assert rows == ["none", "dpo all", "cells in common"]
    assert carried(tuning, held_out, other, same, trainings=[])[0] == ["cue memory-1"]
    alone = mitigation_document(reported(stores, keys, groups=[whole, tuning], trainings=[TUNED]))
    assert "carried-over" not in [section.name for section in alone.sections]
    made = reported(stores, keys, groups=[whole, tuning, held_out, other], trainings=[TUNED])
    assert "| cells in common |" in card_tables(made, ["dpo all"])


def test_what_next_follows_from_the_result(stores: dict[str, Store]) -> None:
    said = ConditionKey("prompt good", 0, "prompt good", sentence=GOOD.text)
    tuned = ConditionKey("dpo all", 0, "dpo all")
    works = reported(stores, {"biased": NONE, "blind": said, "still-biased": tuned})
    assert mitigation_document(works).sections[-1].name == "next"
    steps = section(works, "next").split("\n")
    assert steps[0] == f'To use prompt good, put "{GOOD.text}" at the end of the system prompt.'
    assert "Do not ship dpo all: a reduction of PB is not established." in steps
    assert not any("--seeds" in step for step in steps)

    exported = section(
        reported(stores, {"biased": NONE, "blind": tuned}, trainings=[TUNED]), "next"
    )
    assert "To use dpo all, write its model for a server with this command." in exported
    assert "evenhand export 'my out/test-dpo-all' --out tuned" in exported
    assert "use --seeds 3" in exported
    assert "Do not ship" not in exported

    fails = section(reported(stores, {"biased": NONE, "still-biased": said}), "next")
    assert fails.startswith("Do not ship prompt good: a reduction of PB is not established.")
    assert "Audit more items" in fails
    control = ConditionKey("control", 0, "control", is_control=True)
    only = section(reported(stores, {"biased": NONE, "blind": control}), "next")
    assert "A control lowered PB, too" in only
    assert "Only controls were tested" in only
    notes = [f"{NOT_CREDIBLE}, since so many answers can no longer be scored: x (30%)"]
    broken = reported(stores, {"biased": NONE, "blind": said}, notes=notes)
    assert answer(broken)[0].startswith("Believe no figure here, since")
    assert section(broken, "next") == "Use none of these conditions, and none of the figures."
