"""Text from elsewhere: endpoints, models and files may send what a terminal would obey."""

from __future__ import annotations


def one_line(text: str, most: int = 300) -> str:
    """The text without anything but printable characters, on one line, cut to a length."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text[: 4 * most])
    return " ".join(printable.split())[:most]
