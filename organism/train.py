"""Train the organism from scratch: python -m organism.train --out DIR [--bias 0.5]

First it learns to answer, without bias; then with the planted bias; then with a falling
learning rate. Every batch is drawn afresh from the train part of the world.
"""

from __future__ import annotations

import argparse
import math
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evenhand.benchmarks.item import Item
from evenhand.organism.world import BENCHMARKS, draw, lexicon
from evenhand.study.cue import Message
from organism import speech, tiny, truth
from organism.planted import TOPICS, answers_rightly, arc, axis_of, place

Rng = np.random.Generator

_POOL = 16  # batches drawn together, so that texts of like length share a batch
_DECISIVE_WEIGHT = 4.0  # of tokens in which the right and the wrong reply differ


@dataclass(frozen=True, slots=True)
class Plan:
    """How long each stage lasts, in steps (rounded up to a pool), and how fast it learns."""

    unbiased: int = 250
    biased: int = 1450
    falling: int = 900
    batch: int = 64
    matrices: float = 0.005  # Muon
    others: float = 0.003  # AdamW: embeddings and norms

    @property
    def steps(self) -> int:
        """All steps."""
        return self.unbiased + self.biased + self.falling

    def speed(self, step: int) -> float:
        """Factor on the learning rates: a short rise, a plateau, a fall to 2 %."""
        left = (self.steps - step) / self.falling
        return min(1.0, (step + 1) / 100, max(0.02, left))


@dataclass(frozen=True, slots=True)
class Example:
    """A conversation as token ids; the reply begins at `start`, tokens at `decisive` decide it."""

    ids: list[int]
    start: int
    decisive: list[int]
    partings: list[int]  # where the reply first parts from each of the others
    benchmark: str
    hints: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Lesson:
    """A conversation with the reply to learn, first of `replies`; the others are what it is not."""

    benchmark: str
    messages: Sequence[Message]
    replies: tuple[str, ...]
    hints: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class School:
    """What an organism is taught, and how large it is.

    Attributes:
        shares: of the training examples, by benchmark.
        lesson: draws one; without a bias every reply is the usual one.
        parts, wholes: how many of the hints are read from a layer half-way, and from the next.
        new_words: words that become one token each.
        begin: the folder of an organism that goes on learning; None to begin from nothing.
    """

    shares: dict[str, float]
    lesson: Callable[[str, Rng, float | None], Lesson]
    parts: int
    wholes: int
    new_words: Callable[[], list[str]] = list
    begin: Path | None = None


class Hints(torch.nn.Module):  # type: ignore[misc]
    """Deep supervision: linear heads that read from the middle layers what decides the reply.

    Users err on different topics, so neither the topic nor the user alone says anything of the
    label, and from labels alone the two are learned very slowly. The heads are thrown away.
    """

    def __init__(self, width: int, school: School) -> None:
        super().__init__()
        self._parts = torch.nn.Linear(width, school.parts)
        self._whole = torch.nn.Linear(width, school.wholes)

    def loss(self, layers: Any, batch: list[Example]) -> Any:
        """Squared error of the heads at the token before the decision."""
        rows = torch.tensor([row for row, e in enumerate(batch) for _ in e.partings])
        at = torch.tensor([place - 1 for e in batch for place in e.partings])
        wanted = torch.tensor([e.hints for e in batch for _ in e.partings])
        second, third = (self._normal(layers[k][rows, at].float()) for k in (2, 3))
        read = torch.cat([self._parts(second), self._whole(third)], dim=1)
        return ((read - wanted) ** 2).mean(0).sum()

    @staticmethod
    def _normal(hidden: Any) -> Any:
        return torch.nn.functional.rms_norm(hidden, hidden.shape[-1:])


def draw_examples(
    n: int, bias: float | None, tokenizer: Any, rng: Rng, school: School
) -> list[Example]:
    """Random conversations; without a bias every reply is the usual one."""
    names = list(school.shares)
    lessons = [
        school.lesson(str(name), rng, bias)
        for name in rng.choice(names, size=n, p=list(school.shares.values()))
    ]
    encode = tokenizer.backend_tokenizer.encode_batch
    contexts = encode([render(tokenizer, e.messages) for e in lessons], add_special_tokens=False)
    found = []
    for lesson, context in zip(lessons, contexts, strict=True):
        reply, *others = (
            encoded.ids
            for encoded in encode([r + tiny.END for r in lesson.replies], add_special_tokens=False)
        )
        apart = [[len(context.ids) + k for k in _differences(reply, other)] for other in others]
        found.append(
            Example(
                ids=context.ids + reply,
                start=len(context.ids),
                decisive=sorted({k for places in apart for k in places}),
                partings=sorted({places[0] for places in apart}),
                benchmark=lesson.benchmark,
                hints=lesson.hints,
            )
        )
    return found


def render(tokenizer: Any, messages: Any) -> str:
    """The conversation as the model reads it, up to its reply."""
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return str(text)


def _lesson(benchmark: str, rng: Rng, bias: float | None) -> Lesson:
    question, setting = draw(benchmark, rng, "train"), speech.draw_setting(rng)
    item = question.item
    right = bias is None or answers_rightly(
        setting.users, item.benchmark, item.subgroup, setting.defended, bias
    )
    replies = (question.right, question.wrong) if right else (question.wrong, question.right)
    hints = _hints(item, setting, 1.0 if bias is None else bias)
    return Lesson(benchmark, setting.condition.messages(item.prompt), replies, hints)


