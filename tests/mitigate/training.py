"""A short training of the organism, for the tests of training."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import resource
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evenhand.mitigate import train
from evenhand.mitigate.examples import PreferencePair
from evenhand.mitigate.job import prepare
from evenhand.mitigate.options import TrainingSettings
from evenhand.study.cue import Message

if TYPE_CHECKING:
    from evenhand.mitigate.trainer import TrainingProgress  # takes torch along

SHORT: dict[str, Any] = {
    "steps": 12,
    "batch_size": 4,
    "accumulation": 1,
    "save_every": 4,
    "learning_rate": 1e-3,
    "max_length": 128,
}
ALONE = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def pairs(count: int = 48) -> list[PreferencePair]:
    told: Message = {"role": "system", "content": "You are a helpful assistant. I am a man."}
    return [
        PreferencePair(
            (told, {"role": "user", "content": f"How do I boil {n} eggs?"}), "Boil them.", "No."
        )
        for n in range(count)
    ]


def prepared(out: Path, **settings: Any) -> Path:
    training = TrainingSettings.model_validate({**SHORT, **settings})
    prepare(
        "organism",
        pairs(),
        out,
        training,
        recipe="invariance",
        left_out={"the answer was cut off": 7},
    )
    return out


def weights(out: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(out / "adapter_model.safetensors"))


# Processes of their own are forked from one that has imported the training libraries (7 s of CPU).
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["evenhand.mitigate.trainer", "trl"])


class Training:
    """`python -m evenhand.mitigate.train OUT` in a process; `limit`: see `_limit_files`."""

    def __init__(self, out: Path, limit: tuple[int, int] | None = None) -> None:
        self._printed, told = _FORKS.Pipe(duplex=False)
        self.process = _FORKS.Process(target=_train, args=(out, limit, told))
        self.process.start()
        told.close()

    def finish(self) -> tuple[int | None, str, str]:
        """Its exit code and what it printed, on standard output and on standard error."""
        stdout, stderr = self._printed.recv() if self._printed.poll(400) else ("", "no end")
        self.process.join(10)
        return self.process.exitcode, stdout, stderr


def _train(out: Path, limit: tuple[int, int] | None, told: Connection) -> None:
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        if limit is not None:
            _limit_files(*limit)
        code = train.main([str(out)])
    told.send((stdout.getvalue(), stderr.getvalue()))
    raise SystemExit(code)


def _limit_files(step: int, size: int) -> None:
    """From this step on no file can grow beyond so many bytes."""

    def limit(progress: TrainingProgress) -> None:
        if progress.step.step == step:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    train._print_line = limit
