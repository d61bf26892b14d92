"""Keys out of what goes to disk or screen: failures, errors, names and logs, but never answers.

An answer that holds the letters of a key is still the model's answer, so it is stored as it came.
"""

from __future__ import annotations

import logging
import re
from base64 import b64encode
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import urlsplit

SHORTEST = 8
"""Characters. Local servers take keys such as "x" or "token", which would match ordinary words."""
_TELLING = 6
"""A key cut off at the end of a text is hidden from so many characters up."""
_PART, _LONG = 10, 20
"""So many characters in a row of a key that is as long as keys of services are give it away."""
_GAP = (
    r"(?:[\x00-\x20\u200b]|\\+(?:u00|x)00|\\+[nrt]|%(?:25)*0[ad]|\x1b\[[\d;]{0,9}m|\\+\n|=\n){0,3}"
)
"""UTF-16 read as bytes puts NUL between letters, a wrapped line a line break, a color its code."""
_CUT_OFF = re.compile(r"\Z|…|\.\.\.|\*\*|•|x{4}")
_IN_BASE64 = re.compile(r"[\w+/=%-]", re.ASCII)
_ENTITIES = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}


class Redactor:
    r"""Replaces keys in a text by "[key]", however the text escapes them.

        >>> Redactor(["sk-a/b+c12"])("refused: Bearer sk-a\\/b\\u002bc12")
        'refused: [key]'

    Recognized are upper and lower case, backslashes, JSON and Python escapes, percent-encoding,
    HTML entities, UTF-16 read as bytes, UTF-8 read as Latin-1, a key whose end is cut off,
    hexadecimal digits, and base64, also of a key with something before or after it, such as a
    user's name.

    Args:
        secrets: those shorter than 8 characters are left alone.
        keys: of them, those of which any 10 characters in a row are taken out, too, where the key
            has 20 or more: whatever a server makes of a key, most of it stays as it is.
    """

    def __init__(self, secrets: Iterable[str], keys: Iterable[str] = ()) -> None:
        self._secrets = sorted({s for s in secrets if len(s) >= SHORTEST}, key=len, reverse=True)
        self._parts = {
            key[at : at + _PART].lower()
            for key in keys
            if len(key) >= _LONG
            for at in range(len(key) - _PART + 1)
        }
        self._patterns: list[tuple[re.Pattern[str], list[re.Pattern[str]]]] = []
        self._encoded = self._patterns

    def __call__(self, text: str) -> str:
        """The text without the keys; give it whole, and shorten it afterwards."""
        if self._secrets and not self._patterns:  # most runs never need them
            self._patterns = [_patterns(secret) for secret in self._secrets]
            encoded = sorted({e for s in self._secrets for e in _encoded(s)})
            self._encoded = [_patterns(each) for each in encoded]
        for start, letters in self._patterns:
            text = _without(text, start, letters)
        for start, letters in self._encoded:
            text = _without(text, start, letters, whole_word=True)
        return _without_parts(text, self._parts) if self._parts else text

    def found_in(self, text: str) -> bool:
        """Whether a text holds a key."""
        return self(text) != text


def proxy_passwords() -> list[str]:
    """Passwords in the proxies of the environment."""
    # Not above: it loads HTTP and TLS, and many who read replies ask nobody.
    from urllib.request import getproxies_environment

    return [p for url in getproxies_environment().values() if (p := _password(url))]


def _password(url: str) -> str:
    try:
        return urlsplit(url).password or ""
    except ValueError:
        return ""


def decoded(raw: bytes, most: int = 65_536) -> str:
    """The text of a reply's body, of which only the first `most` bytes are looked at.

    UTF-16 is recognized by its byte-order mark or its zero bytes.
    """
    raw = raw[:most]
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw.decode("utf-16", "replace")
    if raw[1::2].count(0) > len(raw) // 4:
        return raw.decode("utf-16-le", "replace")
    if raw[::2].count(0) > len(raw) // 4:
        return raw.decode("utf-16-be", "replace")
    return raw.decode("utf-8", "replace")


