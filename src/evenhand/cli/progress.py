"""While a command is at work: answers on disk, rate, time left, failed attempts, cost."""

from __future__ import annotations

import time
from contextlib import suppress
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as RichProgress

from evenhand.run.recorder import Price, Progress
from evenhand.text import dollars, one_line

_LINE_EVERY = 20.0
"""Seconds between two lines where there is no terminal: a log shows that the run is alive."""


class _Bar:
    """A bar on a terminal, from `with` to `close`; nothing elsewhere.

    Args:
        note: what stands behind the bar, as a format of rich.
    """

    def __init__(self, note: str, console: Console, *, quiet: bool) -> None:
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn(note),
            console=console,
            transient=True,
            disable=quiet or not console.is_terminal,
        )

    def __enter__(self) -> Self:
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


class ProgressBar(_Bar):
    """A bar on a terminal; elsewhere a line now and then, unless it is to be quiet."""

    def __init__(
        self,
        cells: int,
        price: Price | None,
        console: Console,
        *,
        judge_price: Price | None = None,
        quiet: bool = False,
    ) -> None:
        self.progress: Progress | None = None
        self.judging: dict[str, Progress] = {}
        self._price = price
        self._judge_price = judge_price
        self._judges: dict[str, TaskID] = {}
        super().__init__("{task.percentage:>3.0f} %  {task.fields[note]}", console, quiet=quiet)
        self._lines = None if quiet or console.is_terminal else console
        self._last_line = time.monotonic()
        self._task = self._bar.add_task("asking", total=cells, note="", visible=cells > 0)

    def show(self, progress: Progress) -> None:
        """Draw where the run stands."""
        self.progress = progress
        note = self._note(self._task, progress, self._price)
        self._bar.update(self._task, completed=progress.done, note=note)
        self._tell("asking", note)

    def show_judging(self, judge: str, progress: Progress) -> None:
        """Draw where a judge stands."""
        self.judging[judge] = progress
        if judge not in self._judges:
            name = escape(one_line(judge, 40))
            self._judges[judge] = self._bar.add_task(name, total=progress.cells, note="")
        task = self._judges[judge]
        note = self._note(task, progress, self._judge_price)
        self._bar.update(task, total=progress.cells, completed=progress.done, note=note)
        self._tell(one_line(judge, 40), note)

    def _tell(self, title: str, note: str) -> None:
        now = time.monotonic()
        if self._lines is not None and now - self._last_line >= _LINE_EVERY:
            self._last_line = now
            self._lines.print(f"{title}  {note}", markup=False, highlight=False, soft_wrap=True)

    def _note(self, task: TaskID, progress: Progress, price: Price | None) -> str:
        seconds = next(each.elapsed or 0.0 for each in self._bar.tasks if each.id == task)
        return note_on(progress, progress.sent / seconds if seconds else 0.0, price)


def note_on(progress: Progress, rate: float, price: Price | None) -> str:
    """How far, how fast, how long still, and what it costs; `rate` in answers a second."""
    parts = [f"{progress.done:,}/{progress.cells:,}", f"{rate:,.0f}/s"]
    if rate:
        parts.append(f"{_duration((progress.cells - progress.done) / rate)} left")
    parts.append(f"{_short(progress.prompt_tokens + progress.completion_tokens)} tokens")
    if price:
        parts.append(f"{dollars(progress.cost)}{_whole_cost(progress)}")
    if progress.failures:
        parts.append(f"{progress.failures:,} retries")
    return "  ".join(parts)


def _whole_cost(progress: Progress) -> str:
    """What all answers of this call will have cost, were the rest like those that have come."""
    left = progress.cells - progress.done
    if not progress.sent or left <= 0:
        return ""
    return f" of about {dollars(progress.cost * (progress.sent + left) / progress.sent)}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def _short(count: int) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return str(count)


_STEP_LINE_EVERY = 10.0
"""Seconds between two lines of the same step where there is no terminal."""


class Steps(_Bar):
    """One bar on a terminal, for step after step; elsewhere a line for each step."""

    def __init__(self, price: Price | None, console: Console, *, quiet: bool = False) -> None:
        self._price = price
        self._quiet = quiet
        self._console = console
        super().__init__("{task.fields[note]}", console, quiet=quiet)
        self._task = self._bar.add_task("", total=None, note="")
        self._title = ""
        self._told = 0.0
        self._began = (0.0, 0)

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
        if is_new or now - self._told >= _STEP_LINE_EVERY:
            self._told = now
            self._console.print(line, markup=False, highlight=False)
