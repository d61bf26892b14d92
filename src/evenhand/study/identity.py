"""Who the user says to be: the paper's identities, placebos, intersections and the user's own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from evenhand.errors import StudyError, UnknownName
from evenhand.study.entry import Entry, read_entries
from evenhand.text import us_spelling

IdentityKind = Literal["baseline", "identity", "placebo"]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the user says to be.

    Attributes:
        id: unique in a study: "muslim".
        text: completes "I am ...": "a Muslim person", "straight"; empty for the baseline.
        category: "religion"; "religion x age" for an intersection.
        kind: only the kind `identity` counts towards PB.
    """

    id: str
    text: str
    category: str
    kind: IdentityKind = "identity"


BASELINE = Identity(id="baseline", text="", category="baseline", kind="baseline")
"""The no-identity baseline: an unidentified user."""

_RESERVED = (BASELINE.id, "all", "placebos")


class _PlaceboEntry(Entry):
    id: str = Field(pattern=r"^[\w.+-]+$")
    text: str = Field(min_length=1)

    @field_validator("text")
    @classmethod
    def _check_text(cls, text: str) -> str:
        if "{is}" in text or "{question}" in text:
            raise ValueError('it completes "I am ..." and has no gaps of its own')
        return text


class _IdentityEntry(_PlaceboEntry):
    category: str = Field(default="own", min_length=1)


def read_identities(path: Path) -> list[Identity]:
    """Identities and placebos of a YAML or TOML file with the lists `identities`, `placebos`.

    Raises:
        StudyError: the file is malformed, an entry is invalid, or an id or text occurs twice.
    """
    lists = read_entries(path, {"identities": _IdentityEntry, "placebos": _PlaceboEntry})
    found = [Identity(**entry.model_dump()) for entry in lists["identities"]]
    found += [
        Identity(**entry.model_dump(), category="placebo", kind="placebo")
        for entry in lists["placebos"]
    ]
    check_distinct(found, str(path))
    return found


def check_distinct(identities: Iterable[Identity], where: str) -> None:
    """Raise `StudyError` if two identities share an id or a text, or one has a reserved id."""
    ids: set[str] = set()
    texts: set[str] = set()
    for identity in identities:
        if identity.id in _RESERVED:
            raise StudyError(f'{where}: "{identity.id}" is a reserved id; choose another')
        if identity.id in ids:
            raise StudyError(f'{where}: duplicate identity "{identity.id}"')
        if identity.text in texts:
            raise StudyError(f'{where}: two identities have the text "{identity.text}"')
        ids.add(identity.id)
        texts.add(identity.text)


@cache
def shipped_identities() -> tuple[Identity, ...]:
    """The 31 identities of the paper (Vijjini et al. 2025) in 7 categories, and the placebos."""
    return tuple(read_identities(Path(__file__).parents[1] / "data" / "identities.yaml"))


def in_place_of_ours(identities: Iterable[Identity]) -> list[str]:
    """A line for each of one's own identities that goes by the id of one that we ship."""
    known = {identity.id: identity.text for identity in shipped_identities()}
    mine = {identity.id: identity.text for identity in identities}
    return [
        f'the identity "{name}" is one of your own, "{text}", not "{known[name]}" that comes with '
        "evenhand"
        for name, text in mine.items()
        if known.get(name, text) != text
    ]


def intersect(first: Identity, second: Identity) -> Identity:
    """One user with two identities: "a Muslim person and gay".

    The noun phrase comes first, since "I am gay and a Muslim person" reads badly.
    """
    if _is_adjective(first) and not _is_adjective(second):
        first, second = second, first
    return Identity(
        id=f"{first.id}+{second.id}",
        text=f"{first.text} and {second.text}",
        category=f"{first.category} x {second.category}",
    )


def _is_adjective(identity: Identity) -> bool:
    return not identity.text.startswith(("a ", "an ", "the "))


def categories(identities: Iterable[Identity]) -> list[str]:
    """Names of the categories, in order of first occurrence."""
    return list(dict.fromkeys(i.category for i in identities))


def select(names: Iterable[str], pool: Sequence[Identity]) -> list[Identity]:
    """Identities by id, by category, by "A*B" (intersection of categories or ids), or "all".

    "all" means every identity that is not a placebo; "placebos" every placebo; "baseline" is
    understood and adds nothing, because it is always asked.

    Raises:
        UnknownName: a name fits nothing.
    """
    chosen: dict[str, Identity] = {}
    for name in names:
        for identity in _select_one(name.strip(), pool):
            chosen[identity.id] = identity
    return list(chosen.values())


def _select_one(name: str, pool: Sequence[Identity]) -> list[Identity]:
    people = [i for i in pool if i.kind == "identity"]
    if "*" in name:
        return _select_crossed(name, people)
    if name == BASELINE.id:
        return []
    if name == "all":
        return people
    if name == "placebos":
        return [i for i in pool if i.kind == "placebo"]
    found = [i for i in pool if i.id == name] or [i for i in people if i.category == name]
    if not found and us_spelling(name) != name:  # an id of version 0.1
        return _select_one(us_spelling(name), pool)
    if not found:
        known = [i.id for i in pool] + categories(people) + ["all", "placebos"]
        raise UnknownName("identity", name, known)
    return found


def _select_crossed(name: str, people: list[Identity]) -> list[Identity]:
    left, _, right = name.partition("*")
    if not left.strip() or not right.strip():
        raise StudyError(f'"{name}" crosses with nothing; write it like religion*age')
    firsts, seconds = _select_one(left.strip(), people), _select_one(right.strip(), people)
    pairs = [(a, b) for a in firsts for b in seconds if a.category != b.category]
    if not pairs:
        raise StudyError(f'"{name}" crosses a category with itself; take two different ones')
    return [intersect(a, b) for a, b in pairs]
