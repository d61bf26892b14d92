"""A short training of the organism, for the tests of training."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from evenhand.mitigate.job import prepare
from evenhand.mitigate.options import DPOSettings
from evenhand.mitigate.pairs import PreferencePair
from evenhand.study.cue import Message

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
    training = DPOSettings.model_validate({**SHORT, **settings})
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
    return dict(load_file(out / "adapter_model.safetensors"))


def in_a_process(out: Path, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "evenhand.mitigate.train", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ALONE,
        **options,
    )
