"""Watching a training: progress, curves, numbers that are none, and checkpoints that are whole."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from evenhand.errors import TrainingError

_WHOLE = "whole"
"""An empty file that is written into a checkpoint when all else of it is on disk."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the optimizer.

    Attributes:
        step: from 1.
        loss: preference loss plus the weighted supervised one, mean over the step's pairs.
        accuracy: share of the step's pairs, in [0, 1], whose chosen answer the model now favors
            over the rejected one more than the untuned model did.
        margin: by how much, times beta; mean.
        chosen, rejected: log-probability of the answers, mean.
        learning_rate: after it.
        grad_norm: length of the gradient before it was cut.
    """

    step: int
    loss: float
    accuracy: float
    margin: float
    chosen: float
    rejected: float
    learning_rate: float
    grad_norm: float


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """Where a training stands.

    Attributes:
        step: the last step.
        steps: of the whole training.
        seconds_left: as far as the pace so far tells.
    """

    step: Step
    steps: int
    seconds_left: float

    def line(self) -> str:
        """One line for a terminal."""
        minutes, seconds = divmod(round(self.seconds_left), 60)
        return (
            f"step {self.step.step}/{self.steps}  loss {self.step.loss:.3f}  "
            f"preferences right {self.step.accuracy:.0%}  {minutes}:{seconds:02d} left"
        )


class Watch(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Callback of the trainer.

    Args:
        on_progress: called after every step, in the main process.
    """

    def __init__(self, on_progress: Callable[[TrainingProgress], None]) -> None:
        self._on_progress = on_progress
        self._begun = (0, 0.0)

    def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Start the clock: a resumed training's pace is that of its own steps."""
        self._begun = (state.global_step, time.monotonic())

    def on_log(self, _args: Any, state: Any, _control: Any, logs: dict[str, Any], **_: Any) -> None:
        """Stop at the first number that is none, which comes before its step can be saved.

        Raises:
            TrainingError: loss or gradient is NaN or infinite.
        """
        if "loss" not in logs:
            return
        step = _step(state.global_step, logs)
        if not (math.isfinite(step.loss) and math.isfinite(step.grad_norm)):
            raise TrainingError(
                f"the training broke down at step {step.step}: its loss or gradient is no number; "
                "take a lower learning rate or precision float32"
            )
        if state.is_world_process_zero:
            first, started = self._begun
            pace = (time.monotonic() - started) / max(1, step.step - first)
            left = pace * (state.max_steps - step.step)
            self._on_progress(TrainingProgress(step, state.max_steps, left))

    def on_save(self, args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Mark the checkpoint as whole."""
        if state.is_world_process_zero:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / _WHOLE).touch()


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is whole, if there is any; others are left alone."""
    whole = [path.parent for path in folder.glob(f"checkpoint-*/{_WHOLE}")]
    return max(whole, key=checkpoint_step, default=None)


def checkpoint_step(checkpoint: Path) -> int:
    """The step after which it was written."""
    return int(checkpoint.name.rpartition("-")[2])


def remove_broken(folder: Path) -> None:
    """Remove checkpoints that were cut off while they were written."""
    for path in folder.glob("checkpoint-*"):
        if not (path / _WHOLE).exists():
            shutil.rmtree(path, ignore_errors=True)


def curve(log_history: Iterable[dict[str, Any]]) -> list[dict[str, float]]:
    """The steps of a trainer's log, for `training.json`."""
    return [asdict(_step(int(logs["step"]), logs)) for logs in log_history if "loss" in logs]


def _step(step: int, logs: dict[str, Any]) -> Step:
    return Step(
        step=step,
        loss=float(logs["loss"]),
        accuracy=float(logs["rewards/accuracies"]),
        margin=float(logs["rewards/margins"]),
        chosen=float(logs["logps/chosen"]),
        rejected=float(logs["logps/rejected"]),
        learning_rate=float(logs["learning_rate"]),
        grad_norm=float(logs["grad_norm"]),
    )
