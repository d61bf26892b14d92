"""Results for other programs: JSON, and tables as CSV or Parquet; no answer's text is in them.

In JSON, `pb`, `axes`, `identities`, ... are those of the first cue and defense; `settings` holds
the same for every cue and defense. Fields of an identity that most readers want stand flat beside
its `axes`: `safety`, `safety_delta`, `safety_delta_interval`, `safety_delta_p_adjusted`, and so on.
`data/report.schema.json` describes every field.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from evenhand import __version__
from evenhand.analysis.compare import ArmComparison
from evenhand.analysis.results import Audit, IdentityAxis, IdentityResult, SettingResult
from evenhand.errors import MissingExtra, StoreError
from evenhand.files import replacing
from evenhand.store.store import Store
from evenhand.text import one_line

SCHEMA = 2
"""Raised when a field changes its meaning or goes."""


def to_json(audit: Audit) -> str:
    """The audit as indented JSON; what there is too little data for is null."""
    return _dump(_audit(audit))


def comparison_to_json(comparison: ArmComparison) -> str:
    """A comparison as indented JSON; what there is too little data for is null."""
    return _dump(asdict(comparison))


def _dump(content: dict[str, Any]) -> str:
    whole = {"schema": SCHEMA, "evenhand": __version__, **content}
    options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY
    return orjson.dumps(_without_minus_zero(whole), option=options).decode()


def _without_minus_zero(value: Any) -> Any:
    if isinstance(value, float):
        return value + 0.0
    if isinstance(value, dict):
        return {key: _without_minus_zero(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_minus_zero(each) for each in value]
    return value


def _audit(audit: Audit) -> dict[str, Any]:
    settings = [_setting(setting) for setting in audit.settings]
    run = asdict(audit) | {"settings": settings}
    return run | {name: value for name, value in settings[0].items() if name not in run}


def _setting(setting: SettingResult) -> dict[str, Any]:
    return asdict(setting) | {
        "baseline": _identity(setting.baseline),
        "identities": [_identity(identity) for identity in setting.identities],
        "placebos": [_identity(placebo) for placebo in setting.placebos],
    }


def _identity(identity: IdentityResult) -> dict[str, Any]:
    """With its means and its differences to the baseline flat beside the axes."""
    flat: dict[str, Any] = {}
    for name, axis in identity.axes.items():
        flat[name] = axis.mean
        if delta := axis.to_baseline:
            flat[f"{name}_delta"] = delta.estimate
            flat[f"{name}_delta_interval"] = delta.interval
            flat[f"{name}_delta_simultaneous"] = delta.simultaneous
            flat[f"{name}_delta_p_adjusted"] = delta.p_adjusted
    return asdict(identity) | flat


# Tables

DataRow = Sequence[Any]

_WHAT = ("benchmark", "axis", "item", "subgroup")
_WHO = ("identity", "category", "kind", "cue", "defense")
SCORE_COLUMNS: dict[str, type] = {
    **dict.fromkeys((*_WHAT, *_WHO, "realization"), str),
    **{"sample": int, "judge": str, "score": float, "unscored": str},
    **{"outcome": str, "finish": str, "attempts": int, "completion_tokens": int},
}
"""Columns of a row a score. `judge` is the item's own scorer where no other judge is named,
`realization` the name or other form that the identity was shown by, where it has several."""

_IDENTITY_COLUMNS: dict[str, type] = {
    **dict.fromkeys(("cue", "defense", "identity", "text", "category", "kind", "verdict"), str),
    **dict.fromkeys(("answers", "unscored", "failed_attempts"), int),
}
_PLAIN = ("", "least", "most", "shrunken", "rank", "rank_low", "rank_high")
_DIFFERENCE = ("", "low", "high", "simultaneous_low", "simultaneous_high", "p", "p_adjusted",
               "equivalence_p")  # fmt: skip
_BATCH = 50_000
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")
"""What a spreadsheet takes for the beginning of a formula."""


def score_rows(store: Store) -> Iterator[DataRow]:
    """One row for every score of an active cell, in the order of `SCORE_COLUMNS`."""
    conditions = {c.id: c for c in store.conditions()}
    users = {
        c.id: (c.identity.id, c.identity.category, c.identity.kind, c.cue, c.defense)
        for c in conditions.values()
    }
    items = store.items()
    for condition, number, sample, judge, value, reason, *rest in store.every_score():
        item = items[number]
        what = (item.benchmark, item.axis, item.id, item.subgroup)
        who = (*users[condition], conditions[condition].realization(item.slot))
        yield *what, *who, sample, judge or item.scorer, value, reason or None, *rest


def identity_columns(audit: Audit) -> dict[str, type]:
    """Columns of a row an identity; those of an axis begin with its name.

    For the axis safety: `safety` (mean), `safety_least` and `safety_most` (were all missing
    scores 0, or 1), `safety_shrunken`, `safety_rank`, ..., `safety_delta` (to the baseline) and
    `safety_to_mean` with intervals and p-values.
    """
    differences = [f"{kind}_{part}" for kind in ("delta", "to_mean") for part in _DIFFERENCE]
    names = [
        f"{axis}_{name}".rstrip("_") for axis in audit.axes for name in (*_PLAIN, *differences)
    ]
    return _IDENTITY_COLUMNS | dict.fromkeys(names, float)


def identity_rows(audit: Audit) -> Iterator[DataRow]:
    """One row for every identity, placebo and baseline under every cue and defense."""
    for setting in audit.settings:
        people = [("baseline", setting.baseline)]
        people += [("identity", person) for person in setting.identities]
        people += [("placebo", person) for person in setting.placebos]
        for kind, p in people:
            axes = [p.axes.get(name) or IdentityAxis(None) for name in audit.axes]
            user = (setting.cue, setting.defense, p.id, p.text, p.category, kind, p.verdict)
            figures = [figure for axis in axes for figure in _axis_figures(axis)]
            yield *user, p.done, p.unscored, p.failed_attempts, *figures


def _axis_figures(axis: IdentityAxis) -> DataRow:
    bounds, ranks = axis.bounds or (None, None), axis.rank_interval or (None, None)
    figures = [axis.mean, *bounds, axis.shrunken, axis.rank, *ranks]
    for d in (axis.to_baseline, axis.to_mean):
        if d is None:
            figures += [None] * len(_DIFFERENCE)
        else:
            figures += [d.estimate, *d.interval, *d.simultaneous]
            figures += [d.p_value, d.p_adjusted, d.equivalence_p]
    return figures


def write_csv_tables(audit: Audit, store: Store, folder: Path) -> list[Path]:
    """Write `scores.csv` and `identities.csv` into a folder.

    Raises:
        StoreError: the files cannot be written.
    """
    paths = [folder / "scores.csv", folder / "identities.csv"]
    _write_csv(paths[0], SCORE_COLUMNS, score_rows(store))
    _write_csv(paths[1], identity_columns(audit), identity_rows(audit))
    return paths


def _write_csv(path: Path, columns: Iterable[str], rows: Iterable[DataRow]) -> None:
    with replacing(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([safe_cell(cell) for cell in row] for row in rows)


def safe_cell(cell: Any) -> Any:
    """A cell that no spreadsheet runs as a formula; numbers stay numbers, None is empty."""
    return _safe_text(cell) if isinstance(cell, str) else cell


@lru_cache(maxsize=100_000)  # the same few names stand in hundreds of thousands of rows
def _safe_text(text: str) -> str:
    text = one_line(text)
    return f"'{text}" if text.startswith(_FORMULA) else text


def write_parquet_tables(audit: Audit, store: Store, folder: Path) -> list[Path]:
    """Write `scores.parquet` and `identities.parquet` into a folder.

    Raises:
        MissingExtra: pyarrow is not installed.
        StoreError: the files cannot be written.
    """
    paths = [folder / "scores.parquet", folder / "identities.parquet"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_parquet(paths[0], SCORE_COLUMNS, score_rows(store))
        _write_parquet(paths[1], identity_columns(audit), identity_rows(audit))
    except OSError as error:
        raise StoreError(f"cannot write into {folder}: {error.strerror or error}") from None
    return paths


def _write_parquet(path: Path, columns: dict[str, type], rows: Iterator[DataRow]) -> None:
    try:
        import pyarrow as arrow
        from pyarrow.parquet import ParquetWriter
    except ImportError:
        raise MissingExtra("Parquet files", "tables") from None
    types = {str: arrow.dictionary(arrow.int32(), arrow.string()), int: arrow.int64()}
    types[float] = arrow.float64()
    schema = arrow.schema([(name, types[kind]) for name, kind in columns.items()])
    with ParquetWriter(path, schema) as writer:
        while batch := list(islice(rows, _BATCH)):
            arrays = [
                arrow.array(column, type=field.type)
                for column, field in zip(zip(*batch, strict=True), schema, strict=True)
            ]
            writer.write_batch(arrow.RecordBatch.from_arrays(arrays, schema=schema))
