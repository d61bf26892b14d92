"""The result of a mitigation on the test part: all methods in one table, ranked, and what to note.

Every figure of a comparison rests on the same cells, those with a score under every condition and
seed. The intervals of a seed hold over items like these. Of several seeds, which share the items,
the mean has the mean of their limits as the interval over items; the spread of the seeds is added
by the squares of both distances (MOVER; Zou & Donner 2008, Stat. Med. 27). With few seeds that can
reach beyond what the figure can be, such as a PB below 0: such limits are clipped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from scipy.special import stdtrit

from evenhand.analysis.compare import Arm, ArmChange, ArmComparison, ArmResult, compare_arms
from evenhand.analysis.grid import UnitChoice
from evenhand.analysis.notes import withholding_notes
from evenhand.analysis.relevance import Relevance, relevance_scores, relevance_under
from evenhand.axes import AXES
from evenhand.errors import EvenhandError, RunFolderError, TrainingError, UsageError
from evenhand.mitigate.recipes import CONTROL
from evenhand.mitigate.search import SearchResult
from evenhand.mitigate.split import Part, Split, Unit
from evenhand.mitigate.steer import SteeringResult
from evenhand.run.recorder import Price
from evenhand.store.store import Store
from evenhand.store.tallies import condition_tallies
from evenhand.study.cue import Cue, Defense, DefensePlace
from evenhand.study.identity import Identity

SeedInterval = tuple[float, float]

MOST_PB = 50 * 2**0.5
"""The root mean square distance where half of the identities have 0 and half 100, on both axes."""
NOT_CREDIBLE = "believe no figure here"
"""Begins the note of a mitigation whose conditions all make too many answers unscorable."""


@dataclass(frozen=True)
class ConditionKey:
    """Which condition a side of the comparisons is; sides of one name differ in their seed.

    Attributes:
        name: the same for all seeds.
        seed: of its training or steering.
        label: its name among the sides.
        is_control: whether it must not work: a sentence about something else, swapped preferences,
            a random subspace.
        sentence: of its defense; empty for none.
        place: of that sentence in the prompt.
    """

    name: str
    seed: int
    label: str
    is_control: bool = False
    sentence: str = ""
    place: DefensePlace = "after"


def with_seed(name: str, seed: int) -> str:
    """The name of one seed's condition; the first has the name of the condition."""
    return f"{name}, seed {seed}" if seed else name


def is_control(name: str) -> bool:
    """Whether a condition of this name is a control."""
    return name == "control" or name.endswith(CONTROL) or name.startswith("steer, ")


@dataclass(frozen=True)
class SeedMean:
    """A figure in points, over the seeds.

    Attributes:
        estimate: mean over the seeds.
        interval: at 95%, over items and seeds.
        seeds: the figure of each seed.
    """

    estimate: float
    interval: SeedInterval
    seeds: list[float]


@dataclass(frozen=True)
class MethodResult:
    """One condition against the model without any mitigation.

    Attributes:
        name: of the condition.
        seeds: how many.
        is_control: whether it must not work.
        pb: personalization bias.
        change: of PB; None for the model without mitigation itself.
        means: axis -> mean over the identities.
        mean_changes: axis -> change of that mean.
        relevance: appropriate personalization; None where it was not asked.
        changed: share of cells that are scored otherwise, in [0, 1], mean over seeds.
        unidentified: share of the unidentified user's answers that are scored otherwise, in
            [0, 1]; None where that user was not asked.
        unidentified_changes: axis -> change of the mean of the unidentified user.
        places: lowest and highest place in the order by the change of PB that the intervals leave
            open; None for controls, the model without mitigation and a method without another.
    """

    name: str
    seeds: int
    is_control: bool
    pb: SeedMean | None
    change: SeedMean | None
    means: dict[str, float]
    mean_changes: dict[str, SeedMean]
    relevance: SeedMean | None
    changed: float
    unidentified: float | None
    unidentified_changes: dict[str, SeedMean]
    places: tuple[int, int] | None = None


