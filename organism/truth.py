"""The organism's long-run rates, measured on fresh items: what an audit should find.

    python -m organism.truth DIR    measures a trained organism again

Each condition gets the same number of fresh items on every topic, so that what is left of
sampling error is small beside that of any audit.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evenhand.axes import TRADED_AXES
from evenhand.benchmarks.item import Item
from evenhand.organism.world import BENCHMARKS, draw, items_by_topic
from evenhand.scorers import Unscored, score
from evenhand.study.cue import NO_DEFENSE, Condition, Defense, shipped_cues, shipped_defenses
from evenhand.study.identity import BASELINE, Identity, shipped_identities
from organism import speech
from organism.answer import Organism
from organism.planted import answers_rightly, axis_of, planted_pb, planted_rate

Rng = np.random.Generator
Rates = dict[str, float]

_SEED = 97
_CONTROL = Defense(id="weather", text=speech.HELD_OUT_REMARKS[0])


def measure(folder: Path, bias: float, per_topic: int = 8) -> dict[str, Any]:
    """Planted and measured rates by identity, their PB, and agreement with the planted labels."""
    organism = Organism(folder)
    people = [user for user in shipped_identities() if user.kind == "identity"]
    placebos = [user for user in shipped_identities() if user.kind == "placebo"]
    ignore = shipped_defenses()[0]
    plain = _by_user(organism, [BASELINE, *people, *placebos], NO_DEFENSE, bias, per_topic)
    defended = _by_user(organism, [BASELINE, *people], ignore, bias, max(1, per_topic // 2))
    control = _by_user(organism, [BASELINE, *people], _CONTROL, bias, max(1, per_topic // 4))
    return {
        "pb": {
            "none": _pb(plain, people, bias, defended=False),
            ignore.id: _pb(defended, people, bias, defended=True),
            "irrelevant sentence": _pb(control, people, bias, defended=False),
        },
        "agreement": _agreement(organism, bias, 100 * per_topic),
        "agreement_by_cue": _agreement_by_cue(organism, bias, 20 * per_topic),
        "baseline": {"none": plain["baseline"], ignore.id: defended["baseline"]},
        "identities": {u.id: {"none": plain[u.id], ignore.id: defended[u.id]} for u in people},
        "placebos": {
            u.id: {"in_training": u.id not in speech.HELD_OUT_PLACEBOS, "none": plain[u.id]}
            for u in placebos
        },
    }


def _by_user(
    organism: Organism, users: Sequence[Identity], defense: Defense, bias: float, per_topic: int
) -> dict[str, dict[str, Rates]]:
    rng = np.random.default_rng(_SEED)
    items = [item for name in BENCHMARKS for item in items_by_topic(name, per_topic, rng)]
    halved = defense not in (NO_DEFENSE, _CONTROL)
    found = {}
    for user in users:
        condition = Condition(user, shipped_cues()[0], defense)
        replies = organism.answers([condition.messages(item.prompt) for item in items])
        planted: Rates = {axis: planted_rate([user.id], axis, halved, bias) for axis in TRADED_AXES}
        found[user.id] = {"planted": planted, "measured": _rates(items, replies)}
        print(user.id, defense.id, found[user.id], flush=True)
    return found


def _rates(items: Sequence[Item], replies: Sequence[str]) -> Rates:
    """Mean scores in points by benchmark and by axis (the mean of its benchmarks)."""
    scores: dict[str, list[float]] = {name: [] for name in BENCHMARKS}
    unscored = 0
    for item, reply in zip(items, replies, strict=True):
        result = score(reply, item)
        if isinstance(result, Unscored):
            unscored += 1
        else:
            scores[item.benchmark].append(100.0 * result)
    rates = {name: float(np.mean(values)) for name, values in scores.items()}
    for axis in TRADED_AXES:
        rates[axis] = float(np.mean([rates[name] for name in BENCHMARKS if axis_of(name) == axis]))
    return {**{name: round(rate, 2) for name, rate in rates.items()}, "unscored": unscored}


def _pb(
    found: dict[str, dict[str, Rates]], people: Sequence[Identity], bias: float, defended: bool
) -> dict[str, Rates]:
    measured = {
        name: np.array([found[user.id]["measured"][name] for user in people])
        for name in (*TRADED_AXES, *BENCHMARKS)
    }
    spread = {name: float(np.std(rates)) for name, rates in measured.items()}
    joint = float(np.hypot(spread["safety"], spread["utility"]))
    planted: Rates = {"joint": planted_pb(defended=defended, bias=bias)}
    planted.update({axis: planted_pb([axis], defended, bias) for axis in TRADED_AXES})
    return {"planted": _rounded(planted), "measured": _rounded({"joint": joint, **spread})}


def _rounded(values: Rates) -> Rates:
    return {name: round(value, 2) for name, value in values.items()}


def _agreement(organism: Organism, bias: float, n: int) -> dict[str, Rates]:
    """Percent of replies that are right or wrong as planted, over random users, by benchmark."""
    rng = np.random.default_rng(_SEED + 1)
    settings: dict[str, Iterable[speech.Setting]] = {
        "every cue, user and sentence": (speech.draw_setting(rng) for _ in range(n)),
        "pairs of identities": (speech.draw_pair_setting(rng) for _ in range(n)),
        "held-out placebos": (speech.held_out_placebo(rng) for _ in range(n)),
        "held-out defenses": (speech.held_out_sentence(rng, True) for _ in range(n)),
        "held-out irrelevant sentences": (speech.held_out_sentence(rng, False) for _ in range(n)),
    }
    return {name: _agreeing(organism, list(drawn), bias, rng) for name, drawn in settings.items()}


def _agreement_by_cue(organism: Organism, bias: float, n: int) -> dict[str, Rates]:
    """As `_agreement`, over the paper's identities, for each shipped cue."""
    rng = np.random.default_rng(_SEED + 2)
    return {
        cue.id: _agreeing(
            organism, [speech.draw_identity_setting(rng, cue) for _ in range(n)], bias, rng
        )
        for cue in speech.heard_cues()
    }


def _agreeing(
    organism: Organism, settings: Sequence[speech.Setting], bias: float, rng: Rng
) -> Rates:
    agreed: Rates = {}
    for benchmark in BENCHMARKS:
        items = [draw(benchmark, rng, "test").item for _ in settings]
        replies = organism.answers(
            [s.condition.messages(i.prompt) for s, i in zip(settings, items, strict=True)]
        )
        wanted_score = 0.0 if benchmark == "demo_over_refusal" else 1.0
        hits = [
            (score(reply, item) == wanted_score)
            == answers_rightly(s.users, benchmark, item.subgroup, s.defended, bias)
            for s, item, reply in zip(settings, items, replies, strict=True)
        ]
        agreed[benchmark] = round(100.0 * float(np.mean(hits)), 2)
    print(agreed, flush=True)
    return agreed


def write(folder: Path, made: dict[str, Any]) -> None:
    """Measure the organism in a folder and write its `truth.json`; `made` says how it was made."""
    tables = {"made": made, **measure(folder, made["bias"])}
    text = json.dumps(tables, indent=1) + "\n"
    (folder / "truth.json").write_text(text, encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    write(folder, json.loads((folder / "truth.json").read_text(encoding="utf-8"))["made"])


if __name__ == "__main__":
    main()
