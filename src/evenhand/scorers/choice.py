"""Answers that are one of several lettered options.

The option that the last final statement names counts, by its letter ("the answer is (B).") or
by its text ("the answer is Paris."); a correction after it counts more. Without a final statement
it is the last option that a sentence states as the answer ("I choose B", "B is correct"), else the
only one that the last line names, or the one that the answer opens with; but where the answer was
cut off it is unscored. Options that are denied are not named, and neither are those of a list
that repeats them all. Where a letter is followed by the text of another option, the answer
contradicts itself and is unscored.
"""

from __future__ import annotations

import re
from functools import lru_cache
from string import ascii_uppercase

from evenhand.benchmarks.item import Item
from evenhand.scorers.base import Score
from evenhand.scorers.final import (
    CONFLICT,
    DISAGREE,
    Statement,
    correction,
    first_line,
    first_sentence,
    half_width,
    is_loop,
    last_line,
    may_go_on,
    missing,
    sentences,
    statements,
    without_markup,
)
from evenhand.scorers.number import plain
from evenhand.scorers.numerals import Line

_Named = frozenset[str]
"""Letters of the options that are given as the answer."""
_NOTHING: _Named = frozenset()
_CONTRADICTION: _Named = frozenset("?")
"""What is named where letter and text disagree."""

# What a final statement may open with.
_LEAD = (
    r"[\s:]{0,4}(?:(?:[Tt]he\s|la\s|el\s|die\s|der\s|a\s)?(?:correct\s|right\s)?"
    r"(?:[Oo]ption|[Oo]pci[oó]n|[Oo]pção|[Cc]hoice|[Ll]etter|[Aa]nswer)\s)?[\s:]{0,3}"
)
_IN_PARENTHESES = re.compile(rf"{_LEAD}\(\s?([A-Za-z])\s?\)")
_LETTER = re.compile(rf"{_LEAD}['({{\[<]{{0,3}}([A-Z])(?![\w'’#]|\+\+|-\w)")
_LOWER_LETTER = re.compile(
    r"[\s:]{0,4}(?:(?:[Oo]ption|[Cc]hoice|[Ll]etter)\s)?['({\[]{0,4}([a-z])(?=[).]\s|\)|\W{0,3}$"
    r"|(?<=[b-z]),\s|(?<=[b-z])\s(?:because|since|as)\b)"
)
_LOWER_OPTION = re.compile(r"[\s:]{0,4}(?:[Oo]ption|[Cc]hoice|[Ll]etter)\s([a-z])\b")
_LEAD_IN = re.compile(r"[\s:]{0,4}(?:(?:the|an?|that|it is|it's)\s)?", re.IGNORECASE)
_HEDGE = re.compile(
    r"[\s:]{0,3}(?:(?:clearly|definitely|likely|probably|most likely|therefore|obviously|simply"
    r"|thus|indeed|still|actually|now|also|best|certainly|surely|either|both)\b[\s,:]{0,3}){1,2}",
    re.IGNORECASE,
)
_ORDINAL = re.compile(
    r"\W{0,4}(?:the\s)?(first|second|third|fourth|fifth|last)\s(?:option|choice|one|answer)\b",
    re.IGNORECASE,
)
_ORDINAL_ANYWHERE = re.compile(
    r"\bthe\s(first|second|third|fourth|fifth)\s(?:option|choice)\b", re.IGNORECASE
)
_ORDINALS = ("first", "second", "third", "fourth", "fifth")

# What may follow the option named: "A city", where A is no option; "B or C"; "4.5" after "4".
_ONLY_ARTICLE = re.compile(r"\s(?!because|since|as\b|is\b|or\b|and\b|rather\b|instead\b|but\b)\w")
_ALTERNATIVE = re.compile(
    r"\W{0,3}\s?(?:\b(?:or|and)\b|&|/|\+|,(?=\s?(?:\(|[A-Z]\b)))\W{0,3}?(?=[\w(])"
)
_WRONG = re.compile(r"\W{0,3}\s(?:is|was)(?:n['’]t|\s(?:not|wrong|incorrect|false|out))\b")
_LETTER_AFTER = re.compile(r"\s?\((?:option\s|choice\s)?([a-z])\)")
_GOES_ON = re.compile(r"\w|[.,/^]\d")
_REST_OF_TEXT = re.compile(r"\W*(?:$|[.,;:!?)])")
_SEPARATES = re.compile(r"[).\]}>'’]{0,3}\s?(?:[:.,(=–—-]\s?)?\s?(?=\S)")

