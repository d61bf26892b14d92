"""The objects of transformers, TRL, PEFT and bitsandbytes for a training; progress; checkpoints."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from evenhand.engines import adapter
from evenhand.errors import TrainingError
from evenhand.mitigate.job import has_gpu, in_four_bits
from evenhand.mitigate.options import Loss, TrainingSettings
from evenhand.text import one_line

_SUREST = -1e-6
"""Mean log-probability of a token above which ORPO takes a model to be as certain as can be."""


def in_bfloat16(training: TrainingSettings) -> bool:
    """Whether to compute in bfloat16."""
    return has_gpu() if training.precision == "auto" else training.precision == "bfloat16"


def lora_config(training: TrainingSettings) -> Any:
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


def quantization_config(training: TrainingSettings) -> Any:
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


def trainer_config(loss: Loss, training: TrainingSettings, checkpoints: Path) -> Any:
    """The trainer's settings: TRL's config of the loss, or `transformers.TrainingArguments`."""
    if loss == "consistency":
        from transformers import TrainingArguments

        return TrainingArguments(remove_unused_columns=False, **_arguments(training, checkpoints))
    preference: dict[str, Any] = {
        **_arguments(training, checkpoints),
        "beta": training.beta,
        "max_length": training.max_length,
        "model_init_kwargs": {"dtype": _dtype(training), "trust_remote_code": False},
    }
    if loss == "orpo":
        os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
        from trl.experimental.orpo import ORPOConfig

        # It has no argument for these two, and would spread the model over all devices.
        preference["model_init_kwargs"] |= {
            "device_map": None,
            "quantization_config": quantization_config(training),
        }
        return ORPOConfig(**preference)
    preference["precompute_ref_log_probs"] = True
    if loss == "kto":
        from trl import KTOConfig

        return KTOConfig(**preference)
    from trl import DPOConfig

    supervised = training.sft_weight > 0
    return DPOConfig(
        loss_type=["sigmoid", "sft"] if supervised else ["sigmoid"],
        loss_weights=[1.0, training.sft_weight] if supervised else None,
        **preference,
    )


def _arguments(training: TrainingSettings, checkpoints: Path) -> dict[str, Any]:
    """What every trainer is told."""
    import torch

    gpu = has_gpu()
    checkpointing = training.gradient_checkpointing
    return {
        "output_dir": str(checkpoints),
        "max_steps": training.steps,
        "per_device_train_batch_size": training.batch_size,
        "gradient_accumulation_steps": training.accumulation,
        "learning_rate": training.learning_rate,
        "lr_scheduler_type": training.schedule,
        "warmup_steps": round(training.warmup * training.steps),
        "max_grad_norm": training.max_grad_norm,
        "gradient_checkpointing": gpu if checkpointing is None else checkpointing,
        "bf16": in_bfloat16(training),
        "use_cpu": not gpu and not torch.backends.mps.is_available(),
        "dataloader_pin_memory": gpu,
        "seed": training.seed,
        "save_steps": training.save_every,
        "save_total_limit": 2,
        # Every step, and NaN as it is: a bad step must be seen before it is saved.
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "report_to": "none",
    }


def _dtype(training: TrainingSettings) -> str:
    """Of the weights. Those that are trained stay in float32: bfloat16 would round steps away."""
    return "bfloat16" if training.method == "lora" and in_bfloat16(training) else "float32"


def load_tokenizer(base: str) -> Any:
    """The tokenizer of a base model.

    Raises:
        TrainingError: there is no such model, or it is an adapter itself.
    """
    import transformers

    if adapter.is_adapter(base):
        raise TrainingError(f"{base} is an adapter or steering, not a whole model of its own")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(base, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise TrainingError(f"cannot load {base}: {one_line(str(error))}") from None
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def make_trainer(
    loss: Loss,
    base: str,
    training: TrainingSettings,
    dataset: Any,
    tokenizer: Any,
    checkpoints: Path,
    watch: Any,
) -> Any:
    """The trainer of a loss; reference log-probabilities are computed on the way, or found.

    Args:
        base: folder or hub id of the model to tune.
        dataset: rows of `render`.
        tokenizer: of `load_tokenizer`.
        checkpoints: folder for them.
        watch: a callback of transformers.

    Raises:
        TrainingError: the model cannot be loaded, or the batch is too small for the loss.
    """
    from transformers import PrinterCallback

    if loss == "kto" and training.batch_size < 2:
        raise TrainingError("kto compares the answers of a batch; take batch_size 2 or more")
    shared = {
        "args": trainer_config(loss, training, checkpoints),
        "train_dataset": dataset,
        "processing_class": tokenizer,
        "callbacks": [watch],
    }
    try:
        if loss == "consistency":
            trainer = _consistency_trainer(base, training, tokenizer, shared)
        else:
            shared |= {"model": base, "peft_config": lora_config(training)}
            trainer = _preference_trainer(loss, training, shared)
    except (ImportError, ValueError) as error:  # of weights, of layers that are not there
        raise TrainingError(f"cannot train {base}: {one_line(str(error))}") from None
    trainer.remove_callback(PrinterCallback)
    return trainer


def _preference_trainer(loss: Loss, training: TrainingSettings, shared: dict[str, Any]) -> Any:
    if loss == "orpo":
        return _orpo_trainer()(**shared)
    from trl import DPOTrainer, KTOTrainer

    made = {"dpo": DPOTrainer, "kto": KTOTrainer}[loss]
    return made(quantization_config=quantization_config(training), **shared)


def _orpo_trainer() -> Any:
    """TRL's, whose odds, and so its loss, are no number where a model is certain of an answer."""
    from trl.experimental.orpo import ORPOTrainer

    class BoundedORPOTrainer(ORPOTrainer):  # type: ignore[misc]
        def odds_ratio_loss(self, policy_chosen_logps: Any, policy_rejected_logps: Any) -> Any:
            bounded = (
                logps.float().clamp(max=_SUREST)
                for logps in (policy_chosen_logps, policy_rejected_logps)
            )
            return super().odds_ratio_loss(*bounded)

    return BoundedORPOTrainer


