"""The sides of a comparison, what they have in common, and what about them differs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from os.path import commonpath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evenhand.analysis.grid import (
    AxisScores,
    Grid,
    UnitChoice,
    read_grid,
    select_judge,
    single_items,
)
from evenhand.axes import AVERAGED_AXES
from evenhand.errors import RunFolderError, UnknownName, UsageError
from evenhand.store.redaction import shown_name
from evenhand.store.store import Store, StoredCondition
from evenhand.study.identity import Identity
from evenhand.study.study import Study
from evenhand.text import counted, some_of


@dataclass(frozen=True)
class Arm:
    """A run under one cue and one defense; the same run may stand on several sides.

    Attributes:
        store: of the run; its answers must have been scored.
        cue, defense: their ids; None for the first of the study.
        name: what to call the side; empty for what tells it from the others.
        judge: whose scores to go by; None as `select_judge` says.
    """

    store: Store
    cue: str | None = None
    defense: str | None = None
    name: str = ""
    judge: str | None = None


@dataclass(frozen=True)
class ReadArm:
    """A side with its scores.

    Attributes:
        side: as it was named.
        study: of its run.
        grid: all scores of its run.
        cue, defense: their ids.
        people: identity id -> row of the grid; intersections too, but neither the baseline nor
            placebos.
        baseline: row of the unidentified user.
        judge: whose scores of safety they are; see `select_judge`.
        keys: (axis, benchmark) -> key of each item, in the order of the grid. Items of two
            sides with the same key are the same question with the same right answer.
    """

    side: Arm
    study: Study
    grid: Grid
    cue: str
    defense: str
    people: dict[str, int]
    baseline: int | None
    judge: str
    keys: dict[tuple[str, str], list[tuple[str, ...]]]

    def identity(self, name: str) -> Identity:
        """The identity as this side told it."""
        return self.condition(name).identity

    def condition(self, name: str) -> StoredCondition:
        """Of an identity of this side."""
        return self.grid.conditions[self.people[name]]


@dataclass(frozen=True)
class Common:
    """What all sides have asked.

    Attributes:
        people: ids of the identities.
        items: (axis, benchmark) -> for each side, the places of the items in its grid.
        left_out: what not every side has, in words.
    """

    people: list[str]
    items: dict[tuple[str, str], list[NDArray[np.int64]]]
    left_out: list[str] = field(default_factory=list)

    def sizes(self) -> dict[str, int]:
        """Number of items by benchmark."""
        sizes: dict[str, int] = {}
        for (_, benchmark), places in self.items.items():
            sizes[benchmark] = sizes.get(benchmark, 0) + len(places[0])
        return dict(sorted(sizes.items()))

    def axes(self) -> list[str]:
        """The axes that have items, in their usual order."""
        there = {axis for axis, _ in self.items}
        return [axis for axis in AVERAGED_AXES if axis in there]

    def take(self, number: int, side: ReadArm, axis: str, rows: Sequence[int]) -> AxisScores | None:
        """Scores of some rows of side `number` on the common items of an axis."""
        found = AxisScores()
        for (its_axis, benchmark), places in self.items.items():
            if its_axis == axis:
                whole = side.grid.scores[axis]
                found[benchmark] = whole[benchmark][list(rows)][:, places[number]]
                if benchmark in whole.clusters:
                    found.clusters[benchmark] = whole.clusters[benchmark][places[number]]
        return found or None


def read_arms(sides: Sequence[Arm], units: UnitChoice) -> list[ReadArm]:
    """Read every side; a run that stands on several is read once.

    Args:
        units: what to infer to.

    Raises:
        UsageError: fewer than two sides, or the same side twice.
        RunFolderError: a run has not begun, or the judge has scored nothing in it.
        UnknownName: a run has no such cue or defense.
    """
    if len(sides) < 2:
        raise UsageError(
            "a comparison needs two runs, or one run under two defenses: evenhand compare RUN RUN, "
            "evenhand compare RUN@none RUN@ignore"
        )
    runs: dict[tuple[int, str | None], _Run] = {}
    read = []
    for side in sides:
        key = id(side.store), side.judge
        if key not in runs:
            runs[key] = _read_run(side.store, side.judge, units)
        read.append(_read_side(side, *runs[key]))
    seen: set[tuple[str, str, str]] = set()
    for each in read:
        place = (str(each.side.store.folder.resolve()), each.cue, each.defense)
        if place in seen:
            raise UsageError(
                f"{each.side.store.folder} with cue {each.cue} and defense {each.defense} "
                "is named twice; name another defense as RUN@DEFENSE"
            )
        seen.add(place)
    return read


_Run = tuple[Study, Grid, dict[Any, list[tuple[str, ...]]]]


def _read_run(store: Store, judge: str | None, units: UnitChoice) -> _Run:
    study = store.record().study
    keys: dict[Any, list[tuple[str, ...]]] = {}
    for item in store.items().values():
        if item.axis not in AVERAGED_AXES:
            continue
        key = (item.id, item.prompt, item.scorer, item.answer, *item.choices)
        keys.setdefault((item.axis, item.benchmark), []).append(key)
    return study, read_grid(store, study.samples, judge=judge, units=units), keys


def _read_side(side: Arm, study: Study, grid: Grid, keys: dict[Any, Any]) -> ReadArm:
    settings = list(dict.fromkeys((c.cue, c.defense) for c in grid.conditions))
    cue, defense = side.cue or settings[0][0], side.defense or settings[0][1]
    where = f" in {side.store.folder}"
    if cue not in {c for c, _ in settings} and f"{cue}-1" in {c for c, _ in settings}:
        cue = f"{cue}-1"  # a form stands for its first wording, as in --cue
    if cue not in (known := [c for c, _ in settings]):
        raise UnknownName("cue", cue, dict.fromkeys(known), where)
    if defense not in (known := [d for _, d in settings]):
        raise UnknownName("defense", defense, dict.fromkeys(known), where)
    people = {grid.conditions[r].identity.id: r for r in grid.rows(cue, defense, "identity")}
    baseline = next(iter(grid.rows(cue, defense, "baseline")), None)
    judge, _ = select_judge(side.store, side.judge)
    return ReadArm(side, study, grid, cue, defense, people, baseline, judge, keys)


def arm_names(sides: Sequence[ReadArm]) -> list[str]:
    """A short name for each side: given, or what tells it from the others."""
    parts = [
        [shown_name(s.study.model) for s in sides],
        [f"cue {s.cue}" for s in sides],
        [f"defense {s.defense}" for s in sides],
    ]
    telling = [column for column in parts if len(set(column)) > 1]
    plain = [", ".join(row) for row in zip(*telling, strict=True)] or [""] * len(sides)
    names = plain
    whole = [s.side.store.folder.resolve() for s in sides]
    shared = commonpath([folder.parent for folder in whole])
    for folders in (
        [folder.name for folder in whole],
        [folder.relative_to(shared).as_posix() for folder in whole],
    ):
        if len(set(names)) < len(names):
            names = [", ".join(filter(None, pair)) for pair in zip(folders, plain, strict=True)]
    return [s.side.name or name for s, name in zip(sides, names, strict=True)]


def find_common(
    sides: Sequence[ReadArm], names: Sequence[str], identities: Collection[str] | None
) -> Common:
    """The identities and items of all sides; items without a score on a side are none of its.

    Raises:
        RunFolderError: there is none of the one or of the other.
        UnknownName: of the identities asked for there is none, for one that no side has.
    """
    left_out: list[str] = []
    people = _common_people(sides, names, identities, left_out)
    known = list(dict.fromkeys(name for side in sides for name in side.people))
    if not people and (unknown := [name for name in identities or () if name not in known]):
        raise UnknownName("identity", unknown[0], known)
    # Without people there is no score, which is no fault of the items.
    items = _common_items(sides, names, people, left_out) if people else {}
    if not people or not items:
        what = "item" if people else "identity"
        why = f" ({some_of(left_out, 3)})" if left_out else ""
        raise RunFolderError(f"{' and '.join(names)} have no {what} in common{why}")
    return Common(people, items, left_out)


def _common_people(
    sides: Sequence[ReadArm],
    names: Sequence[str],
    identities: Collection[str] | None,
    left_out: list[str],
) -> list[str]:
    wanted = [
        [name for name in side.people if identities is None or name in identities] for side in sides
    ]
    in_all = [name for name in wanted[0] if all(name in side.people for side in sides)]
    people = [n for n in in_all if len({side.identity(n).text for side in sides}) == 1]
    for name, mine in zip(names, wanted, strict=True):
        if alone := [n for n in mine if n not in in_all]:
            left_out.append(f"{counted(len(alone), 'identity', 'identities')} that not every side "
                            f"has, of {name}: {some_of(alone, 3)}")  # fmt: skip
    if other := [n for n in in_all if n not in people]:
        left_out.append(f"worded otherwise under the same id: {some_of(other, 3)}")
    if identities is not None and (absent := [n for n in identities if n not in people]):
        left_out.append(f"asked for, but not on every side: {some_of(absent, 3)}")
    return people


def _common_items(
    sides: Sequence[ReadArm], names: Sequence[str], people: Sequence[str], left_out: list[str]
) -> dict[tuple[str, str], list[NDArray[np.int64]]]:
    found = {}
    places = list(dict.fromkeys(place for side in sides for place in side.keys))
    for place in places:
        keys = [side.keys.get(place, []) for side in sides]
        asked = set(keys[0]).intersection(*keys[1:])
        scored = [_scored(side, place, people) for side in sides]
        common = [key for key in keys[0] if key in asked and all(key in s for s in scored)]
        if common:
            position = [{key: n for n, key in enumerate(mine)} for mine in keys]
            found[place] = [np.array([p[key] for key in common]) for p in position]
        left_out += _items_left_out(place, names, keys, asked, scored)
    for axis in sorted({axis for axis, _ in found}):
        sizes = {name: len(at[0]) for (its_axis, name), at in found.items() if its_axis == axis}
        for benchmark in single_items(sizes):
            del found[axis, benchmark]
            left_out.append(f"{benchmark}, whose only item in common on {axis} has no variance")
    return found


def _scored(side: ReadArm, place: tuple[str, str], people: Sequence[str]) -> set[tuple[str, ...]]:
    """Keys of the items that have a score of at least one of the people."""
    axis, benchmark = place
    if place not in side.keys or not people:
        return set()
    scores = side.grid.scores[axis][benchmark][[side.people[name] for name in people]]
    there = np.flatnonzero((~np.isnan(scores)).any(axis=(0, 2)))
    return {side.keys[place][n] for n in there}


def _items_left_out(
    place: tuple[str, str],
    names: Sequence[str],
    keys: Sequence[Sequence[tuple[str, ...]]],
    asked: set[tuple[str, ...]],
    scored: Sequence[set[tuple[str, ...]]],
) -> list[str]:
    lines = []
    ids = [{key[0] for key in mine} for mine in keys]
    asked_ids = {key[0] for key in asked}
    other = set.intersection(*ids) - asked_ids
    of = f"of {place[1]} ({place[0].replace('_', '-')})"
    for name, mine in zip(names, ids, strict=True):
        if alone := len(mine - asked_ids - other):
            lines.append(f"{counted(alone, 'item')} {of} that not every side has, of {name}")
    if other:
        lines.append(
            f"{counted(len(other), 'item')} {of} with the same id but another wording, answer key "
            "or scorer"
        )
    for name, answered in zip(names, scored, strict=True):
        if silent := len(asked - answered):
            lines.append(f"{counted(silent, 'item')} {of} without any score, of {name}")
    return lines


def caveats(sides: Sequence[ReadArm], names: Sequence[str], people: Sequence[str]) -> list[str]:
    """What differs from the first side beside what is compared, and so has a share in it."""
    found = []
    first = sides[0]
    for name, side in zip(names[1:], sides[1:], strict=True):
        differing = [*_of_decoding(first, side), *_of_cue(first, side, people)]
        if first.judge != side.judge:
            differing.append(f"the judge: {first.judge} and {side.judge}")
        versions = [_versions(each.side.store) for each in (first, side)]
        if versions[0] != versions[1]:
            differing.append(f"the version of evenhand: {versions[0]} and {versions[1]}")
        if first.study.samples != side.study.samples:
            counts = f"{first.study.samples} and {side.study.samples}"
            differing.append(f"answers per cell, {counts}; their means are compared")
        if differing:
            both = f'"{names[0]}" and "{name}"'
            found.append(f"{both} also differ in {'; '.join(differing)}")
    for name, side in zip(names, sides, strict=True):
        if side.side.store.record().interim:
            found.append(f'"{name}" was to stop at a precision; intervals here do not allow for it')
        missing, cells = _missing(side, people)
        if missing:
            found.append(f'"{name}": {missing:,} of {cells:,} cells have no score')
    return found


def _versions(store: Store) -> str:
    sessions = store.record().sessions
    versions = dict.fromkeys(each.versions.get("evenhand", "unknown") for each in sessions)
    return ", ".join(versions) or "unknown"


def _of_decoding(first: ReadArm, side: ReadArm) -> list[str]:
    before, after = first.study.decoding.model_dump(), side.study.decoding.model_dump()
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    return [f"decoding: {key} {before.get(key)} and {after.get(key)}" for key in keys]


def _of_cue(first: ReadArm, side: ReadArm, people: Sequence[str]) -> list[str]:
    if first.cue != side.cue:
        return [f"cue: {first.cue} and {side.cue}"]
    if first.defense != side.defense:
        return []  # the messages then differ by the defense, as they should
    same = all(first.condition(n).example == side.condition(n).example for n in people)
    return [] if same else ["the messages sent under the same cue and defense"]


def _missing(side: ReadArm, people: Sequence[str]) -> tuple[int, int]:
    rows = [side.people[name] for name in people]
    arrays = [a[rows] for axis in side.grid.scores.values() for a in axis.values()]
    return sum(int(np.isnan(a).sum()) for a in arrays), sum(a.size for a in arrays)
