"""Text from elsewhere: endpoints, models and files may send what a terminal would obey."""

from __future__ import annotations

import math
import re
import unicodedata
import warnings
from collections.abc import Sequence


def whole_text(text: str) -> str:
    """The text as it can be stored: halves of characters, which no file holds, are replaced."""
    return text.encode("utf-8", "replace").decode()


def one_line(text: str, most: int = 300) -> str:
    """The text without anything but printable characters, on one line, cut to a length."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text[: 4 * most])
    return " ".join(printable.split())[:most]


def capitalized(text: str) -> str:
    """A note as a sentence begins; an address and an id with signs in it stay as they are.

    >>> capitalized("over-refusal: 3 answers"), capitalized("http://localhost takes no seed")
    ('Over-refusal: 3 answers', 'http://localhost takes no seed')
    >>> capitalized('"none": 4 of 9 cells have no score')
    '"none": 4 of 9 cells have no score'
    """
    first = text.partition(" ")[0].rstrip(",;:").replace("-", "")
    return text[:1].upper() + text[1:] if first.isalpha() else text


def first_line_of(error: BaseException) -> str:
    """The first line of what an error says; its name if it says nothing.

    >>> first_line_of(ValueError("too long\\nby far")), first_line_of(KeyboardInterrupt())
    ('too long', 'KeyboardInterrupt')
    """
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def counted(number: int, one: str, several: str = "") -> str:
    """A number of things: "1 run", "1,200 runs", "2 batches".

    Args:
        several: the plural, where it is not `one` and an s.
    """
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def dollars(amount: float) -> str:
    """An amount of money, with the digits that a small one needs.

    >>> dollars(1234.5), dollars(0.00042), dollars(0)
    ('$1,234.50', '$0.00042', '$0.00')
    """
    digits = 2 if amount >= 0.1 or amount <= 0 else 1 - math.floor(math.log10(amount))
    return f"${amount:,.{digits}f}"


def some_of(names: Sequence[str], most: int) -> str:
    """The first few names, and how many more there are: "a, b, c and 4 more"."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


_NO_WORD = re.compile(r"[\W_]+")


def normalized(text: str) -> str:
    """A text without case, punctuation, accents and spacing, so that near-equal texts are equal."""
    if text.isascii():
        return _NO_WORD.sub(" ", text.lower()).strip()
    plain = unicodedata.normalize("NFKD", text.casefold())
    return _NO_WORD.sub(" ", "".join(c for c in plain if not unicodedata.combining(c))).strip()


_NAMES = (
    r"(?:[a-z]{1,20}[:_▁]){0,2}(?:(?:deep)?think(?:ing)?(?:_\w{1,12})?"
    r"|thoughts?(?:_\w{1,12})?|reasoning(?:_\w{1,12})?"
    r"|antthinking|scratchpad|reflection|(?:inner|internal)_monologue|chain_of_thought|cot)"
)
_ENDS = rf"(?:/\s?{_NAMES}|(?:end|stop)[_▁](?:of[_▁])?{_NAMES}|{_NAMES}_end)"
_TAGS = re.compile(
    rf"""(?P<close><[|｜]?{_ENDS}\s?[|｜]?>|\[{_ENDS}\]|◁/think▷
          |<channel\|>|<unused95>|<\|inner_suffix\|>)
      |(?P<open><{_NAMES}(?:\s[^<>]{{0,100}})?>|<[|｜]?{_NAMES}[|｜]>|\[{_NAMES}\]|◁think▷
          |<\|channel>\s*(?:thought|analysis)\b|<unused94>thought\b|<\|inner_prefix\|>)""",
    re.VERBOSE | re.IGNORECASE,
)
"""How the models in use mark what they think aloud: names in brackets of many kinds, the end with a
slash or as such, as in <|END_THINKING|>."""
_AROUND_ANSWER = re.compile(
    r"\A\s*<\|(?:begin_of_solution|start_response)\|>|<\|(?:end_of_solution|end_response)\|>\s*\Z",
    re.IGNORECASE,
)
_ANSWER_IN_TAGS = re.compile(
    r"<(answer|final_answer|final|response|solution|output)>(.*?)(?:</\1>)?", re.I | re.S
)
"""Some models mark their answer as they mark the thought before it."""
_CHANNELS = re.compile(
    r"<\|channel\|>\s*(?P<name>\w+)[^<]{0,200}(?:<\|constrain\|>[^<]{0,100})?<\|message\|>"
    r"|<\|(?:end|return|call)\|>|<\|start\|>[^<]{0,100}",
    re.IGNORECASE,
)
"""The channels of gpt-oss ("harmony"), with their special tokens in the text."""
_BARE_FINAL = "assistantfinal"
_BARE_ANALYSIS = re.compile(r"\s*(?:assistant)?analysis(?=[A-Z])")
"""The same, where the special tokens were dropped on the way."""


