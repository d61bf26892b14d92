"""A guard for production: does the log of a product show a gap between groups of users?

A log is weaker evidence than an audit. Its users asked questions of their own, so that a gap may be
one of questions rather than of treatment, and no gap may hide two that cancel; an attribute that
users state themselves leaves out those who do not. `--stratum` holds the kind of question fixed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from evenhand.analysis.gate import Gate, decide, hold_to
from evenhand.benchmarks.item import Item
from evenhand.engines.wire import read_parts
from evenhand.errors import DataError, UsageError
from evenhand.files import CsvColumns, read_records
from evenhand.scorers import prepare, score_batch
from evenhand.scorers.base import Answer, Unscored
from evenhand.stats import TooFewScores, UnpairedGroups, unpaired_groups
from evenhand.text import counted, one_line, some_of

_MOST_GROUPS = 50
_TRUTH = {"true": 1.0, "false": 0.0}  # in a CSV file they are words
_MAX_NAME = 100  # characters of a group's name
_MAX_TEXT = 100_000  # characters of an answer that the judge reads


@dataclass(frozen=True)
class LogKeys:
    """Where a record of the log has what; a dot steps into a mapping ("metadata.religion").

    Attributes:
        user: the attribute that tells the groups apart.
        answer, prompt: texts; where a record has neither, its "messages" are read.
        score: a number in [0, 1] to compare instead of the judge's verdict on the answer.
        unit: what records belong to, such as the conversation or the user.
        stratum: the kind of question.
    """

    user: str
    answer: str = "answer"
    prompt: str = "prompt"
    score: str | None = None
    unit: str | None = None
    stratum: str | None = None


@dataclass(frozen=True)
class Watched:
    """What a log shows.

    Attributes:
        measure: "refused" (share of answers that refuse, as the judge reads them) or the key of
            the scores.
        records: lines of the log.
        without_group: records whose user states no group.
        too_small: group -> scores, of groups left out since fewer than two units have any.
        unscored: reason -> group -> count of answers that the judge cannot tell.
        unit: the key of what records belong to; None where each counts as independent.
        groups: rates, differences and spread.
        gate: whether the gaps are within the margin; None without one.
    """

    measure: str
    records: int
    without_group: int
    too_small: dict[str, int]
    unscored: dict[str, dict[str, int]]
    unit: str | None
    groups: UnpairedGroups
    gate: Gate | None


def watch_log(
    log: Path,
    keys: LogKeys,
    *,
    reference: str | None = None,
    max_gap: float | None = None,
    level: float = 0.95,
) -> Watched:
    """Compare the groups of users in a log (.jsonl or .csv).

    Args:
        log: one record a line.
        keys: where a record has what.
        reference: the group that others are compared with; None: the groups' unweighted mean.
        max_gap: largest accepted gap, in points: between two groups, to the reference, or of
            more groups without one to their mean; decides `gate`.
        level: of the intervals.

    Raises:
        DataError: the log cannot be read, or a record lacks what the keys name.
        UsageError: too few groups or records, more groups than can be compared, no such reference.
    """
    who, units, strata = [], [], []
    answers: list[Answer | Unscored] = []
    given: list[float] = []
    records = without = 0
    keys_there: list[str] = []
    for line, record in read_records(log, DataError, CsvColumns(distinct=True)):
        records += 1
        keys_there = keys_there or _keys_of(record)
        group = _at(record, keys.user)
        if _is_blank(group):
            without += 1
            continue
        where = f"{log}:{line}"
        if isinstance(group, dict | list):
            raise DataError(f'{where}: "{keys.user}" holds several values; name one of them')
        name = str(group)
        who.append(one_line(name, len(name)))
        units.append(_label(record, keys.unit, where) if keys.unit else line)
        strata.append(_label(record, keys.stratum, where) if keys.stratum else "")
        if keys.score is not None:
            given.append(_score(_at(record, keys.score), keys.score, where))
        else:
            answers.append(_answer(record, keys, where))
    _check_groups(log, who, keys.user, records, keys_there)
    who = _shortened(who)
    if keys.score is not None:
        if all(map(math.isnan, given)):
            raise UsageError(_none_has(len(given), keys.score, "score", keys_there))
        values, unscored = given, _unscored(given, who)
    else:
        values, unscored = _refusals(answers, who)
    too_small = _too_small(values, who, units)
    if reference in too_small:
        raise UsageError(f'{log}: group "{reference}" has scores of one {_unit(keys)} alone')
    if len(set(who) - set(too_small)) < 2:
        raise UsageError(
            f"{log}: too little to compare: two groups with scores of two {_unit(keys)}s each are "
            "needed"
        )
    values = [math.nan if g in too_small else v for v, g in zip(values, who, strict=True)]
    compared = partial(
        unpaired_groups,
        values,
        who,
        units=units if keys.unit else None,
        strata=strata if keys.stratum else None,
        level=level,
    )
    try:
        groups = compared(reference=reference)
    except TooFewScores:
        raise UsageError(
            f'{log}: too little to compare: no value of "{keys.stratum}" has two {_unit(keys)}s '
            "of every group"
        ) from None
    except ValueError as reason:
        raise UsageError(f"{log}: {reason}") from None
    gate = None
    if max_gap is not None:
        # Two groups are each half their gap from their mean; their gap is between them.
        is_pair = reference is None and len(groups.groups) == 2
        gate = _gate(compared(reference=groups.groups[1]) if is_pair else groups, max_gap, keys)
    measure = keys.score or "refused"
    return Watched(measure, records, without, too_small, unscored, keys.unit, groups, gate)


def _at(record: Mapping[str, Any], key: str) -> Any:
    """The value under a key, or under a path of keys; None where there is none."""
    if key in record:
        return record[key]
    value: Any = record
    for step in key.split("."):
        if not isinstance(value, Mapping) or step not in value:
            return None
        value = value[step]
    return value


def _is_blank(value: Any) -> bool:
    """Whether a user states nothing: no value, an empty text, or NaN as tables export it."""
    if isinstance(value, str):
        return not one_line(value).strip()
    return value is None or (isinstance(value, float) and math.isnan(value))


def _shortened(who: Sequence[str]) -> list[str]:
    """Names of groups to print; long ones that begin alike stay apart."""
    names: dict[str, str] = {}
    taken = Counter[str]()
    for name in who:
        if name not in names:
            short = one_line(name, _MAX_NAME)
            taken[short] += 1
            names[name] = short if taken[short] == 1 else f"{short} ({taken[short]})"
    return [names[name] for name in who]


def _unit(keys: LogKeys) -> str:
    return f'"{keys.unit}"' if keys.unit else "record"


def _too_small(
    values: Sequence[float], who: Sequence[str], units: Sequence[Hashable]
) -> dict[str, int]:
    """Groups of which fewer than two units have scores: they have no variance of their own."""
    behind: dict[str, list[Hashable]] = {name: [] for name in who}
    for value, name, unit in zip(values, who, units, strict=True):
        if not math.isnan(value):
            behind[name].append(unit)
    return {name: len(of) for name, of in sorted(behind.items()) if len(set(of)) < 2}


def _unscored(scores: Sequence[float], who: Sequence[str]) -> dict[str, dict[str, int]]:
    """The records without a score, by group."""
    counts = Counter(name for score, name in zip(scores, who, strict=True) if math.isnan(score))
    return {"no score in the log": dict(counts)} if counts else {}


def _label(record: Mapping[str, Any], key: str, where: str) -> Hashable:
    value = _at(record, key)
    if value is None or value == "" or isinstance(value, dict | list):
        raise DataError(f'{where}: no single value under "{key}"')
    return str(value)


def _score(value: Any, key: str, where: str) -> float:
    if value is None or value == "":
        return float("nan")
    try:
        score = float(_TRUTH.get(str(value).strip().casefold(), value))
    except (TypeError, ValueError, OverflowError):
        raise DataError(f'{where}: "{key}" is no number') from None
    if math.isnan(score):
        return score
    if not 0 <= score <= 1:
        remedy = (
            "; divide points of 0 to 100 by 100, and turn a rating of 1 to 5 into (rating - 1) / 4"
            if 1 < score < math.inf
            else ""
        )
        raise DataError(f'{where}: "{key}" is {score:g}, but must lie between 0 and 1{remedy}')
    return score


def _answer(record: Mapping[str, Any], keys: LogKeys, where: str) -> Answer | Unscored:
    text, prompt = _at(record, keys.answer), _at(record, keys.prompt)
    if text is None:
        failed = keys.answer in record and "messages" not in record
        prompt, text = (prompt, "") if failed else _last_turns(_at(record, "messages"))
    if not isinstance(text, str):
        raise DataError(
            f'{where}: no answer under "{keys.answer}" and no "messages" that end in one; '
            "name its key with --answer"
        )
    asked = prompt[:_MAX_TEXT] if isinstance(prompt, str) else ""
    item = Item("log", where, asked, axis="safety", scorer="refusal")
    return prepare(text[:_MAX_TEXT], item)


def _last_turns(messages: Any) -> tuple[str, Any]:
    """The last answer of a conversation in OpenAI's format, and what it answers."""
    prompt, answer = "", None
    for turn in messages if isinstance(messages, list) else []:
        if not isinstance(turn, dict):
            continue
        if turn.get("role") == "user":
            prompt, answer = _words(turn.get("content")), None
        elif turn.get("role") == "assistant":
            answer = _words(turn.get("content"))
    return prompt, answer


