"""The judges of a run: what each has done, how far they agree, what moved them, and what the judged
rates would be without the judge's mistakes, where these are known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from math import hypot

import numpy as np
from numpy.typing import NDArray

from evenhand.analysis.grid import AxisScores, Grid, clusters_of, if_enough, mean_of, read_grid
from evenhand.analysis.results import (
    JudgeCorrection,
    JudgePair,
    JudgeRecord,
    JudgeSwap,
    LabeledAxis,
    PairIdentity,
    SwapIdentity,
)
from evenhand.axes import AXES, JUDGED_AXES
from evenhand.benchmarks.item import Item
from evenhand.calibration.agreement import Profile, shipped_calibration
from evenhand.organism import SHIPPED
from evenhand.scorers.refusal_signs import NOT_ENGLISH
from evenhand.stats import (
    JudgeError,
    Spread,
    corrected_bias,
    corrected_rates,
    is_significant,
    rater_agreement,
    verdict_change,
)
from evenhand.store.rows import OWN
from evenhand.store.store import Store
from evenhand.store.verdicts import judge_tally, rechecked
from evenhand.text import counted


def all_judges(store: Store) -> dict[str, int]:
    """Names and numbers of all who have scored answers of this run, the items' scorers first."""
    return {store.own_judge(): OWN} | store.judges()


def judge_records(store: Store) -> list[JudgeRecord]:
    """What each judge has done."""
    return [_record(store, name, number) for name, number in all_judges(store).items()]


def _record(store: Store, name: str, number: int) -> JudgeRecord:
    tally = judge_tally(store, number)
    return JudgeRecord(
        name,
        tally.verdicts,
        tally.verdicts - tally.scored,
        tally.failures,
        tally.prompt_tokens,
        tally.completion_tokens,
    )


def judge_pairs(store: Store, grid: Grid, cue: str, defense: str) -> list[JudgePair]:
    """Agreement of every two judges, on each axis, over the identities of one setting."""
    judges = list(all_judges(store))
    if len(judges) < 2:
        return []
    rows = grid.rows(cue, defense, "identity")
    # Nobody has judged what the provider blocked: it tells nothing of how far judges agree.
    grids = {name: read_grid(store, grid.samples, grid.level, name, "missing") for name in judges}
    people = [grid.conditions[row].identity.id for row in rows]
    found = []
    for first, second in combinations(judges, 2):
        for axis in JUDGED_AXES:
            pair = _pair(grids, (first, second), axis, rows, people, grid.level)
            if pair is not None:
                found.append(pair)
    return found


def _pair(
    grids: Mapping[str, Grid],
    names: tuple[str, str],
    axis: str,
    rows: list[int],
    people: list[str],
    level: float,
) -> JudgePair | None:
    one, other = (_scores(grids[name], axis, rows) for name in names)
    if not one:
        return None
    agreed = if_enough(partial(rater_agreement, one, other, level=level, clusters=clusters_of(one)))
    if agreed is None:
        return None
    by_identity = zip(people, agreed.by_identity, agreed.difference, strict=True)
    return JudgePair(
        first=names[0],
        second=names[1],
        axis=axis,
        answers=agreed.answers,
        agreement=agreed.share,
        agreement_interval=agreed.interval,
        kappa=agreed.kappa,
        kappa_interval=agreed.kappa_interval,
        agreement_p=agreed.share_p,
        difference_p=agreed.difference_p,
        identities=[
            PairIdentity(who, float(share), float(difference))
            for who, share, difference in by_identity
            if share == share  # not NaN: both have scored an answer
        ],
    )


def _scores(grid: Grid, axis: str, rows: list[int]) -> AxisScores:
    whole = grid.scores.get(axis, AxisScores())
    return AxisScores({name: array[rows] for name, array in whole.items()}, whole.clusters)


def judge_swaps(store: Store, level: float) -> list[JudgeSwap]:
    """What judging again has shown, for each judge that was checked."""
    found = (_swap(store, name, number, level) for name, number in all_judges(store).items())
    return [swap for swap in found if swap is not None]


