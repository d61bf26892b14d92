"""Texts of models and people made fit for a page: visible, bounded, and safe inside a script."""

from __future__ import annotations

from typing import Any

import orjson

MOST = 20_000
"""Characters of a text that the browser of answers shows."""

_UNSEEN = {
    **{code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"},
    0x7F: "␡",
    **{code: f"⟨U+{code:04X}⟩" for code in range(0x80, 0xA0)},
    # Marks that turn the direction of what follows, and others that cannot be seen.
    **{
        code: f"⟨U+{code:04X}⟩"
        for code in (0x061C, *range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2060, 0x2070))
    },
    0xFEFF: "⟨U+FEFF⟩",
}


def visible(text: str) -> str:
    """The text with control characters and marks of direction as signs that can be seen."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return text.translate(_UNSEEN).encode("utf-8", "replace").decode()


def bounded(text: str) -> str:
    """The text as a reader can see it, without the middle of a very long one."""
    if len(text) > MOST:
        half, left_out = MOST // 2, len(text) - MOST
        text = f"{text[:half]}\n[{left_out:,} characters not shown]\n{text[-half:]}"
    return visible(text)


def script_json(value: Any) -> str:
    """JSON that is safe inside a script element, whatever strings are in it."""
    text = orjson.dumps(value).decode()
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text
