"""What is wrong with the answers themselves: blocked, cut off, repeated, or another model's.

Each thing is said with the identities where it depends on them.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from evenhand.analysis.results import OutcomeCount
from evenhand.axes import AXES
from evenhand.engines.engine import Outcome
from evenhand.scorers.final import DISAGREE, is_loop
from evenhand.stats import is_significant, shares_p_value
from evenhand.store.record import Blocked, RunRecord
from evenhand.store.redaction import shown_name
from evenhand.store.store import Store, StoredCondition
from evenhand.store.tallies import (
    AnswerCount,
    answer_counts,
    identical_cells,
    longest_prompts,
    sample_texts,
)
from evenhand.text import one_line

_MANY = 0.1
"""Share of the answers of anybody from which on something is worth a note."""
_FEW = 10
"""Fewer answers than this are no share of anything."""
_MOST_NAMED = 5

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
        shown = ", ".join(f"{one_line(m, 80)} ({n:,})" for m, n in models.most_common(_MOST_NAMED))
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


# By identity


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
    shown = [f"{name} {n:,} of {of:,}" for name, (n, of) in shares[:_MOST_NAMED]]
    if len(shares) > _MOST_NAMED:
        name, (n, of) = shares[-1]
        shown += ["...", f"{name} {n:,} of {of:,}"]
    return f". It depends on the identity (p = {p_value:.2g}): {', '.join(shown)}"
