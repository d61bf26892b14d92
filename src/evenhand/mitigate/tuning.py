"""From a recipe to a tuned model: pairs, training, card."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from evenhand.errors import NotFinished, UsageError
from evenhand.mitigate.pairs import Pair, read_pairs, world_pairs
from evenhand.mitigate.recipes import make_pairs, needs_data
from evenhand.mitigate.results import TrainingResult
from evenhand.mitigate.split import TuningPart
from evenhand.mitigate.train_settings import Training, training_for

CONTROL = "-shuffled"
"""Ends the name of a recipe whose preferences are swapped for a random half: it must not work."""


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What to train.

    Attributes:
        recipes: of `evenhand.mitigate.recipes`; "invariance-shuffled" is a control.
        data: preference data for the recipes that need some: a file, a folder, an id on the hub;
            None for the organism's own, where the organism is tuned.
        weights: of the audited model, where the audit went through an endpoint: "hf/...".
        settings: fields of `Training` that are not to be the recipe's own.
        seed: of the pairs.
        devices: on how many GPUs; with more than one the training is prepared and the command
            that runs it is told.
    """

    recipes: Sequence[str] = ("invariance",)
    data: str | None = None
    weights: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    devices: int = 1

    def check(self, model: str, wanted: bool) -> None:
        """See that a training could begin, before anything is asked.

        Raises:
            UsageError: a recipe or a setting is unknown, data are missing or no pairs, or there
                are no weights to tune.
        """
        if not wanted:
            return
        from evenhand.mitigate.train_job import base_of

        for recipe in self.recipes:
            missing = self.data is None and (self.weights or model) != "organism"
            if needs_data(_plain(recipe)) and missing:
                raise UsageError(f'the recipe "{recipe}" needs preference data: --data')
            if needs_data(_plain(recipe)) and self.data and self.data.endswith(".jsonl"):
                read_pairs(Path(self.data))
            self.training(recipe, model)
        try:
            base_of(self.weights or model)
        except UsageError as error:
            raise UsageError(f"{error}; name them with --weights") from None

    def training(self, recipe: str, model: str) -> Training:
        """The settings for a recipe.

        Raises:
            StudyError: a setting is unknown or out of its range.
        """
        return training_for(_plain(recipe), self.weights or model, dict(self.settings))


def tune(
    recipe: str,
    part: TuningPart,
    model: str,
    out: Path,
    tuning: Tuning,
    on_line: Callable[[str], None],
) -> TrainingResult:
    """Train a model by a recipe, or what is left of the training.

    Args:
        part: the tuning part of the audit.
        out: folder of the mitigation; the model goes to its folder dpo-RECIPE.
        on_line: called with where the training stands.

    Raises:
        PairsError: the recipe finds no pairs, or the data are invalid.
        TrainingError: the training was stopped; the same call goes on.
        NotFinished: the training is to be run on several devices.
    """
    from evenhand.mitigate.train import launch_command, train
    from evenhand.mitigate.train_job import Files, prepare

    training = tuning.training(recipe, model)
    folder = out / f"dpo-{recipe}"
    on_line(f"pairs for {recipe}")
    pairs = make_pairs(
        _plain(recipe),
        part,
        _data(tuning) if needs_data(_plain(recipe)) else (),
        seed=tuning.seed,
        most=training.pairs_needed * tuning.devices,
        shuffled=recipe.endswith(CONTROL),
    )
    job = prepare(tuning.weights or model, pairs, folder, training, recipe=recipe)
    if tuning.devices > 1 and not Files(folder).finished():
        command = launch_command(folder, tuning.devices)
        raise NotFinished(f"{recipe}: now run the training: {command}")
    trained = train(folder, lambda progress: on_line(f"{recipe}: {progress.line()}"))
    return TrainingResult(
        name=f"dpo {recipe}",
        recipe=recipe,
        model=f"hf/{folder}",
        pairs=job.pairs,
        steps=training.steps,
        seconds=float(orjson.loads(Files(folder).curves.read_bytes())["seconds"]),
        resumed_from=trained.resumed_from,
        example=job.example,
    )


def _data(tuning: Tuning) -> list[Pair]:
    if tuning.data is None:
        return world_pairs()
    from evenhand.mitigate.pairs_hub import load_pairs

    return load_pairs(tuning.data).pairs


def _plain(recipe: str) -> str:
    return recipe.removesuffix(CONTROL)
