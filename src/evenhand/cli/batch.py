"""evenhand batch: requests to files, and results from files, for clusters without a network."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import Parameter
from cyclopts.validators import Number

from evenhand.audit import access_to, plan_for
from evenhand.cli.flags import RunFolder
from evenhand.cli.interrupts import run_to_interrupt
from evenhand.cli.study_flags import ModelName, RunFlags, StudyFlags, study_from
from evenhand.errors import UsageError
from evenhand.run.batch import read_files, write_files
from evenhand.run.options import RunOptions
from evenhand.run.returned import ResultCounts
from evenhand.run.scoring import score_run
from evenhand.store.sent import Sent
from evenhand.store.store import Store
from evenhand.study.study import StudyOptions
from evenhand.text import counted

MOST_REQUESTS, MOST_MEGABYTES = 50_000, 200
"""The limits of OpenAI's batch API, which most others have, too; `vllm run-batch` has none."""

OF_FILES = ("base_urls", "offline")
"""Of the options of how to ask, those that matter where nothing is sent yet."""

batch = cyclopts.App(
    name="batch", help="Write a run's requests to files, or read files of results."
)


@batch.command
def write(
    run: RunFolder,
    model: ModelName | None = None,
    /,
    *,
    to: Annotated[
        Path | None, Parameter(help="Folder for the files of requests. Default: RUN-requests.")
    ] = None,
    most_requests: Annotated[
        int, Parameter(validator=Number(gte=1), help="Maximum number of requests of a file.")
    ] = MOST_REQUESTS,
    most_megabytes: Annotated[
        int, Parameter(validator=Number(gte=1), help="Maximum size of a file in megabytes.")
    ] = MOST_MEGABYTES,
    study: StudyFlags = StudyOptions(),
    asking: RunFlags = RunOptions(),
) -> None:
    """Write the open requests of a run to files, in the form of its service's batch API.

    A new run needs MODEL and the options of its study; for an existing one they may be left out.
    Requests that are in a file already are not written again; see `evenhand batch forget`.

    Examples:

        evenhand batch write runs/llama vllm-server/meta-llama/Llama-3.1-8B-Instruct --limit 100
        vllm run-batch -i runs/llama-requests/requests-....jsonl -o results.jsonl --model ...
        evenhand batch read runs/llama results.jsonl
    """
    for option in fields(asking):
        if option.name not in OF_FILES and getattr(asking, option.name) != option.default:
            named = {"headers": "--header", "judging": "an option of judges"}
            flag = named.get(option.name, f"--{option.name.replace('_', '-')}")
            raise UsageError(f"{flag} has no effect on files of requests; leave it out")
    if model is None:
        if study.model_fields_set:
            raise UsageError(
                "options of a study need its MODEL: evenhand batch write RUN MODEL ..."
            )
        with closing(Store.open(run)) as store:
            wanted = store.record().study
    else:
        wanted = study_from(model, study)
    plan = plan_for(wanted, offline=asking.offline)
    access = access_to(wanted, asking, needs_key=False)
    folder = to or run.with_name(f"{run.name}-requests")
    limits = most_requests, most_megabytes * 1_000_000
    store = Store.create(run)
    try:
        made = run_to_interrupt(write_files(plan, access, store, folder, limits))
        waiting = len(Sent(store).cells())
    finally:
        store.close()
    for path, requests in made:
        print(f"{path}: {counted(requests, 'request')}")
    told = "No request is open or under way."
    if waiting:
        told = (
            f"{counted(waiting, 'request is', 'requests are')} under way. Read the results: "
            f"evenhand batch read {run} FILE"
        )
    print(told, file=sys.stderr)


@batch.command
def read(
    run: RunFolder,
    files: Annotated[list[Path], Parameter(help="File of results; may be several.")],
    /,
) -> None:
    """Read files of results into a run; any file, in any order, as often as you like.

    Exits with 0 when all requests that were written are answered, and with 3 while some are not.

    Examples:

        evenhand batch read runs/llama results.jsonl
    """
    with closing(Store.open(run)) as store:
        wanted = store.record().study
        access = access_to(wanted, RunOptions(), needs_key=False)
        found = read_files(access, store, files)
        score_run(store)
        sent = Sent(store)
        waiting, free = len(sent.cells()), len(sent.free_cells())
    print(_told(found))
    reasons = []
    if waiting:
        reasons.append(f"{counted(waiting, 'request has', 'requests have')} no result yet")
    if free:
        again = f"write again: evenhand batch write {run}"
        reasons.append(f"{counted(free, 'request has', 'requests have')} failed ({again})")
    if reasons:
        print(f"Not finished: {'; '.join(reasons)}.", file=sys.stderr)
        sys.exit(3)
    print(f"See the run: evenhand report {run}", file=sys.stderr)


@batch.command
def forget(
    run: RunFolder,
    name: Annotated[
        str, Parameter(help="What to forget: a batch's id at the service, or a file of requests.")
    ],
    /,
) -> None:
    """Give up a batch or a file of requests, so that what it holds is asked again, and paid again.

    Examples:

        evenhand batch forget runs/llama runs/llama-requests/requests-0123456789ab.jsonl
    """
    with closing(Store.open(run)) as store, store.only_process():
        sent = Sent(store)
        batches = sent.under_way()
        known = [b for b in batches if name in (b.remote, b.file, b.token, Path(b.file).name)]
        if not known:
            there = ", ".join(b.remote or b.file or b.token for b in batches) or "none"
            raise UsageError(f"no batch {name} is under way in {run}; under way: {there}")
        requests = len(sent.cells(known[0].id))
        sent.end(known[0].id)
    print(f"{counted(requests, 'request is', 'requests are')} open again.")


def _told(found: ResultCounts) -> str:
    parts = [counted(found.answered, "answer")]
    if found.failed:
        parts.append(counted(found.failed, "failed or expired request"))
    if found.known:
        parts.append(counted(found.known, "line that was", "lines that were") + " known already")
    if found.foreign:
        parts.append(counted(found.foreign, "line") + " of no request of this run")
    return f"Read {counted(found.lines, 'line')}: {', '.join(parts)}."
