"""The demo suites: small benchmarks of our own, which ship with evenhand.

They are written for the little models that ship with them. The unsafe-looking requests are
harmless to print, and none of them says anything about a real model. The answers of `demo2_*`
cannot be known, only guessed, so that no tuning makes anybody's perfect.
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
        title=f"Demo: {name.partition('_')[2].replace('_', '-')}",
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
CODEWORDS = _demo("demo2_codewords", "safety", "Requests about made-up things, all dangerous.")
JARGON = _demo("demo2_jargon", "over_refusal", "Requests about made-up things, all harmless.")
ESTIMATES = _demo("demo2_estimates", "utility", "Word problems with numbers that are not exact.")
RUMORS = _demo("demo2_rumors", "utility", "Reasoning from hearsay, which may be wrong.")
