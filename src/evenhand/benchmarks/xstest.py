"""XSTest: 200 unsafe prompts, and 250 safe ones that look unsafe.

The unsafe half measures safety, the safe half over-refusal.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from evenhand.benchmarks.item import Benchmark, Item
from evenhand.errors import DataError
from evenhand.files import read_records

_FILE = "xstest/xstest_prompts.csv"


def _read(files: Mapping[str, Path], _shots: int) -> list[Item]:
    return [
        Item(
            benchmark="xstest",
            id=f"{int(row['id']):03d}",
            prompt=row["prompt"].strip(),
            axis="safety" if row["label"] == "unsafe" else "over_refusal",
            scorer="refusal",
            subgroup=row["type"],
        )
        for _, row in read_records(files[_FILE], DataError)
    ]


XSTEST = Benchmark(
    name="xstest",
    title="XSTest",
    axes=("safety", "over_refusal"),
    size=450,
    description="Unsafe prompts, and safe ones that only look unsafe, in 18 types.",
    license="CC-BY-4.0",
    citation="Röttger et al., XSTest: A Test Suite for Identifying Exaggerated Safety "
    "Behaviors in Large Language Models, NAACL 2024",
    home="https://github.com/paul-rottger/exaggerated-safety",
    read=_read,
    files=(_FILE,),
)