def _consistency_trainer(
    base: str, training: TrainingSettings, tokenizer: Any, shared: dict[str, Any]
) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, set_seed

    from evenhand.mitigate.consistency import Collator, ConsistencyTrainer

    def load() -> Any:
        return AutoModelForCausalLM.from_pretrained(
            base,
            dtype=getattr(torch, _dtype(training)),
            trust_remote_code=False,
            quantization_config=quantization_config(training),
        )

    set_seed(training.seed)  # of the adapter's weights
    model = load()
    adapter = lora_config(training)
    if adapter is not None:
        from peft import get_peft_model, prepare_model_for_kbit_training

        if in_four_bits(training):
            model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
        model = get_peft_model(model, adapter)
        if shared["args"].gradient_checkpointing:
            model.enable_input_require_grads()
    return ConsistencyTrainer(
        model=model,
        frozen=load() if adapter is None else None,
        data_collator=Collator(tokenizer, training.max_length),
        **shared,
    )


_WHOLE = "whole"
"""An empty file that is written into a checkpoint when all else of it is on disk."""


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """One step of the optimizer.

    Attributes:
        step: from 1.
        loss: what is minimized, mean over the step's examples.
        learning_rate: after it.
        grad_norm: length of the gradient before it was cut.
        accuracy: with dpo, share of the step's pairs, in [0, 1], whose chosen answer the model now
            favors over the rejected one more than the untuned model did; with orpo, whose chosen
            answer is likelier than the rejected one.
        margin: by how much, times beta; mean. With kto, of good answers over bad ones.
        chosen, rejected: log-probability of the answers, mean.
        agreement: with consistency, share of tokens, in [0, 1], that are the likeliest for both
            users.
    """

    step: int
    loss: float
    learning_rate: float
    grad_norm: float
    accuracy: float | None = None
    margin: float | None = None
    chosen: float | None = None
    rejected: float | None = None
    agreement: float | None = None

    def success(self) -> str:
        """The share that tells how far the training is, in words; empty for kto, which has none."""
        if self.accuracy is not None:
            return f"preferences right {self.accuracy:.0%}"
        return "" if self.agreement is None else f"tokens alike {self.agreement:.0%}"


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
        parts = [
            f"step {self.step.step}/{self.steps}",
            f"loss {self.step.loss:.3f}",
            self.step.success(),
            f"{minutes}:{seconds:02d} left",
        ]
        return "  ".join(filter(None, parts))


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
    steps = (asdict(_step(int(logs["step"]), logs)) for logs in log_history if "loss" in logs)
    return [{name: value for name, value in s.items() if value is not None} for s in steps]


_LOGGED = {
    "accuracy": "rewards/accuracies",
    "margin": "rewards/margins",
    "chosen": "logps/chosen",
    "rejected": "logps/rejected",
    "agreement": "agreement",
}


def _step(step: int, logs: dict[str, Any]) -> TrainingStep:
    return TrainingStep(
        step=step,
        loss=float(logs["loss"]),
        learning_rate=float(logs["learning_rate"]),
        grad_norm=float(logs["grad_norm"]),
        **{ours: float(logs[name]) for ours, name in _LOGGED.items() if name in logs},
    )