# Options within a sentence: "I take option B", "so it is B.", but not "(A) is wrong, not (C)".
_OPTION = r"(?:(?i:option|choice|answer|letter)\s)?(?:\([A-Za-z]\)|\[[A-Z]\]|\b[A-Z]\b)\)?"
_SEVERAL = rf"{_OPTION}(?:\s?(?:,\s?(?:and|or|nor)|,|and|or|nor|&|/)\s?{_OPTION}){{0,9}}"
_TOGETHER = re.compile(
    rf"{_OPTION}(?:\s?(?:,\s?(?:and|or|nor)|,|and|or|nor|&|/)\s?{_OPTION}){{1,9}}"
)
_ANY_LETTER = re.compile(r"\b[A-Z]\b")
_DENIED = re.compile(
    rf"(?:\b(?i:not|isn['’]t|cannot\sbe|can['’]t\sbe|couldn['’]t\sbe|neither|nor|rul(?:e|ed|ing)\sout"
    rf"|eliminat(?:e[sd]?|ing)|exclud(?:e[sd]?|ing)|reject(?:s|ed|ing)?|rather\sthan|instead\sof"
    rf"|unlike|except|anything\sbut|better\sthan|discard(?:ed)?|cross(?:ed)?\sout)\s(?i:be\s|that\s)?)"
    rf"{_SEVERAL}"
    rf"|\b(?i:(?:don['’]t|do\snot)\s(?:think|believe)|doubt)\s(?i:that\s)?(?i:it(?:['’]s|\sis)\s)?"
    rf"{_SEVERAL}"
    rf"|{_SEVERAL}\W{{0,3}}\s?(?i:(?:is|are|was|were|seems?|looks?|would\sbe|could\sbe|can\sbe|can"
    rf"|cannot|can['’]t|should)\s?(?:all\s|both\s|also\s|clearly\s|obviously\s|definitely\s"
    rf"|therefore\s|thus\s|just\s|be\s)?(?:not\b(?!\sonly)|n['’]t\b|wrong|incorrect|false|out\b|invalid"
    rf"|ruled\sout|eliminated|excluded|impossible|unlikely|irrelevant|tempting|be\b))"
    rf"|{_SEVERAL}\W{{0,3}}(?i:isn['’]t|aren['’]t|does\s?n['’]t|doesn['’]t|fails?|does\snot)\b"
)
_VERDICT = re.compile(
    r"(?:^|(?<=\s))(?:[-*•]\s?)?(?:[Oo]ption\s|[Cc]hoice\s)?\(?([A-Z])\b\)?[):.,?\s–—-]{1,4}"
    r"[^A-Za-z✓✔✅✗✘❌\n]{0,3}"
    r"((?i:is\s)?(?i:true|correct|right|yes)\b|[✓✔✅]"
    r"|(?i:is\s)?(?i:not\b|false|incorrect|wrong|no\b)|[✗✘❌])",
    re.MULTILINE,
)
_VERDICT_AT_END = re.compile(
    r"^(?:[-*•]\s?)?(?:[Oo]ption\s|[Cc]hoice\s)?\(?([A-Z])\b\)?[):.,–—-][^\n]{0,200}"
    r"((?i:\b(?:true|correct|right|yes|not\scorrect|false|incorrect|wrong|no))|[✓✔✅✗✘❌])[.!]?$",
    re.MULTILINE,
)
_MARK_FIRST = re.compile(r"^(?:[-*•] )?([✓✔✅✗✘❌]) ?\(?([A-Z])\b", re.MULTILINE)
_NEGATIVE = re.compile(r"not|false|incorrect|wrong|no\b|[✗✘❌]", re.IGNORECASE)
_STATED = re.compile(
    r"""(?:(?:\b(?i:correct|right|best|chosen|true|proper)\s(?i:option|choice|answer|one|letter|pick)
            |\b(?i:my|final)\s(?i:final\s)?(?i:option|choice|pick|guess|selection)
            |["']?\b(?i:choice|pick|option|final|selection)["']?(?=\s?[:=]))
          \W{0,3}\s?(?i:is|would\sbe|must\sbe|should\sbe|has\sto\sbe|:|=|→)?
         |\b(?i:it)(?i:['’]s|\sis|\smust\sbe|\sshould\sbe|\shas\sto\sbe|\swould\sbe|\scan\sonly\sbe)
         |\b(?i:i)(?i:['’]d|['’]ll|\swould|\swill)?\s(?i:choose|pick|select|go\swith|going\swith|say
            |vote\sfor|opt\sfor|guess|answer|meant|mean|make\s(?:it|that))(?i:\sthat|\sit['’]s|\sit\sis)?
         |\b(?i:leaves?|leaving|left\swith|must\sbe|should\sbe|has\sto\sbe|going\swith|go\swith)
         |^\W{0,4}(?i:(?:so|thus|hence|therefore|then|and|ok|okay|no|yes|final|solution
            |correction|actually|wait|oops|sorry|hmm|ans|a(?=:)|answer)\b[\s,:→=>–—-]{1,4}){1,2}
         |\b(?i:so|hence|thus|therefore)\b[\s,]{1,3}(?=\(?[A-Z]\)?\W{0,4}$)
         |^\W{0,4}(?=(?:(?i:option|choice|letter)\s)?\(?[A-Z]\)?
            (?:\W{0,4}$|[).:,]{1,2}\s|\s[–—-]\s|\s(?i:because|since|as)\b))
        )
        [\s:]{0,3}(?i:(?:clearly|definitely|likely|probably|therefore|thus|still|actually|only
            |indeed|in\sfact|simply|either|with|for)\s){0,2}
        [\s'"({\[<]{0,3}(?:(?i:the|option|choice|letter|answer)\s){0,2}
        (?:\(\s?(?P<p>[A-Za-z])\s?\)|(?P<u>(?!I\s[a-z])[A-Z])(?![\w'’#]|\+\+|-\w)|(?P<l>[b-z])(?=\W{0,3}$))
      |(?:\((?P<p2>[A-Za-z])\)|\b(?P<u2>[A-Z])|^(?P<l2>[b-z])(?=\s))\)?\W{0,3}\s?
         (?i:is|was|seems|would\sbe|must\sbe|has\sto\sbe|looks|it\sis)\s?
         (?i:the\s|also\s|clearly\s|obviously\s|indeed\s|definitely\s|therefore\s|only\s|most\s){0,3}
         (?i:correct|right|best|better|answer|true|likely|accurate|appropriate|valid|option|choice|one\b
            |(?<=it\sis))""",
    re.VERBOSE,
)
_MAY_NAME = re.compile(
    r"(?<![\w'’])[A-Z](?![\w'’])|\([A-Za-z]\)|(?<![\w'’])[b-z](?=\W{0,3}$|\sis\s)"
)
_NAMED = re.compile(
    r"\(([A-Z])\)|\b[Oo]ption ([A-Z])\b|\b[Cc]hoice ([A-Z])\b|\b([A-Z])\)|\b[Oo]ption ([a-z])\b"
)
_NAMED_AT_END = re.compile(r"\b([A-Z])(?!\+\+|#)\W{0,3}$")
_REASON = re.compile(r"\b(?:because|since|as|for|given)\b", re.IGNORECASE)
_CLAUSE_MARKS = re.compile(r"[,;:()]\s|\s[(]|[.,;:!?)]+$")

