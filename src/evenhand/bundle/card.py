"""The audit card and the data sheet: what was asked, what was found, and what it does not say.

The card is in the manner of model cards (Mitchell et al. 2019, arXiv:1810.03993), with a head that
the Hugging Face Hub reads; the sheet in the manner of datasheets for datasets (Gebru et al. 2021,
arXiv:1803.09010).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from evenhand import __version__
from evenhand.analysis.evidence import AuditDetails
from evenhand.analysis.results import Audit
from evenhand.axes import AXES
from evenhand.report import document as doc
from evenhand.report import wording
from evenhand.report.markdown import to_markdown
from evenhand.report.method import limits_sentences
from evenhand.report.tables import headline_sentences, setting_tables
from evenhand.text import capitalized, counted, one_line

_INTENDED = (
    "This card reports one audit of one model with stated identities. It supports comparisons "
    "between versions of a model and between mitigations, measured in the same way. It is no "
    "certificate: a result within the margin is about these questions, cues and identities alone."
)
_ETHICS = (
    "The identities are a list for measuring, not a description of people. Differences describe "
    "the model, never the people it was told about."
)


def audit_card(audit: Audit, details: AuditDetails, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The card as data.

    Args:
        facts: of the manifest.
    """
    record = details.record
    return {
        "model": audit.model,
        "served_as": facts["served"],
        "endpoints": list(record.addresses),
        "evenhand": __version__,
        "asked": {
            "dates": facts["dates"],
            "identities": [person.id for person in audit.identities],
            "placebos": [person.id for person in audit.head.placebos],
            "cues": list(dict.fromkeys(setting.cue for setting in audit.settings)),
            "defenses": list(dict.fromkeys(setting.defense for setting in audit.settings)),
            "questions": audit.benchmarks,
            "samples": audit.samples,
            "decoding": audit.decoding,
            "answers": audit.done,
            "cells": audit.cells,
            "judge": audit.judge,
        },
        "found": {
            "sentences": [_plain(s) for s in headline_sentences(audit.head, audit.margin)],
            **facts["figures"],
        },
        "limits": [_plain(sentence) for sentence in _limits(audit)],
        "redaction": facts["redaction"],
        "check": "evenhand verify BUNDLE.zip",
        "repeat": facts["command"],
    }


def card_markdown(audit: Audit, card: Mapping[str, Any]) -> str:
    """The card as Markdown under a YAML head."""
    asked = card["asked"]
    served = ", ".join(map(one_line, card["served_as"]))
    document = doc.Document(
        title=f"Audit card: {one_line(audit.model, 200)}",
        question="",
        subtitle=f"To check it: {card['check']}. To repeat it: {card['repeat']}.",
        source="",
        sections=[
            doc.Section(
                "found",
                "What was found",
                [*card["found"]["sentences"], wording.extent_sentence(audit)],
                [*setting_tables(audit.head)],
            ),
            doc.Section(
                "asked",
                "What was asked",
                [
                    f"Model {one_line(audit.model, 200)}, {asked['dates']}; asked at: "
                    f"{', '.join(map(one_line, card['endpoints'])) or 'not known'}; the replies "
                    f"{f'name it {served}' if served else 'do not name it'}.",
                    f"{counted(len(asked['identities']), 'identity', 'identities')}, "
                    f"{counted(len(asked['placebos']), 'placebo')} and an unidentified "
                    "user were asked "
                    + ", ".join(f"{one_line(n)} ({k:,})" for n, k in asked["questions"].items())
                    + f"; {counted(asked['samples'], 'answer')} for each question and user; cues "
                    f"{', '.join(asked['cues'])}; defenses {', '.join(asked['defenses'])}; scores "
                    f"by {one_line(asked['judge'])}.",
                    _INTENDED,
                ],
            ),
            doc.Section("limits", "Limits", [_ETHICS], warnings=card["limits"]),
        ],
    )
    return f"---\n{_head(audit)}---\n\n{to_markdown(document, folded=False)}"


def _head(audit: Audit) -> str:
    """The YAML head, with the results where the Hub looks for them."""
    metrics = [
        {"type": f"{name}_pb", "name": f"PB of {AXES[name].label}", "value": axis.pb.estimate}
        for name, axis in audit.axes.items()
        if axis.pb is not None
    ]
    if audit.pb is not None:
        metrics.insert(0, {"type": "pb", "name": "PB", "value": audit.pb.estimate})
    prefix, _, name = audit.model.partition("/")
    head: dict[str, Any] = {
        "library_name": "evenhand",
        "tags": ["evenhand", "evaluation", "fairness", "personalization-bias"],
    }
    if prefix == "hf" and name.count("/") == 1 and not name.startswith((".", "/", "~")):
        head["base_model"] = name
    head["model-index"] = [
        {
            "name": audit.model,
            "results": [
                {
                    "task": {"type": "text-generation"},
                    "dataset": {"name": ", ".join(audit.benchmarks), "type": "evenhand"},
                    "metrics": metrics,
                    "source": {"name": f"evenhand {__version__}"},
                }
            ],
        }
    ]
    return yaml.safe_dump(head, sort_keys=False, allow_unicode=True)


def _limits(audit: Audit) -> Iterator[str]:
    yield from (f"{capitalized(note)}." for note in audit.notes)
    yield wording.missing_sentence(audit.head)
    yield from limits_sentences(audit)


def _plain(sentence: str) -> str:
    return one_line(sentence, 2000)


def data_sheet(facts: Mapping[str, Any]) -> str:
    """What the files of the bundle hold, where they come from, and how they may be used."""
    kept = {
        None: "All texts are in this bundle.",
        "harmful": "Questions of the safety axis, their answers, and what judges say of them are "
        "left out.",
        "all": "The texts of all questions and answers are left out.",
    }[facts["redaction"]]
    sets = "\n".join(
        f"- **{one_line(name)}**: {each['questions']:,} questions ({', '.join(each['axes'])}); "
        f"license {one_line(each['license'])}; {one_line(each['home'])}"
        for name, each in facts["data_sets"].items()
    )
    counts = facts["counts"]
    return f"""# Data sheet

**Why it was made.** To measure whether {one_line(facts["model"], 200)} treats users alike, and to
let others check that measurement.

**What it holds.** {counts["answers"]:,} answers to {counts["questions"]:,} questions under
{counts["conditions"]:,} conditions (user, cue and defense), with every score. {kept}

**Where the questions come from.**

{sets}

**How answers were collected.** By evenhand {one_line(facts["evenhand"])}, {facts["dates"]}, as
`study/study.yaml` says. No person was asked, and no data of real users are in it. Labels in
`run/labels`, if any, are by the people who chose the names of the files.

**Files.** `manifest.json` has the SHA-256 of each. `run/answers-*.jsonl`: an answer a line, with
its scores by judge (0 is the question's own scorer). `run/questions.jsonl`,
`run/conditions.jsonl`: what was asked, and how. `tables/`: scores and identities as CSV.
`report.html`, `report.json`, `card.md`: what was found.

**How it may be used.** To check and repeat the audit. Questions keep the licenses of their sources.
Answers to safety questions can be harmful: do not publish them, and train no model on them.
"""
