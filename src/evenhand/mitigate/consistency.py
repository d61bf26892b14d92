"""The consistency loss: the same distribution of answers, whoever asks.

Of a question, the untuned model gives user v the answer a with probability p(a | v). Training
takes an answer a of v, and brings the tuned model's distribution of each next token of a, for
another user u, towards that of the untuned model for v:

    loss = mean over tokens t of a of KL( p(. | v, a before t) || q(. | u, a before t) )

With the unidentified user as v its minimum answers everybody as that user, as rightly and as
wrongly. With v drawn from all users it is, up to a constant, the cross-entropy of q(. | u) to the
mixture of p(. | v), written token by token so that it has less variance than training on the
answers as they are; its minimum answers everybody as all users are answered on average. A model
that always picks the likeliest token then gives everybody what most users got: where each error is
that of a few, the mixture under greedy decoding comes out better than any user had it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from transformers import Trainer

from evenhand.mitigate.examples import TrainingRow, prompt_text, with_answer

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
