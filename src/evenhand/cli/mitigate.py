"""evenhand mitigate: reduce the bias, and measure the effect on held-out data."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter
from rich.console import Console

from evenhand.audit import audit_plan, plan_for
from evenhand.cli.flags import Format, Quiet
from evenhand.cli.interrupts import run_to_interrupt, say_last
from evenhand.cli.plan import default_folder
from evenhand.cli.progress import Steps
from evenhand.cli.study_flags import RunFlags, run_folder, study_from
from evenhand.errors import NotFinished, UsageError
from evenhand.mitigate.flow import mitigate_run
from evenhand.mitigate.options import MitigationOptions
from evenhand.mitigate.reporting import mitigation_document, to_json, write_results
from evenhand.mitigate.results import Mitigation
from evenhand.report.terminal import print_document
from evenhand.run.options import RunOptions
from evenhand.store.store import Store
from evenhand.study.study import JUDGE_NAMES, StudySelection
from evenhand.text import dollars

_AUDIT = Group("Audit, where RUN is a model", sort_key=5)


def mitigate(
    run: Annotated[
        str,
        Parameter(
            help="Run folder; or a model or study file, which is audited first: organism, "
            "hf/ID-or-path, openai/NAME, study.yaml."
        ),
    ],
    /,
    *,
    mitigation: Annotated[MitigationOptions, Parameter(name="*")] = MitigationOptions(),
    out: Annotated[
        Path | None,
        Parameter(
            help="Folder of the mitigation; an existing one is resumed. Default: in the run's."
        ),
    ] = None,
    format: Format = "text",
    quiet: Quiet = False,
    study: Annotated[StudySelection, Parameter(name="*", group=_AUDIT)] = StudySelection(),
    judges: Annotated[
        tuple[str, ...],
        JUDGE_NAMES,
        Parameter(
            group=_AUDIT,
            help="Judge of the audit's answers, as for audit; may be repeated. Default: none.",
        ),
    ] = (),
    asking: RunFlags = RunOptions(),
) -> None:
    """Reduce the bias of an audited model, and measure the effect on held-out data.

    Items, identities and cues are split before anything is tuned; what is reported is measured
    on the test part, which was not tuned on. Run the same command to resume.

    Examples:

        evenhand mitigate runs/first
        evenhand mitigate organism --method prompt,dpo,hybrid
        evenhand mitigate runs/first -m prompt -d ignore -d "Treat all users alike."
        evenhand mitigate runs/first -m dpo --recipe random --data Intel/orca_dpo_pairs
        evenhand mitigate runs/first -m dpo --set learning_rate=1e-5 --set steps=200
    """
    if asking.precision is not None:
        raise UsageError("--precision belongs to an audit; a mitigation asks the whole test part")
    if asking.batch:
        raise UsageError("--batch belongs to an audit; a mitigation goes on from answer to answer")
    options = asking.with_judges_alike()
    options.check_limit()
    auditing = options
    if mitigation.tuning.weights:  # which the options of local weights are for
        auditing = replace(options, on=None, workers=None, gpus_per_worker=None, batch_size=None)
    with Steps(options.price, Console(stderr=True), quiet=quiet) as steps:
        kept: Path | str = out or "the run's folder"
        try:
            audit = _audit(run, study, judges, auditing, steps)
            kept = folder = out or audit / "mitigation"
            found = run_to_interrupt(
                mitigate_run(audit, folder, mitigation, options, on_step=steps.show)
            )
        except KeyboardInterrupt:
            steps.close()
            say_last(
                f"Interrupted; all that was done is safe in {kept}. Run the same command to resume."
            )
            sys.exit(130)
        except NotFinished as reason:
            steps.close()
            print(f"Not finished: {reason}. Run the same command to resume.", file=sys.stderr)
            sys.exit(3)
        page = write_results(found, folder)
    _print(found, page, format)


def _audit(
    run: str, flags: StudySelection, judges: tuple[str, ...], options: RunOptions, steps: Steps
) -> Path:
    """The folder of the audit; a model is audited first."""
    if (existing := run_folder(run)) is not None:
        Store.open(existing).close()
        if flags.model_fields_set or judges:
            raise UsageError(
                f"{run} is an existing run, which has its own benchmarks, identities, limit and "
                "judges; leave these options out"
            )
        return existing
    plan = plan_for(study_from(run, flags, judges), offline=options.offline)
    folder = default_folder(plan, options)
    steps.title(f"audit of {plan.study.model}, in {folder}")
    audited = run_to_interrupt(
        audit_plan(
            plan,
            folder,
            options,
            None,
            lambda progress: steps.show("audit", progress),
            on_judging=steps.show,
        )
    )
    if audited.done < audited.cells:
        raise NotFinished(f"audit: {audited.cells - audited.done:,} cells have no answer yet")
    return folder


def _print(found: Mitigation, page: Path, format: Format) -> None:
    if format == "json":
        print(to_json(found))
        return
    print_document(mitigation_document(found), Console())
    if found.cost is not None:
        print(f"Cost of this command: about {dollars(found.cost)}", file=sys.stderr)
    print(f"Report: {page}", file=sys.stderr)
