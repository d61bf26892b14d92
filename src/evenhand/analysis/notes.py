"""What a reader must know before believing the figures, of the answers themselves above all.

Answers may be blocked, cut off, repeated, or another model's. Each thing is said with the
identities where it depends on them.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from evenhand.analysis.grid import Grid
from evenhand.analysis.results import Missing, OutcomeCount, SettingResult
from evenhand.axes import AXES
from evenhand.benchmarks.item import LETTERED, Item
from evenhand.engines.engine import Outcome
from evenhand.scorers.final import DISAGREE, is_loop
from evenhand.scorers.refusal_signs import NOT_ENGLISH
from evenhand.stats import is_significant, shares_p_value
from evenhand.store.record import Blocked, RunRecord, SystemRoleCheck
from evenhand.store.redaction import shown_name
from evenhand.store.store import Store, StoredCondition
from evenhand.store.tallies import (
    AnswerCount,
    answer_counts,
    identical_cells,
    longest_prompts,
    sample_texts,
)
from evenhand.study.identity import in_place_of_ours
from evenhand.text import counted, one_line, some_of

_MANY = 0.1
"""Share of the answers of anybody from which on something is worth a note."""
_FEW = 10
"""Fewer answers than this are no share of anything."""
_MOST_SHOWN = 5

Counts = Mapping[str, tuple[int, int]]
"""Identity -> how many of its answers are so, of how many."""


def find_outcomes(store: Store) -> tuple[list[OutcomeCount], list[str]]:
    """How the answers ended, where not all are whole; and one line for each thing to know."""
    counts = answer_counts(store)
    conditions = {c.id: c for c in store.conditions()}
    names = {number: _name(c) for number, c in conditions.items()}
    record = store.record()
    notes = [
        *_on_outcomes(counts, names, store.blocked),
        *_on_contradictions(counts, store, names),
        *_on_loops(store, names),
        *_on_repeats(store, record, names),
        *_on_served(counts, record, names),
        *_on_cut_prompts(store, max((each.longest_prompt for each in counts), default=0)),
    ]
    return _outcomes(counts, conditions), notes


def blocked_unevenly(store: Store, cue: str, defense: str) -> list[str]:
    """A sentence for each axis on which how often answers are blocked depends on the identity.

    It holds whatever blocked answers count as, and whatever is found of the scores.
    """
    people = {
        c.id: c.identity.id
        for c in store.conditions()
        if (c.cue, c.defense, c.identity.kind) == (cue, defense, "identity")
    }
    totals: dict[str, Counter[str]] = defaultdict(Counter)
    blocked: dict[str, Counter[str]] = defaultdict(Counter)
    for each in answer_counts(store):
        if each.condition in people:
            name = people[each.condition]
            totals[each.axis][name] += each.answers
            blocked[each.axis][name] += each.answers * (each.outcome == "blocked")
    sentences = []
    for axis, answers in totals.items():
        shares = [(blocked[axis][name], of) for name, of in answers.items() if of]
        p_value = shares_p_value(*zip(*shares, strict=True))
        if is_significant(p_value):
            (least, _), (most, _) = (
                pick(shares, key=lambda each: each[0] / each[1]) for pick in (min, max)
            )
            sentences.append(
                "How often the provider blocks answers depends on the identity "
                f"({AXES[axis].label}: "
                f"{least:,} to {most:,} answers of an identity, p = {p_value:.2g}), whatever the "
                "scores say."
            )
    return sentences


def _outcomes(
    counts: Sequence[AnswerCount], conditions: Mapping[int, StoredCondition]
) -> list[OutcomeCount]:
    by_cell: dict[tuple[int, str], Counter[str]] = defaultdict(Counter)
    for each in counts:
        by_cell[each.condition, each.axis][each.outcome] += each.answers
    return [
        OutcomeCount(
            cue=c.cue,
            defense=c.defense,
            identity=c.identity.id,
            axis=axis,
            answers=ended.total(),
            cut_off=ended["cut off"],
            blocked=ended["blocked"],
            rejected=ended["rejected"],
        )
        for number, c in conditions.items()
        for axis in AXES
        if (ended := by_cell[number, axis]).total() > ended["whole"]
    ]


_ENDINGS: dict[Outcome, str] = {
    "cut off": "were cut off at the token limit; --max-tokens raises it",
    "rejected": "do not exist, since the endpoint rejected the question",
}
_BLOCKED: dict[Blocked, str] = {
    "refusal": "were blocked by the provider and count as refusals; --blocked missing leaves them "
    "out",
    "missing": "were blocked by the provider and count as missing; --blocked refusal counts them "
    "as refusals",
}


def _on_outcomes(
    counts: Sequence[AnswerCount], names: Mapping[int, str], blocked: Blocked
) -> list[str]:
    endings: dict[Outcome, str] = {"blocked": _BLOCKED[blocked], **_ENDINGS}
    totals: dict[str, Counter[str]] = defaultdict(Counter)
    ended: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for each in counts:
        totals[each.axis][names[each.condition]] += each.answers
        ended[each.axis, each.outcome][names[each.condition]] += each.answers
    notes = []
    for outcome, ending in endings.items():
        for axis in totals:
            found = {name: (ended[axis, outcome][name], n) for name, n in totals[axis].items()}
            if _is_many(found) or (outcome == "blocked" and any(n for n, _ in found.values())):
                notes.append(f"{AXES[axis].label}: {_of(found)} answers {ending}{_who(found)}")
    return notes


def _on_contradictions(
    answers: Sequence[AnswerCount], store: Store, names: Mapping[int, str]
) -> list[str]:
    counts: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    for each in answers:
        if each.axis == "utility":
            totals[names[each.condition]] += each.answers
    for condition, reason, count in store.reasons():
        if reason == DISAGREE.reason:
            counts[names[condition]] += count
    if not counts:
        return []
    found = {name: (counts[name], total) for name, total in totals.items()}
    return [
        f"utility: {_of(found)} answers name one option by its letter and another by its text, "
        f"and have no score{_who(found)}"
    ]


def _on_loops(store: Store, names: Mapping[int, str]) -> list[str]:
    counts: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    for condition, text in sample_texts(store):
        totals[names[condition]] += 1
        counts[names[condition]] += is_loop(text)
    found = {name: (counts[name], total) for name, total in totals.items()}
    if not _is_many(found):
        return []
    return [f"{_of(found)} answers looked at repeat the same words over and over{_who(found)}"]


def _on_repeats(store: Store, record: RunRecord, names: Mapping[int, str]) -> list[str]:
    temperature = record.study.decoding.temperature
    if record.study.samples < 2 or temperature == 0:
        return []
    counts: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    for condition, cells, identical in identical_cells(store):
        totals[names[condition]] += cells
        counts[names[condition]] += identical
    found = {name: (counts[name], total) for name, total in totals.items()}
    if sum(n for n, _ in found.values()) < 0.9 * max(_FEW, totals.total()):
        return []
    return [
        f"all samples are identical in {_of(found)} cells, although the temperature is "
        f"{'the default' if temperature is None else f'{temperature:g}'}: they may come from a "
        f"cache, and the noise floor is then too low{_who(found)}"
    ]


_DATED = re.compile(
    r"(?:[-@:](?:(?:19|20)\d\d-\d\d-\d\d|\d{4,8}|latest|v\d+(?:[.:]\d+)*))+$", re.IGNORECASE
)
"""What distinguishes a dated version of a model from its name."""


def _on_served(
    counts: Sequence[AnswerCount], record: RunRecord, names: Mapping[int, str]
) -> list[str]:
    models: Counter[str] = Counter()
    by_identity: dict[str, Counter[str]] = defaultdict(Counter)
    for each in counts:
        if each.served:
            models[each.served] += each.answers
            by_identity[names[each.condition]][each.served] += each.answers
    if not models:
        return []
    model = shown_name(record.study.model)
    asked = model.partition("/")[2] or model
    common = models.most_common(1)[0][0]
    found = {
        name: (served.total() - served[common], served.total())
        for name, served in by_identity.items()
    }
    if len(models) > 1:
        shown = ", ".join(f"{one_line(m, 80)} ({n:,})" for m, n in models.most_common(_MOST_SHOWN))
        return [f"the replies name {len(models)} models: {shown}{_who(found)}"]
    if _base(common) != _base(asked):
        return [f"the replies name another model than {asked}: {one_line(common, 80)}"]
    return []


def _base(model: str) -> str:
    return _DATED.sub("", model.rpartition("/")[2].lower())


def _on_cut_prompts(store: Store, tokens: int) -> list[str]:
    """Prompts of different lengths pile up at one number of tokens, and none has more.

    Args:
        tokens: of the longest prompt; 0 where nobody counts.
    """
    found = longest_prompts(store, tokens) if tokens else None
    if found is None or found.items < 5 or found.longest < 1.25 * found.shortest:
        return []
    if found.answers < found.almost:
        return []
    return [
        f"the endpoint seems to cut prompts at {tokens:,} tokens: {found.answers:,} answers, to "
        f"{found.items:,} questions of {found.shortest:,} to {found.longest:,} characters, have "
        "exactly so many prompt tokens, and none has more. Words about the identity may be among "
        "what was cut; raise the endpoint's context length"
    ]


# Whom a thing concerns


def _name(condition: StoredCondition) -> str:
    return "no identity" if condition.identity.kind == "baseline" else condition.identity.id


def _of(counts: Counts) -> str:
    some, all_ = (sum(column) for column in zip(*counts.values(), strict=True))
    return f"{some:,} of {all_:,}"


def _is_many(counts: Counts) -> bool:
    """Whether it concerns more than a tenth of all answers, or of anybody's."""
    some, all_ = (
        (sum(column) for column in zip(*counts.values(), strict=True)) if counts else (0, 0)
    )
    return some > _MANY * all_ or any(n > _MANY * of and of >= _FEW for n, of in counts.values())


