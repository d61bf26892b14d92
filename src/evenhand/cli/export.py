"""evenhand export: a tuned model in the forms that servers take, and a check of what they serve."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from evenhand.cli.interrupts import run_to_interrupt
from evenhand.cli.study_flags import run_folder
from evenhand.engines import EngineOptions, make_engine
from evenhand.errors import Unreachable, UsageError
from evenhand.mitigate.export import Exported, ExportForm, ServedAgreement, agreement
from evenhand.mitigate.export import export as export_model
from evenhand.store.store import Store
from evenhand.study.decoding import Decoding
from evenhand.study.entry import validate
from evenhand.text import one_line

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
        return store.record().study.model
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
