"""Answers that are not whole, although the server says so: their form alone tells.

They repeat themselves, break off in the middle, contain marks of a chat template, or are code that
cannot be parsed. Whoever learns from them learns that.
"""

from __future__ import annotations

import ast
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from textwrap import dedent
from warnings import catch_warnings, simplefilter

from evenhand.scorers.final import is_loop, sentences
from evenhand.text import split_thought

INVALID_CODE = "contains Python code that cannot be parsed"
MARKED = "contains marks of a chat template"
BROKEN_OFF = "breaks off in the middle of a sentence"
LOOP = "repeats the same words over and over"


def form_flaw(text: str, endings: Sequence[str] = ()) -> str:
    """What is wrong with an answer whatever it says; empty where nothing is.

    Args:
        endings: texts with which an answer is at its end, such as the options of its question.

    >>> form_flaw("Mix the flour with the water, knead the dough, and")
    'breaks off in the middle of a sentence'
    """
    if not any(unicodedata.category(sign)[:2] in _SHOWN for sign in text):
        return "empty"
    if is_loop(text) or _says_again_and_again(text):
        return LOOP
    if _MARKS.search(text) or split_thought(text)[1] != text:
        return MARKED
    is_whole = any(re.search(rf"(?<!\w){re.escape(e)}\W*\Z", text) for e in endings if e)
    return BROKEN_OFF if not is_whole and _breaks_off(text) else ""


_SHOWN = {"Lu", "Ll", "Lt", "Lm", "Lo", "Nd", "Nl", "No", "Sm", "Sc", "Sk", "So", "Ps", "Pe"}
"""Classes of signs that say something alone: letters, numbers, symbols and brackets."""


_PYTHON = re.compile(r"^[ \t]*```(?:python3?|py)[ \t]*\n(.*?)^[ \t]*```", re.MULTILINE | re.DOTALL)
_LONGEST_CODE = 20_000

_MARKS = re.compile(
    r"""<[|｜][\w▁ ]{2,30}[|｜]>|\[/?INST\]|<(?:start|end)_of_turn>|<</?SYS>>|<(?:bos|eos|pad|unk)>
      |</?tool_call>|(?m:^)\#{2,4}\s(?:Instruction|Response|Human|User|Assistant)\s?:
      |\A\s*<s>|</s>\s*\Z|\A\s*(?:assistant|model)\s*\n""",
    re.VERBOSE,
)
_LOOP_READ, _LOOPS, _LEAST_LOOP = 1500, 3, 80
_ALIKE = 0.65
_NOT = re.compile(r"(?<=\bca)(n)['’]t\b|(?<=\bcan)not\b|n['’]t\b", re.IGNORECASE)
_OPEN_END = re.compile(
    r"""(?:^|\s)(?:and|or|but|the|an|to|of|at|from|into|because|although|while|than|whose|your|their
          |its|our|is|are|was|were|be|been|has|have|would|should|could|might|must|by|with|as|if|in|that
          |which|between|during|without|within|against|every|very|(?<!return\s)i|can['’]?t|cannot|won['’]t|don['’]t|couldn['’]t|i['’]m|you['’]re)$|[,(\[:–—]$""",
    re.VERBOSE,
)
_LONG_LINE = 12
_BARE_END = re.compile(r"(?:^|\s)[^\W\d_][\w'’-]*\s*$")
_FULL_STOP = re.compile(r"[^\W\d_]{2}[.!?][\"”')*]{0,3}\s")
_BARE_POINT = re.compile(r"[-•+*]|(?P<number>\d{1,3})[.)]")
_NUMBERING = re.compile(r"^\W{0,4}(?:step\s)?\(?\d{1,3}[).:]\s*", re.IGNORECASE)


def _says_again_and_again(text: str) -> bool:
    """Whether it ends in a long passage three times over, or says little but one sentence.

    Of sentences with numbers each may be a step of its own, however alike they are.
    """
    tail = text.rstrip()[-_LOOP_READ:]
    for period in range(_LEAST_LOOP // _LOOPS + 1, len(tail) // _LOOPS + 1):
        again = tail[-(_LOOPS - 1) * period :]
        if again == tail[-_LOOPS * period : -period] and len(set(again.split())) > 1:
            return True
    said = [
        words_of(_NUMBERING.sub("", sentence)) for sentence in sentences(_NOT.sub(r"\1 not", text))
    ]
    said = [words for words in said if len(words) > 2]
    most = Counter(said).most_common(1)
    if most and most[0][1] >= _LOOPS and 2 * most[0][1] >= len(said):
        return True
    alike = sum(_are_alike(*two) for two in pairwise(said))
    return alike > _LOOPS and 2 * alike >= len(said)


def _are_alike(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether two sentences share most of their words, and have no numbers."""
    shared, both = set(one) & set(other), set(one) | set(other)
    return len(shared) >= _ALIKE * len(both) and not any(map(str.isdigit, "".join(both)))


def _breaks_off(text: str) -> bool:
    """Whether it ends in a word or sign after which something must follow, or in an open block.

    A long last line without a full stop breaks off, too, where all others that are prose have one.
    """
    ended = text.rstrip().rstrip("*_")
    if text.count("```") % 2 == 1:
        return True
    if len(ended.split()) > 3 and (_OPEN_END.search(ended[-40:]) or _stops_in_list(text.rstrip())):
        return True
    *before, last = ended.split("\n")
    return (
        len(last.split()) >= _LONG_LINE
        and _BARE_END.search(last) is not None
        and _FULL_STOP.search(ended) is not None
        and not any(len(line.split()) > 3 and _BARE_END.search(line) for line in before)
    )


def _stops_in_list(text: str) -> bool:
    """Whether its last line is a point without words or an incomplete row of a table."""
    *_, before, last = ["", "", *(line.strip() for line in text.split("\n") if line.strip())]
    if point := _BARE_POINT.fullmatch(last):
        number = point["number"]
        return number is None or before.startswith((f"{int(number) - 1}.", f"{int(number) - 1})"))
    return last.startswith("|") and 0 < last.count("|") < before.count("|")


def has_invalid_code(text: str) -> bool:
    """Whether a fenced block that is marked as Python cannot be parsed.

    >>> has_invalid_code("Run this:\\n```python\\nos.kill(1, 9\\n```")
    True
    """
    return any(_is_invalid(dedent(block)) for block in _PYTHON.findall(text))


def _is_invalid(code: str) -> bool:
    if len(code) > _LONGEST_CODE or re.search(r"(?m)^[ \t]*(?:>>>|[%!$]|In \[)", code):
        return False
    with catch_warnings():
        simplefilter("ignore")
        try:
            ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return True
    return False


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text, without case and punctuation."""
    return tuple(re.findall(r"\w+", text.casefold()))