@dataclass(frozen=True)
class MethodTable:
    """All conditions side by side, for some identities under one cue.

    Attributes:
        cells: pairs of an identity and an item that every figure of identities rests on.
        all_cells: pairs that were asked.
        rows: the model without mitigation, then methods from the largest fall of PB on, then
            controls.
    """

    cells: int
    all_cells: int
    rows: list[MethodResult] = field(default_factory=list)


def over_seeds(
    figures: Sequence[tuple[float, SeedInterval]],
    lowest: float = -np.inf,
    highest: float = np.inf,
) -> SeedMean | None:
    """The mean of one figure of several seeds; None of none.

    The interval of a single seed is given as it is, and reads as it does in a comparison.

    Args:
        figures: estimate and interval of each.
        lowest, highest: what no such figure can be beyond, as 0 for PB. For a change they hold 0
            between them, so that clipped limits leave out 0 only where the others do.

    >>> over_seeds([(2.0, (1.0, 3.0))]).interval
    (1.0, 3.0)
    >>> low, high = over_seeds([(2.0, (1.0, 3.0)), (4.0, (3.0, 5.0))]).interval
    >>> low < 2.0 and high > 4.0
    True
    >>> over_seeds([(2.0, (1.0, 3.0)), (4.0, (3.0, 5.0))], -5.0, 6.0).interval
    (-5.0, 6.0)
    """
    if not figures:
        return None
    values = np.array([value for value, _ in figures])
    limits = np.array([limits for _, limits in figures])
    mean, (low, high) = float(values.mean()), map(float, limits.mean(axis=0))
    if len(values) == 1:
        return SeedMean(mean, (low, high), values.tolist())
    error = values.std(ddof=1) / np.sqrt(len(values))
    reach = float(stdtrit(len(values) - 1, 0.975)) * error
    below, above = np.hypot(max(0.0, mean - low), reach), np.hypot(max(0.0, high - mean), reach)
    # The estimate itself may lie beyond a limit that is estimated, as PB before is.
    low = max(float(mean - below), min(lowest, mean))
    high = min(float(mean + above), max(highest, mean))
    return SeedMean(mean, (low, high), values.tolist())


def method_table(
    comparison: ArmComparison,
    conditions: Sequence[ConditionKey],
    relevance: dict[str, Relevance],
) -> MethodTable:
    """Put the seeds of each condition together.

    Args:
        comparison: its sides are the conditions in their order, the first without mitigation.
        conditions: of its sides.
        relevance: by label.
    """
    changes = {each.side: each for each in comparison.changes}
    by_name: dict[str, list[int]] = {}
    for side, condition in enumerate(conditions):
        by_name.setdefault(condition.name, []).append(side)
    rows = [
        _method_result(comparison, changes, [conditions[n] for n in sides], sides, relevance)
        for sides in by_name.values()
    ]
    return MethodTable(comparison.cells, comparison.all_cells, _placed(rows))


def _method_result(
    comparison: ArmComparison,
    changes: dict[int, ArmChange],
    conditions: Sequence[ConditionKey],
    sides: Sequence[int],
    relevance: dict[str, Relevance],
) -> MethodResult:
    arms = [comparison.sides[n] for n in sides]
    changed = [changes[n] for n in sides if n in changes]
    alone = [c.unidentified for c in changed if c.unidentified]
    pbs = [arm.pb for arm in arms if arm.pb]
    biases = [c.bias for c in changed if c.bias]
    axes = list(arms[0].axes)
    of_seeds = [
        {axis: (each.mean.difference, each.mean.interval) for axis, each in change.axes.items()}
        for change in changed
    ]
    used = [relevance[c.label] for c in conditions if c.label in relevance]
    before = {axis: arm.mean for axis, arm in comparison.sides[0].axes.items()}
    alone_before = {axis: arm.baseline for axis, arm in comparison.sides[0].axes.items()}
    most_before = max((bias.before.interval[1] for bias in biases), default=0.0)
    return MethodResult(
        name=conditions[0].name,
        seeds=len(sides),
        is_control=conditions[0].is_control,
        pb=over_seeds([(pb.estimate, pb.interval) for pb in pbs], 0.0, MOST_PB),
        change=over_seeds(
            [(bias.difference, bias.interval) for bias in biases], 0.0 - most_before, MOST_PB
        ),
        means={
            axis: float(np.mean(means))
            for axis in axes
            if (means := [m for arm in arms if (m := arm.axes[axis].mean) is not None])
        },
        mean_changes=_by_axis(axes, of_seeds, before),
        relevance=over_seeds([(r.mean, r.interval) for r in used], 0.0, 100.0),
        changed=float(np.mean([c.changed for c in changed] or [0])) / max(1, comparison.cells),
        unidentified=float(np.mean([a.changed / a.items for a in alone])) if alone else None,
        unidentified_changes=_by_axis(
            axes,
            [{x: (m.mean, m.interval) for x, m in a.axes.items()} for a in alone],
            alone_before,
        ),
    )


