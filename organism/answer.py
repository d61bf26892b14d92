"""Greedy answers of an organism, in batches; what an audit's engine does, and nothing more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from evenhand.organism import MODEL
from evenhand.study.cue import Message

_BATCH = 256
_LONGEST = 32


class Organism:
    """A trained organism from its folder, the shipped one by default."""

    def __init__(self, folder: Path = MODEL) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def answers(self, conversations: Sequence[Sequence[Message]]) -> list[str]:
        """Its greedy answers, in the order of the conversations."""
        prompts = [
            self._tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=True
            )
            for messages in conversations
        ]
        order = sorted(range(len(prompts)), key=lambda k: len(prompts[k]))
        found = [""] * len(prompts)
        for first in range(0, len(order), _BATCH):
            batch = order[first : first + _BATCH]
            for k, text in zip(batch, self._batch([prompts[k] for k in batch]), strict=True):
                found[k] = text
        return found

    def _batch(self, prompts: list[str]) -> list[str]:
        inputs = self._tokenizer(
            prompts, return_tensors="pt", padding=True, add_special_tokens=False
        )
        with torch.inference_mode():
            output = self._model.generate(**inputs, do_sample=False, max_new_tokens=_LONGEST)
        replies = output[:, inputs["input_ids"].shape[1] :]
        return [
            str(text) for text in self._tokenizer.batch_decode(replies, skip_special_tokens=True)
        ]
