"""Sections 6 and 7: evidence, and how all of it was found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from evenhand import __version__
from evenhand.analysis.evidence import AnswerPair, AuditDetails, ShownAnswer
from evenhand.analysis.results import Audit
from evenhand.axes import AXES
from evenhand.benchmarks.item import Item
from evenhand.calibration.agreement import shipped_calibration
from evenhand.report.html.parts import Cell, Facts, Folded, Row, Section, Table, Text, clean, span
from evenhand.report.judges import pair_rows, record_rows, swap_sentence
from evenhand.report.plain import (
    calibration_sentence,
    check_sentence,
    evidence_sentences,
    missing_sentence,
)
from evenhand.report.rows import Rows
from evenhand.report.sentences import judge_sentence
from evenhand.study.study import Study

NOBODY = "nothing said of the user"

_PAPER = """@inproceedings{vijjini2025exploring,
  title     = {Exploring Safety-Utility Trade-Offs in Personalized Language Models},
  author    = {Vijjini, Anvesh Rao and Basu Roy Chowdhury, Somnath and Chaturvedi, Snigdha},
  booktitle = {Proceedings of NAACL 2025},
  year      = {2025},
  url       = {https://arxiv.org/abs/2406.11107}
}"""
_TOOL = """@software{evenhand,
  title   = {evenhand: does a personalized language model treat every user even-handedly?},
  author  = {{The evenhand developers}},
  version = {%s}
}"""


@dataclass(frozen=True)
class ShownSide:
    """One answer as the page shows it; `other` is the answer that it is compared with."""

    identity: str
    who: str
    outcome: str
    why: str
    text: str
    other: str
    veiled: bool


def evidence(look: AuditDetails) -> Section:
    """Pairs of answers to the same question, and what a reader can choose them by."""
    texts = {
        c.identity.id: clean(c.identity.text) or NOBODY
        for c in look.conditions
        if c.identity.kind != "placebo"
    }
    pairs = [
        {
            "benchmark": clean(pair.item.benchmark),
            "place": _place(pair),
            "question": _short(pair.item.prompt),
            "sides": [
                _side(pair.item, pair.better, pair.worse, texts),
                _side(pair.item, pair.worse, pair.better, texts),
            ],
        }
        for pair in look.evidence.pairs
    ]
    sides = [side for pair in pairs for side in pair["sides"]]
    shown = {side.identity for side in sides if isinstance(side, ShownSide)}
    content = {
        "pairs": pairs,
        "users": [(name, text) for name, text in texts.items() if name in shown],
        "benchmarks": list(dict.fromkeys(pair["benchmark"] for pair in pairs)),
    }
    sentences = [
        *evidence_sentences(look.evidence),
        "Words that the other answer does not have there are underlined. Answers judged harmful "
        "are blurred until asked for."
        if pairs
        else "",
    ]
    return Section(
        "evidence",
        "The answers themselves",
        sentences,
        template="evidence.html.j2",
        content=content,
    )


def _place(pair: AnswerPair) -> str:
    parts = [pair.item.benchmark, pair.item.subgroup, f"question {pair.item.id}"]
    if pair.sample:
        parts.append(f"sample {pair.sample + 1}")
    return ", ".join(clean(part, 80) for part in parts if part)


def _short(text: str, most: int = 1500) -> str:
    if len(text) <= most:
        return text
    return f"{text[:most]} [{len(text) - most:,} characters not shown]"


def _side(item: Item, answer: ShownAnswer, other: ShownAnswer, texts: dict[str, str]) -> ShownSide:
    return ShownSide(
        identity=answer.identity,
        who=texts[answer.identity],
        outcome=f"{_outcome(item, answer.score)}, score {answer.score:g}",
        why=clean(answer.why, 400) or _reason(item),
        text=answer.text,
        other=other.text,
        veiled=item.axis == "safety" and answer.score < 1,
    )


def _outcome(item: Item, score: float) -> str:
    words = AXES[item.axis].outcomes
    return words[0] if score <= 0 else words[2] if score >= 1 else words[1]


def _reason(item: Item) -> str:
    """What the scorer looked for, where it says nothing of this one answer."""
    if item.scorer == "code":
        return "the tests of the task decide"
    if item.answer:
        return f"the right answer is {clean(item.answer)}"
    return (
        f"by the scorer {item.scorer}, which looks for a refusal"
        if item.scorer == "refusal"
        else ""
    )


def method(audit: Audit, look: AuditDetails) -> Section:
    """Prompts as sent, decoding, the judge, checks, how to repeat it, citation, limits."""
    return Section(
        "method",
        "How it was found, and its limits",
        [
            check_sentence(audit, look.placement),
            missing_sentence(audit.head),
            *_limits(audit),
        ],
        [
            Facts(list(_decoding(audit, look))),
            _missing_table(audit),
            *_judge_tables(audit),
            Folded("Missing scores by identity", [_missing_people(audit)]),
            Folded("To repeat it", [Text(list(_repeat(look)), code=True)], open=True),
            Folded("To cite it", [Text([_PAPER, _TOOL % __version__], code=True)]),
        ],
        template="method.html.j2",
        content={
            "prompts": _prompts(look),
            "questions": [(clean(i.benchmark), _short(i.prompt)) for i in look.examples],
        },
    )


def _limits(audit: Audit) -> Iterator[str]:
    axes = [name for name in audit.axes if AXES[name].is_judged]
    for judge in audit.judge.split("+") if axes else []:
        yield calibration_sentence(judge, shipped_calibration(judge))
    for name, axis in audit.axes.items():
        if axis.judge:
            sentence = judge_sentence(AXES[name].label, axis.judge)
            yield sentence[0].upper() + sentence[1:]
    yield from (swap_sentence(check) for check in audit.judge_swaps)
    yield (
        "What is found holds for this model, these wordings and questions like these. Identities "
        "are told in so many words; real users show who they are in other ways."
    )


def _decoding(audit: Audit, look: AuditDetails) -> Iterator[tuple[str, str]]:
    known = {name: value for name, value in audit.decoding.items() if value not in (None, [], {})}
    yield "Decoding", ", ".join(f"{name} {clean(str(value))}" for name, value in known.items())
    yield "How the system message is sent", clean(audit.placement, 300)
    scorers = sorted({item.scorer for item in look.examples})
    yield "Scorers", ", ".join(scorers)
    yield "Judge of safety and over-refusal", f"{clean(audit.judge)}; it never sees who asked"
    yield "Worked examples in each prompt", str(look.study.get("shots", 0))
    if look.study.get("limit"):
        yield "Limit", f"{look.study['limit']} questions of each benchmark"
    yield "Choice and order of questions", f"seed {look.study.get('seed', 0)}"


def _judge_tables(audit: Audit) -> Iterator[Table]:
    """What each judge has done and how far they agree, where there are several."""
    if len(audit.judges) > 1:
        yield _plain_table(f"Judges; the figures go by {clean(audit.judge)}", record_rows(audit))
    if audit.judge_pairs:
        yield _plain_table(
            "Agreement of judges in percent, and p of its being alike for every identity",
            pair_rows(audit.judge_pairs),
        )


def _plain_table(caption: str, rows: Rows) -> Table:
    body = [Row(clean(row[0]), [Cell(clean(cell)) for cell in row[1:]]) for row in rows[1:]]
    return Table(caption, [name or "judge" for name in rows[0]], body)


def _missing_table(audit: Audit) -> Table:
    rows = [
        Row(
            AXES[name].label,
            [
                Cell(f"{axis.missing.count:,}", axis.missing.count),
                Cell(f"{axis.missing.p_value:.3f}", axis.missing.p_value),
                span(axis.missing.bias_bounds, sign=False),
            ],
        )
        for name, axis in audit.axes.items()
        if axis.missing
    ]
    columns = ["Axis", "missing", "p of being alike for all", "bounds of the paper's PB"]
    return Table("Missing scores, and what PB could be whatever they were", columns, rows)


def _missing_people(audit: Audit) -> Table:
    rows = [
        Row(
            clean(person.text) or NOBODY,
            [
                Cell(f"{person.done:,}", person.done),
                Cell(f"{person.unscored:,}", person.unscored),
                Cell(f"{person.failed_attempts:,}", person.failed_attempts),
            ],
        )
        for person in (audit.head.baseline, *audit.head.identities, *audit.head.placebos)
    ]
    columns = ["I am ...", "answers", "unscored", "failed attempts"]
    return Table("Answers, those without a score, and attempts that brought none", columns, rows)


def _prompts(look: AuditDetails) -> list[dict[str, Any]]:
    """The first condition of each kind under every cue and defense."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    kinds = {
        "baseline": "nothing said of the user",
        "identity": "an identity",
        "placebo": "a placebo",
    }
    for c in look.conditions:
        title = f"Cue {clean(c.cue)}, defense {clean(c.defense)}: {kinds[c.identity.kind]}"
        found.setdefault(
            (c.cue, c.defense, c.identity.kind),
            {"title": title, "messages": c.example, "open": c.identity.kind == "identity"},
        )
    as_read = [
        {
            "title": f"The {kind} as the model read it, chat template included",
            "messages": [{"role": "prompt", "content": _short(prompt)}],
            "open": False,
        }
        for kind, prompt in look.placement.get("prompts", {}).items()
    ]
    return [*found.values(), *as_read]


def _repeat(look: AuditDetails) -> Iterator[str]:
    """The command, and the study file that it names."""
    usual = Study(model="any").model_dump(mode="json")
    study = {"model": look.study["model"]} | {
        name: value for name, value in look.study.items() if value != usual.get(name)
    }
    if isinstance(study.get("decoding"), dict):
        study["decoding"] = {
            name: value
            for name, value in study["decoding"].items()
            if value != usual["decoding"].get(name)
        }
    yield f"evenhand audit study.yaml --out {Path(look.folder).name}-again"
    yield (
        f"# study.yaml, evenhand {__version__}\n"
        + yaml.safe_dump(study, sort_keys=False, allow_unicode=True).strip()
    )
