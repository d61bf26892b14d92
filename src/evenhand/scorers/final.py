"""Where an answer says what its final answer is.

Searched from the end, for the last statement counts, and with a bounded effort, so that no
text is slow.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from evenhand.scorers.base import Unscored

EMPTY = Unscored("empty answer")
CUT_OFF = Unscored("cut off at the token limit")
CUT_OFF_THINKING = Unscored("cut off while thinking")
NOT_FOUND = Unscored("no final answer found")
CONFLICT = Unscored("two conflicting answers")
DISAGREE = Unscored("letter and text name different options")

_MARKERS = (
    "nswer",
    "NSWER",
    "\\boxed",
    "\\fbox",
    "Ans.",
    "Ans:",
    "ANS:",
)  # "nswer" finds "Answer" and "answer" at once
_MOST_STATEMENTS = 16
_LONGEST = 400

_ANNOUNCES = re.compile(
    r"""nswers?[*_"'”)\]]{0,4}(?:\s?\#?\d{1,2}(?=\s?:))?\s{0,3}
        (?:\([^()\n]{1,30}\)\s?)?(?:,\s?[^,.:\n]{1,30},\s)?
        (?:(?:to|for|of|here)\b[^.:\n]{0,120}?\b)??
        (?:=|:|[*_]{0,3}\n|(?:→|->|=>|[—–-])\s
          |(?P<not>(?:is|was)(?:n['’]t|\snot)\b|(?:can['’]t|cannot|can\snot|couldn['’]t)\sbe\b)
          |(?:is|are|was|equals|comes\sto
             |(?:would|will|must|should|could|might|may|has\ to|can\ only)\ be)\b)
        [*_:]{0,4}(?:\s?(?:\.\.\.|…))?""",
    re.VERBOSE | re.IGNORECASE,
)
_TAG_BEFORE = re.compile(r"[<\[]\s?(?P<closes>/?)[\w-]{0,15}$")
_TAG_CLOSES = re.compile(r"<\s?/|\[/")
_DISOWNED = re.compile(
    r"\b(?:wrong|incorrect|previous|earlier|initial|first|original|tempting)\s(?:\w{1,15}\s)?a$"
    r"|\b(?:n['’]t\sthink|not\sthink|doubt)\s(?:that\s)?(?:the\s)?(?:\w{1,15}\s)?a$",
    re.IGNORECASE,
)
_FOREIGN = re.compile(
    r"""(?:respuesta|resposta|risposta|antwort|antwoord|r[ée]ponse|jawaban|cevap|odpowied[źz]
          |ответ|الجواب|الإجابة|答案|答え|正解|정답|उत्तर|উত্তর)[^\W\d是为為は]{0,4}[*_]{0,3}
        [^\n.:：]{0,25}?
        (?:\s?[:：=]|\s(?:es|est|ist|lautet|é|è|is|jest|adalah|هو|هي)\b|[是为為は]|\s[—–]\s
          |(?=\s\d|\s\(?[A-Z]\b))[*_]{0,3}\s?""",
    re.VERBOSE | re.IGNORECASE,
)
_FOREIGN_IN_ASCII = (
    "espuesta",
    "esposta",
    "isposta",
    "ntwo",
    "eponse",
    "awaban",
    "evap",
    "dpowied",
)
_TWO_BOXES = re.compile(
    r"\\f?boxed\s?\{([^{}]{1,60})\}[$\s]{0,3}(?:\\text\w{0,6}\{\s?)?\b(or|and)\b[}$\s]{0,3}$"
)
_MARKUP = re.compile(
    r"\\(?:boxed|text\w{0,8}|math\w{1,8}|displaystyle|left|right|quad|[\]\[() ;!,])"
    r"|~~[^~\n]{1,80}~~|</?(?:b|i|em|strong|code|u|p|span|mark)\b[^<>]{0,40}>"
    r"|\*{2,}|\*(?![\s\d])|\*(?<![\s\d]\*)|_(?<!\w_)_{0,2}(?=\w)|_(?<=\w_)_{0,2}(?!\w)|[`$\"“”]"
)  # but no asterisk that multiplies; each part begins with its sign, which makes it fast
_MAY_BE_MARKUP = re.compile(r"[\\*_`$\"“”<~]")
_WIDE = re.compile("[\u249c-\u24e9\uff01-\uff5e]")
_SENTENCE_END = re.compile(
    r"(?<!\bapprox)(?<!\bRs)(?<!\bi\.e)(?<!\be\.g)(?<!\bvs)[.!?](?:\s(?!=)|$)|[。।！？]|\n"
)
_PLEASANTRY = re.compile(
    r"\b(?:let me know|hope (?:this|that|it)|feel free|if you (?:have|need|would|want)"
    r"|happy to help|good luck|(?:other|more|further) questions|is there anything)\b",
    re.IGNORECASE,
)
_CORRECTS = re.compile(
    r"""\b(?:wait|correction|oops|whoops|scratch\sthat|hold\son|my\s(?:mistake|bad)|on\ssecond\sthought
          |i\s(?:have\s)?(?:made|make)\san?\s(?:\w{1,15}\s)?(?:mistake|error)
          |let\sme\s(?:re\w{2,12}|correct|fix|check|double.?check|verify))\b
      |(?:^|[.!?,;…—–(-])\s*(?:(?:sorry|apologies|i\sapologi[sz]e|actually|hmm+|rather|i\smean|edit(?=:))\b(?=[\s,:;.!—–-])
          |no\b(?=[,:;.!—–-]|\s(?:wait|it|the\sanswer|that|sorry|actually|make)\b))
      |(?<=\?)\s*no\b""",
    re.VERBOSE | re.IGNORECASE,
)
_CONFIRMS = re.compile(
    r"\b(?:yes|right|confirmed|checks? out|matches|consistent|is correct|still)\b",
    re.IGNORECASE,
)
_DENIES = re.compile(r"\b(?:wrong|incorrect|mistake|not (?:right|correct)|error)\b", re.IGNORECASE)
_SMALLEST_LOOP, _LOOP_READ = 80, 240


@dataclass(frozen=True, slots=True)
class Statement:
    """What follows the announcement of a final answer.

    Attributes:
        text: at most 400 characters, with their markup.
        is_closed: a box or tag encloses it, so nothing of it is missing.
        after: what follows the box or tag, at most 400 characters.
    """

    text: str
    is_closed: bool = False
    after: str = ""


def statements(text: str) -> Iterator[Statement]:
    """The final answers that a text announces, the last first; at most 16."""
    markers = [marker for marker in _MARKERS if marker in text]
    end = len(text)
    for _ in range(_MOST_STATEMENTS if markers else 0):
        at = max(text.rfind(marker, 0, end) for marker in markers)
        if at < 0:
            return
        end = at
        if text[at] == "\\":
            yield _in_box(text, at)
        elif text[at] in "AN" and text[at + 3] in ".:":
            yield Statement(text[at + 4 : at + 4 + _LONGEST])
        elif text[at + 5 : at + 6] in (">", "]") and (tag := _TAG_BEFORE.search(text, at - 20, at)):
            if not tag["closes"]:
                yield _in_tag(text, at + 6)
        elif (found := _ANNOUNCES.match(text, at)) and not _DISOWNED.search(text, at - 40, at):
            follows = text[found.end() : found.end() + _LONGEST]
            yield Statement(f"not {follows.lstrip()}" if found["not"] else follows)
    if not markers and (not text.isascii() or any(word in text for word in _FOREIGN_IN_ASCII)):
        start = max(0, len(text) - 10 * _LONGEST)
        for found in reversed(list(_FOREIGN.finditer(text, start))[-_MOST_STATEMENTS:]):
            yield Statement(text[found.end() : found.end() + _LONGEST])


def _in_box(text: str, at: int) -> Statement:
    r"""What is inside "\boxed{...}", as far as the brace that closes it or the end of its line."""
    line = first_line(text[at : at + _LONGEST])
    start = line.find("{") + 1
    depth = 1
    for end in range(start, len(line)):
        depth += (line[end] == "{" and line[end - 1] != "\\") - (
            line[end] == "}" and line[end - 1] != "\\"
        )
        if depth == 0:
            break
    else:
        end = max(start, line.rfind("}"))
    if start and end == start:
        end = max(start, line.rfind("}"))  # a bracket is what is boxed
    closed = start > 0 and line[end : end + 1] == "}"
    inside = line[start:end] if closed else line[start:]
    if two := _TWO_BOXES.search(text, max(0, at - 90), at):
        inside = f"{two[1]} {two[2]} {inside}"
    after = at + end + 1
    return Statement(inside, closed, text[after : after + _LONGEST])


def _in_tag(text: str, start: int) -> Statement:
    follows = text[start : start + _LONGEST]
    if closes := _TAG_CLOSES.search(follows):
        return Statement(follows[: closes.start()].strip(), is_closed=True)
    return Statement(follows.lstrip())


def may_go_on(statement: Statement, text: str) -> bool:
    """Whether the text may break off within this short statement: "The answer is C"."""
    said = statement.text.strip()
    return (
        not statement.is_closed
        and text.endswith(said)
        and said[-1:].isalnum()
        and first_sentence(said) == said
        and len(said.split()) < 3
    )


@dataclass(frozen=True, slots=True)
class Correction:
    """How a statement is taken back: "5. Wait, no: 6."

    Attributes:
        before: what is stated first: "5. ".
        rest: what follows the last sign of a correction: ": 6.".
        confirms: the second look only confirms what was stated.
        denies: it says that what was stated is wrong.
    """

    before: str
    rest: str
    confirms: bool
    denies: bool


def correction(text: str, *, follows: bool = False) -> Correction | None:
    """How a statement is taken back by what follows it; None where it is not.

    Args:
        text: the statement and what follows it; with `follows`, only the latter.
    """
    found = _CORRECTS.search(text)
    if found and not found.start() and not follows:
        found = _CORRECTS.search(text, found.end())
    if not found:
        return None
    before, rest = text[: found.start()], text[found.end() :]
    while again := _CORRECTS.search(rest):
        rest = rest[again.end() :]
    denies = bool(_DENIES.search(rest))
    return Correction(before, rest, not denies and bool(_CONFIRMS.search(rest)), denies)


def missing(truncated: bool) -> Unscored:
    """Why there is no final answer."""
    return CUT_OFF if truncated else NOT_FOUND


def is_loop(text: str) -> bool:
    """Whether a text ends with the same few characters again and again."""
    tail = text[-_LOOP_READ:]
    size = len(tail)
    if (
        size < _SMALLEST_LOOP
        or tail.find(tail[-_SMALLEST_LOOP // 4 :]) == size - _SMALLEST_LOOP // 4
    ):
        return False
    return any(tail.startswith(tail[period:]) for period in range(1, size // 6))


def half_width(text: str) -> str:
    """The text with letters of other widths and in circles as those that they stand for."""
    return _WIDE.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text)


def without_markup(text: str) -> str:
    """The text without Markdown emphasis, quotation marks and the commonest LaTeX."""
    return (_MARKUP.sub("", text) if _MAY_BE_MARKUP.search(text) else text).strip()


def first_line(text: str) -> str:
    """The text up to its first line end."""
    return text.partition("\n")[0]


def last_line(text: str) -> str:
    """The last line that says something, at most its last 400 characters, with its markup."""
    lines = text[-3 * _LONGEST :].rstrip().split("\n")
    for line in reversed(lines[-6:]):
        if any(map(str.isalnum, line)) and not _PLEASANTRY.search(line):
            return line[-_LONGEST:].strip()
    return lines[-1][-_LONGEST:].strip()


def first_sentence(text: str) -> str:
    """The text up to the end of its first sentence or line; a decimal point ends nothing."""
    ends = _SENTENCE_END.search(text)
    return text[: ends.start()] if ends else text


def sentences(text: str) -> list[str]:
    """The sentences of a text, each at most one line; without their final marks."""
    return [sentence for part in _SENTENCE_END.split(text) if (sentence := part.strip())]
