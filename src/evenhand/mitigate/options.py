"""What a mitigation is to do, as the user states it: methods, defenses, recipes, DPO settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field

from evenhand.analysis import MARGIN
from evenhand.errors import UnknownName, UsageError
from evenhand.mitigate.pairs import read_pairs
from evenhand.mitigate.recipes import CONTROL, needs_data
from evenhand.mitigate.search import BUDGET
from evenhand.mitigate.split import Unit
from evenhand.organism import MODEL
from evenhand.study.cue import Defense, read_defenses, select_defenses, shipped_defenses
from evenhand.study.entry import Entry, validate

MitigationMethod = Literal["prompt", "withhold", "dpo", "hybrid"]
METHODS: tuple[MitigationMethod, ...] = get_args(MitigationMethod)
TuningMethod = Literal["lora", "full"]
Precision = Literal["auto", "float32", "bfloat16"]
LearningRateSchedule = Literal["cosine", "linear", "constant"]

HELD_OUT_CUES = ("system-2", "memory-1")
"""Tested beside the cues of the run, unless they were tuned on: another wording of the paper's cue,
and another form."""


class DPOSettings(Entry):
    """Settings of a training with direct preference optimization (DPO).

    The defaults of method, rank, alpha, learning rate, beta, steps and four_bit are those of
    Vijjini et al. 2025; what the paper does not give is ours.

    Attributes:
        method: "lora" trains a small adapter beside the frozen weights, "full" all weights.
        four_bit: keep the frozen weights in 4 bits (QLoRA); None: only on a GPU.
        lora_r: rank of the adapter.
        lora_alpha: its scale; the adapter is multiplied by alpha / r.
        lora_dropout: in [0, 1).
        lora_targets: names of the layers that get an adapter; "all-linear" for all but the head.
        learning_rate: the highest, reached after the warm-up.
        beta: weight of the penalty on departing from the untuned model.
        steps: optimizer steps.
        batch_size: pairs per device in one pass.
        accumulation: passes per step; a step uses batch_size * accumulation pairs per device.
        max_length: tokens of a conversation; longer ones are cut at the end.
        sft_weight: weight of a supervised loss on the chosen answers, beside the preference loss;
            0 for none. It keeps chosen and rejected answers from becoming unlikely together.
        schedule: of the learning rate after the warm-up.
        warmup: share of the steps in which the learning rate rises.
        max_grad_norm: longer gradients are scaled down to this length.
        seed: of adapter weights and order of pairs.
        save_every: steps from one checkpoint to the next.
        precision: of the computation; "auto" is bfloat16 on a GPU, float32 elsewhere.
        gradient_checkpointing: less memory for a fifth more time; None: only on a GPU.
    """

    method: TuningMethod = "lora"
    four_bit: bool | None = None
    lora_r: int = Field(default=16, ge=1)
    lora_alpha: int = Field(default=16, ge=1)
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    lora_targets: tuple[str, ...] = Field(default=("all-linear",), min_length=1)
    learning_rate: float = Field(default=5e-6, gt=0, le=1)
    beta: float = Field(default=0.1, gt=0)
    steps: int = Field(default=100, ge=1)
    batch_size: int = Field(default=4, ge=1)
    accumulation: int = Field(default=4, ge=1)
    max_length: int = Field(default=1024, ge=16)
    sft_weight: float = Field(default=0.0, ge=0)
    schedule: LearningRateSchedule = "cosine"
    warmup: float = Field(default=0.1, ge=0, le=1)
    max_grad_norm: float = Field(default=1.0, gt=0)
    seed: int = Field(default=0, ge=0, lt=2**31)
    save_every: int = Field(default=25, ge=1)
    precision: Precision = "auto"
    gradient_checkpointing: bool | None = None

    @property
    def pairs_needed(self) -> int:
        """Pairs that one device uses if it uses none twice."""
        return self.steps * self.batch_size * self.accumulation


_SUPERVISED = ("invariance", "debiasing")
"""Recipes whose chosen answers are known to be good: a supervised loss on them is safe."""

_ORGANISM: dict[str, Any] = {
    "learning_rate": 4e-3,
    "steps": 40,
    "batch_size": 32,
    "accumulation": 1,
    "max_length": 256,
    "sft_weight": 1.0,
    "save_every": 20,
}
"""For a model of a million parameters, which needs far larger steps than one of billions."""


def base_of(model: str) -> str:
    """Folder or hub id of a model's weights.

    Raises:
        UsageError: the model is behind an endpoint.
    """
    if model == "organism":
        return str(MODEL)
    prefix, _, name = model.partition("/")
    if prefix != "hf" or not name:
        raise UsageError(f"{model}: only local weights can be tuned: hf/ID-or-path, or organism")
    return name


@dataclass(frozen=True, kw_only=True)
class TuningOptions:
    """What to train.

    Attributes:
        recipes: names of `evenhand.mitigate.recipes`; "invariance-shuffled" is a control.
        data: preference data for the recipes that need some: a file, a folder or an id on the
            hub; None for the organism's own, where the organism is tuned.
        weights: of the audited model, where the audit went through an endpoint: "hf/...".
        settings: fields of `DPOSettings` that replace the recipe's own.
        seed: of the pairs.
        devices: number of GPUs; with more than one the training is prepared, and `NotFinished`
            names the `accelerate launch` command that runs it.
    """

    recipes: Sequence[str] = ("invariance",)
    data: str | None = None
    weights: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    devices: int = 1

    def check(self, model: str) -> None:
        """Check that a training could begin, before anything is asked.

        Raises:
            UsageError: a recipe or a setting is unknown, data are missing or hold no pairs, or
                there are no weights to tune.
        """
        for recipe in self.recipes:
            if needs_data(recipe):
                if self.data is None and (self.weights or model) != "organism":
                    raise UsageError(f'the recipe "{recipe}" needs preference data: --data')
                if self.data and self.data.endswith(".jsonl"):
                    read_pairs(Path(self.data))
            self.settings_for(recipe, model)
        try:
            base_of(self.weights or model)
        except UsageError as error:
            raise UsageError(f"{error}; name them with --weights") from None

    def settings_for(self, recipe: str, model: str) -> DPOSettings:
        """The settings for a recipe on a model; fields in `settings` win.

        Raises:
            StudyError: a setting is unknown or out of its range.
        """
        fields: dict[str, Any] = {}
        if recipe.removesuffix(CONTROL) in _SUPERVISED:
            fields["sft_weight"] = 1.0
        if (self.weights or model) == "organism":
            fields |= _ORGANISM
        return validate(DPOSettings, fields | dict(self.settings), "training")


@dataclass(frozen=True, kw_only=True)
class MitigationOptions:
    """What to do.

    Attributes:
        methods: names of `METHODS`.
        defenses: ids or sentences to choose from; empty for every shipped or own sentence, of
            which the best is tried in other places, too. A single one is used without a search.
        defenses_file: a file of own defenses.
        budget: the most answers that the search may need.
        seed, unit: of the split; None for those of the run's split, or the defaults.
        cues: to test on beside those tuned on; None for `HELD_OUT_CUES`.
        control: a sentence that must not help, tested beside the defense; empty for none.
        relevance: whether to test appropriate personalization, too. None: yes, except for the
            organism, which was not trained on it.
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
    tuning: TuningOptions = field(default_factory=TuningOptions)

    def __post_init__(self) -> None:
        if not self.methods:
            raise UsageError("name a method: prompt, withhold, dpo or hybrid")
        for method in self.methods:
            if method not in METHODS:
                raise UnknownName("method", method, METHODS)

    @property
    def recipes(self) -> Sequence[str]:
        """Recipes to train, none without a method that tunes; the hybrid uses the first."""
        if "dpo" in self.methods:
            return self.tuning.recipes
        return self.tuning.recipes[:1] if "hybrid" in self.methods else ()

    def candidates(self) -> list[Defense]:
        """The defense sentences to choose from; none without a method that uses one.

        Raises:
            UnknownName: there is no such defense.
            UsageError: a named one has no sentence.
        """
        if not {"prompt", "hybrid"} & set(self.methods):
            return []
        own = read_defenses(self.defenses_file) if self.defenses_file else []
        if self.defenses:
            named = select_defenses(self.defenses, own)
            for defense in named:
                if not defense.text:
                    raise UsageError(f'"{defense.id}" has no sentence; it is no prompt defense')
            return named
        return [defense for defense in own or shipped_defenses() if defense.text]
