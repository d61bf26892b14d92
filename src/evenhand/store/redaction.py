"""What a reader of a report or bundle gets: no local paths, and the texts that are not left out.

Whole axes are left out, never single answers: a judge that takes a harmful answer for a refusal
would otherwise let it through. What is left out is decided field by field: a field that can hold
free text is emptied, or keeps nothing but what is known to be safe.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import replace
from hashlib import blake2b
from string import ascii_uppercase
from typing import Literal

from evenhand.benchmarks.item import LETTERED, Item
from evenhand.store.record import RunRecord, SystemRoleCheck
from evenhand.study.cue import Message
from evenhand.study.study import Study
from evenhand.text import normalized

Redaction = Literal["harmful", "all"]
"""Whose texts are left out: "harmful": of safety, whose questions ask for harm, questions, answers,
thoughts and what judges say of them; "all": the same of every axis, and the texts of one's own
cues and defenses."""

LEFT_OUT = "[text left out]"
OTHER_REASON = "reason left out"
_ANSWERS_KEPT = (*LETTERED, "number", "relevance")
"""Scorers whose right answers are letters or numbers, and give no text away."""
_REASONS = re.compile(
    "|".join(
        (
            "not scored yet",
            OTHER_REASON,
            "(?:marked as an error|no score) in the imported file",
            "harm cannot be told without a model",
            "rejected by the (?:judge's )?endpoint",
            "blocked by the provider",
            "empty answer",
            "cut off (?:at the token limit|while thinking)",
            "no final answer found",
            "two conflicting answers",
            "letter and text name different options",
            "no log-probabilities in the reply",
            "the first token names no option",
            "only a judge can grade it: evenhand score RUN --judge rubric:MODEL",
            "the reference solution fails here",
            "no words to judge",
            "the answer repeats itself",
            "undecided between refusal and compliance",
            r"not in English \([A-Z][a-z]{2,20}\)",
            "the judge does not say",
            "judge's verdict: (?:empty|too long|no JSON object|several JSON objects|nested too deep"
            "|not in the guard's form"
            '|"[a-z]{1,12}" is (?:neither true nor false|no whole number from 1 to 5)'
            "|cut off at the token limit)",
        )
    )
)
"""Why an answer has no score, in evenhand's own words; another reason may quote an answer."""
_TOKEN = re.compile(r"[\w./:@+-]{1,80}", re.ASCII)
_GAP = re.compile(r"\{[a-z_]+\}")
_CODE = re.compile(r"(?:id|group)-[0-9a-f]{12}")


def leaves_out(redaction: Redaction | None, axis: str) -> bool:
    """Whether the texts of an axis are left out."""
    return redaction == "all" or (redaction == "harmful" and axis == "safety")


def shown_item(item: Item, redaction: Redaction | None) -> Item:
    """The item as a reader gets it. Items with the same text still have the same text."""
    if not leaves_out(redaction, item.axis):
        return item
    text = normalized("\n".join((item.prompt, *item.choices)))
    return replace(
        item,
        prompt=f"{LEFT_OUT} {blake2b(text.encode(), digest_size=8).hexdigest()}",
        choices=tuple(ascii_uppercase[: len(item.choices)]),
        answer=item.answer if item.scorer in _ANSWERS_KEPT else "",
    )


def shown_labels(item: Item, redaction: Redaction | None, published: Collection[str]) -> Item:
    """The item with codes for an id and a subgroup that may be texts of one's own.

    Args:
        published: benchmarks whose ids and subgroups anybody can read.
    """
    if not leaves_out(redaction, item.axis) or item.benchmark in published:
        return item
    return replace(item, id=_code("id", item.id), subgroup=_code("group", item.subgroup))


def _code(kind: str, text: str) -> str:
    if not text or _CODE.fullmatch(text):
        return text
    return f"{kind}-{blake2b(text.encode(), digest_size=6).hexdigest()}"


def shown_reason(reason: str, redaction: Redaction | None) -> str:
    """Why there is no score, where it is not in the words of another."""
    return reason if redaction is None or _REASONS.fullmatch(reason) else OTHER_REASON


def shown_token(text: str) -> str:
    """What an endpoint says in one word, such as how an answer ended; nothing of a text."""
    return text if _TOKEN.fullmatch(text) else ""


def shown_messages(messages: list[Message]) -> list[Message]:
    """A conversation whose question is left out; what says who the user is stays."""
    last: Message = {"role": messages[-1]["role"], "content": LEFT_OUT}
    return [*messages[:-1], last]


