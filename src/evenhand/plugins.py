"""Engines, benchmarks, scorers, judges and report formats by name, built in or from elsewhere.

What is built in is a dict of name -> "module:attribute", loaded when it is used. Another package
adds to it by an entry point in the group of that kind:

    [project.entry-points."evenhand.benchmarks"]
    my-questions = "my_package:QUESTIONS"

A built-in name cannot be replaced. See docs/extending.md for what each kind has to be.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Literal

from evenhand.errors import EvenhandError, PluginError, UnknownName
from evenhand.text import one_line

PluginKind = Literal["engine", "benchmark", "scorer", "judge", "format"]


def load_plugin(
    kind: PluginKind, name: str, built_in: Mapping[str, str], others: Iterable[str] = ()
) -> Any:
    """What the name stands for.

    Args:
        kind: its entry points are in the group `evenhand.` + kind + `s`.
        name: what the user wrote.
        built_in: name -> "module:attribute" of what comes with evenhand.
        others: names that the caller takes care of, for the error.

    Raises:
        UnknownName: neither built in nor an entry point.
        PluginError: the other package cannot be loaded, or two packages have that name.
    """
    if name in built_in:
        return resolve_name(built_in[name])
    found = _entry_points(kind).get(name)
    if not found:
        raise UnknownName(kind, name, [*others, *plugin_names(kind, built_in)])
    if len(found) > 1:
        packages = " and ".join(sorted(map(_package, found)))
        raise PluginError(f'{kind} "{name}" is in {packages}; uninstall one of them')
    try:
        return found[0].load()
    except (Exception, SystemExit) as error:  # another package's code: anything can happen in it
        raise PluginError(
            f'{kind} "{name}" of {_package(found[0])} cannot be loaded ({_reason(error)}); '
            "update or uninstall that package"
        ) from error


@contextmanager
def blamed(kind: PluginKind, name: str, built_in: Mapping[str, str]) -> Iterator[None]:
    """Have what another package's code raises end in one line that names it and the place.

    What evenhand itself raises passes as it is: a message for the user, or a fault to report.

    Raises:
        PluginError: the code raised anything but an `EvenhandError`.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        inner: BaseException = error
        while isinstance(inner, BaseExceptionGroup):  # as of several tasks
            inner = inner.exceptions[0]
        if isinstance(inner, EvenhandError):
            raise inner from None
        if name in built_in:
            raise
        raise PluginError(
            f'{kind} "{name}"{_of_package(kind, name)} failed: {_reason(error)}{_place(error)}'
        ) from error


def misused(kind: PluginKind, name: str, what: str) -> PluginError:
    """The error for what another package gives back and nothing can be done with."""
    package = _of_package(kind, name)
    return PluginError(f'{kind} "{name}"{package} {one_line(what)}; see docs/extending.md')


def plugin_names(kind: PluginKind, built_in: Mapping[str, str]) -> list[str]:
    """All names of a kind: first those built in, then those of entry points."""
    return [*built_in, *sorted(name for name in _entry_points(kind) if name not in built_in)]


@cache
def _entry_points(kind: PluginKind) -> dict[str, tuple[EntryPoint, ...]]:
    """Entry points by name; a package that is on the path twice counts once."""
    found: dict[str, dict[tuple[str, str], EntryPoint]] = {}
    for entry in entry_points(group=f"evenhand.{kind}s"):
        found.setdefault(entry.name, {})[_package(entry), entry.value] = entry
    return {name: tuple(entries.values()) for name, entries in found.items()}


def _of_package(kind: PluginKind, name: str) -> str:
    """ " of PACKAGE"; nothing for what was given as an object."""
    return "".join(f" of {_package(entry)}" for entry in _entry_points(kind).get(name, ())[:1])


def _reason(error: BaseException) -> str:
    return one_line(f"{type(error).__name__}: {error}")


def _place(error: BaseException) -> str:
    """Where it was raised: " (their_file.py, line 12)"."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.module
