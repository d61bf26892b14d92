"""Whether an answer is in another language than English, which the judges cannot read."""

from __future__ import annotations

import re

from evenhand.scorers.refusal_signs import NAMES, Signs

_UNKNOWN = NAMES.index("unknown words")
_READ = 600
_MANY_UNKNOWN = 0.68
_GLANCE = 40
_WORD = re.compile(r"[^\W\d_]+")

_ENGLISH_WORDS = (
    "the of and to in is it you that for with this on as are be a i not can your have or if do "
    "but my at by from was we they"
)
# Words that are frequent in another language and rare in English.
_OTHER_WORDS = (
    "el la los las una que por para con puedo siento pero como muy esto eso su del es se lo ayudar "
    "le les des je ne pas vous est une pour dans sur avec mais suis cette peux désolé aider ça qui "
    "der die das und ich nicht ist ein eine zu mit für auf kann ihnen dir leider aber sie wie "
    "il che non sono per di mi dispiace posso questo della gli come uma não você posso isso com os "
    "het een niet van ik dat kan maar voor met nie jest się na och att jag inte det som är"
)
_ENGLISH = frozenset(_ENGLISH_WORDS.split())
_OTHER = frozenset(_OTHER_WORDS.split())


def is_foreign(text: str, signs: Signs) -> bool:
    """Whether the beginning of an answer is in another language.

    Args:
        text: the answer.
        signs: those in it; a closer look is taken only where many of its words are unknown, or its
            first letters are not of English.
    """
    if dict(signs[:2])[_UNKNOWN] < _MANY_UNKNOWN and text[:_GLANCE].isascii():
        return False
    words = _WORD.findall(text[:_READ].lower())
    letters = sum(map(len, words))
    if letters and sum(len(word) for word in words if not word.isascii()) > letters / 2:
        return True
    other = sum(word in _OTHER for word in words)
    return other >= 2 and other > 2 * sum(word in _ENGLISH for word in words)
