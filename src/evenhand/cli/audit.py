"""evenhand audit and demo: ask, store, score, estimate."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.markup import escape

from evenhand.audit import audit_plan, plan_for
from evenhand.cli.flags import Format, Quiet
from evenhand.cli.interrupts import run_to_interrupt, say_last
from evenhand.cli.plan import default_folder, show_plan
from evenhand.cli.progress import ProgressBar
from evenhand.cli.sandbox import SandboxFlags
from evenhand.cli.study_flags import ModelName, RunFlags, StudyFlags, study_from
from evenhand.errors import NotFinished
from evenhand.judges import check_judge
from evenhand.report.data import to_json
from evenhand.report.findings import audit_document
from evenhand.report.terminal import print_document
from evenhand.run.options import RunOptions
from evenhand.study.plan import plan_notes
from evenhand.study.study import StudyOptions
from evenhand.text import counted, dollars, one_line


def audit(
    model: ModelName,
    /,
    *,
    out: Annotated[
        Path | None,
        Parameter(
            help="Run folder; an existing run is resumed. Default: runs/MODEL-..., by study."
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        Parameter(
            negative="", show_default=False, help="Show the plan and its price; send nothing."
        ),
    ] = False,
    format: Format = "text",
    quiet: Quiet = False,
    study: StudyFlags = StudyOptions(),
    run: RunFlags = RunOptions(),
    sandbox: SandboxFlags = SandboxFlags(),
) -> None:
    """Audit a model: ask it the same questions for every identity.

    Every answer is on disk before it counts as done. Run the same command to resume; it asks
    only what is new where the study has grown.

    Examples:

        evenhand audit organism
        evenhand audit openai/gpt-4o-mini --limit 100 --price 0.15/0.60 --max-cost 5
        evenhand audit openai/llama --base-url http://127.0.0.1:8000/v1 -b do_not_answer,mmlu
        evenhand audit organism --judge rubric:openai/gpt-4o-mini --judge-price 0.15/0.60
        evenhand audit study.yaml --out runs/first
        evenhand audit openai/gpt-4o-mini --batch --price 0.15/0.60
    """
    plan = plan_for(study_from(model, study), offline=run.offline)
    options = run.with_judges_alike().with_known_prices(plan.study.model, plan.study.judges)
    for judge in plan.study.judges:
        check_judge(judge, options.judging)
    folder = out or default_folder(plan, options)
    if dry_run:
        show_plan(plan, options, None, format)
        return
    console = Console(stderr=True)
    for note in plan_notes(plan):
        console.print(f"! {escape(one_line(note))}", style="yellow", highlight=False)
    bar = ProgressBar(
        plan.cells, options.asking_price, console, judge_price=options.judging.price, quiet=quiet
    )
    with sandbox.using(), bar:
        try:
            auditing = audit_plan(
                plan, folder, options, None, bar.show, on_judging=bar.show_judging
            )
            result = run_to_interrupt(auditing)
        except KeyboardInterrupt:
            bar.close()
            came = "no answer was added to"
            if bar.progress:
                came = f"{bar.progress.done:,} of {plan.cells:,} answers are safe in"
            say_last(f"Interrupted; {came} {folder}. Run the same command to resume.")
            sys.exit(130)
        except NotFinished as reason:
            bar.close()
            print(f"Not finished: {reason}. Run the same command to collect.", file=sys.stderr)
            sys.exit(3)
    if format == "json":
        print(to_json(result))
    else:
        print_document(audit_document(result), Console())
    asked = [bar.progress] if bar.progress else []
    everything = [*asked, *bar.judging.values()]
    if options.price or options.judging.price:
        cost = sum(progress.cost for progress in everything)
        print(f"Cost of this command: about {dollars(cost)}", file=sys.stderr)
    reasons = [progress.stopped for progress in everything if progress.stopped]
    if result.done < result.cells:
        reasons.append(
            f"{counted(result.cells - result.done, 'cell has', 'cells have')} no answer yet"
        )
    for judge, progress in bar.judging.items():
        if progress.done < progress.cells:
            left = progress.cells - progress.done
            reasons.append(
                f"{counted(left, 'answer has', 'answers have')} no verdict of {one_line(judge)} yet"
            )
    if reasons:
        print(f"Not finished: {reasons[0]}. Run the same command to resume.", file=sys.stderr)
        sys.exit(3)
    if format == "text":
        print(f"Run folder: {folder}; see it: evenhand report {folder} --open", file=sys.stderr)


def demo(
    *,
    out: Annotated[Path, Parameter(help="Run folder.")] = Path("runs/demo"),
) -> None:
    """Audit the organism on the demo suite; needs no network.

    The organism is a model organism: a small model that was trained to show a known bias.

    Examples:

        evenhand demo
    """
    audit("organism", out=out, study=StudyOptions(placebos=True))
