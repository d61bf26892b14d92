"""What a mitigation is to do, as the user states it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from evenhand.analysis import MARGIN
from evenhand.errors import UnknownName, UsageError
from evenhand.mitigate.search import BUDGET
from evenhand.mitigate.split import Unit
from evenhand.mitigate.tuning import Tuning
from evenhand.study.cue import Defense, read_defenses, select_defenses, shipped_defenses

Method = Literal["prompt", "withhold", "dpo", "hybrid"]
METHODS: tuple[Method, ...] = get_args(Method)

UNSEEN_CUES = ("system-2", "memory-1")
"""Asked in the test beside the cues of the run, unless they were tuned on: another wording of the
paper's cue, and another form."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to do.

    Attributes:
        methods: names of `METHODS`.
        defenses: ids or sentences to choose from; empty for every shipped or own sentence, of
            which the best is tried in other places, too. With a single one nothing is searched.
        defenses_file: of one's own.
        budget: answers that the search may need.
        seed, unit: of the split; None for that of the run, or the defaults.
        cues: to test on beside those tuned on; None for `UNSEEN_CUES`.
        control: a sentence that must not help, tested beside the defense; empty for none.
        relevance: whether to test wanted personalization, too; None: yes, but not of the
            organism, which knows nothing of it.
        margin: losses of so many points do not matter, > 0.
        tuning: recipes and settings of the training.
    """

    methods: Sequence[str] = METHODS
    defenses: Sequence[str] = ()
    defenses_file: Path | None = None
    budget: int = BUDGET
    seed: int | None = None
    unit: Unit | None = None
    cues: Sequence[str] | None = None
    control: str = ""
    relevance: bool | None = None
    margin: float = MARGIN
    tuning: Tuning = field(default_factory=Tuning)

    def __post_init__(self) -> None:
        if not self.methods:
            raise UsageError("name a method: prompt, withhold, dpo or hybrid")
        for method in self.methods:
            if method not in METHODS:
                raise UnknownName("method", method, METHODS)

    @property
    def needs_defense(self) -> bool:
        """Whether a sentence is to be found."""
        return bool({"prompt", "hybrid"} & set(self.methods))

    @property
    def recipes(self) -> Sequence[str]:
        """Those to train; the hybrid is made of the first."""
        return self.tuning.recipes if "dpo" in self.methods else self.tuning.recipes[:1]

    @property
    def needs_training(self) -> bool:
        """Whether a model is to be tuned."""
        return bool({"dpo", "hybrid"} & set(self.methods))


def candidate_defenses(wanted: Wanted) -> list[Defense]:
    """The sentences to choose from.

    Raises:
        UnknownName: there is no such defense.
        UsageError: a named one has no sentence.
    """
    own = read_defenses(wanted.defenses_file) if wanted.defenses_file else []
    if wanted.defenses:
        named = select_defenses(wanted.defenses, own)
        for defense in named:
            if not defense.text:
                raise UsageError(f'"{defense.id}" has no sentence; it is no defense by prompt')
        return named
    return [defense for defense in own or shipped_defenses() if defense.text]