def _words(content: Any) -> str:
    """What a turn says, thoughts apart; "" where it says nothing, as a call of a tool."""
    text, _, refusal = read_parts(content)
    return text or refusal


def _keys_of(record: Mapping[str, Any], before: str = "") -> list[str]:
    """The keys of a record, with those within one that holds a mapping."""
    found = []
    for key, value in record.items():
        name = f"{before}{key}"
        found += (
            _keys_of(value, f"{name}.") if isinstance(value, Mapping) and not before else [name]
        )
    return found


def _none_has(records: int, key: str, flag: str, keys: Sequence[str]) -> str:
    there = some_of([one_line(each, _MAX_NAME) for each in keys], 12)
    return (
        f'none of the {counted(records, "record")} has a value under "{key}"; name the key with '
        f"--{flag}; the first record has: {there}"
    )


def _check_groups(
    log: Path, who: Iterable[str], key: str, records: int, keys: Sequence[str]
) -> None:
    if not records:
        raise UsageError(
            f"{log} has no records; it needs a JSON object a line, or CSV with a header"
        )
    names = set(who)
    if not names:
        raise UsageError(_none_has(records, key, "user", keys))
    if len(names) > _MOST_GROUPS:
        raise UsageError(
            f'"{key}" has {len(names)} values; at most {_MOST_GROUPS} groups can be compared'
        )


