"""evenhand runs, identities, cues, benchmarks, fetch, completion: what there is."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from cyclopts import Parameter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evenhand import benchmarks as known
from evenhand.cli.flags import Format
from evenhand.errors import EvenhandError, PluginError, UsageError
from evenhand.study.cue import profile_cues, shipped_cues, shipped_defenses
from evenhand.study.identity import (
    BASELINE,
    implied_identities,
    read_identities,
    shipped_identities,
)
from evenhand.study.realization import gaps_of
from evenhand.text import one_line

_DEEPEST = 3
"""Levels of folders that are searched for runs."""
_WITHHOLDING = {
    "rule": "(states the identity only where a rule says that the question needs it)",
    "model": "(the same; the model itself decides, question by question)",
}


def _table(*columns: str) -> Table:
    return Table(*columns, box=None, padding=(0, 2, 0, 0))


def _print_json(content: Any) -> None:
    print(orjson.dumps(content, option=orjson.OPT_INDENT_2).decode())


def runs(
    folder: Annotated[Path, Parameter(help="Folder to search for runs.")] = Path("runs"),
    /,
    *,
    format: Format = "text",
) -> None:
    """List the runs of a folder: state, model, number of answers, and PB where it is known.

    Examples:

        evenhand runs
        evenhand runs studies --format json
    """
    found = [_listed_run(path) for path in run_folders(folder)]
    if format == "json":
        _print_json([asdict(run) for run in found])
        return
    if not found:
        print(f"No runs in {folder}; start one: evenhand audit MODEL --out {folder / 'first'}")
        return
    table = _table("run", "state", "model", "answers", "PB", "95% interval")
    for run in found:
        pb = "-" if run.pb is None else f"{run.pb:.1f}"
        interval = (
            "-" if run.interval is None else f"{run.interval[0]:.1f} to {run.interval[1]:.1f}"
        )
        answers = f"{run.done:,} of {run.cells:,}"
        texts = [one_line(text) for text in (run.folder, run.state, run.model)]
        table.add_row(*map(escape, texts), answers, pb, interval)
    Console().print(table)


@dataclass(frozen=True)
class _ListedRun:
    folder: str
    state: str
    model: str
    done: int
    cells: int
    pb: float | None
    interval: tuple[float, float] | None


def run_folders(folder: Path) -> list[Path]:
    """Folders in it that hold a run, at most three levels down, without runs inside of runs.

    Raises:
        UsageError: there is no such folder.
    """
    from evenhand.store.database import FILE

    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder")
    found: list[Path] = []
    level = [folder]
    for _ in range(_DEEPEST + 1):
        found += [path for path in level if (path / FILE).is_file()]
        open_folders = [path for path in level if not (path / FILE).is_file()]
        level = [sub for path in open_folders if path.is_dir() for sub in sorted(path.iterdir())]
        level = [path for path in level if path.is_dir() and not path.is_symlink()]
    return sorted(found)


def _listed_run(folder: Path) -> _ListedRun:
    """What is known of a run; of one that cannot be read, why."""
    from evenhand.analysis import analyze
    from evenhand.store.store import Store

    try:
        with closing(Store.open(folder)) as store:
            if store.record_if_begun() is None:
                return _ListedRun(str(folder), "not begun", "", 0, 0, None, None)
            audit = analyze(store)
    except EvenhandError as error:
        return _ListedRun(str(folder), f"unreadable: {error}", "", 0, 0, None, None)
    state = "finished" if audit.done >= audit.cells else "unfinished"
    if audit.unscored:
        state += f", {audit.unscored:,} unscored"
    pb = audit.pb
    return _ListedRun(
        folder=str(folder),
        state=state,
        model=audit.model,
        done=audit.done,
        cells=audit.cells,
        pb=pb.estimate if pb else None,
        interval=pb.interval if pb else None,
    )


_FURTHER = ("fields", "realizations")
"""What only some identities have."""


def identities(
    *,
    file: Annotated[
        Path | None, Parameter(help="File of your own identities to check and list instead.")
    ] = None,
    format: Format = "text",
) -> None:
    """List the identities, the placebos and the no-identity baseline.

    A placebo is a control attribute that should not matter, such as a favorite color.

    Examples:

        evenhand identities
        evenhand identities --file mine.yaml
    """
    shipped = [BASELINE, *shipped_identities(), *implied_identities()]
    listed = read_identities(file) if file else shipped
    if format == "json":
        found = [asdict(identity) for identity in listed]
        _print_json([{k: v for k, v in each.items() if v or k not in _FURTHER} for each in found])
        return
    table = _table("id", "category", "I am ...", "shown as")
    for identity in listed:
        shown = [each.id for each in identity.realizations]
        first = f"{one_line(shown[0])} and {len(shown) - 1} more" if shown else ""
        text = escape(identity.text)
        table.add_row(identity.id, escape(identity.category), text, escape(first))
    Console().print(table)


def cues(*, format: Format = "text") -> None:
    """List the cues and the defenses.

    A cue is how the model is told who the user is; a defense is what a deployer does so that
    the identity does not matter.

    Examples:

        evenhand cues
    """
    if format == "json":
        _print_json(
            {
                "cues": [cue.model_dump() for cue in (*shipped_cues(), *profile_cues())],
                "defenses": [defense.model_dump() for defense in shipped_defenses()],
            }
        )
        return
    table = _table("cue", "placement", "wording")
    for cue in (*shipped_cues(), *profile_cues()):
        wording = cue.system or next((t for t in cue.history if gaps_of([t])), cue.user)
        if cue.facts:
            told = f"({cue.facts.fact} among {cue.facts.fillers} other facts)"
            wording = wording.replace("{facts}", told)
        table.add_row(cue.id, cue.placement, escape(" ".join(wording.split())))
    console = Console()
    console.print(table)
    console.print()
    table = _table("defense", "sentence")
    for defense in shipped_defenses():
        table.add_row(defense.id, escape(defense.text) or _WITHHOLDING[defense.withhold])
    console.print(table)


def benchmarks(*, format: Format = "text") -> None:
    """List the benchmarks and the suites.

    Examples:

        evenhand benchmarks
    """
    listed = _sound_benchmarks()
    if format == "json":
        _print_json(
            [
                {
                    "name": b.name,
                    "title": b.title,
                    "axes": b.axes,
                    "items": b.size,
                    "license": b.license,
                    "citation": b.citation,
                    "suites": [suite for suite, names in known.SUITES.items() if b.name in names],
                }
                for b in listed
            ]
        )
        return
    table = _table("name", "measures", "items", "what")
    for b in listed:
        table.add_row(escape(b.name), ", ".join(b.axes), f"{b.size:,}", escape(b.description))
    console = Console()
    console.print(table)
    for suite, members in known.SUITES.items():
        console.print(f"\nsuite {suite}: {', '.join(members)}", highlight=False)


def _sound_benchmarks() -> list[known.Benchmark]:
    """All benchmarks but those of broken packages, which are named on the standard error."""
    found = []
    for name in known.known_benchmarks():
        try:
            found.append(known.find_benchmark(name))
        except PluginError as error:
            print(f"left out: {error}", file=sys.stderr)
    return found


def fetch(
    *names: Annotated[str, Parameter(help="Benchmark or suite to download. Default: all of them.")],
) -> None:
    """Download and verify the files of benchmarks, so that runs need no network for them.

    EVENHAND_DATA_DIR names a folder of local copies, which are verified in the same way.

    Examples:

        evenhand fetch
        evenhand fetch mmlu gsm8k
    """
    count = len(set(known.fetch(names or [b.name for b in _sound_benchmarks()])))
    if count:
        print(f"{count:,} {'file is' if count == 1 else 'files are'} there and verified")
    else:
        print(f"{', '.join(names)}: nothing to fetch, it comes with evenhand")


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(help="Shell to complete in.")], /
) -> None:
    """Print the script that completes commands and options in a shell.

    Examples:

        evenhand completion bash > ~/.local/share/bash-completion/completions/evenhand
        evenhand completion zsh > ~/.zfunc/_evenhand
        evenhand completion fish > ~/.config/fish/completions/evenhand.fish
    """
    from evenhand.cli import app

    print(app.generate_completion(shell=shell), end="")
