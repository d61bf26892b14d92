"""Section 1: how large the bias is, and what was run."""

from __future__ import annotations

from collections.abc import Iterator

from evenhand.analysis.evidence import AuditDetails
from evenhand.analysis.results import Audit, SettingResult
from evenhand.axes import AXES
from evenhand.report.charts import bias_chart, named_spreads
from evenhand.report.html.parts import (
    Cell,
    Facts,
    Figure,
    Row,
    Section,
    Table,
    change,
    clean,
    points,
    span,
)
from evenhand.report.plain import extent_sentence, mean_sentence
from evenhand.report.sentences import p_text, placebo_sentence, relevance_sentence, verdict


def headline(audit: Audit, look: AuditDetails) -> Section:
    """The verdict, PB beside its noise floor, the means, and the facts of the run."""
    head = audit.head
    sentences = [
        verdict(head.pb, audit.margin),
        placebo_sentence(head.beyond_placebo) if head.beyond_placebo else "",
        " ".join(mean_sentence(name, axis) for name, axis in head.axes.items()).strip(),
        relevance_sentence(audit.relevance[0]) if audit.relevance else "",
        extent_sentence(audit),
    ]
    blocks = [_chart(head)] if named_spreads(head) else []
    return Section(
        "headline",
        "The answer",
        sentences,
        [*blocks, _means(head), Facts(list(_facts(audit, look)))],
        warnings=[clean(note, 400) for note in audit.notes],
    )


def _chart(head: SettingResult) -> Figure:
    spreads = named_spreads(head)
    words = "; ".join(
        f"{name} {s.estimate:.1f} ({s.interval[0]:.1f} to {s.interval[1]:.1f})"
        for name, s in spreads.items()
    )
    rows = [
        Row(
            name,
            [
                points(s.estimate),
                span(s.interval, sign=False),
                Cell(p_text(s.p_value).removeprefix("= "), s.p_value),
                points(s.plugin),
                points(s.noise_floor),
            ],
        )
        for name, s in spreads.items()
    ]
    columns = ["Spread of", "PB", "95 % interval", "p of no bias", "as in the paper", "noise floor"]
    return Figure(
        "bias",
        "Personalization bias (PB): how far the identities spread",
        f"PB with 95 % intervals: {words}.",
        bias_chart(spreads),
        Table("Personalization bias, in points of 0 to 100", columns, rows),
        note="PB is the spread of the identities' means with sampling noise taken out. The paper's "
        "own number (diamond) counts noise as bias; the noise floor is what it would be for a "
        "model without any. Placebos are attributes that cannot matter.",
    )


def _means(head: SettingResult) -> Table:
    rows = [
        Row(
            AXES[name].label + (" (lower is better)" if AXES[name].lower_is_better else ""),
            [
                points(axis.mean),
                points(axis.baseline),
                change(axis.to_baseline.estimate if axis.to_baseline else None),
                span(axis.to_baseline.interval if axis.to_baseline else None),
            ],
        )
        for name, axis in head.axes.items()
    ]
    columns = ["Mean of", "identities", "no identity", "difference", "95 % interval"]
    return Table("Means beside the user of whom nothing is said, in points", columns, rows)


def _facts(audit: Audit, look: AuditDetails) -> Iterator[tuple[str, str]]:
    """What was run; what is not known is left out."""
    yield "Model", clean(audit.model)
    yield "Cues", ", ".join(dict.fromkeys(setting.cue for setting in audit.settings))
    yield "Defenses", ", ".join(dict.fromkeys(setting.defense for setting in audit.settings))
    yield (
        "Users",
        f"{len(audit.identities)} identities, {len(audit.head.placebos)} placebos, and the "
        "baseline of whom nothing is said",
    )
    yield "Benchmarks", ", ".join(f"{clean(n)} ({size:,})" for n, size in audit.benchmarks.items())
    yield "Samples", f"{audit.samples} for each question and user"
    yield "Answers", f"{audit.done:,} of {audit.cells:,}"
    reasons = ", ".join(f"{clean(why)} {n:,}" for why, n in audit.unscored_reasons.items())
    yield "Unscored", f"{audit.unscored:,}{f' ({reasons})' if reasons else ''}"
    yield "Failed attempts", f"{audit.failed_attempts:,}"
    if audit.prompt_tokens:
        yield (
            "Tokens",
            f"{audit.prompt_tokens:,} in prompts, {audit.completion_tokens:,} in answers",
        )
    costs = [session["cost"] for session in look.sessions if session.get("cost") is not None]
    if costs:
        yield "Cost", f"about ${sum(costs):,.2f}"
    if look.sessions:
        first, last = look.sessions[0]["began"], look.sessions[-1]["ended"] or "not ended"
        yield "Asked", f"{_date(first)} to {_date(last)}"
        versions = {
            f"{name} {number}": None
            for session in look.sessions
            for name, number in session["versions"].items()
        }
        yield "Versions", ", ".join(versions)


def _date(text: str) -> str:
    return text.replace("T", " ").replace("+00:00", " UTC")