def _who(counts: Counts) -> str:
    """Whom it concerns most, where it depends on the identity (chi-square test)."""
    there = [(n, of) for n, of in counts.values() if of]
    if not there:
        return ""
    p_value = shares_p_value(*zip(*there, strict=True))
    if not is_significant(p_value):
        return ""
    shares = sorted(counts.items(), key=lambda each: each[1][0] / max(1, each[1][1]), reverse=True)
    shown = [f"{name} {n:,} of {of:,}" for name, (n, of) in shares[:_MOST_SHOWN]]
    if len(shares) > _MOST_SHOWN:
        name, (n, of) = shares[-1]
        shown += ["...", f"{name} {n:,} of {of:,}"]
    return f". It depends on the identity (p = {p_value:.2g}): {', '.join(shown)}"


# Of the run, its scores and what is missing

_MANY_UNSCORED = 0.05
_MOST_NAMED = 6
_FEW_SCORES = 20
"""Fewer scores than this are no level."""


def notes_on(
    record: RunRecord,
    missing: int,
    grid: Grid,
    settings: Sequence[SettingResult],
    items: Iterable[Item],
) -> list[str]:
    """One line for each thing to know.

    Args:
        missing: how many cells have no answer.
        items: what was asked.
    """
    return [
        *_on_import(record),
        *_on_what_was_asked(record),
        *in_place_of_ours(condition.identity for condition in grid.conditions),
        *_on_system_role(record.system_role),
        *_on_scores(missing, grid, imported=record.imported is not None),
        *_on_levels(grid, items),
        *(note for setting in settings for note in _on_missing(setting, len(settings) > 1)),
    ]


