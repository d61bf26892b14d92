"""What a mitigation is to do, as the user states it: methods, defenses, recipes, settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import orjson
from cyclopts import Group, Parameter
from pydantic import BeforeValidator, ConfigDict, Field, PlainValidator, TypeAdapter
from pydantic.dataclasses import dataclass

from evenhand.analysis import MARGIN
from evenhand.analysis.grid import UnitChoice
from evenhand.errors import UnknownName, UsageError
from evenhand.mitigate.examples import load_pairs
from evenhand.mitigate.recipes import CONTROL, ConsistencyTarget, needs_data
from evenhand.mitigate.search import BUDGET, in_other_places
from evenhand.mitigate.split import Unit
from evenhand.organism import SHIPPED
from evenhand.run.withholding import check_deciders
from evenhand.study.cue import Defense, read_defenses, select_defenses, shipped_defenses
from evenhand.study.entry import Entry, validate
from evenhand.study.study import split_names

MitigationMethod = Literal[
    "prompt", "withhold", "dpo", "orpo", "kto", "consistency", "hybrid", "steer"
]
METHODS: tuple[MitigationMethod, ...] = get_args(MitigationMethod)
Loss = Literal["dpo", "orpo", "kto", "consistency"]
LOSSES: tuple[Loss, ...] = get_args(Loss)
TuningMethod = Literal["lora", "full"]
Precision = Literal["auto", "float32", "bfloat16"]
LearningRateSchedule = Literal["cosine", "linear", "constant"]

HELD_OUT_CUES = ("system-2", "memory-1")
"""Tested beside the cues of the run, unless they were tuned on: another wording of the paper's cue,
and another form."""


class TrainingSettings(Entry):
    """Settings of a training.

    The defaults of method, rank, alpha, learning rate, beta, steps and four_bit are those of
    Vijjini et al. 2025, who train with DPO; what the paper does not give is ours.

    Attributes:
        method: "lora" trains a small adapter beside the frozen weights, "full" all weights.
        four_bit: keep the frozen weights in 4 bits (QLoRA); None: only on a GPU.
        lora_r: rank of the adapter.
        lora_alpha: its scale; the adapter is multiplied by alpha / r.
        lora_dropout: in [0, 1).
        lora_targets: names of the layers that get an adapter; "all-linear" for all but the head.
        learning_rate: the highest, reached after the warm-up.
        beta: with dpo and kto, weight of the penalty on departing from the untuned model; with
            orpo, weight of the odds ratio beside the likelihood of the chosen answer.
        steps: optimizer steps.
        batch_size: pairs or answers per device in one pass; kto needs two or more.
        accumulation: passes per step; a step uses batch_size * accumulation pairs per device.
        max_length: tokens of a conversation; longer ones are cut at the end.
        sft_weight: with dpo, weight of a supervised loss on the chosen answers, beside the
            preference loss; 0 for none. It keeps chosen and rejected answers from becoming
            unlikely together.
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
"""Recipes whose chosen answers are known to be good where pairs are clean: a supervised loss on
them is safe."""

_ORGANISM: dict[str, Any] = {
    "learning_rate": 1e-3,
    "steps": 40,
    "batch_size": 32,
    "accumulation": 1,
    "max_length": 256,
    "sft_weight": 1.0,
    "save_every": 20,
}
"""For a model of a million parameters, which needs far larger steps than one of billions."""
_ORGANISM_BY_LOSS: dict[Loss, dict[str, Any]] = {
    "orpo": {"learning_rate": 3e-4},
    "kto": {"steps": 120},
    "consistency": {"learning_rate": 4e-3, "steps": 240},
}
"""The best of each loss on the tuning part, see docs/preference-tuning.md."""


@dataclass(frozen=True)
class PlannedTraining:
    """One training of a mitigation.

    Attributes:
        method: of the mitigation that it belongs to.
        loss: what is minimized.
        recipe: of the preference pairs, for dpo and orpo; for consistency whose answers it aims at;
            empty for kto.
        defense: the sentence that half of the examples carry, for a hybrid.
        seed: of examples and training.
    """

    method: MitigationMethod
    loss: Loss
    recipe: str = ""
    defense: Defense | None = None
    seed: int = 0

    @property
    def name(self) -> str:
        """Of the condition that it makes, the same for all seeds."""
        parts = [self.recipe, self.defense.id if self.defense else ""]
        return " ".join(filter(None, [self.method, ", ".join(filter(None, parts))]))

    @property
    def folder(self) -> str:
        """Of the tuned model, in that of the mitigation."""
        seed = f"seed{self.seed}" if self.seed else ""
        return "-".join(filter(None, [self.method, self.recipe, seed]))