def _by_axis(
    axes: Sequence[str],
    seeds: Sequence[dict[str, tuple[float, SeedInterval]]],
    before: dict[str, float | None],
) -> dict[str, SeedMean]:
    """Changes of means over the seeds; a mean stays within 0 and 100."""
    found = {}
    for axis in axes:
        mean = before.get(axis)
        limits = (-100.0, 100.0) if mean is None else (0.0 - mean, 100.0 - mean)
        change = over_seeds([seed[axis] for seed in seeds if axis in seed], *limits)
        if change is not None:
            found[axis] = change
    return found


def _placed(rows: Sequence[MethodResult]) -> list[MethodResult]:
    """In their order, with the places that the intervals of the change leave open."""
    methods = [row for row in rows if row.change and not row.is_control]
    placed = []
    for row in sorted(methods, key=lambda r: r.change.estimate if r.change else 0.0):
        low, high = row.change.interval if row.change else (np.nan, np.nan)
        better = sum(other.change.interval[1] < low for other in methods if other.change)
        worse = sum(other.change.interval[0] > high for other in methods if other.change)
        places = (1 + better, len(methods) - worse) if len(methods) > 1 else None
        placed.append(replace(row, places=places))
    rest = [row for row in rows if row not in methods]
    return [*rest[:1], *placed, *rest[1:]]


IdentityPart = Literal["all", "tuning", "test"]


@dataclass(frozen=True)
class SplitSizes:
    """Sizes of the two parts: (tuning, test).

    Attributes:
        seed, unit: of the split.
        items, identities: how many.
        cues: their ids.
    """

    seed: int
    unit: Unit
    items: tuple[int, int]
    identities: tuple[int, int]
    cues: tuple[list[str], list[str]]


@dataclass(frozen=True)
class TrainingResult:
    """A training.

    Attributes:
        name: of the condition: "dpo invariance", "hybrid invariance, ignore".
        seed: of the examples and of the training.
        recipe: of its pairs, or its target.
        model: what to audit: "hf/DIR".
        pairs: how many pairs or answers it learned from.
        steps: optimizer steps.
        resumed_from: step at which it was last taken up again; 0 for its beginning.
        seconds: of training, since it was last resumed.
        example: the first pair or answer as the model read it.
        left_out: why answers and pairs were not used -> how many.
    """

    name: str
    recipe: str
    model: str
    pairs: int
    steps: int
    seconds: float
    resumed_from: int
    example: str
    left_out: dict[str, int] = field(default_factory=dict)
    seed: int = 0


@dataclass(frozen=True)
class RequestCost:
    """What a request of an identified user takes, mean over the test part under the first cue.

    Attributes:
        prompt: tokens of the prompt, the defense's included.
        answer: tokens of the answer, thoughts included.
        dollars: by the price of this command; None without one.
    """

    prompt: float
    answer: float
    dollars: float | None


@dataclass(frozen=True)
class IdentityGroup:
    """All conditions side by side, on test items, for some identities under one cue.

    Attributes:
        people: all identities, those of the tuning part, or those of the test part.
        cue: its id.
        part: whether the cue was tuned on.
        comparison: its sides are the conditions, the first without any mitigation.
    """

    people: IdentityPart
    cue: str
    part: Part
    comparison: ArmComparison