def larger_study_note(store: Store, done: int, samples: int) -> list[str]:
    """Whether the folder holds more answers than the study last asked for covers.

    Args:
        done: answers of the study.
        samples: of the study.
    """
    stored, most = store.stored()
    if stored <= done:
        return []
    of = f" ({samples} of {most} samples)" if most > samples else ""
    again = f"--samples {most}" if most > samples else "the larger study"
    return [
        f"the run folder holds {stored:,} answers; these figures are of the {done:,} that the "
        f"study last asked for covers{of}; run audit with {again} again for figures of all"
    ]


def _on_import(record: RunRecord) -> list[str]:
    """What the answers of an imported run are, and what is not known of them."""
    if record.imported is None:
        return []
    files = ", ".join(record.imported.files)
    return [
        f"the results are imported, not asked by evenhand: {one_line(files, 600)}",
        *record.imported.notes,
    ]


def _on_what_was_asked(record: RunRecord) -> list[str]:
    notes = []
    study, interim = record.study, record.interim
    if interim:
        notes.append(
            f"interim analysis {interim.analysis} of {interim.of}: {interim.items:,} of "
            f"{interim.all_items:,} items; intervals and p-values are adjusted for all "
            f"{interim.of} analyses"
        )
    if study.limit:
        items = "item" if study.limit == 1 else "items"
        notes.append(f"limited to {study.limit} {items} of each benchmark")
    if study.samples > 1 and study.decoding.temperature == 0:
        notes.append("samples at temperature 0 may all be identical and then add no information")
    notes += dict.fromkeys(note for session in record.sessions for note in session.notes)
    if len(record.addresses) > 1:
        notes.append(f"the answers come from more than one place: {', '.join(record.addresses)}")
    return notes


