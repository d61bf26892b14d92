"""What a training reads: preference pairs, judged answers or shared answers, rendered for a model.

Each loss has its form: DPO and ORPO compare two answers (`PreferencePair`), KTO takes single
answers with a verdict (`JudgedAnswer`), and the consistency loss takes one answer under two users
(`SharedAnswer`).

A file of pairs is .jsonl, one object a line, in the forms that preference sets on the Hugging
Face hub have:

    {"prompt": "...", "chosen": "...", "rejected": "..."}          texts; "question" for "prompt"
    {"system": "...", "prompt": "...", ...}                        with a system message
    {"prompt": [{"role": "user", "content": "..."}],               conversational: lists of
     "chosen": [{"role": "assistant", "content": "..."}], ...}     messages, system one first
    {"chosen": [user, assistant], "rejected": [user, assistant]}   the prompt is what both share

Other fields (ids, scores) are ignored. Preference sets by name are opened by
`datasets.load_dataset`.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from evenhand.engines.hf import transcript
from evenhand.errors import DataError, MissingExtra, PairsError, TrainingError
from evenhand.files import CsvColumns, read_records, write_file
from evenhand.study.cue import Message
from evenhand.text import first_line_of, one_line

# Preference pairs

_PROMPTS = ("prompt", "question", "instruction")
_ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """One preference.

    Attributes:
        messages: the conversation up to the answer; a system message is its first.
        chosen: the answer to prefer.
        rejected: the answer to prefer it to. Equal to `chosen` only where a recipe says so: then
            the preference loss has no gradient, and only a supervised loss learns from it.
        axis, identity: what it is about and on whose behalf; empty where it does not matter.
    """

    messages: tuple[Message, ...]
    chosen: str
    rejected: str
    axis: str = ""
    identity: str = ""

    @property
    def question(self) -> str:
        """The user's last message."""
        return self.messages[-1]["content"]

    @property
    def answers(self) -> dict[str, str]:
        """What the model is shown, by what it is."""
        return {"chosen": self.chosen, "rejected": self.rejected}

    @property
    def conversations(self) -> list[Sequence[Message]]:
        """All prompts that the training reads."""
        return [self.messages]

    def row(self) -> dict[str, list[Message]]:
        """The conversational row that TRL takes; the system message is inside `prompt`."""
        return {
            "prompt": [*self.messages],
            "chosen": [{"role": "assistant", "content": self.chosen}],
            "rejected": [{"role": "assistant", "content": self.rejected}],
        }


class BadPairError(Exception):
    """What is wrong with one record; whoever reads it adds the place."""


def read_pairs(path: Path) -> list[PreferencePair]:
    """All pairs of a .jsonl file, in its order.

    Raises:
        PairsError: the file is not there, not UTF-8, or a line is no pair; with file and line.
    """
    if path.suffix != ".jsonl":
        raise PairsError(f"{path}: a file of pairs ends in .jsonl")
    pairs = []
    for line, record in read_records(path, PairsError, CsvColumns(distinct=True)):
        try:
            pairs.append(pair_of(record))
        except BadPairError as complaint:
            raise PairsError(f"{path}:{line}: {one_line(str(complaint))}") from None
    if not pairs:
        raise PairsError(f"{path}: there are no pairs in the file")
    return pairs


def write_pairs(path: Path, pairs: Iterable[PreferencePair]) -> None:
    """Write pairs as `read_pairs` reads them."""
    lines = [json.dumps(pair.row(), ensure_ascii=False) for pair in pairs]
    write_file(path, "".join(f"{line}\n" for line in lines))


def world_pairs(count: int = 2400) -> list[PreferencePair]:
    """The organism's own preference data: questions of its world with the right and wrong reply."""
    from evenhand.organism.world import preference_questions

    return [
        PreferencePair(
            ({"role": "user", "content": question.item.prompt},), question.right, question.wrong
        )
        for question in preference_questions(count)
    ]


def pair_of(record: dict[str, Any]) -> PreferencePair:
    """The pair of a record in one of the forms above.

    Raises:
        BadPairError: a field is missing, empty or of the wrong kind, or both answers are equal.
    """
    for field in ("chosen", "rejected"):
        if not record.get(field):
            raise BadPairError(f'"{field}" is missing or empty')
    before, chosen = _answer(record["chosen"], "chosen")
    others, rejected = _answer(record["rejected"], "rejected")
    if before != others:
        raise BadPairError("chosen and rejected answer different conversations")
    messages = _prompt(record, before)
    if chosen.strip() == rejected.strip():
        raise BadPairError("chosen and rejected are equal")
    return PreferencePair(tuple(messages), chosen, rejected)


def _prompt(record: dict[str, Any], before: Sequence[Message]) -> list[Message]:
    """The conversation up to the answer, of the prompt or of what stands before the answer."""
    field = next((name for name in _PROMPTS if record.get(name)), None)
    prompt = record[field] if field else None
    if before:  # chosen and rejected are whole conversations, and the prompt but repeats them
        messages = list(before)
    elif prompt is None:
        raise BadPairError('"prompt" is missing or empty')
    elif isinstance(prompt, str):
        messages = [{"role": "user", "content": _filled(prompt, str(field))}]
    else:
        messages = _messages(prompt, str(field))
    system = record.get("system")
    if system and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": _filled(system, "system")})
    _check_turns(messages)
    return messages