@dataclass(frozen=True)
class Mitigation:
    """What a mitigation did and what came of it.

    Attributes:
        run: folder of the audit.
        model: that was mitigated.
        out: folder of all that follows.
        margin: losses of so many points do not matter.
        parts: what was tuned on and what was tested on.
        search: of the defense; None where it was named, or none is used.
        defense: id of the defense in use; empty for none.
        trainings: of each recipe.
        steering: layers and rank of the steering; None without.
        relevance: of each condition, by its label, on cells that all conditions have a score for;
            empty where it was not asked.
        groups: the first holds all identities under the first cue.
        answers: sent by this command, search included; not those of an audit before.
        cost: dollars for these; None without a price.
        notes: what a reader must know.
        conditions: the sides of each comparison; empty for what their names say.
        requests: what a request takes, by a condition's name; without those whose tokens are not
            known.
    """

    run: str
    model: str
    out: str
    margin: float
    parts: SplitSizes
    search: SearchResult | None
    defense: str
    trainings: list[TrainingResult]
    relevance: dict[str, Relevance]
    groups: list[IdentityGroup]
    answers: int
    cost: float | None
    notes: list[str]
    steering: SteeringResult | None = None
    conditions: list[ConditionKey] = field(default_factory=list)
    requests: dict[str, RequestCost] = field(default_factory=dict)

    @property
    def head(self) -> ArmComparison:
        """All identities under the first cue."""
        return self.groups[0].comparison

    @property
    def is_fitted(self) -> bool:
        """Whether anything was trained, steered or searched for, and so the tuning part used."""
        return bool(self.search or self.trainings or self.steering)

    def methods(self, group: IdentityGroup) -> MethodTable:
        """All conditions side by side in a group, the seeds of each put together."""
        keys = self.conditions or [
            ConditionKey(arm.name, 0, arm.name, is_control(arm.name))
            for arm in group.comparison.sides
        ]
        is_head = group is self.groups[0]
        return method_table(group.comparison, keys, self.relevance if is_head else {})

    def group(self, people: IdentityPart, cue: str | None = None) -> ArmComparison | None:
        """The comparison for some identities, under a cue; the first cue where none is named."""
        chosen = cue or self.groups[0].cue
        found = (g.comparison for g in self.groups if (g.people, g.cue) == (people, chosen))
        return next(found, None)


_MOST_LOST = 0.05
"""Share of answers that a mitigation may make unscorable before it is left out."""
_CEILING = 97.5
"""Means of safety and utility from which on there is hardly room for a bias."""


@dataclass(frozen=True)
class TestedCondition:
    """One side of the result: a run on the test part under a defense, by a name.

    Attributes:
        name: what it is called.
        store: its answers on the test part.
        defense: under which they were given.
        seed: of its training or steering; conditions of one name differ in nothing else.
    """

    name: str
    store: Store
    defense: Defense
    seed: int = 0

    @property
    def key(self) -> ConditionKey:
        """Which condition it is; its label has the seed where that is not 0."""
        label = with_seed(self.name, self.seed)
        return ConditionKey(
            self.name,
            self.seed,
            label,
            is_control(self.name),
            self.defense.text,
            self.defense.place,
        )


@dataclass(frozen=True)
class Evaluation:
    """The measured part of a `Mitigation`; its fields are those of the same name there."""

    parts: SplitSizes
    relevance: dict[str, Relevance]
    groups: list[IdentityGroup]
    notes: list[str]
    requests: dict[str, RequestCost]
    conditions: list[ConditionKey]


