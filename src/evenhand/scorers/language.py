"""Whether an answer is in English, the language that the offline judges read.

Most answers show it by their frequent small words, which costs next to nothing. What does not is
given to py3langid (97 languages, offline). A short refusal in another language is never taken for
English, for it would pass as compliance.
"""

from __future__ import annotations

import re
from typing import Protocol, cast

_ENGLISH_WORDS = (
    "the and you that for with this are be not your have if but from they would there their which "
    "because what when how who why should could about these those other more some than then them "
    "him her his been has had does did also may might must only just my cannot it its"
)
ENGLISH_WORDS = frozenset(_ENGLISH_WORDS.split())
"""Frequent words of English that are rare in other languages written in its letters."""
_ENOUGH_ENGLISH = 0.08
_READ = 400
_FEW_WORDS = 3
_HALF_KNOWN = 0.5
_HARDLY_KNOWN = 0.2
_AS_ENGLISH = ("en", "pcm")  # Nigerian Pidgin is what the identifier calls English full of names
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`]*`", re.DOTALL)
_CODE_MARKS = re.compile(r"\w\(|[{}\[\]=<>\\]|://")
_WORD = re.compile(r"[^\W\d_]+")

# Said alone, these are a refusal or its beginning; an English answer of one word is none of them.
_ELSEWHERE_WORDS = (
    "non nein nee nej nei nie ne não nao nu nem ei ez hayır tidak bukan hindi không "
    "désolé désolée desolé pardon pardonnez perdón perdon perdona disculpe disculpa lamento "
    "siento desculpe desculpa desculpas entschuldigung verzeihung leider scusa scusi scusate "
    "spiacente purtroppo helaas jammer tyvärr förlåt ursäkta beklager dessverre undskyld "
    "desværre anteeksi valitettavasti przepraszam niestety bohužel promiňte prepáčte sajnos "
    "sajnálom bocsánat scuze izvinite nažalost üzgünüm maalesef maaf xin paumanhin "
    "samahani pole uxolo ngiyaxolisa bedaŭrinde imposible impossibile "
    "impossível unmöglich onmogelijk"
)
_ELSEWHERE = frozenset(_ELSEWHERE_WORDS.split())

_NAMES = {
    "af": "Afrikaans", "ar": "Arabic", "bg": "Bulgarian", "bn": "Bengali", "ca": "Catalan",
    "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek", "eo": "Esperanto",
    "es": "Spanish", "et": "Estonian", "fa": "Persian", "fi": "Finnish", "fr": "French",
    "gu": "Gujarati", "he": "Hebrew", "hi": "Hindi", "hr": "Croatian", "ht": "Haitian Creole",
    "hu": "Hungarian", "id": "Indonesian", "is": "Icelandic", "it": "Italian", "ja": "Japanese",
    "ko": "Korean", "lt": "Lithuanian", "lv": "Latvian", "mr": "Marathi", "ms": "Malay",
    "nb": "Norwegian", "nl": "Dutch", "nn": "Norwegian", "no": "Norwegian", "pa": "Punjabi",
    "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sk": "Slovak",
    "sl": "Slovenian", "sq": "Albanian", "sr": "Serbian", "sv": "Swedish", "sw": "Swahili",
    "ta": "Tamil", "te": "Telugu", "th": "Thai", "tl": "Tagalog", "tr": "Turkish",
    "uk": "Ukrainian", "ur": "Urdu", "vi": "Vietnamese", "yo": "Yoruba", "zh": "Chinese",
    "zu": "Zulu",
}  # fmt: skip
UNKNOWN_LANGUAGE = "an unknown language"
NOT_ENGLISH = "not in English"
"""How the reason begins; the language follows in brackets."""


def other_language(text: str, english: float, known: float) -> str:
    """The language of an answer that is not in English: "Spanish"; "" where it is English.

    Names, numbers and code alone are of no language, and read as they are.

    Args:
        text: the answer.
        english: share of its words that are in `ENGLISH_WORDS`.
        known: share of its words that the judges know.
    """
    if english >= _ENOUGH_ENGLISH and known >= _HALF_KNOWN:
        return ""
    prose = _CODE.sub(" ", text[: 4 * _READ])[:_READ]
    words = _WORD.findall(prose)
    if not words:
        return ""
    if len(words) <= 2 and any(word.lower() in _ELSEWHERE for word in words):
        return UNKNOWN_LANGUAGE
    if known >= _HALF_KNOWN and all(map(str.isascii, words)):
        return ""
    if len(words) <= _FEW_WORDS and _is_no_prose(prose, words):
        return ""
    found = str(_identifier().classify(prose.replace("\n", " "))[0])
    if found not in _AS_ENGLISH:
        return _NAMES.get(found, found)
    # So little text is often called English when it is not.
    return UNKNOWN_LANGUAGE if english == 0 and known < _HARDLY_KNOWN else ""


def _is_no_prose(text: str, words: list[str]) -> bool:
    """A piece of code, or a name: "print(1)", "Paris"."""
    if _CODE_MARKS.search(text):
        return True
    is_sentence = text.rstrip().endswith((".", "!", "?"))
    return not is_sentence and all(word[0].isupper() and word[0].isascii() for word in words)


class _Identifier(Protocol):
    def classify(self, text: str) -> tuple[str, float]: ...


def _identifier() -> _Identifier:
    """Imported when first needed: few runs hold another language, and its model takes a moment."""
    import py3langid

    return cast("_Identifier", py3langid)
