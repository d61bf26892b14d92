"""Which defense works best? Successive halving on the tuning part, within a budget of answers.

All candidates are asked a few items, the best third of them more, and so on; items of an earlier
round are asked again only of defenses that were not there. (Jamieson & Talwalkar 2016, AISTATS.)
A sentence is chosen first and its place afterwards: with all sentences in all places at once, each
would get too few items to be distinguished from noise.
What is best is one number in points: the noise-corrected PB, plus every point by which mean safety
or utility falls, or over-refusal rises, against no defense. The search sees the tuning part
alone, so the winner's figures on the test part are not biased by its selection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import ceil, copysign, inf, sqrt
from typing import get_args

from evenhand.analysis.grid import AxisScores, Grid, mean_of, read_grid
from evenhand.analysis.setting import spread
from evenhand.axes import TRADED_AXES
from evenhand.errors import UsageError
from evenhand.mitigate.queries import QueryLoop, copy_answers, cues_of, plan_again, study_of
from evenhand.mitigate.split import Split, plan_for_tuning
from evenhand.store.store import Store
from evenhand.study.cue import NO_DEFENSE, Cue, Defense, DefensePlace
from evenhand.study.plan import Plan, first_of_each
from evenhand.text import counted

BUDGET = 20_000
"""Answers, unless the user says otherwise."""
_KEEP = 3
"""One of so many goes on to the next round."""
_STEPS = 200
"""Shares of the tuning items that are considered for the last round."""


@dataclass(frozen=True)
class Trial:
    """A defense in one round of the search, on tuning items and identities.

    Attributes:
        defense: its id.
        value: what is compared, in points; lower is better. None where so many answers have no
            score that there is no PB, as with a candidate that breaks the model.
        pb: noise-corrected; below 0 where the spread is smaller than noise alone would make it.
        safety, utility, over_refusal: means; None where not asked.
        lost: points of safety, utility and over-refusal lost against no defense.
    """

    defense: str
    value: float | None
    pb: float | None
    safety: float | None
    utility: float | None
    over_refusal: float | None
    lost: float | None

    @property
    def order(self) -> float:
        """By which candidates are sorted: the value, and those without one last."""
        return inf if self.value is None else self.value


@dataclass(frozen=True)
class Round:
    """A round of the search.

    Attributes:
        items: number of items that each defense was asked.
        reference: the model without any defense.
        trials: of the defenses, the best first.
    """

    items: int
    reference: Trial
    trials: list[Trial]

    @property
    def better(self) -> bool:
        """Whether the best defense did better than none."""
        return self.trials[0].order < self.reference.order


@dataclass(frozen=True)
class SearchResult:
    """The result of the search for a defense.

    Attributes:
        chosen: id of the best defense.
        better: whether its value is below that of no defense in the last round.
        rounds: in their order.
        budget: answers that it was allowed.
        planned: answers that it needed at most.
        answers: answers that this command sent for it; the rest was there already.
        cost: dollars for these; None without a price.
        sentences: of the candidates, by id.
    """

    chosen: str
    better: bool
    budget: int
    planned: int
    answers: int
    cost: float | None
    rounds: list[Round]
    sentences: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SearchSchedule:
    """The rounds of a search.

    Attributes:
        candidates: number of defenses in each round.
        shares: of the tuning items that each round asks, in (0, 1].
        answers: of all rounds, and of the winner in other places.
    """

    candidates: tuple[int, ...]
    shares: tuple[float, ...]
    answers: int


async def search(
    run: Store,
    split: Split,
    store: Store,
    defenses: Sequence[Defense],
    loop: QueryLoop,
    *,
    places: bool = False,
    budget: int = BUDGET,
) -> SearchResult:
    """Find the best of some defenses on the tuning part of a run.

    Args:
        run: the audit; its answers without a defense are used, not asked again.
        store: where the search keeps its answers; resumed if there are any.
        places: whether to try the best in its other places, too.

    Raises:
        UsageError: no defense to choose from, or a budget too small for them.
        NotFinished: the cost limit is reached.
        EvenhandError: as `evenhand.run.loop.run`.
    """
    if not defenses:
        raise UsageError("there is no defense to search")
    sent, cost = loop.answers, loop.progress.cost if loop.progress else 0.0
    cues = cues_of(study_of(run), split.cues)
    tuning = _plan(run, split, cues, [])
    schedule = make_schedule(
        tuning, len(defenses), budget, len(get_args(DefensePlace)) - 1 if places else 0
    )
    count = len(schedule.shares) + places
    what = f"search among {counted(len(defenses), 'defense')} in {counted(count, 'round')}"
    loop.announce(what, schedule.answers, run)
    left = list(defenses)
    rounds: list[Round] = []

    async def play(candidates: list[Defense], share: float) -> list[Defense]:
        """Ask a round, and give its candidates with the best first."""
        plan = _plan(run, split, cues, candidates)
        plan = replace(plan, items=first_of_each(plan.items, share))
        split.check_tuning(plan.items)
        copy_answers(run, store, plan)
        await loop.ask(f"search, round {len(rounds) + 1} of {count}", plan, store)
        grid = read_grid(store, plan.study.samples)
        rounds.append(_round(grid, cues, candidates, len(plan.items)))
        order = [trial.defense for trial in rounds[-1].trials]
        return sorted(candidates, key=lambda defense: order.index(defense.id))

    for size, share in zip(schedule.candidates, schedule.shares, strict=True):
        left = await play(left[:size], share)
    if places and (moved := in_other_places(left[0])):
        left = await play([left[0], *moved], schedule.shares[-1])
    spent = loop.progress.cost - cost if loop.progress else 0.0
    return SearchResult(
        chosen=left[0].id,
        better=rounds[-1].better,
        budget=budget,
        planned=schedule.answers,
        answers=loop.answers - sent,
        cost=spent if loop.has_price else None,
        rounds=rounds,
        sentences={defense.id: defense.text for defense in defenses},
    )


def in_other_places(defense: Defense) -> list[Defense]:
    """The sentence in the places where it does not stand yet; none for one that has its own."""
    if defense.place != "after":
        return []
    return [
        defense.model_copy(update={"id": f"{defense.id}.{place}", "place": place})
        for place in get_args(DefensePlace)
        if place != defense.place
    ]


def make_schedule(
    plan: Plan, candidates: int, budget: int, others: int = 0, what: str = "defenses"
) -> SearchSchedule:
    """Rounds within the budget, with as many items in the last as it allows.

    Args:
        plan: the tuning part under no defense, of which each candidate is a copy.
        others: further defenses that are asked the items of the last round.
        what: what the candidates are, for the message.

    Raises:
        UsageError: the budget does not suffice for the smallest search.
    """
    counts = [candidates]
    while counts[-1] > _KEEP:
        counts.append(ceil(counts[-1] / _KEEP))
    cells = len(plan.conditions) * plan.study.samples
    for step in range(_STEPS, 0, -1):
        shares = [step / _STEPS / 2 ** (len(counts) - 1 - n) for n in range(len(counts))]
        sizes = [len(first_of_each(plan.items, share)) for share in shares]
        new = [size - before for size, before in zip(sizes, [0, *sizes], strict=False)]
        asked = sum(n * size for n, size in zip(counts, new, strict=True))
        answers = cells * (asked + others * sizes[-1])
        if answers <= budget:
            return SearchSchedule(tuple(counts), tuple(shares), answers)
    fewer = ", or name fewer with --defense" if what == "defenses" else ""
    raise UsageError(
        f"a search among {candidates} {what} needs {answers:,} answers at least, more than the "
        f"budget of {budget:,}; raise --budget{fewer}"
    )


def _plan(run: Store, split: Split, cues: Sequence[Cue], defenses: Sequence[Defense]) -> Plan:
    return plan_for_tuning(plan_again(run, cues, [NO_DEFENSE, *defenses]), split)


def _round(grid: Grid, cues: Sequence[Cue], defenses: Sequence[Defense], items: int) -> Round:
    reference = trial(grid, cues, NO_DEFENSE.id, None)
    trials = [trial(grid, cues, defense.id, reference) for defense in defenses]
    return Round(items, reference, sorted(trials, key=lambda trial: trial.order))


def trial(grid: Grid, cues: Sequence[Cue], defense: str, reference: Trial | None) -> Trial:
    """A defense over all cues, each cue counting the same.

    Args:
        reference: the trial of no defense, against which points are lost; None for itself.

    Raises:
        UsageError: there are too few scores without a defense.
    """
    squares = [_signed_square(grid, cue.id, defense) for cue in cues]
    known = [square for square in squares if square is not None]
    safety, utility, over_refusal = (_mean(grid, axis, cues, defense) for axis in TRADED_AXES)
    if len(known) < len(squares):
        if reference is None:
            raise UsageError("too few scored answers, identities or items to search for a defense")
        return Trial(defense, None, None, safety, utility, over_refusal, lost=None)
    square = sum(known) / len(known)
    pb = copysign(sqrt(abs(square)), square)
    found = Trial(defense, pb, pb, safety, utility, over_refusal, lost=0.0)
    if reference is None:
        return found
    lost = (
        _fall(reference.safety, found.safety)
        + _fall(reference.utility, found.utility)
        + _fall(found.over_refusal, reference.over_refusal)
    )
    return replace(found, lost=lost, value=pb + lost)


def _signed_square(grid: Grid, cue: str, defense: str) -> float | None:
    rows = grid.rows(cue, defense, "identity")
    found = spread(grid.take("safety", rows), grid.take("utility", rows), grid.level)
    return None if found is None else found.signed_square


def _mean(grid: Grid, axis: str, cues: Sequence[Cue], defense: str) -> float | None:
    scores: AxisScores | None = grid.take(
        axis, [row for cue in cues for row in grid.rows(cue.id, defense, "identity")]
    )
    return mean_of(scores)


def _fall(before: float | None, after: float | None) -> float:
    return 0.0 if before is None or after is None else max(0.0, before - after)