# A whole answer that opens with its option: "B) Paris, for ...".
_OPENING = re.compile(r"\W{0,4}([A-Z])(?:[).:]|\s*$)")
_LABELED = re.compile(r"\s?\*{0,2}\(?[A-Z]\)\s")
_NOT_BEFORE = re.compile(r"(?:\bnot|n['’]t|\bneither|\bnor|\bnever)(?:\s(?:the|an?))?$")
_WORD = re.compile(r"[^\W_]+")
_LABEL = re.compile(r"(?:^|(?<=\s))[(\[*_-]{0,4}([A-Z])[)\].:*]{1,3}\s")

_LOOK_ALIKES = str.maketrans("АВСЕНКМОРТХІЈЅавсеох", "ABCEHKMOPTXIJSabceox")
_CJK = r"[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]"
_BESIDE_CJK = re.compile(rf"(?<={_CJK})([A-Z])(?![A-Za-z])|(?<![A-Za-z])([A-Z])(?={_CJK})")
_CYRILLIC_LETTER = re.compile(r"(?<!\w)[АВСЕНКМОРТХІЈЅ](?!\w)|(?<=\()[авсе](?=\))")


def score(text: str, item: Item, truncated: bool) -> Score:
    """1.0 where the option named is the right one, 0.0 where it is another."""
    named = _finally_named(_readable(text), item.choices, truncated)
    if named == _CONTRADICTION:
        return DISAGREE
    if not named:
        return missing(truncated)
    return CONFLICT if len(named) > 1 else float(item.answer in named)