class LogFilter(logging.Filter):
    """Redacts what libraries log: aiohttp quotes a server's headers in its warnings."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the record, redacted and without its traceback, which quotes the server, too."""
        record.msg, record.args = self._redact(record.getMessage()), None
        record.exc_info = record.exc_text = None
        return True


def _patterns(secret: str) -> tuple[re.Pattern[str], list[re.Pattern[str]]]:
    """Of the first letters of a secret, and of each of the others with what may stand before it."""
    first = _GAP.join(_letter(letter) for letter in secret[:_TELLING])
    bearer = r"(?:bearer(?:[\s:+'\"\\]|b'|%20)+)?"
    rest = [_further(letter) for letter in secret[_TELLING:]]
    return re.compile(bearer + first, re.IGNORECASE), rest


@lru_cache(maxsize=1024)
def _further(letter: str) -> re.Pattern[str]:
    return re.compile(_GAP + _letter(letter), re.IGNORECASE)


def _encoded(secret: str) -> set[str]:
    """What base64 makes of a secret wherever it stands in a text, without the letters at its ends
    that depend on what stands beside it; and its hexadecimal digits."""
    found = {secret.encode("utf-8", "replace").hex()}
    for raw in {secret.encode("utf-8", "replace"), secret.encode("latin-1", "replace")}:
        for before in range(3):
            whole = b64encode(bytes(before) + raw).decode()
            part = whole[-(-8 * before // 6) : 8 * (before + len(raw)) // 6]
            found |= {part, part.translate(str.maketrans("+/", "-_"))}
    return found


def _without(
    text: str,
    start: re.Pattern[str],
    letters: list[re.Pattern[str]],
    *,
    whole_word: bool = False,
) -> str:
    """The text without a secret, of which the end may be cut off at the text's end.

    Args:
        whole_word: the letters of base64 on both sides go with it.
    """
    kept: list[str] = []
    at = 0
    while match := start.search(text, at):
        end = match.end()
        for letter in letters:
            if not (more := letter.match(text, end)):
                if not _CUT_OFF.match(text, end):  # another text that begins alike
                    end = -1
                break
            end = more.end()
        if end < 0:
            kept.append(text[at : match.start() + 1])
            at = match.start() + 1
        else:
            begin = match.start()
            while whole_word and begin > at and _IN_BASE64.match(text, begin - 1):
                begin -= 1
            while whole_word and _IN_BASE64.match(text, end):
                end += 1
            kept.append(f"{text[at:begin]}[key]")
            at = end
    return "".join(kept) + text[at:] if kept else text


def _without_parts(text: str, parts: set[str]) -> str:
    """The text without what is one of the parts, or several that overlap."""
    plain = text.lower()
    if len(plain) != len(text):  # a few letters are two in lower case
        plain = text
    kept: list[str] = []
    end = 0
    for begin in range(len(plain) - _PART + 1):
        if plain[begin : begin + _PART] in parts:
            if begin >= end:
                kept += [text[end:begin], "[key]"]
            end = begin + _PART
    return "".join(kept) + text[end:] if kept else text


def _letter(letter: str) -> str:
    code = ord(letter)
    encoded = letter.encode("utf-8", "replace")
    units = letter.encode("utf-16-be", "surrogatepass").hex()
    spellings = [
        "".join(rf"\\+u{{?{units[i : i + 4]}}}?" for i in range(0, len(units), 4)),
        "".join(rf"(?:%(?:25)*|\\+x){byte:02x}" for byte in encoded),
        "".join(rf"\\+{byte:03o}" for byte in encoded),
        rf"&(?:amp;)?#(?:0*{code}|x0*{code:x});",
    ]
    if letter in _ENTITIES:
        spellings.append(rf"&(?:amp;)*{_ENTITIES[letter]};")
    if code > 127:
        spellings += [
            re.escape(encoded.decode("latin-1")),
            rf"\\+x{code:02x}",
            re.escape(letter.encode("utf-16-le").decode("latin-1")),
            "\ufffd{1,4}",
            r"\?",
        ]
    spellings.append(rf"\\*{re.escape(letter)}")  # last: "&amp;" begins with "&"
    return f"(?:{'|'.join(spellings)})"
