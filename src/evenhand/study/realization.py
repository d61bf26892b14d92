"""What fills the gaps of a cue: fixed fields, and the realizations of an identity.

A realization is one way in which an identity shows itself: a name, a short biography, another
phrasing. The k-th realization of every identity is shown on the items of slot k, so that a study
asks no more than it would with one realization each.

Among what an assistant remembers of its user, one fact matters and the fillers do not. The fillers,
and the place of the identity's fact among them, are drawn for each question: the same for all
identities, so that nothing but the identity's fact differs. The baseline has the fillers alone.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from evenhand.errors import StudyError
from evenhand.study.entry import Entry, read_entries

GAP = re.compile(r"\{([a-z][a-z0-9_]*)\}")
"""A marked place of a cue: `{name}`."""
RESERVED = ("question", "facts")
"""Gaps that no identity fills."""
ENOUGH_SLOTS = 20
"""With fewer slots than this, little is known of how realizations of one identity differ."""

_LONGEST = 500
_IN_NAMES = " '’.,-·"
_MARKUP = set('<>{}[]|*`\\"')

_LIKE_GAP = re.compile(
    r"(?<![\w}])\{\s*[\w-]+(?: [\w-]+)?\s*\}"  # {Name}, { name }, {first-name}, not \frac{A}{B}
    r"|\{(?:is|name|question|facts)(?=[\s.,;!?]|$)(?!\s*\})"  # {name without an end
    r"|\{[\w ]*\{[a-z][a-z0-9_]*\}[\w ]*\}"  # {{name}}, {na{is}me}
)
_SCRIPTS = {"LATIN", "CYRILLIC", "GREEK"}
"""Scripts with letters that look alike."""

Fields = tuple[tuple[str, str], ...]
"""Names of gaps and what fills them."""


@dataclass(frozen=True, slots=True)
class Realization:
    """One way in which an identity shows itself.

    Attributes:
        id: unique within the identity: the name, or the first of its fields.
        fields: what fills the gaps of a cue.
    """

    id: str
    fields: Fields


def fill(text: str, values: Mapping[str, str]) -> str:
    """The text with the gaps filled that have a value; what fills them is not read again.

    >>> fill("I am {name}. {question}", {"name": "Ana", "question": "What is {name}?"})
    'I am Ana. What is {name}?'
    """
    return GAP.sub(lambda gap: values.get(gap[1], gap[0]), text)


def gaps_of(texts: Iterable[str]) -> set[str]:
    """Names of the gaps in some texts."""
    return {name for text in texts for name in GAP.findall(text)}


def check_gaps(texts: Iterable[str]) -> None:
    """Raise `ValueError` at what was meant as a gap and is none: {Name}, {{name}}, {name."""
    for text in texts:
        for found in _LIKE_GAP.finditer(text):
            if not GAP.fullmatch(found[0]):
                raise ValueError(
                    f"{found[0]} is no gap; write one as {{name}}, in lower-case letters, digits "
                    "and _, without spaces and with one pair of braces"
                )


def folded(name: str) -> str:
    """What is the same in names that read alike: "Jos\u00e9" and "JOSE", "Mary-Ann" and "mary ann".

    >>> folded("Mary-Ann  Jos\u00e9") == folded("mary ann jose")
    True
    """
    # The diacritics of Latin, Greek and Cyrillic letters; marks of other scripts make other names.
    plain = re.sub("[\u0300-\u036f]", "", unicodedata.normalize("NFKD", name).casefold())
    spaced = (c if unicodedata.category(c)[0] in "LMN" else " " for c in plain)
    return " ".join("".join(spaced).split())


def read_fields(given: Mapping[str, str], where: str) -> Fields:
    """Fields of a user's file, checked.

    Raises:
        StudyError: a name is no name of a gap or reserved; a value is empty, too long, or holds
            markup, quotation marks or control characters, which could break out of a cue.
    """
    for name, value in given.items():
        if not GAP.fullmatch(f"{{{name}}}") or name in RESERVED:
            raise StudyError(
                f'{where}: "{name}" cannot be a field; take lower-case letters, digits and _, but '
                f"not {' or '.join(RESERVED)}"
            )
        _check_value(name, value, where)
    return tuple(given.items())


def _check_value(name: str, value: str, where: str) -> None:
    if not value.strip():
        raise StudyError(f"{where}: {name} is empty")
    if len(value) > _LONGEST:
        raise StudyError(f"{where}: {name} has more than {_LONGEST} characters")
    for character in value:
        kind = unicodedata.category(character)
        bad = kind[0] == "C" or kind in ("Zl", "Zp") or character in _MARKUP
        if name == "name":
            bad = bad or not (kind[0] in "LMN" or character in _IN_NAMES)
        if bad:
            raise StudyError(
                f"{where}: {name} {value!r} holds {character!r}; markup, quotation marks and "
                "control characters are not allowed"
            )
    if name == "name":
        _check_letters(value, where)


def _check_letters(name: str, where: str) -> None:
    letters = [c for c in unicodedata.normalize("NFKC", name) if c.isalpha()]
    if not letters:
        raise StudyError(f"{where}: name {name!r} has no letter")
    scripts = {unicodedata.name(c, "").split(" ")[0] for c in letters} & _SCRIPTS
    if len(scripts) > 1:
        mixed = " and ".join(sorted(script.capitalize() for script in scripts))
        raise StudyError(f"{where}: name {name!r} mixes {mixed} letters; write it in one script")


def read_realizations(
    given: Iterable[Mapping[str, str]], who: str, where: str
) -> tuple[Realization, ...]:
    """Realizations of one identity, checked; none or at least two.

    Raises:
        StudyError: as `read_fields`; or there is one alone, one is empty, two are the same, or
            they have different fields. Names that read alike are the same.
    """
    found: dict[Fields, Realization] = {}
    taken: set[str] = set()
    for each in given:
        fields = read_fields(each, f'{where}: identity "{who}"')
        if not fields:
            raise StudyError(f'{where}: identity "{who}" has a realization without any value')
        base = next((value for name, value in fields if name == "name"), fields[0][1])
        key = tuple((name, folded(value) if name == "name" else value) for name, value in fields)
        if key in found:
            alike = "" if found[key].fields == fields else f': it reads like "{found[key].id}"'
            raise StudyError(f'{where}: identity "{who}" has "{base}" twice{alike}')
        name = base if base not in taken else ", ".join(value for _, value in fields)
        taken.add(name)
        found[key] = Realization(name, fields)
    rows = list(found.values())
    if len(rows) == 1:
        raise StudyError(
            f'{where}: identity "{who}" has one realization, "{rows[0].id}"; give two at least and '
            f"better {ENOUGH_SLOTS}, or the effect of this one passes for that of the identity"
        )
    if len({tuple(name for name, _ in row.fields) for row in rows}) > 1:
        raise StudyError(f'{where}: the realizations of "{who}" have different fields')
    return tuple(rows)


# What an assistant remembers

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
