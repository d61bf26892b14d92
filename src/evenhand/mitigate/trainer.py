"""The objects of TRL, PEFT and bitsandbytes for a training, its progress and its checkpoints."""

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
from evenhand.mitigate.job import has_gpu, in_four_bits
from evenhand.mitigate.options import DPOSettings
from evenhand.text import one_line

ADAPTER_FILE = "adapter_config.json"


def in_bfloat16(training: DPOSettings) -> bool:
    """Whether to compute in bfloat16."""
    return has_gpu() if training.precision == "auto" else training.precision == "bfloat16"


def lora_config(training: DPOSettings) -> Any:
    """The adapter, a `peft.LoraConfig`; None for full training."""
    if training.method == "full":
        return None
    from peft import LoraConfig

    targets = list(training.lora_targets)
    return LoraConfig(
        r=training.lora_r,
        lora_alpha=training.lora_alpha,
        lora_dropout=training.lora_dropout,
        target_modules=targets[0] if targets == ["all-linear"] else targets,
        task_type="CAUSAL_LM",
    )


def quantization_config(training: DPOSettings) -> Any:
    """A `transformers.BitsAndBytesConfig` for QLoRA (NF4, double quantization); None without."""
    if not in_four_bits(training):
        return None
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if in_bfloat16(training) else torch.float32,
    )


def dpo_config(training: DPOSettings, checkpoints: Path) -> Any:
    """The trainer's settings, a `trl.DPOConfig`."""
    import torch
    from trl import DPOConfig

    gpu = has_gpu()
    checkpointing = training.gradient_checkpointing
    supervised = training.sft_weight > 0
    return DPOConfig(
        output_dir=str(checkpoints),
        max_steps=training.steps,
        per_device_train_batch_size=training.batch_size,
        gradient_accumulation_steps=training.accumulation,
        learning_rate=training.learning_rate,
        lr_scheduler_type=training.schedule,
        warmup_steps=round(training.warmup * training.steps),
        max_grad_norm=training.max_grad_norm,
        beta=training.beta,
        loss_type=["sigmoid", "sft"] if supervised else ["sigmoid"],
        loss_weights=[1.0, training.sft_weight] if supervised else None,
        max_length=training.max_length,
        precompute_ref_log_probs=True,
        gradient_checkpointing=gpu if checkpointing is None else checkpointing,
        bf16=in_bfloat16(training),
        use_cpu=not gpu and not torch.backends.mps.is_available(),
        dataloader_pin_memory=gpu,
        model_init_kwargs={"dtype": _dtype(training), "trust_remote_code": False},
        seed=training.seed,
        save_steps=training.save_every,
        save_total_limit=2,
        # Every step, and NaN as it is: a bad step must be seen before it is saved.
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
    )


def _dtype(training: DPOSettings) -> str:
    """Of the weights. Those that are trained stay in float32: bfloat16 would round steps away."""
    return "bfloat16" if training.method == "lora" and in_bfloat16(training) else "float32"


def load_tokenizer(base: str) -> Any:
    """The tokenizer of a base model.

    Raises:
        TrainingError: there is no such model, or it is an adapter itself.
    """
    import transformers

    if (Path(base) / ADAPTER_FILE).exists():
        raise TrainingError(f"{base} is an adapter; merge it into its base model first")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(base, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise TrainingError(f"cannot load {base}: {one_line(str(error))}") from None
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def make_trainer(
    base: str, training: DPOSettings, dataset: Any, tokenizer: Any, checkpoints: Path, watch: Any
) -> Any:
    """A `trl.DPOTrainer`; the reference log-probabilities are computed on the way, or found.

    Args:
        base: folder or hub id of the model to tune.
        dataset: rows of `render`.
        tokenizer: of `load_tokenizer`.
        checkpoints: folder for them.
        watch: a callback of transformers.

    Raises:
        TrainingError: the model cannot be loaded.
    """
    from transformers import PrinterCallback
    from trl import DPOTrainer

    try:
        trainer = DPOTrainer(
            model=base,
            args=dpo_config(training, checkpoints),
            train_dataset=dataset,
            processing_class=tokenizer,
            quantization_config=quantization_config(training),
            peft_config=lora_config(training),
            callbacks=[watch],
        )
    except (ImportError, ValueError) as error:  # of weights, of layers that are not there
        raise TrainingError(f"cannot train {base}: {one_line(str(error))}") from None
    trainer.remove_callback(PrinterCallback)
    return trainer


_WHOLE = "whole"
"""An empty file that is written into a checkpoint when all else of it is on disk."""


@dataclass(frozen=True, slots=True)
class TrainingStep:
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

    step: TrainingStep
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


def _step(step: int, logs: dict[str, Any]) -> TrainingStep:
    return TrainingStep(
        step=step,
        loss=float(logs["loss"]),
        accuracy=float(logs["rewards/accuracies"]),
        margin=float(logs["rewards/margins"]),
        chosen=float(logs["logps/chosen"]),
        rejected=float(logs["logps/rejected"]),
        learning_rate=float(logs["learning_rate"]),
        grad_norm=float(logs["grad_norm"]),
    )
