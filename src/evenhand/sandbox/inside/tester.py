"""The tests' side: run tests whose functions live in another process.

Here are the tests, what they expect, and the comparison. What the candidate defines is in a
sandbox of its own and is called by message; only plain data comes back (`codec`), so nothing that
the candidate wrote ever runs here. A value that is no plain data stays there: the test holds a
`Remote`, which equals nothing but itself, whatever its class says.

One of these processes serves many programs: each is tested in a fork, from which nothing
remains. Where a fork ends before its verdict, all ends: it may have left half an answer unread,
which is the candidate's and must not be taken for the next job.

Messages in:  J job    A answer of the candidate    X the candidate is gone
Messages out: R ready  C call for the candidate     V verdict
"""

from __future__ import annotations

import builtins
import os
import sys

from evenhand.sandbox.inside.codec import decode, encode, receive, send
from evenhand.sandbox.inside.limit import limit, refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_IN, _OUT = 10, 11


def main(cpu: str, memory: str, file_size: str, system_calls: str) -> None:
    """Serve jobs until there are no more.

    Args:
        system_calls: filter for the forks, for this process must be able to fork; may be empty.
    """
    if system_calls:
        import ctypes  # noqa: F401  # once, and not in every fork
    os.dup2(0, _IN)
    os.dup2(1, _OUT)
    os.dup2(2, 1)  # what a test prints is no message
    send(_OUT, b"R")
    while True:
        try:
            _, job = receive(_IN)
        except EOFError:
            return
        child = os.fork()
        if not child:
            try:
                limit(int(cpu), int(memory), int(file_size))
                if system_calls:
                    refuse(bytes.fromhex(system_calls))
                _end(_failed(job))
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        if status:
            return


def _end(failed: str) -> None:
    """Give the verdict, an empty one where all tests passed, and end the fork."""
    send(_OUT, b"V", encode(failed[:500], _no_number))
    os._exit(0)


def _failed(job: bytes) -> str:
    try:
        _test(*decode(job, _no_object))
    except AssertionError as error:
        return f"a test failed: {error}" if str(error) else "a test failed"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _test(before: str, names: list[str], setup: str, tests: list[str]) -> None:
    """Run the tests.

    Args:
        before: code that is run before the candidate's names are there.
        names: what the candidate may define; all other names are the tests' own.
        setup: code that is run with them.
        tests: each passes if it raises nothing.
    """
    sys.modules["tests"] = module = type(sys)("tests")
    held = module.__dict__
    _execute(before, held)
    found = _ask("names", names)
    held.update({name: found[name] for name in names if name in found})
    _execute(setup, held)
    for test in tests:
        _execute(test, held)


def _execute(source: str, names: dict[str, Any]) -> None:
    exec(compile(source, "<tests>", "exec", dont_inherit=True), names)


class RaisedError(Exception):
    """The candidate raised an exception of a class that is not built in."""


class Remote:
    """Something in the candidate's process."""

    __slots__ = ("_number",)
    _number: int

    def __init__(self, number: int) -> None:
        object.__setattr__(self, "_number", number)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Remote) and other._number == self._number

    def __hash__(self) -> int:
        return hash(self._number)

    def __call__(self, *args: object, **kwargs: object) -> Any:
        return _ask("call", self, list(args), kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _ask("get", self, name)

    def __setattr__(self, name: str, value: object) -> None:
        _ask("set", self, name, value)

    def __getitem__(self, key: object) -> Any:
        return _ask("item", self, key)

    def __iter__(self) -> Iterator[Any]:
        found = _ask("iter", self)
        return found if isinstance(found, Remote) else iter(found)

    def __next__(self) -> Any:
        return _ask("next", self)

    def __len__(self) -> int:
        return int(_ask("len", self))

    def __bool__(self) -> bool:
        return _ask("bool", self) is True

    def __str__(self) -> str:
        return str(_ask("str", self))


def _ask(operation: str, *arguments: Any) -> Any:
    """Have the candidate do something."""
    result = decode(_exchange(encode((operation, *arguments), _number_of)), Remote)
    if type(result) is tuple and len(result) == 3:
        raise _exception(result[0], operation)(result[1])
    value, changed = result
    if operation == "call" and value is None:
        for index, content in changed:
            _replace(arguments[1][index], content)
    return value


def _exchange(call: bytes) -> bytes:
    try:
        send(_OUT, b"C", call)
        letter, answer = receive(_IN)
    except BaseException:
        os._exit(1)
    if letter == b"X":  # nothing that a test could catch
        _end("the candidate is gone")
    return answer


def _replace(held: Any, content: Any) -> None:
    """Give an argument the content that the candidate's copy of it has now."""
    if type(held) is not type(content):
        raise TypeError("an argument changed its type")
    held.clear()
    (held.extend if type(held) is list else held.update)(content)


def _exception(name: object, operation: str) -> type[Exception]:
    if name == "StopIteration" and operation != "next":
        return (
            RuntimeError  # as in a generator; else `all(map(f, ...))` would end early, and be true
        )
    found = getattr(builtins, name, None) if isinstance(name, str) else None
    known = isinstance(found, type) and issubclass(found, Exception)
    return found if known else RaisedError  # type: ignore[return-value]


def _number_of(held: object) -> int:
    if isinstance(held, Remote):
        return held._number
    raise TypeError(f"a test gives the candidate a {type(held).__name__}, which is no plain data")


def _no_number(held: object) -> int:
    raise TypeError(type(held).__name__)


def _no_object(number: int) -> object:
    raise ValueError(number)
