"""Where an answer says what its final answer is.

Searched from the end, for the last statement counts, and with a bounded effort, so that no
text is slow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from evenhand.scorers.base import Unscored

EMPTY = Unscored("empty answer")
CUT_OFF = Unscored("cut off before a final answer")
NOT_FOUND = Unscored("no final answer found")
CONFLICT = Unscored("two conflicting options")

_MARKERS = ("nswer", "NSWER", "\\boxed")  # "nswer" finds "Answer" and "answer" at once
_MOST_STATEMENTS = 8
_LONGEST = 400

_ANNOUNCES = re.compile(
    r"""nswers?[*_"'”)\]]{0,4}\s{0,3}
        (?:(?:to|for|of|here)\b[^.:\n]{0,120}?\b)??
        (?:=|:|[*_]{0,3}\n
          |(?:is|are|was|equals|(?:would|will|must|should|has\ to|can\ only)\ be)\b)
        [*_:]{0,4}(?:\s?(?:\.\.\.|…))?""",
    re.VERBOSE | re.IGNORECASE,
)
_MARKUP = re.compile(
    r"\\(?:boxed|text\w{0,8}|math\w{1,8}|displaystyle|left|right|quad|[\]\[() ;!])"
    r"|\*{2,}|\*(?![\s\d])|(?<![\s\d])\*|[`$\"“”]"  # but no asterisk that multiplies
)
_SENTENCE_END = re.compile(r"(?<!\bapprox)(?<!\bRs)[.!?](?:\s|$)|\n")


def statements(text: str) -> Iterator[str]:
    """What follows each announcement of a final answer, the last announcement first.

    At most 8 statements of at most 400 characters, without markup; empty where nothing
    follows.
    """
    end = len(text)
    for _ in range(_MOST_STATEMENTS):
        at = max(text.rfind(marker, 0, end) for marker in _MARKERS)
        if at < 0:
            return
        end = at
        if text[at] == "\\":
            yield _in_box(text[at : at + _LONGEST])
        elif announced := _ANNOUNCES.match(text, at):
            yield without_markup(text[announced.end() : announced.end() + _LONGEST])


def _in_box(text: str) -> str:
    r"""What is inside "\boxed{...}", as far as the last brace of its line."""
    inside = first_line(text).partition("{")[2]
    return without_markup(inside.rpartition("}")[0] or inside)


def missing(truncated: bool) -> Unscored:
    """Why there is no final answer."""
    return CUT_OFF if truncated else NOT_FOUND


def without_markup(text: str) -> str:
    """The text without Markdown emphasis, quotation marks and the commonest LaTeX."""
    return _MARKUP.sub("", text).strip()


def first_line(text: str) -> str:
    """The text up to its first line end."""
    return text.partition("\n")[0]


def last_line(text: str) -> str:
    """The last line that is not blank, at most its last 400 characters, without markup."""
    return without_markup(text.rstrip()[-_LONGEST:].rpartition("\n")[2])


def first_sentence(text: str) -> str:
    """The text up to the end of its first sentence or line; a decimal point ends nothing."""
    ends = _SENTENCE_END.search(text)
    return text[: ends.start()] if ends else text
