"""How questions are put: show the work, then end with one sentence that can be found again.

Worked examples, where asked for, stand before the question in the same message. They are the
same for every identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase

SHOW_WORK = "Work it out step by step."


def final_sentence(kind: str) -> str:
    """The instruction on how to end: kind is what stands for the answer, "a number"."""
    return f'End with the sentence "Therefore, the answer is ..." with {kind} in place of the dots.'


def lettered(choices: Sequence[str]) -> str:
    """The options one to a line, "(A) Paris", in the order given."""
    return "\n".join(f"({ascii_uppercase[i]}) {text}" for i, text in enumerate(choices))


def with_examples(instruction: str, examples: Sequence[tuple[str, str]], question: str) -> str:
    """The whole message: instruction, worked examples (question, answer), the question."""
    if not examples:
        return f"{instruction}\n\n{question}"
    worked = "\n\n".join(f"Question: {asked}\nAnswer: {given}" for asked, given in examples)
    return f"{instruction}\n\n{worked}\n\nQuestion: {question}\nAnswer:"
