"""One sign for each meaning: digits, fractions, LaTeX and emphasis, before numbers are read."""

from __future__ import annotations

import re
import unicodedata

# Signs of the same meaning; superscripts, vulgar fractions and digits are added below.
_SIGNS = {
    **dict.fromkeys("−–‑‒﹣", "-"),
    **dict.fromkeys("×·⋅∙∗", "*"),
    "÷": "/",
    "⁄": "/",
    **dict.fromkeys("≈≅→⇒⟹", "="),
    **dict.fromkeys("\xa0\u2009\u202f\u2007\u2008\u200a", " "),
    **dict.fromkeys("’‘ʼ´", "'"),
    "٬": ",",
    "٫": ".",
    "√": " sqrt ",
    "。": ".",
}
_SUPERSCRIPTS = {**dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789", strict=True)), "⁻": "-"}
_BLANKS = re.compile(r" {2,}")
_SUPERSCRIPT = re.compile(f"[{''.join(_SUPERSCRIPTS)}]+")


def _translations() -> dict[int, str]:
    table = {ord(sign): plain for sign, plain in _SIGNS.items()}
    for code in range(128, 0x10000):
        letter = chr(code)
        if letter.isdecimal():
            table[code] = str(unicodedata.decimal(letter))
    for letter in "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞":
        table[ord(letter)] = " " + unicodedata.normalize("NFKC", letter).replace("⁄", "/")
    for code in range(0xFF01, 0xFF5F):
        table.setdefault(code, chr(code - 0xFEE0))
    return table


_TRANSLATIONS: dict[int, str] = {}

_LATEX_SIGNS = re.compile(
    r"\\(?:(?P<times>times|cdot|ast)|(?P<div>div)|(?P<gives>approx|simeq|(?:Long)?[rR]ightarrow|implies"
    r"|to|equiv)|(?P<percent>%)|(?P<dollar>\$)|(?P<sqrt>sqrt)|(?P<either>pm)"
    r"|(?P<space>,| |;|:|quad)"
    r"|(?P<nothing>boxed|text\w{0,8}|math\w{1,8}|displaystyle|left|right|!|[\[\]()]))(?![a-zA-Z])"
)
_LATEX_PLAIN = {
    "times": "*",
    "div": "/",
    "gives": "=",
    "percent": "%",
    "dollar": "$",
    "sqrt": " sqrt",
    "either": "±",
    "space": " ",
    "nothing": "",
}
_DEGREES = re.compile(r"\^?\s?\{?\s?\\(?:circ|degree)\b\s?\}?")
_FRACTION = re.compile(r"\\[dtc]?frac\s?(?:\{([^{}]{1,30})\}|(\d))\s?(?:\{([^{}]{1,30})\}|(\d))")
_MATH_MARK = re.compile(r"\$\$|\$(?![ ]?-?[ ]?[\d.,])")
_DOUBLE_STAR = re.compile(r"(?<=\d)\s?\*\*\s?(?=\d)")
_MAY_BE_EMPHASIS = re.compile(r"[*_`\"“”<~]")
_EMPHASIS = re.compile(
    r"~~[^~\n]{1,80}~~|\*{2,}(?!\s?\d)|(?<![\s\d])\*{1,3}|(?<!\S)\*{1,3}(?=[\w$€£-])"
    r"|(?<!\w)_{1,3}(?=\S)|(?<=\S)_{1,3}(?!\w)|[`\"“”]"
    r"|</?(?:b|i|em|strong|code|u|p|span|mark)\b[^<>]{0,40}>|(?<=\d)~(?=\d)|<<[^<>]{0,100}>>"
)


def plain(text: str) -> str:
    """A line as `Line` reads it: without markup, with one sign for each meaning."""
    if not text.isascii():
        if not _TRANSLATIONS:
            _TRANSLATIONS.update(_translations())
        text = _SUPERSCRIPT.sub(lambda m: "^" + "".join(map(_SUPERSCRIPTS.__getitem__, m[0])), text)
        text = _BLANKS.sub(" ", text.translate(_TRANSLATIONS))
    if "\\" in text or "{" in text:
        text = _without_latex(text)
    if "$" in text:
        text = _MATH_MARK.sub("", text)
    if "**" in text:
        text = _DOUBLE_STAR.sub("^", text)
    if not _MAY_BE_EMPHASIS.search(text):
        return text
    return _EMPHASIS.sub(lambda m: " " if m[0] == "~" else "", text)


def _without_latex(text: str) -> str:
    text = text.replace("{,}", ",").replace("\\\\", "\n")
    text = _DEGREES.sub("°", text)
    text = re.sub(r"(?<=\d)(?=\\[dtc]?frac)", " ", text)
    text = _FRACTION.sub(_as_quotient, text)
    text = _LATEX_SIGNS.sub(lambda m: _LATEX_PLAIN[m.lastgroup or ""], text)
    text = re.sub(r"\^\s?\{([^{}]{1,20})\}", r"^(\1)", text)
    text = re.sub(r"(?<=sqrt)\s?\{([^{}]{1,20})\}", r"(\1)", text)
    return text.replace("{", " ").replace("}", " ")


def _as_quotient(found: re.Match[str]) -> str:
    top, bottom = found[1] or found[2], found[3] or found[4]
    if top.strip().isdigit() and bottom.strip().isdigit():
        return f"{top.strip()}/{bottom.strip()}"
    return f"({top})/({bottom})"