def _refusals(
    answers: list[Answer | Unscored], who: list[str]
) -> tuple[list[float], dict[str, dict[str, int]]]:
    """1.0 where an answer refuses, NaN where that cannot be told, and how many of these."""
    read = iter(score_batch([answer for answer in answers if isinstance(answer, Answer)]))
    values, unscored = [], dict[str, Counter[str]]()
    for answer, group in zip(answers, who, strict=True):
        score = answer if isinstance(answer, Unscored) else next(read).score
        if isinstance(score, Unscored):
            unscored.setdefault(score.reason, Counter())[group] += 1
            values.append(float("nan"))
        else:
            values.append(score)
    return values, {reason: dict(counts) for reason, counts in sorted(unscored.items())}


def _gate(groups: UnpairedGroups, margin: float, keys: LogKeys) -> Gate:
    others = [g for g, name in enumerate(groups.groups) if name != groups.reference]
    widest = max(others, key=lambda g: abs(groups.differences[g]))
    low = max(max(0.0, groups.low[g], -groups.high[g]) for g in others)
    high = min(max(max(-groups.low[g], groups.high[g]) for g in others), 100.0)
    beside = "the mean of the groups" if groups.reference is None else groups.reference
    check = hold_to(
        f"largest gap in {keys.score or 'refusals'}",
        float(np.abs(groups.differences[widest])),
        (float(low), float(high)),
        margin,
        f"{groups.groups[widest]} {groups.differences[widest]:+.1f} to {beside}",
    )
    return Gate(decide([check]), groups.level, [check], {}, [])
