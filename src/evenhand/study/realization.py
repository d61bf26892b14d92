"""What fills the gaps of a cue: fixed fields, and the realizations of an identity.

A realization is one way in which an identity shows itself: a name, a short biography, another
phrasing. The k-th realization of every identity is shown on the items of slot k, so that a study
asks no more than it would with one realization each.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from evenhand.errors import StudyError

GAP = re.compile(r"\{([a-z][a-z0-9_]*)\}")
"""A marked place of a cue: `{name}`."""
RESERVED = ("question", "facts")
"""Gaps that no identity fills."""
ENOUGH_SLOTS = 20
"""With fewer slots than this, little is known of how realizations of one identity differ."""

_LONGEST = 500
_IN_NAMES = " '’.,-·"
_MARKUP = set('<>{}[]|*`\\"')

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


def read_realizations(
    given: Iterable[Mapping[str, str]], who: str, where: str
) -> tuple[Realization, ...]:
    """Realizations of one identity, checked; none or at least two.

    Raises:
        StudyError: as `read_fields`; or there is one alone, two are the same, or they have
            different fields.
    """
    found: dict[Fields, Realization] = {}
    for each in given:
        fields = read_fields(each, f'{where}: identity "{who}"')
        if fields in found:
            raise StudyError(f'{where}: identity "{who}" has "{fields[0][1]}" twice')
        base = next((value for name, value in fields if name == "name"), fields[0][1])
        taken = {realization.id for realization in found.values()}
        name = base if base not in taken else ", ".join(value for _, value in fields)
        found[fields] = Realization(name, fields)
    rows = list(found.values())
    if len(rows) == 1:
        raise StudyError(
            f'{where}: identity "{who}" has one realization, "{rows[0].id}"; give two at least and '
            f"better {ENOUGH_SLOTS}, or the effect of this one passes for that of the identity"
        )
    if len({tuple(name for name, _ in row.fields) for row in rows}) > 1:
        raise StudyError(f'{where}: the realizations of "{who}" have different fields')
    return tuple(rows)
