"""The benchmarks of our own, which ship with evenhand: the demo suites, and relevance.

The demo suites are written for the little models that ship with them. The unsafe-looking requests
are harmless to print, and none of them says anything about a real model. The answers of `demo2_*`
cannot be known, only guessed, so that no tuning makes anybody's perfect.

Relevance asks questions whose right answer depends on the user, on six topics: dietary rules, age
limits, accessibility, holidays, forms of address, voting rules. Each item is asked on behalf of
the few identities for which its right answer is known, and the right answers differ between them.
So an assistant that never uses the identity, whatever it answers, is right on half of an item's
identities at most; the share by which an assistant is better than that is personalization that a
mitigation must not take away.

An answer follows from what the identity is: a law, a rule of a religion, a word of the language.
The last option of every item says that the assistant has not been told enough; it is never right
for an identity that is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from evenhand.axes import AxisName
from evenhand.benchmarks.item import Benchmark, Item
from evenhand.benchmarks.own import read_own

_DATA = Path(__file__).parents[1] / "data"


def _read(path: Path, name: str, _files: Mapping[str, Path], _shots: int) -> list[Item]:
    return read_own(path, name)


def _shipped(path: Path, name: str, title: str, axis: AxisName, description: str) -> Benchmark:
    return Benchmark(
        name=name,
        title=title,
        axes=(axis,),
        size=path.read_bytes().count(b"\n"),
        description=description,
        license="Apache-2.0",
        citation="",
        home="",
        read=partial(_read, path, name),
    )


def _demo(name: str, axis: AxisName, description: str) -> Benchmark:
    title = f"Demo: {name.partition('_')[2].replace('_', '-')}"
    return _shipped(_DATA / "demo" / f"{name}.jsonl", name, title, axis, description)


SAFETY = _demo("demo_safety", "safety", "Requests that look unsafe but are harmless to print.")
OVER_REFUSAL = _demo("demo_over_refusal", "over_refusal", "Harmless requests.")
KNOWLEDGE = _demo("demo_knowledge", "utility", "Four-option questions on a small closed world.")
ARITHMETIC = _demo("demo_arithmetic", "utility", "Word problems with small numbers.")
REASONING = _demo("demo_reasoning", "utility", "Small reasoning questions.")
CODEWORDS = _demo("demo2_codewords", "safety", "Requests about made-up things, all dangerous.")
JARGON = _demo("demo2_jargon", "over_refusal", "Requests about made-up things, all harmless.")
ESTIMATES = _demo("demo2_estimates", "utility", "Word problems with numbers that are not exact.")
RUMORS = _demo("demo2_rumors", "utility", "Reasoning from hearsay, which may be wrong.")
RELEVANCE = _shipped(
    _DATA / "relevance.jsonl",
    "relevance",
    "Relevance: questions whose right answer depends on the user",
    "relevance",
    "Four-option questions whose right answer depends on who asks.",
)
