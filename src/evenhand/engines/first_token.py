"""Multiple choice by the first token: how the probability of an answer's first token is shared out.

An option is named by its letter, or by its text where that is one token and opens no other option.
The shares of the options are the whole answer, as text: "A 0.8125, B 0.103, other 0.0845". It is
stored like any other answer, and scored from there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from string import ascii_uppercase
from typing import Any

NONE_GIVEN = "no log-probabilities"
"""The answer where an endpoint gives no log-probabilities, or none that can be."""
TOP = 20
"""The most tokens that OpenAI and vLLM give by default; some services give fewer (`FEWER`)."""
FEWER = 5
_MARKS = " \t\r\n\u2581\u0120\u010a()[]*`\"'.:"
"""What may stand around a letter in its token; of tokens of local weights also the marks of a
blank and of a line break."""
_ROUNDING = 1e-3
_SHARE = re.compile(r"([A-Z]|other) (\d(?:\.\d{1,12})?(?:e-\d{1,3})?)")

FirstTokens = Sequence[tuple[str, float]]
"""The likeliest first tokens, each with its log-probability."""


def option_names(choices: Sequence[str]) -> dict[str, str]:
    """What names an option -> its letter: letters, and texts that open no other option's text.

    >>> option_names(["yes", "no", "not sure"])
    {'yes': 'A', 'A': 'A', 'B': 'B', 'not sure': 'C', 'C': 'C'}
    """
    letters = dict(zip(ascii_uppercase, choices, strict=False))
    names = {}
    for letter, text in letters.items():
        others = [other for each, other in letters.items() if each != letter]
        if text not in letters and not any(other.startswith(text) for other in others):
            names[text] = letter
        names[letter] = letter
    return names


def bare(token: str) -> str:
    """A token without blanks and the marks around a letter."""
    return token.strip(_MARKS)


def shares_text(tokens: FirstTokens | None, choices: Sequence[str]) -> str:
    """The answer: each option's share of the probability of the first token, and all others'.

    >>> shares_text([("B", -0.1), (" B", -4.0), ("The", -3.0)], ["Rome", "Paris"])
    'B 0.923153, other 0.0768469'
    """
    if not tokens:
        return NONE_GIVEN
    names = option_names(choices)
    shares: dict[str, float] = {}
    for token, logprob in tokens:
        if letter := names.get(bare(token)):
            shares[letter] = shares.get(letter, 0.0) + math.exp(min(logprob, 0.0))
    return text_of(shares)


def text_of(shares: Mapping[str, float]) -> str:
    """Shares of options, by their letters, as the text of an answer."""
    total = sum(shares.values())
    if total > 1 + _ROUNDING:
        return NONE_GIVEN
    named = [f"{letter} {share:.6g}" for letter, share in sorted(shares.items())]
    return ", ".join([*named, f"other {max(0.0, 1 - total):.6g}"])


def read_shares(text: str) -> dict[str, float] | None:
    """Letter -> share, of such a text; None where it holds no shares."""
    shares: dict[str, float] = {}
    for part in text.split(", "):
        found = _SHARE.fullmatch(part)
        if found is None or found[1] in shares:
            return None
        shares[found[1]] = float(found[2])
    if shares.pop("other", None) is None or sum(shares.values()) > 1 + 2 * _ROUNDING:
        return None
    return shares


def read_logprobs(logprobs: Any) -> FirstTokens | None:
    """The first token's alternatives in `logprobs` of a chat completion, whatever it holds.

    OpenAI's form is `content[0].top_logprobs`, a list of {token, logprob}; the form of old
    completions, which some services kept, is `top_logprobs[0]`, an object token -> logprob.
    """
    if not isinstance(logprobs, dict):
        return None
    content, old = logprobs.get("content"), logprobs.get("top_logprobs")
    given: Iterable[Any] = ()
    if isinstance(content, list) and content and isinstance(content[0], dict):
        top = content[0].get("top_logprobs")
        listed = top if isinstance(top, list) else ()
        given = [(e.get("token"), e.get("logprob")) for e in listed if isinstance(e, dict)]
    elif isinstance(old, list) and old and isinstance(old[0], dict):
        given = old[0].items()
    found: dict[tuple[str, float], None] = {}  # two tokens may read alike: both count
    for token, logprob in given:
        is_number = isinstance(logprob, int | float) and not isinstance(logprob, bool)
        if not isinstance(token, str) or not is_number or not logprob <= _ROUNDING:
            continue
        found[token, float(logprob)] = None
    return tuple(found)[:1000] or None
