"""What a report shows beyond the audit's figures: where, how sure on the map, and the evidence.

Evidence is the same question asked on behalf of two users, with answers that were scored
differently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from evenhand.analysis.grid import Grid, clusters_of, if_enough, read_grid
from evenhand.analysis.results import Audit
from evenhand.axes import AXES
from evenhand.benchmarks.item import Item
from evenhand.stats import ALPHA, Regions, benjamini_hochberg, differences_to_mean, joint_regions
from evenhand.stats.scores import rows_are_identities
from evenhand.store.record import RunRecord
from evenhand.store.redaction import Redaction, leaves_out, shown_item
from evenhand.store.store import Store, StoredCondition

# Where: by benchmark and subgroup

FALSE_DISCOVERIES = ALPHA
"""Expected share of differences by chance among those that are shown as beyond noise."""
FEWEST_ITEMS = 5
"""Subgroups with fewer items are put together."""
SMALLER = "smaller ones together"


@dataclass(frozen=True)
class GroupResult:
    """One benchmark, or one subgroup of it, and what every identity's difference is there.

    Attributes:
        axis, benchmark: what it belongs to.
        name: of the subgroup; empty for the whole benchmark.
        items: how many it has.
        mean: over the identities, in points.
        difference: (identities,) to the mean of the identities on the same items, in points; NaN
            where there is too little data.
        beyond_noise: (identities,) whether the difference is told from chance, see `Where`.
    """

    axis: str
    benchmark: str
    name: str
    items: int
    mean: float
    difference: NDArray[np.float64]
    beyond_noise: NDArray[np.bool_]


@dataclass(frozen=True)
class Where:
    """Identities by place.

    The differences told from chance are chosen for each axis, among benchmarks and among
    subgroups apart, so that at most `FALSE_DISCOVERIES` of them are expected to be none
    (Benjamini & Hochberg 1995, J. R. Stat. Soc. B 57).

    Attributes:
        identities: their ids, in the order of each place's differences.
        texts: what each says of itself, in the same order.
        benchmarks: whole benchmarks.
        subgroups: of those benchmarks that have two or more.
    """

    identities: list[str]
    texts: list[str]
    benchmarks: list[GroupResult]
    subgroups: list[GroupResult]


@rows_are_identities()
def find_where(grid: Grid, items: Mapping[int, Item], cue: str, defense: str) -> Where:
    """Compare each identity with the mean of all in every benchmark and subgroup.

    Args:
        items: of the store that the grid was read from, in the same order.
    """
    rows = grid.rows(cue, defense, "identity")
    groups = _groups(items)
    benchmarks: list[GroupResult] = []
    subgroups: list[GroupResult] = []
    with threadpool_limits(limits=1, user_api="blas"):
        for axis, arrays in grid.scores.items():
            whole, parts = [], []
            for benchmark, array in arrays.items():
                scores, names = array[rows], groups[axis, benchmark]
                whole.append(_place(axis, benchmark, "", scores))
                kinds = _large_enough(names)
                if len(set(kinds)) > 1:
                    parts += [
                        _place(axis, benchmark, str(kind), scores[:, kinds == kind])
                        for kind in sorted(set(kinds), key=lambda kind: (kind == SMALLER, kind))
                    ]
            benchmarks += _beyond_noise(whole)
            subgroups += _beyond_noise(parts)
    people = [grid.conditions[row].identity for row in rows]
    ids, texts = [who.id for who in people], [who.text for who in people]
    return Where(ids, texts, benchmarks, subgroups)


def _groups(items: Mapping[int, Item]) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for item in items.values():
        found.setdefault((item.axis, item.benchmark), []).append(item.subgroup)
    return found


def _large_enough(names: Sequence[str]) -> NDArray[np.str_]:
    """Each item's subgroup; small ones under one name."""
    kinds, place, counts = np.unique(np.array(names), return_inverse=True, return_counts=True)
    kept = np.where(counts >= FEWEST_ITEMS, kinds, SMALLER)
    return np.asarray(kept[place])


def _place(
    axis: str, benchmark: str, name: str, scores: NDArray[np.float64]
) -> tuple[GroupResult, NDArray[np.float64]]:
    """A place with nothing told from chance yet, and its p-values."""
    scored = scores[:, (scores == scores).any(axis=(0, 2))]  # NaN is not equal to itself
    found = if_enough(lambda: differences_to_mean(scored)) if scored.size else None
    unknown = np.full(len(scores), np.nan)
    place = GroupResult(
        axis=axis,
        benchmark=benchmark,
        name=name,
        items=scored.shape[1],
        mean=100 * float(np.nanmean(scored)) if scored.size else float("nan"),
        difference=found.difference if found else unknown,
        beyond_noise=np.zeros(len(scores), dtype=bool),
    )
    return place, found.p_value if found else unknown


