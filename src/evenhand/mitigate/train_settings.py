"""How to tune: all that can be set, the paper's values, and those for the organism."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from evenhand.study.entry import Entry, validate

Method = Literal["lora", "full"]
Precision = Literal["auto", "float32", "bfloat16"]
Schedule = Literal["cosine", "linear", "constant"]


class Training(Entry):
    """Settings of a training with DPO.

    The defaults of method, rank, alpha, learning rate, beta, steps and four_bit are those of
    Vijjini et al. 2025; what the paper does not give is ours.

    Attributes:
        method: "lora" trains a small adapter beside the frozen weights, "full" all weights.
        four_bit: keep the frozen weights in 4 bits (QLoRA); None: where there is a GPU.
        lora_r: rank of the adapter.
        lora_alpha: its scale; the adapter counts alpha / r times.
        lora_dropout: in [0, 1).
        lora_targets: names of the layers that get an adapter; "all-linear" for all but the head.
        learning_rate: the highest, reached after the warm-up.
        beta: how dear it is to depart from the untuned model.
        steps: of the optimizer.
        batch_size: pairs per device in one pass.
        accumulation: passes per step; a step sees batch_size * accumulation pairs per device.
        max_length: tokens of a conversation; what is longer is cut at its end.
        sft_weight: weight of a supervised loss on the chosen answers, beside the preference loss;
            0 for none. It keeps answers from getting unlikely together.
        schedule: of the learning rate after the warm-up.
        warmup: share of the steps in which the learning rate rises.
        max_grad_norm: longer gradients are cut to this.
        seed: of adapter weights and order of pairs.
        save_every: steps from one checkpoint to the next.
        precision: to compute in; "auto" is bfloat16 on a GPU, float32 elsewhere.
        gradient_checkpointing: less memory for a fifth more time; None: where there is a GPU.
    """

    method: Method = "lora"
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
    schedule: Schedule = "cosine"
    warmup: float = Field(default=0.1, ge=0, le=1)
    max_grad_norm: float = Field(default=1.0, gt=0)
    seed: int = Field(default=0, ge=0, lt=2**31)
    save_every: int = Field(default=25, ge=1)
    precision: Precision = "auto"
    gradient_checkpointing: bool | None = None

    @property
    def pairs_needed(self) -> int:
        """Pairs that one device sees if it sees none twice."""
        return self.steps * self.batch_size * self.accumulation


SUPERVISED: dict[str, dict[str, Any]] = {
    "invariance": {"sft_weight": 1.0},
    "debiasing": {"sft_weight": 1.0},
}
"""Recipes whose chosen answers are known to be good: a supervised loss on them is safe."""

ORGANISM: dict[str, Any] = {
    "learning_rate": 4e-3,
    "steps": 40,
    "batch_size": 32,
    "accumulation": 1,
    "max_length": 256,
    "sft_weight": 1.0,
    "save_every": 20,
}
"""For a model of a million parameters, which needs far larger steps than one of billions."""


def training_for(recipe: str, model: str, given: dict[str, Any]) -> Training:
    """The settings for a recipe on a model; what is given wins.

    Raises:
        StudyError: a setting is unknown or out of its range.
    """
    small = ORGANISM if model == "organism" else {}
    return validate(Training, {**SUPERVISED.get(recipe, {}), **small, **given}, "training")
