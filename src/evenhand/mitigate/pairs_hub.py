"""Preference sets by name: a .jsonl file, or whatever `datasets.load_dataset` opens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evenhand.errors import DataError, MissingExtra, PairsError
from evenhand.mitigate.pairs import BadPairError, Pair, pair_of, read_pairs
from evenhand.text import one_line

_MOST_UNUSABLE = 0.5


@dataclass(frozen=True)
class PairSet:
    """Pairs of one source.

    Attributes:
        source: as the user named it.
        pairs: those that can be used.
        left_out: why rows were left out -> how many; empty for a file of one's own, where one
            bad line refuses the file.
    """

    source: str
    pairs: list[Pair]
    left_out: Mapping[str, int] = field(default_factory=dict)


def load_pairs(source: str, *, split: str = "train") -> PairSet:
    """Pairs of a .jsonl file, of a folder with a data set, or of a data set on the hub.

    Sets on the hub are not the user's to mend: of them, rows that are no pair (ties, empty
    answers) are left out and counted.

    Args:
        source: path of the file or folder, or the id on the hub: "Intel/orca_dpo_pairs".
        split: which part of a data set.

    Raises:
        PairsError: the file is invalid, or more than half of the data set's rows are no pairs.
        DataError: there is no such data set, or it cannot be loaded.
        MissingExtra: `datasets` is not installed.
    """
    if source.endswith(".jsonl") or Path(source).is_file():
        return PairSet(source, read_pairs(Path(source)))
    pairs: list[Pair] = []
    left_out: Counter[str] = Counter()
    for record in _rows(source, split):
        try:
            pairs.append(pair_of(record))
        except BadPairError as complaint:
            left_out[one_line(str(complaint))] += 1
    unusable = left_out.total()
    if unusable > _MOST_UNUSABLE * (len(pairs) + unusable) or not pairs:
        why = f": {left_out.most_common(1)[0][0]}" if left_out else ""
        raise PairsError(
            f"{source}: {unusable:,} of {len(pairs) + unusable:,} rows are no preference pairs{why}"
        )
    return PairSet(source, pairs, dict(left_out))


def _rows(source: str, split: str) -> Any:
    try:
        import datasets
    except ImportError:
        raise MissingExtra("preference data sets", "train") from None
    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(source, split=split)
    except Exception as error:  # of the library, of the hub's client, of the network
        reason = one_line(str(error).splitlines()[0] if str(error) else type(error).__name__)
        raise DataError(f"cannot load the preference data {source}: {reason}") from None
