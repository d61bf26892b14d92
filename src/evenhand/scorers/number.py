"""Answers that are a number.

The number in the last final statement counts ("Therefore, the answer is $1,234.50."), of a
calculation its result ("3 * 6 = 18"). Without a final statement it is the last number of the
last line, as is usual for GSM8K, but never where the answer was cut off. Understood are
thousands commas, currency signs, units, fractions, LaTeX, "3 million" and "three"; a percent
sign is ignored. Two numbers are equal when they differ by less than one part in 10^12.
"""

from __future__ import annotations

import math
import re

from evenhand.benchmarks.item import Item, number_of
from evenhand.scorers.base import Score
from evenhand.scorers.final import first_line, first_sentence, last_line, missing, statements

_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"),
    *("nineteen", "twenty"),
)
_MAGNITUDES = {"thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}

_NUMBER = re.compile(
    r"""(?P<minus>(?<![\w)\]])-|\b(?:negative|minus)\s)?
        (?P<digits>\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)
        (?:[eE](?P<e>[+-]?\d{1,3})\b|\s?(?:x|\*|\\times)\s?10\^\{?(?P<power>-?\d{1,3})\b)?
        (?:\s?/\s?(?P<over>\d{1,15})|\s(?P<top>\d{1,15})/(?P<bottom>\d{1,15}))?
        (?:\s(?P<magnitude>thousand|million|billion|trillion)\b)?""",
    re.VERBOSE | re.IGNORECASE,
)
_WORD = re.compile(rf"\b(?:{'|'.join(_WORDS)})\b(?!\sof\b)", re.IGNORECASE)
_CALCULATES = re.compile(r"\(\d|\s?%?\s?[a-z]{0,12}\s?(?:[-+*/x÷=≈]|of\b)", re.IGNORECASE)
_RESULT = re.compile(r"[=≈]([^=≈]*)$")
_LATEX_FRACTION = re.compile(r"\\[dt]?frac\s?\{([^{}]{1,30})\}\s?\{([^{}]{1,30})\}")
_HASHES = re.compile(r"####\s?(?=[-$]{0,2}\d)")
_SIGNS = str.maketrans({"−": "-", "–": "-", "×": "*", "€": "", "£": "", "\xa0": ",", "\u202f": ","})
_DIGITS = "0123456789.,"


def score(text: str, item: Item, truncated: bool) -> Score:
    """1.0 where the final number is the right one, 0.0 where it is another."""
    given = _final_number(text, truncated)
    if given is None:
        return missing(truncated)
    return float(math.isclose(given, number_of(item.answer), rel_tol=1e-12))


def _final_number(text: str, truncated: bool) -> float | None:
    if truncated and text[-1] in _DIGITS:
        text = text.rstrip(_DIGITS)  # a number that ends at the cut may lack digits
    for statement in statements(text):
        if truncated and not statement:
            return None
        number = _stated(first_line(_plain(statement)))
        if number is not None:
            return number
    if hashes := _HASHES.search(text, max(0, len(text) - 200)):
        return _first(_plain(text[hashes.end() :].replace("$", "")))
    return None if truncated else _last(_plain(last_line(text)))


def _plain(text: str) -> str:
    if "\\" in text or "{" in text:
        text = text.replace("{,}", ",").replace("\\,", ",")
        text = _LATEX_FRACTION.sub(r"\1/\2", text)
    return text.translate(_SIGNS)


def _stated(line: str) -> float | None:
    if line.startswith("not "):
        return None
    sentence = first_sentence(line)
    found = _NUMBER.search(sentence)
    if found and _CALCULATES.match(sentence, found.end()):
        result = _RESULT.search(sentence, found.end())
        found = (result and _NUMBER.search(result[1])) or found
    if found:
        return _value(found)
    if word := _WORD.search(sentence):
        return float(_WORDS.index(word[0].lower()))
    return None


def _first(text: str) -> float | None:
    found = _NUMBER.search(text)
    return _value(found) if found else None


def _last(text: str) -> float | None:
    found = list(_NUMBER.finditer(text))
    return _value(found[-1]) if found else None


def _value(found: re.Match[str]) -> float | None:
    number = float(found["digits"].replace(",", ""))
    if exponent := found["e"] or found["power"]:
        number *= float(f"1e{exponent}")
    if found["over"]:
        number = number / float(found["over"]) if float(found["over"]) else math.nan
    elif found["bottom"] and float(found["bottom"]):
        number += float(found["top"]) / float(found["bottom"])
    number *= _MAGNITUDES.get((found["magnitude"] or "").lower(), 1.0)
    return -number if found["minus"] else number