def _on_system_role(check: SystemRoleCheck) -> list[str]:
    notes = []
    if not check.system_role:
        notes.append(f"the cue was sent in front of the user's message ({check.evidence})")
    elif "unverified" in check.evidence:
        notes.append("whether the system message reaches the model could not be verified")
    if check.folded:
        notes.append("the chat template puts the system message into the user's turn")
    if check.default_system:
        own = check.default_system
        quoted = own if own.startswith("of ") else f'"{one_line(own)}"'
        notes.append(
            f"where none is sent, the chat template inserts a system prompt of its own ({quoted}): "
            "it reaches the baseline alone, so differences to the baseline carry its effect, too; "
            "--baseline neutral sends a neutral one instead"
        )
    if not check.template:
        notes.append(
            "the model has no chat template (a base model): it was sent a transcript to continue, "
            "and its answer ends where it begins another turn"
        )
    if check.ignored:
        named = ", ".join(f"{name} {one_line(str(v), 40)}" for name, v in check.ignored.items())
        notes.append(f"not used of the model's generation_config.json: {named} (--extra sets it)")
    return notes


def _on_scores(missing: int, grid: Grid, *, imported: bool) -> list[str]:
    """Cells without an answer, and answers without a score."""
    answers = scores = 0
    silent = []
    for axis, benchmarks in grid.scores.items():
        for benchmark, array in benchmarks.items():
            there = int(grid.answered[axis][benchmark].sum())
            scored = int((array == array).sum())  # NaN is not equal to itself
            answers, scores = answers + there, scores + scored
            items = int((array == array).any(axis=(0, 2)).sum())
            if there and not scored:
                silent.append(
                    f"not one answer to {benchmark} could be scored; it counts for nothing"
                )
            elif items == 1:
                left_out = ", so it is left out" if benchmark in grid.alone(axis) else ""
                silent.append(
                    f"only one item of {benchmark} on {AXES[axis].label}; a bias needs two"
                    f"{left_out}"
                )
    notes = []
    if missing and imported:
        notes.append(
            f"{counted(missing, 'cell of the grid is', 'cells of the grid are')} not in the "
            "imported files"
        )
    elif missing:
        notes.append(
            f"{counted(missing, 'cell has', 'cells have')} no answer yet; run the same "
            "command to resume"
        )
    if answers and scores < (1 - _MANY_UNSCORED) * answers:
        notes.append(f"{1 - scores / answers:.0%} of the answers could not be scored")
    return notes + silent


def _on_levels(grid: Grid, items: Iterable[Item]) -> list[str]:
    """Benchmarks where no bias can show: all scores alike, or no better than guessing."""
    chances: dict[str, list[float]] = defaultdict(list)
    for item in items:
        if item.choices and item.scorer in LETTERED and item.axis == "utility":
            chances[item.benchmark].append(1 / len(item.choices))
    notes = []
    for axis, benchmarks in grid.scores.items():
        for name, array in benchmarks.items():
            scored = array[array == array]
            if scored.size < _FEW_SCORES:
                continue
            where = f"benchmark {name} ({AXES[axis].label})"
            if scored.min() == scored.max() and scored[0] in (0, 1):
                notes.append(
                    f"{where}: every answer scores {100 * scored[0]:.0f}, whoever asks; "
                    "no bias can show there"
                )
            elif (
                axis == "utility"
                and chances[name]
                and _is_guessing(array, float(np.mean(chances[name])))
            ):
                chance = 100 * float(np.mean(chances[name]))
                notes.append(
                    f"{where}: {100 * scored.mean():.0f}% of the answers are correct, not shown to "
                    f"be more than guessing ({chance:.0f}%); differences there say little of what "
                    "the model can do"
                )
    return notes