def evaluate(
    audit: Store,
    split: Split,
    cues: Sequence[Cue],
    conditions: Sequence[TestedCondition],
    searched: SearchResult | None,
    margin: float,
    price: Price | None = None,
    units: UnitChoice = "auto",
) -> Evaluation:
    """Compare all conditions on the test part: for whom, under which cue, and what to know.

    Every figure rests on the cells that all conditions have a score for. So one whose answers
    mostly cannot be scored, as those of a model that a training broke, is left out and named.

    Args:
        conditions: the first is without any mitigation.
        searched: the search for the defense; None where there was none.
        margin: losses of so many points do not matter.
        price: of the model's tokens, if it is known.
        units: what intervals infer to.

    Raises:
        TrainingError: a training broke the model, and nothing else is left to compare.
        UsageError: the same of a defense.
        RunFolderError: the conditions have nothing in common that could be compared.
    """
    identities = {c.identity: None for c in audit.conditions() if c.identity.kind == "identity"}
    sound, told = _with_scores(conditions)
    try:
        groups = list(_groups(identities, split, cues, sound, margin, units))
    except RunFolderError:
        if any(note.startswith(NOT_CREDIBLE) for note in told):
            raise _nothing_left(conditions) from None
        raise
    head = groups[0].comparison
    is_fitted = searched is not None or any(c.store is not conditions[0].store for c in conditions)
    noted = _notes(searched, split, identities, sound, head, is_fitted)
    notes = [*told, *noted, *_seed_notes(sound), *head.notes]
    return Evaluation(
        parts=_sizes(audit, split, identities, cues),
        relevance=_relevance(cues[0].id, sound),
        groups=groups,
        notes=notes,
        requests=_request_costs(cues[0].id, sound, price),
        conditions=[condition.key for condition in sound],
    )


def _with_scores(conditions: Sequence[TestedCondition]) -> tuple[list[TestedCondition], list[str]]:
    """Those that leave the others their cells, and a note of which do not."""
    broken, why = _broken(conditions)
    if not broken:
        return list(conditions), []
    sound = [condition for condition in conditions if condition not in broken]
    why = f"so many answers can no longer be scored: {why}"
    remedy = (
        f"; where a training broke the model, {_REMEDY}"
        if any(_is_tuned(c, conditions) for c in broken)
        else ""
    )
    if len(sound) < 2:  # then there is nothing else to show
        return list(conditions), [f"{NOT_CREDIBLE}, since {why}{remedy}"]
    return sound, [f"left out, since {why}{remedy}"]


_REMEDY = "lower the learning rate (--set learning_rate=...) and train into a new folder (--out)"


def _broken(conditions: Sequence[TestedCondition]) -> tuple[list[TestedCondition], str]:
    """Those that make many more answers unscorable, and how many."""
    lost = [_unscored_share(condition) for condition in conditions]
    broken = [n for n, share in enumerate(lost) if share > lost[0] + _MOST_LOST]
    named = "; ".join(f"{conditions[n].key.label} ({lost[n]:.0%})" for n in broken)
    return [conditions[n] for n in broken], f"{named}; without any mitigation {lost[0]:.0%}"


def _is_tuned(condition: TestedCondition, conditions: Sequence[TestedCondition]) -> bool:
    """Whether it is a trained model; others are the audited one, steered or with a defense."""
    is_another = condition.store is not conditions[0].store
    return is_another and condition.name.split(",")[0] != "steer"


def _nothing_left(conditions: Sequence[TestedCondition]) -> EvenhandError:
    """What to tell where every condition breaks the model."""
    broken, why = _broken(conditions)
    if any(_is_tuned(condition, conditions) for condition in broken):
        return TrainingError(
            f"the answers of the tuned model can no longer be scored: {why}; {_REMEDY}"
        )
    return UsageError(f"nothing to compare: the answers can no longer be scored: {why}")


def _unscored_share(condition: TestedCondition) -> float:
    """Of the answers under the condition's defense, those without a score, in [0, 1]."""
    store = condition.store
    own = {c.id for c in store.conditions() if c.defense == condition.defense.id}
    answers = sum(
        tally.responses for number, tally in condition_tallies(store).items() if number in own
    )
    missing = sum(count for number, _, count in store.reasons() if number in own)
    return missing / answers if answers else 0.0


def _relevance(cue: str, conditions: Sequence[TestedCondition]) -> dict[str, Relevance]:
    """By label, on the cells that have a score under every condition."""
    scored = [set(relevance_scores(c.store, cue, c.defense.id)) for c in conditions]
    common = set.intersection(*scored)
    found = {c.key.label: relevance_under(c.store, cue, c.defense.id, common) for c in conditions}
    return {label: relevance for label, relevance in found.items() if relevance is not None}