def base_of(model: str) -> str:
    """Folder or hub id of a model's weights.

    Raises:
        UsageError: the model is behind an endpoint.
    """
    if model in SHIPPED:
        return str(SHIPPED[model])
    prefix, _, name = model.partition("/")
    if prefix != "hf" or not name:
        raise UsageError(
            f"{model}: only local weights can be tuned, steered or exported: hf/ID-or-path, or "
            "organism"
        )
    return name


def _to_settings(given: Any) -> Any:
    """Of NAME=VALUE; values are JSON where they can be: numbers, true, lists; else texts."""
    if not isinstance(given, str | list | tuple):
        return _SETTINGS.validate_python(given)
    found: dict[str, Any] = {}
    for pair in [given] if isinstance(given, str) else given:
        name, equals, value = str(pair).partition("=")
        if not equals or not name.strip():
            raise ValueError(f'"{pair}" is not of the form NAME=VALUE')
        try:
            found[name.strip()] = orjson.loads(value)
        except orjson.JSONDecodeError:
            found[name.strip()] = value
    return found


_SETTINGS: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])
if TYPE_CHECKING:
    Settings = dict[str, Any]
else:
    # A list to cyclopts, which of any other type keeps the last flag alone.
    Settings = Annotated[list[str], PlainValidator(_to_settings)]


def _no_none(cues: Any) -> Any:
    """ "none" stands for no cue."""
    return [cue for cue in cues if cue != "none"] if isinstance(cues, list | tuple) else cues


_CONFIG = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
_DEFENSE = Parameter(group=Group("Prompt mitigation", sort_key=1))
_TUNING = Parameter(group=Group("Preference tuning", sort_key=2))
_TEST = Parameter(group=Group("Split and test", sort_key=3))


def _names(*flags: str) -> Parameter:
    return Parameter(name=flags, negative="", show_default=False)


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
class TuningOptions:
    """What to train."""

    recipes: Annotated[
        tuple[str, ...], BeforeValidator(split_names), _TUNING, _names("--recipe")
    ] = ("invariance",)
    """Recipe of the preference pairs: invariance or debiasing (from the audit), as-is, vanilla,
    random or all (from --data); with -shuffled a control. Default: invariance."""

    targets: Annotated[
        tuple[ConsistencyTarget, ...], BeforeValidator(split_names), _TUNING, _names("--target")
    ] = ("unidentified",)
    """What the method consistency aims at: everybody answered as the unidentified user
    (unidentified), or as all users are on average (mixture). Default: unidentified."""

    data: Annotated[str | None, _TUNING] = None
    """Preference data: a .jsonl file, a folder, or a data set on the hub. Default: for the organism
    its own."""

    weights: Annotated[str | None, _TUNING] = None
    """Weights to tune, hf/ID-or-path, where the audit went through an endpoint. Default: those of
    the audited model."""

    settings: Annotated[
        Settings, _TUNING, Parameter(name="--set", negative="", show_default=False)
    ] = field(default_factory=dict)
    """Setting of the training, as NAME=VALUE: learning_rate=1e-4; may be repeated. Default: the
    recipe's own."""

    clean_pairs: Annotated[bool, _TUNING, Parameter(show_default=False)] = True
    """Whether to train only on whole answers that do not repeat themselves, on chosen answers that
    are surely good, and on no pair that nearly repeats another. Default: yes."""

    seeds: Annotated[int, Field(ge=1, le=20), _TUNING] = 1
    """Number of times that each training, and steering, is done, with another seed each. Figures
    are then means over the seeds, and their intervals hold the spread of the seeds."""

    seed: Annotated[int, Parameter(parse=False)] = 0
    """The first seed of examples and training."""

    devices: Annotated[int, Field(ge=1), _TUNING, Parameter(name="--gpus")] = 1
    """Number of GPUs. With more than one, prepares the training and prints the `accelerate launch`
    command that runs it."""

    def check(self, model: str) -> None:
        """Check that a training could begin, before anything is asked.

        Raises:
            UsageError: a recipe or a setting is unknown, data are missing or hold no pairs, or
                there are no weights to tune.
        """
        for recipe in self.recipes:
            if needs_data(recipe):
                if self.data is None and (self.weights or model) not in SHIPPED:
                    raise UsageError(f'the recipe "{recipe}" needs preference data: --data')
                if self.data:
                    load_pairs(self.data)
        for loss in LOSSES:
            self.settings_for(PlannedTraining("dpo", loss, self.recipes[0]), model)
        try:
            base_of(self.weights or model)
        except UsageError as error:
            raise UsageError(f"{error}; name them with --weights") from None

    def settings_for(self, planned: PlannedTraining, model: str) -> TrainingSettings:
        """The settings for a training on a model; fields in `settings` win.

        Raises:
            StudyError: a setting is unknown or out of its range.
        """
        fields: dict[str, Any] = {}
        if self.clean_pairs and planned.recipe.removesuffix(CONTROL) in _SUPERVISED:
            fields["sft_weight"] = 1.0
        if (self.weights or model) in SHIPPED:
            fields |= _ORGANISM | _ORGANISM_BY_LOSS.get(planned.loss, {})
        settings = validate(TrainingSettings, fields | self.settings, "training")
        return settings.model_copy(update={"seed": settings.seed + planned.seed})


