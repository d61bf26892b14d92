"""--verbose and --log FILE, which every command takes: what happens on the way."""

from __future__ import annotations

import logging
import os
import sys

from evenhand import __version__
from evenhand.errors import UsageError
from evenhand.text import one_line

_NAME = "evenhand"


class _OneLine(logging.Formatter):
    """Whatever a server sent, an entry is one printable line."""

    def format(self, record: logging.LogRecord) -> str:
        return one_line(super().format(record), 2000)


def with_log(words: list[str]) -> list[str]:
    """The words without --verbose and --log FILE, which are obeyed.

    Raises:
        UsageError: no file is named, or it cannot be written.
    """
    left: list[str] = []
    handlers: list[logging.Handler] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            left += [word, *rest]
        elif word == "--verbose":
            handlers.append(logging.StreamHandler(sys.stderr))
        elif word == "--log" or word.startswith("--log="):
            name = word.removeprefix("--log=") if "=" in word else next(rest, "")
            handlers.append(_file(name))
        else:
            left.append(word)
    logger = logging.getLogger(_NAME)
    for old in [each for each in logger.handlers if isinstance(each.formatter, _OneLine)]:
        logger.removeHandler(old)  # of a command before this one in the same process
        old.close()
    for handler in handlers:
        handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
    logger.propagate = not handlers
    logger.setLevel(logging.INFO if handlers else logging.WARNING)
    if handlers:
        logger.info("evenhand %s: %s", __version__, " ".join(left[:1]))
    return left


def _file(name: str) -> logging.Handler:
    """Appends to a file that only the user can read."""
    if not name or name.startswith("-"):
        raise UsageError("--log needs a file: --log audit.log")
    try:
        handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        raise UsageError(f"cannot write {name}: {error.strerror}") from None
    return logging.StreamHandler(os.fdopen(handle, "w", encoding="utf-8", errors="replace"))
