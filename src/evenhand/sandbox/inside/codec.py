"""Values on the wire between the tests and the candidate: plain data and nothing else.

A value is a letter and what follows it; a length or a count ends with a colon. Nothing that is
read can name code to run, so a hostile sender gets no further than a wrong value. Pickle and
marshal are no choice: they trust their input.

What is not plain data stays where it is. `away` gives it a number, and the other side holds
something that stands for it.

This file is run inside sandboxes as source text, and imports next to nothing, to start fast.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # importing `typing` would take longer than all else here
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Put = Callable[[bytes], None]
    Away = Callable[[object], int]
    Home = Callable[[int], object]

MOST_BYTES = 8 * 2**20
"""Of one message."""
MOST_DEPTH = 200
"""Of containers within containers."""

_BY_PARTS: dict[str, tuple[str, Callable[[Any], tuple[object, ...]]]] = {
    "bytearray": ("builtins", lambda v: (bytes(v),)),
    "complex": ("builtins", lambda v: (v.real, v.imag)),
    "range": ("builtins", lambda v: (v.start, v.stop, v.step)),
    "Counter": ("collections", lambda v: (dict(v),)),
    "OrderedDict": ("collections", lambda v: (list(v.items()),)),
    "deque": ("collections", lambda v: (list(v), v.maxlen)),
    "Fraction": ("fractions", lambda v: (v.numerator, v.denominator)),
    "Decimal": ("decimal", lambda v: (str(v),)),
    "date": ("datetime", lambda v: (v.year, v.month, v.day)),
    "time": ("datetime", lambda v: (v.hour, v.minute, v.second, v.microsecond)),
    "datetime": (
        "datetime",
        lambda v: (v.year, v.month, v.day, v.hour, v.minute, v.second, v.microsecond),
    ),
    "timedelta": ("datetime", lambda v: (v.days, v.seconds, v.microseconds)),
    "array": ("array", lambda v: (v.typecode, v.tolist())),
}
"""Types of the standard library that are data: name -> (module, the arguments that make one)."""

_TYPES: dict[str, type] = {
    t.__name__: t
    for t in (bool, int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset)
} | {"NoneType": type(None), "range": range}
_SEQUENCES: dict[str, Any] = {"l": list, "t": tuple, "S": set, "F": frozenset}


class BadValueError(Exception):
    """A message that is malformed, too long or too deep."""


def encode(value: object, away: Away) -> bytes:
    """The value as bytes.

    Args:
        away: (object that is no plain data) -> its number; may raise TypeError.
    """
    parts: list[bytes] = []
    _write(value, parts.append, away, 0)
    encoded = b"".join(parts)
    if len(encoded) > MOST_BYTES:
        raise BadValueError("a value of more than 8 MiB")
    return encoded


def _write(value: Any, put: Put, away: Away, depth: int) -> None:
    kind = type(value)
    if depth > MOST_DEPTH:
        raise BadValueError("a value that is nested too deep")
    if value is None:
        put(b"n")
    elif kind is bool:
        put(b"y" if value else b"z")
    elif kind is str:
        _write_sized(b"s", value.encode("utf-8", "surrogatepass"), put)
    elif kind is int:
        _write_sized(b"i", b"%x" % value, put)
    elif kind is float:
        _write_sized(b"f", value.hex().encode(), put)
    elif kind is bytes:
        _write_sized(b"b", value, put)
    elif kind is dict:
        put(b"d%d:" % len(value))
        for key, held in value.items():
            _write(key, put, away, depth + 1)
            _write(held, put, away, depth + 1)
    elif kind in _SEQUENCES.values():
        letter = next(letter for letter, sequence in _SEQUENCES.items() if sequence is kind)
        put(b"%s%d:" % (letter.encode(), len(value)))
        for held in value:
            _write(held, put, away, depth + 1)
    elif kind is type and value in _TYPES.values():
        _write_sized(b"T", value.__name__.encode(), put)
    elif (known := _BY_PARTS.get(kind.__name__)) and kind.__module__ == known[0]:
        _write_sized(b"p", kind.__name__.encode(), put)
        _write(known[1](value), put, away, depth + 1)
    else:
        _write_other(value, put, away, depth)


def _write_other(value: Any, put: Put, away: Away, depth: int) -> None:
    """A subclass of a plain type as that type, whatever it overrides; all else by its number."""
    if isinstance(value, dict):
        return _write(dict(dict.items(value)), put, away, depth)
    for kind in _SEQUENCES.values():
        if isinstance(value, kind):
            return _write(kind(kind.__iter__(value)), put, away, depth)
    number: Any
    for number in (int, float, bytes):
        if isinstance(value, number):
            return _write(number.__add__(value, number()), put, away, depth)
    if isinstance(value, str):
        return _write("".join(str.__iter__(value)), put, away, depth)
    return put(b"h%d:" % away(value))


def _write_sized(letter: bytes, content: bytes, put: Put) -> None:
    put(b"%s%d:" % (letter, len(content)))
    put(content)


def decode(message: bytes, home: Home) -> Any:
    """The value of some bytes; raises BadValueError for anything that `encode` does not write.

    Args:
        home: (number) -> what stands for an object of the other side, or the object itself.
    """
    value, end = _read(message, 0, home, 0)
    if end != len(message):
        raise BadValueError("more than one value in a message")
    return value


def _read(message: bytes, at: int, home: Home, depth: int) -> tuple[Any, int]:
    if depth > MOST_DEPTH:
        raise BadValueError("a value that is nested too deep")
    letter = message[at : at + 1].decode("latin-1")
    at += 1
    if letter in ("n", "y", "z"):
        return {"n": None, "y": True, "z": False}[letter], at
    number, at = _read_number(message, at)
    if letter == "h":
        return home(number), at
    if letter in _SEQUENCES:
        held = []
        for _ in range(number):
            value, at = _read(message, at, home, depth + 1)
            held.append(value)
        return _made(_SEQUENCES[letter], held), at
    if letter == "d":
        pairs = []
        for _ in range(number):
            key, at = _read(message, at, home, depth + 1)
            value, at = _read(message, at, home, depth + 1)
            pairs.append((key, value))
        return _made(dict, pairs), at
    content = message[at : at + number]
    at += number
    if len(content) != number:
        raise BadValueError("a message that is cut off")
    if letter == "p":
        parts, at = _read(message, at, home, depth + 1)
        return _from_parts(content.decode("latin-1"), parts), at
    return _from_content(letter, content), at


def _read_number(message: bytes, at: int) -> tuple[int, int]:
    end = message.find(b":", at, at + 12)
    digits = message[at:end]
    if end < 0 or not digits.isdigit() or int(digits) > MOST_BYTES:
        raise BadValueError("a message without a length")
    return int(digits), end + 1


def _from_content(letter: str, content: bytes) -> object:
    try:
        if letter == "s":
            return content.decode("utf-8", "surrogatepass")
        if letter == "i":
            return int(content, 16)
        if letter == "f":
            return float.fromhex(content.decode())
        if letter == "b":
            return content
        if letter == "T":
            return _TYPES[content.decode()]
    except (ValueError, OverflowError, KeyError):
        pass
    raise BadValueError("a value that cannot be read")


def _from_parts(name: str, parts: Iterable[object]) -> object:
    try:
        module, parts_of = _BY_PARTS[name]
        made = getattr(__import__(module), name)(*parts)
        # datetime.date(b"...") and bytearray(9) exist, but are not what `encode` writes.
        as_written = [type(part) for part in parts_of(made)] == [type(part) for part in parts]
    except Exception:
        as_written = False
    if not as_written:
        raise BadValueError("a value that cannot be made")
    return made


def _made(kind: Callable[[list[Any]], object], held: list[Any]) -> object:
    try:
        return kind(held)
    except TypeError:  # a key that cannot be one
        raise BadValueError("a value that cannot be made") from None


def send(fd: int, letter: bytes, content: bytes = b"") -> None:
    """Write one message: a letter that says what it is, its length, its content."""
    message = letter + len(content).to_bytes(4, "big") + content
    view = memoryview(message)
    while view:
        view = view[os.write(fd, view) :]


def receive(fd: int) -> tuple[bytes, bytes]:
    """(letter, content) of the next message; EOFError where there is none."""
    head = _exactly(fd, 5)
    size = int.from_bytes(head[1:], "big")
    if size > MOST_BYTES + 1024:
        raise BadValueError("a message of more than 8 MiB")
    return head[:1], _exactly(fd, size)


def _exactly(fd: int, count: int) -> bytes:
    parts = []
    while count:
        part = os.read(fd, min(count, 1 << 16))
        if not part:
            raise EOFError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
