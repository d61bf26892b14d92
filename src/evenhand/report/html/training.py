"""Curves of the trainings behind the sides of a comparison, where there are any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from evenhand.analysis.compare import ArmComparison
from evenhand.report.charts import curve_chart
from evenhand.report.html.parts import Columns, Figure, Section, clean

_CURVES = {
    "loss": "loss",
    "accuracy": "share of preferences right",
    "margin": "margin of the chosen answer",
}


def training_section(found: ArmComparison) -> Section | None:
    """Loss, preferences right and margin of every side that was tuned; None where none was."""
    sentences, figures = [], []
    for n, model in enumerate(dict.fromkeys(side.model for side in found.sides)):
        training = read_training(model)
        if training is None:
            continue
        steps = training["steps"]
        first, last = steps[0], steps[-1]
        recipe = clean(str(training.get("recipe", "")), 60)
        sentences.append(
            f"{clean(model, 80)} was tuned on {training.get('pairs', 0):,} pairs ({recipe}) in "
            f"{len(steps):,} steps: the loss went from {first['loss']:.3f} to {last['loss']:.3f}, "
            f"preferences right from {first['accuracy']:.0%} to {last['accuracy']:.0%}."
        )
        figures += _figures(n, clean(model, 80), steps)
    if not figures:
        return None
    return Section("training", "The training", sentences, [Columns(figures)])


def read_training(model: str) -> dict[str, Any] | None:
    """What a training left beside the weights of a model; None where it is not to be read."""
    if not model.startswith("hf/"):
        return None
    try:
        found = orjson.loads(
            (Path(model.removeprefix("hf/")) / "training" / "training.json").read_bytes()
        )
    except (OSError, ValueError):
        return None
    steps = found.get("steps") if isinstance(found, dict) else None
    if not isinstance(steps, list) or not isinstance(found.get("pairs", 0), int):
        return None
    known = [step for step in steps if _is_step(step)]
    return found | {"steps": known} if known else None


def _is_step(step: Any) -> bool:
    names = ("step", *_CURVES)
    return isinstance(step, dict) and all(isinstance(step.get(n), int | float) for n in names)


def _figures(number: int, model: str, steps: Sequence[Mapping[str, float]]) -> list[Figure]:
    where = [step["step"] for step in steps]
    figures = []
    for name, title in _CURVES.items():
        values = [step[name] for step in steps]
        figures.append(
            Figure(
                f"training-{number}-{name}",
                f"{title.capitalize()}: {model}",
                f"From {values[0]:.3f} at step {where[0]:g} to {values[-1]:.3f} at step "
                f"{where[-1]:g}; least {min(values):.3f}, most {max(values):.3f}.",
                curve_chart(where, values, title),
            )
        )
    return figures
