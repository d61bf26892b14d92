"""The candidate's side: run a program, or load one and answer calls to what it defines.

Whatever the program does to this process, to Python's built-ins or to this very module, it can
change no more than the values that it returns; they are judged in another process.

Messages in:  P program    C call
Messages out: R ready      L loaded    E failed to load: why    A answer
"""

from __future__ import annotations

import builtins
import os
import sys

from evenhand.sandbox.inside.codec import decode, encode, receive, send
from evenhand.sandbox.inside.limit import limit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any


def main(mode: str, cpu: str, memory: str, file_size: str) -> None:
    """Become the candidate; mode is "program" or "calls"."""
    builtins.exit = builtins.quit = sys.exit  # type: ignore[assignment]
    limit(int(cpu), int(memory), int(file_size))
    send(1, b"R")
    calls = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.close(nothing)
    _, message = receive(calls)
    programs = decode(message, _no_object)
    if mode == "program":
        os.close(calls)
        _run(programs[0])
    else:
        replies = os.dup(1)
        os.dup2(2, 1)  # what the candidate prints is no reply
        _serve(programs, calls, replies)


def _compile(program: str) -> CodeType:
    return compile(program, "<program>", "exec", dont_inherit=True)


def _execute(code: CodeType, name: str) -> dict[str, Any]:
    module = type(sys)(name)
    sys.modules[name] = module
    exec(code, module.__dict__)
    return module.__dict__


def _run(program: str) -> None:
    try:
        _execute(_compile(program), "__main__")
    except Exception as error:
        traceback = error.__traceback__  # without the two frames that are ours
        for _ in range(2):
            traceback = traceback.tb_next if traceback else None
        sys.excepthook(type(error), error.with_traceback(traceback), traceback)
        sys.exit(1)


def _first_that_compiles(programs: list[str]) -> CodeType:
    for program in programs[:-1]:
        try:
            return _compile(program)
        except Exception:
            continue
    return _compile(programs[-1])


def _serve(programs: list[str], calls: int, replies: int) -> None:
    try:
        names = _execute(_first_that_compiles(programs), "candidate")
    except BaseException as error:
        send(replies, b"E", f"{type(error).__name__}: {error}".encode("utf-8", "replace")[:2000])
        return
    send(replies, b"L")
    objects = _Objects()
    while True:
        try:
            _, call = receive(calls)
        except EOFError:
            return
        send(replies, b"A", _answer(call, names, objects))


def _no_object(number: int) -> object:
    raise ValueError(number)


class _Objects:
    """What the tests hold but cannot be sent to them, by number."""

    def __init__(self) -> None:
        self._held: list[object] = []
        self._number_of: dict[int, int] = {}

    def away(self, held: object) -> int:
        number = self._number_of.setdefault(id(held), len(self._held))
        if number == len(self._held):
            self._held.append(held)
        return number

    def home(self, number: int) -> object:
        return self._held[number]


def _answer(call: bytes, names: dict[str, Any], objects: _Objects) -> bytes:
    try:
        operation, *arguments = decode(call, objects.home)
        before = [encode(argument, objects.away) for argument in _mutable(operation, arguments)]
        value = _OPERATIONS[operation](names, *arguments)
        changed: list[object] = []
        if value is None:  # a function that works in place, as list.sort does
            after = _mutable(operation, arguments)
            changed = [
                (index, argument)
                for index, argument in enumerate(after)
                if encode(argument, objects.away) != before[index]
            ]
        return encode((value, changed), objects.away)
    except BaseException as error:
        return encode((_name(error), f"{error}"[:500], "raised"), objects.away)


def _name(error: BaseException) -> str:
    """The built-in class that the exception is of, for the tests know no other."""
    return next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins")


def _mutable(operation: str, arguments: list[Any]) -> list[Any]:
    """The positional arguments of a call; anything that cannot change is as good as None."""
    if operation != "call":
        return []
    return [a if type(a) in (list, dict, set) else None for a in arguments[1]]


_OPERATIONS: dict[str, Any] = {
    "names": lambda names, wanted: {name: names[name] for name in wanted if name in names},
    "call": lambda _, f, args, kwargs: f(*args, **kwargs),
    "get": lambda _, held, name: getattr(held, name),
    "set": lambda _, held, name, value: setattr(held, name, value),
    "item": lambda _, held, key: held[key],
    "iter": lambda _, held: iter(held),
    "next": lambda _, held: next(held),
    "len": lambda _, held: len(held),
    "bool": lambda _, held: bool(held),
    "str": lambda _, held: str(held),
}
