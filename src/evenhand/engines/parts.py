"""The content of a reply, however it is nested: text, thoughts and refusals apart."""

from __future__ import annotations

import re
from typing import Any

_TEXT = ("text", "value", "parts", "content")
_THOUGHT = ("text", "thinking", "reasoning", "think", "thought", "summary", "content", "parts")
_REFUSAL = ("refusal", "text", "explanation", "reason")
_IS_THOUGHT = re.compile(r"think|thought|reason|analysis|commentary|summary")

_NONE = frozenset({"none", "null", "false"})
"""Nothing, as a program writes it that makes a text of everything."""


def flat(value: Any, names: tuple[str, ...] = _TEXT) -> str:
    """A text that may itself be in parts; "" where there is none.

    Args:
        value: a text, a number, an object with one of the names, or a list of these.
        names: the fields that hold the text of an object, the first one that holds any.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(flat(part, names) for part in value)
    if isinstance(value, dict):
        return next((text for name in names if (text := flat(value.get(name), names))), "")
    return str(value) if type(value) in (int, float) else ""


def thought_in(value: Any) -> str:
    """A thought that a reply gives apart from its content."""
    return flat(value, _THOUGHT)


def refusal_in(value: Any) -> str:
    """A refusal that a reply gives in a field of its own; "" where the field says that none is."""
    told = flat(value, _REFUSAL)
    if told.strip().lower() in _NONE:
        return ""
    return told or ("refused" if value else "")


def read_parts(content: Any) -> tuple[str, str, str]:
    """Text, thoughts and refusals of a content: a text, a part, or a list of parts."""
    if isinstance(content, dict) and isinstance(content.get("parts"), list):
        content = content["parts"]
    texts: list[str] = []
    thoughts: list[str] = []
    refusals: list[str] = []
    for part in content if isinstance(content, list) else [content]:
        kind = f"{part.get('type')} {part.get('channel')}".lower() if isinstance(part, dict) else ""
        if _IS_THOUGHT.search(kind) or (isinstance(part, dict) and _is_true(part.get("thought"))):
            thoughts.append(thought_in(part))
        elif "refusal" in kind:
            refusals.append(refusal_in(part))
        else:
            texts.append(flat(part))
    return "".join(texts), "\n\n".join(filter(None, thoughts)), "".join(refusals)


def _is_true(value: Any) -> bool:
    return value is True or (isinstance(value, str) and value.lower() == "true")
