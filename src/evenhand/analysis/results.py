"""What an audit found, as typed results; rates and differences are in points of 0-100.

A field is None where there is too little data for it, or where the study did not ask for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from evenhand.analysis.conclusion import Bound, Conclusion
from evenhand.analysis.grid import Units
from evenhand.analysis.recognition import Recognition
from evenhand.analysis.relevance import Relevance
from evenhand.calibration.labeling import LabelerAgreement
from evenhand.run.probe import ProbeLayer
from evenhand.stats import (
    Comparison,
    CorrectedBias,
    CueComponents,
    Limit,
    PlaceboContrast,
    Spread,
    TradeOff,
    VerdictChange,
    is_significant,
)
from evenhand.store.record import Blocked, InterimAnalysis


@dataclass(frozen=True)
class Difference:
    """A difference of means.

    Attributes:
        estimate: below 0 is lower than the reference.
        interval: at 95%, for this difference alone.
        simultaneous: at 95% for all differences of its kind together.
        p_value: of no difference.
        p_adjusted: the same adjusted for all differences of its kind (Sidak, single step).
        equivalence_p: of a difference of at least the margin, after Holm's adjustment; small
            means that no difference that matters is left possible.
    """

    estimate: float
    interval: tuple[float, float]
    simultaneous: tuple[float, float]
    p_value: float
    p_adjusted: float
    equivalence_p: float

    @property
    def is_significant(self) -> bool:
        """Whether its adjusted p-value is significant, at the level of `stats.ALPHA`."""
        return is_significant(self.p_adjusted)


@dataclass(frozen=True)
class IdentityAxis:
    """One identity on one axis.

    Attributes:
        mean: of the scored answers; each benchmark counts the same.
        bounds: what `mean` could be if every missing score were 0, or 1.
        to_baseline: difference to the unidentified user.
        to_mean: difference to the mean of the identities.
        shrunken: empirical Bayes estimate of the difference to the mean.
        rank: 1 is the lowest mean.
        rank_interval: at 95%.
    """

    mean: float | None
    bounds: tuple[float, float] | None = None
    to_baseline: Difference | None = None
    to_mean: Difference | None = None
    shrunken: float | None = None
    rank: float | None = None
    rank_interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class IdentityResult:
    """One identity, placebo or the baseline.

    Attributes:
        id: its name in studies and files.
        text: as the model is told it.
        category: of identities that belong together.
        axes: its figures by axis.
        verdict: "loses both", "safety for utility", "untouched", "undecided", ...
        done, unscored, failed_attempts: counts of answers, of those without a score, and of
            attempts that brought none.
        unscored_reasons: reason -> answers without a score for it.
    """

    id: str
    text: str
    category: str
    axes: dict[str, IdentityAxis]
    verdict: str | None
    done: int
    unscored: int
    unscored_reasons: dict[str, int]
    failed_attempts: int


@dataclass(frozen=True)
class BenchmarkResult:
    """One benchmark: mean over the identities, the baseline's, and the spread.

    Attributes:
        mean: over the identities, in points 0-100.
        baseline: of the unidentified user, in points.
        pb: spread of the identities, in points.
        bound: "floor" or "ceiling" where all identities are within 2 points of 0 or 100, "chance"
            where their mean is not significantly above guessing; None where there is room for a
            difference.
    """

    mean: float | None
    baseline: float | None
    pb: Spread | None
    bound: Bound | None = None


@dataclass(frozen=True)
class CategoryResult:
    """One category of identities on one axis.

    Attributes:
        name: of the category.
        size: identities in it.
        difference: the category's mean to the mean of all identities.
        within: spread of the identities inside the category.
    """

    name: str
    size: int
    difference: Difference
    within: Spread | None


@dataclass(frozen=True)
class Missing:
    """Scores that are missing on an axis.

    Attributes:
        count: over the identities.
        p_value: of their being as many for every identity.
        bias_bounds: what the plug-in PB could be, whatever the missing scores were.
        weighted: spread of the axis with every score weighted by its chance of not being missing,
            where that depends significantly on the identity.
    """

    count: int
    p_value: float
    bias_bounds: tuple[float, float]
    weighted: Spread | None = None


@dataclass(frozen=True)
class JudgeCorrection:
    """What the judge's known error rates make of an axis.

    Attributes:
        mean: over the identities, corrected for judge error.
        interval: of `mean`.
        pb: the spread, corrected likewise; None where benchmarks have judges of unlike errors.
        fits: whether the judge could have given this mean with these error rates; where it could
            not, they are not known for this model.
        labels: people's labels from which the error rates are known; empty if the user gave them.
    """

    mean: float
    interval: tuple[float, float]
    pb: CorrectedBias | None
    labels: str = ""
    fits: bool = True


@dataclass(frozen=True)
class LogitResult:
    """An axis on the logit scale, on which an effect means the same at every level of the mean.

    Attributes:
        pb: spread of the identities' log-odds, with the noise taken out.
        interval: of `pb`.
        p_value: of no spread.
        effects: identity id -> its log-odds less the mean of all; ``exp`` of it is an odds ratio.
        limit: "floor" or "ceiling" where all identities are within 2 points of 0 or 100, so that
            there is no room for a difference; None otherwise.
    """

    pb: float
    interval: tuple[float, float]
    p_value: float
    effects: dict[str, float]
    limit: Limit | None


@dataclass(frozen=True)
class AxisResult:
    """One axis: safety, utility or over-refusal.

    Attributes:
        mean: over the identities; each benchmark counts the same.
        baseline: of the unidentified user.
        to_baseline: what it costs, or brings, on average to say who one is.
        pb: spread of the identities on this axis alone.
        pb_these_items: the same for exactly these items; needs two samples a cell.
        pb_these_topics: the same for items like these of the same topics, where `pb` is for topics
            like these; None where it is not.
        benchmarks: by name.
        categories: the identities' categories, where there are two or more.
        between: spread of the categories' means.
        reliability: share of the identities' observed variance that is not noise.
        missing: scores that are missing; None where none is.
        judge: corrected for the judge's mistakes, where its error rates are given.
        logit: the same on the logit scale; None where there is too little data.
    """

    mean: float | None
    baseline: float | None
    to_baseline: Difference | None
    pb: Spread | None
    pb_these_items: Spread | None
    pb_these_topics: Spread | None
    benchmarks: dict[str, BenchmarkResult]
    categories: list[CategoryResult]
    between: Spread | None
    reliability: float | None
    missing: Missing | None
    judge: JudgeCorrection | None
    logit: LogitResult | None = None


@dataclass(frozen=True)
class Interaction:
    """Two identities in one user: what both do beyond the sum of each alone, by axis.

    Attributes:
        id: both ids, with + between them.
        text: both identities, as the model is told them.
        axes: by axis, what both do beyond the sum, in points.
    """

    id: str
    text: str
    axes: dict[str, Difference]


@dataclass(frozen=True)
class SettingResult:
    """Results under one cue and one defense.

    Attributes:
        cue: id of the cue.
        defense: id of the defense; "none" without one.
        pb: joint PB over safety and utility.
        pb_these_items: the same for exactly these items; needs two samples a cell.
        pb_these_topics: the same for items like these of the same topics, where `pb` is for topics
            like these; None where it is not.
        placebo_pb: spread of the placebos.
        beyond_placebo: what identity adds to the spread of the placebos.
        trade_off: correlation of safety and utility over the identities.
        axes: by name.
        baseline: the unidentified user.
        identities: in the order of the study.
        placebos: the same for attributes that should not matter.
        interactions: of two identities in one user, where they were asked.
        conclusion: what follows from all this.
    """

    cue: str
    defense: str
    pb: Spread | None
    pb_these_items: Spread | None
    pb_these_topics: Spread | None
    placebo_pb: Spread | None
    beyond_placebo: PlaceboContrast | None
    trade_off: TradeOff | None
    axes: dict[str, AxisResult]
    baseline: IdentityResult
    identities: list[IdentityResult]
    placebos: list[IdentityResult]
    interactions: list[Interaction]
    conclusion: Conclusion


@dataclass(frozen=True)
class DefenseChange:
    """What a defense changed, against the first defense of the study under the same cue.

    Attributes:
        cue: id of the cue.
        before: id of the first defense.
        after: id of the other one.
        change: from the first to the other, in points.
    """

    cue: str
    before: str
    after: str
    change: Comparison


@dataclass(frozen=True)
class JudgeRecord:
    """What one judge, or the items' own scorer, has done in this run.

    Attributes:
        judge: its name.
        verdicts: answers that it has judged, of those that a judge can judge.
        unscored: of these, the ones that it gave no score.
        failed_attempts: requests and replies that brought no verdict.
        prompt_tokens, completion_tokens: that its verdicts took; 0 where nothing is counted.
    """

    judge: str
    verdicts: int
    unscored: int
    failed_attempts: int
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class PairIdentity:
    """Two judges on one identity's answers.

    Attributes:
        id: of the identity.
        agreement: share of answers on which both take the same side.
        difference: mean score of the first less that of the second.
    """

    id: str
    agreement: float
    difference: float


@dataclass(frozen=True)
class JudgePair:
    """Two judges of the same answers, over the identities of the first cue and defense.

    Attributes:
        first: name of a judge.
        second: name of the other one.
        axis: whose answers these are.
        answers: that both have scored.
        agreement: share of them on which both take the same side of one half.
        agreement_interval: of `agreement`, at 95%.
        kappa: Cohen's, -1 to 1.
        kappa_interval: of `kappa`, at 95%.
        agreement_p: of their agreeing as often for every identity.
        difference_p: of the one scoring higher than the other by as much for every identity.
        identities: the same by identity.
    """

    first: str
    second: str
    axis: str
    answers: int
    agreement: float
    agreement_interval: tuple[float, float]
    kappa: float | None
    kappa_interval: tuple[float, float] | None
    agreement_p: float
    difference_p: float
    identities: list[PairIdentity]


@dataclass(frozen=True)
class SwapIdentity:
    """Answers that name one identity, judged again with another's name in its place.

    Attributes:
        id: of the identity that the answers name.
        answers: that were judged again.
        difference: mean change of the score.
    """

    id: str
    answers: int
    difference: float


@dataclass(frozen=True)
class JudgeSwap:
    """A judge asked again: the same answers, and answers with identities exchanged.

    Attributes:
        judge: its name.
        repeated: answers judged again as they stand.
        repeat_changed: share of their verdicts that changed sides.
        repeat_interval: of `repeat_changed`, at 95%.
        swap: answers with identities exchanged; None where no answer names its identity.
        identities: by the identity that answers name.
    """

    judge: str
    repeated: int
    repeat_changed: float
    repeat_interval: tuple[float, float]
    swap: VerdictChange | None
    identities: list[SwapIdentity]


@dataclass(frozen=True)
class OutcomeCount:
    """The answers of one identity on one axis that are not whole.

    Attributes:
        cue: id of the cue.
        defense: id of the defense.
        identity: its id.
        axis: that the questions belong to.
        answers: all of them.
        cut_off: at the token limit.
        blocked: by the provider's filter.
        rejected: the endpoint refused to take the question.
    """

    cue: str
    defense: str
    identity: str
    axis: str
    answers: int
    cut_off: int
    blocked: int
    rejected: int


@dataclass(frozen=True)
class LabeledIdentity:
    """An identity's rate by the labels.

    Attributes:
        identity: its id.
        rate: in points 0-100, as if all of its answers had been labeled.
        interval: of `rate`.
        judge_error: share of its answers on which judge and labels differ, or by how much their
            grades do on average, in points; None where
            the judge gave no verdict.
    """

    identity: str
    rate: float
    interval: tuple[float, float]
    judge_error: float | None


@dataclass(frozen=True)
class LabeledAxis:
    """An axis of the first cue and defense, corrected by labels of a sample of its answers.

    Attributes:
        axis: its name.
        labels: labeled answers; on `undecided` more, labelers are divided.
        undecided: answers on which labelers are divided.
        mean: over the identities, in points.
        mean_interval: of `mean`.
        pb: spread of the identities' rates, with the noise of labels and items taken out.
        pb_interval: of `pb`.
        p_value: of "the rates do not differ".
        identities: the same for each.
        labelers: how each two labelers agree, over all axes.
    """

    axis: str
    labels: int
    undecided: int
    mean: float
    mean_interval: tuple[float, float]
    pb: float
    pb_interval: tuple[float, float]
    p_value: float
    identities: list[LabeledIdentity]
    labelers: list[LabelerAgreement]


@dataclass(frozen=True)
class RealizationShare:
    """Spread of the identities on one axis beside that of their realizations, such as names.

    Attributes:
        cue: id of the cue.
        defense: id of the defense.
        axis: its name.
        design: "rotating": the k-th realization on the k-th block of items; "crossed": all on all.
        identities: number of identities.
        realizations: number of slots, or of realizations in all where they are crossed.
        identity: standard deviation between identities over the population of their realizations,
            noise taken out, in points (divisor identities - 1).
        interval: of `identity`.
        realization: standard deviation between realizations of one identity, noise taken out.
        share: identity / (identity + realization) of the variances, 0 to 1; None where it is not
            estimable: both are 0, or its interval is 0 to 100%.
        share_interval: of `share`.
        p_value: of "identities differ no more than realizations of one do".
    """

    cue: str
    defense: str
    axis: str
    design: str
    identities: int
    realizations: int
    identity: float
    interval: tuple[float, float]
    realization: float
    share: float | None
    share_interval: tuple[float, float]
    p_value: float


@dataclass(frozen=True)
class ImpliedIdentity:
    """What stating an identity does, and what implying it does; each against its baseline.

    Attributes:
        id: of the identity.
        text: as the model is told it.
        stated: to the baseline, under the cue that states it.
        implied: to the baseline, under the cue that implies it.
        difference: implied less stated, question by question.
    """

    id: str
    text: str
    stated: Difference | None
    implied: Difference | None
    difference: Difference


@dataclass(frozen=True)
class ImpliedContrast:
    """A cue that implies the identities, such as by names, against one that states them.

    Attributes:
        stated: id of the cue that states the identities.
        implied: id of the cue that implies them.
        axis: its name.
        identities: that both cues have.
        agreement: expected correlation of the identities between the two cues, noise taken out,
            0 to 1; NaN where neither cue moves them apart, None with too little data.
        agreement_interval: of `agreement`, at 95%.
    """

    stated: str
    implied: str
    axis: str
    identities: list[ImpliedIdentity]
    agreement: float | None
    agreement_interval: tuple[float, float] | None


@dataclass(frozen=True)
class FactEffect:
    """What the identity's fact among others does, by its place among them.

    Attributes:
        cue: id of the cue.
        defense: id of the defense.
        axis: its name.
        fillers: number of the other facts.
        place: "all", or the third of the list in which the identity's fact stands.
        items: questions with it there.
        shift: the identities' mean less the baseline, which has the other facts alone.
        pb: spread of the identities.
    """

    cue: str
    defense: str
    axis: str
    fillers: int
    place: str
    items: int
    shift: Difference | None
    pb: Spread | None


@dataclass(frozen=True)
class Audit:
    """What an audit found. Its headline is that of the first cue and defense of the study.

    Attributes:
        model: as the study names it.
        cells: answers planned.
        done: answers on disk.
        unscored: answers without a score; `unscored_reasons` says why.
        unscored_reasons: reason -> answers without a score for it.
        failed_attempts: requests that brought no answer.
        prompt_tokens: that the requests took; 0 where nothing is counted.
        completion_tokens: that the answers took; 0 where nothing is counted.
        benchmarks: name -> items asked.
        samples: answers to each question of each identity.
        limit: most items of a benchmark; None for all.
        decoding: how answers are drawn, as the study says it.
        placement: how the system message reaches the model.
        margin: differences within so many points are said not to matter.
        settings: results for each cue and defense, the headline's first.
        cues: by axis, how much of the spread is identity and how much is wording.
        defenses: what each further defense changed.
        relevance: whether the identity is used where it should matter, for each cue and
            defense; empty where no such items were asked.
        judge: whose scores of safety and over-refusal these are.
        judges: what each judge has done.
        judge_pairs: how far every two judges agree, where there are several.
        judge_swaps: what judging again has shown, where it was done.
        labeled: judged axes corrected by the user's own labels, where there are any.
        blocked: what answers count as that the provider has blocked: a refusal, or missing.
        outcomes: where not all answers are whole, by setting, identity and axis.
        interim: for a run that stops at a precision, the interim analysis at which it stands.
        units: by benchmark, whether topics or items are the independent units.
        realizations: spread of identities and of their realizations, where they have several.
        implied: implied against stated identities, where both were asked.
        facts: effects of an identity's fact among others, where it stood among them.
        recognition: whom the model takes the users for, where it was asked.
        probe: whether layers of local weights tell the identities apart, where that was tried.
        notes: what a reader must know before believing the figures.
        frozen: that a plan frozen before was kept, in words; empty where none was named.
    """

    model: str
    cells: int
    done: int
    unscored: int
    unscored_reasons: dict[str, int]
    failed_attempts: int
    prompt_tokens: int
    completion_tokens: int
    benchmarks: dict[str, int]
    samples: int
    limit: int | None
    decoding: dict[str, Any]
    placement: str
    margin: float
    settings: list[SettingResult]
    cues: dict[str, CueComponents]
    defenses: list[DefenseChange]
    relevance: list[Relevance]
    judge: str
    judges: list[JudgeRecord]
    judge_pairs: list[JudgePair]
    judge_swaps: list[JudgeSwap]
    labeled: list[LabeledAxis]
    blocked: Blocked
    outcomes: list[OutcomeCount]
    interim: InterimAnalysis | None
    units: list[Units]
    realizations: list[RealizationShare]
    implied: list[ImpliedContrast]
    facts: list[FactEffect]
    recognition: list[Recognition]
    probe: list[ProbeLayer]
    notes: list[str]
    frozen: str = ""

    @property
    def head(self) -> SettingResult:
        """Results under the first cue and defense."""
        return self.settings[0]

    @property
    def pb(self) -> Spread | None:
        """Joint PB of the headline."""
        return self.head.pb

    @property
    def axes(self) -> dict[str, AxisResult]:
        """The axes of the headline."""
        return self.head.axes

    @property
    def identities(self) -> list[IdentityResult]:
        """The identities of the headline."""
        return self.head.identities
