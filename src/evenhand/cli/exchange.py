"""evenhand import: results of other tools, or of a table, as a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter

from evenhand.analysis.grid import read_grid
from evenhand.errors import UsageError
from evenhand.interop.importing import import_runs
from evenhand.interop.records import ImportOptions
from evenhand.store.store import Store
from evenhand.text import counted


def import_(
    *files: Annotated[
        str,
        Parameter(
            help="File of results: .csv, .tsv, .jsonl or .parquet with a row for each answer, an "
            "Inspect log (.eval, .json), lm-eval's samples_*.jsonl, or promptfoo's output (.json). "
            "IDENTITY=FILE says that all of a file is of one identity."
        ),
    ],
    out: Annotated[
        Path,
        Parameter(help="New run folder; with several models, the folder of their run folders."),
    ],
    options: Annotated[
        ImportOptions, Parameter(name="*", group=Group("Columns: which one says what", sort_key=1))
    ] = ImportOptions(),
) -> None:
    """Import results of other tools, or of a table, as a run.

    The run is then reported, compared, gated, judged and labeled as one that evenhand has asked.

    Examples:

        evenhand import results.csv --out runs/ours --baseline none
        evenhand import logs/*.eval --out runs/inspect
        evenhand import muslim=a.jsonl hindu=b.jsonl baseline=c.jsonl --axis utility --out runs/lm
        evenhand import results.csv --out runs/by-model --score-key refused --axis over_refusal
    """
    if not files:
        raise UsageError("name at least one file of results: evenhand import FILE --out RUN")
    for folder in import_runs(files, out, options):
        store = Store.open(folder)
        try:
            record = store.record()
            grid = read_grid(store, record.study.samples)
            people = [c.identity for c in grid.conditions]
        finally:
            store.close()
        identities = {i.id for i in people if i.kind == "identity"}
        placebos = {i.id for i in people if i.kind == "placebo"}
        answers = sum(
            int(there.sum()) for each in grid.answered.values() for there in each.values()
        )
        print(
            f"{folder}: {record.study.model}, {counted(answers, 'answer')}; "
            f"{counted(len(identities), 'identity', 'identities')}, "
            f"{counted(len(placebos), 'placebo')}, "
            f"{'a baseline' if any(i.kind == 'baseline' for i in people) else 'no baseline'}; "
            + ", ".join(f"{name} {counted(n, 'item')}" for name, n in grid.items.items())
        )
        for note in record.imported.notes if record.imported else ():
            print(f"  note: {note}")
    print(f"Next: evenhand report {folder}")
