"""evenhand mitigate, export: reduce the bias, measure the effect, and serve the tuned model."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter
from cyclopts.validators import Number
from rich.console import Console

from evenhand.audit import audit_plan, plan_for
from evenhand.cli.audit import default_folder
from evenhand.cli.flags import Format, Quiet
from evenhand.cli.interrupts import run_to_interrupt, say_last
from evenhand.cli.progress import Steps
from evenhand.cli.study_flags import RunFlags, run_folder, study_from
from evenhand.engines import EngineOptions, make_engine
from evenhand.engines.weights import find_weights
from evenhand.errors import NotFinished, Unreachable, UsageError
from evenhand.mitigate.export import Exported, ExportForm, ServedAgreement, agreement
from evenhand.mitigate.export import export as export_model
from evenhand.mitigate.flow import mitigate_run
from evenhand.mitigate.options import MitigationOptions
from evenhand.mitigate.reporting import (
    mitigation_document,
    no_longer_reported,
    to_json,
    write_results,
)
from evenhand.mitigate.results import Mitigation
from evenhand.report.terminal import print_document
from evenhand.run.options import RunOptions
from evenhand.store.store import Store
from evenhand.study.decoding import Decoding
from evenhand.study.entry import validate
from evenhand.study.study import JUDGE_NAMES, StudySelection
from evenhand.text import dollars, one_line

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
            audit = _audit(run, study, judges, auditing, steps, mitigation)
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
        gone = no_longer_reported(found, folder)
        page = write_results(found, folder)
    if gone:
        print(
            f"The report no longer holds {', '.join(gone)}: name all methods in one command.",
            file=sys.stderr,
        )
    _print(found, page, format)


def _audit(
    run: str,
    flags: StudySelection,
    judges: tuple[str, ...],
    options: RunOptions,
    steps: Steps,
    mitigation: MitigationOptions,
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
    mitigation.check(plan.study.model)
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


_SHOWN = 3
"""Differing answers that are shown."""


def export(
    model: Annotated[
        str,
        Parameter(
            help="Run folder, whose model is exported, such as MITIGATION/test-dpo-invariance; or "
            "hf/ID-or-path or organism."
        ),
    ],
    /,
    *,
    to: Annotated[
        ExportForm | None,
        Parameter(
            help="Form to write: merged (a folder of weights, for vLLM) or gguf (one file, for "
            "llama.cpp and Ollama). Default: gguf; with --check, nothing is written."
        ),
    ] = None,
    out: Annotated[Path, Parameter(help="New folder to write to.")] = Path("exported"),
    check: Annotated[
        str | None,
        Parameter(
            help="URL of the server of the exported model, up to and with /v1: ask it what the run "
            "asked, and count the answers that are the same. Default: no check."
        ),
    ] = None,
    name: Annotated[
        str, Parameter(help="Name under which the server knows the model, for --check.")
    ] = "model",
    answers: Annotated[
        int,
        Parameter(
            validator=Number(gte=1),
            help="Maximum number of answers to check, a random sample of the run's.",
        ),
    ] = 200,
    extra: Annotated[
        tuple[str, ...],
        Parameter(
            negative="",
            show_default=False,
            help="Further field of the check's requests, as KEY=JSON; may be repeated: "
            "repeat_penalty=1 turns off a penalty that some servers have by default.",
        ),
    ] = (),
) -> None:
    """Write a tuned model for a server, and check that the server answers as the tested model.

    Examples:

        evenhand export runs/first/mitigation/test-dpo-invariance --out tuned
        evenhand export runs/first/mitigation/test-dpo-invariance --to merged --out merged
        evenhand export runs/first/mitigation/test-dpo-invariance --check http://localhost:8080/v1
        evenhand export runs/tuned --check http://localhost:8000/v1 --extra repeat_penalty=1
    """
    run = run_folder(model)
    if check is not None and run is None:
        raise UsageError("--check compares with the answers of a run; name its folder")
    if check is None or to is not None:
        weights = model if run is None else _model_of(run)
        _tell(export_model(weights, out, to or "gguf"), run)
    if check is not None and run is not None:
        _tell_agreement(_agreement(run, check, name, answers, extra))


def _model_of(run: Path) -> str:
    store = Store.open(run)
    try:
        record = store.record()
        folder = find_weights(record.study.model, record.addresses, run.absolute().parent)
        return record.study.model if folder is None else f"hf/{folder}"
    finally:
        store.close()


def _tell(exported: Exported, run: Path | None) -> None:
    where = shlex.quote(str(exported.weights))
    print(f"Written: {exported.weights}")
    if exported.weights.is_dir():
        print(f"vLLM:      vllm serve {where}")
    else:
        print(f"llama.cpp: llama-server -m {where}")
        if exported.modelfile is not None:
            print(f"Ollama:    ollama create NAME -f {shlex.quote(str(exported.modelfile))}")
        else:
            print("Ollama:    no Modelfile: its language cannot say this model's chat template")
    if run is not None:
        print(f"Check:     evenhand export {shlex.quote(str(run))} --check http://HOST:PORT/v1")


def _agreement(
    run: Path, url: str, name: str, most: int, extra: tuple[str, ...]
) -> ServedAgreement:
    store = Store.open(run)
    try:
        more = validate(Decoding, {"extra": extra}, "--extra").extra
        decoding = store.record().study.decoding
        decoding = decoding.model_copy(update={"extra": {**decoding.extra, **more}})
        engine = make_engine(f"openai/{name}", decoding, EngineOptions(base_urls=[url]))

        async def ask() -> ServedAgreement:
            try:
                return await agreement(store, engine, most)
            finally:
                await engine.close()

        return run_to_interrupt(ask())
    except Unreachable as error:  # here another option names the endpoint
        raise Unreachable(str(error).replace("--base-url", "--check")) from None
    finally:
        store.close()


def _tell_agreement(found: ServedAgreement) -> None:
    print(f"{found.same:,} of {found.asked:,} greedy answers are the same as those of the run.")
    if found.shared is None:
        return
    print(f"Of the others, on average the first {found.shared:.0%} is the same.")
    for question, own, theirs in found.differing[:_SHOWN]:
        print(f"  question: {one_line(question, 100)}")
        print(f"    tested: {one_line(own, 100)}")
        print(f"    served: {one_line(theirs, 100)}")
    print(
        "Where most differ, look at the server's chat template, and at defaults of its own such as "
        "a repetition penalty (--extra repeat_penalty=1)."
    )
