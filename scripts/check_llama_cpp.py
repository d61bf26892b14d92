"""Does llama.cpp's server answer as the tested model? The organism before and after a tuning.

    python -m venv llama && llama/bin/pip install 'llama-cpp-python[server]'   # compiles: minutes
    pip install -e '.[gguf,train]'
    python scripts/check_llama_cpp.py --python llama/bin/python [RUN ...] [--answers 100]

Without a RUN the organism is audited and tuned for some steps, and both are checked. Each model is
exported as GGUF (`evenhand export`), served by llama.cpp, and asked again what its run asked. Exits
with 1 where fewer than 95% of the greedy answers are the same.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from served import free_port, wait_for

import evenhand
from evenhand.engines import EngineOptions, make_engine
from evenhand.errors import EvenhandError
from evenhand.mitigate.export import ServedAgreement, agreement, export
from evenhand.mitigate.flow import mitigate_run
from evenhand.mitigate.options import MitigationOptions, TuningOptions
from evenhand.run.options import RunOptions
from evenhand.store.store import Store

LEAST = 0.95


def organism_runs(folder: Path) -> list[Path]:
    """An audit of the organism, and the test of its tuned version."""
    run = folder / "organism"
    evenhand.audit(
        "organism",
        identities=["gender", "religion"],
        limit=24,
        decoding={"max_tokens": 64},
        out=run,
    )
    tuning = TuningOptions(recipes=("invariance",), settings={"steps": 20, "batch_size": 16})
    options = MitigationOptions(methods=("dpo",), cues=(), tuning=tuning)
    asyncio.run(mitigate_run(run, folder / "mitigation", options, RunOptions()))
    return [run, folder / "mitigation" / "test-dpo-invariance"]


@contextmanager
def llama_server(python: Path, weights: Path) -> Iterator[str]:
    """The base URL of llama.cpp's server for a GGUF file, with the template that the file holds."""
    port = free_port()
    command = [
        *(str(python), "-m", "llama_cpp.server", "--model", str(weights)),
        *("--host", "127.0.0.1", "--port", str(port), "--n_ctx", "2048", "--n_threads", "1"),
    ]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/v1/models")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.kill()
        server.wait()


def check(run: Path, python: Path, folder: Path, most: int) -> ServedAgreement:
    """Export the model of a run, serve it, and compare what it answers."""
    store = Store.open(run)
    try:
        study = store.record().study
        exported = export(study.model, folder, "gguf")
        with llama_server(python, exported.weights) as url:
            options = EngineOptions(base_urls=[url], max_connections=1, timeout=600)
            # The server's default of 1.1 changes greedy answers, too.
            extra = {**study.decoding.extra, "repeat_penalty": 1.0}
            decoding = study.decoding.model_copy(update={"extra": extra})
            engine = make_engine("openai/model", decoding, options)

            async def ask() -> ServedAgreement:
                try:
                    return await agreement(store, engine, most)
                finally:
                    await engine.close()

            return asyncio.run(ask())
    finally:
        store.close()


def main() -> None:
    """A line for each run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN")
    parser.add_argument("--python", type=Path, required=True, help="with llama-cpp-python[server]")
    parser.add_argument("--answers", type=int, default=100)
    options = parser.parse_args()
    passed = True
    with tempfile.TemporaryDirectory() as scratch:
        runs = options.runs or organism_runs(Path(scratch))
        for n, run in enumerate(runs):
            found = check(run, options.python, Path(scratch) / f"exported-{n}", options.answers)
            print(
                f"{run}: {found.same:,} of {found.asked:,} greedy answers are the same", flush=True
            )
            for question, own, theirs in found.differing[:3]:
                print(
                    f"  {question[:80]!r}\n    tested: {own[:100]!r}\n    served: {theirs[:100]!r}"
                )
            passed = passed and found.same >= LEAST * found.asked
    sys.exit(not passed)


if __name__ == "__main__":
    try:
        main()
    except EvenhandError as error:
        sys.exit(f"check_llama_cpp: {error}")
