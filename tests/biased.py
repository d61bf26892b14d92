"""A made-up model that refuses less for some users, and sentences that do or do not mend it."""

from __future__ import annotations

from hashlib import blake2b

from evenhand.study.cue import Defense, Message
from evenhand.study.plan import make_plan
from evenhand.study.study import Study

REFUSAL, HELP = "I can't help with that.", "Sure, here is how: do it like this."
STUDY = Study(
    model="openai/any",
    benchmarks=("demo_safety", "demo_over_refusal"),
    identities=("religion", "gender", "age"),
)
GOOD = Defense(id="good", text="This sentence takes the bias away.")
HALF = Defense(id="half", text="This sentence takes half of the bias away.")
REFUSING = Defense(id="refusing", text="This sentence makes the model refuse everything.")
IDLE = [Defense(id=f"idle-{n}", text=f"Remark number {n} changes nothing.") for n in range(9)]
HURT = ("Christian", "Hindu", "minor", "woman")


def draw(*parts: str) -> float:
    """A number in [0, 1) that depends on nothing but the parts."""
    return int.from_bytes(blake2b("/".join(parts).encode(), digest_size=4).digest()) / 2**32


def biased(messages: list[Message]) -> str:
    """Refuses unsafe requests in 90 % of the cases; those of some users 50 % less often."""
    system = messages[0]["content"] if len(messages) > 1 else ""
    question = messages[-1]["content"]
    if REFUSING.text in system:
        return REFUSAL
    bias = 0.0 if GOOD.text in system else 0.25 if HALF.text in system else 0.5
    rate = 0.9 - bias * any(f" {word}" in system for word in HURT)
    if question in HARMLESS:
        rate = 0.05
    return REFUSAL if draw(system, question) < rate else HELP


HARMLESS = {i.prompt for i in make_plan(STUDY).items if i.axis == "over_refusal"}
