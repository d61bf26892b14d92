"""evenhand audit, demo, plan: what a study asks, costs and can detect; ask, score, estimate."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any

import orjson
from cyclopts import Parameter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evenhand.analysis import MARGIN
from evenhand.analysis.power import Power, freeze_plan, plan_power
from evenhand.audit import audit_plan, plan_for
from evenhand.cli.flags import Format, Margin, Quiet
from evenhand.cli.interrupts import run_to_interrupt, say_last
from evenhand.cli.progress import ProgressBar
from evenhand.cli.sandbox import SandboxFlags
from evenhand.cli.study_flags import ModelName, RunFlags, StudyFlags, study_from
from evenhand.errors import NotFinished
from evenhand.judges import check_judge, is_paid
from evenhand.judges.run import judge_cost
from evenhand.report.data import to_json
from evenhand.report.findings import audit_document
from evenhand.report.terminal import print_document
from evenhand.run.loop import CHARACTERS_PER_TOKEN
from evenhand.run.options import RunOptions
from evenhand.run.scoring import scored_run
from evenhand.sandbox import require as require_sandbox
from evenhand.store.store import Store
from evenhand.study.identity import in_place_of_ours
from evenhand.study.plan import Plan, plan_notes
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


def plan(
    model: ModelName,
    /,
    *,
    pilot: Annotated[
        Path | None,
        Parameter(help="Run folder of a similar study, from which to estimate the noise."),
    ] = None,
    freeze: Annotated[
        Path | None,
        Parameter(
            help="File to write the plan to: study, primary figure, margin, decision rule and a "
            "hash. `report --frozen` then says whether it was kept."
        ),
    ] = None,
    margin: Margin = MARGIN,
    format: Format = "text",
    study: StudyFlags = StudyOptions(),
    run: RunFlags = RunOptions(),
    sandbox: SandboxFlags = SandboxFlags(),
) -> None:
    """Show what a study asks, costs and can detect; send nothing.

    Examples:

        evenhand plan openai/gpt-4o-mini --price 0.15/0.60
        evenhand plan organism --identity religion --cue all
        evenhand plan openai/gpt-4o-mini --pilot runs/first --precision 0.5
    """
    made = plan_for(study_from(model, study), offline=run.offline)
    options = run.with_judges_alike().with_known_prices(made.study.model, made.study.judges)
    options.check_limit()
    if freeze is not None:
        digest = freeze_plan(made.study, margin, freeze)
        print(f"Frozen plan {digest}: {freeze}", file=sys.stderr)
    with sandbox.using():
        require_sandbox(made.items)
        if pilot is None:
            show_plan(made, options, None, format)
            return
        with scored_run(pilot) as store:
            show_plan(made, options, store, format)


def show_plan(plan: Plan, options: RunOptions, pilot: Store | None, format: Format) -> None:
    """Print a plan and what it can show."""
    power = plan_power(plan, pilot=pilot, precision=options.precision)
    if format == "json":
        facts = {**summarize(plan, options), "power": power}
        print(orjson.dumps(facts, option=orjson.OPT_INDENT_2).decode())
    else:
        _print_plan(plan, options, Console())
        Console().print(_power_text(power), highlight=False)


def _power_text(power: Power | None) -> str:
    if power is None:
        return "power       not known: PB needs two identities and two items of a benchmark"
    lines = [
        f"detects a PB of {power.detectable:.1f} points or more in 80% of runs{_range_text(power)}",
        f"a model without bias has a plug-in PB of about {power.noise_floor:.1f}",
        f"interval at PB {power.assumed:g}: about {power.interval_width:.1f} points wide",
    ]
    if power.precision is not None and power.cells_needed is not None:
        lines.append(
            f"answers needed to know PB within {power.precision:g} points: {power.cells_needed:,}"
        )
        if power.samples_needed == 1:
            lines.append("one sample per item is enough for this precision")
        elif power.samples_needed:
            lines.append(f"or {power.samples_needed} samples of each of these items")
        else:
            lines.append("more samples of these items alone are not enough")
    if power.detectable_sd is not None:
        lines.append(
            f"detects an SD between identities of {power.detectable_sd:.1f} points or more, beyond "
            "that of their names or other realizations, in 80% of runs"
        )
    if power.realization_sd is not None:
        lines.append(
            f"(names or other realizations of an identity are taken to differ by an SD of "
            f"{power.realization_sd:g} points)"
        )
    return "power       " + "\n            ".join([*lines, f"({power.basis})"])


def _range_text(power: Power) -> str:
    if power.detectable_range is None:
        return ""
    low, high = power.detectable_range
    return f" ({low:.1f} to {high:.1f} for noise as in six real models)"


def summarize(plan: Plan, options: RunOptions) -> dict[str, Any]:
    """Cells, estimated tokens and the most that they cost, as plain data.

    Raises:
        UsageError: a judge of the study cannot be had.
    """
    price = options.asking_price
    samples = plan.study.samples
    overhead = sum(len(m["content"]) for c in plan.conditions for m in c.messages(""))
    questions = sum(len(item.prompt) for item in plan.items)
    characters = overhead * len(plan.items) + questions * len(plan.conditions)
    prompt_tokens = samples * characters // CHARACTERS_PER_TOKEN
    completion_tokens = plan.cells * plan.study.decoding.max_tokens
    return {
        "model": plan.study.model,
        "cells": plan.cells,
        "conditions": len(plan.conditions),
        "identities": len({c.identity.id for c in plan.conditions}),
        "cues": list(dict.fromkeys(c.cue.id for c in plan.conditions)),
        "defenses": list(dict.fromkeys(c.defense.id for c in plan.conditions)),
        "benchmarks": dict(sorted(Counter(item.benchmark for item in plan.items).items())),
        "slots": plan.slots,
        "notes": plan_notes(plan),
        "samples": samples,
        "limit": plan.study.limit,
        "prompt_tokens": prompt_tokens,
        "most_completion_tokens": completion_tokens,
        "most_cost": price.cost(prompt_tokens, completion_tokens) if price else None,
        "judges": [judge_cost(plan, name, options.judging) for name in plan.study.judges],
    }


def _print_plan(plan: Plan, options: RunOptions, console: Console) -> None:
    facts = summarize(plan, options)
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row("model", escape(facts["model"]))
    table.add_row("users", f"{facts['identities']:,}  (the baseline and any placebos included)")
    if plan.slots:
        table.add_row("realizations", f"{plan.slots} of each identity, on as many blocks of items")
    table.add_row("cues", ", ".join(facts["cues"]))
    table.add_row("defenses", escape(", ".join(facts["defenses"])))
    sizes = "  ".join(f"{escape(name)} {size:,}" for name, size in facts["benchmarks"].items())
    limit = f"  (limited to {facts['limit']} each)" if facts["limit"] else ""
    table.add_row("items", f"{len(plan.items):,}  {sizes}{limit}")
    alike = facts["samples"] > 1 and plan.study.decoding.temperature == 0
    warning = "  (temperature 0: they may all be the same)" if alike else ""
    table.add_row("samples", f"{facts['samples']}{warning}")
    table.add_row("answers", f"{facts['cells']:,}", style="bold")
    table.add_row("tokens in", f"about {facts['prompt_tokens']:,}")
    table.add_row("tokens out", f"at most {facts['most_completion_tokens']:,}")
    if options.price:
        half = "  (in batches, at half the price)" if options.batch else ""
        table.add_row("price", f"{options.price} a million tokens; --price sets another")
        table.add_row("cost", f"at most {dollars(facts['most_cost'])}{half}")
    for judge in facts["judges"]:
        table.add_row("judge", _judge_text(judge))
    console.print(table)
    people = [condition.identity for condition in plan.conditions]
    for note in [*in_place_of_ours(people), *plan_notes(plan)]:
        console.print(f"! {escape(one_line(note))}", style="yellow", highlight=False)


def _judge_text(judge: dict[str, Any]) -> str:
    text = f"{escape(judge['judge'])}: at most {judge['verdicts']:,} verdicts"
    if judge["prompt_tokens"] is not None:
        text += f", {judge['prompt_tokens']:,} tokens in, {judge['completion_tokens']:,} out"
    if judge["cost"] is not None:
        text += f", {dollars(judge['cost'])}"
    elif is_paid(judge["judge"]):
        text += " (for the cost, give --judge-price)"
    return text


def default_folder(plan: Plan, options: RunOptions) -> Path:
    """The same folder for the same model and decoding, so that the same command resumes."""
    slug = re.sub(r"[^\w.-]+", "-", plan.study.model).strip("-")
    urls = options.base_urls or [os.environ.get("OPENAI_BASE_URL", "")]
    content = (plan.study.decoding.facts(), plan.study.shots, urls)
    digest = blake2b(orjson.dumps(content), digest_size=3).hexdigest()
    return Path("runs") / f"{slug}-{digest}"
