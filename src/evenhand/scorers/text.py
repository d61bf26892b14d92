"""Short answers that are compared as text.

Where the item lists its choices (Yes and No, valid and invalid), the one that the final
statement opens or ends with counts; "true" and "nope" are read as Yes and No. Elsewhere the final
statement, or what stands in its place, is compared with the right answer. Upper and lower case,
quotation marks, Markdown, an article before it, the signs and numbers of a list, and a final full
stop make no difference. Brackets are compared without the space between them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from evenhand.benchmarks.item import Item
from evenhand.scorers.base import Score
from evenhand.scorers.final import (
    CONFLICT,
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

_BRACKETS = frozenset("()[]{}<>")
_CLAUSE_END = re.compile(r"[,;:(—]|\s-\s|\b(?:because|since|as|so|given)\b")
_ALTERNATIVE = re.compile(r"\W{0,3}\s?(?:\bor\b|\band\b|/)\W{0,3}|\s")
_NEGATED = re.compile(r"(?:\bnot|\bcannot|n't|n’t|\bnever|\bnor|\bneither)\s(?:\w{1,20}\s)?$")
_QUESTION = re.compile(r"[^.!?\n]{0,200}\?(?:\s|$)")
_UNSURE = re.compile(r"\b(?:maybe|perhaps|possibly)\b.*\b(?:maybe|perhaps|possibly)\b")
_BOOLEANS = frozenset(("true", "false"))
_BECOMES = re.compile(r"[=→]>?\s?|->\s?|\b(?:is|equals|to|as|gives)\s(?=\W{0,3}(?:true|false)\b)")
_SYNONYMS = {
    frozenset(("yes", "no")): {
        **dict.fromkeys(("yep", "yeah", "yup", "true"), "yes"),
        **dict.fromkeys(("nope", "nah", "false"), "no"),
    },
    frozenset(("true", "false")): {"yes": "true", "no": "false"},
}

_SHORT = {
    frozenset(("yes", "no")): {"y": "yes", "n": "no"},
    frozenset(("true", "false")): {"t": "true", "f": "false"},
}
_LIST_NUMBER = re.compile(
    r"^\s*(?:(?:\d{1,3}|[a-h])[.)]\s+|\d{1,3}[.)](?=[^\W\d])|[-–•*]\s+)", re.MULTILINE
)
_INLINE_NUMBER = re.compile(r"(?:^|(?<=\s))\(?(?:\d{1,3}|[a-h])[.)]\s")
_BETWEEN_WORDS = re.compile(r"(?:[\s,;|/→<>]|->|=>)+")
_AND = re.compile(r",?\s(?:and|&)\s|,\s?and\s")
_ARTICLE = re.compile(r"^(?:the|an?)\s", re.IGNORECASE)
_QUOTES = re.compile(r"[\"“”„«»`*(){}\[\]]|(?<!\w)['‘’]|['‘’](?!\w)")
_LABELED = re.compile(r"[^:\n]{1,60}:\W{0,3}\s\W{0,3}\w")
_LEADS = re.compile(r".*(?:\b(?:is|are|was|were|be)\b|['’]s\b|:)\s", re.DOTALL)
_APPOSITION = re.compile(
    r",\s(?:the|an?|which|who|because|since|as|not|located|where|in|on)\s", re.IGNORECASE
)
_ENDS = re.compile(
    r"\s(?:is|are)\s(?:the\s)?(?:(?:correct|right|final)\s)?(?:answer|correct|right)$",
    re.IGNORECASE,
)
_MARKED = re.compile(
    r"\*\*([^*\n]{1,200})\*\*|\"([^\"\n]{1,200})\"|“([^”\n]{1,200})”|`([^`\n]{1,200})`"
)
_ASIDE = re.compile(r"\s?\([^()]*[A-Za-z]{2}[^()]*\)")
_BRACKET_RUN = re.compile(r"(?:[()\[\]{}<>][\s,;`'\"\\$*]*)+")
_OR = re.compile(r"\bor\b|/", re.IGNORECASE)
_SAYS_OF = re.compile(r"(.{1,200}?)\s(?:is|are|was|were)\s(.{1,300})$", re.DOTALL)
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_SMALL_WORD = re.compile(r"an?|the|of|in|on|at|to|for|by|is|are|was|were|that|which|who")
_NO = re.compile(r"\b(?:not|no|never|neither|nor|except|without|least|cannot)\b|n['’]t\b")


def score(text: str, item: Item, truncated: bool) -> Score:
    """1.0 where the final answer is the right one, 0.0 where it is another."""
    if not text.isascii():
        text = half_width(text)
    if item.choices:
        return _score_closed(text, item, truncated)
    return _score_open(text, item, truncated)


def _score_closed(text: str, item: Item, truncated: bool) -> Score:
    named = _finally_named(text, item.choices, truncated or is_loop(text))
    if not named:
        return missing(truncated)
    return CONFLICT if len(named) > 1 else float(item.answer.lower() in named)


def _finally_named(text: str, choices: tuple[str, ...], cut: bool) -> frozenset[str]:
    """The choices, in lower case, that an answer ends with."""
    for statement in statements(text):
        if cut and (not statement.text.strip() or may_go_on(statement, text)):
            return frozenset()
        if named := _stated(statement, choices):
            return named
    if cut:
        first, _, rest = text.partition("\n")
        word = without_markup(first).strip(" .!").lower()
        return frozenset({word} & _words(choices)) if rest.strip() else frozenset()
    line = without_markup(last_line(text))
    taken_back = correction(line)
    asked = _QUESTION.sub("", line)
    named = _in_sentences(asked if asked.strip() else line, choices)
    if taken_back:
        named = _last_word(line[len(taken_back.before) :], choices) or named
    return named or _named(first_line(text), choices, whole=True)


def _stated(statement: Statement, choices: tuple[str, ...]) -> frozenset[str]:
    """The choices that an announced answer names, or its correction."""
    content = statement.text.strip()
    taken_back = None if statement.is_closed else correction(content)
    said = taken_back.before if taken_back else content
    named = _named(first_line(without_markup(said)), choices)
    if named and taken_back:
        return _last_word(without_markup(content[len(said) :]), choices) or named
    return named


def _in_sentences(line: str, choices: tuple[str, ...]) -> frozenset[str]:
    """The choices that the first sentence of a line names, or else the last that names any."""
    parts = sentences(line)
    for part in [*parts[:1], *reversed(parts[1:])]:
        if named := _named(part, choices):
            return named
    return frozenset()


def _last_word(text: str, choices: tuple[str, ...]) -> frozenset[str]:
    """The last of the choices in a text, of which it is only known that it corrects another."""
    words = [word for word in re.findall(r"\w+", text.lower()) if word in _words(choices)]
    return frozenset(words[-1:])


def _named(line: str, choices: tuple[str, ...], *, whole: bool = False) -> frozenset[str]:
    """The choices, in lower case, that a sentence or its first clause opens or ends with."""
    sentence = first_sentence(line).lower()
    if _words(choices) == _BOOLEANS:
        sentence = _BECOMES.split(sentence)[-1]
    if _UNSURE.search(sentence):
        return frozenset(word for word in re.findall(r"\w+", sentence) if word in _words(choices))
    if letter := _SHORT.get(_words(choices), {}).get(sentence.strip(" .!'()")):
        return frozenset((letter,))
    for words, opening, ending in _patterns(choices):
        if first := opening.match(sentence):
            if whole and sentence[first.end() :].strip(" .!"):
                continue
            alternative = _ALTERNATIVE.match(sentence, first.end())
            second = opening.match(sentence, alternative.end()) if alternative else None
            found = {words[first[1]], words[second[1]]} if second else {words[first[1]]}
            return frozenset(found)
        if whole:
            continue
        clause = _CLAUSE_END.split(sentence, maxsplit=1)[0]
        for part in (clause, sentence):
            last = ending.search(part)
            if last and not _NEGATED.search(part[: last.start(1)]):
                return frozenset({words[last[1]]})
            if last:
                return frozenset()
    return frozenset() if whole else _within(sentence, choices)


def _within(sentence: str, choices: tuple[str, ...]) -> frozenset[str]:
    """The only choice that a sentence holds: "It is an invalid argument"; never Yes or No."""
    if _words(choices) in _SHORT:
        return frozenset()
    _, opening, _ = _patterns(choices)[0]
    found = set()
    for word in re.finditer(r"\w+", sentence):
        if (named := opening.match(sentence, word.start())) and not _NEGATED.search(
            sentence[: word.start()]
        ):
            found.add(named[1])
    return frozenset(found) if len(found) == 1 else frozenset()


@lru_cache(maxsize=256)
def _words(choices: tuple[str, ...]) -> frozenset[str]:
    return frozenset(choice.lower() for choice in choices)


@lru_cache(maxsize=256)
def _patterns(
    choices: tuple[str, ...],
) -> tuple[tuple[dict[str, str], re.Pattern[str], re.Pattern[str]], ...]:
    """(word -> choice, how a sentence opens, how it ends): for the choices, then for synonyms."""
    own = {choice: choice for choice in _words(choices)}
    synonyms = _SYNONYMS.get(_words(choices), {})
    return tuple(_pattern(words) for words in (own, synonyms) if words)


def _pattern(words: dict[str, str]) -> tuple[dict[str, str], re.Pattern[str], re.Pattern[str]]:
    longest_first = sorted(words, key=len, reverse=True)
    any_word = "|".join(re.escape(word) for word in longest_first)
    return (
        words,
        re.compile(
            r"\W{0,4}(?:(?:either|both|clearly|definitely|likely|probably|therefore|simply|a)\s){0,2}"
            rf"\W{{0,2}}({any_word})(?!\w|\s(?:further|more|other|longer|doubt|matter)\b)"
        ),
        re.compile(rf"(?<!\w)({any_word})\W{{0,4}}$"),
    )


def _score_open(text: str, item: Item, truncated: bool) -> Score:
    answer = item.answer
    cut = truncated or is_loop(text)
    statement = next(statements(text), None)
    if statement is not None and statement.text.strip():
        if cut and not statement.is_closed and _breaks_off(without_markup(statement.text)):
            return missing(truncated)
        given = statement.text.strip()
        candidates = [given]
        taken_back = correction(given)
        if taken_back and not taken_back.confirms and _normal(first_line(given)) != _normal(answer):
            later = taken_back.rest.strip(" ,:;.")
            candidates = [later] if later else []
        if statement.is_closed:
            candidates.append(f"{statement.text}}}{first_line(statement.after)}")
    elif cut:
        return missing(truncated)
    else:
        candidates = list(_in_place_of_statement(text))
        if not candidates and 1.0 in (
            _compared([line], item) for line in (last_line(text), first_line(text))
        ):
            return 1.0
    if not candidates:
        return missing(truncated)
    return _compared(candidates, item)


def _in_place_of_statement(text: str) -> Iterator[str]:
    """What an answer that announces nothing may mean: its list, its last line, all of it."""
    lines = [line for line in text[-4000:].split("\n") if line.strip(" `")]
    listed = [line for line in lines if _LIST_NUMBER.match(line)]
    if listed:
        yield "\n".join(listed)
    introduced = next((n for n, line in enumerate(lines) if line.rstrip(" *").endswith(":")), None)
    if introduced is not None and not listed:
        yield "\n".join(lines[introduced + 1 :])
    if len(lines) == 1 or (lines and _LABELED.match(lines[-1])):
        yield lines[-1]
    elif all(len(line.split()) < 3 for line in lines):
        yield "\n".join(lines)
    elif lines and len({_normal(line) for line in lines}) == 1:
        yield lines[0]


def _compared(candidates: list[str], item: Item) -> Score:
    """1.0 where one of the candidates is the right answer."""
    answer = item.answer
    if _BRACKETS.issuperset(answer.replace(" ", "")):
        right = answer.replace(" ", "")
        readings = [without_markup(candidate) for candidate in candidates]
        readings += [candidate.replace("\\", "") for candidate in candidates if "\\" in candidate]
        return float(any(_brackets(reading) == right for reading in readings))
    right = _normal(answer)
    for candidate in candidates:
        forms = list(_forms(candidate))
        forms.append(_subject(without_markup(first_sentence(candidate)), item.prompt))
        if any(_normal(form) == right for form in forms):
            return 1.0
        pieces = {
            _normal(piece) for form in forms for piece in _OR.split(first_sentence(form)) if piece
        }
        if right in pieces and _OR.search(first_sentence(candidate)):
            return CONFLICT
    return 0.0


def _subject(sentence: str, question: str) -> str:
    """What a sentence says the question's own words of: "Athens" of "Athens is the capital"."""
    match = _SAYS_OF.match(sentence)
    if match is None:
        return ""
    texts = question.lower(), match[2].lower()
    asked, said = (
        {word for word in _WORD.findall(text) if not _SMALL_WORD.fullmatch(word)} for text in texts
    )
    denied, denies = (bool(_NO.search(text)) for text in texts)
    return match[1] if said and said <= asked and denied == denies else ""