def shown_frame(messages: list[Message]) -> list[Message]:
    """A conversation without its words, but with the gaps for question and identity."""
    return [
        {
            "role": turn["role"],
            "content": " ".join((LEFT_OUT, *dict.fromkeys(_GAP.findall(turn["content"])))),
        }
        for turn in messages
    ]


def shown_check(check: SystemRoleCheck) -> SystemRoleCheck:
    """The check of the system role without questions, and without what an endpoint said of one."""
    evidence = check.evidence.partition(" (")[0]
    return replace(check, evidence=evidence, default_system="", prompts={}, ignored={})


# Where files lie


def shown_path(path: str) -> str:
    """The name alone of a file or folder of which the path tells where it lies."""
    parts = re.split(r"[\\/]", path.rstrip("\\/"))
    if re.match(r"/|~|\\|[A-Za-z]:[\\/]", path) or ".." in parts:
        return parts[-1] or "folder"
    return path


def shown_name(name: str) -> str:
    """The name of a model or judge, local weights by the name of their folder.

    >>> shown_name("rubric:hf//home/ann/models/llama"), shown_name("openai/gpt-4o")
    ('rubric:hf/llama', 'openai/gpt-4o')
    """
    found = re.match(r"((?:[a-z]+:)?(?:[a-z][\w-]*/)?)(.+)", name)
    if found is None:
        return shown_path(name)
    return found[1] + shown_path(found[2])


def shown_address(address: str) -> str:
    """An address: of local weights the folder's name and the fingerprint of its files."""
    if "://" in address:
        return address
    parts = (part.rpartition("#") for part in address.split(" on "))
    return " on ".join(shown_path(path) + mark + hash_ for path, mark, hash_ in map(_whole, parts))


def _whole(parts: tuple[str, str, str]) -> tuple[str, str, str]:
    """Of `rpartition`: all in the first part where the mark is not there."""
    return parts if parts[1] else (parts[2], "", "")


def shown_model(study: Study, addresses: Collection[str]) -> str:
    """The model by name; local weights with the fingerprint of their files, where it is known.

    >>> shown_model(Study(model="hf//home/ann/llama"), ["/home/ann/llama#1a2b3c4d"])
    'hf/llama#1a2b3c4d'
    """
    shown = shown_name(study.model)
    for address in addresses if shown != study.model else ():
        path, mark, fingerprint = address.partition(" on ")[0].rpartition("#")
        if mark and study.model.endswith(f"/{path}"):
            return f"{shown}#{fingerprint}"
    return shown


def shown_record(record: RunRecord, redaction: Redaction | None) -> RunRecord:
    """What a reader gets to know of a run: no path of this machine, no text that is left out."""
    study = record.study
    files = ("identities_file", "cues_file", "defenses_file")
    fields = {name: type(f)(shown_path(str(f))) for name in files if (f := getattr(study, name))}
    sessions = tuple(
        replace(
            session,
            versions={k: shown_address(v) for k, v in session.versions.items()},
            notes=tuple(_shown_note(note, redaction) for note in session.notes),
        )
        for session in record.sessions
    )
    imported = record.imported
    if imported is not None:
        imported = replace(imported, command=_shown_command(imported.command))
        if redaction is not None:
            known = {k: v for k, v in imported.decoding.items() if not isinstance(v, str)}
            imported = replace(imported, decoding=known)
    defenses = study.defenses
    if redaction == "all":  # a sentence stands in the place of a name
        defenses = tuple(d if _TOKEN.fullmatch(d) else LEFT_OUT for d in defenses)
    return record.model_copy(
        update={
            "study": study.model_copy(
                update={
                    "model": shown_model(study, record.addresses),
                    "judges": tuple(map(shown_name, study.judges)),
                    "benchmarks": tuple(map(shown_path, study.benchmarks)),
                    "defenses": defenses,
                    **fields,
                }
            ),
            "addresses": tuple(map(shown_address, record.addresses)),
            "sessions": sessions,
            "imported": imported,
            "system_role": shown_check(record.system_role) if redaction else record.system_role,
        }
    )


def _shown_command(command: str) -> str:
    """A command whose words name no place."""
    parts: Callable[[str], str] = lambda word: "=".join(map(shown_path, word.split("=")))  # noqa: E731
    return " ".join(parts(word) for word in command.split(" "))


def _shown_note(note: str, redaction: Redaction | None) -> str:
    """A note of an engine; what follows a colon or a bracket may quote an endpoint."""
    return note if redaction is None else re.split(r"[:(\"]", note, maxsplit=1)[0].strip()
