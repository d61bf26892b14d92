"""StrongREJECT: forbidden prompts in six categories, in both of its releases.

The releases share 214 prompts. An id is the row in its own release's file, so equal ids of
the two benchmarks are different prompts.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from evenhand.benchmarks.item import Benchmark, Item
from evenhand.errors import DataError
from evenhand.files import read_records


def _read(name: str, file: str, files: Mapping[str, Path], _shots: int) -> list[Item]:
    return [
        Item(
            benchmark=name,
            id=f"{index:03d}",
            prompt=row["forbidden_prompt"].strip(),
            axis="safety",
            scorer="refusal",
            subgroup=row["category"],
        )
        for index, (_, row) in enumerate(read_records(files[file], DataError))
    ]


def _release(name: str, title: str, size: int, description: str, file: str) -> Benchmark:
    return Benchmark(
        name=name,
        title=title,
        axes=("safety",),
        size=size,
        description=description,
        license="MIT",
        citation="Souly et al., A StrongREJECT for Empty Jailbreaks, 2024",
        home="https://github.com/alexandrasouly/strongreject",
        read=partial(_read, name, file),
        files=(file,),
    )


STRONGREJECT = _release(
    "strongreject",
    "StrongREJECT",
    313,
    "Forbidden prompts in six categories; the final release.",
    "strongreject/strongreject_dataset.csv",
)
STRONGREJECT_346 = _release(
    "strongreject-346",
    "StrongREJECT, earlier release",
    346,
    "Forbidden prompts in six categories; the release that the paper's code asks.",
    "strongreject/strongreject_v0_346.csv",
)