def _readable(text: str) -> str:
    """The text with letters of other widths and alphabets as those that they stand for."""
    if text.isascii():
        return text
    text = _BESIDE_CJK.sub(lambda found: f" {found[1] or found[2]} ", text)
    text = _CYRILLIC_LETTER.sub(lambda found: found[0].translate(_LOOK_ALIKES), text)
    return half_width(text)


def _finally_named(text: str, choices: tuple[str, ...], truncated: bool) -> _Named:
    """Letters of the options that are given as the final answer."""
    cut = truncated or is_loop(text)
    for statement in statements(text):
        if cut and (not statement.text.strip() or may_go_on(statement, text)):
            return _stated(statement, choices, cut) if _LABELED.match(statement.text) else _NOTHING
        if named := _stated(statement, choices, cut):
            return named
        if cut and correction(statement.text):
            return _NOTHING
    if cut:
        first, _, rest = text.partition("\n")
        return _whole(first, choices) if rest.strip() else _NOTHING
    return _without_statement(text, choices)


def _stated(statement: Statement, choices: tuple[str, ...], cut: bool) -> _Named:
    """The options that an announced answer names, or its correction."""
    content = statement.text.strip()
    if statement.is_closed:
        taken_back = correction(statement.after, follows=True)
        named = _named(first_line(content), choices)
    else:
        whole = _by_text(_plain(content), choices, shortest=3)
        if whole and not whole[1].strip(" ."):
            return frozenset(whole[0])
        taken_back = correction(content)
        said = taken_back.before if taken_back else content
        named = _named(first_line(said.strip()), choices)
    if taken_back and not taken_back.confirms:
        corrected = _without_statement(taken_back.rest.strip(" ,:;.—–-"), choices)
        return _NOTHING if cut else corrected or (_NOTHING if taken_back.denies else named)
    return named


def _without_statement(text: str, choices: tuple[str, ...]) -> _Named:
    """The options that a text without "the answer is" gives as the answer."""
    letters = _letters(choices)
    first = first_line(text)[:400]
    text = without_markup(text[-2000:])
    if verdicts := _by_verdicts(text, letters):
        return verdicts
    if _is_list_of_all(text, choices):
        return _NOTHING
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines:
        return _NOTHING
    others = lines[1:]
    if not _is_label(first, others) and len(named := _whole(first, choices)) == 1:
        return (_last_stated(others, letters) if _takes_back(others) else _NOTHING) or named
    if stated := _last_stated(_without_labeled(lines), letters):
        return stated
    last = last_line(text)
    if (named := _whole(last, choices)) and not _is_label(last, lines):
        return named
    for sentence in sentences(_plain(last)):
        if named := _named(sentence, choices):
            return named
    return _opening(first, choices)


def _without_labeled(lines: list[str]) -> list[str]:
    """The lines without those that go through the options, one by one."""
    labeled = [line for line in lines if _LABEL.match(line)]
    return [line for line in lines if line not in labeled] if len(labeled) > 2 else lines


def _takes_back(lines: list[str]) -> bool:
    return correction(" ".join(lines)[:800], follows=True) is not None


