"""Short answers that are compared as text.

Where the item lists its choices (Yes and No, valid and invalid), the one that the final
statement opens or ends with counts. Elsewhere the final statement is compared with the right
answer; upper and lower case, quotation marks, Markdown, the signs between the words of a list
and a final full stop make no difference. Brackets are compared without the space between them.
"""

from __future__ import annotations

import re
from functools import lru_cache

from evenhand.benchmarks.item import Item
from evenhand.scorers.base import Score
from evenhand.scorers.final import (
    CONFLICT,
    first_line,
    first_sentence,
    last_line,
    missing,
    statements,
    without_markup,
)

_BRACKETS = frozenset("()[]{}<>")
_CLAUSE_END = re.compile(r"[,;:(—]|\s-\s|\b(?:because|since|as|so|given)\b")
_ALTERNATIVE = re.compile(r"\W{0,3}\s?(?:\bor\b|\band\b|/)\W{0,3}")
_NEGATED = re.compile(r"(?:\bnot|n't|n’t|\bnever)\s(?:\w{1,20}\s)?$")
_LIST_NUMBER = re.compile(r"^\s*(?:\d{1,3}[.)]|[-•])\s+", re.MULTILINE)
_BETWEEN_WORDS = re.compile(r"(?:[\s,;→<>]|->)+")


def score(text: str, item: Item, truncated: bool) -> Score:
    """1.0 where the final answer is the right one, 0.0 where it is another."""
    if item.choices:
        return _score_closed(text, item, truncated)
    return _score_open(text, item.answer, truncated)


def _score_closed(text: str, item: Item, truncated: bool) -> Score:
    named: set[str] = set()
    for statement in statements(text):
        if truncated and not statement:
            break
        if named := _named(first_line(statement), item.choices):
            break
    else:
        if not truncated:
            named = _named(last_line(text), item.choices)
    if not named:
        return missing(truncated)
    return CONFLICT if len(named) > 1 else float(item.answer.lower() in named)


def _named(line: str, choices: tuple[str, ...]) -> set[str]:
    """The choices, in lower case, that a sentence or its first clause opens or ends with."""
    sentence = first_sentence(line).lower()
    opening, ending = _patterns(choices)
    if first := opening.match(sentence):
        alternative = _ALTERNATIVE.match(sentence, first.end())
        second = opening.match(sentence, alternative.end()) if alternative else None
        return {first[1], second[1]} if second else {first[1]}
    clause = _CLAUSE_END.split(sentence, maxsplit=1)[0]
    for part in (clause, sentence):
        last = ending.search(part)
        if last and not _NEGATED.search(part[: last.start(1)]):
            return {last[1]}
    return set()


@lru_cache(maxsize=256)
def _patterns(choices: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    longest_first = sorted((choice.lower() for choice in choices), key=len, reverse=True)
    any_choice = "|".join(re.escape(choice) for choice in longest_first)
    return (
        re.compile(rf"[^\w]{{0,4}}({any_choice})(?!\w)"),
        re.compile(rf"(?<!\w)({any_choice})[^\w]{{0,4}}$"),
    )


def _score_open(text: str, answer: str, truncated: bool) -> Score:
    statement = next(statements(text), None)
    if statement is None and "\n" not in text:
        statement = without_markup(text)
    if not statement or (truncated and _breaks_off(statement)):
        return missing(truncated)
    given = (first_sentence(statement), first_line(statement), statement)
    right = _normal(answer, answer)
    return float(any(_normal(candidate, answer) == right for candidate in given))


def _breaks_off(statement: str) -> bool:
    """Whether its last line holds no whole sentence."""
    line = _LIST_NUMBER.sub("", last_line(statement))
    return first_sentence(line) == line


def _normal(text: str, answer: str) -> str:
    if _BRACKETS.issuperset(answer.replace(" ", "")):
        return "".join(character for character in text if character in _BRACKETS)
    words = _BETWEEN_WORDS.sub(" ", _LIST_NUMBER.sub("", without_markup(text)))
    return words.strip(" .!'*{}").lower()
