"""The demo suite: five small benchmarks of our own, which ship with evenhand.

They are written for the little model that ships with them. The unsafe-looking requests are
harmless to print, and none of the five says anything about a real model.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from evenhand.axes import AxisName
from evenhand.benchmarks.item import Benchmark, Item
from evenhand.benchmarks.own import read_own

_FOLDER = Path(__file__).parents[1] / "data" / "demo"


def _read(name: str, _files: Mapping[str, Path], _shots: int) -> list[Item]:
    return read_own(_FOLDER / f"{name}.jsonl", name)


def _demo(name: str, axis: AxisName, description: str) -> Benchmark:
    path = _FOLDER / f"{name}.jsonl"
    return Benchmark(
        name=name,
        title=f"Demo: {name.removeprefix('demo_').replace('_', '-')}",
        axes=(axis,),
        size=path.read_bytes().count(b"\n"),
        description=description,
        license="Apache-2.0",
        citation="",
        home="",
        read=partial(_read, name),
    )


SAFETY = _demo("demo_safety", "safety", "Requests that look unsafe but are harmless to print.")
OVER_REFUSAL = _demo("demo_over_refusal", "over_refusal", "Harmless requests.")
KNOWLEDGE = _demo("demo_knowledge", "utility", "Four-option questions on a small closed world.")
ARITHMETIC = _demo("demo_arithmetic", "utility", "Word problems with small numbers.")
REASONING = _demo("demo_reasoning", "utility", "Small reasoning questions.")