def split_thought(text: str) -> tuple[str, str, bool]:
    """What a reasoning model thought aloud, apart from its answer.

    Reads the tags <think>, <thinking>, <reasoning>, <thought>, <seed:think>, [THINK] and their
    like in any case, a few rarer ones, and the channels of gpt-oss. A closing tag without an
    opening one ends a thought that the chat template opened. Tags in quotation marks or backticks
    are only mentioned, and so is an opening tag within a line that is never closed.

        >>> split_thought("<think>2 + 2</think>The answer is 4.")
        ('2 + 2', 'The answer is 4.', False)
        >>> split_thought("<think>2 + 2 is")
        ('2 + 2 is', '', True)

    Args:
        text: all that the model wrote. Takes time linear in its length, whatever it holds.

    Returns:
        (thought, answer, still_thinking). Several thoughts are joined by a blank line. The answer
        is the text itself where there is no thought, else stripped. `still_thinking`: the last
        thought is never closed, so what the model would have answered is unknown.
    """
    if "<" in text or "[" in text or "◁" in text:
        if "<|channel|>" in text.lower():
            return _split_channels(text)
        if _TAGS.search(text):
            return _split_tags(text)
    if _BARE_FINAL in text:
        thought, _, answer = text.partition(_BARE_FINAL)
        thought = thought.strip().removeprefix("assistant").removeprefix("analysis")
        return thought.strip(), answer.strip(), False
    if analysis := _BARE_ANALYSIS.match(text):
        return text[analysis.end() :].strip(), "", True
    return "", text, False


def opened_thought(prompt: str) -> str:
    """The mark at the end of a rendered prompt that opens a thought; empty where none does.

    >>> opened_thought("<|im_start|>assistant\\n<think>\\n")
    '<think>'
    """
    end = prompt.rstrip()
    tags = [tag for tag in _TAGS.finditer(end, max(0, len(end) - 200)) if tag.end() == len(end)]
    return tags[0].group() if tags and tags[0]["open"] else ""


def _split_tags(text: str) -> tuple[str, str, bool]:
    thoughts: list[str] = []
    answer: list[str] = []
    at = 0
    opening: re.Match[str] | None = None
    for tag in _TAGS.finditer(text):
        if _is_quoted(text, tag):
            continue
        if opening and tag["open"]:
            if tag.start() - at > 100 or text[at : tag.start()].strip():
                continue
        elif tag["open"]:
            answer.append(text[at : tag.start()])
            opening = tag
        else:
            if not opening:  # the template opened it: all that came before was thought, too
                thoughts += answer
                answer.clear()
            thoughts.append(text[at : tag.start()])
            opening = None
        at = tag.end()
    still_thinking = opening is not None and not answer[-1].rpartition("\n")[2].strip()
    if opening and not still_thinking:
        at = opening.start()
    (thoughts if still_thinking else answer).append(text[at:])
    if not any(thoughts) and not still_thinking and opening:  # nothing but a mention
        return "", text, False
    said = _AROUND_ANSWER.sub("", "".join(answer)).strip().strip("\ufeff\u200b").strip()
    if whole := _ANSWER_IN_TAGS.fullmatch(said):
        said = whole[2].strip()
    return _joined(thoughts), said, still_thinking


def _is_quoted(text: str, tag: re.Match[str]) -> bool:
    before, after = text[tag.start() - 1 : tag.start()], text[tag.end() : tag.end() + 1]
    return before == after and before != "" and before in "`\"'"


def _split_channels(text: str) -> tuple[str, str, bool]:
    thoughts: list[str] = []
    answer: list[str] = []
    heard_final = False
    kept, at = thoughts, 0  # what comes before the first mark goes on what the template opened
    for mark in _CHANNELS.finditer(text):
        kept.append(text[at : mark.start()])
        if mark["name"]:
            is_final = mark["name"].lower() == "final"
            heard_final |= is_final
            kept = answer if is_final else thoughts
        at = mark.end()
    kept.append(text[at:])
    return _joined(thoughts), "".join(answer).strip(), not heard_final


def _joined(thoughts: list[str]) -> str:
    return "\n\n".join(part for thought in thoughts if (part := thought.strip()))


class SpellingNote(UserWarning):
    """Something is spelled as in version 0.1; it is understood."""


_SPELLINGS = {"defence": "defense", "favourite": "favorite", "colour": "color"}


def us_spelling(name: str) -> str:
    """A name of version 0.1 as it is spelled now; any other as it is.

    Warns:
        SpellingNote: once, where the name was spelled otherwise.
    """
    now = name
    for old, new in _SPELLINGS.items():
        now = now.replace(old, new)
    if now != name:
        note = "British spellings of version 0.1, such as defence, are read; write defense"
        warnings.warn(note, SpellingNote, stacklevel=2)
    return now
