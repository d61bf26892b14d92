"""A training, resumed where it was cut off.

A prepared training (`job.prepare`) runs in this process through `train`, or on several
devices:

    accelerate launch -m evenhand.mitigate.train DIR
"""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from evenhand.errors import EvenhandError, TrainingError
from evenhand.mitigate.job import (
    TrainingFiles,
    TrainingJob,
    check_packages,
    quieten,
    read_job,
    write_card,
    write_whole,
)
from evenhand.text import one_line

if TYPE_CHECKING:
    from evenhand.mitigate.trainer import TrainingProgress

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# The last two are torch's, whose writer knows nothing of errno.
_NO_SPACE_WORDS = (
    "no space left",
    "quota exceeded",
    "file too large",
    "failed writing file",
    "inline_container",
)


@dataclass(frozen=True, slots=True)
class Trained:
    """A training that came to its end.

    Attributes:
        out: folder of the adapter or model; `hf/DIR` for an audit.
        resumed_from: the step it went on from; 0 if it began anew.
        steps: `Step` by step, as in `training.json`.
    """

    out: Path
    resumed_from: int
    steps: list[dict[str, float]]


def train(out: Path, on_progress: Callable[[TrainingProgress], None] = lambda _: None) -> Trained:
    """Run the training that was prepared in a folder, or what is left of it.

    Args:
        out: as given to `prepare`.
        on_progress: called after each step.

    Raises:
        TrainingError: there is none, the numbers broke down, the disk is full, memory ran out; the
            last good checkpoint is kept, and the same call resumes from it.
        MissingExtra: a package is not installed.
    """
    job = read_job(out)
    check_packages(job.training)
    files = TrainingFiles(out)
    if files.finished():
        return Trained(out, job.training.steps, orjson.loads(files.curves.read_bytes())["steps"])
    quieten()
    from evenhand.mitigate.trainer import Watch, checkpoint_step, last_checkpoint

    resume = last_checkpoint(files.checkpoints)
    resumed_from = checkpoint_step(resume) if resume else 0
    started = time.monotonic()
    with _explained(files):
        trainer = _trainer(job, files, Watch(on_progress))
        try:
            trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        except TrainingError:
            _write_curves(trainer, job, files, resumed_from, time.monotonic() - started, False)
            raise
        seconds = time.monotonic() - started
        steps = _finish(trainer, job, files, resumed_from, seconds)
    return Trained(out, resumed_from, steps)


def launch_command(out: Path, devices: int) -> str:
    """The command that runs a prepared training on several devices of this machine."""
    where = shlex.quote(str(out))
    return f"accelerate launch --num_processes {devices} -m evenhand.mitigate.train {where}"


def _trainer(job: TrainingJob, files: TrainingFiles, watch: Any) -> Any:
    from datasets import Dataset

    from evenhand.mitigate.trainer import load_tokenizer, make_trainer

    # In a cache of its own: a resumed training finds tokens and reference log-probabilities there.
    dataset = Dataset.from_json(str(files.rows), cache_dir=str(files.cache))
    return make_trainer(
        job.loss,
        job.base,
        job.training,
        dataset,
        load_tokenizer(job.base),
        files.checkpoints,
        watch,
    )


def _finish(
    trainer: Any, job: TrainingJob, files: TrainingFiles, resumed_from: int, seconds: float
) -> list[dict[str, float]]:
    """Write the model, its card and the curves; only then remove what a resumption would need."""
    made = files.folder / "made"
    trainer.save_model(str(made))
    trainer.accelerator.wait_for_everyone()
    steps: list[dict[str, float]] = []
    if trainer.is_world_process_zero():
        (made / "training_args.bin").unlink(missing_ok=True)  # a pickle, of use to nobody
        for path in made.iterdir():
            path.replace(files.out / path.name)
        made.rmdir()
        steps = _write_curves(trainer, job, files, resumed_from, seconds, True)
        write_card(files.out)
        shutil.rmtree(files.checkpoints, ignore_errors=True)
        shutil.rmtree(files.cache, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    return steps


def _write_curves(
    trainer: Any,
    job: TrainingJob,
    files: TrainingFiles,
    resumed_from: int,
    seconds: float,
    finished: bool,
) -> list[dict[str, float]]:
    from evenhand.mitigate.trainer import curve

    steps = curve(trainer.state.log_history)
    found = {
        "finished": finished,
        "model": job.model,
        "loss": job.loss,
        "recipe": job.recipe,
        "pairs": job.pairs,
        "settings": job.training.model_dump(mode="json"),
        "devices": trainer.accelerator.num_processes,
        "device": str(trainer.accelerator.device.type),
        "resumed_from": resumed_from,
        "seconds": seconds,
        "steps": steps,
    }
    if trainer.is_world_process_zero():
        write_whole(files.curves, found)
    return steps


@contextmanager
def _explained(files: TrainingFiles) -> Iterator[None]:
    """Say in one line what a training can founder on, and what is kept."""
    try:
        yield
    except TrainingError as error:
        raise TrainingError(f"{error}. {_kept(files)}") from None
    except Exception as error:
        why = _foundered_on(error)
        if why is None:
            raise
        raise TrainingError(f"{why}. {_kept(files)}") from None


def _foundered_on(error: BaseException) -> str | None:
    """The cause of an error that lies outside of evenhand, if it is one of those known."""
    import torch

    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, torch.OutOfMemoryError):
            return "the device has too little memory; take a smaller batch size or max length"
        text = str(chain).lower()
        full = isinstance(chain, OSError) and chain.errno in _NO_SPACE
        if full or any(words in text for words in _NO_SPACE_WORDS):
            return f"the training cannot be written: {one_line(str(chain))}; free some space"
        chain = chain.__cause__ or chain.__context__
    return None


def _kept(files: TrainingFiles) -> str:
    from evenhand.mitigate.trainer import checkpoint_step, last_checkpoint, remove_broken

    remove_broken(files.checkpoints)
    last = last_checkpoint(files.checkpoints)
    if last is None:
        return "There is no checkpoint yet"
    return f"The checkpoint of step {checkpoint_step(last)} is kept, in {last}"


def main(arguments: list[str] | None = None) -> int:
    """`python -m evenhand.mitigate.train DIR`, alone or under `accelerate launch`."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 1 or given[0].startswith("-"):
        print("usage: python -m evenhand.mitigate.train DIR", file=sys.stderr)
        return 2
    first = os.environ.get("RANK", "0") == "0"
    out = Path(given[0])
    try:
        done = train(out, _print_line)
    except EvenhandError as error:
        if first:
            print(f"evenhand: {one_line(str(error), 1000)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if first:
            print(
                "Interrupted. Run the same command to resume from the last checkpoint.",
                file=sys.stderr,
            )
        return 130
    if first:
        went_on = f", from step {done.resumed_from} on" if done.resumed_from else ""
        print(f"Trained{went_on}. Audit it: evenhand audit hf/{out}")
    return 0


def _print_line(progress: TrainingProgress) -> None:
    """Every step on a terminal, in the same line; elsewhere every tenth, one below the other."""
    if sys.stderr.isatty():
        end = "\n" if progress.step.step == progress.steps else ""
        print(f"\r{progress.line()}\x1b[K", end=end, file=sys.stderr, flush=True)
    elif progress.step.step % 10 == 0 or progress.step.step == progress.steps:
        print(progress.line(), file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
