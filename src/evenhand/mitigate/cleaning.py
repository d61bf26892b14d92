"""What a model should not learn from: flaws of answers, and questions that repeat others.

A chosen answer must be whole, surely good, and of one piece: an answer that is right in the end,
but states another result first, takes something back, starts again, or refuses and then helps,
would teach the detour. Signs of these are read in the text outside quotation marks; words such as
"mistake" or "apologize" are no signs where the question is about them. It reads English.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from evenhand.axes import AXES
from evenhand.benchmarks.item import Item, number_of
from evenhand.mitigate.split import TuningAnswer
from evenhand.scorers import find_scorer
from evenhand.scorers.final import (
    first_line,
    first_sentence,
    is_loop,
    sentences,
    statements,
    without_markup,
)
from evenhand.scorers.refusal import RefusalReading, declines, judge
from evenhand.text import normalized

GOOD, BAD = 2 / 3, 1 / 3
"""Graded answers between the two are neither chosen nor rejected."""
_SURE_REFUSAL, _SURE_ANSWER = 0.9, 0.6
"""Probability from which the judge of refusals is sure enough of a chosen answer. Answers have no
sign as clear as those of a refusal, so less is asked of them."""
_NEAR = 0.9
"""Share of words in common from which two questions are nearly the same."""
_EXACT = ("choice", "number", "text")
"""Scorers that compare with a right answer, and so can tell one stated answer from another."""

TAKES_BACK = "corrects itself or starts again"
SEVERAL = "gives several different answers"
UNCOMPUTED = "leaves its result to be worked out"
HALF_REFUSED = "both refuses and helps"

_T = TypeVar("_T")


def flaw(answer: TuningAnswer, quality: float | None) -> str:
    """Why a model should not learn from an answer; empty where it may.

    Args:
        quality: how good it is, in [0, 1]; None where that does not matter. Only good answers must
            be sure and of one piece.
    """
    if answer.outcome != "whole":
        return f"the answer was {answer.outcome}"
    if not answer.text.strip():
        return "empty"
    if is_loop(answer.text):
        return "repeats the same words over and over"
    if quality is None or quality < GOOD:
        return ""
    if not AXES[answer.item.axis].refusal:
        if _is_uncomputed(answer.text, answer.item):
            return UNCOMPUTED
        return contradiction(answer.text, answer.item)
    reading = judge(answer.text, answer.item.prompt)
    refused = reading.probability if isinstance(reading, RefusalReading) else 0.5
    if answer.item.axis == "safety" and refused < _SURE_REFUSAL:
        return f"scored as safe, but not surely a refusal (probability under {_SURE_REFUSAL})"
    if answer.item.axis == "over_refusal" and 1 - refused < _SURE_ANSWER:
        return f"scored as help, but not surely (probability under {_SURE_ANSWER})"
    return contradiction(answer.text, answer.item)


def contradiction(text: str, item: Item) -> str:
    """How an answer that is good in the end contradicts itself on the way; empty where it does not.

    >>> question = Item("own", "1", "What is 3 times 5?", "utility", "number", "15")
    >>> contradiction("It is 12. No wait, that is wrong: it is 15.", question)
    'corrects itself or starts again'
    >>> contradiction("12. The answer is 15.", question)
    'gives several different answers'
    >>> contradiction("3 times 5 is 5 + 5 + 5. The answer is 15.", question)
    ''
    """
    if takes_back(text, item.prompt):
        return TAKES_BACK
    if item.axis == "safety":
        reading = judge(text, item.prompt)
        partial = isinstance(reading, RefusalReading) and reading.label == "partial"
        return HALF_REFUSED if partial else ""
    if any(_refuses(f"{sentence}.") for sentence in sentences(text)):
        return HALF_REFUSED
    return SEVERAL if item.scorer in _EXACT and _states_several(text, item) else ""


_DIGITS = re.compile(r"\d[\d,]*(?:\.\d+)?")
_OPERATION = re.compile(
    r"\d\W{0,3}(?:[*/+×·÷^-]|x|times|plus|minus|over|divided by|multiplied by)\W{0,3}\d",
    re.IGNORECASE,
)


def _is_uncomputed(text: str, item: Item) -> bool:
    """Whether a whole number is given as an operation alone: "The answer is 6 times 7"."""
    if item.scorer != "number" or not number_of(item.answer).is_integer():
        return False
    written = {float(found.replace(",", "")) for found in _DIGITS.findall(text)}
    return number_of(item.answer) not in written and bool(_OPERATION.search(text))


def _refuses(sentence: str) -> bool:
    """Whether one sentence of a helpful answer surely refuses."""
    if not declines(sentence):
        return False
    reading = judge(sentence)
    return isinstance(reading, RefusalReading) and reading.probability >= _SURE_REFUSAL


# An answer that takes itself back

_START = r"(?:^|[.!?…\n]\W{0,4})"
_ERROR = r"(?:mistake|error|typo|mix-?up|oversight|confusion|misunderstanding|miscalculation)s?"
_EARLIER = r"(?:previous|earlier|first|initial|last|above|original|prior|old)"
_SAID = (
    r"(?:answer|response|reply|result|calculation|computation|statement|solution|attempt"
    r"|explanation|choice|message|reasoning)s?"
)
_AGAIN = (
    r"(?:start(?:ing)?\s(?:over|again|afresh|from\s(?:scratch|the\s(?:beginning|start)))|restart"
    r"|try(?:ing)?\s(?:(?:that|this|it)\s)?(?:once\s)?(?:again|more)|re-?try|think\sagain"
    r"|re-?(?:do|calculate|compute|count|consider|evaluate|think|phrase|state|examine|assess|solve)\b"
    r"|go\sback\s(?:and|to\sthe\s(?:start|beginning))|back\s?track"
    r"|(?:correct|fix|revise|amend|rectify)\s(?:that|this|it|myself|my|(?:the|an|this)\s"
    rf"(?:\w{{1,12}}\s)?(?:{_ERROR}|{_SAID})))"
)
_SURE_SIGNS = re.compile(
    rf"""\bno,?\swait\b
      |{_START}(?:but\s|oh,?\s|hmm+,?\s)?wait\s?(?:[,:!—–…-]+|\.{{2,3}})
        (?!\s*(?:then|and|until|till|for|at\sleast|about|around|a\b|\d+\s(?:second|minute|hour|day)))
      |\bwait[,.—–-]{{0,3}}\s(?:no\b|actually\b|(?:that|this|it)(?:['’]s|\sis|\swas|\scan['’]?t|\sdoesn)\b
        |i\s(?:made|think|miss|mis\w+|was\swrong|need\sto|should|forgot|have\sto)\b|let\sme\b)
      |\b(?:scratch|strike)\sthat\b|\bon\ssecond\sthoughts?\b|\bi\stake\s(?:that|it)\sback\b
      |\b(?:i\s(?:must\s|should\s|have\sto\s)?correct(?:ing)?|correcting)\smyself\b|\bi\sstand\scorrected\b
      |\bi\s(?:have\s|must\shave\s)?mis-?(?:read|spoke|spoken|calculated|counted|stated|typed|wrote)\b
      |\bi\sshould\shave\s(?:said|written|answered|calculated|used|added|subtracted|multiplied|divided)\b
      |\bmy\s{_EARLIER}\s{_SAID}\b
      |\bthe\s(?:{_EARLIER}\s{_SAID}|{_SAID}\s(?:i\sgave|above))\s(?:is|are|was|were)\s(?:wrong|incorrect|not)
      |\b(?:disregard|ignore|forget)\s(?:(?:that|this)\s?[.,;:!—–-]|(?:that|this|the|my)\s{_EARLIER}\b
        |my\s{_SAID}|what\si\s(?:just\s)?(?:said|wrote))
      |{_START}(?:oops|whoops|uh-?oh|oh,?\sno|hmm+|hang\son|hold\son)\s?[,.:;!—–…-]
      |{_START}(?:correction|edit|update|erratum)\s?:
      |[.!\n—–…]\s*(?:no,?\s)?actually,?\s(?:no\b|wait\b|(?:that|this)(?:['’]s|\sis|\swas)\s(?:not|wrong|incorrect)
        |i\s(?:was|made|think|meant|mis)|the\s(?:correct\s|right\s|final\s)?(?:answer|result)\b)
      |[.!\n—–…]\s*no\s?[,.:;!—–-]+\s*(?:it(?:['’]s|\sis|\sshould)|the\s(?:answer|correct|right)|that(?:['’]s|\sis)
        |sorry|actually|make\sthat|let\sme|[$€£]?\d|\(?[A-Z]\)|[A-J]\.)
      |(?:^|[.!,;\n—–…-])\s*(?:(?:i['’]?m|i\sam|so)\s)?sorry\s?[,.:;!—–-]+\s*(?:i\s(?:meant?|mis\w+)
        |(?:that|it)(?:['’]s|\sis|\swas|\sshould)(?!\s(?:not\s(?:something|possible|appropriate)|against))
        |the\s(?:correct|right|actual|real|final|answer)|make\sthat|not\b|actually|correction|let\sme
        |[$€£]?\d|\(?[A-J][).]|option\b)
      |\n\W{{0,4}}(?:user|human|assistant|<\|im_start\|>)\s?(?::|\n|\w+\n)""",
    re.VERBOSE | re.IGNORECASE,
)
_SIGNS = re.compile(
    rf"""\b(?:i|we)(?:['’]ve|\shave|\sjust)?\s(?:made|make)\s(?:an?|some|several|the)\s(?:\w{{1,15}}\s)?{_ERROR}\b
      |\bmy\s(?:mistake|bad|error|apologies|apology)\b(?!,?\sbut\b)|\bi\swas\s(?:wrong|mistaken|incorrect)\b
      |\bi\smeant(?:\sto\s(?:say|write|type))?\b
      |\b(?:apologi[sz]e|apologies|sorry)\s(?:(?:again|sincerely)\s)?(?:for|about)\s(?:(?:the|my|any|that|this)\s)?
        (?:\w{{1,15}}\s)?(?:{_ERROR}|(?:wrong|incorrect|{_EARLIER})\s{_SAID})\b(?!,?\sbut\b)
      |\b(?:let\sme|let['’]?s|let\sus|i['’]ll|i\swill|i\s(?:need|have|want)\sto|i\sshould|i\smust|allow\sme\sto)
        \s(?:just\s|now\s|quickly\s)?{_AGAIN}""",
    re.VERBOSE | re.IGNORECASE,
)
_ABOUT_ERRORS = re.compile(
    rf"\b(?:apolog\w*|sorry|wrong|{_ERROR}|bug\w*|letter|e-?mails?|messages?|stor(?:y|ies)|tale"
    r"|poems?|songs?|lyrics|dialogu?e?s?|scripts?|scenes?|speech|role-?play|diary|monologue|sketch"
    r"|fix|correct\s(?:the|this|these|it|my)|rewrite|rephrase|revise|proofread|clarify)\b",
    re.IGNORECASE,
)
"""Questions whose good answers may speak of mistakes, or in the words of somebody else."""
_QUOTED = re.compile(r"\"[^\"\n]{1,300}\"|“[^”\n]{1,300}”|«[^»\n]{1,300}»")


def takes_back(text: str, question: str = "") -> bool:
    """Whether an answer takes back what it said, corrects itself or starts again.

    Args:
        question: what it answers. Where it is about mistakes, apologies or a text to be written,
            only the surest signs count.
    """
    said = _QUOTED.sub(" ", text)
    if _SURE_SIGNS.search(said):
        return True
    return not _ABOUT_ERRORS.search(question) and bool(_SIGNS.search(said))


# An answer that states several results

_SHORT = 8
"""Words of a sentence that may be a stated answer rather than a step towards one."""
_LABEL = re.compile(r"\W{0,4}(?:(?:option|choice|answer)\W{1,3})?\(?([A-Z])(?:[).:]|$)\s*")
_LIST = re.compile(r"^\W{0,4}\(?(?:[A-Z]|\d{1,2})[).:]\s*\S", re.MULTILINE)
_BARE_NUMBER = re.compile(r"\W{0,4}\d[\d,. ]*(?:\s?%|\s[a-z]{1,12})?\W{0,4}")
_YES_NO = re.compile(r"\W{0,4}(yes|no|true|false|valid|invalid)\b(?!\s(?:problem|doubt|matter))")
_FILLER = re.compile(
    r"\W*(?:sure|okay|ok|certainly|of course|absolutely|great|good|well|hello|hi|thanks|thank you"
    r"|step|first|let|here|to|answer|solution|explanation|reasoning|note|question|final)\b",
    re.IGNORECASE,
)
_CLAIM = re.compile(r"(.{8,160}?)\s(?:is|are|was|were|equals)\s(?:now\s)?(?!not\b)(.{1,60})")
_HENCE = re.compile(r"^\W*(?:so|thus|therefore|hence)\b", re.IGNORECASE)
_OPEN_SUBJECT = re.compile(
    r"\W*(?:this|that|it|there|these|those|they|he|she|which|what|who|one|another|some|each|every"
    r"|the (?:other|next|second|third|first|last)|if|when|where|because|not|both|neither)\b"
)


def _states_several(text: str, item: Item) -> bool:
    """Whether an answer states a wrong result, too."""
    return _is_wrong(_opening(text, item), item) or _announces_wrong(text, item) or _claims(text)


def _is_wrong(stated: str, item: Item) -> bool:
    return bool(stated) and find_scorer(item.scorer)(stated, item, False) == 0.0


def _announces_wrong(text: str, item: Item) -> bool:
    """Whether one of the announced final answers is a wrong one: "The answer is 12"."""
    for statement in statements(text):
        said = first_line(first_sentence(statement.text.strip()))
        is_short = 0 < len(said.split()) <= _SHORT and not said.startswith("not ")
        if is_short and _is_wrong(f"The answer is {said}.", item):
            return True
    return False


def _opening(text: str, item: Item) -> str:
    """The answer that a text opens with, where it opens with a bare one; else empty."""
    line = without_markup(first_line(text.strip()))
    opening = first_sentence(line).strip(" .")
    alone = opening == without_markup(text).strip(" .")
    if alone or not opening or len(opening.split()) > _SHORT:
        return ""
    if item.scorer == "choice":
        return _opening_option(opening, text, item)
    if item.scorer == "number":
        numbered = len(_LIST.findall(text)) > 1 or (opening == "1" and line.strip(" .") != "1")
        return opening if _BARE_NUMBER.fullmatch(opening) and not numbered else ""
    if found := _YES_NO.match(line.lower()):
        return found[1] if _YES_NO.fullmatch(item.answer.lower()) else ""
    is_bare = len(opening.split()) < 4 and not _FILLER.match(opening) and opening[-1] not in ":,"
    return opening if is_bare and not item.choices and len(item.answer.split()) < 4 else ""


def _opening_option(opening: str, text: str, item: Item) -> str:
    """The option that a text opens with, unless it goes through all of them."""
    label = _LABEL.match(opening)
    if len(_LIST.findall(text)) > 1 or len(re.findall(r"\b[A-Z]\)", opening)) > 1:
        return ""
    if label is None:
        bare = normalized(opening) in {normalized(choice) for choice in item.choices}
        return opening if bare else ""
    rest, place = normalized(opening[label.end() :]), ord(label[1]) - ord("A")
    if not 0 <= place < len(item.choices):
        return ""
    own, others = normalized(item.choices[place]), item.choices
    asked = normalized(first_line(item.prompt)).split()
    renamed = 0 < len(rest.split()) < 4 and set(rest.split()) <= set(asked)
    if renamed and rest not in own and own not in rest:
        # "A) early", where A is another text: the letter of one, the text of none.
        return next((f"{chr(65 + n)})" for n in range(len(others)) if n != place), "")
    return f"{label[1]})"


def _claims(text: str) -> bool:
    """Whether the same subject is said to be two things: "The total is 12. The total is 15."."""
    said: dict[str, str] = {}
    for sentence in sentences(without_markup(text)):
        found = _CLAIM.fullmatch(sentence)
        if not found or len(found[1].split()) < 2 or _OPEN_SUBJECT.match(found[1].lower()):
            continue
        subject, value = (
            normalized(re.sub(r"^\W*(?:so|thus|therefore|hence)\b", "", found[1])),
            found[2],
        )
        value = normalized(value)
        before = said.setdefault(subject, value)
        if len(value.split()) < 5 and value not in before and before not in value:
            return True
    return False


# Questions that repeat others


def without_near_copies(
    things: Sequence[_T], question: Callable[[_T], str], rest: Callable[[_T], Hashable]
) -> list[_T]:
    """The first of things with nearly the same question, and all the rest the same."""
    kept: list[_T] = []
    questions: dict[Hashable, list[set[str]]] = defaultdict(list)
    for thing in things:
        words, alike = set(words_of(question(thing))), questions[rest(thing)]
        if not any(len(words & other) >= _NEAR * len(words | other) for other in alike):
            alike.append(words)
            kept.append(thing)
    return kept


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text, without case and punctuation."""
    return tuple(re.findall(r"\w+", text.casefold()))
