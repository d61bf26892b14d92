"""Answers of a model on a page: made visible, cut to a length, the differing words marked."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

from markupsafe import Markup

HEAD, TAIL = 900, 500
"""Characters shown of a longer answer's beginning, and of its end, where its result stands."""

_WORDS = re.compile(r"\s*\S+|\s+$")
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
    return text.translate(_UNSEEN).encode("utf-8", "replace").decode()


def cut(text: str) -> tuple[str, int, str]:
    """Beginning, number of characters left out, and end."""
    if len(text) <= HEAD + TAIL + 100:
        return text, 0, ""
    return text[:HEAD], len(text) - HEAD - TAIL, text[-TAIL:]


def differing(text: str, other: str) -> Markup:
    """The first of two answers with the words marked that the other does not have there."""
    head, left_out, tail = cut(text)
    other_head, _, other_tail = cut(other)
    shown = _marked(head, other_head)
    if left_out:
        note = Markup('<span class="cut">[{:,} characters not shown]</span>').format(left_out)
        shown += Markup("\n") + note + Markup("\n") + _marked(tail, other_tail or other_head)
    return shown


def _marked(text: str, other: str) -> Markup:
    words, others = _WORDS.findall(text), [word.strip() for word in _WORDS.findall(other)]
    matcher = SequenceMatcher(None, [word.strip() for word in words], others, autojunk=False)
    found = []
    for kind, start, end, _, _ in matcher.get_opcodes():
        part = "".join(words[start:end])
        bare = part.lstrip()
        blank = part[: len(part) - len(bare)]
        mark = "{}{}" if kind == "equal" or not bare else "{}<mark>{}</mark>"
        found.append(Markup(mark).format(visible(blank), visible(bare)))
    return Markup("").join(found)
