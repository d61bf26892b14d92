"""Modules that are dear to import, for the tests that need them."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest


class _Late:
    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("_"):  # pytest asks for such of all that stands in a test file
            raise AttributeError
        return getattr(import_module(self._name), attribute)


def late(name: str, *needed: str) -> Any:
    """A module that is imported when something of it is first used.

    Every worker collects every test file, and one of them runs it: to import torch, and what
    stands on it, costs each 12 s. The tests of the file are skipped where a package is missing.

    Args:
        name: the module, of an installed package or of ours.
        needed: the packages that it stands on, where it is ours.
    """
    for package in needed or (name.partition(".")[0],):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed", allow_module_level=True)
    return _Late(name)
