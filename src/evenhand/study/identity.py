"""Who the user says to be: the paper's identities, placebos, intersections and the user's own."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from evenhand.errors import StudyError, UnknownName
from evenhand.files import RECORD_ENDINGS, CsvColumns, read_records
from evenhand.study.entry import Entry, read_entries, validate
from evenhand.study.realization import (
    Fields,
    Realization,
    folded,
    read_fields,
    read_realizations,
)
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
        fields: what fills further gaps of a cue, the same on every item: ("city", "Boston").
        realizations: names, biographies or phrasings, one of which is shown on each item.
    """

    id: str
    text: str
    category: str
    kind: IdentityKind = "identity"
    fields: Fields = ()
    realizations: tuple[Realization, ...] = ()

    @property
    def varying(self) -> set[str]:
        """The gaps that its realizations fill."""
        return {name for name, _ in self.realizations[0].fields} if self.realizations else set()

    def fixed(self) -> dict[str, str]:
        """What fills the gaps of a cue on every item."""
        values = {"is": self.text} if self.text else {}
        return {n: v for n, v in {**values, **dict(self.fields)}.items() if n not in self.varying}

    def shown(self, slot: int) -> Realization | None:
        """The realization on the items of a slot; None where the identity has none."""
        return self.realizations[slot % len(self.realizations)] if self.realizations else None

    def with_slots(self, slots: Sequence[int]) -> Identity:
        """The same with the realizations of these slots alone."""
        shown = (self.shown(slot) for slot in slots)
        return replace(self, realizations=tuple(r for r in shown if r is not None))

    def values(self, slot: int) -> dict[str, str]:
        """What fills the gaps of a cue on the items of a slot."""
        shown = self.shown(slot)
        return {**self.fixed(), **(dict(shown.fields) if shown else {})}


BASELINE = Identity(id="baseline", text="", category="baseline", kind="baseline")
"""The no-identity baseline: an unidentified user."""

IMPLIED = ("names", "English", "topic")
"""Categories of the identities with realizations that come with evenhand; "all" leaves them out."""
_RESERVED = (BASELINE.id, "all", "placebos", *IMPLIED)


def _as_text(given: Any) -> Any:
    """Numbers as YAML reads them, for fields such as an age."""
    if isinstance(given, Mapping):
        return {k: str(v) if type(v) in (int, float) else v for k, v in given.items()}
    return given


_FieldsGiven = Annotated[dict[str, str], BeforeValidator(_as_text)]


class _PlaceboEntry(Entry):
    id: str = Field(pattern=r"^[\w.+/-]+$")
    text: str = Field(min_length=1)
    fields_: _FieldsGiven = Field(default={}, alias="fields")
    names: tuple[str, ...] = ()
    realizations: tuple[_FieldsGiven, ...] = ()

    @field_validator("text")
    @classmethod
    def _check_text(cls, text: str) -> str:
        if "{" in text or "}" in text:
            raise ValueError('it completes "I am ..." and has no gaps of its own, nor braces')
        return text

    def identity(self, category: str, kind: IdentityKind, where: str) -> Identity:
        """The identity that the entry describes."""
        given = [*({"name": name} for name in self.names), *self.realizations]
        if both := sorted(self.fields_.keys() & {name for each in given for name in each}):
            raise StudyError(
                f'{where}: identity "{self.id}" has {both[0]} among its fields and its '
                "realizations; keep one of them"
            )
        return Identity(
            id=self.id,
            text=self.text,
            category=category,
            kind=kind,
            fields=read_fields(self.fields_, f'{where}: identity "{self.id}"'),
            realizations=read_realizations(given, self.id, where),
        )


class _IdentityEntry(_PlaceboEntry):
    category: str = Field(default="own", min_length=1)


def read_identities(path: Path) -> list[Identity]:
    """Identities and placebos of a YAML or TOML file with the lists `identities`, `placebos`.

    A CSV or JSON Lines file has a row for each realization: columns `identity` and `text`,
    perhaps `category` and `kind`, and one for every gap that they fill, such as `name`.

    Raises:
        StudyError: the file is malformed, an entry is invalid, or an id, text or name occurs twice.
    """
    if path.suffix.lower() in RECORD_ENDINGS:
        found = _from_table(path)
    else:
        lists = read_entries(path, {"identities": _IdentityEntry, "placebos": _PlaceboEntry})
        found = [
            entry.identity(entry.category, "identity", str(path))
            for entry in lists["identities"]
            if isinstance(entry, _IdentityEntry)
        ]
        found += [
            entry.identity("placebo", "placebo", str(path))
            for entry in lists["placebos"]
            if isinstance(entry, _PlaceboEntry)
        ]
    check_distinct(found, str(path))
    return found


_OF_IDENTITY = ("identity", "text", "category", "kind")


def _from_table(path: Path) -> list[Identity]:
    """Identities of a file with a row for each realization."""
    columns = CsvColumns(required=("identity", "text"), whole_rows=True, distinct=True)
    rows: dict[str, list[dict[str, str]]] = {}
    for line, row in read_records(path, StudyError, columns):
        given = _as_text(row)
        if odd := next((name for name, value in given.items() if not isinstance(value, str)), None):
            raise StudyError(f"{path}:{line}: {odd}: must be text")
        values = {name: value.strip() for name, value in given.items()}
        if not values.get("identity") or not values.get("text"):
            raise StudyError(f"{path}:{line}: identity or text is empty")
        rows.setdefault(values["identity"], []).append(values)
    if not rows:
        raise StudyError(f"{path}: there are no identities")
    return [_of_rows(name, group, path) for name, group in rows.items()]


