"""Values on the wire: what is plain data comes back as it was, and nothing else comes through."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import datetime, timedelta
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.sandbox.inside.codec import BadValueError, decode, encode

KEYS = st.none() | st.booleans() | st.integers() | st.text() | st.binary()
VALUES = st.recursive(
    KEYS | st.floats(allow_nan=False) | st.complex_numbers(allow_nan=False),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(KEYS, inner)
        | st.sets(KEYS)
        | st.frozensets(KEYS)
    ),
)


class Number(IntEnum):
    ONE = 1


class Liar(list):  # type: ignore[type-arg]
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None


def away(held: object) -> int:
    raise TypeError(type(held).__name__)


def home(number: int) -> Any:
    raise BadValueError(number)


def there_and_back(value: object) -> Any:
    return decode(encode(value, away), home)


@given(VALUES)
@pytest.mark.slow
def test_comes_back(value: object) -> None:
    back = there_and_back(value)
    assert back == value
    assert type(back) is type(value)
    assert repr(back) == repr(value) or isinstance(value, set | frozenset | dict | list | tuple)


@pytest.mark.parametrize(
    "value",
    [
        Counter("abca"),
        OrderedDict(b=1, a=2),
        deque([1, 2], 5),
        range(1, 9, 3),
        bytearray(b"x"),
        Fraction(-1, 3),
        Decimal("1.50"),
        datetime(2024, 2, 29, 12, 30),
        timedelta(days=-1, seconds=5),
        int,
        type(None),
        -0.0,
        "\ud800",
    ],
)
def test_other_data(value: object) -> None:
    back = there_and_back(value)
    assert (type(back), repr(back)) == (type(value), repr(value))


def test_numbers_that_have_no_short_text() -> None:
    assert there_and_back(-(10**5000)) == -(10**5000)
    assert math.isnan(there_and_back(math.nan))


def test_subclasses_are_no_more_than_their_data() -> None:
    assert there_and_back(defaultdict(list, a=[1])) == {"a": [1]}
    assert type(there_and_back(Number.ONE)) is int
    assert type(there_and_back(Liar([1]))) is list
    assert there_and_back(Liar([1])) != [2]


def test_all_else_goes_by_number() -> None:
    held = object()
    message = encode([held, 1], lambda found: 7 if found is held else 0)
    assert decode(message, lambda number: f"no. {number}") == ["no. 7", 1]


def test_bounds() -> None:
    deep: list[Any] = []
    for _ in range(300):
        deep = [deep]
    with pytest.raises(BadValueError, match="too deep"):
        encode(deep, away)
    with pytest.raises(BadValueError, match="8 MiB"):
        encode("x" * 2**23, away)
    with pytest.raises(BadValueError, match="too deep"):
        decode(b"l1:" * 10_000 + b"n", home)


@given(st.binary() | st.text(alphabet="nyzsifbdltSFTph0123456789:ab").map(str.encode))
def test_any_bytes_are_a_value_or_refused(message: bytes) -> None:
    try:
        value = decode(message, home)
    except BadValueError:
        return
    assert encode(value, away)


@pytest.mark.parametrize(
    "message",
    [b"", b"n" * 2, b"s5:abc", b"s-1:", b"s9999999999:", b"i2:zz", b"f3:xyz", b"T4:open",
     b"d1:l0:n", b"p6:systemt0:", b"p9:Counter_1n", b"p5:ranget1:s1:x", b"x1:",
     b"S1:l0:", b"s2:\xff\xff", b"p9:bytearrayt1:i1:9", b"p4:datet1:b4:\x07\xe8\x02\xff"],
)  # fmt: skip
def test_malformed(message: bytes) -> None:
    with pytest.raises(BadValueError):
        decode(message, home)