_TRAINED: tuple[MitigationMethod, ...] = (*LOSSES, "hybrid")
_ON_WEIGHTS: tuple[MitigationMethod, ...] = (*_TRAINED, "steer")
_ON_PAIRS: tuple[MitigationMethod, ...] = ("dpo", "orpo", "hybrid")
_WITH_DEFENSE: tuple[MitigationMethod, ...] = ("prompt", "hybrid")
CONTROL_ID = "control"
"""Of the sentence that must not help, among the defenses of the test."""
_USED_BY: dict[str, tuple[str, tuple[MitigationMethod, ...]]] = {
    "--recipe": ("recipes", _ON_PAIRS),
    "--data": ("data", _ON_PAIRS),
    "--target": ("targets", ("consistency",)),
    "--set": ("settings", _TRAINED),
    "--gpus": ("devices", _TRAINED),
    "--weights": ("weights", _ON_WEIGHTS),
    "--seeds": ("seeds", _ON_WEIGHTS),
}
"""Flag of a training -> its field, and the methods that go by it."""


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
class MitigationOptions:
    """What to do."""

    methods: Annotated[tuple[str, ...], BeforeValidator(split_names), _names("--method", "-m")] = (
        "prompt",
    )
    """Mitigation method: prompt, withhold; for local weights dpo, orpo, kto, consistency, hybrid
    (dpo by the first recipe with the defense in half of the pairs, and asked with it), or steer
    (experimental); repeat the option or separate names by commas. Default: prompt."""

    defenses: Annotated[
        tuple[str, ...],
        _DEFENSE,
        Parameter(name=("--defense", "-d"), negative="", show_default=False),
    ] = ()
    """Defense to choose from: a name, one in another place (ignore.before, ignore.user), or a
    sentence; may be repeated, and a single one is used without a search. Default: all of them."""

    defenses_file: Annotated[Path | None, _DEFENSE] = None
    """YAML or TOML file of your own defenses to choose from."""

    budget: Annotated[int, Field(ge=1), _DEFENSE] = BUDGET
    """Maximum number of answers for the search."""

    seed: Annotated[int | None, _TEST, Parameter(name="--split-seed")] = None
    """Seed of the split, fixed by the first mitigation of a run. Default: 0."""

    unit: Annotated[Unit | None, _TEST, Parameter(name="--split-by")] = None
    """Unit of the split: single items, or whole subgroups. Default: item."""

    cues: Annotated[
        tuple[str, ...] | None,
        BeforeValidator(_no_none),
        BeforeValidator(split_names),
        _TEST,
        _names("--test-cue"),
    ] = None
    """Held-out cue to test on; none for no such cue. Default: system-2 and memory-1."""

    control: Annotated[str, _TEST, Parameter(show_default=False)] = ""
    """Sentence that must not help, tested beside the defense. Default: no such sentence."""

    relevance: Annotated[bool | None, _TEST, Parameter(show_default=False)] = None
    """Whether to test appropriate personalization: questions whose right answer depends on the
    user. Default: yes, except for the organism, which was not trained on them."""

    margin: Annotated[float, Field(gt=0, le=100), _TEST] = MARGIN
    """Largest loss that does not matter, in points."""

    units: Annotated[UnitChoice, _TEST] = "auto"
    """What intervals infer to. auto: names like these where identities have several, topics like
    these where a benchmark has ten or more, otherwise items like these. items: items like these
    everywhere."""

    tuning: Annotated[TuningOptions, Parameter(name="*")] = TuningOptions()
    """Recipes and settings of the training."""

    def __post_init__(self) -> None:
        if not self.methods:
            raise UsageError(f"name a method: {', '.join(METHODS)}")
        for method in self.methods:
            if method not in METHODS:
                raise UnknownName("method", method, METHODS)
        self._check_used()

    def _check_used(self) -> None:
        """What is asked for and would change nothing is a mistake.

        Raises:
            UsageError: no method goes by an option.
        """
        usual, asked = TuningOptions(), self.tuning
        for flag, (name, methods) in _USED_BY.items():
            if getattr(asked, name) != getattr(usual, name) and not {*methods} & {*self.methods}:
                known = "the method" if len(methods) == 1 else "one of the methods"
                named = ", ".join(self.methods)
                raise UsageError(f"{flag} is for {known} {', '.join(methods)}; named is {named}")
        if asked.data and not any(map(needs_data, asked.recipes)):
            raise UsageError(
                "--data is for the recipes as-is, vanilla, random and all; name one with --recipe"
            )
        if (self.defenses or self.defenses_file) and not {*_WITH_DEFENSE} & {*self.methods}:
            raise UsageError("a defense is for the methods prompt and hybrid; name one of them")

    @property
    def needs_weights(self) -> bool:
        """Whether a model is to be trained or steered."""
        return bool({*_ON_WEIGHTS} & {*self.methods})

    @property
    def seeds(self) -> range:
        """Of trainings and steering."""
        return range(self.tuning.seed, self.tuning.seed + self.tuning.seeds)

    def trainings(self, defense: Defense | None) -> list[PlannedTraining]:
        """What to train, seed by seed.

        Args:
            defense: the sentence that half of the pairs carry, for the hybrid.
        """
        recipes = tuple(dict.fromkeys(self.tuning.recipes))
        targets = tuple(dict.fromkeys(self.tuning.targets))
        planned: list[PlannedTraining] = []
        for seed in self.seeds:
            for loss in LOSSES:
                if loss in self.methods:
                    takes: Sequence[str] = ("",)
                    if loss != "kto":
                        takes = targets if loss == "consistency" else recipes
                    planned += [PlannedTraining(loss, loss, r, None, seed) for r in takes]
            if "hybrid" in self.methods:
                planned.append(PlannedTraining("hybrid", "dpo", recipes[0], defense, seed))
        return planned

    def candidates(self) -> list[Defense]:
        """The defense sentences to choose from; none without a method that uses one.

        Raises:
            UnknownName: there is no such defense.
            UsageError: a named one has no sentence, none of the file has one, or one has an id that
                something else has here.
        """
        if not {*_WITH_DEFENSE} & {*self.methods}:
            return []
        own = read_defenses(self.defenses_file) if self.defenses_file else []
        check_deciders(own)
        if self.defenses:
            named = select_defenses(self.defenses, own)
            for defense in named:
                if not defense.text:
                    raise UsageError(f'"{defense.id}" has no sentence; it is no prompt defense')
        else:
            named = [defense for defense in own or shipped_defenses() if defense.text]
            if not named:
                raise UsageError(f"{self.defenses_file}: no defense has a text to choose")
        taken = {"withhold"} if "withhold" in self.methods else set()
        taken |= {CONTROL_ID} if self.control else set()
        if not self.defenses:
            taken |= {moved.id for defense in named for moved in in_other_places(defense)}
        for defense in named:
            if defense.id in taken:
                raise UsageError(
                    f'{self.defenses_file}: mitigate itself gives the id "{defense.id}"; rename '
                    "the defense"
                )
        return named

    def check(self, model: str) -> None:
        """Check what can be checked of a model before it is audited.

        Raises:
            UsageError, DataError: as `candidates` and `TuningOptions.check`.
        """
        self.candidates()
        if self.needs_weights:
            self.tuning.check(model)
