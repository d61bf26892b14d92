"""Scores from a long table: one row for each scored answer, as most people have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from evenhand.stats.scores import Floats, TooFewScores

if TYPE_CHECKING:
    from narwhals.typing import IntoDataFrame


@dataclass(frozen=True)
class ScoreTable:
    """Arrays read from a table, ready for the functions of evenhand.stats.

    Attributes:
        identities: their names, in order of first appearance.
        scores: benchmark -> (identities, items, samples), NaN where the table has no row.
        items: benchmark -> the items' names, in order of first appearance.
        clusters: benchmark -> (items,) labels; empty where the table has no such column.
    """

    identities: tuple[str, ...]
    scores: dict[str, Floats]
    items: dict[str, tuple[str, ...]]
    clusters: dict[str, tuple[str, ...]]

    def rows(self, *names: str) -> dict[str, Floats]:
        """Scores of some identities, in the order given; such as of the baseline alone.

        Raises:
            ValueError: an identity that the table has not.
        """
        if odd := [name for name in names if name not in self.identities]:
            raise ValueError(f"no identity is called {odd[0]}; there are {list(self.identities)}")
        place = [self.identities.index(name) for name in names]
        return {name: array[place] for name, array in self.scores.items()}

    def without(self, *names: str) -> dict[str, Floats]:
        """Scores of all identities but some, such as the baseline or placebos."""
        return self.rows(*(name for name in self.identities if name not in names))


def from_table(
    table: IntoDataFrame,
    *,
    identity: str = "identity",
    item: str = "item",
    score: str = "score",
    benchmark: str | None = None,
    cluster: str | None = None,
) -> ScoreTable:
    """Read a long table of pandas, polars, pyarrow or any other that narwhals knows.

    Several rows of one identity and item are samples, in the order of the table.

    Args:
        table: one row per answer.
        identity, item, score: the columns of who asked, what was asked, and the score in [0, 1];
            a missing score is null or NaN.
        benchmark: the column of the benchmark; None: all items are of one, called "scores".
        cluster: the column of what an item belongs to, such as its topic; one for each item.

    Raises:
        ValueError: a column that the table has not, a null in a name, a score that is no number in
            [0, 1], or an item with two clusters.
        TooFewScores: a table without rows.

    >>> import pyarrow
    >>> table = pyarrow.table(
    ...     {"identity": ["a", "b", "a", "b"], "item": [1, 1, 2, 2], "score": [1.0, 0.0, 1.0, 1.0]}
    ... )
    >>> from_table(table).scores["scores"][:, :, 0]
    array([[1., 1.],
           [0., 1.]])
    """
    import narwhals as nw

    frame = nw.from_native(table, eager_only=True)
    columns = [name for name in (identity, item, score, benchmark, cluster) if name is not None]
    if absent := [name for name in columns if name not in frame.columns]:
        raise ValueError(f"the table has no column {absent[0]!r}; it has {list(frame.columns)}")
    if not len(frame):
        raise TooFewScores("the table has no rows")
    who, what = _names(frame[identity].to_list(), identity), _names(frame[item].to_list(), item)
    of = ["scores"] * len(who)
    if benchmark is not None:
        of = _names(frame[benchmark].to_list(), benchmark)
    topics = None if cluster is None else _names(frame[cluster].to_list(), cluster)
    return _arrays(who, what, of, _values(frame[score].to_list(), score), topics)


def _names(values: Sequence[object], column: str) -> list[str]:
    for row, value in enumerate(values):
        if value is None or value != value:  # NaN is not equal to itself
            raise ValueError(f"column {column!r}: row {row} is empty")
    return [str(value) for value in values]


def _values(values: Sequence[object], column: str) -> Floats:
    found = np.full(len(values), np.nan)
    for row, value in enumerate(values):
        if value is None:
            continue
        if not isinstance(value, int | float | np.number):
            raise ValueError(f"column {column!r}: row {row} holds {value!r}, which is no number")
        found[row] = float(value)
    if np.any((found < 0) | (found > 1)):
        row = int(np.flatnonzero((found < 0) | (found > 1))[0])
        raise ValueError(f"column {column!r}: row {row} holds {found[row]:g}, outside [0, 1]")
    return found


def _arrays(
    who: Sequence[str],
    what: Sequence[str],
    of: Sequence[str],
    values: Floats,
    topics: Sequence[str] | None,
) -> ScoreTable:
    identities = {name: n for n, name in enumerate(dict.fromkeys(who))}
    items: dict[str, dict[str, int]] = {}
    labels: dict[str, dict[str, str]] = {}
    samples: dict[tuple[str, int, int], list[float]] = {}
    for row, (person, name, benchmark) in enumerate(zip(who, what, of, strict=True)):
        place = items.setdefault(benchmark, {}).setdefault(name, len(items[benchmark]))
        samples.setdefault((benchmark, identities[person], place), []).append(float(values[row]))
        if topics is not None:
            known = labels.setdefault(benchmark, {}).setdefault(name, topics[row])
            if known != topics[row]:
                raise ValueError(f"item {name!r} has two clusters, {known!r} and {topics[row]!r}")
    most: dict[str, int] = {}
    for (benchmark, _, _), given in samples.items():
        most[benchmark] = max(most.get(benchmark, 0), len(given))
    scores = {
        benchmark: np.full((len(identities), len(places), most[benchmark]), np.nan)
        for benchmark, places in items.items()
    }
    for (benchmark, person_row, place), given in samples.items():
        scores[benchmark][person_row, place, : len(given)] = given
    return ScoreTable(
        identities=tuple(identities),
        scores=scores,
        items={benchmark: tuple(places) for benchmark, places in items.items()},
        clusters={
            benchmark: tuple(labels[benchmark][name] for name in places)
            for benchmark, places in items.items()
            if topics is not None
        },
    )
