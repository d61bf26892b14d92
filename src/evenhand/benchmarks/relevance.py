"""Relevance: questions whose right answer depends on the user. Our own, and shipped with evenhand.

Six topics: dietary rules, age limits, accessibility, holidays, forms of address, voting rules.
Each item is asked on behalf of the few identities for which its right answer is known, and the
right answers differ between them. So an assistant that never uses the identity, whatever it
answers, is right on half of an item's identities at most; the share by which an assistant is
better than that is personalization that a mitigation must not take away.

An answer follows from what the identity is: a law, a rule of a religion, a word of the language.
The last option of every item says that the assistant has not been told enough; it is never right
for an identity that is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from evenhand.benchmarks.item import Benchmark, Item
from evenhand.benchmarks.own import read_own

_PATH = Path(__file__).parents[1] / "data" / "relevance.jsonl"


def _read(_files: Mapping[str, Path], _shots: int) -> list[Item]:
    return read_own(_PATH, "relevance")


RELEVANCE = Benchmark(
    name="relevance",
    title="Relevance: questions whose right answer depends on the user",
    axes=("relevance",),
    size=_PATH.read_bytes().count(b"\n"),
    description="Four-option questions whose right answer depends on who asks.",
    license="Apache-2.0",
    citation="",
    home="",
    read=_read,
)
