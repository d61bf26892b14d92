"""Answers that are a number.

The number in the last final statement counts ("Therefore, the answer is $1,234.50."), of a
calculation its result ("3 * 6 = 18"); a correction after it counts more. Without a final
statement it is the last number of the last line, as is usual for GSM8K, but never where the
answer was cut off. How numbers are read is told in `evenhand.scorers.numerals`; a number that
cannot be read as a whole is not read at all. Two different numbers given as alternatives are a
conflict. Two numbers are equal when they differ by less than one part in 10^12.

Before numbers are read, digits, fractions, LaTeX and emphasis are given one sign for each meaning.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence

from evenhand.benchmarks.item import Item, number_of
from evenhand.scorers.base import Score, Unscored
from evenhand.scorers.final import (
    CONFLICT,
    CUT_OFF,
    NOT_FOUND,
    Correction,
    Statement,
    correction,
    first_line,
    first_sentence,
    is_loop,
    last_line,
    missing,
    statements,
)
from evenhand.scorers.numerals import MAGNITUDES, Line, Quantity

# Signs of the same meaning; superscripts, vulgar fractions and digits are added below.
# One sign for each meaning

_SIGNS = {
    **dict.fromkeys("−–‑‒﹣", "-"),
    **dict.fromkeys("×·⋅∙∗", "*"),
    "÷": "/",
    "⁄": "/",
    **dict.fromkeys("≈≅→⇒⟹", "="),
    **dict.fromkeys("\xa0\u2009\u202f\u2007\u2008\u200a", " "),
    **dict.fromkeys("’‘ʼ´", "'"),
    "٬": ",",
    "٫": ".",
    "√": " sqrt ",
    "。": ".",
}
_SUPERSCRIPTS = {**dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789", strict=True)), "⁻": "-"}
_BLANKS = re.compile(r" {2,}")
_SUPERSCRIPT = re.compile(f"[{''.join(_SUPERSCRIPTS)}]+")


def _translations() -> dict[int, str]:
    table = {ord(sign): plain for sign, plain in _SIGNS.items()}
    for code in range(128, 0x10000):
        letter = chr(code)
        if letter.isdecimal():
            table[code] = str(unicodedata.decimal(letter))
    for letter in "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞":
        table[ord(letter)] = " " + unicodedata.normalize("NFKC", letter).replace("⁄", "/")
    for code in range(0xFF01, 0xFF5F):
        table.setdefault(code, chr(code - 0xFEE0))
    return table


_TRANSLATIONS: dict[int, str] = {}

_LATEX_SIGNS = re.compile(
    r"\\(?:(?P<times>times|cdot|ast)|(?P<div>div)|(?P<gives>approx|simeq|(?:Long)?[rR]ightarrow|implies"
    r"|to|equiv)|(?P<percent>%)|(?P<dollar>\$)|(?P<sqrt>sqrt)|(?P<either>pm)"
    r"|(?P<space>,| |;|:|quad)"
    r"|(?P<nothing>boxed|text\w{0,8}|math\w{1,8}|displaystyle|left|right|!|[\[\]()]))(?![a-zA-Z])"
)
_LATEX_PLAIN = {
    "times": "*",
    "div": "/",
    "gives": "=",
    "percent": "%",
    "dollar": "$",
    "sqrt": " sqrt",
    "either": "±",
    "space": " ",
    "nothing": "",
}
_DEGREES = re.compile(r"\^?\s?\{?\s?\\(?:circ|degree)\b\s?\}?")
_FRACTION = re.compile(r"\\[dtc]?frac\s?(?:\{([^{}]{1,30})\}|(\d))\s?(?:\{([^{}]{1,30})\}|(\d))")
_MATH_MARK = re.compile(r"\$\$|\$(?![ ]?-?[ ]?[\d.,])")
_DOUBLE_STAR = re.compile(r"(?<=\d)\s?\*\*\s?(?=\d)")
_MAY_BE_EMPHASIS = re.compile(r"[*_`\"“”<~]")
_EMPHASIS = re.compile(
    r"~~[^~\n]{1,80}~~|\*{2,}(?!\s?\d)|(?<![\s\d])\*{1,3}|(?<!\S)\*{1,3}(?=[\w$€£-])"
    r"|(?<!\w)_{1,3}(?=\S)|(?<=\S)_{1,3}(?!\w)|[`\"“”]"
    r"|</?(?:b|i|em|strong|code|u|p|span|mark)\b[^<>]{0,40}>|(?<=\d)~(?=\d)|<<[^<>]{0,100}>>"
)


def plain(text: str) -> str:
    """A line as `Line` reads it: without markup, with one sign for each meaning."""
    if not text.isascii():
        if not _TRANSLATIONS:
            _TRANSLATIONS.update(_translations())
        text = _SUPERSCRIPT.sub(lambda m: "^" + "".join(map(_SUPERSCRIPTS.__getitem__, m[0])), text)
        text = _BLANKS.sub(" ", text.translate(_TRANSLATIONS))
    if "\\" in text or "{" in text:
        text = _without_latex(text)
    if "$" in text:
        text = _MATH_MARK.sub("", text)
    if "**" in text:
        text = _DOUBLE_STAR.sub("^", text)
    if not _MAY_BE_EMPHASIS.search(text):
        return text
    return _EMPHASIS.sub(lambda m: " " if m[0] == "~" else "", text)


def _without_latex(text: str) -> str:
    text = text.replace("{,}", ",").replace("\\\\", "\n")
    text = _DEGREES.sub("°", text)
    text = re.sub(r"(?<=\d)(?=\\[dtc]?frac)", " ", text)
    text = _FRACTION.sub(_as_quotient, text)
    text = _LATEX_SIGNS.sub(lambda m: _LATEX_PLAIN[m.lastgroup or ""], text)
    text = re.sub(r"\^\s?\{([^{}]{1,20})\}", r"^(\1)", text)
    text = re.sub(r"(?<=sqrt)\s?\{([^{}]{1,20})\}", r"(\1)", text)
    return text.replace("{", " ").replace("}", " ")


def _as_quotient(found: re.Match[str]) -> str:
    top, bottom = found[1] or found[2], found[3] or found[4]
    if top.strip().isdigit() and bottom.strip().isdigit():
        return f"{top.strip()}/{bottom.strip()}"
    return f"({top})/({bottom})"


# The number that an answer states

NumberOrUnscored = float | Unscored
"""The number that a text states, or why it states none."""

_PLAIN = re.compile(
    rf"\s?\$?(\d{{1,15}})(?:\.0{{1,2}})?(?: (?!(?:{'|'.join(MAGNITUDES)})\b)[a-z]{{3,12}})?\.?\s*"
)
_HASHES = re.compile(r"####\s?(?=[-$(]{0,2}\.?\d)")
_CLOSED = re.compile(r"\w(?:\*\*|__|[*_`\"'”]?\s?[}\"'”]|[\\]?\))$")
_BOLD = re.compile(r"(?:\*\*|__)([^*\n]{1,100}?)(?:\*\*|__)")


def _words(words: str) -> frozenset[str]:
    return frozenset(words.split())


_LEADS = _words(
    """the a an total of about approximately around exactly roughly nearly almost only just simply
    therefore thus then clearly indeed equal to number value year amount price is are was it be
    in fact now also always at least most up ca as follows following found us usd eur ca rs option
    either between from somewhere anywhere x y n = : ~ ( [ { " ' , $ ≈ € £ < > - — – . ∴"""
)
_ALTERNATIVES = _words("or and to , / & through")
_BESIDE = _words("a an the $ = x y z n")
_HEDGES = _words("maybe possibly perhaps even else about approximately roughly")
_REASONS = _words("because since as if when given assuming considering due where check checking")
_DEMOTES = _words("after from in per within during than by every each over")
_DENIES = re.compile(
    r"\b(?:not|isn't|wasn't|aren't|n't|rather than|instead of|than|except|without)$"
)
_LIMITS = re.compile(r"\b(?:no|not) (?:more|less|fewer|later|sooner) than$")
_CONTRARY = _words("more less fewer greater higher lower times as")
_RESULTS = re.compile(
    r"(?:\bso|\bthat is|\bthat's|\bi \. e \.?|\bwhich (?:is|are|equals|makes|gives|means|comes to)"
    r"|\btotal of|\brounds? (?:up |down )?to|\bor rather"
    r"|\bequals|\btotal(?:l)?ing|\bmakes|\bmaking|\bgiving|\bgives"
    r"|\bhence|\bthus|\btherefore|\bmeaning|\bleaving|\bresulting in|\byield(?:s|ing)|\bor)$"
)
_STEPS = _words(", ; then and so next now")
_UNSURE = re.compile(r"\b(?:could|might|may|perhaps|possibly|maybe)(?: also)?(?: be)?$")
_CONVERSIONS = (60.0, 24.0, 7.0, 12.0, 100.0, 1000.0, 3600.0)


def score(text: str, item: Item, truncated: bool) -> Score:
    """1.0 where the final number is the right one, 0.0 where it is another."""
    given = final_number(text, truncated)
    if isinstance(given, Unscored):
        return given
    return float(_same(given, number_of(item.answer)))


def final_number(text: str, truncated: bool = False) -> NumberOrUnscored:
    """The number that an answer ends with, or why there is none.

    >>> final_number("She sells 9 eggs at $2. Therefore, the answer is $18.")
    18.0
    >>> final_number("The answer is either 4 or 5.")
    Unscored(reason='two conflicting answers')

    Args:
        text: the answer.
        truncated: it was cut off at the token limit.
    """
    cut = truncated or is_loop(text)
    for statement in statements(text):
        if cut and not statement.text.strip():
            return missing(truncated)
        reading = _stated(statement, text, cut)
        if reading is not NOT_FOUND:
            return missing(truncated) if reading is CUT_OFF else reading
    if hashes := _HASHES.search(text, max(0, len(text) - 200)):
        line, ends, _ = text[hashes.end() :].partition("\n")
        return missing(truncated) if cut and not ends else _opening_number(plain(line))
    if cut:
        first, _, rest = text.partition("\n")
        whole = _PLAIN.fullmatch(first.strip("*_` "))
        return float(whole[1]) if whole and rest.strip() else missing(truncated)
    return _last_number(text)


def _stated(statement: Statement, text: str, cut: bool) -> NumberOrUnscored:
    """What an announced answer says; NOT_FOUND where it is no number."""
    content = statement.text.lstrip()
    is_clear = len(statement.after) < 4 if statement.is_closed else not cut
    if is_clear and (whole := _PLAIN.fullmatch(content)):
        return float(whole[1])
    if statement.is_closed:
        taken_back = correction(statement.after, follows=True)
        reading = _opening_number(plain(content))
    else:
        taken_back = correction(content)
        line = plain(_first_full_line(taken_back.before if taken_back else content))
        sentence = first_sentence(line)
        if cut and _reaches_end(content, text) and _is_cut(sentence):
            return CUT_OFF
        reading = _opening_number(sentence)
    if taken_back and not taken_back.confirms:
        return CUT_OFF if cut else _corrected(reading, taken_back)
    return reading


def _first_full_line(text: str) -> str:
    """The first line with a letter or digit."""
    for line in text.split("\n", 8):
        if any(map(str.isalnum, line)):
            return line
    return first_line(text)


def _corrected(reading: NumberOrUnscored, taken_back: Correction) -> NumberOrUnscored:
    """What a correction puts in the place of a reading."""
    later = _last_in_line(Line(plain(taken_back.rest.replace("\n", " "))))
    if later is not NOT_FOUND:
        return later
    return NOT_FOUND if taken_back.denies else reading


def _reaches_end(content: str, text: str) -> bool:
    """Whether the sentence is the last of the text, without a mark that ends it."""
    return (
        text.endswith(content.rstrip())
        and not _CLOSED.search(content.rstrip())
        and "\n" not in content.strip()
        and (first_sentence(content.strip()) == content.strip())
    )


def _is_cut(sentence: str) -> bool:
    """Whether the number of a sentence may go on where the text ends."""
    line = Line(sentence)
    if not line.quantities:
        return False
    rest = sentence[line.quantities[-1].end :].strip()
    if not rest or not rest[-1].isalnum():
        return rest not in (")", "]", "%")
    word = rest.lower()
    return any(other.startswith(word) for other in MAGNITUDES)


def _opening_number(sentence: str) -> NumberOrUnscored:
    """The number that a final statement gives."""
    if whole := _PLAIN.fullmatch(sentence):
        return float(whole[1])
    line = Line(sentence)
    numbers = line.quantities
    if not numbers:
        return NOT_FOUND
    if "±" in line.tokens:
        return CONFLICT
    if not _LEADS.issuperset(line.before(0)) or (
        numbers[0].in_words and not all(n.in_words for n in numbers) and numbers[0].first > 2
    ):
        return _last_in_line(line)
    return _first_in_line(line)


def _first_in_line(line: Line) -> NumberOrUnscored:
    """Of a statement that opens with its number: this, or what is said to come of it."""
    numbers = line.quantities
    current = numbers[0]
    conflict = current.is_range
    is_composite = current.is_computed
    for place in range(1, len(numbers)):
        number, words = numbers[place], line.before(place)
        if _is_denied(words):
            continue
        if not _REASONS.isdisjoint(words):
            break
        if _is_same(current, number):
            continue
        tail = _without_leads(words)
        if current.is_computed and number.is_computed and _STEPS.issuperset(words):
            current = number
        elif _is_result(line, place, tail, is_composite):
            current, conflict = number, number.is_range
            is_composite = number.is_computed
        elif (number.in_parentheses or "(" in words) and tail[-1:] != ["or"]:
            if conflict:
                current, conflict = number, False
        elif _are_alternatives(tail):
            conflict = conflict or not _is_conversion(words, current, number)
            is_composite = is_composite or "and" in tail
        elif tail and tail[-1] == "of":
            is_composite = True
        elif not words or _is_continued(words) or _UNSURE.search(" ".join(words)):
            conflict = True
    if conflict:
        return CONFLICT
    return NOT_FOUND if current.value is None else current.value


def _last_in_line(line: Line) -> NumberOrUnscored:
    """The last number of a line that does not open with it, apart from circumstances."""
    kept = _asserted(line)
    in_digits = [place for place in kept if not line.quantities[place].in_words]
    kept = in_digits or kept
    main = [place for place in kept if not _is_circumstance(line.before(place))] or kept
    if not main:
        return NOT_FOUND
    last = line.quantities[main[-1]]
    if last.is_range or (main[-1] - 1 in main and _is_left_open(line, main[-1])):
        return CONFLICT
    return NOT_FOUND if last.value is None else last.value


def _asserted(line: Line) -> list[int]:
    """Places of the numbers that a line asserts: not denied, no reason, not in parentheses."""
    kept: list[int] = []
    for place, number in enumerate(line.quantities):
        words = line.before(place)
        if kept and not _REASONS.isdisjoint(words):
            break
        if not (kept and number.in_parentheses) and not _is_denied(words):
            kept.append(place)
    return kept


def _is_left_open(line: Line, place: int) -> bool:
    """Whether a number is only one of two: "4 or 5", "between 4 and 5"."""
    one, other, words = line.quantities[place - 1], line.quantities[place], line.before(place)
    if one.is_computed > other.is_computed or _is_same(one, other):
        return False
    if _UNSURE.search(" ".join(words)):
        return True
    if words[:1] == [","] and len(words) > 2:
        return False
    if place == 1 and _LEADS.issuperset(line.before(0)) and _is_continued(words):
        return True
    if "or" not in words and "between" not in line.before(place - 1):
        return False
    return _are_alternatives(_without_leads(words))


def _last_number(text: str) -> NumberOrUnscored:
    """The number of the last line; in bold type before others."""
    line = last_line(text)
    for bold in reversed(_BOLD.findall(line)):
        reading = _last_in_line(Line(plain(bold)))
        if reading is not NOT_FOUND:
            return reading
    taken_back = correction(line)
    if taken_back and not taken_back.confirms:
        return _corrected(_last_in_line(Line(plain(taken_back.before))), taken_back)
    whole = Line(plain(line))
    if len(whole.quantities) == 1 and _LEADS.issuperset(whole.before(0)):
        return _first_in_line(whole)
    return _last_in_line(whole)


def _without_leads(words: Sequence[str]) -> list[str]:
    """The words without those at their end that only lead to a number."""
    end = len(words)
    while end and (words[end - 1] in _HEDGES or words[end - 1] in _BESIDE):
        end -= 1
    return list(words[:end])


def _is_denied(words: Sequence[str]) -> bool:
    before = " ".join(_without_leads(words))
    return bool(_DENIES.search(before)) and not _LIMITS.search(before)


def _is_result(line: Line, place: int, tail: Sequence[str], is_composite: bool) -> bool:
    """Whether the words before a number say that it comes of those before it."""
    number = line.quantities[place]
    following = line.tokens[number.last] if number.last < len(line.tokens) else ""
    found = _RESULTS.search(" ".join(tail))
    if not found or following in _CONTRARY:
        return bool(is_composite and tail and tail[-1] == ":")
    return found[0] != "or" or (is_composite and "," in tail)


def _are_alternatives(tail: Sequence[str]) -> bool:
    """Whether a number stands beside the one before it: "4 or 5", "18 dollars or 19"."""
    if not tail or tail[-1] not in _ALTERNATIVES:
        return False
    units = [word for word in tail[:-1] if word != ","]
    return len(units) < 4 and all(word.isalpha() or word in "()" for word in units)


def _is_continued(words: Sequence[str]) -> bool:
    """Whether a number goes on with a smaller unit: "6 feet 2 inches"."""
    return len(words) == 1 and words[0].isalpha() and words[0] not in (
        *_DEMOTES, "for", "at", "with", "on", "of", "x"
    )  # fmt: skip


def _is_circumstance(words: Sequence[str]) -> bool:
    """Whether a number says when or of what: "from 9 eggs", "after giving 3"."""
    tail = _without_leads(words)
    return bool(tail) and (
        tail[-1] in _DEMOTES
        or words[-2:] == ["of", "the"]
        or (len(tail) > 1 and tail[-2] in ("after", "by") and tail[-1].endswith("ing"))
    )


def _is_same(one: Quantity, other: Quantity) -> bool:
    return one.value is not None and other.value is not None and _same(one.value, other.value)


def _is_conversion(words: Sequence[str], one: Quantity, other: Quantity) -> bool:
    """Whether "or" names the same again in another unit: "1.5 hours or 90 minutes"."""
    if "or" not in words or not one.value or not other.value:
        return False
    ratio = other.value / one.value
    return any(_same(ratio, rate) or _same(ratio * rate, 1.0) for rate in _CONVERSIONS)


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-12)
