"""A benchmark: what is known about it before its files are there, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from evenhand.axes import AxisName
from evenhand.benchmarks.item import Item

Read = Callable[[Mapping[str, Path], int], list[Item]]
"""(verified files by local path, shots) -> all items, always in the same order."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark that evenhand knows.

    Attributes:
        name: what the user writes, "mmlu-test".
        title: its full name.
        axes: what its items measure.
        size: number of its items.
        description: one line on what is asked and what is left out.
        license: license of the data.
        citation: the paper to cite; empty for our own.
        home: where the data set lives; empty for our own.
        read: makes the items from the files.
        files: local paths of the files it needs; empty where they ship with evenhand.
        shot_files: further files that are needed only for worked examples.
        max_shots: most worked examples that a prompt can carry; 0 where there is no split
            to take them from.
    """

    name: str
    title: str
    axes: tuple[AxisName, ...]
    size: int
    description: str
    license: str
    citation: str
    home: str
    read: Read
    files: tuple[str, ...] = ()
    shot_files: tuple[str, ...] = ()
    max_shots: int = 0
