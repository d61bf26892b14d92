"""evenhand mitigate: bring the bias down, and prove it on what was not tuned on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import orjson
from cyclopts import Group, Parameter
from cyclopts.validators import Number
from rich.console import Console

from evenhand.analysis import MARGIN
from evenhand.audit import audit_plan, plan_for
from evenhand.cli.interrupts import run_to_interrupt, say_last
from evenhand.cli.judges import JudgeFlags
from evenhand.cli.options import Format, RunFlags, StudyFlags
from evenhand.cli.plan import default_folder
from evenhand.cli.steps import Steps
from evenhand.engines import engine_names
from evenhand.errors import NotFinished, UsageError
from evenhand.mitigate.flow import mitigate_run
from evenhand.mitigate.options import MitigationOptions, TuningOptions
from evenhand.mitigate.results import Mitigation, to_json, write_results
from evenhand.mitigate.search import BUDGET
from evenhand.mitigate.split import Unit
from evenhand.report.mitigation import print_mitigation

_DEFENSE = Group("Defense by prompt", sort_key=1)
_TUNING = Group("Preference tuning", sort_key=2)
_TEST = Group("Split and test", sort_key=3)
_AUDIT = Group("Audit, where RUN is a model", sort_key=5)
_NAMES: dict[str, Any] = {"negative": "", "show_default": False}


def mitigate(
    run: Annotated[
        str,
        Parameter(
            help="Run folder; or a model, or a study file, which is audited first: organism, "
            "hf/ID-or-path, openai/NAME, study.yaml."
        ),
    ],
    *,
    method: Annotated[
        tuple[str, ...],
        Parameter(
            alias="-m",
            **_NAMES,
            help="prompt, withhold, dpo, hybrid (the model of the first recipe with the defense); "
            "repeat, or separate by commas. Default: prompt.",
        ),
    ] = ("prompt",),
    out: Annotated[
        Path | None,
        Parameter(help="Folder of the mitigation; resumed if it is there. Default: in the run's."),
    ] = None,
    format: Annotated[Format, Parameter(help="text for the terminal, or json.")] = "text",
    defense: Annotated[
        tuple[str, ...],
        Parameter(
            name=["--defense", "-d"],
            group=_DEFENSE,
            **_NAMES,
            help="Defense to choose from: a name, one in another place (ignore.before, "
            "ignore.user), or a sentence; with a single one nothing is searched. Default: all.",
        ),
    ] = (),
    defenses_file: Annotated[
        Path | None,
        Parameter(group=_DEFENSE, help="YAML or TOML file of your own defenses to choose from."),
    ] = None,
    budget: Annotated[
        int,
        Parameter(group=_DEFENSE, validator=Number(gte=1), help="Answers for the search."),
    ] = BUDGET,
    recipe: Annotated[
        tuple[str, ...],
        Parameter(
            group=_TUNING,
            **_NAMES,
            help="Pairs to tune on: invariance or debiasing (from the audit), as-is, vanilla, "
            "random or all (from --data); with -shuffled a control. Default: invariance.",
        ),
    ] = ("invariance",),
    data: Annotated[
        str | None,
        Parameter(group=_TUNING, help="Preference data: .jsonl file, or data set of the hub."),
    ] = None,
    weights: Annotated[
        str | None,
        Parameter(
            group=_TUNING,
            help="Weights to tune, hf/ID-or-path, where the audit went through an endpoint.",
        ),
    ] = None,
    set: Annotated[
        tuple[str, ...],
        Parameter(
            group=_TUNING, **_NAMES, help="A setting of the training: learning_rate=1e-4; repeat."
        ),
    ] = (),
    gpus: Annotated[
        int,
        Parameter(
            group=_TUNING,
            validator=Number(gte=1),
            help="With more than one the training is prepared, and the command that runs it told.",
        ),
    ] = 1,
    split_seed: Annotated[
        int | None, Parameter(group=_TEST, help="Of the split; fixed with the first mitigation.")
    ] = None,
    split_by: Annotated[
        Unit | None,
        Parameter(group=_TEST, help="Split single items, or whole subgroups. Default: item."),
    ] = None,
    test_cue: Annotated[
        tuple[str, ...] | None,
        Parameter(
            group=_TEST,
            **_NAMES,
            help='Cue to test on that is not tuned on; "none" for none. Default: system-2, '
            "memory-1.",
        ),
    ] = None,
    relevance: Annotated[
        bool | None,
        Parameter(
            group=_TEST,
            show_default=False,
            help="Test whether the identity is still used where it rightly matters. Default: yes, "
            "but not for the organism, which knows nothing of it.",
        ),
    ] = None,
    control: Annotated[
        str,
        Parameter(
            group=_TEST,
            show_default=False,
            help="A sentence that must not help, tested beside the defense.",
        ),
    ] = "",
    margin: Annotated[
        float,
        Parameter(
            group=_TEST, validator=Number(gt=0, lte=100), help="Loss that does not matter, points."
        ),
    ] = MARGIN,
    benchmark: Annotated[
        tuple[str, ...] | None,
        Parameter(name=["--benchmark", "-b"], group=_AUDIT, **_NAMES, help="As of audit."),
    ] = None,
    identity: Annotated[
        tuple[str, ...] | None,
        Parameter(name=["--identity", "-i"], group=_AUDIT, **_NAMES, help="As of audit."),
    ] = None,
    limit: Annotated[
        int | None, Parameter(group=_AUDIT, validator=Number(gte=1), help="As of audit.")
    ] = None,
    asking: RunFlags = RunFlags(),
    judges: JudgeFlags = JudgeFlags(),
) -> None:
    """Bring the bias of an audited model down, by prompt, by tuning, or by both, and prove it.

    Items, identities and cues are split before anything is tuned; what is reported is measured
    on what was not tuned on. The same command goes on where an earlier one was cut off.

    Examples:

        evenhand mitigate runs/first
        evenhand mitigate organism --method prompt,dpo,hybrid
        evenhand mitigate runs/first -m prompt -d ignore -d "Treat all users alike."
        evenhand mitigate runs/first -m dpo --recipe random --data Intel/orca_dpo_pairs
        evenhand mitigate runs/first -m dpo --set learning_rate=1e-5 --set steps=200
    """
    if asking.precision is not None:
        raise UsageError("--precision belongs to an audit; a mitigation asks the whole test part")
    judging = judges.judging(
        max_connections=asking.max_connections,
        timeout=asking.timeout,
        batch_size=asking.batch_size,
    )
    options = asking.options(judging)
    flags = StudyFlags(benchmark=benchmark, identity=identity, limit=limit)
    with Steps(options.price, Console(stderr=True), quiet=asking.quiet) as steps:
        kept: Path | str = out or "the run's folder"
        try:
            audit = _audit(run, flags, judges, options, steps)
            kept = folder = out or audit / "mitigation"
            mitigation = MitigationOptions(
                methods=_split(method),
                defenses=defense,
                defenses_file=defenses_file,
                budget=budget,
                seed=split_seed,
                unit=split_by,
                cues=None if test_cue is None else [c for c in _split(test_cue) if c != "none"],
                control=control,
                relevance=relevance,
                margin=margin,
                tuning=TuningOptions(
                    recipes=_split(recipe),
                    data=data,
                    weights=weights,
                    settings=_settings(set),
                    devices=gpus,
                ),
            )
            found = run_to_interrupt(
                mitigate_run(audit, folder, mitigation, options, on_step=steps.show)
            )
        except KeyboardInterrupt:
            steps.close()
            say_last(
                f"Interrupted; all that was done is safe in {kept}. The same command goes on "
                "from there."
            )
            sys.exit(130)
        except NotFinished as reason:
            steps.close()
            print(f"Not finished: {reason}. The same command goes on.", file=sys.stderr)
            sys.exit(3)
        page = write_results(found, folder)
    _print(found, page, format)


def _audit(run: str, flags: StudyFlags, judges: JudgeFlags, options: Any, steps: Steps) -> Path:
    """The folder of the audit; a model is audited first."""
    if Path(run).is_dir():
        given = [flags.benchmark, flags.identity, flags.limit, judges.judge]
        if any(value is not None for value in given):
            raise UsageError(
                f"{run} is a run that is made; benchmarks, identities, limit and judges are its own"
            )
        return Path(run)
    if "/" in run and run.split("/")[0] not in engine_names() and not run.endswith(_STUDIES):
        raise UsageError(f"no run in {run}; start one: evenhand audit MODEL --out DIR")
    plan = plan_for(flags.study(run, judges.judge), offline=options.offline)
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


_STUDIES = (".yaml", ".yml", ".toml")


def _print(found: Mitigation, page: Path, format: Format) -> None:
    if format == "json":
        print(to_json(found))
        return
    print_mitigation(found, Console())
    if found.cost is not None:
        print(f"Cost of this command: about ${found.cost:,.2f}", file=sys.stderr)
    print(f"Report: {page}", file=sys.stderr)


def _split(values: tuple[str, ...]) -> list[str]:
    return [name.strip() for value in values for name in value.split(",") if name.strip()]


def _settings(pairs: tuple[str, ...]) -> dict[str, Any]:
    """Values are JSON where they can be: numbers, true, lists; else texts."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f'--set "{pair}" is not of the form NAME=VALUE')
        try:
            found[name.strip()] = orjson.loads(value)
        except orjson.JSONDecodeError:
            found[name.strip()] = value
    return found
