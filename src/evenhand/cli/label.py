"""evenhand label: label a sample of a run's answers yourself."""

from __future__ import annotations

import getpass
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from evenhand.analysis.grid import select_judge
from evenhand.calibration.labeling import (
    OPTIONS,
    QUESTIONS,
    LabelSample,
    LabelTask,
    check_labeler,
    import_labels,
    labeler_agreement,
    open_sample,
    read_own_labels,
    save_label,
    tasks_of,
)
from evenhand.cli.flags import RunFolder
from evenhand.errors import UsageError
from evenhand.files import write_file
from evenhand.store.store import Store
from evenhand.text import counted

_QUIT, _BACK = "q", "b"
_MOST_SHOWN = 6000  # characters of an answer in the terminal


def label(
    run: RunFolder,
    /,
    *,
    by: Annotated[
        str | None, Parameter(help="Name of the labeler. Default: the user's login name.")
    ] = None,
    number: Annotated[
        int | None,
        Parameter(
            name=["--number", "-n"],
            validator=Number(gte=1),
            help="Number of answers to label; at least two are drawn for each identity, axis and "
            "verdict of the judge. Default: enough to show a difference of 10 points between two "
            "halves of the identities.",
        ),
    ] = None,
    seed: Annotated[int, Parameter(help="Seed of the sample.")] = 0,
    judge: Annotated[
        str | None,
        Parameter(
            name=["--judge", "-j"],
            help="Judge by whose verdicts the sample is stratified. Default: the one that "
            "`report` goes by.",
        ),
    ] = None,
    html: Annotated[
        Path | None, Parameter(help="Write a page to label in a browser, offline, and exit.")
    ] = None,
    import_: Annotated[
        Path | None,
        Parameter(name="--import", help="Read the file of labels that such a page has saved."),
    ] = None,
) -> None:
    """Label a random sample of the answers; the report then corrects every rate and PB by it.

    The sample is stratified by identity and by the judge's verdict, and shown without either.
    Press one key a label; labels are on disk at once, and the same command resumes. A second
    labeler uses another name (--by) and labels the same answers.

    Examples:

        evenhand label runs/first
        evenhand label runs/first --number 300 --by ann
        evenhand label runs/first --html label.html --by ben
        evenhand label runs/first --import labels-ben.json
    """
    if html and import_:
        raise UsageError("use --html or --import, not both")
    store = Store.open(run)
    try:
        name, place = select_judge(store, judge)
        sample = open_sample(store, name, place, number, seed)
        if import_:
            count = import_labels(store, sample, import_, by)
            print(f"{counted(count, 'label')} read")
            _show_agreement(store)
            return
        labeler = check_labeler(_login() if by is None else by)
        tasks = tasks_of(store, sample)
        if html:
            from evenhand.report.html import render_labeling

            write_file(html, render_labeling(sample, tasks, labeler), UsageError)
            print(f"{html} written: {counted(len(tasks), 'answer')}, for {labeler}")
            print(
                "Open it in a browser, label, save the labels, and read them: "
                f"evenhand label {run} --import FILE",
                file=sys.stderr,
            )
            return
        _ask_all(store, sample, tasks, labeler)
        _show_agreement(store)
    finally:
        store.close()


def _login() -> str:
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # no such user, as in some containers
        name = ""
    return re.sub(r"[^A-Za-z0-9_-]", "", name)[:40] or "me"


def _ask_all(store: Store, sample: LabelSample, tasks: list[LabelTask], labeler: str) -> None:
    """Show every answer without a label, until all are labeled or the user quits."""
    done = read_own_labels(store).get(labeler, {})
    open_ = [place for place, cell in enumerate(sample.cells) if cell not in done]
    console = Console()
    at = 0
    with _keys() as next_key:
        while at < len(open_):
            task = tasks[open_[at]]
            labeled = len(tasks) - len(open_) + at
            _show(console, task, labeled, len(tasks))
            key = next_key()
            if key in ("", _QUIT, "\x03", "\x04"):
                break
            if key == _BACK:
                at = max(at - 1, 0)
            elif key in OPTIONS[task.kind]:
                save_label(store, labeler, sample.cells[open_[at]], OPTIONS[task.kind][key])
                at += 1
    left = len(open_) - at
    if left:
        console.print(f"{counted(left, 'answer')} left; run the same command to resume.")
    else:
        console.print(f"All {len(tasks):,} answers are labeled; see `evenhand report`.")


def _show(console: Console, task: LabelTask, done: int, count: int) -> None:
    if console.is_terminal:
        console.clear()
    console.print(f"[dim]{done + 1:,} of {count:,}[/dim]")
    console.print(Panel(Text(_printable(task.prompt)), title="Request", title_align="left"))
    console.print(Panel(Text(_printable(task.answer)), title="Answer", title_align="left"))
    keys = "  ".join(f"[bold]{key}[/bold] {name}" for key, name in OPTIONS[task.kind].items())
    console.print(f"{QUESTIONS[task.kind]}  {keys}  [bold]b[/bold] back  [bold]q[/bold] quit")


def _printable(text: str) -> str:
    """The text without characters that could steer the terminal."""
    kept = "".join(c if c.isprintable() or c == "\n" else " " for c in text[:_MOST_SHOWN])
    return kept + (" …" if len(text) > _MOST_SHOWN else "")


@contextmanager
def _keys() -> Iterator[Callable[[], str]]:
    """A function that waits for one key; for the first letter of a line where there is no tty."""
    try:
        import termios
        import tty

        before = termios.tcgetattr(sys.stdin.fileno())
    except (ImportError, OSError, ValueError):
        yield lambda: sys.stdin.readline().strip()[:1].lower()
        return
    except termios.error:
        yield lambda: sys.stdin.readline().strip()[:1].lower()
        return

    def one() -> str:
        tty.setcbreak(sys.stdin.fileno())
        try:
            return sys.stdin.read(1).lower()
        finally:
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, before)

    yield one


def _show_agreement(store: Store) -> None:
    for found in labeler_agreement(read_own_labels(store)):
        kappa = "" if found.kappa is None else f", kappa {found.kappa:.2f}"
        print(
            f"{found.first} and {found.second} agree on {found.same:,} of {found.answers:,} "
            f"answers{kappa}"
        )