def _of_rows(name: str, rows: Sequence[Mapping[str, str]], path: Path) -> Identity:
    first = rows[0]
    kind = first.get("kind") or "identity"
    if kind not in ("identity", "placebo"):
        raise StudyError(f'{path}: identity "{name}": kind must be identity or placebo')
    for column in ("category", "kind"):
        if len({row.get(column) for row in rows}) > 1:
            raise StudyError(f'{path}: identity "{name}" has more than one {column}')
    free = [column for column in first if column not in _OF_IDENTITY]
    entry: dict[str, Any] = {"id": name, "text": first["text"]}
    if len(rows) == 1 and not any(first[column] for column in free):
        free = []
    given = [{column: row[column] for column in free if row.get(column)} for row in rows]
    if len({row["text"] for row in rows}) > 1:  # phrasings
        given = [{"is": row["text"], **each} for row, each in zip(rows, given, strict=True)]
    if any(given):
        entry["realizations"] = given
    elif len(rows) > 1:
        raise StudyError(f'{path}: duplicate identity "{name}"')
    category = first.get("category") or ("placebo" if kind == "placebo" else "own")
    made = validate(_PlaceboEntry, entry, f'{path}: identity "{name}"')
    return made.identity(category, "placebo" if kind == "placebo" else "identity", str(path))


def check_distinct(identities: Iterable[Identity], where: str) -> None:
    """Raise `StudyError` if two share an id, a text or a name, or one has a reserved id."""
    ids: set[str] = set()
    texts: set[str] = set()
    owners: dict[str, str] = {}
    for identity in identities:
        if identity.id in _RESERVED:
            raise StudyError(f'{where}: "{identity.id}" is a reserved id; choose another')
        if identity.id in ids:
            raise StudyError(f'{where}: duplicate identity "{identity.id}"')
        if identity.text in texts:
            raise StudyError(f'{where}: two identities have the text "{identity.text}"')
        ids.add(identity.id)
        texts.add(identity.text)
        for realization in identity.realizations:
            name = folded(realization.id)
            if owners.setdefault(name, identity.id) != identity.id:
                raise StudyError(
                    f'{where}: "{realization.id}" stands in two identities, "{owners[name]}" and '
                    f'"{identity.id}"; it can speak for neither'
                )


@cache
def shipped_identities() -> tuple[Identity, ...]:
    """The 31 identities of the paper (Vijjini et al. 2025) in 7 categories, and the placebos."""
    return tuple(read_identities(Path(__file__).parents[1] / "data" / "identities.yaml"))


@cache
def implied_identities() -> tuple[Identity, ...]:
    """Groups with first names of the US Census 2020, and users known by an opening message."""
    data = Path(__file__).parents[1] / "data"
    found = (*read_identities(data / "names.csv"), *read_identities(data / "openings.csv"))
    check_distinct(found, str(data))
    return found


def halves(identity: Identity, seed: int) -> list[Identity]:
    """Placebos of an identity with realizations: two random halves of these.

    Both are the same group, so that what tells them apart is nothing but which names they got.
    """
    drawn = list(identity.realizations)
    random.Random(f"halves/{seed}/{identity.id}").shuffle(drawn)
    size = len(drawn) // 2
    if size < 2:
        return []
    return [
        replace(
            identity,
            id=f"{identity.id}.half{n + 1}",
            text=f"{identity.text} (half {n + 1} of the names)",
            category="placebo",
            kind="placebo",
            realizations=tuple(drawn[n * size : (n + 1) * size]),
        )
        for n in range(2)
    ]


def is_half(identity: Identity) -> bool:
    """Whether it is one of the placebos that `halves` makes."""
    return identity.kind == "placebo" and identity.id.endswith((".half1", ".half2"))


def identity_entries(identities: Iterable[Identity]) -> dict[str, list[dict[str, Any]]]:
    """The content of a file from which `read_identities` reads these."""
    found: dict[str, list[dict[str, Any]]] = {}
    for identity in identities:
        entry: dict[str, Any] = {"id": identity.id, "text": identity.text}
        if identity.kind == "identity":
            entry["category"] = identity.category
        if identity.fields:
            entry["fields"] = dict(identity.fields)
        if identity.realizations:
            entry["realizations"] = [dict(each.fields) for each in identity.realizations]
        of_kind = "placebos" if identity.kind == "placebo" else "identities"
        found.setdefault(of_kind, []).append(entry)
    return found


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
    shared = {name for name, _ in first.fields} | first.varying
    shared &= {name for name, _ in second.fields} | second.varying
    if shared or "is" in first.varying | second.varying or (first.varying and second.varying):
        raise StudyError(
            f'"{first.id}" and "{second.id}" cannot be crossed: both fill the same gaps, or both '
            "have realizations"
        )
    return Identity(
        id=f"{first.id}+{second.id}",
        text=f"{first.text} and {second.text}",
        category=f"{first.category} x {second.category}",
        fields=first.fields + second.fields,
        realizations=first.realizations or second.realizations,
    )


def _is_adjective(identity: Identity) -> bool:
    return not identity.text.startswith(("a ", "an ", "the "))


def categories(identities: Iterable[Identity]) -> list[str]:
    """Names of the categories, in order of first occurrence."""
    return list(dict.fromkeys(i.category for i in identities))


def select(names: Iterable[str], pool: Sequence[Identity]) -> list[Identity]:
    """Identities by id, by category, by "A*B" (intersection of categories or ids), or "all".

    "all" means every identity that is not a placebo and not of a category of `IMPLIED`; "placebos"
    every placebo; "baseline" is understood and adds nothing, because it is always asked.

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
        return [i for i in people if i.category not in IMPLIED]
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