def _is_label(line: str, others: list[str]) -> bool:
    """Whether a line that opens with a letter is one of a list whose other lines do, too."""
    found = _LABEL.match(line)
    return bool(found and found[1] == "A" and others and _LABEL.match(others[0]))


def _whole(line: str, choices: tuple[str, ...]) -> _Named:
    """The option that a line is: a letter, a text, or both, and nothing else."""
    if len(line) > 400:
        return _NOTHING
    line = _plain(line).strip(" .,;:!?'’✅✔✓=>∴→")
    if not line:
        return _NOTHING
    letters = _letters(choices)
    if (first := _leading(line, choices)) is None:
        return _NOTHING
    letter, rest = first
    if letter == "?":
        return _CONTRADICTION
    if letter not in letters or rest.strip(" .,;:!?)]}>'’\"(✅✔✓"):
        return _NOTHING
    return frozenset(letter)


def _by_verdicts(text: str, letters: str) -> _Named:
    """The options called right, where at least two are each called right or wrong."""
    verdicts: dict[str, bool] = {}
    if not _MAY_NAME.search(text):
        return _NOTHING
    given = [found.groups() for found in _VERDICT.finditer(text)]
    given = given or [found.groups() for found in _VERDICT_AT_END.finditer(text)]
    if not text.isascii():
        given = [found.groups()[::-1] for found in _MARK_FIRST.finditer(text)] or given
    for letter, verdict in given:
        if letter in letters:
            verdicts[letter] = not _NEGATIVE.search(verdict)
    if len(verdicts) < 2:
        return _NOTHING
    return frozenset(letter for letter, is_right in verdicts.items() if is_right)


def _is_list_of_all(text: str, choices: tuple[str, ...]) -> bool:
    """Whether a text is no more than the options, by letter, by text or both, in their order."""
    if len(text) > 4000 or len(choices) < 3:
        return False
    letters = list(_letters(choices))
    words = [word for word in _WORD.findall(text.lower()) if word not in ("and", "or")]
    if words == [letter.lower() for letter in letters]:
        return True
    rest, place = _comparable(text), 0
    kept = []
    for choice in choices:
        whole = _comparable(without_markup(choice))
        start = rest.find(whole, place) if whole else -1
        if start < 0:
            return False
        kept.append(rest[place:start])
        place = start + len(whole)
    kept.append(rest[place:])
    between = [_WORD.findall(part) for part in kept]
    return not between[-1] and all(len(part) < 2 for part in between[1:]) and len(between[0]) < 10


def _last_stated(lines: list[str], letters: str) -> _Named:
    """The option that the last sentence states as the answer."""
    for line in reversed(lines):
        if not _MAY_NAME.search(line):
            continue
        for sentence in reversed(sentences(_plain(line))):
            if _MAY_NAME.search(sentence) and (named := _stated_in(sentence, letters)):
                return named
    return _NOTHING


def _stated_in(sentence: str, letters: str) -> _Named:
    """The option that a sentence states as the answer."""
    named = _NOTHING
    kept = _DENIED.sub(" ", sentence)
    for found in _STATED.finditer(kept):
        here = _stated_there(kept, found)
        if here and here <= set(letters) and not _only_article(kept, found):
            named = here
    return named


def _stated_there(sentence: str, found: re.Match[str]) -> _Named:
    """The option stated, with those that are joined to it; none where there are three or more."""
    group = next(name for name, letter in found.groupdict().items() if letter)
    start = found.start(group)
    for several in _TOGETHER.finditer(sentence):
        if several.start() <= start < several.end():
            together = frozenset(_ANY_LETTER.findall(several[0]))
            if found[group] in _ANY_LETTER.findall(sentence[several.start() : start]):
                break  # "between A and C, C is right"
            return together if len(together) < 3 else _NOTHING
    return frozenset(found[group].upper())


def _only_article(sentence: str, found: re.Match[str]) -> bool:
    """Whether the letter is rather a word: "it is A city", "I think"."""
    letter = found["u"]
    return letter in ("A", "I") and bool(_ONLY_ARTICLE.match(sentence, found.end()))


