"""Does one direction carry the bias? python -m scripts.check_direction organism organism-2

On some questions, "answer wrongly" is the mean state of the last prompt token where a user is
answered wrongly, less the mean where the same question is answered rightly for others. On other
questions, the last prompt token's component along it is set to what it is where answers are right:
in one layer, in every layer, and in every layer for a direction of each axis. PB is estimated again
and compared on the same questions. Where all errors hang on one direction, PB vanishes with it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evenhand.organism import HARDER, SHIPPED
from evenhand.organism.world import BENCHMARKS, draw, topics
from evenhand.scorers import Unscored, score
from evenhand.stats import compare_audits
from evenhand.study.cue import NO_DEFENSE, Condition, shipped_cues
from evenhand.study.identity import shipped_identities
from organism.answer import Organism
from organism.harder import SUITE

PEOPLE = [user for user in shipped_identities() if user.kind == "identity"]
AXES = ("safety", "utility")
OVER_REFUSAL = ("demo_over_refusal", "demo2_jargon")
_BATCH = 256


@dataclass(frozen=True)
class Fixed:
    """A subspace of a layer's states, and where in it the states of right answers lie.

    Attributes:
        basis: (directions, width), orthonormal.
        right: (directions,) mean component of the prompts that are answered rightly.
    """

    basis: torch.Tensor
    right: torch.Tensor

    def apply(self, states: torch.Tensor) -> torch.Tensor:
        """(prompts, width) states with the component set."""
        return states + (self.right - states @ self.basis.T) @ self.basis


class Watched(Organism):
    """An organism whose last prompt token can be read, and held fixed in a subspace, by layer."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.layers = len(self._model.model.layers)
        self.fixed: dict[int, Fixed] = {}
        self._kept: list[list[torch.Tensor]] = []
        for depth, layer in enumerate(self._model.model.layers):
            layer.register_forward_hook(self._hook(depth))

    def _hook(self, depth: int) -> Callable[..., Any]:
        def at_layer(_module: Any, _given: Any, output: Any) -> Any:
            hidden = output[0] if isinstance(output, tuple) else output
            if hidden.shape[1] > 1:  # the prompt; afterwards one token of the reply at a time
                if self._kept:
                    self._kept[depth].append(hidden[:, -1].clone())
                if depth in self.fixed:
                    hidden[:, -1] = self.fixed[depth].apply(hidden[:, -1])
            return output

        return at_layer

    def rendered(self, items: Sequence[Any]) -> list[str]:
        """The prompts of all users, item after item within a user."""
        cue = shipped_cues()[0]
        return [
            self._tokenizer.apply_chat_template(
                Condition(user, cue, NO_DEFENSE).messages(item.prompt),
                tokenize=False,
                add_generation_prompt=True,
            )
            for user in PEOPLE
            for item in items
        ]

    def scores(
        self, prompts: Sequence[str], items: Sequence[Any], *, keep: bool = False
    ) -> tuple[Any, list[Any]]:
        """Scores (users, items), NaN where none, and the states (users, items, width) by layer."""
        order = sorted(range(len(prompts)), key=lambda k: len(prompts[k]))
        self._kept = [[] for _ in range(self.layers)] if keep else []
        found = np.full(len(prompts), np.nan)
        for first in range(0, len(order), _BATCH):
            batch = order[first : first + _BATCH]
            for k, reply in zip(batch, self._batch([prompts[k] for k in batch]), strict=True):
                value = score(reply, items[k % len(items)])
                if not isinstance(value, Unscored):
                    found[k] = float(value)
        shape = (len(PEOPLE), len(items))
        back = np.argsort(order)
        states = [torch.cat(parts).numpy()[back].reshape(*shape, -1) for parts in self._kept]
        self._kept = []
        return found.reshape(shape), states


def wrong_direction(scores: Any, states: Any, items: Sequence[Any]) -> Any:
    """(width,) from right to wrong within questions, every benchmark with the same weight."""
    total = np.zeros(states.shape[-1])
    for name in dict.fromkeys(item.benchmark for item in items):
        own = np.zeros_like(total)
        for k in [k for k, item in enumerate(items) if item.benchmark == name]:
            wrong, right = scores[:, k] == 0, scores[:, k] == 1
            if wrong.any() and right.any():
                own += states[wrong, k].mean(axis=0) - states[right, k].mean(axis=0)
        total += own / (np.linalg.norm(own) or 1.0)
    return total


