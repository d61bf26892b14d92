"""Thoughts apart from answers, in the ways that models and templates write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clock import cpu_seconds
from evenhand.text import counted, split_thought

HARMONY = "<|channel|>analysis<|message|>We think.<|end|><|start|>assistant<|channel|>{}"

WHOLE = [
    ("<think>a</think>B", "a", "B"),
    ("<THINK>\na\n</THINK>\n\nB", "a", "B"),
    ("<thinking>a</thinking> B", "a", "B"),
    ("<reasoning>a</reasoning>B", "a", "B"),
    ("<thought>a</thought>B", "a", "B"),
    ("<seed:think>a</seed:think>B", "a", "B"),
    ("[THINK]a[/THINK]B", "a", "B"),
    ("◁think▷a◁/think▷B", "a", "B"),
    ("<|channel>thought\na<channel|>B", "a", "B"),
    ("<|begin_of_thought|>a<|end_of_thought|><|begin_of_solution|>B<|end_of_solution|>", "a", "B"),
    ("<think>\n\n</think>\n\nB", "", "B"),
    ("the template opened it</think>B", "the template opened it", "B"),
    ("the template opened it [/THINK]B", "the template opened it", "B"),
    ("<think>a</think><think>b</think>C", "a\n\nb", "C"),
    ("<think>a</think>\n<reasoning>b</reasoning>\nC", "a\n\nb", "C"),
    ("<think>I close with </think> soon</think>B", "I close with\n\nsoon", "B"),
    ("<think><think>a</think></think>B", "a", "B"),
    ('<think>they said "hi"</think>B', 'they said "hi"', "B"),
    (HARMONY.format("final<|message|>B<|return|>"), "We think.", "B"),
    (HARMONY.format("final <|constrain|>json<|message|>B"), "We think.", "B"),
    ("We think.<|end|><|start|>assistant<|channel|>final<|message|>B", "We think.", "B"),
    ("analysisWe think.assistantfinalB", "We think.", "B"),
    ("<|CHANNEL|>analysis<|message|>a<|channel|>commentary<|message|>b<|channel|>final<|message|>C",
     "a\n\nb", "C"),
]  # fmt: skip

UNFINISHED = [
    ("<think>a", "a", ""),
    ("\n<Reasoning>\na", "a", ""),
    ("[THINK]a", "a", ""),
    ("<think>a</think><think>b", "a\n\nb", ""),
    ("<think>a</think>B\n<think>c", "a\n\nc", "B"),
    ("<|channel|>analysis<|message|>a", "a", ""),
    (HARMONY.format("commentary<|message|>b"), "We think.\n\nb", ""),
    ("analysisWe think", "We think", ""),
]

NO_THOUGHT = [
    "Yes.",
    " B \n",
    "x < 3 and [1] <b>",
    "Wrap it in `<think>` and `</think>`, please.",
    "Use <think> to open it.",
    "The analysis is: B",
    "analysis of it",
    "",
]


@pytest.mark.parametrize(("text", "thought", "answer"), WHOLE)
def test_a_thought_that_ends(text: str, thought: str, answer: str) -> None:
    assert split_thought(text) == (thought, answer, False)


@pytest.mark.parametrize(("text", "thought", "answer"), UNFINISHED)
def test_a_thought_that_never_ends(text: str, thought: str, answer: str) -> None:
    assert split_thought(text) == (thought, answer, True)


@pytest.mark.parametrize("text", NO_THOUGHT)
def test_no_thought_leaves_the_text_alone(text: str) -> None:
    assert split_thought(text) == ("", text, False)


MARKS = ["<think>", "</think>", "[THINK]", "<|channel|>", "final<|message|>", "\n", "a", "`", "<"]


@given(st.lists(st.sampled_from(MARKS), max_size=20).map("".join))
def test_splitting_twice_is_splitting_once(text: str) -> None:
    _, answer, still_thinking = split_thought(text)
    if "<|channel|>" not in text and not still_thinking and "<think>" not in answer:
        assert split_thought(answer)[1].strip() == answer.strip()


@pytest.mark.parametrize(
    "piece", ["<think>", "</think>", "<|channel|>", "<", "[THINK]a", "<think "]
)
def test_hostile_text_takes_linear_time(piece: str) -> None:
    assert cpu_seconds(lambda: split_thought(piece * 100_000), 2) < 2


@pytest.mark.parametrize(
    "text",
    [
        "[THINKING]a[/THINKING]B",
        "[Reasoning]a[/Reasoning]B",
        "<longcat_think>a</longcat_think>B",
        "<think_fast>a</think_fast>B",
        "<reasoning_content>a</reasoning_content>B",
        "<scratchpad>a</scratchpad>B",
        "<Reflection>a</Reflection>B",
        "<｜think｜>a<｜/think｜>B",
        "assistantanalysisaassistantfinalB",
        "a[/THINKING]B",
        "<|START_THINKING|>a<|END_THINKING|>B",
        "<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>B<|END_RESPONSE|>",
        "<|begin_of_think|>a<|end_of_think|>B",
        "<|begin▁of▁thinking|>a<|end▁of▁thinking|>B",
        "<|thinking_start|>a<|thinking_end|>B",
        "<think_start>a<think_end>B",
        "[BEGIN_THINK]a[END_THINK]B",
        "<deepthink>a</deepthink>B",
        "<thought_process>a</thought_process>B",
        "<internal_monologue>a</internal_monologue>B",
        "a<|END_THINKING|>B",
        "\ufeff<think>a</think>B",
        "<think>a</think><answer>B</answer>",
        "<think>a</think>\n<Final_Answer> B",
    ],
)
def test_relatives_of_the_known_marks_of_a_thought(text: str) -> None:
    assert split_thought(text) == ("a", "B", False)


@pytest.mark.parametrize("text", ["<thinker>a</thinker>", "[thinks] B", "<b>a</b>", "[cot 3] B"])
def test_other_tags_mark_no_thought(text: str) -> None:
    assert split_thought(text) == ("", text, False)


@pytest.mark.parametrize(
    ("number", "words", "text"),
    [
        (1, ("run",), "1 run"),
        (0, ("run",), "0 runs"),
        (1200, ("run",), "1,200 runs"),
        (1, ("batch", "batches"), "1 batch"),
        (2, ("batch", "batches"), "2 batches"),
    ],
)
def test_numbers_of_things(number: int, words: tuple[str, ...], text: str) -> None:
    assert counted(number, *words) == text
