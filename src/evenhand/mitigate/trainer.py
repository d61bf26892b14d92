"""The objects of transformers, TRL, PEFT and bitsandbytes for a training; and a loss of our own.

The consistency loss asks for the same distribution of answers, whoever asks. Of a question, the
untuned model gives user v the answer a with probability p(a | v). Training takes an answer a of v,
and brings the tuned model's distribution of each next token of a, for another user u, towards that
of the untuned model for v:

    loss = mean over tokens t of a of KL( p(. | v, a before t) || q(. | u, a before t) )

With the unidentified user as v its minimum answers everybody as that user, as rightly and as
wrongly. With v drawn from all users it is, up to a constant, the cross-entropy of q(. | u) to the
mixture of p(. | v), written token by token so that it has less variance than training on the
answers as they are; its minimum answers everybody as all users are answered on average. A model
that always picks the likeliest token then gives everybody what most users got: where each error is
that of a few, the mixture under greedy decoding comes out better than any user had it.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback

from evenhand.engines.weights import is_adapter, why_not_loaded
from evenhand.errors import TrainingError
from evenhand.mitigate.examples import TrainingRow, prompt_text, with_answer
from evenhand.mitigate.job import has_gpu, in_four_bits
from evenhand.mitigate.options import Loss, TrainingSettings
from evenhand.text import one_line

# The consistency loss

Encoded = dict[str, list[int]]
_SIDES = {"student": "prompt", "teacher": "teacher"}
"""Names of a batch's sides, and the columns of a row that hold their prompts."""


class ConsistencyTrainer(Trainer):  # type: ignore[misc]  # transformers has no types
    """Trains a model towards its own answers to other users.

    Args:
        frozen: the untuned model; None where the model is an adapter, which is switched off for it.
        rest: as for `transformers.Trainer`; rows are those of `SharedAnswer`.
    """

    def __init__(self, *, frozen: Any = None, **rest: Any) -> None:
        super().__init__(**rest)
        self._frozen = None if frozen is None else frozen.to(self.args.device).eval()
        self._metrics: dict[str, list[float]] = defaultdict(list)
        # The loss is a mean over the batch already, so accumulated passes are averaged.
        self.model_accepts_loss_kwargs = False

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any
    ) -> torch.Tensor | tuple[torch.Tensor, Any]:
        """The loss of a batch of `Collator`."""
        with torch.no_grad(), self._untuned(model) as frozen:
            target = of_answers(frozen, inputs, "teacher")
        found = of_answers(model, inputs, "student")
        alike = (found.argmax(-1) == target.argmax(-1)).float().mean()
        self._metrics["agreement"].append(float(alike))
        loss = divergence(target, found)
        return (loss, found) if return_outputs else loss

    def log(self, logs: dict[str, float], *args: Any, **named: Any) -> None:
        """Add the share of tokens on which both models agree."""
        if "loss" in logs:
            logs |= {name: sum(each) / len(each) for name, each in self._metrics.items()}
            self._metrics.clear()
        super().log(logs, *args, **named)

    def _untuned(self, model: Any) -> Any:
        if self._frozen is not None:
            return nullcontext(self._frozen)
        return _Disabled(self.accelerator.unwrap_model(model))


class _Disabled:
    """A model without its adapter, and without dropout."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._off = model.disable_adapter()

    def __enter__(self) -> Any:
        self._off.__enter__()
        self._model.eval()
        return self._model

    def __exit__(self, *error: Any) -> None:
        self._model.train()
        self._off.__exit__(*error)


def divergence(target: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """KL(target || found), mean over tokens; both hold log-probabilities (tokens, vocabulary)."""
    each = torch.nn.functional.kl_div(found, target, log_target=True, reduction="none")
    return each.sum(-1).mean()


def of_answers(model: Any, inputs: Any, side: str) -> torch.Tensor:
    """Log-probabilities before each token of the answers: (tokens of all answers, vocabulary)."""
    logits = model(
        input_ids=inputs[f"{side}_ids"], attention_mask=inputs[f"{side}_mask"], use_cache=False
    ).logits
    before = logits[:, :-1][inputs[f"{side}_answer"][:, 1:]]
    return torch.log_softmax(before.float(), dim=-1)


class Collator:
    """Rows of `SharedAnswer` as padded batches.

    Args:
        tokenizer: of the model.
        most: tokens of a conversation; an answer is cut at its end, the same for both sides.
    """

    def __init__(self, tokenizer: Any, most: int) -> None:
        self._tokenizer = tokenizer
        self._most = most

    def __call__(self, rows: Sequence[TrainingRow]) -> dict[str, torch.Tensor]:
        prompts = {side: [self._prompt(row[name]) for row in rows] for side, name in _SIDES.items()}
        answers = []
        for n, row in enumerate(rows):
            room = self._most - max(len(texts[n]) for texts in prompts.values())
            answers.append(self._answer(row)[: max(0, room)])
        batch: dict[str, torch.Tensor] = {}
        for side, encoded in prompts.items():
            batch |= self._padded(side, encoded, answers)
        return batch

    def _prompt(self, prompt: Any) -> list[int]:
        text = prompt_text(self._tokenizer, prompt)
        return self._encode(text, special=isinstance(prompt, str))

    def _answer(self, row: TrainingRow) -> list[int]:
        if isinstance(row["completion"], str):
            ids = self._encode(row["completion"], special=False)
            return [*ids, self._tokenizer.eos_token_id]
        asked = prompt_text(self._tokenizer, row["prompt"])
        whole = with_answer(self._tokenizer, row["prompt"], row["completion"][0]["content"])
        return self._encode(whole[len(asked) :], special=False)

    def _encode(self, text: str, *, special: bool) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=special)["input_ids"])

    def _padded(
        self, side: str, prompts: Sequence[list[int]], answers: Sequence[list[int]]
    ) -> dict[str, torch.Tensor]:
        rows = [(p, a) for p, a in zip(prompts, answers, strict=True)]
        width = max(len(p) + len(a) for p, a in rows)

        def column(fill: int, of: Callable[[list[int], list[int]], list[int]]) -> torch.Tensor:
            padded = [of(p, a) + [fill] * (width - len(p) - len(a)) for p, a in rows]
            return torch.tensor(padded)

        return {
            f"{side}_ids": column(self._tokenizer.pad_token_id, lambda p, a: p + a),
            f"{side}_mask": column(0, lambda p, a: [1] * (len(p) + len(a))),
            f"{side}_answer": column(0, lambda p, a: [0] * len(p) + [1] * len(a)).bool(),
        }


# Objects of the libraries

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

    if is_adapter(base):
        raise TrainingError(f"{base} is an adapter or steering, not a whole model of its own")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(base, trust_remote_code=False)
    except Exception as error:  # a folder may hold anything, and each of its parsers has errors
        raise TrainingError(f"cannot load {base}: {why_not_loaded(error, base)}") from None
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
    from transformers import AutoModelForCausalLM, set_seed

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