def _swap(store: Store, name: str, number: int, level: float) -> JudgeSwap | None:
    found = rechecked(store, number)
    repeated = {each.response: each for each in found if not each.other}
    if not repeated:
        return None
    swapped = [each for each in found if each.other and each.response in repeated]
    repeat = verdict_change(
        [each.before for each in repeated.values()],
        [each.after for each in repeated.values()],
        [each.after for each in repeated.values()],
        [each.item for each in repeated.values()],
        level=level,
    )
    swap = None
    if swapped:
        controls = [repeated[each.response] for each in swapped]
        swap = verdict_change(
            [each.before for each in controls],
            [each.after for each in controls],
            [each.after for each in swapped],
            [each.item for each in swapped],
            level=level,
        )
    moves: dict[str, list[float]] = {}
    for each in swapped:
        moves.setdefault(each.identity, []).append(
            100 * (each.after - repeated[each.response].after)
        )
    return JudgeSwap(
        judge=name,
        repeated=repeat.answers,
        repeat_changed=repeat.repeated,
        repeat_interval=repeat.repeated_interval,
        swap=swap,
        identities=[
            SwapIdentity(who, len(points), sum(points) / len(points))
            for who, points in sorted(moves.items())
        ],
    )


def judge_notes(
    judge: str, records: list[JudgeRecord], pairs: list[JudgePair], swaps: list[JudgeSwap]
) -> list[str]:
    """What a reader must know of the judges before believing differences between identities.

    Args:
        judge: whose scores the report goes by.
    """
    verdicts = {record.judge: record.verdicts for record in records}
    left = max(verdicts.values()) - verdicts[judge]
    notes = (
        [f"{counted(left, 'answer has', 'answers have')} no verdict of {judge} yet"] if left else []
    )
    for pair in pairs:
        p_value = min(1.0, 2 * min(pair.agreement_p, pair.difference_p))
        if is_significant(p_value):
            shares = [identity.agreement for identity in pair.identities]
            notes.append(
                f"{pair.axis.replace('_', '-')}: how far {pair.first} and {pair.second} agree "
                f"depends on the identity ({min(shares):.0f} to {max(shares):.0f} % of the "
                f"answers, p = {p_value:.2g}); one of them may judge by it"
            )
    for check in swaps:
        if check.swap is not None and is_significant(check.swap.p_value):
            notes.append(
                f"judge {check.judge} goes by identity words in the answers: with another "
                f"identity's {check.swap.changed:.0f} % of its verdicts change, "
                f"{check.swap.repeated:.0f} % when merely repeated (p = {check.swap.p_value:.2g})"
            )
    return notes


@dataclass(frozen=True, slots=True)
class KnownError:
    """A judge's error rates, and from which people's labels they are known.

    Attributes:
        error: its rates.
        labels: where people's labels are from; empty if the user gave the rates.
        judge: whose they are; empty for whoever gave the scores.
    """

    error: JudgeError
    labels: str = ""
    judge: str = ""


KnownErrors = Mapping[tuple[str, str], KnownError]
"""Axis and benchmark -> the error rates of whoever judged it; those unknown are absent."""


def known_errors(
    store: Store, judge: str, misfits: Mapping[str, str], given: KnownError | None = None
) -> KnownErrors:
    """The error rates of whoever gave the scores.

    Args:
        judge: whose scores of judged items are used.
        misfits: judges whose calibrations do not hold here; see `calibration_misfits`.
        given: what the user says of this judge; None for what comes with evenhand, which is
            known of its own judges alone.
    """
    own = store.own_judge()
    scorers: dict[tuple[str, str], set[str]] = {}
    for item in store.items().values():
        if item.is_judged:
            scorers.setdefault((item.axis, item.benchmark), set()).add(_who(own, judge, item))
    # The organisms speak in their own few phrases, on which no people's labels tell anything.
    ships = store.record().study.model not in SHIPPED
    found = {}
    for place, names in scorers.items():
        if given is not None and (not given.judge or names == {given.judge}):
            found[place] = given
        elif ships and given is None and len(names) == 1:
            calibration = shipped_calibration(next(iter(names)))
            if calibration is not None and calibration.judge not in misfits:
                error = calibration.to_judge_error()
                found[place] = KnownError(error, calibration.labels, calibration.judge)
    return found


_LOOKED_AT = 2000
_PROBABILITY = re.compile(r"(?:refusal|partial|compliance) \(([01]\.\d+)\)")
_SURE = 0.9


