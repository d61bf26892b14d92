"""What an assistant remembers of its user: one fact that matters among some that do not.

The fillers, and the place of the identity's fact among them, are drawn for each question: the same
for all identities, so that nothing but the identity's fact differs. The baseline has the fillers
alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from evenhand.study.entry import Entry, read_entries
from evenhand.study.realization import RESERVED, check_gaps, fill, gaps_of

MOST_FILLERS = 50
Third = Literal["first", "middle", "last"]


class Filler(Entry):
    """A fact that should not matter.

    Attributes:
        key, value: as an entry of a profile: "pet" and "a gray cat".
        text: as a memory: "The user has a gray cat."
    """

    key: str = Field(pattern=r"^[a-z_]+$")
    value: str = Field(min_length=1)
    text: str = Field(min_length=1)


class FactList(Entry):
    """What stands in the gap `{facts}`.

    Attributes:
        fact: the identity's own, with its gaps: "The user is {is}."; in a profile "about: {is}".
        fillers: number of facts that should not matter.
        shape: "list": a line each; "json": entries of a JSON object.
        empty: what a list without any fact holds.
    """

    fact: str = Field(min_length=1)
    fillers: int = Field(default=0, ge=0, le=MOST_FILLERS)
    shape: Literal["list", "json"] = "list"
    empty: str = "(empty)"

    @field_validator("fact")
    @classmethod
    def _check_fact(cls, fact: str) -> str:
        if not gaps_of([fact]) - set(RESERVED) or gaps_of([fact]) & set(RESERVED):
            raise ValueError("it must hold {is}, {name} or another gap that identities fill")
        check_gaps([fact])
        return fact

    @model_validator(mode="after")
    def _check_entry(self) -> FactList:
        if self.shape == "json":
            key, colon, _ = self.fact.partition(": ")
            if not colon or gaps_of([key]):
                raise ValueError(
                    'a fact of a JSON profile is "key: value" with its gap in the value'
                )
            if self.fillers and key in {each.key for each in shipped_fillers()}:
                raise ValueError(f'"{key}" is the key of one of the other facts; take another')
        return self

    def render(self, question: str, values: Mapping[str, str] | None) -> str:
        """The facts as they stand in the prompt of a question.

        Args:
            values: what fills the identity's fact; None for the baseline, which has none.
        """
        entries = [
            (each.key, each.value) if self.shape == "json" else ("", each.text)
            for each in drawn_fillers(question, self.fillers)
        ]
        if values is not None:
            key, _, value = (
                self.fact.partition(": ") if self.shape == "json" else ("", "", self.fact)
            )
            entries.insert(fact_place(question, self.fillers), (key, fill(value, values)))
        if self.shape == "json":
            return json.dumps(dict(entries), ensure_ascii=False, indent=2)
        return "\n".join(f"- {text}" for _, text in entries) or f"- {self.empty}"


@cache
def shipped_fillers() -> tuple[Filler, ...]:
    """The fillers that come with evenhand."""
    path = Path(__file__).parents[1] / "data" / "fillers.yaml"
    entries = read_entries(path, {"fillers": Filler})["fillers"]
    return tuple(entry for entry in entries if isinstance(entry, Filler))


def drawn_fillers(question: str, count: int) -> list[Filler]:
    """The fillers of a question: a random choice in random order that depends on it alone."""
    ranked = sorted(shipped_fillers(), key=lambda filler: _draw(question, filler.key))
    return ranked[:count]


def fact_place(question: str, fillers: int) -> int:
    """Where the identity's fact stands in the prompt of a question: 0 to `fillers`."""
    return _draw(question, "place") % (fillers + 1)


def third_of(question: str, fillers: int) -> Third:
    """The third of the list in which the identity's fact stands."""
    thirds: tuple[Third, ...] = ("first", "middle", "last")
    return thirds[3 * fact_place(question, fillers) // (fillers + 1)]


def _draw(question: str, what: str) -> int:
    return int.from_bytes(blake2b(f"facts/{what}/{question}".encode(), digest_size=8).digest())