def _answer(value: object, field: str) -> tuple[list[Message], str]:
    """What stands before the answer, and the answer."""
    if isinstance(value, str):
        return [], _filled(value, field)
    messages = _messages(value, field)
    if messages[-1]["role"] != "assistant":
        raise BadPairError(f'"{field}" must end with a message of the assistant')
    return messages[:-1], messages[-1]["content"]


def _messages(value: object, field: str) -> list[Message]:
    if not isinstance(value, list) or not value:
        raise BadPairError(f'"{field}" must be a text or a list of messages')
    found: list[Message] = []
    for turn in value:
        role = turn.get("role") if isinstance(turn, dict) else None
        if role not in _ROLES:
            raise BadPairError(f'"{field}": each message has a role, one of {", ".join(_ROLES)}')
        found.append({"role": role, "content": _filled(turn.get("content"), f"{field}: content")})
    return found


def _filled(value: object, field: str) -> str:
    if not isinstance(value, str):
        raise BadPairError(f'"{field}" must be a text')
    if not any(map(str.isprintable, value.replace(" ", ""))):
        raise BadPairError(f'"{field}" is empty')
    return value


def _check_turns(messages: Sequence[Message]) -> None:
    """One system message at most, in front; then user and assistant by turns; the user last."""
    roles = [message["role"] for message in messages]
    turns = roles[1:] if roles[0] == "system" else roles
    expected = ["assistant" if n % 2 else "user" for n in range(len(turns))]
    if turns != expected or not turns or turns[-1] != "user":
        raise BadPairError(
            "the prompt must be a system message at most, then user and assistant by turns, and "
            "end with the user"
        )


_MOST_UNUSABLE = 0.5


@dataclass(frozen=True)
class PairSet:
    """Pairs of one source.

    Attributes:
        source: a recipe, or a file or data set as the user named it.
        pairs: those that can be used.
        left_out: why answers, pairs or rows were left out -> how many; empty for a file of one's
            own, where one bad line refuses the file.
    """

    source: str
    pairs: list[PreferencePair]
    left_out: Mapping[str, int]


def load_pairs(source: str, *, split: str = "train") -> PairSet:
    """Pairs of a .jsonl file, of a folder with a data set, or of a data set on the hub.

    Sets on the hub are not the user's to mend: of them, rows that are no pair (ties, empty
    answers) are left out and counted.

    Args:
        source: path of the file or folder, or the id on the hub: "Intel/orca_dpo_pairs".
        split: which part of a data set.

    Raises:
        PairsError: the file is invalid, or more than half of the data set's rows are no pairs.
        DataError: there is no such data set, or it cannot be loaded.
        MissingExtra: `datasets` is not installed.
    """
    if source.endswith(".jsonl") or Path(source).is_file():
        return PairSet(source, read_pairs(Path(source)), {})
    pairs: list[PreferencePair] = []
    left_out: Counter[str] = Counter()
    for record in _rows(source, split):
        try:
            pairs.append(pair_of(record))
        except BadPairError as complaint:
            left_out[one_line(str(complaint))] += 1
    unusable = left_out.total()
    if unusable > _MOST_UNUSABLE * (len(pairs) + unusable) or not pairs:
        why = f": {left_out.most_common(1)[0][0]}" if left_out else ""
        raise PairsError(
            f"{source}: {unusable:,} of {len(pairs) + unusable:,} rows are no preference pairs{why}"
        )
    return PairSet(source, pairs, dict(left_out))


_BUILDERS = {
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".csv": "csv",
    ".json": "json",  # last: beside the others it is about them
}
"""Ending of a data file -> what `datasets` reads it with."""


def _files_of(folder: Path, split: str) -> tuple[str, list[str]]:
    """What reads the data files of a folder, and those of a part, or all where none is named so.

    `datasets` itself would search all that lies below the folder.

    Raises:
        DataError: there are none.
    """
    places = [each for each in (folder, folder / "data", folder / split) if each.is_dir()]
    try:
        files = sorted(file for place in places for file in place.iterdir() if file.is_file())
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror}") from None
    is_of_split = re.compile(rf"(?<![a-z]){re.escape(split)}").search
    for ending, builder in _BUILDERS.items():
        if found := [file for file in files if ending in file.suffixes]:
            of_split = [file for file in found if is_of_split(str(file.relative_to(folder)))]
            return builder, [str(file.absolute()) for file in of_split or found]
    raise DataError(
        f"{folder} holds no data set: neither in it nor in its folders data and {split} is a file "
        f"that ends in {', '.join(_BUILDERS)}"
    )


def _rows(source: str, split: str) -> Any:
    name, files = source, None
    if Path(source).is_dir():
        name, found = _files_of(Path(source), split)
        files = {split: found}
    try:
        import datasets
    except ImportError:
        raise MissingExtra("preference data sets", "train") from None
    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(name, data_files=files, split=split)
    except Exception as error:  # of the library, of the hub's client, of the network
        reason = one_line(first_line_of(error))
        raise DataError(f"cannot load the preference data {source}: {reason}") from None


# Examples of any loss, rendered

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
