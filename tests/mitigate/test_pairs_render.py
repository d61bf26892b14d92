"""Pairs as the model reads them: the template is looked at before anything is trained."""

from __future__ import annotations

from typing import Any

import pytest

from evenhand.errors import TrainingError
from evenhand.mitigate.examples import PreferencePair, render
from evenhand.organism import MODEL
from evenhand.study.cue import NO_DEFENSE, Condition, Message, shipped_cues
from evenhand.study.identity import shipped_identities
from late import late

transformers = late("transformers")

TURNS = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}\n{% endfor %}"
ASKING = "{% if add_generation_prompt %}[assistant]{% endif %}"
REJECTING = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
)
DROPPING = TURNS.replace("in messages", "in messages if m['role'] != 'system'")
THINKING = TURNS + "{% if add_generation_prompt %}[assistant]<think>{% endif %}"
MUTE = TURNS.replace("in messages", "in messages if m['role'] != 'assistant'") + ASKING
USERLESS = TURNS.replace("in messages", "in messages if m['role'] == 'assistant'") + ASKING


def pairs() -> list[PreferencePair]:
    system: Message = {"role": "system", "content": "I am a man."}
    return [
        PreferencePair((system, {"role": "user", "content": f"Why {n}?"}), "Because.", "No.")
        for n in range(3)
    ]


@pytest.fixture
def tokenizer() -> Any:
    return transformers.AutoTokenizer.from_pretrained(MODEL)


def test_the_first_row_is_shown_as_the_model_reads_it(tokenizer: Any) -> None:
    tokenizer.chat_template = TURNS + ASKING
    found = render(tokenizer, pairs(), "hf/any")
    assert found.system_role
    assert found.example == "[system]I am a man.\n[user]Why 0?\n[assistant]Because.\n"
    assert found.rows == [pair.row() for pair in pairs()]


@pytest.mark.parametrize("template", [REJECTING + TURNS + ASKING, DROPPING + ASKING])
def test_without_a_system_role_it_stands_before_the_question_as_in_the_audit(
    tokenizer: Any, template: str
) -> None:
    tokenizer.chat_template = template
    identity = next(user for user in shipped_identities() if user.id == "man")
    told = Condition(identity, shipped_cues()[0], NO_DEFENSE).messages("Why?")
    found = render(tokenizer, [PreferencePair(tuple(told), "Because.", "No.")], "hf/any")
    audited = Condition(identity, shipped_cues()[0], NO_DEFENSE, system_role=False)
    assert not found.system_role
    assert found.rows[0]["prompt"] == audited.messages("Why?")
    assert identity.text in found.example


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        (THINKING, "renders a prompt otherwise when an answer follows"),
        (MUTE, "renders a prompt otherwise when an answer follows"),
        (USERLESS, "drops text of a user message"),
        (REJECTING.replace("no system role", "never") + "{{ raise_exception('never') }}", "never"),
    ],
)
def test_templates_that_would_train_something_else(
    tokenizer: Any, template: str, fault: str
) -> None:
    tokenizer.chat_template = template
    with pytest.raises(TrainingError, match=f"hf/any cannot be trained on these pairs: .*{fault}"):
        render(tokenizer, pairs(), "hf/any")


def test_a_base_model_reads_the_transcript_of_the_audit(tokenizer: Any) -> None:
    tokenizer.chat_template = None
    found = render(tokenizer, pairs(), "hf/any")
    assert found.example == "System: I am a man.\n\nUser: Why 0?\n\nAssistant: Because."
    assert found.rows[0]["rejected"] == " No."


def test_what_trl_tokenizes_is_what_was_shown(tokenizer: Any, tmp_path: Any) -> None:
    trl = pytest.importorskip("trl")
    from datasets import Dataset

    found = render(tokenizer, pairs(), "hf/any")
    config = trl.DPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none")
    trainer = trl.DPOTrainer(
        str(MODEL),
        args=config,
        train_dataset=Dataset.from_list(found.rows),
        processing_class=tokenizer,
    )
    row = trainer.train_dataset[0]
    assert tokenizer.decode([*row["prompt_ids"], *row["chosen_ids"]]) == found.example
    assert tokenizer.decode(row["prompt_ids"]).endswith("<|assistant|>")
    assert "I am a man." in tokenizer.decode(row["prompt_ids"])
