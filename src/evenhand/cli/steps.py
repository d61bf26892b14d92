"""Progress of a mitigation: which step it is at, and how far."""

from __future__ import annotations

import time
from contextlib import suppress
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as RichProgress

from evenhand.cli.progress import note_on
from evenhand.run.recorder import Price, Progress
from evenhand.text import one_line

_LINE_EVERY = 10.0
"""Seconds between two lines of the same step where there is no terminal."""


class Steps:
    """One bar on a terminal, for step after step; elsewhere a line for each step."""

    def __init__(self, price: Price | None, console: Console, *, quiet: bool = False) -> None:
        self._price = price
        self._quiet = quiet
        self._console = console
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[note]}"),
            console=console,
            transient=True,
            disable=quiet or not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None, note="")
        self._title = ""
        self._told = 0.0
        self._began = (0.0, 0)

    def __enter__(self) -> Steps:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar off the screen."""
        with suppress(OSError):  # the terminal may be gone
            self._bar.stop()

    def title(self, text: str) -> None:
        """Tell what begins."""
        self.show(text, None)

    def show(self, text: str, progress: Progress | None) -> None:
        """Draw where a step stands.

        Args:
            text: what is being done.
            progress: how many answers are there; None for a step that asks nothing.
        """
        title = one_line(text)
        step = title.partition(":")[0]
        is_new = step != self._title
        if is_new:
            self._title, self._began = step, (time.monotonic(), progress.sent if progress else 0)
        note = note_on(progress, self._rate(progress), self._price) if progress else ""
        self._bar.update(
            self._task,
            description=escape(title),
            total=progress.cells if progress else None,
            completed=progress.done if progress else 0,
            note=note,
        )
        if not (self._quiet or self._console.is_terminal):
            self._tell(f"{title}  {note}".rstrip(), is_new)

    def _rate(self, progress: Progress) -> float:
        """Answers a second since the step began; `sent` counts all steps."""
        began, sent = self._began
        return (progress.sent - sent) / max(1e-9, time.monotonic() - began)

    def _tell(self, line: str, is_new: bool) -> None:
        now = time.monotonic()
        if is_new or now - self._told >= _LINE_EVERY:
            self._told = now
            self._console.print(line, markup=False, highlight=False)
