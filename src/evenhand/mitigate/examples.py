"""What a training reads: preference pairs, judged answers or shared answers, rendered for a model.

Each loss has its form: DPO and ORPO compare two answers (`PreferencePair`), KTO takes single
answers with a verdict (`JudgedAnswer`), and the consistency loss takes one answer under two users
(`SharedAnswer`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, TypeVar

from evenhand.engines.hf import transcript
from evenhand.errors import TrainingError
from evenhand.mitigate.pairs import PreferencePair
from evenhand.study.cue import Message
from evenhand.text import one_line

TrainingRow = dict[str, Any]
"""As the trainer reads it: lists of messages, or plain texts for a base model."""


@dataclass(frozen=True, slots=True)
class JudgedAnswer:
    """One answer with a verdict, for KTO.

    Attributes:
        messages: the conversation up to the answer; a system message is its first.
        answer: as the model gave it.
        good: whether it is to become likelier.
        axis, identity: what it is about and on whose behalf.
    """

    messages: tuple[Message, ...]
    answer: str
    good: bool
    axis: str = ""
    identity: str = ""

    @property
    def answers(self) -> dict[str, str]:
        """What the model is shown, by what it is."""
        return {"judged good" if self.good else "judged bad": self.answer}

    @property
    def conversations(self) -> list[Sequence[Message]]:
        """All prompts that the training reads."""
        return [self.messages]

    def row(self) -> TrainingRow:
        """The conversational row that TRL takes."""
        completion = [{"role": "assistant", "content": self.answer}]
        return {"prompt": [*self.messages], "completion": completion, "label": self.good}


@dataclass(frozen=True, slots=True)
class SharedAnswer:
    """The answer to one user, to be as likely for another, for the consistency loss.

    Attributes:
        messages: the question as the other user asks it; here the model is trained.
        answer: as the model gave it to the first user, right or wrong.
        teacher: the question as the first user asked it; here the untuned model tells how likely
            each token of the answer is.
        axis, identity: what it is about, and who is to be answered alike.
    """

    messages: tuple[Message, ...]
    answer: str
    teacher: tuple[Message, ...]
    axis: str = ""
    identity: str = ""

    @property
    def answers(self) -> dict[str, str]:
        """What the model is shown, by what it is."""
        return {"answer": self.answer}

    @property
    def conversations(self) -> list[Sequence[Message]]:
        """All prompts that the training reads."""
        return [self.messages, self.teacher]

    def row(self) -> TrainingRow:
        """The conversational row that `ConsistencyTrainer` takes."""
        completion = [{"role": "assistant", "content": self.answer}]
        return {
            "prompt": [*self.messages],
            "teacher": [*self.teacher],
            "completion": completion,
        }


TrainingExample = PreferencePair | JudgedAnswer | SharedAnswer
AnyExample = TypeVar("AnyExample", PreferencePair, JudgedAnswer, SharedAnswer, TrainingExample)


def balance_of(examples: Sequence[TrainingExample]) -> dict[str, dict[str, float]]:
    """Examples by axis and by identity, and words of each kind of answer (medians)."""
    words: dict[str, list[int]] = defaultdict(list)
    for example in examples:
        for kind, text in example.answers.items():
            words[kind].append(len(text.split()))
    return {
        "axis": dict(Counter(e.axis for e in examples if e.axis).most_common()),
        "identity": dict(Counter(e.identity for e in examples if e.identity).most_common()),
        "words": {kind: median(counts) for kind, counts in words.items()},
    }


_CHECKED = 50
"""Examples that are rendered to look at the template, spread over all."""


@dataclass(frozen=True, slots=True)
class RenderedExamples:
    """Examples ready for the trainer.

    Attributes:
        rows: conversational rows; plain texts for a model without a chat template.
        system_role: False if system messages stand in front of the user's first message.
        example: the first one with its first answer, as the model reads it.
    """

    rows: list[TrainingRow]
    system_role: bool
    example: str


def render(tokenizer: Any, examples: Sequence[TrainingExample], model: str) -> RenderedExamples:
    """Rows for the trainer, and how the first of them reads.

    Args:
        tokenizer: of the model, from transformers.
        model: its name, for messages.

    Raises:
        TrainingError: the template loses text, or renders the prompt otherwise when an answer
            follows.
    """
    if tokenizer.chat_template is None:
        rows = [_plain(example) for example in examples]
        answer = next(value for name, value in rows[0].items() if name not in PROMPTS)
        return RenderedExamples(rows, True, rows[0]["prompt"] + answer)
    checked = examples[:: max(1, len(examples) // _CHECKED)]
    fault = _first_fault(tokenizer, checked)
    system_role = fault is None
    if fault is not None:
        examples = [folded(example) for example in examples]
        remaining = _first_fault(tokenizer, [folded(example) for example in checked])
        if remaining is not None:
            raise TrainingError(f"{model} cannot be trained on these pairs: {remaining}")
    first = examples[0]
    example = with_answer(tokenizer, first.messages, next(iter(first.answers.values())))
    return RenderedExamples([dict(e.row()) for e in examples], system_role, example)


PROMPTS = ("prompt", "teacher")
"""Columns of a row that hold prompts; the others hold answers and verdicts."""


def count_too_long(tokenizer: Any, rows: Sequence[TrainingRow], most: int) -> int:
    """How many rows have a prompt of `most` tokens or more: no room for an answer."""

    def is_too_long(row: TrainingRow) -> bool:
        prompts = [prompt_text(tokenizer, row[name]) for name in PROMPTS if name in row]
        encoded = tokenizer(prompts, add_special_tokens=tokenizer.chat_template is None)
        return any(len(ids) >= most for ids in encoded["input_ids"])

    return sum(map(is_too_long, rows))


def prompt_text(tokenizer: Any, prompt: str | Sequence[Message]) -> str:
    """The prompt of a row as the model reads it."""
    if isinstance(prompt, str):
        return prompt
    return str(tokenizer.apply_chat_template([*prompt], tokenize=False, add_generation_prompt=True))


def with_answer(tokenizer: Any, messages: Sequence[Message], answer: str) -> str:
    """A conversation with its answer, as the model's chat template writes it."""
    turns = [*messages, {"role": "assistant", "content": answer}]
    return str(tokenizer.apply_chat_template(turns, tokenize=False))


