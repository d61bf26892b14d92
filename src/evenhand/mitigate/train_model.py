"""The real objects of TRL, PEFT and bitsandbytes for a training, from its settings."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from evenhand.errors import MissingExtra, TrainingError
from evenhand.mitigate.train_settings import Training
from evenhand.text import one_line

ADAPTER_FILE = "adapter_config.json"


def check_packages(training: Training) -> None:
    """Whether all packages are there.

    Raises:
        MissingExtra: trl or peft is not installed, or bitsandbytes for 4-bit weights.
    """
    if not all(find_spec(name) for name in ("torch", "transformers", "datasets", "peft", "trl")):
        raise MissingExtra("trainings", "train")
    if in_four_bits(training) and not find_spec("bitsandbytes"):
        raise MissingExtra("4-bit weights", "qlora")


def has_gpu() -> bool:
    """Whether torch sees a CUDA device."""
    import torch

    return bool(torch.cuda.is_available())


def in_four_bits(training: Training) -> bool:
    """Whether the frozen weights are kept in 4 bits.

    Raises:
        TrainingError: all weights are to be trained, which 4-bit weights cannot be.
    """
    if training.method == "full":
        if training.four_bit:
            raise TrainingError("4-bit weights cannot be trained themselves; take method lora")
        return False
    return has_gpu() if training.four_bit is None else training.four_bit


def in_bfloat16(training: Training) -> bool:
    """Whether to compute in bfloat16."""
    return has_gpu() if training.precision == "auto" else training.precision == "bfloat16"


def lora_config(training: Training) -> Any:
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


def quantization_config(training: Training) -> Any:
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


def dpo_config(training: Training, checkpoints: Path) -> Any:
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
        model_init_kwargs={"dtype": _dtype(training)},
        seed=training.seed,
        save_steps=training.save_every,
        save_total_limit=2,
        # Every step, and NaN as it is: a bad step must be seen before it is saved.
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
    )


def _dtype(training: Training) -> str:
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
        tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    except (OSError, ValueError) as error:
        raise TrainingError(f"cannot load {base}: {one_line(str(error))}") from None
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def make_trainer(
    base: str, training: Training, dataset: Any, tokenizer: Any, checkpoints: Path, watch: Any
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
