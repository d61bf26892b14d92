"""Reading scores: the checks of shape and range that every function shares; arrays of a long table.

A long table has one row for each scored answer, as most people have them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from narwhals.typing import IntoDataFrame

Floats = NDArray[np.float64]
Scores = ArrayLike | Mapping[str, ArrayLike]
Clusters = ArrayLike | Mapping[str, ArrayLike]
"""What the items belong to: labels (items,), or benchmark name -> such labels."""

_TALL = 100
"""More rows than this, and more than three times as many as items, are taken for a slip."""

_ROWS_ARE_KNOWN = ContextVar("_ROWS_ARE_KNOWN", default=False)


@contextmanager
def rows_are_identities() -> Iterator[None]:
    """Within it no array is taken for a transposed one, however many rows it has.

    For callers that have built their arrays themselves: a run may have many identities and few
    items.
    """
    token = _ROWS_ARE_KNOWN.set(True)
    try:
        yield
    finally:
        _ROWS_ARE_KNOWN.reset(token)


class TooFewScores(ValueError):
    """The scores are sound, but too few for the estimate: none, or one item or identity alone."""


def read_scores(
    scores: ArrayLike,
    name: str = "scores",
    *,
    min_identities: int = 2,
    identities: Sequence[str] | None = None,
) -> Floats:
    """Return the scores as a float array (identities, items, samples).

    Args:
        scores: (identities, items) or (identities, items, samples), in [0, 1], NaN = missing.
        name: what to call the array in an error.
        min_identities: the fewest identities that make sense for the caller.
        identities: their names, one for each row; None where they are not known.

    Raises:
        ValueError: no numbers, wrong number of axes, too few identities, no item, a score outside
            [0, 1], a masked array, rows that do not match the names, or what looks like a
            transposed array.
    """
    if isinstance(scores, np.ma.MaskedArray) and np.ma.is_masked(scores):
        raise ValueError(
            f"{name}: is a masked array, whose mask would be lost; give "
            "scores.astype(float).filled(np.nan)"
        )
    try:
        given = np.asarray(scores)
        if given.dtype.kind in "cUS":  # text and complex numbers would be cast
            raise TypeError
        array = given.astype(np.float64, copy=False)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: scores must be numbers in rows of equal length") from None
    if array.ndim == 2:
        array = array[:, :, np.newaxis]
    if array.ndim != 3:
        raise ValueError(
            f"{name}: needs axes (identities, items) or (identities, items, samples), "
            f"not {array.ndim} axes"
        )
    if array.shape[0] < min_identities:
        raise TooFewScores(f"{name}: needs at least {min_identities} identities, not {len(array)}")
    if 0 in array.shape:
        raise TooFewScores(f"{name}: is empty, its shape is {array.shape}")
    _check_rows(array.shape, name, identities)
    # min and max of an array with NaN would be NaN; these comparisons are False for NaN.
    if np.any(array < 0) or np.any(array > 1):
        raise ValueError(f"{name}: scores must lie in [0, 1]")
    return array


def _check_rows(shape: tuple[int, ...], name: str, identities: Sequence[str] | None) -> None:
    """Raise ValueError where the rows are not the identities, as in a transposed array."""
    rows, items = shape[:2]
    if identities is not None and len(identities) != rows:
        turned = "; the array looks transposed" if len(identities) == items else ""
        raise ValueError(f"{name}: has {rows} rows for {len(identities)} identities{turned}")
    if _ROWS_ARE_KNOWN.get() or identities is not None:
        return
    if rows > max(_TALL, 3 * items):
        raise ValueError(
            f"{name}: has {rows} rows and {items} columns, which looks like (items, identities); "
            "the axes are (identities, items); if the rows are identities, name them with "
            "identities="
        )


def read_benchmarks(
    scores: Scores,
    axis: str,
    *,
    min_identities: int = 2,
    identities: Sequence[str] | None = None,
) -> dict[str, Floats]:
    """Return benchmark name -> (identities, items, samples); a bare array is named as the axis.

    Raises:
        ValueError: as `read_scores`; no benchmark; benchmarks with different identities.
    """
    named = scores if isinstance(scores, Mapping) else {axis: scores}
    if not named:
        raise TooFewScores(f"{axis}: no benchmark given")
    read = {
        name: read_scores(array, name, min_identities=min_identities, identities=identities)
        for name, array in named.items()
    }
    same_identities({name: len(array) for name, array in read.items()}, axis)
    return read


def read_clusters(
    clusters: Clusters | None, arrays: Mapping[str, Floats], axis: str
) -> dict[str, NDArray[np.int64]]:
    """Return benchmark name -> number of the cluster of each item, (items,).

    The same label in two benchmarks is one cluster. Benchmarks without labels have none: each of
    their items stands for itself.

    Args:
        clusters: benchmark name -> labels; or bare labels, where there is one benchmark; or the
            axis's name -> labels, where the axis is a bare array.
        arrays: the benchmarks of the axis.
        axis: the axis's name.

    Raises:
        ValueError: labels of another number than the items.
    """
    if clusters is None:
        return {}
    if isinstance(clusters, Mapping):
        named = {name: clusters[name] for name in arrays if name in clusters}
    elif len(arrays) == 1:
        named = {next(iter(arrays)): clusters}
    else:
        raise ValueError(f"{axis}: clusters needs a mapping from the names {sorted(arrays)}")
    labels = {name: np.asarray(given).astype(str) for name, given in named.items()}
    for name, given in labels.items():
        rows, items = arrays[name].shape[:2]
        if given.shape != (items,):
            turned = " (one for each identity; is the array transposed?)" * (len(given) == rows)
            raise ValueError(
                f"{name}: clusters needs one label for each of the {items} items, not the shape "
                f"{given.shape}{turned}"
            )
    if not labels:
        return {}
    _, numbers = np.unique(np.concatenate(list(labels.values())), return_inverse=True)
    parts = np.split(numbers, np.cumsum([len(given) for given in labels.values()])[:-1])
    return dict(zip(labels, parts, strict=True))


def check_cluster_names(clusters: Clusters | None, known: Iterable[str]) -> None:
    """Raise ValueError for clusters of a benchmark that is not there."""
    if isinstance(clusters, Mapping) and (odd := sorted(set(clusters) - set(known))):
        raise ValueError(f"clusters: no benchmark is called {odd[0]}; there are {sorted(known)}")


def same_identities(counts: Mapping[str, int], what: str) -> None:
    """Raise ValueError unless all counts of identities are equal."""
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise ValueError(f"{what}: all arrays need the same identities, not {found}")


def check_level(level: float) -> None:
    """Raise ValueError unless the confidence level lies strictly between 0 and 1."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")


@dataclass(frozen=True)
class Cells:
    """Scores averaged over samples.

    Attributes:
        mean: (items, identities) mean score of each cell in points 0-100, 0 where not observed.
        observed: (items, identities) 1.0 where at least one sample was scored, else 0.0.
    """

    mean: Floats
    observed: Floats


def average_samples(scores: Floats) -> Cells:
    """Average (identities, items, samples) over the samples that are there; drop empty items."""
    there = np.isfinite(scores)
    count = there.sum(axis=2).T
    total = np.where(there, scores, 0.0).sum(axis=2).T
    observed = count > 0
    mean = 100.0 * total / np.maximum(count, 1)
    kept = observed.any(axis=1)
    return Cells(mean[kept], observed[kept].astype(np.float64))


# From a table


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
