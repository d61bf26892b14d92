"""Answers that are one of several lettered options.

The option that the last final statement names counts, by its letter ("the answer is (B).") or
by its text ("the answer is Paris."). Without a final statement it is the only option that the
last line names, or the one that the answer opens with; but where the answer was cut off it is
unscored.
"""

from __future__ import annotations

import re
from functools import lru_cache
from string import ascii_uppercase

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

# What a final statement may open with.
_IN_PARENTHESES = re.compile(r"[\s:]{0,4}(?:(?:[Oo]ption|[Cc]hoice)\s)?[\s:]{0,3}\(([A-Za-z])\)")
_LETTER = re.compile(
    r"[\s:'({\[]{0,4}(?:(?:[Oo]ption|[Cc]hoice|[Ll]etter)\s)?([A-Z])(?![\w'’+#]|-\w)"
)
_LOWER_LETTER = re.compile(r"[\s:'({\[]{0,4}([a-z])(?=\)|\W{0,3}$)")
_LEAD_IN = re.compile(r"[\s:]{0,4}(?:(?:the|an?)\s)?", re.IGNORECASE)

# What may follow the option named: "A city", where A is no option; "B or C"; "4.5" after "4".
_ONLY_ARTICLE = re.compile(r"\s(?!because|since|as\b|is\b|or\b|and\b)\w")
_ALTERNATIVE = re.compile(
    r"\W{0,3}\s?(?:\b(?:or|and)\b|&|/|,(?=\s?(?:\(|[A-Z]\b)))\W{0,3}?(?=[\w(])"
)
_GOES_ON = re.compile(r"\w|[.,/^]\d")

# Options within a sentence: "I take option B", "so it is B.", but not "(A) is wrong, not (C)".
_NAMED = re.compile(r"\(([A-Z])\)|\b[Oo]ption ([A-Z])\b|\b[Cc]hoice ([A-Z])\b|\b([A-Z])\)")
_NAMED_AT_END = re.compile(r"\b([A-Z])\W{0,3}$")
_DENIED = re.compile(
    r"\b(?:not|n't)\s\(?[A-Z]\b\)?|\(?\b[A-Z]\b\)?(?=\W{0,3}\s?is\s(?:not|wrong|incorrect|false)\b)"
)
_CLAUSE_MARKS = re.compile(r"[,;:()]\s|\s[(]|[.,;:!?)]+$")

# A whole answer that opens with its option: "B) Paris, for ...".
_OPENING = re.compile(r"\W{0,4}([A-Z])(?:[).:]|\s*$)")


def score(text: str, item: Item, truncated: bool) -> Score:
    """1.0 where the option named is the right one, 0.0 where it is another."""
    named = _finally_named(text, item.choices, truncated)
    if not named:
        return missing(truncated)
    return CONFLICT if len(named) > 1 else float(item.answer in named)


def _finally_named(text: str, choices: tuple[str, ...], truncated: bool) -> set[str]:
    """Letters of the options that are given as the final answer."""
    for statement in statements(text):
        if truncated and not statement:
            return set()
        if named := _named(first_line(statement), choices):
            return named
    if truncated:
        return set()
    return _named(last_line(text), choices) or _opening(first_line(text), choices)


def _named(line: str, choices: tuple[str, ...]) -> set[str]:
    """Letters of the options that a final statement names."""
    if not _DENIED.match(line) and (first := _leading(line, choices)):
        letter, rest = first
        if alternative := _ALTERNATIVE.match(rest):
            second = _leading(rest[alternative.end() :], choices)
            return {letter, second[0]} if second else {letter}
        return {letter}
    return _anywhere(_DENIED.sub("", first_sentence(line)), choices)


def _leading(line: str, choices: tuple[str, ...]) -> tuple[str, str] | None:
    """The option that the line opens with, as its letter, and what follows it.

    An option's text goes before a bare letter, for "E. coli" is not option E, unless the text
    is so short that it may be a letter itself.
    """
    letters = _letters(choices)
    if (found := _IN_PARENTHESES.match(line)) and found[1].upper() in letters:
        letter, rest = found[1].upper(), line[found.end() :]
        return _own_text(letter, rest, choices) or (letter, rest)
    if by_text := _by_text(line, choices, shortest=3):
        return by_text
    if (found := _LETTER.match(line)) and found[1] in letters:
        letter, rest = found[1], line[found.end() :]
        if own_text := _own_text(letter, rest, choices):
            return own_text
        if letter not in "AI" or not _ONLY_ARTICLE.match(rest):
            return letter, rest
    if by_text := _by_text(line, choices, shortest=1):
        return by_text
    if (found := _LOWER_LETTER.match(line)) and found[1].upper() in letters:
        return found[1].upper(), line[found.end() :]
    return None


def _own_text(letter: str, rest: str, choices: tuple[str, ...]) -> tuple[str, str] | None:
    """The letter and what follows its text, where its text follows it: "(A) Paris or (B)"."""
    repeated = _by_text(rest.lstrip(" ).:-"), choices, shortest=1)
    return repeated if repeated and repeated[0] == letter else None


def _by_text(line: str, choices: tuple[str, ...], shortest: int) -> tuple[str, str] | None:
    """The option whose text, of at least that length, the line opens with."""
    line = _without_article(line)
    opening = line.lower()
    for letter, text in _texts(choices):
        size = len(text)
        if size >= shortest and opening.startswith(text) and not _GOES_ON.match(opening, size):
            return letter, line[size:]
    return None


def _anywhere(sentence: str, choices: tuple[str, ...]) -> set[str]:
    named = {letter for found in _NAMED.finditer(sentence) for letter in found.groups() if letter}
    if not named and (found := _NAMED_AT_END.search(sentence)):
        named = {found[1]}
    if named:
        return named & set(_letters(choices))
    whole = f" {_CLAUSE_MARKS.sub(' ', sentence.lower())} "
    found_texts = [
        (letter, text)
        for letter, text in _texts(choices)
        if len(text) > 2 and f" {text} " in whole and f" not {text} " not in whole
    ]
    return {
        letter
        for letter, text in found_texts
        if not any(text in other and text != other for _, other in found_texts)
    }


def _opening(line: str, choices: tuple[str, ...]) -> set[str]:
    found = _OPENING.match(_DENIED.sub("", without_markup(line)))
    return {found[1]} & set(_letters(choices)) if found else set()


def _letters(choices: tuple[str, ...]) -> str:
    return ascii_uppercase[: len(choices) or 26]


def _without_article(text: str) -> str:
    return _LEAD_IN.sub("", text, count=1)


@lru_cache(maxsize=16384)
def _texts(choices: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """(letter, text in lower case) of the options, longest first; ambiguous ones left out."""
    texts = [_without_article(without_markup(c)).rstrip(" .,;:").lower() for c in choices]
    unique = [
        (letter, text)
        for letter, text in zip(ascii_uppercase, texts, strict=False)
        if text and texts.count(text) == 1
    ]
    return tuple(sorted(unique, key=lambda option: -len(option[1])))