def _beyond_noise(places: Sequence[tuple[GroupResult, NDArray[np.float64]]]) -> list[GroupResult]:
    """The places with their differences told from chance, all of them judged together."""
    known = [~np.isnan(p_values) for _, p_values in places]
    told = iter(
        np.split(
            _discoveries(np.concatenate([p[k] for (_, p), k in zip(places, known, strict=True)]))
            if places
            else np.zeros(0, dtype=bool),
            np.cumsum([int(k.sum()) for k in known])[:-1],
        )
    )
    finished = []
    for (place, _), k in zip(places, known, strict=True):
        place.beyond_noise[k] = next(told)
        finished.append(place)
    return finished


def _discoveries(p_values: NDArray[np.float64]) -> NDArray[np.bool_]:
    if not p_values.size:
        return np.zeros(0, dtype=bool)
    return np.asarray(benjamini_hochberg(p_values) <= FALSE_DISCOVERIES)


# Evidence: pairs of answers

MOST_PAIRS = 200
SEED = 0
APART = 0.5
"""The least difference of two scores, of 0 to 1, that counts as another outcome."""


@dataclass(frozen=True)
class ShownAnswer:
    """One of the two answers.

    Attributes:
        identity: id; that of the baseline where nothing was said of the user.
        text: as the model gave it.
        score: 0 to 1.
        why: what led to the score, in the scorer's words; may be empty.
        realization: by which the user was shown, such as a name; None where there are none.
    """

    identity: str
    text: str
    score: float
    why: str
    realization: str | None = None


@dataclass(frozen=True)
class AnswerPair:
    """One question, asked on behalf of two users; `better` is the answer that scored better.

    Attributes:
        item: the question.
        sample: which of the answers to it, from 0.
        better: the answer that was scored higher.
        worse: the other one.
    """

    item: Item
    sample: int
    better: ShownAnswer
    worse: ShownAnswer


@dataclass(frozen=True)
class Evidence:
    """Pairs of answers: a random sample.

    Attributes:
        pairs: those drawn, one of each benchmark after the other.
        found: all the pairs with another outcome that there are, by benchmark.
        questions: all the questions that have such a pair, by benchmark.
        seed: of the lot.
    """

    pairs: list[AnswerPair]
    found: dict[str, int]
    questions: dict[str, int]
    seed: int


@dataclass(frozen=True)
class _Stratum:
    """One benchmark: its scores with higher for better, (users, items, samples)."""

    items: list[tuple[int, Item]]
    scores: NDArray[np.float64]
    quality: NDArray[np.float64]


def find_evidence(
    store: Store,
    grid: Grid,
    items: Mapping[int, Item],
    cue: str,
    defense: str,
    *,
    most: int = MOST_PAIRS,
    seed: int = SEED,
) -> Evidence:
    """Draw pairs of answers to the same question with another outcome.

    Each benchmark gives as many pairs as the others, as far as it has them. Within one the
    questions are a stratified random sample, without replacement, and of each question one pair
    of users by lot. The users are the identities and the baseline.

    Args:
        items: of the store that the grid was read from, in the same order.
        most: pairs in all.
        seed: of the lot.
    """
    rows = grid.rows(cue, defense, "baseline") + grid.rows(cue, defense, "identity")
    strata = _strata(grid, items, rows)
    rng = np.random.default_rng(seed)
    found, questions, drawn = {}, {}, {}
    for benchmark, stratum in strata.items():
        counts = _pair_counts(stratum)
        found[benchmark] = int(counts.sum())
        questions[benchmark] = int(np.count_nonzero(counts))
        drawn[benchmark] = _draw(stratum, counts, most, rng)
    taken = _share_out({name: len(pairs) for name, pairs in drawn.items()}, most)
    cells = [
        (benchmark, drawn[benchmark][n])
        for n in range(max(taken.values(), default=0))
        for benchmark in drawn
        if n < taken[benchmark]
    ]
    return Evidence(_read(store, grid, rows, strata, cells), found, questions, seed)


def _strata(grid: Grid, items: Mapping[int, Item], rows: Sequence[int]) -> dict[str, _Stratum]:
    """By benchmark, and by axis where a benchmark has two."""
    by_place: dict[tuple[str, str], list[tuple[int, Item]]] = {}
    for item_id, item in items.items():
        by_place.setdefault((item.axis, item.benchmark), []).append((item_id, item))
    strata = {}
    for axis, arrays in grid.scores.items():
        for benchmark, array in arrays.items():
            scores = array[rows]
            quality = AXES[axis].quality(scores)
            name = f"{benchmark}, {axis}" if benchmark in strata else benchmark
            strata[name] = _Stratum(by_place[axis, benchmark], scores, quality)
    return strata


def _pair_counts(stratum: _Stratum) -> NDArray[np.int64]:
    """(items, samples): pairs of users with another outcome."""
    quality = stratum.quality
    counts = np.zeros(quality.shape[1:], dtype=np.int64)
    for user in quality:
        counts += (user - quality >= APART).sum(axis=0)  # NaN is never apart
    return counts


_PairIndex = tuple[int, int, int, int]
"""Item, sample, better user, worse user."""


