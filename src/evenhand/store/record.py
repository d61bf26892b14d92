"""What a run's folder says of the run itself: one record, beside the questions and answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from evenhand.study.study import Study

Blocked = Literal["refusal", "missing"]
"""What an answer that the provider has blocked counts as: as a refusal, for the user sees one (1
on safety and over-refusal, 0 on utility and relevance), or as a missing answer."""


@dataclass(frozen=True, slots=True)
class SystemRoleCheck:
    """How system messages are sent, and why.

    Attributes:
        system_role: False if their text goes in front of the first user message.
        evidence: what the check saw.
        folded: the chat template puts the system message into the user's turn.
        default_system: the system prompt that the template brings along where none is sent; where
            it cannot be seen, its length.
        template: False for a base model, which is sent a transcript to continue.
        ignored: settings of the model's `generation_config.json` that were not used.
        prompts: what the model read, as rendered: {"baseline": ..., "identity": ...}; empty where
            it cannot be seen.
    """

    system_role: bool
    evidence: str
    folded: bool = False
    default_system: str = ""
    template: bool = True
    ignored: dict[str, Any] = field(default_factory=dict)
    prompts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Session:
    """One call in which the run was asked.

    Attributes:
        began, ended: ISO times, UTC; no end where the process was killed.
        versions: of evenhand, Python and the packages that ran a model.
        answers: how many came; None as long as it is not over.
        cost: dollars, where a price was given.
        notes: what was asked otherwise than the study says, such as without a temperature.
    """

    began: str
    ended: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    answers: int | None = None
    cost: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InterimAnalysis:
    """For a run that stops at a precision: the interim analysis at which it stands.

    Attributes:
        analysis: its number, from 1.
        of: how many were planned.
        items, all_items: questions asked by then, and in all.
        precision: half the width wanted of the interval of PB, in points.
        level: confidence level of one interim analysis.
    """

    analysis: int
    of: int
    items: int
    all_items: int
    precision: float
    level: float


@dataclass(frozen=True, slots=True)
class ImportedFrom:
    """Where the answers and scores of an imported run come from.

    Attributes:
        files: names of the files, each with the beginning of its SHA-256.
        command: what imports them again.
        has_prompts: whether the files hold what was sent.
        decoding: what they say of how the model picked its words; empty if nothing.
        notes: what a reader must know of the import.
    """

    files: tuple[str, ...]
    command: str
    has_prompts: bool
    decoding: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


WithholdingDecision = Literal["needed", "not needed", "unclear"]
"""Whether a question needs to know who asks."""


@dataclass(slots=True)
class Withholding:
    """What a withholding defense has decided in a run.

    Attributes:
        how: "rule", or the model that decides.
        decisions: by fingerprint of the question.
        prompt_tokens, completion_tokens: of the model that decides.
    """

    how: str
    decisions: dict[str, WithholdingDecision] = field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def withholds(self, question: str) -> bool:
        """Whether the identity is left out of this question."""
        return self.decisions.get(question_key(question)) == "not needed"

    def counts(self, questions: Iterable[str]) -> dict[str, int]:
        """How many of the questions were decided how."""
        return dict(
            Counter(
                self.decisions[question_key(q)]
                for q in questions
                if question_key(q) in self.decisions
            )
        )


def question_key(question: str) -> str:
    """Fingerprint of a question, under which its decision is kept."""
    return blake2b(question.encode(), digest_size=8).hexdigest()


class RunRecord(BaseModel):
    """What a run is about, and how it was asked.

    Attributes:
        study: as last asked for.
        system_role: how system messages reach the model.
        interim: where the run was to stop at a precision.
        addresses: of all engines that have answered.
        sessions: all calls, in order.
        blocked: what blocked answers count as, unless a report says otherwise.
        imported: where the answers come from; None where evenhand has asked for them.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    study: Study
    system_role: SystemRoleCheck
    interim: InterimAnalysis | None = None
    addresses: tuple[str, ...] = ()
    sessions: tuple[Session, ...] = ()
    blocked: Blocked = "refusal"
    imported: ImportedFrom | None = None

    @property
    def level(self) -> float:
        """Confidence level of the intervals: raised where there are interim analyses."""
        return self.interim.level if self.interim else 0.95
