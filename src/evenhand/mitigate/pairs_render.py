"""Pairs as the model reads them: rows for the trainer, checked against the chat template.

A template that drops or rejects the system message would train without the identity, so there its
text goes in front of the user's first message, as in the audit. And what is trained must be what
is asked later: the prompt as asked must be the beginning of the prompt with its answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from evenhand.engines.hf import transcript
from evenhand.errors import TrainingError
from evenhand.mitigate.pairs import Pair
from evenhand.study.cue import Message
from evenhand.text import one_line

_CHECKED = 50
"""Pairs that are rendered to look at the template, spread over all."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rendered:
    """Pairs ready for the trainer.

    Attributes:
        rows: conversational rows; plain texts for a model without a chat template.
        system_role: False if system messages stand in front of the user's first message.
        example: the first pair with its chosen answer, as the model reads it.
    """

    rows: list[Row]
    system_role: bool
    example: str


def render(tokenizer: Any, pairs: Sequence[Pair], model: str) -> Rendered:
    """Rows for the trainer, and how the first of them reads.

    Args:
        tokenizer: of the model, from transformers.
        model: its name, for messages.

    Raises:
        TrainingError: the template loses text, or renders the prompt otherwise when an answer
            follows.
    """
    if tokenizer.chat_template is None:
        rows = [_plain(pair) for pair in pairs]
        return Rendered(rows, True, rows[0]["prompt"] + rows[0]["chosen"])
    checked = pairs[:: max(1, len(pairs) // _CHECKED)]
    fault = _first_fault(tokenizer, checked)
    system_role = fault is None
    if fault is not None:
        pairs = [folded(pair) for pair in pairs]
        remaining = _first_fault(tokenizer, [folded(pair) for pair in checked])
        if remaining is not None:
            raise TrainingError(f"{model} cannot be trained on these pairs: {remaining}")
    example = _with_answer(tokenizer, pairs[0], pairs[0].chosen)
    return Rendered([dict(pair.row()) for pair in pairs], system_role, example)


def count_too_long(tokenizer: Any, rows: Sequence[Row], most: int) -> int:
    """How many rows have a prompt of `most` tokens or more: no room for an answer."""
    if tokenizer.chat_template is None:
        prompts = [row["prompt"] for row in rows]
    else:
        prompts = [
            tokenizer.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True)
            for row in rows
        ]
    encoded = tokenizer(prompts, add_special_tokens=tokenizer.chat_template is None)
    return sum(len(ids) >= most for ids in encoded["input_ids"])


def folded(pair: Pair) -> Pair:
    """The pair with the system message in front of the user's first, then a blank line."""
    if pair.messages[0]["role"] != "system":
        return pair
    system, first, *others = pair.messages
    merged: Message = {"role": "user", "content": f"{system['content']}\n\n{first['content']}"}
    return replace(pair, messages=(merged, *others))


def _first_fault(tokenizer: Any, pairs: Sequence[Pair]) -> str | None:
    return next((fault for pair in pairs if (fault := _fault(tokenizer, pair))), None)


def _fault(tokenizer: Any, pair: Pair) -> str | None:
    """What is wrong with how a pair is rendered, if anything."""
    try:
        asked = tokenizer.apply_chat_template(
            [*pair.messages], tokenize=False, add_generation_prompt=True
        )
        answered = [_with_answer(tokenizer, pair, text) for text in (pair.chosen, pair.rejected)]
    except Exception as error:  # templates raise whatever they like
        return f"the chat template rejects them: {one_line(str(error))}"
    for message in pair.messages:
        if message["content"].strip() not in asked:
            return f"the chat template drops text of a {message['role']} message"
    if not all(text.startswith(asked) for text in answered):
        return "the chat template renders a prompt otherwise when an answer follows"
    if pair.chosen.strip() not in answered[0] or pair.rejected.strip() not in answered[1]:
        return "the chat template drops text of an answer"
    return None


def _with_answer(tokenizer: Any, pair: Pair, answer: str) -> str:
    messages = [*pair.messages, {"role": "assistant", "content": answer}]
    return str(tokenizer.apply_chat_template(messages, tokenize=False))


def _plain(pair: Pair) -> Row:
    """For base models: the transcript that the audit sends them; the answer follows a space."""
    return {
        "prompt": transcript([*pair.messages]),
        "chosen": f" {pair.chosen}",
        "rejected": f" {pair.rejected}",
    }