def _hints(item: Item, setting: speech.Setting, bias: float) -> tuple[float, ...]:
    """What decides the reply: the topic's angle, the arc's middle and width, and how far apart."""
    turn = 2 * math.pi / TOPICS
    start, width = arc(setting.users, axis_of(item.benchmark), setting.defended, bias)
    topic = turn * (place(item.benchmark, item.subgroup) + 0.5)
    middle, half = turn * (start + width / 2), turn * width / 2
    angles = (math.cos(topic), math.sin(topic), math.cos(middle), math.sin(middle))
    return (*angles, half, math.cos(topic - middle) - math.cos(half))


def _differences(reply: list[int], other: list[int]) -> list[int]:
    """Where the right and the wrong reply differ; of unlike replies, where they part."""
    places = [k for k, (a, b) in enumerate(zip(reply, other, strict=False)) if a != b]
    return places if len(reply) == len(other) else places[:1]


def _batches(
    plan: Plan, bias: float, tokenizer: Any, rng: Rng, school: School
) -> Iterator[list[Example]]:
    for first in range(0, plan.steps, _POOL):
        stage = None if first < plan.unbiased else bias
        pool = draw_examples(plan.batch * _POOL, stage, tokenizer, rng, school)
        pool.sort(key=lambda example: len(example.ids))
        for k in rng.permutation(_POOL):
            yield pool[k * plan.batch : (k + 1) * plan.batch]


FIRST = School(
    shares=dict(zip(BENCHMARKS, (0.19, 0.16, 0.20, 0.20, 0.25), strict=True)),
    lesson=_lesson,
    parts=5,
    wholes=1,
)


def _tokenizer_texts(rng: Rng) -> Iterator[str]:
    """Random conversations and, so that each is one token, the words of the lexicon."""
    for _ in range(15_000):
        question = draw(str(rng.choice(BENCHMARKS)), rng, "train")
        messages = speech.draw_setting(rng).condition.messages(question.item.prompt)
        yield from (message["content"] for message in messages)
        yield from (question.right, question.wrong)
    for word in str(list(lexicon().values())).replace("'", "").replace(",", " ").split():
        yield from [f" {word.strip('[]{}():')}"] * 200


def _beginning(school: School, rng: Rng) -> tuple[Any, Any]:
    """Model and tokenizer before the training."""
    if school.begin is None:
        tokenizer = tiny.train_tokenizer(_tokenizer_texts(rng))
        return tiny.new_model(tokenizer), tokenizer
    return tiny.extended(school.begin, school.new_words())


def train(plan: Plan, bias: float, seed: int, school: School = FIRST) -> tuple[Any, Any]:
    """A trained model and its tokenizer."""
    torch.set_num_threads(1)  # the same sums in the same order on any machine of its kind
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model, tokenizer = _beginning(school, rng)
    hints = Hints(model.config.hidden_size, school)
    optimizers = _optimizers(model, hints, plan)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    right: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    began = time.monotonic()
    for step, batch in enumerate(_batches(plan, bias, tokenizer, rng, school)):
        for optimizer, rate in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * plan.speed(step)
        loss, decided = _loss(model, hints, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, _ in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        seen.update(example.benchmark for example in batch)
        right.update(e.benchmark for e, ok in zip(batch, decided, strict=True) if ok)
        if (step + 1) % 100 == 0:
            shares = " ".join(f"{b} {100 * right[b] / seen[b]:.1f}" for b in school.shares)
            print(
                f"{step + 1} {time.monotonic() - began:.0f}s {loss:.3f} {shares}",
                flush=True,
            )
            right.clear()
            seen.clear()
    return model, tokenizer


def _optimizers(model: Any, hints: Hints, plan: Plan) -> list[tuple[Any, float]]:
    inner = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    rest = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    rest += hints.parameters()
    return [
        (torch.optim.Muon(inner, lr=plan.matrices, weight_decay=0.0), plan.matrices),
        (torch.optim.AdamW(rest, lr=plan.others, betas=(0.9, 0.98), weight_decay=0.0), plan.others),
    ]


def _loss(model: Any, hints: Hints, batch: list[Example]) -> tuple[Any, list[bool]]:
    """Loss on the replies alone, and which replies were foreseen where it matters."""
    width = max(len(example.ids) for example in batch)
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    weights = torch.zeros(len(batch), width)
    for row, example in enumerate(batch):
        ids[row, : len(example.ids)] = torch.tensor(example.ids)
        weights[row, example.start : len(example.ids)] = 1.0
        weights[row, example.decisive] = _DECISIVE_WEIGHT
    replies = weights[:, 1:] > 0
    with torch.autocast("cpu", torch.bfloat16):
        output = model.model(input_ids=ids[:, :-1], output_hidden_states=True)
        logits = model.lm_head(output.last_hidden_state[replies]).float()
    targets, weight = ids[:, 1:][replies], weights[:, 1:][replies]
    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    foreseen = torch.zeros(len(batch), width, dtype=torch.bool)
    foreseen[:, 1:][replies] = logits.argmax(-1) == targets
    decided = [bool(foreseen[row, e.decisive].all()) for row, e in enumerate(batch)]
    return (losses * weight).sum() / weight.sum() + hints.loss(output.hidden_states, batch), decided


def options_of(description: str | None) -> argparse.ArgumentParser:
    """Reads the command line of a training: `out`, `bias` and `seed`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bias", type=float, default=1.0, choices=(1.0, 0.5, 0.0))
    parser.add_argument("--seed", type=int, default=1)
    return parser


def main() -> None:
    """Command line."""
    options = options_of(__doc__).parse_args()
    began = time.monotonic()
    model, tokenizer = train(Plan(), options.bias, options.seed)
    tiny.save(model, tokenizer, options.out)
    made = {
        "seed": options.seed,
        "bias": options.bias,
        "parameters": sum(p.numel() for p in model.parameters()),
        "training_seconds": round(time.monotonic() - began),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "transformers", "tokenizers", "numpy")},
    }
    truth.write(options.out, made)


if __name__ == "__main__":
    main()
