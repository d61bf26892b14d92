"""How questions are put: show the work, then end with one sentence that can be found again.

Worked examples, where asked for, stand before the question in the same message. They are the
same for every identity.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from string import ascii_uppercase

from evenhand.benchmarks.item import BY_LOGPROB, Item

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


BY_LETTER = "Answer with the letter of one option, and nothing else."
_PROTOCOL = f"{SHOW_WORK} {final_sentence('the letter of one option')}"
_WORKED = re.compile(r"Therefore, the answer is \(([A-Z])\)\.")


def by_letter(item: Item) -> Item:
    """A multiple-choice item asked for the letter alone, for its first token; others as they are.

    Worked examples are answered by the letter, too. A prompt that does not say how to answer in
    our words is followed by the instruction.
    """
    if item.scorer != "choice" or not item.choices:
        return item
    prompt = _WORKED.sub(r"\1", item.prompt)
    if _PROTOCOL in prompt:
        prompt = prompt.replace(_PROTOCOL, BY_LETTER, 1)
    else:
        prompt = f"{prompt.rstrip()}\n{BY_LETTER}"
    return replace(item, prompt=prompt, scorer=BY_LOGPROB)