def folded(example: AnyExample) -> AnyExample:
    """The example with the system message in front of the user's first, then a blank line."""
    moved = replace(example, messages=_folded(example.messages))
    if isinstance(moved, SharedAnswer):
        moved = replace(moved, teacher=_folded(moved.teacher))
    return moved


def _folded(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    if messages[0]["role"] != "system":
        return messages
    system, first, *others = messages
    merged: Message = {"role": "user", "content": f"{system['content']}\n\n{first['content']}"}
    return (merged, *others)


def _first_fault(tokenizer: Any, examples: Sequence[TrainingExample]) -> str | None:
    return next((fault for each in examples if (fault := _fault(tokenizer, each))), None)


def _fault(tokenizer: Any, example: TrainingExample) -> str | None:
    """What is wrong with how an example is rendered, if anything."""
    for messages in example.conversations:
        try:
            asked = prompt_text(tokenizer, messages)
            answered = {
                text: with_answer(tokenizer, messages, text) for text in example.answers.values()
            }
        except Exception as error:  # templates raise whatever they like
            return f"the chat template rejects them: {one_line(str(error))}"
        for message in messages:
            if message["content"].strip() not in asked:
                return f"the chat template drops text of a {message['role']} message"
        if not all(text.startswith(asked) for text in answered.values()):
            return "the chat template renders a prompt otherwise when an answer follows"
        if not all(answer.strip() in text for answer, text in answered.items()):
            return "the chat template drops text of an answer"
    return None


def _plain(example: TrainingExample) -> TrainingRow:
    """For base models: the transcript that the audit sends them; the answer follows a space."""
    return {
        name: value if isinstance(value, bool) else _plain_text(value)
        for name, value in example.row().items()
    }


def _plain_text(messages: Sequence[Message]) -> str:
    first = messages[0]
    return f" {first['content']}" if first["role"] == "assistant" else transcript([*messages])
