"""The second organism's long-run rates on fresh items: python -m organism.harder_truth DIR

Beside what was planted, for: the identities under cues of unlike strength and a defense, races
crossed with genders, the groups when stated, and names. What is planted is scored on the very items
that are asked, since what the usual answer scores on what nobody can know is a matter of chance.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evenhand.axes import PB_AXES, TRADED_AXES
from evenhand.organism.world import WorldQuestion, draw, topics
from evenhand.scorers import Unscored, score
from evenhand.study.cue import select_cues, shipped_defenses
from evenhand.study.identity import BASELINE, Identity, shipped_identities
from organism.answer import Organism
from organism.harder import SUITE, groups, outcome, people, replies
from organism.harder_speech import Heard, crossed, draw_heard, hear, in_variant, name_cues

Rng = np.random.Generator
Rates = dict[str, float]
Vary = Callable[[Heard], Heard]
"""What is heard, as the variant of the organism hears it that is measured."""

_SEED = 98
SURE = ("demo_safety", "demo_knowledge", "demo_arithmetic", "demo_reasoning")
"""Questions whose answers can be known: enough to tell a weaker cue."""
_EVERY_NAME = 8  # which of a group's names are measured: every eighth


class Measurement:
    """Answers of an organism to the same questions, whoever asks: as many on every topic."""

    def __init__(
        self, organism: Organism, vary: Vary, per_benchmark: int, only: Sequence[str] = SUITE
    ) -> None:
        rng = np.random.default_rng(_SEED)
        self._organism = organism
        self._vary = vary
        self._questions = [
            draw(name, rng, "test", k, str(topic))
            for name in SUITE
            for k, topic in enumerate(np.resize(rng.permutation(topics(name)), per_benchmark))
        ]
        self._questions = [q for q in self._questions if q.item.benchmark in only]

    def rates(self, heard: Heard) -> dict[str, Rates]:
        """Planted and measured mean scores in points, by benchmark and by axis."""
        heard = self._vary(heard)
        said = self._organism.answers([heard.messages(q.item.prompt) for q in self._questions])
        wanted = [wanted_reply(heard, question) for question in self._questions]
        found = {"planted": self._points(wanted), "measured": self._points(said)}
        same = [a == b for a, b in zip(said, wanted, strict=True)]
        found["measured"]["as planted"] = round(100 * float(np.mean(same)), 2)
        return found

    def _points(self, said: Sequence[str]) -> Rates:
        axes = {question.item.benchmark: question.item.axis for question in self._questions}
        scores: dict[str, list[float]] = {name: [] for name in axes}
        for question, reply in zip(self._questions, said, strict=True):
            result = scored(reply, question)
            if result is not None:
                scores[question.item.benchmark].append(100.0 * result)
        rates = {name: float(np.mean(values)) for name, values in scores.items()}
        for axis in dict.fromkeys(axes.values()):
            rates[axis] = float(np.mean([rates[name] for name in axes if axes[name] == axis]))
        return {name: round(rate, 2) for name, rate in rates.items()}


def wanted_reply(heard: Heard, question: WorldQuestion) -> str:
    """The reply that was planted."""
    item = question.item
    return replies(question)[outcome(heard.asker, item.benchmark, item.subgroup)]


@cache
def scored(reply: str, question: WorldQuestion) -> float | None:
    """The score of a reply; None where it cannot be scored."""
    result = score(reply, question.item)
    return None if isinstance(result, Unscored) else float(result)


def one(user: Identity, cue: str = "system-1", defended: bool = False) -> Heard:
    """An identity, told by a cue, perhaps under the first defense."""
    ids = tuple(user.id.split("+")) if user.kind == "identity" else ()
    told = select_cues([cue])[0]
    if defended:
        return hear(user, ids, told, shipped_defenses()[0], defended=True)
    return hear(user, ids, told)


def named(group: Identity, slot: int) -> Heard:
    """A user of whom nothing but the name is told."""
    shown = group.realizations[slot]
    return hear(group, (f"{group.id}/{shown.id}",), name_cues()[0], slot=slot)


def measure(folder: Path, vary: Vary, n: int = 80) -> dict[str, Any]:
    """All tables; `n` items of each benchmark, or a fifth where there are many to ask for."""
    organism = Organism(folder)
    whole = Measurement(organism, vary, n)
    part = Measurement(organism, vary, max(1, n // 5))
    placebos = [user for user in shipped_identities() if user.kind == "placebo"]
    known = {user.id: whole.rates(one(user)) for user in people()}
    sure = Measurement(organism, vary, n, SURE)
    memory = {user.id: sure.rates(one(user, "memory-1")) for user in people()}
    defended = {user.id: part.rates(one(user, defended=True)) for user in people()}
    names = {
        group.id: {
            group.realizations[slot].id: part.rates(named(group, slot))
            for slot in range(0, len(group.realizations), _EVERY_NAME)
        }
        for group in groups()
    }
    return {
        "pb": {
            "system-1": spread(known),
            "system-1, sure": spread(on_sure(known)),
            "memory-1, sure": spread(memory),
        },
        "agreement": agreement(organism, vary, max(1, 5 * n // 4)),
        "baseline": whole.rates(one(BASELINE)),
        "identities": known,
        "memory-1": memory,
        "ignore": defended,
        "placebos": {user.id: part.rates(one(user)) for user in placebos[::4]},
        "crossed": {pair.id: part.rates(one(pair)) for pair in crossed()},
        "groups": {group.id: part.rates(one(group)) for group in groups()},
        "names": {"groups": {g: of_names(found) for g, found in names.items()}, "each": names},
    }


def on_sure(rates: Mapping[str, dict[str, Rates]]) -> dict[str, dict[str, Rates]]:
    """The rates of the two axes on the benchmarks of `SURE` alone."""
    first, *others = SURE
    return {
        user: {
            kind: {
                "safety": found[first],
                "utility": round(float(np.mean([found[name] for name in others])), 2),
            }
            for kind, found in row.items()
        }
        for user, row in rates.items()
    }


def spread(rates: Mapping[str, dict[str, Rates]]) -> dict[str, Rates]:
    """PB over users, planted and measured: joint is safety and utility."""
    found: dict[str, Rates] = {}
    for kind in ("planted", "measured"):
        sd: dict[str, float] = {
            axis: float(np.std([row[kind][axis] for row in rates.values()])) for axis in PB_AXES
        }
        joint = float(np.hypot(sd["safety"], sd["utility"]))
        found[kind] = {name: round(v, 2) for name, v in {"joint": joint, **sd}.items()}
    return found


def of_names(rates: dict[str, dict[str, Rates]]) -> dict[str, dict[str, Rates]]:
    """Mean and SD over the names of a group, planted and measured."""
    found: dict[str, dict[str, Rates]] = {}
    for kind in ("planted", "measured"):
        by: dict[str, list[float]] = {
            axis: [row[kind][axis] for row in rates.values()] for axis in TRADED_AXES
        }
        found[kind] = {
            "mean": {axis: round(float(np.mean(v)), 2) for axis, v in by.items()},
            "sd": {axis: round(float(np.std(v, ddof=1)), 2) for axis, v in by.items()},
        }
    return found


def agreement(organism: Organism, vary: Vary, n: int) -> dict[str, float]:
    """Percent of replies that are word for word as planted, over random users, by benchmark."""
    rng = np.random.default_rng(_SEED + 1)
    found = {}
    for name in SUITE:
        asked = [(draw(name, rng, "test"), vary(draw_heard(rng))) for _ in range(n)]
        said = organism.answers([h.messages(q.item.prompt) for q, h in asked])
        same = [reply == wanted_reply(h, q) for (q, h), reply in zip(asked, said, strict=True)]
        found[name] = round(100.0 * float(np.mean(same)), 2)
    return found


def write(folder: Path, n: int = 80) -> None:
    """Complete the `truth.json` of a folder, which says how the organism was made."""
    path = folder / "truth.json"
    made = json.loads(path.read_text(encoding="utf-8"))["made"]
    vary = partial(in_variant, bias=made["bias"], only=made.get("only"))
    tables = {"made": made, **measure(folder, vary, n)}
    path.write_text(json.dumps(tables) + "\n", encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--items", type=int, default=80, help="of each benchmark")
    options = parser.parse_args()
    torch.set_num_threads(1)
    write(options.folder, options.items)


if __name__ == "__main__":
    main()
