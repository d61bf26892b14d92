"""What a mitigation is to do, as the user states it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from evenhand.analysis import MARGIN
from evenhand.cue import Defence, read_defences, select_defences, shipped_defences
from evenhand.errors import UnknownName, UsageError
from evenhand.mitigate.search import BUDGET
from evenhand.mitigate.split import Unit
from evenhand.mitigate.tuning import Tuning

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
        defences: ids or sentences to choose from; empty for every shipped or own sentence, of
            which the best is tried in other places, too. With a single one nothing is searched.
        defences_file: of one's own.
        budget: answers that the search may need.
        seed, unit: of the split; None for that of the run, or the defaults.
        cues: to test on beside those tuned on; None for `UNSEEN_CUES`.
        control: a sentence that must not help, tested beside the defence; empty for none.
        relevance: whether to test wanted personalisation, too; None: yes, but not of the
            organism, which knows nothing of it.
        margin: losses of so many points do not matter, > 0.
        tuning: recipes and settings of the training.
    """

    methods: Sequence[str] = METHODS
    defences: Sequence[str] = ()
    defences_file: Path | None = None
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
    def needs_defence(self) -> bool:
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


def candidate_defences(wanted: Wanted) -> list[Defence]:
    """The sentences to choose from.

    Raises:
        UnknownName: there is no such defence.
        UsageError: a named one has no sentence.
    """
    own = read_defences(wanted.defences_file) if wanted.defences_file else []
    if wanted.defences:
        named = select_defences(wanted.defences, own)
        for defence in named:
            if not defence.text:
                raise UsageError(f'"{defence.id}" has no sentence; it is no defence by prompt')
        return named
    return [defence for defence in own or shipped_defences() if defence.text]