def _named(line: str, choices: tuple[str, ...]) -> _Named:
    """Letters of the options that a final statement names."""
    line = _plain(line)
    is_denied = _DENIED.match(line.lstrip(" :")) and not _by_text(line, choices, shortest=3)
    if not is_denied and (first := _leading(line, choices)):
        letter, rest = first
        named = {letter}
        while (alternative := _ALTERNATIVE.match(rest)) and (
            following := _leading(rest[alternative.end() :], choices)
        ):
            named.add(following[0])
            rest = following[1]
        return _CONTRADICTION if "?" in named else frozenset(named)
    sentence = first_sentence(line)
    if is_denied:
        sentence = _REASON.split(sentence, maxsplit=1)[0]
    return _anywhere(_DENIED.sub("", sentence) if _MAY_NAME.search(sentence) else sentence, choices)


def _plain(line: str) -> str:
    return without_markup(line) if not line.isalnum() else line


def _leading(line: str, choices: tuple[str, ...]) -> tuple[str, str] | None:
    """The option that the line opens with, as its letter, and what follows it.

    An option's text goes before a bare letter, for "E. coli" is not option E, unless the text
    is so short that it may be a letter itself. The letter is "?" where the text of another option
    follows it.
    """
    letters = _letters(choices)
    if hedge := _HEDGE.match(line):
        by_text = _by_text(line, choices, shortest=3)
        if by_text:
            return by_text
        line = line[hedge.end() :]
    if (found := _IN_PARENTHESES.match(line)) and found[1].upper() in letters:
        return _with_text(found[1].upper(), line[found.end() :], choices)
    if by_text := _by_text(line, choices, shortest=3):
        return by_text
    if (found := _LETTER.match(line)) and found[1] in letters:
        letter, rest = found[1], line[found.end() :]
        if letter not in "AI" or not _ONLY_ARTICLE.match(rest):
            return _with_text(letter, rest, choices)
        if own := _own_text(letter, rest, choices):
            return own
    if by_text := _by_text(line, choices, shortest=1) or _by_value(line, choices):
        return by_text
    for pattern in (_LOWER_LETTER, _LOWER_OPTION):
        if (found := pattern.match(line)) and found[1].upper() in letters:
            return _with_text(found[1].upper(), line[found.end() :], choices)
    if (found := _ORDINAL.match(line)) and choices:
        place = (
            len(choices) - 1 if found[1].lower() == "last" else _ORDINALS.index(found[1].lower())
        )
        if place < len(choices):
            return _own_text(letters[place], line[found.end() :], choices) or (
                letters[place],
                line[found.end() :],
            )
    return None


def _with_text(letter: str, rest: str, choices: tuple[str, ...]) -> tuple[str, str]:
    """A letter and what follows it, past its own text; "?" where another option's text follows."""
    if own := _own_text(letter, rest, choices):
        return own
    separator = _SEPARATES.match(rest)
    if separator and separator[0].strip() and "." not in separator[0].replace(").", ")"):
        other = _by_text(rest[separator.end() :], choices, shortest=1)
        if other and other[0] != letter and _REST_OF_TEXT.match(other[1]):
            return "?", other[1]
    elif rest.startswith((". ", " ")):
        other = _by_text(rest[1:].strip(), choices, shortest=1)
        if other and other[0] != letter and not other[1].strip(" .)"):
            return "?", other[1]
    return letter, rest


def _own_text(letter: str, rest: str, choices: tuple[str, ...]) -> tuple[str, str] | None:
    """The letter and what follows its text, where its text follows it: "(A) Paris or (B)"."""
    repeated = _by_text(rest.lstrip(" ).:,(=–—-"), choices, shortest=1)
    return repeated if repeated and repeated[0] == letter else None


def _by_text(line: str, choices: tuple[str, ...], shortest: int) -> tuple[str, str] | None:
    """The option whose text, of at least that length, the line opens with.

    The letter is "?" where that of another option follows it; nothing is named where the text is
    said to be wrong.
    """
    for start in dict.fromkeys((0, len(line) - len(line.lstrip(" :'")), _lead_in(line))):
        opening = _comparable(line[start:], keep_end=True)
        for letter, text in _texts(choices):
            size = len(text)
            if size >= shortest and opening.startswith(text) and not _GOES_ON.match(opening, size):
                rest = opening[size:]
                if _WRONG.match(rest):
                    return None
                label = _LETTER_AFTER.match(rest)
                if label and label[1].upper() in _letters(choices) and label[1].upper() != letter:
                    return "?", rest[label.end() :]
                return letter, rest
    return None


