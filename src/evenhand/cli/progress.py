"""Progress of a run: answers on disk, rate, time left, failed attempts, cost."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as RichProgress

from evenhand.plan import Plan
from evenhand.run import Price, Progress


class ProgressBar:
    """A bar on a terminal; silent where there is none."""

    def __init__(self, plan: Plan, price: Price | None, console: Console) -> None:
        self.progress: Progress | None = None
        self._price = price
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[note]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("asking", total=plan.cells, note="")

    def __enter__(self) -> ProgressBar:
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
        self._bar.stop()

    def show(self, progress: Progress) -> None:
        """Draw where the run stands."""
        self.progress = progress
        self._bar.update(self._task, completed=progress.done, note=self._note(progress))

    def _note(self, progress: Progress) -> str:
        seconds = self._bar.tasks[0].elapsed or 0.0
        rate = progress.sent / seconds if seconds else 0.0
        parts = [f"{progress.done:,}/{progress.cells:,}", f"{rate:,.0f}/s"]
        if rate:
            parts.append(f"{_duration((progress.cells - progress.done) / rate)} left")
        parts.append(f"{_short(progress.prompt_tokens + progress.completion_tokens)} tokens")
        if self._price:
            parts.append(f"${progress.cost:.2f}")
        if progress.failures:
            parts.append(f"{progress.failures:,} retries")
        return "  ".join(parts)


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