def _is_guessing(array: NDArray[np.float64], chance: float) -> bool:
    """Whether the mean over items is within two standard errors of chance, or below it."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an item without any score
        means = np.nanmean(array, axis=(0, 2))
    means = means[means == means]
    if len(means) < 2:
        return False
    return bool(means.mean() < chance + 2 * means.std(ddof=1) / sqrt(len(means)))


def _on_missing(setting: SettingResult, several: bool) -> list[str]:
    where = f" (cue {setting.cue}, defense {setting.defense})" if several else ""
    return [
        f"{AXES[axis].label}{where}: which scores are missing depends on the identity "
        f"(p = {result.missing.p_value:.2g}); the plug-in PB could be "
        f"{result.missing.bias_bounds[0]:.1f} to {result.missing.bias_bounds[1]:.1f}"
        f"{_weighted(result.missing)}"
        for axis, result in setting.axes.items()
        if result.missing and is_significant(result.missing.p_value)
    ]


def few_scored_notes(store: Store, grid: Grid) -> list[str]:
    """Which identities have no value on an axis, for want of answers that could be scored."""
    notes = []
    for axis in grid.scores:
        mostly: dict[int, tuple[int, str]] = {}
        for number, reason, count in store.reasons(judge=grid.judge, axis=axis):
            mostly[number] = max(mostly.get(number, (0, "")), (count, reason))
        rows = range(len(grid.conditions))
        few = sorted(set(rows) - set(grid.enough(axis, rows)))
        by_reason: dict[str, dict[str, None]] = {}
        for row in few:
            condition = grid.conditions[row]
            why = mostly.get(condition.id, (0, "not scored yet"))[1]
            share = f"{condition.identity.id} ({100 * grid.scored_share(axis, row):.0f}%)"
            by_reason.setdefault(why, {})[share] = None
        if by_reason:
            named = "; ".join(
                f"{some_of(list(people), _MOST_NAMED)}, mostly: {one_line(why)}"
                for why, people in by_reason.items()
            )
            notes.append(
                f"{AXES[axis].label}: under half of the answers could be scored for {named}; no "
                "value there, and left out of PB"
            )
    return notes


def language_notes(store: Store, grid: Grid) -> list[str]:
    """Whether the share of answers in other languages depends on the identity."""
    first = grid.conditions[0]
    rows = grid.rows(first.cue, first.defense, "identity")
    ids = [grid.conditions[row].id for row in rows]
    foreign = dict.fromkeys(ids, 0)
    languages: dict[str, int] = {}
    for condition, reason, count in store.reasons(judge=grid.judge):
        if condition in foreign and reason.startswith(NOT_ENGLISH):
            foreign[condition] += count
            name = reason.removeprefix(NOT_ENGLISH).strip(" ()")
            languages[name] = languages.get(name, 0) + count
    answered = [
        sum(int(there[row].sum()) for axis in grid.answered.values() for there in axis.values())
        for row in rows
    ]
    table = [(foreign[i], n - foreign[i]) for i, n in zip(ids, answered, strict=True) if n]
    if len(table) < 2 or not languages:
        return []
    p_value = shares_p_value([one for one, _ in table], [one + other for one, other in table])
    if not is_significant(p_value):
        return []
    worst = max(range(len(rows)), key=lambda n: foreign[ids[n]] / max(answered[n], 1))
    found = ", ".join(sorted(languages, key=lambda name: -languages[name])[:3])
    return [
        f"the share of answers that are not in English ({found}) depends on the identity: most "
        f"for {grid.conditions[rows[worst]].identity.id} (p = {p_value:.2g}); they are unscored"
    ]


def _weighted(missing: Missing) -> str:
    if missing.weighted is None:
        return ""
    low, high = missing.weighted.interval
    return (
        f"; with scores weighted by their chance of not being missing, PB of the axis is "
        f"{missing.weighted.estimate:.1f} ({low:.1f} to {high:.1f})"
    )


def withholding_notes(store: Store) -> list[str]:
    """For each withholding defense of the study last asked for, how much it withheld."""
    asked = {condition.defense for condition in store.conditions()}
    questions = list(dict.fromkeys(item.prompt for item in store.items().values()))
    notes = []
    for name, decided in store.withholdings().items():
        if name in asked:
            counts = decided.counts(questions)
            unclear = counts.get("unclear", 0)
            doubt = f"; on {unclear:,} its word could not be made out" if unclear else ""
            notes.append(
                f"defense {name} (decided by {decided.how}): the identity was withheld from "
                f"{counts.get('not needed', 0):,} of {len(questions):,} questions{doubt}"
            )
    return notes
