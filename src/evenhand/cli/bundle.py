"""evenhand bundle, verify and rerun: a run as one file, checked and run again."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import orjson
from cyclopts import Parameter
from rich.console import Console

from evenhand.analysis import analyze
from evenhand.analysis.results import Audit
from evenhand.audit import audit_plan, plan_for
from evenhand.bundle.pack import STUDY, figures_of, make_bundle
from evenhand.bundle.verify import (
    bundled,
    differing_figures,
    load_bundle,
    open_cells,
    unpack_study,
    verify_bundle,
    without_left_out,
)
from evenhand.cli.flags import Quiet, Redact, RunFolder
from evenhand.cli.interrupts import run_to_interrupt, say_last
from evenhand.cli.progress import ProgressBar
from evenhand.cli.sandbox import SandboxFlags
from evenhand.cli.study_flags import RunFlags
from evenhand.engines import make_engine
from evenhand.errors import RunFolderError, UsageError
from evenhand.report.findings import audit_document
from evenhand.report.terminal import print_document
from evenhand.run.options import RunOptions
from evenhand.run.scoring import score_run
from evenhand.store.store import Store
from evenhand.study.plan import Plan
from evenhand.study.study import study_of
from evenhand.text import counted, one_line

_MARKS = {True: "ok", False: "FAILED", None: "not checked"}
_MOST_NAMED = 5

BundleFile = Annotated[Path, Parameter(help="Bundle (.zip).")]


def bundle(
    run: RunFolder,
    /,
    *,
    out: Annotated[Path, Parameter(help="File to write, such as audit.zip.")],
    redact: Redact = None,
) -> None:
    """Write a run as one file that others can check and run again.

    It holds the study with its files, every answer and score, the page, tables, an audit card and
    a data sheet, with the hash of each file. No key of an endpoint is in it.

    Examples:

        evenhand bundle runs/first --out first.zip
        evenhand bundle runs/first --out public.zip --redact harmful
    """
    store = Store.open(run)
    try:
        facts = make_bundle(store, out, redact)
    finally:
        store.close()
    print(f"{out}: {counted(facts['counts']['answers'], 'answer')}", file=sys.stderr)
    if facts["command"].startswith("evenhand "):
        print(f"Check it: evenhand verify {out}", file=sys.stderr)
    else:
        print(f"Note: it {one_line(facts['command'])}", file=sys.stderr)


def verify(file: BundleFile, /) -> None:
    """Check a bundle: its hashes and counts, and scores and figures made anew.

    Exit code 0 if all that could be checked holds, 4 if something does not.

    Examples:

        evenhand verify first.zip
    """
    checks = verify_bundle(file)
    for check in checks:
        print(f"{_MARKS[check.holds]:<12}{check.name:<11}{one_line(check.detail, 600)}")
    sound = all(check.holds is not False for check in checks)
    print("The bundle holds." if sound else "The bundle does not hold.")
    sys.exit(0 if sound else 4)


def rerun(
    source: Annotated[Path, Parameter(help="Bundle (.zip) or run folder.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="New run folder.")],
    fresh: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Ask everything again. Default: take the answers that the bundle holds.",
        ),
    ] = False,
    model: Annotated[
        str | None,
        Parameter(
            help="Where the model lies here, such as hf/PATH: a bundle tells local weights by name "
            "and fingerprint alone. Default: the model as the bundle names it."
        ),
    ] = None,
    quiet: Quiet = False,
    run: RunFlags = RunOptions(),
    sandbox: SandboxFlags = SandboxFlags(),
) -> None:
    """Run the study of a bundle again, and compare the figures.

    The answers of the bundle are taken where they are there; only the others are asked.

    Examples:

        evenhand rerun first.zip --out runs/again
        evenhand rerun first.zip --out runs/fresh --fresh
    """
    with bundled(source) as opened:
        with TemporaryDirectory() as scratch:  # what is wrong with it shows before anything is made
            plan_for(study_of(str(unpack_study(opened, Path(scratch)))), offline=run.offline)
        store = _new_run(out) if fresh else load_bundle(opened, out)
        study = unpack_study(opened, out)
        plan = plan_for(study_of(str(study)), offline=run.offline)
        asked = plan.cells
        with sandbox.using():
            if fresh:
                store.close()
            else:
                try:
                    without_left_out(opened, store)
                    plan = _as_far_as_asked(plan, store)
                    asked = open_cells(plan, store)
                    if not asked:
                        score_run(store, again=True)
                        audit = analyze(store)
                finally:
                    store.close()
            if asked:
                audit = _ask(plan, out, run, quiet, model)
        stated = opened.manifest.get("figures")
    print_document(audit_document(audit), Console())
    print(f"{counted(plan.cells - asked, 'answer')} taken, {asked:,} asked.", file=sys.stderr)
    differing = list(differing_figures(stated, orjson.loads(orjson.dumps(figures_of(audit)))))
    if not differing:
        print("The figures are those of the bundle.", file=sys.stderr)
    else:
        shown = "; ".join(differing[:_MOST_NAMED])
        print(f"{len(differing)} figures differ from the bundle: {shown}", file=sys.stderr)
    if audit.done < audit.cells:
        print(f"Not finished. To resume: evenhand audit {study} --out {out}", file=sys.stderr)
        sys.exit(3)


def _new_run(folder: Path) -> Store:
    store = Store.create(folder)
    if store.record_if_begun() is not None:
        store.close()
        raise RunFolderError(f"{folder} holds a run already; name a new folder with --out")
    return store


def _as_far_as_asked(plan: Plan, store: Store) -> Plan:
    """The part of a plan that a run which stopped at a precision had asked."""
    if store.record().interim is None:
        return plan
    there = {(item.benchmark, item.id) for item in store.items().values()}
    items = tuple(item for item in plan.items if (item.benchmark, item.id) in there)
    return replace(plan, items=items)


def _ask(plan: Plan, out: Path, options: RunOptions, quiet: bool, model: str | None) -> Audit:
    if model is None and "#" in plan.study.model:
        raise UsageError(
            f"{plan.study.model} are weights of another machine; say where they lie here with "
            "--model hf/PATH"
        )
    engine = None
    if model is not None:
        engine = make_engine(model, plan.study.decoding, options.for_engine)
    known = options.with_judges_alike().with_known_prices(plan.study.model, plan.study.judges)
    with ProgressBar(plan.cells, known.price, Console(stderr=True), quiet=quiet) as bar:
        auditing = audit_plan(plan, out, known, engine, bar.show)
        try:
            return run_to_interrupt(auditing)
        except KeyboardInterrupt:
            bar.close()
            say_last(
                f"Interrupted; the answers so far are safe in {out}. To resume: evenhand audit "
                f"{out / STUDY} --out {out}"
            )
            sys.exit(130)