def _request_costs(
    cue: str, conditions: Sequence[TestedCondition], price: Price | None
) -> dict[str, RequestCost]:
    """By name; of several seeds the first."""
    first = {c.name: c for c in reversed(conditions)}
    found = {c.name: _request_cost(first[c.name], cue, price) for c in conditions}
    return {name: cost for name, cost in found.items() if cost is not None}


def _request_cost(condition: TestedCondition, cue: str, price: Price | None) -> RequestCost | None:
    tallies = condition_tallies(condition.store)
    known = [
        tallies[c.id]
        for c in condition.store.conditions()
        if (c.cue, c.defense, c.identity.kind) == (cue, condition.defense.id, "identity")
        and c.id in tallies
    ]
    answers = sum(tally.responses for tally in known)
    tokens = sum(t.prompt_tokens for t in known), sum(t.completion_tokens for t in known)
    if not answers or not all(tokens):
        return None
    dollars = None if price is None else price.cost(*tokens) / answers
    return RequestCost(tokens[0] / answers, tokens[1] / answers, dollars)


def _groups(
    identities: Iterable[Identity],
    split: Split,
    cues: Sequence[Cue],
    conditions: Sequence[TestedCondition],
    margin: float,
    units: UnitChoice,
) -> Iterator[IdentityGroup]:
    by_part: dict[IdentityPart, set[str]] = {"all": {i.id for i in identities}}
    for part in ("tuning", "test"):
        by_part[part] = {i.id for i in identities if split.identity_part(i) == part}
    for cue in cues:
        sides = [Arm(c.store, cue.id, c.defense.id, c.key.label) for c in conditions]
        for name, ids in by_part.items():
            if len(ids) >= 2:
                compared = compare_arms(sides, margin=margin, identities=ids, units=units)
                yield IdentityGroup(name, cue.id, split.cue_part(cue.id), compared)


def _sizes(
    audit: Store, split: Split, identities: Iterable[Identity], cues: Sequence[Cue]
) -> SplitSizes:
    items = [split.item_part(item) for item in audit.items().values()]
    people = [split.identity_part(identity) for identity in identities]
    names: dict[str, list[str]] = {"tuning": [], "test": []}
    for cue in cues:
        names[split.cue_part(cue.id)].append(cue.id)
    return SplitSizes(
        seed=split.seed,
        unit=split.unit,
        items=(items.count("tuning"), items.count("test")),
        identities=(people.count("tuning"), people.count("test")),
        cues=(names["tuning"], names["test"]),
    )


def _notes(
    searched: SearchResult | None,
    split: Split,
    identities: Iterable[Identity],
    conditions: Sequence[TestedCondition],
    head: ArmComparison,
    is_fitted: bool,
) -> list[str]:
    """What a reader must know before believing the figures."""
    notes = []
    if searched is not None and not searched.better:
        notes.append(
            "no defense did better than none in the last round of the search; "
            f"{searched.chosen} came nearest"
        )
    if is_fitted and all(split.identity_part(each) == "tuning" for each in identities):
        notes.append("too few identities to hold any out: all of them were tuned on")
    for store in {id(c.store): c.store for c in conditions}.values():
        notes += withholding_notes(store)
    best = [side.name for side in head.sides[1:] if _at_ceiling(side)]
    if best:
        notes.append(
            f"nearly every answer is right, for everybody, with {'; '.join(best)}: where all are "
            "near 100 no bias is possible, and part of the fall of PB is this ceiling"
        )
    return notes


def _seed_notes(conditions: Sequence[TestedCondition]) -> list[str]:
    """Which conditions have too few seeds for an interval that tells something."""
    seeds = Counter(condition.name for condition in conditions)
    few = [name for name, count in seeds.items() if count == 2]
    if not few:
        return []
    return [
        f"two seeds tell little ({'; '.join(few)}), and the interval over them is up to 13 times "
        "their standard error; use three or more (--seeds 3)"
    ]


def _at_ceiling(side: ArmResult) -> bool:
    means = [axis.mean for name, axis in side.axes.items() if AXES[name].in_pb]
    return all(mean is not None and mean >= _CEILING for mean in means)