def calibration_misfits(store: Store, judge: str) -> dict[str, str]:
    """Offline judge -> why its calibration does not hold for this run's answers.

    Those whose answers look like the calibration's are absent. Looked at are up to 2,000 judged
    answers, of all identities alike: on how many the judge abstains, how many are in another
    language, how sure the judge is, and how long they are.
    """
    items, own = store.items(), store.own_judge()
    number = OWN if judge == own else store.judges().get(judge, OWN)
    judged: dict[str, list[int]] = {}
    for item_id, item in items.items():
        if item.is_judged:
            judged.setdefault(_who(own, judge, item), []).append(item_id)
    scores = store.scores(judge=number)
    by_name = {name: scores[np.isin(scores[:, 1], ids)] for name, ids in judged.items()}
    reasons = store.reasons(judge=number)
    foreign = sum(n for _, reason, n in reasons if reason.startswith(NOT_ENGLISH))
    of_all = sum(map(len, by_name.values()))
    found = {}
    for name, scored in by_name.items():
        calibration = shipped_calibration(name)
        if calibration is None or calibration.profile is None:
            continue
        chosen = scored[:: max(1, len(scored) // _LOOKED_AT)]
        cells = [(int(c), int(i), int(s)) for c, i, s, _ in chosen.tolist()]
        texts = store.answers(cells, judge=number)
        if not texts:
            continue
        told = [float(p[1]) for _, why in texts.values() if (p := _PROBABILITY.search(why))]
        words = np.quantile([len(text.split()) for text, _ in texts.values()], [0.25, 0.5, 0.75])
        profile = Profile(
            unscored=float(np.isnan(chosen[:, 3]).mean()),
            foreign=foreign / of_all,
            unsure=sum(max(p, 1 - p) < _SURE for p in told) / max(1, len(told)),
            words=(float(words[0]), float(words[1]), float(words[2])),
        )
        if why := calibration.profile.difference(profile):
            found[name] = why
    return found


def misfit_notes(misfits: Mapping[str, str]) -> list[str]:
    """Why rates are not corrected for a judge's errors."""
    return [
        f"not corrected for the errors of judge {name}: these answers are unlike those of its "
        f"calibration: {why}; label a sample with `evenhand label`"
        for name, why in misfits.items()
    ]


def _who(own: str, judge: str, item: Item) -> str:
    """Whose mistakes a score of this item can hold; `own` is the name of the items' scorers."""
    name = item.scorer if judge == own else judge
    return "refusal" if name == "harm" and AXES[item.axis].lower_is_better else name


def correct(
    axis: str,
    scores: Mapping[str, NDArray[np.float64]],
    pb: Spread | None,
    errors: KnownErrors,
    level: float,
    judged: Mapping[str, NDArray[np.float64]] | None = None,
) -> JudgeCorrection | None:
    """The mean and the spread of an axis as a perfect judge would have them.

    What the provider blocked is a refusal for certain: only the rest is corrected, and the spread
    is left as it is.

    Benchmarks whose judge has the same error rates are corrected together. Otherwise each is
    corrected alone, the intervals are combined as for independent estimates (Zou & Donner 2008,
    Stat. Med. 27), and the spread is left as it is, for every benchmark shrinks it by a factor
    of its own.

    Args:
        judged: the same scores without those of blocked answers; None where none was blocked.

    Returns:
        None where the errors on a benchmark are not known, or nothing was scored.
    """
    known = {name: errors.get((axis, name)) for name in scores}
    each = [error for error in known.values() if error is not None]
    mean = mean_of(scores)
    if mean is None or not each or len(each) < len(known):
        return None
    labels = "; ".join(dict.fromkeys(error.labels for error in each if error.labels))
    if len(set(each)) == 1:
        rate, interval, fits = _corrected(scores, mean, each[0].error, level, judged)
        bias = corrected_bias(pb, each[0].error) if pb and judged is None else None
        return JudgeCorrection(rate, interval, bias, labels, fits)
    parts = []
    for name, error in known.items():
        alone = {name: scores[name]}
        own = mean_of(alone)
        if error is None or own is None:
            return None
        rest = {name: judged[name]} if judged is not None else None
        parts.append(_corrected(alone, own, error.error, level, rest))
    middle = sum(rate for rate, _, _ in parts) / len(parts)
    down = hypot(*(rate - low for rate, (low, _), _ in parts)) / len(parts)
    up = hypot(*(high - rate for rate, (_, high), _ in parts)) / len(parts)
    interval = max(middle - down, 0.0), min(middle + up, 100.0)
    return JudgeCorrection(middle, interval, None, labels, all(fits for _, _, fits in parts))


def _corrected(
    scores: Mapping[str, NDArray[np.float64]],
    mean: float,
    error: JudgeError,
    level: float,
    judged: Mapping[str, NDArray[np.float64]] | None,
) -> tuple[float, tuple[float, float], bool]:
    """Rate, interval, and whether the judge could have given it."""
    certain = _blocked_share(scores, judged) if judged is not None else 0.0
    if certain == 1:
        return mean, (mean, mean), True
    left = 1 - certain
    rate = (mean - 100 * certain) / left
    rates = corrected_rates(rate, _effective_items(scores, mean / 100), error, level=level)
    low, high = (float(100 * certain + left * limit) for limit in rates.interval)
    return float(100 * certain + left * rates.rate), (low, high), bool(np.all(rates.fits))


def _blocked_share(
    scores: Mapping[str, NDArray[np.float64]], judged: Mapping[str, NDArray[np.float64]]
) -> float:
    """Share of the scores that are not a judge's, each benchmark counting the same."""
    shares = [
        1 - np.isfinite(judged[name]).sum() / np.isfinite(array).sum()
        for name, array in scores.items()
    ]
    return float(np.mean(shares))


def _effective_items(scores: Mapping[str, NDArray[np.float64]], mean: float) -> int:
    """How many independent answers tell the mean as well: all identities share the items."""
    per_item = [np.nanmean(array, axis=(0, 2)) for array in scores.values()]
    items = sum(len(means) for means in per_item)
    if min(len(means) for means in per_item) < 2:
        return items
    variance = sum(means.var(ddof=1) / len(means) for means in per_item) / len(per_item) ** 2
    binomial = mean * (1 - mean)
    return max(1, min(items, round(binomial / variance))) if variance > 0 else items


def judge_doubts(
    judge: str, pairs: list[JudgePair], swaps: list[JudgeSwap]
) -> dict[str, list[str]]:
    """By axis, why this judge's scores cannot be trusted for differences between identities.

    Agreement that depends on the identity says that one of two judges errs by it, and not which.
    """
    doubts: dict[str, list[str]] = {}
    for pair in pairs:
        if judge in (pair.first, pair.second) and is_significant(
            min(1.0, 2 * min(pair.agreement_p, pair.difference_p))
        ):
            why = f"how often {pair.first} and {pair.second} agree depends on the identity"
            doubts.setdefault(pair.axis, []).append(why)
    for check in swaps:
        if check.judge == judge and check.swap is not None and is_significant(check.swap.p_value):
            for axis in JUDGED_AXES:
                why = f"{judge} goes by identity words in the answers"
                doubts.setdefault(axis, []).append(why)
    return doubts


def grading_doubts(
    store: Store, judge: str, labeled: Sequence[LabeledAxis]
) -> tuple[dict[str, list[str]], list[str]]:
    """As `judge_doubts`, for grades of open questions; and the notes that say so.

    A judge's grades are an opinion. That they differ by identity is established only where people's
    labels of this run's own answers show it, too.
    """
    judged: set[str] = {item.axis for item in store.items().values() if item.is_judged}
    open_axes = [axis for axis in AXES if axis in judged and AXES[axis].is_graded]
    doubts, notes = {}, []
    by_labels = {each.axis: each for each in labeled}
    for axis in open_axes if judge != store.own_judge() else ():
        found = by_labels.get(axis)
        if found is not None and is_significant(found.p_value):
            continue
        why = (
            f"how far {judge} agrees with people is not known"
            if found is None
            else f"{counted(found.labels, 'label')} of your own do not confirm its grades"
        )
        advice = "label a sample" if found is None else "label more answers"
        doubts[axis] = [why]
        notes.append(
            f"{AXES[axis].label}: {why}, so its differences between identities are not "
            f"established; {advice} with `evenhand label`"
        )
    return doubts, notes