def subspace(scores: Any, states: Any, parts: Sequence[Sequence[int]], items: Any) -> Fixed:
    """The subspace of the wrong directions of some parts of the items, each a list of columns."""
    directions = [
        wrong_direction(scores[:, part], states[:, part], [items[k] for k in part])
        for part in parts
    ]
    basis = np.linalg.qr(np.array(directions).T)[0].T
    right = states[scores == 1].mean(axis=0) @ basis.T
    return Fixed(torch.tensor(basis).float(), torch.tensor(right).float())


def by_axis(scores: Any, items: Sequence[Any]) -> dict[str, dict[str, Any]]:
    """The scores by axis and benchmark."""
    found: dict[str, dict[str, Any]] = {axis: {} for axis in AXES}
    for name in dict.fromkeys(item.benchmark for item in items):
        columns = [k for k, item in enumerate(items) if item.benchmark == name]
        found[items[columns[0]].axis][name] = scores[:, columns]
    return found


def drawn(suite: Sequence[str], size: int, rng: np.random.Generator) -> list[Any]:
    """Test questions of each benchmark, every topic as often: biases lie on arcs of topics."""
    found = []
    for name in suite:
        every = rng.permutation(np.array(topics(name)))
        for k in range(size):
            found.append(draw(name, rng, "test", k, str(every[k % len(every)])).item)
    return found


def compare(name: str, suite: Sequence[str], size: int, finding: int) -> None:
    """Print PB as it is and with what is fixed, with the change on the same questions."""
    rng = np.random.default_rng(5)
    first, second = drawn(suite, finding, rng), drawn(suite, size, rng)
    model = Watched(SHIPPED[name])
    scores, states = model.scores(model.rendered(first), first, keep=True)
    prompts = model.rendered(second)
    before = model.scores(prompts, second)[0]
    everything = [list(range(len(first)))]
    axes = [[k for k, item in enumerate(first) if item.axis == axis] for axis in AXES]
    one, each = (
        {layer: subspace(scores, states[layer], parts, first) for layer in range(model.layers)}
        for parts in (everything, axes)
    )
    plans: dict[str, dict[int, Fixed]] = {"as it is": {}}
    plans |= {f"layer {layer + 1}": {layer: one[layer]} for layer in one}
    plans |= {"every layer": one, "every layer, a direction of each axis": each}
    print("| model | fixed | PB | 95% interval | change of PB | 95% interval | safety | utility |")
    print("|---|---|---|---|---|---|---|---|")
    for where, fixed in plans.items():
        model.fixed = fixed
        after = model.scores(prompts, second)[0] if fixed else before
        print(f"| {name} | {where} | {summary(before, after, second)} |", flush=True)


def summary(before: Any, after: Any, items: Sequence[Any]) -> str:
    """PB, its change and the means of the axes, as cells of a table."""
    old, new = by_axis(before, items), by_axis(after, items)
    found = compare_audits(
        before_safety=old["safety"],
        before_utility=old["utility"],
        after_safety=new["safety"],
        after_utility=new["utility"],
    ).bias
    low, high = found.after.interval
    change = ["", ""]
    if before is not after:
        change = [f"{found.difference:+.1f}", "{:+.1f} to {:+.1f}".format(*found.interval)]
    means = [
        f"{100 * np.mean([np.nanmean(values) for values in new[axis].values()]):.1f}"
        for axis in AXES
    ]
    return " | ".join([f"{found.after.estimate:.1f}", f"{low:.1f} to {high:.1f}", *change, *means])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="+", choices=tuple(SHIPPED))
    parser.add_argument("--items", type=int, default=40, help="of each benchmark, to test on")
    parser.add_argument("--finding", type=int, default=24, help="of each, to find directions on")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.model:
        suite = SUITE if SHIPPED[name] == HARDER else BENCHMARKS
        wanted = [benchmark for benchmark in suite if benchmark not in OVER_REFUSAL]
        compare(name, wanted, options.items, options.finding)


if __name__ == "__main__":
    main()
