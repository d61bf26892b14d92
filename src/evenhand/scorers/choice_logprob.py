"""Multiple choice by log-probabilities: the option whose share of the first token is largest.

Nothing is generated, so there is nothing to read: `evenhand.engines.first_token` says what counts
as an option. Where options share the first place the score is that of a choice at random among
them: half precision makes such ties, and to take the first would favor the letter A.
"""

from __future__ import annotations

from string import ascii_uppercase

from evenhand.benchmarks.item import Item
from evenhand.engines.first_token import read_shares
from evenhand.scorers.base import Score, Unscored

LEAST = 0.1
"""Share that all options together must have; below it the model was about to say something else,
and which letter it prefers says little."""

NO_LOGPROBS = Unscored("no log-probabilities in the reply")
NO_OPTION = Unscored("the first token names no option")


def score(text: str, item: Item, _truncated: bool) -> Score:
    """1.0 where the right option alone has the largest share, 1/k where it is one of k."""
    shares = read_shares(text)
    if shares is None:
        return NO_LOGPROBS
    letters = ascii_uppercase[: len(item.choices)]
    own = {letter: share for letter, share in shares.items() if letter in letters}
    if sum(own.values()) < LEAST:
        return NO_OPTION
    most = max(own.values())
    first = [letter for letter, share in own.items() if share == most]
    return 1 / len(first) if item.answer in first else 0.0