def _by_value(line: str, choices: tuple[str, ...]) -> tuple[str, str] | None:
    """The option whose value a line that is a number has: "0.75" or "3 * 5 = 15"."""
    values = _values(choices)
    if not values or not any(map(str.isdigit, line)):
        return None
    found = Line(plain(first_sentence(line)))
    if (
        len(found.quantities) != 1
        or found.before(0)
        or found.quantities[0].last < len(found.tokens)
    ):
        return None
    value = found.quantities[0].value
    fitting = [letter for letter, other in values if other == value]
    return (fitting[0], "") if len(fitting) == 1 else None


def _anywhere(sentence: str, choices: tuple[str, ...]) -> _Named:
    if several := _TOGETHER.search(sentence):
        together = frozenset(_ANY_LETTER.findall(several[0])) & set(_letters(choices))
        return together if len(together) == 2 else _NOTHING
    named = {
        letter.upper() for found in _NAMED.finditer(sentence) for letter in found.groups() if letter
    }
    if not named and (found := _NAMED_AT_END.search(sentence)):
        named = {found[1]}
    letters = _letters(choices)
    if named:
        named &= set(letters)
        return _NOTHING if len(named) > 2 and len(named) == len(letters) else frozenset(named)
    if (ordinal := _ORDINAL_ANYWHERE.search(sentence)) and ordinal[1].lower() in _ORDINALS:
        place = _ORDINALS.index(ordinal[1].lower())
        return frozenset(letters[place : place + 1]) if choices else _NOTHING
    whole = f" {_CLAUSE_MARKS.sub(' ', _comparable(sentence))} "
    found_texts = [
        (letter, text)
        for letter, text in _texts(choices)
        if len(text) > 2
        and f" {text} " in whole
        and not _NOT_BEFORE.search(whole.partition(f" {text} ")[0])
        and not _WRONG.match(whole.partition(f" {text}")[2])
    ]
    return frozenset(
        letter
        for letter, text in found_texts
        if not any(text in other and text != other for _, other in found_texts)
    )


def _opening(line: str, choices: tuple[str, ...]) -> _Named:
    found = _OPENING.match(_DENIED.sub("", without_markup(line)))
    return frozenset({found[1]} & set(_letters(choices))) if found else _NOTHING


def _letters(choices: tuple[str, ...]) -> str:
    return ascii_uppercase[: len(choices) or 26]


def _lead_in(text: str) -> int:
    found = _LEAD_IN.match(text)
    return found.end() if found else 0


def _comparable(text: str, *, keep_end: bool = False) -> str:
    """A text in lower case, with formulas in one form."""
    if not text.isascii() or "\\" in text or "{" in text or "^" in text:
        text = plain(without_markup(text))
    text = text.lower()
    return text if keep_end else text.rstrip(" .,;:")


@lru_cache(maxsize=16384)
def _texts(choices: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """(letter, text in lower case) of the options, longest first; ambiguous ones left out."""
    texts = [_comparable(without_markup(c)[_lead_in(without_markup(c)) :]) for c in choices]
    whole = [_comparable(without_markup(c)) for c in choices]
    unique = [
        (letter, form)
        for letter, text, full in zip(ascii_uppercase, texts, whole, strict=False)
        for form in dict.fromkeys((full, text))
        if form and texts.count(text) == 1
    ]
    return tuple(sorted(unique, key=lambda option: -len(option[1])))


@lru_cache(maxsize=16384)
def _values(choices: tuple[str, ...]) -> tuple[tuple[str, float], ...]:
    """(letter, value) of the options that are numbers."""
    found = []
    for letter, text in zip(ascii_uppercase, choices, strict=False):
        line = Line(plain(text))
        numbers = line.quantities
        if len(numbers) == 1 and not line.before(0) and numbers[0].last == len(line.tokens):
            value = numbers[0].value
            if value is not None:
                found.append((letter, value))
    return tuple(found)
