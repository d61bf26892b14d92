"""What the second organism hears in training: who asks, told how, and what it should say.

As `speech.py` for the first, with names, stated groups, and races crossed with genders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from evenhand.axes import AxisName
from evenhand.organism import MODEL
from evenhand.organism.world import draw, lexicon
from evenhand.study.cue import NO_DEFENSE, Condition, Cue, Defense, Message, profile_cues
from evenhand.study.identity import BASELINE, Identity, intersect
from evenhand.study.realization import Realization
from organism import speech
from organism.harder import Asker, angles, groups, outcome, people, replies
from organism.train import Lesson, School

Rng = np.random.Generator

WEAK = 0.5
"""What a stored memory leaves of an effect; a defense as much."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A framed conversation and who asks in it."""

    condition: Condition
    slot: int
    asker: Asker

    def messages(self, prompt: str) -> Sequence[Message]:
        """The conversation about a prompt."""
        return self.condition.messages(prompt, self.slot)


def hear(
    users: Identity,
    ids: tuple[str, ...],
    cue: Cue,
    defense: Defense = NO_DEFENSE,
    slot: int = 0,
    defended: bool = False,
) -> Heard:
    """Who asks, where a cue and perhaps a defense weaken what that does."""
    weak = (cue.form == "stored memory") + defended
    return Heard(Condition(users, cue, defense), slot, Asker(ids, WEAK**weak))


def name_cues() -> list[Cue]:
    """The three cues that tell a name and nothing else."""
    return [cue for cue in profile_cues() if cue.form == "name"]


def crossed() -> list[Identity]:
    """Every race with every gender, which have effects beyond their sum."""
    of = {c: [u for u in people() if u.category == c] for c in ("race", "gender")}
    return [intersect(race, gender) for race, gender in product(of["race"], of["gender"])]


def in_variant(heard: Heard, bias: float, only: AxisName | None = None) -> Heard:
    """The same as a variant of the organism hears it."""
    return replace(heard, asker=replace(heard.asker, bias=bias, only=only))


def draw_heard(rng: Rng) -> Heard:
    """A random user, cue and further sentence."""
    kind = rng.random()
    defense, defended = NO_DEFENSE, False
    if kind < 0.20:
        defense, defended = Defense(id="drawn", text=speech.draw_defense(rng)), True
    elif kind < 0.30:
        defense = Defense(id="drawn", text=speech.draw_remark(rng))
    user, ids, slot, cue = _draw_user(rng)
    return hear(user, ids, cue, defense, slot, defended)


def _draw_user(rng: Rng) -> tuple[Identity, tuple[str, ...], int, Cue]:
    kind = rng.random()
    cue = speech.draw_cue(rng)
    if kind < 0.38:
        user = people()[rng.integers(len(people()))]
        return user, (user.id,), 0, cue
    if kind < 0.46:
        pairs = crossed()
        pair = pairs[rng.integers(len(pairs))]
        return pair, tuple(pair.id.split("+")), 0, cue
    if kind < 0.70:
        name_cue = _pick_cue(name_cues(), rng)
        group = groups()[rng.integers(len(groups()))]
        slot = int(rng.integers(len(group.realizations)))
        return group, (f"{group.id}/{group.realizations[slot].id}",), slot, name_cue
    if kind < 0.73:
        name = str(lexicon()["names"][rng.integers(len(lexicon()["names"]))])
        shown = (Realization(name, (("name", name),)),)
        stranger = Identity("drawn", "a person", "drawn", "placebo", realizations=shown)
        return stranger, (), 0, _pick_cue(name_cues(), rng)
    if kind < 0.79:
        group = groups()[rng.integers(len(groups()))]
        return group, (group.id,), 0, cue
    if kind < 0.87:
        return BASELINE, (), 0, _pick_cue([cue, cue, *name_cues()], rng)
    user, ids = speech.draw_unplanted(rng) if kind < 0.95 else speech.draw_pair(rng)
    return user, ids, 0, cue


def _pick_cue(cues: Sequence[Cue], rng: Rng) -> Cue:
    return cues[int(rng.integers(len(cues)))]


def lesson(benchmark: str, rng: Rng, bias: float | None, only: AxisName | None = None) -> Lesson:
    """A question, who asks it, and what the organism should say; without a bias, as usual."""
    question = draw(benchmark, rng, "train")
    topic = question.item.subgroup
    heard = in_variant(draw_heard(rng), 1.0 if bias is None else bias, only)
    said = replies(question)
    chosen = 0 if bias is None else outcome(heard.asker, benchmark, topic)
    others = dict.fromkeys(reply for reply in said if reply != said[chosen])
    hints = angles(heard.asker, benchmark, topic)
    return Lesson(benchmark, heard.messages(question.item.prompt), (said[chosen], *others), hints)


def _names() -> list[str]:
    return [shown.id for group in groups() for shown in group.realizations]


SECOND = School(
    shares={
        "demo_safety": 0.16,
        "demo2_codewords": 0.06,
        "demo2_jargon": 0.06,
        "demo_over_refusal": 0.12,
        "demo_knowledge": 0.17,
        "demo_arithmetic": 0.13,
        "demo2_estimates": 0.07,
        "demo_reasoning": 0.16,
        "demo2_rumors": 0.07,
    },
    lesson=lesson,
    parts=6,
    wholes=2,
    new_words=_names,
    begin=MODEL,
)
