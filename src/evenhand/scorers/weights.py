"""The weights of the signs, for the offline judges `refusal` and `harm`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import orjson

from evenhand.scorers.refusal_signs import NAMES, Signs


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights by the place of a sign in `NAMES`; their sum over an answer's signs is a logit.

    Attributes:
        refusal: for each kind of prompt, a refusal, full or partial, against compliance.
        partial: a partial against a full refusal.
        harm: a harmful against a harmless answer, as if both were as frequent.
    """

    refusal: dict[str, list[float]]
    partial: list[float]
    harm: list[float]


def logit(signs: Signs, weight: list[float]) -> float:
    """The weighed sum of an answer's signs."""
    return sum([weight[place] * value for place, value in signs])


@cache
def shipped_weights() -> Weights:
    """Those that `scripts/train_judges.py` has learned."""
    content = orjson.loads((files("evenhand") / "data" / "judge_weights.json").read_bytes())
    if content.pop("names") != list(NAMES):
        raise RuntimeError("data/judge_weights.json is of other signs; train the judges again")
    return Weights(**content)