def _draw(
    stratum: _Stratum, counts: NDArray[np.int64], most: int, rng: np.random.Generator
) -> list[_PairIndex]:
    """Up to `most` different pairs: a round of all questions after the other."""
    several = counts.shape[1] > 1
    left = {
        int(item): rng.permutation(np.flatnonzero(counts[item])).tolist() if several else [0]
        for item in rng.permutation(np.flatnonzero(counts.any(axis=1)))
    }
    drawn: list[_PairIndex] = []
    seen: set[_PairIndex] = set()
    rounds = 0
    while len(drawn) < min(most, int(counts.sum())) and rounds < most:
        rounds += 1
        for item, samples in left.items():
            pair = _one_pair(stratum, item, samples[len(seen) % len(samples)], rng)
            if pair not in seen:
                seen.add(pair)
                drawn.append(pair)
            if len(drawn) == most:
                return drawn
    return drawn


def _one_pair(stratum: _Stratum, item: int, sample: int, rng: np.random.Generator) -> _PairIndex:
    quality = stratum.quality[:, item, sample]
    better, worse = np.nonzero(quality[:, np.newaxis] - quality >= APART)
    chosen = rng.integers(len(better))
    return item, sample, int(better[chosen]), int(worse[chosen])


def _share_out(there: Mapping[str, int], most: int) -> dict[str, int]:
    """How many of each, as even as can be: what one lacks the others may have."""
    taken = dict.fromkeys(there, 0)
    while sum(taken.values()) < most and (open_ := [n for n in there if taken[n] < there[n]]):
        for name in open_[: most - sum(taken.values())]:
            taken[name] += 1
    return taken


def _read(
    store: Store,
    grid: Grid,
    rows: Sequence[int],
    strata: Mapping[str, _Stratum],
    cells: Sequence[tuple[str, _PairIndex]],
) -> list[AnswerPair]:
    """The pairs with their answers; all are fetched at once."""
    users = [grid.conditions[row] for row in rows]
    keys = [
        tuple((users[user].id, strata[name].items[item][0], sample) for user in (better, worse))
        for name, (item, sample, better, worse) in cells
    ]
    texts = store.answers([key for pair in keys for key in pair], judge=grid.judge)
    pairs = []
    for (name, (item, sample, better, worse)), places in zip(cells, keys, strict=True):
        scores = strata[name].scores[:, item, sample]
        asked = strata[name].items[item][1]
        sides = [
            ShownAnswer(
                users[user].identity.id,
                *_text_first(texts.get(place), float(scores[user])),
                users[user].realization(asked.slot),
            )
            for user, place in zip((better, worse), places, strict=True)
        ]
        pairs.append(AnswerPair(asked, sample, *sides))
    return pairs


def _text_first(found: tuple[str, str] | None, score: float) -> tuple[str, float, str]:
    text, why = found or ("", "")
    return text, score, why


# All that a report shows beyond the figures


@dataclass(frozen=True)
class AuditDetails:
    """The headline setting looked at more closely, and what the run's folder says of the run.

    Attributes:
        where: identities by benchmark and subgroup.
        regions: of the identities on the map; None without both axes, or with too little data.
        evidence: pairs of answers with another outcome.
        conditions: all that was asked, with the messages as sent.
        examples: the first question of each benchmark.
        record: the study as stated, and how and when it was asked.
        folder: the run's, as the user named it.
        redaction: whose texts are left out; pairs and examples hold none of them.
    """

    where: Where
    regions: Regions | None
    evidence: Evidence
    conditions: list[StoredCondition]
    examples: list[Item]
    record: RunRecord
    folder: str
    redaction: Redaction | None = None


@rows_are_identities()
def read_details(store: Store, audit: Audit) -> AuditDetails:
    """Read what the audit's figures leave out; answers only of the pairs that are shown.

    Texts that the store leaves out are in none of it.
    """
    record = store.shown_record()
    grid = read_grid(store, audit.samples, record.level, audit.judge)
    items = store.items()
    cue, defense = audit.head.cue, audit.head.defense
    first = {item.benchmark: item for item in reversed(items.values())}
    return AuditDetails(
        where=find_where(grid, items, cue, defense),
        regions=_regions(grid, cue, defense),
        evidence=_shown(find_evidence(store, grid, items, cue, defense), store.redaction),
        conditions=store.conditions(),
        examples=[shown_item(first[name], store.redaction) for name in sorted(first)],
        record=record,
        folder=str(store.folder),
        redaction=store.redaction,
    )


def _shown(evidence: Evidence, redaction: Redaction | None) -> Evidence:
    pairs = [pair for pair in evidence.pairs if not leaves_out(redaction, pair.item.axis)]
    return replace(evidence, pairs=pairs)


def _regions(grid: Grid, cue: str, defense: str) -> Regions | None:
    rows = grid.rows(cue, defense, "identity")
    safety, utility = grid.take("safety", rows), grid.take("utility", rows)
    if safety is None or utility is None:
        return None
    one, other = safety.of_axis("safety"), utility.of_axis("utility")
    tied = clusters_of(one, other)
    return if_enough(lambda: joint_regions(one, other, level=grid.level, clusters=tied))
