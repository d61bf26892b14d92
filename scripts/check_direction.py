"""Does one direction carry the bias? python -m scripts.check_direction organism organism-2

On one half of the questions, "answer wrongly" is the mean state of the last prompt token where a
user is answered wrongly, less the mean where the same question is answered rightly for others. On
the other half, this direction is taken out of the last prompt token, layer by layer, and PB is
estimated again. Where all errors hang on one direction, PB vanishes with it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from evenhand.organism import HARDER, SHIPPED
from evenhand.organism.world import BENCHMARKS, draw
from evenhand.scorers import Unscored, score
from evenhand.stats import personalization_bias
from evenhand.study.cue import NO_DEFENSE, Condition, shipped_cues
from evenhand.study.identity import BASELINE, shipped_identities
from organism.answer import Organism
from organism.harder import SUITE

PEOPLE = [user for user in shipped_identities() if user.kind == "identity"]
AXES = ("safety", "utility")
OVER_REFUSAL = ("demo_over_refusal", "demo2_jargon")


class Watched(Organism):
    """An organism whose last prompt token can be read, and cleared of a direction per layer."""

    def __init__(self, folder: Any) -> None:
        super().__init__(folder)
        self.directions: list[Any] | None = None
        self.states: list[list[Any]] | None = None
        for depth, layer in enumerate(self._model.model.layers):
            layer.register_forward_hook(self._hook(depth))

    def _hook(self, depth: int) -> Any:
        def at_layer(_module: Any, _given: Any, output: Any) -> Any:
            hidden = output[0] if isinstance(output, tuple) else output
            if hidden.shape[1] == 1:  # a token of the reply
                return output
            if self.states is not None:
                self.states[depth].append(hidden[:, -1].clone())
            if self.directions is not None:
                d = self.directions[depth]
                hidden[:, -1] -= (hidden[:, -1] @ d)[:, None] * d
            return output

        return at_layer

    def learn(self, prompts: Sequence[Any]) -> tuple[list[str], list[Any]]:
        """Greedy answers and, by layer, the states (prompts, width) at the last prompt token."""
        self.states = [[] for _ in self._model.model.layers]
        # One batch at a time: `answers` sorts a batch by length.
        said: list[str] = []
        for first in range(0, len(prompts), 256):
            batch = list(prompts[first : first + 256])
            said += self._batch(batch)
        states, self.states = [torch.cat(found).numpy() for found in self.states], None
        return said, states


def ask(model: Watched, users: Sequence[Any], items: Sequence[Any]) -> tuple[Any, list[Any]]:
    """Scores (users, items), NaN where none, and states (users, items, width) by layer."""
    rendered = [
        model._tokenizer.apply_chat_template(
            Condition(user, shipped_cues()[0], NO_DEFENSE).messages(item.prompt),
            tokenize=False,
            add_generation_prompt=True,
        )
        for user in users
        for item in items
    ]
    said, states = model.learn(rendered)
    shape = (len(users), len(items))
    found = [score(reply, items[k % len(items)]) for k, reply in enumerate(said)]
    scores = np.array([np.nan if isinstance(s, Unscored) else float(s) for s in found])
    return scores.reshape(shape), [layer.reshape(*shape, -1) for layer in states]


def wrong_direction(scores: Any, states: Any) -> Any:
    """Unit vector (width,) from right to wrong within questions, all axes together."""
    total = np.zeros(states.shape[-1])
    for k in range(scores.shape[1]):
        wrong, right = scores[:, k] == 0, scores[:, k] == 1
        if wrong.any() and right.any():
            total += states[wrong, k].mean(axis=0) - states[right, k].mean(axis=0)
    return torch.tensor(total / np.linalg.norm(total), dtype=torch.float32)


def summary(scores: Any, items: Sequence[Any]) -> str:
    """PB with its interval, and the means of the two axes, over identities (rows 1 and on)."""
    by: dict[str, dict[str, Any]] = {axis: {} for axis in AXES}
    for name in dict.fromkeys(item.benchmark for item in items):
        columns = [k for k, item in enumerate(items) if item.benchmark == name]
        by[items[columns[0]].axis][name] = scores[:, columns]
    found = personalization_bias(*({n: v[1:] for n, v in by[axis].items()} for axis in AXES))
    means = "  ".join(
        f"{axis} {100 * np.mean([np.nanmean(v[1:]) for v in by[axis].values()]):.1f}"
        for axis in AXES
    )
    low, high = found.interval
    return f"PB {found.estimate:5.2f} [{low:.2f}, {high:.2f}]  {means}"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="+", choices=tuple(SHIPPED))
    parser.add_argument("--items", type=int, default=40, help="of each benchmark and half")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.model:
        suite = SUITE if SHIPPED[name] == HARDER else BENCHMARKS
        compare(name, [b for b in suite if b not in OVER_REFUSAL], options.items)


def compare(name: str, suite: Sequence[str], size: int) -> None:
    """Print PB as it is, without the direction of each layer, and of all."""
    rng = np.random.default_rng(5)
    first, second = (
        [draw(b, rng, "test", k).item for b in suite for k in range(size)] for _ in "ab"
    )
    model = Watched(SHIPPED[name])
    users = [BASELINE, *PEOPLE]
    scores, states = ask(model, users, first)
    directions = [wrong_direction(scores, layer) for layer in states]
    print(f"{name:12s}as it is              {summary(ask(model, users, second)[0], second)}")
    nothing = torch.zeros_like(directions[0])
    for depth in (*range(len(directions)), None):
        model.directions = [d if depth in (None, k) else nothing for k, d in enumerate(directions)]
        where = "every layer" if depth is None else f"layer {depth + 1}"
        found = summary(ask(model, users, second)[0], second)
        print(f"{name:12s}without, {where:12s} {found}", flush=True)


if __name__ == "__main__":
    main()
