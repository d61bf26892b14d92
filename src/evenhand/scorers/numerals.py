"""Numbers as people and models write them, read whole or not at all.

`quantities` finds them in a line: digits with thousands separators of any habit, words ("two and
a half"), magnitudes ("$12M"), fractions, powers, and calculations, of which it gives the result:
what follows the last "=" or, where there is none, what the calculation comes to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple


def _listed(words: str) -> list[str]:
    return words.split()


_UNITS = {
    word: float(value)
    for value, word in enumerate(
        _listed(
            "zero one two three four five six seven eight nine ten eleven twelve thirteen "
            "fourteen fifteen sixteen seventeen eighteen nineteen"
        )
    )
}
_TENS = {
    word: 10.0 * value
    for value, word in enumerate(
        _listed("twenty thirty forty fifty sixty seventy eighty ninety"), 2
    )
}
_SCALES = {
    "thousand": 1e3,
    "million": 1e6,
    "billion": 1e9,
    "trillion": 1e12,
    "lakh": 1e5,
    "crore": 1e7,
}
_GROUPS = {"hundred": 100.0, "dozen": 12.0, **_SCALES}
_PARTS = {
    **dict.fromkeys(("half", "halves"), 2.0),
    **dict.fromkeys(("quarter", "quarters", "fourth", "fourths"), 4.0),
    **dict.fromkeys(("third", "thirds"), 3.0),
    **dict.fromkeys(("fifth", "fifths"), 5.0),
    **dict.fromkeys(("sixth", "sixths"), 6.0),
    **dict.fromkeys(("eighth", "eighths"), 8.0),
    **dict.fromkeys(("tenth", "tenths"), 10.0),
    **dict.fromkeys(("hundredth", "hundredths"), 100.0),
}
_SUFFIXES = {
    **dict.fromkeys(("k", "K"), 1e3),
    **dict.fromkeys(("M", "mn", "mln"), 1e6),
    **dict.fromkeys(("B", "bn", "Bn"), 1e9),
    **dict.fromkeys(("T", "tn"), 1e12),
    "万": 1e4,
    "萬": 1e4,
    "億": 1e8,
    "亿": 1e8,
}
_MONEY_SUFFIXES = {"m": 1e6, "b": 1e9, "t": 1e12}
MAGNITUDES = (*_GROUPS, "half", "point", "times", "plus", "minus", "and", "or", "over")
"""Words that, after a number, make another number of it."""

_CURRENCIES = frozenset("$€£¥₹¢₩₽₺")
_PERCENT = frozenset(("%", "percent", "¢", "°"))
_CODES = frozenset(("us", "ca", "a", "au", "nz", "hk", "s", "r", "usd", "eur", "gbp", "rs", "inr"))
_UNKNOWNS = frozenset("xyznabiπλθ")
_NOT_ONE_BEFORE = frozenset(
    _listed("the this that each no which any every only last first another other")
)
_NOT_ONE_AFTER = frozenset(_listed("of can could must may who that would should needs has is"))
_NO_UNIT = frozenset(
    _listed(
        "and or so because since as for if then than but which who that is are was were "
        "hence thus therefore not to i.e while when"
    )
)
_WORD_OPERATORS = {"plus": "+", "minus": "-", "times": "*", "multiplied": "*", "divided": "/"}
_OPERATORS = frozenset((*_WORD_OPERATORS, "x"))
_MOST_EXPONENT = 400
_DEEPEST = 8

_TOKEN = re.compile(
    r"""(?P<number>\d+[ ](?:and[ ])?\d{1,4}[ ]?/[ ]?\d{1,4}(?![\d/])
          |\d{1,3}(?:[ ]\d{3})+(?:[.,]\d{1,9})?(?!\d)
          |\d+(?:[.,'_:]\d+)*|\.\d+)
        (?:[eE](?P<e>[+-]?\d{1,3})(?!\w|\.\d))?(?P<ordinal>(?:st|nd|rd|th)\b)?
      |(?P<word>[^\W\d_]+(?:'[^\W\d_]+)?)
      |\*\*|\S""",
    re.VERBOSE,
)
_STARTS_WITH_ZERO = re.compile(r"0,\d+|\d+,\d{1,2}|\d+,\d{4,}")
_ENGLISH = re.compile(
    r"\d+|\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d*\.\d+|\d{1,2}(?:,\d{2})+,\d{3}(?:\.\d+)?"
)
_POINTS = re.compile(r"\d{1,3}(?:\.\d{3}){2,}(?:,\d+)?|\d{1,3}(?:\.\d{3})+,\d+")
_SPACES = re.compile(r"\d{1,3}(?:[ '_]\d{3})+(?:[.,]\d+)?")
_MIXED = re.compile(r"(\d+) (?:and )?(\d+) ?/ ?(\d+)")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number in a line.

    Attributes:
        value: None where it is there, but cannot be read as one number: "3x", "10:30".
        first, last: places of its first token and of the one after it, in `Line.tokens`.
        end: where it ends in the line.
        is_computed: the result of a calculation.
        is_range: two numbers with a dash between them.
        in_words: written without digits.
        in_parentheses: something stands before them.
    """

    value: float | None
    first: int
    last: int
    end: int
    is_computed: bool = False
    is_range: bool = False
    in_words: bool = False
    in_parentheses: bool = False


class Line:
    """A line of text, taken apart.

    Attributes:
        text: as `plain` makes it.
        tokens: numbers, words in lower case, and single signs.
        quantities: the numbers in it, in order.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._found = list(_TOKEN.finditer(text))
        self.tokens = [found[0].lower() for found in self._found]
        self.quantities = self._quantities()

    def before(self, place: int) -> list[str]:
        """The tokens before the quantity at that place, as far as the one before it."""
        start = self.quantities[place - 1].last if place else 0
        return self.tokens[start : self.quantities[place].first]

    def _quantities(self) -> list[Quantity]:
        found = []
        at, depth = 0, 0
        while at < len(self.tokens):
            if self.can_start(at) and (quantity := self._chain(at, depth > 0)):
                found.append(quantity)
                at = max(quantity.last, at + 1)
                continue
            if self.tokens[at] in _BRACKETS:
                depth += 1 if self.tokens[at] in "([" else -1
            at += 1
        return found

    def _chain(self, at: int, in_parentheses: bool) -> Quantity | None:
        """A calculation with what it is said to come to: "3 * 4 = 12"."""
        reading = _Expression(self, at)
        value = reading.sum()
        if value is None:
            return None
        number: float | None = value
        opens_group = self.tokens[at] == "("
        start, computed, ranged = at, reading.operators > 0, reading.is_range()
        if reading.is_date() or value != value:  # not a number
            number = None
        end = reading.at
        while (equals := self._equals(end)) and (right := self._right_side(equals)):
            number = None if number is None and not reading.is_date() else right[0]
            end = right[1]
            computed, ranged = True, False
        return Quantity(
            number,
            start,
            end,
            self._found[end - 1].end(),
            computed,
            ranged,
            not any(map(_DIGIT, self.tokens[start:end])),
            in_parentheses or (opens_group and start > 0 and not computed),
        )

    def can_start(self, at: int) -> bool:
        token = self.tokens[at]
        if token[0].isdigit() or token[0] == ".":
            return self._found[at]["number"] is not None and not self.is_in_a_name(at)
        if token in "-+(" or token in _CURRENCIES:
            return at + 1 < len(self.tokens)
        return token in _STARTING_WORDS

    def is_in_a_name(self, at: int) -> bool:
        """Whether a letter stands directly before the digits: "H2O", but not "US$5" or "x5"."""
        if not at or not self.touches(at):
            return False
        before = self.tokens[at - 1]
        multiplies = before == "x" and at > 1 and self._found[at - 2]["number"] is not None
        return self._found[at - 1]["word"] is not None and before not in _CODES and not multiplies

    def touches(self, at: int) -> bool:
        """Whether no space stands before the token."""
        return at > 0 and self._found[at - 1].end() == self._found[at].start()

    def after_units(self, at: int) -> int:
        """The place after up to four words that are a unit: "eggs", "km/h", "cm^2"."""
        count = 0
        while at < len(self.tokens) and count < 4:
            token = self.tokens[at]
            if self._found[at]["word"] and token not in _NO_UNIT and token not in _OPERATORS:
                at, count = at + 1, count + 1
            elif token in "/^" and at + 1 < len(self.tokens) and count:
                at += 2
            elif token == "/" and at + 1 < len(self.tokens) and self._found[at + 1]["word"]:
                at, count = at + 2, count + 1
            else:
                break
        return at

    def _equals(self, at: int) -> int:
        """The place after an equals sign that follows there, perhaps after a unit; or 0."""
        for place in (at, self.after_units(at)):
            if self.tokens[place : place + 2] == ["!", "="]:
                return place + 2
            if place < len(self.tokens) and self.tokens[place] == "=":
                return place + 1
        return 0

    def _right_side(self, at: int) -> tuple[float | None, int] | None:
        """What is on the right of an equals sign: its value and where it ends."""
        for place in range(at, min(at + 4, len(self.tokens))):
            if self.can_start(place):
                reading = _Expression(self, place)
                if (value := reading.sum()) is not None:
                    return (None if value != value else value), reading.at
            if not self._found[place]["word"] and self.tokens[place] not in "=>:":
                return None
        return None

    def number_at(self, at: int) -> re.Match[str] | None:
        """The token as a match, where it is a number in digits."""
        found = self._found[at] if at < len(self.tokens) else None
        return found if found and found["number"] else None


_STARTING_WORDS = frozenset(
    (*_UNITS, *_TENS, "a", "an", "half", "minus", "negative", "sqrt", "hundred", "thousand")
)
_BRACKETS = frozenset("()[]")
_DIGIT = re.compile(r"\d").search
_NAN = float("nan")


class _Operator(NamedTuple):
    sign: str
    at: int
    start: int
    """Where it begins with the unit before it."""


class _Expression:
    """A calculation being read from a line: plus and minus last, powers first.

    A part that cannot be read makes the whole not a number; no part at all gives None.
    """

    def __init__(self, line: Line, at: int) -> None:
        self.line = line
        self.start = self.at = at
        self.operators = 0
        self._signs: list[str] = []
        self._spaced = False
        self._numbers: list[float] = []
        self._depth = 0

    def is_range(self) -> bool:
        """Whether it is rather "4-5" than a subtraction."""
        return self._signs == ["-"] and self._numbers[0] < self._numbers[-1]

    def is_date(self) -> bool:
        """Whether it is rather "12/25/2020" or "2020-12-25" than a calculation."""
        return self._signs in (["/", "/"], ["-", "-"]) and not self._spaced

    def sum(self) -> float | None:
        total = self._product()
        while total is not None and (operator := self._operator(("+", "-"))):
            right = self._product()
            if right is None:
                self.at = operator.start
                break
            self._count(operator)
            total = total + right if operator.sign == "+" else total - right
        return total

    def _product(self) -> float | None:
        total = self._power()
        while total is not None and (operator := self._operator(("*", "/"))):
            right = self._power()
            if right is None:
                self.at = operator.start
                break
            self._count(operator)
            if operator.sign == "*":
                total *= right
            else:
                total = total / right if right else _NAN
        return total

    def _count(self, operator: _Operator) -> None:
        self.operators += 1
        self._signs.append(operator.sign)
        self._spaced |= not self.line.touches(operator.at)

    def _operator(self, signs: tuple[str, str]) -> _Operator | None:
        """The operator that comes next, perhaps after a unit; moves past it."""
        start, tokens = self.at, self.line.tokens
        for place in (start, self.line.after_units(start)):
            if place + 1 >= len(tokens):
                return None
            token = tokens[place]
            sign = "*" if token == "x" else _WORD_OPERATORS.get(token, token)
            if sign in signs and (token != "x" or self._multiplies(place)):
                self.at = place + 1 + (tokens[place + 1] == "by")
                return _Operator(sign, place, start)
        return None

    def _starts(self, at: int) -> bool:
        return at < len(self.line.tokens) and self.line.can_start(at)

    def _multiplies(self, at: int) -> bool:
        """Whether the letter x there stands for a sign: "3 x 4", but not "3x + 4"."""
        return self._starts(at + 1) and self.line.tokens[at + 1] not in "+-"

    def _power(self) -> float | None:
        base = self._operand()
        tokens = self.line.tokens
        if base is None or self.at + 1 >= len(tokens) or tokens[self.at] not in ("^", "**"):
            return base
        at = self.at
        self.at += 1
        exponent = self._operand()
        if exponent is None:
            self.at = at
            return _NAN
        self.operators += 1
        if abs(exponent) > _MOST_EXPONENT:
            return _NAN
        try:
            result = base**exponent
        except (OverflowError, ZeroDivisionError):
            return _NAN
        return result if isinstance(result, float) else _NAN

    def _operand(self) -> float | None:
        tokens = self.line.tokens
        negative, money, start = False, False, self.at
        for _ in range(4):
            token = tokens[self.at] if self.at < len(tokens) else ""
            if token in ("-", "+", "minus", "negative"):
                negative ^= token != "+"
            elif token in _CURRENCIES:
                money = True
            elif not (token in _CODES and token not in ("a", "s", "r") and self.at > start):
                break
            self.at += 1
        value = self._unsigned(money)
        if value is None:
            self.at = start
            return None
        return -value if negative else value

    def _unsigned(self, money: bool) -> float | None:
        line = self.line
        if found := line.number_at(self.at):
            if line.is_in_a_name(self.at):
                return None
            return self._digits(found, money)
        if self.at >= len(line.tokens):
            return None
        token = line.tokens[self.at]
        if token in ("(", "sqrt"):
            return self._group(root=token == "sqrt")
        return self._words()

    def _group(self, *, root: bool) -> float | None:
        at, tokens = self.at, self.line.tokens
        if self._depth == _DEEPEST:
            return None
        self._depth += 1
        self.at += 1
        value: float | None
        if root and self.at < len(tokens) and tokens[self.at] != "(":
            value = self._unsigned(money=False)
        else:
            self.at += root
            count, signs, numbers = self.operators, self._signs[:], self._numbers[:]
            value = self.sum()
            self.operators, self._signs, self._numbers = count, signs, numbers
            closed = self.at < len(tokens) and tokens[self.at] == ")"
            value = value if closed else None
            self.at += 1
        self._depth -= 1
        if value is None:
            self.at = at
            return None
        self._numbers.append(value)
        if root:
            return value**0.5 if value >= 0 else _NAN
        return value

    def _digits(self, found: re.Match[str], money: bool) -> float:
        value = _number(found["number"])
        if found["e"]:
            value *= float(f"1e{found['e']}")
        self.at += 1
        tokens = self.line.tokens
        if self.at < len(tokens):
            value = self._past_percent(
                self._with_cents(self._multiplied(value, found.end(), money))
            )
            while self.at < len(tokens) and tokens[self.at] in _CURRENCIES:
                self.at += 1
        self._numbers.append(value)
        return value

    def _multiplied(self, value: float, end: int, money: bool) -> float:
        """A number with what directly follows it: "5k", "3 million", "2 and a half", "3x"."""
        token, touching = self.line.tokens[self.at], self.line.touches(self.at)
        written = self.line.text[end : end + len(token)]
        if (touching or money) and written in _SUFFIXES:
            self.at += 1
            return value * _SUFFIXES[written]
        if money and token in _MONEY_SUFFIXES:
            self.at += 1
            return value * _MONEY_SUFFIXES[token]
        if token in _GROUPS:
            return self._scaled(value)
        if touching and token in _UNKNOWNS and not (token == "x" and self._multiplies(self.at)):
            self.at += 1
            return _NAN
        if token == "and" and self._part_follows(self.at + 1):
            return self._scaled(value + self._part(self.at + 1))
        if token == "sqrt" or (touching and token == "("):
            inside = self._group(root=token == "sqrt")
            return _NAN if inside is None else value * inside
        return value

    def _past_percent(self, value: float) -> float:
        tokens = self.line.tokens
        while self.at < len(tokens) and tokens[self.at] in _PERCENT:
            self.at += 1
            if tokens[self.at : self.at + 1] == ["of"] and self._starts(self.at + 1):
                value *= self._share() / 100
        return value

    def _share(self) -> float:
        """What a percentage is of: "10% of 180"."""
        at = self.at
        self.at += 1
        whole = self._power()
        if whole is None:
            self.at = at
            return _NAN
        self.operators += 1
        return whole

    def _with_cents(self, value: float) -> float:
        tokens, at = self.line.tokens, self.at
        if tokens[at : at + 2] in (["dollars", "and"], ["euros", "and"], ["pounds", "and"]):
            found = self.line.number_at(at + 2)
            if found and tokens[at + 3 : at + 4] in (["cents"], ["cent"], ["pence"]):
                self.at = at + 4
                return value + _number(found["number"]) / 100
        return value

    def _scaled(self, value: float) -> float:
        tokens = self.line.tokens
        while self.at < len(tokens) and tokens[self.at] in _GROUPS:
            value *= _GROUPS[tokens[self.at]]
            self.at += 1
        return value

    def _part_follows(self, at: int) -> bool:
        """Whether "a half" or "three quarters" stands there."""
        tokens = self.line.tokens[at : at + 3]
        if len(tokens) > 2 and tokens[1] == "-":
            tokens = [tokens[0], tokens[2]]
        return (
            len(tokens) > 1
            and (tokens[0] in ("a", "an") or tokens[0] in _UNITS)
            and tokens[1] in _PARTS
        )

    def _part(self, at: int) -> float:
        tokens = self.line.tokens
        hyphen = tokens[at + 1] == "-"
        self.at = at + 2 + hyphen
        return _UNITS.get(tokens[at], 1.0) / _PARTS[tokens[at + 1 + hyphen]]

    def _words(self) -> float | None:
        value = self._cardinal()
        if value is None:
            return None
        self._numbers.append(value)
        tokens = self.line.tokens
        if self.at < len(tokens) and tokens[self.at] in ("%", "percent"):
            self.at += 1
        if self.at < len(tokens) and (tokens[self.at] in _UNITS or tokens[self.at] in _TENS):
            while self.at < len(tokens) and (tokens[self.at] in _UNITS or tokens[self.at] in _TENS):
                self.at += 1
            return _NAN  # "nineteen eighty four" is none that can be relied on
        return value

    def _cardinal(self) -> float | None:
        tokens, at = self.line.tokens, self.at
        token = tokens[at]
        if self._part_follows(at):
            return self._scaled(self._part(at))
        following = tokens[at + 1] if at + 1 < len(tokens) else ""
        if token == "half":
            self.at = at + 1 + (following in ("a", "an") and tokens[at + 2 : at + 3] != [])
            if self.at == at + 2 and tokens[self.at] not in _GROUPS:
                self.at = at + 1
            return self._scaled(0.5)
        if token in ("a", "an"):
            if following not in _GROUPS:
                return None
            self.at = at + 1
            group = _GROUPS[following]
            scaled = self._scaled(1.0)
            if tokens[self.at : self.at + 1] == ["and"] and self._part_follows(self.at + 1):
                scaled += group * self._part(self.at + 1)  # "a dozen and a half"
            return scaled
        if token == "one" and (
            following in _NOT_ONE_AFTER or (at and tokens[at - 1] in _NOT_ONE_BEFORE)
        ):
            return None
        value = self._whole()
        if value is None:
            return None
        at = self.at
        if tokens[at : at + 1] == ["point"]:
            value += self._decimals(at + 1)
        elif tokens[at : at + 1] == ["and"] and self._part_follows(at + 1):
            value = self._scaled(value + self._part(at + 1))
        return value

    def _decimals(self, at: int) -> float:
        tokens, digits = self.line.tokens, ""
        while at < len(tokens) and _UNITS.get(tokens[at], 10.0) < 10:
            digits += str(int(_UNITS[tokens[at]]))
            at += 1
        if digits:
            self.at = at
        return float(f"0.{digits or 0}")

    def _whole(self) -> float | None:
        """One hundred and twenty-five; None where no such word stands there."""
        tokens, at = self.line.tokens, self.at
        total, group, last = 0.0, 0.0, ""
        while at < len(tokens):
            token = tokens[at]
            if last and token == "-" and self.line.touches(at) and at + 1 < len(tokens):
                if tokens[at + 1] not in _UNITS:
                    break
                at += 1
                token = tokens[at]
            if token in _UNITS and last in ("", "hundred", "scale", "tens"):
                if last == "tens" and not 0 < _UNITS[token] < 10:
                    break
                group, last = group + _UNITS[token], "unit"
            elif token in _TENS and last in ("", "hundred", "scale"):
                group, last = group + _TENS[token], "tens"
            elif token in ("hundred", "dozen") and last in ("", "unit", "tens"):
                group, last = (group or 1.0) * _GROUPS[token], "hundred"
            elif token in _SCALES and last in ("", "unit", "tens", "hundred"):
                total, group, last = total + (group or 1.0) * _SCALES[token], 0.0, "scale"
            elif (
                token in (("and",) if last == "hundred" else ("and", ","))
                and last in ("hundred", "scale")
                and at + 1 < len(tokens)
                and (tokens[at + 1] in _UNITS or tokens[at + 1] in _TENS)
            ):
                pass
            else:
                break
            at += 1
        if not last:
            return None
        self.at = at
        return total + group


def _number(written: str) -> float:
    """The value of digits with separators; not a number where their meaning is unclear."""
    if written.isdigit():
        return float(written)
    if mixed := _MIXED.fullmatch(written):
        bottom = float(mixed[3])
        return float(mixed[1]) + float(mixed[2]) / bottom if bottom else _NAN
    if _STARTS_WITH_ZERO.fullmatch(written):
        return float(written.replace(",", "."))
    if _ENGLISH.fullmatch(written):
        return float(written.replace(",", ""))
    if _POINTS.fullmatch(written):
        return float(written.replace(".", "").replace(",", "."))
    if _SPACES.fullmatch(written):
        return float(re.sub("[ '_]", "", written).replace(",", "."))
    return _NAN
