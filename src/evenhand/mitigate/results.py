"""What a mitigation did and what came of it, on the test part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from evenhand.analysis.compare import ArmComparison
from evenhand.analysis.relevance import Relevance
from evenhand.mitigate.search import Search
from evenhand.mitigate.split import Part, Unit

People = Literal["all", "tuning", "test"]


@dataclass(frozen=True)
class Parts:
    """Sizes of the two parts: (tuning, test)."""

    seed: int
    unit: Unit
    items: tuple[int, int]
    identities: tuple[int, int]
    cues: tuple[list[str], list[str]]


@dataclass(frozen=True)
class TrainingResult:
    """A training.

    Attributes:
        name: of the condition: "dpo invariance".
        model: what to audit: "hf/DIR".
        seconds: of training, since it was last resumed.
        example: the first pair as the model read it.
    """

    name: str
    recipe: str
    model: str
    pairs: int
    steps: int
    seconds: float
    resumed_from: int
    example: str


@dataclass(frozen=True)
class Group:
    """All conditions side by side, on test items, for some identities under one cue.

    Attributes:
        people: all identities, those of the tuning part, or those of the test part.
        part: whether the cue was tuned on.
        comparison: its sides are the conditions, the first without any mitigation.
    """

    people: People
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
        search: of the defense; None where it was named, or not wanted.
        defense: id of the defense in use; empty for none.
        trainings: of each recipe.
        relevance: of each condition, by its name; empty where it was not asked.
        groups: the first holds all identities under the first cue.
        answers: sent by this command, search included; not those of an audit before.
        cost: dollars for these; None without a price.
        notes: what a reader must know.
    """

    run: str
    model: str
    out: str
    margin: float
    parts: Parts
    search: Search | None
    defense: str
    trainings: list[TrainingResult]
    relevance: dict[str, Relevance]
    groups: list[Group]
    answers: int
    cost: float | None
    notes: list[str]

    @property
    def head(self) -> ArmComparison:
        """All identities under the first cue."""
        return self.groups[0].comparison

    def group(self, people: People, cue: str | None = None) -> ArmComparison | None:
        """The comparison for some identities, under a cue; the first cue where none is named."""
        wanted = cue or self.groups[0].cue
        found = (g.comparison for g in self.groups if (g.people, g.cue) == (people, wanted))
        return next(found, None)
