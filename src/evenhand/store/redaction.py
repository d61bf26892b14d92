"""Leaving texts out: which questions and answers a reader of a report or bundle does not get.

Whole axes are left out, never single answers: a judge that takes a harmful answer for a refusal
would otherwise let it through.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b
from string import ascii_uppercase
from typing import Literal

from evenhand.benchmarks.item import Item
from evenhand.store.record import SystemRoleCheck
from evenhand.study.cue import Message
from evenhand.text import normalized

Redaction = Literal["harmful", "all"]
"""Whose texts are left out: "harmful": of safety, whose questions ask for harm, questions, answers,
thoughts and what judges say of them; "all": the same of every axis."""

LEFT_OUT = "[text left out]"
_ANSWERS_KEPT = ("choice", "number", "relevance")
"""Scorers whose right answers are letters or numbers, and give no text away."""


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


def shown_messages(messages: list[Message]) -> list[Message]:
    """A conversation whose question is left out; what says who the user is stays."""
    last: Message = {"role": messages[-1]["role"], "content": LEFT_OUT}
    return [*messages[:-1], last]


def shown_check(check: SystemRoleCheck) -> SystemRoleCheck:
    """The check of the system role without questions, and without what an endpoint said of one."""
    return replace(check, evidence=check.evidence.partition(" (")[0], prompts={})