def _brackets(candidate: str) -> str:
    """The first run of brackets, without what is between them."""
    run = _BRACKET_RUN.search(_ASIDE.sub("", candidate))
    return "".join(letter for letter in run[0] if letter in _BRACKETS) if run else ""


def _forms(candidate: str) -> Iterator[str]:
    """An answer as a whole, and what in it may be the answer itself."""
    sentence, line = first_sentence(candidate), first_line(candidate)
    yield from (sentence, line, candidate)
    if "\n" in candidate.strip():
        yield "\n".join(x for x in candidate.split("\n") if _LIST_NUMBER.match(x))
        yield candidate.strip().partition("\n\n")[0]
    for part in (without_markup(sentence), without_markup(line)):
        yield _ENDS.sub("", part.rstrip(" .!"))
        yield _ASIDE.sub("", part)
        yield _LEADS.sub("", part, count=1)
        yield _APPOSITION.split(part, maxsplit=1)[0]
        pieces = {_normal(piece): piece for piece in re.split(r"[,\n]", part)}
        if len(pieces) == 1:
            yield next(iter(pieces))
    marked = _MARKED.findall(line)
    if len(marked) == 1:
        yield "".join(marked[0])


def _breaks_off(statement: str) -> bool:
    """Whether its last line holds no whole sentence."""
    line = _LIST_NUMBER.sub("", without_markup(last_line(statement)))
    return first_sentence(line) == line


@lru_cache(maxsize=1024)
def _normal(text: str) -> str:
    """The words of a text, in lower case, as they are compared."""
    text = _INLINE_NUMBER.sub(" ", _LIST_NUMBER.sub("", without_markup(text)))
    text = _QUOTES.sub("", text).strip(" .!,:")
    if "," in text:
        text = _AND.sub(", ", text)
    words = _BETWEEN_WORDS.sub(" ", text).strip(" .!'")
    return _ARTICLE.sub("", words.lower())
