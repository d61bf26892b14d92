"""Training in processes of its own: killed, on a full disk, under launchers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evenhand.mitigate.train import Trained, launch_command, train
from late import late
from mitigate.training import ALONE, Training, prepared, weights

torch = late("torch")
late("trl")
late("peft")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(prepared(tmp_path_factory.mktemp("trained") / "out"))


def test_killed_and_run_again_it_ends_with_the_same_weights(
    trained: Trained, tmp_path: Path
) -> None:
    out = prepared(tmp_path / "out")
    training = Training(out)
    second = out / "training" / "checkpoints" / "checkpoint-8" / "whole"
    deadline = time.monotonic() + 300
    while not second.exists():
        assert training.process.is_alive(), training.finish()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    training.process.kill()
    training.process.join()
    assert not (out / "adapter_model.safetensors").exists()
    code, stdout, stderr = Training(out).finish()
    assert code == 0, stderr
    assert stdout.startswith("Trained, from step 8 on.")
    steps = json.loads((out / "training" / "training.json").read_text())["steps"]
    assert [step["step"] for step in steps] == list(range(1, 13))
    for name, tensor in weights(trained.out).items():
        assert torch.equal(tensor, weights(out)[name])


@pytest.mark.parametrize("most", [0, 100_000, 700_000], ids=["nothing", "adapter", "optimizer"])
def test_a_full_disk_stops_it_and_keeps_the_last_good_checkpoint(tmp_path: Path, most: int) -> None:
    out = prepared(tmp_path / "out")
    # From step 6 on no file can grow beyond so many bytes; step 8 is to be saved.
    code, _, stderr = Training(out, limit=(6, most)).finish()
    assert code == 2, stderr
    told = [line for line in stderr.splitlines() if line.startswith("evenhand: ")]
    assert len(told) == 1
    assert "free some space" in told[0]
    assert "The checkpoint of step 4 is kept" in told[0]
    assert "Traceback" not in stderr
    kept = list((out / "training" / "checkpoints").glob("checkpoint-*"))
    assert [path.name for path in kept] == ["checkpoint-4"]
    assert train(out).resumed_from == 4


LAUNCHERS = {
    "accelerate": (1, ["-m", "accelerate.commands.launch", "--cpu"]),
    # What accelerate launches for several devices; it has no way of its own for several CPUs.
    "torch, two processes": (2, ["-m", "torch.distributed.run", "--nproc_per_node", "2"]),
}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_it_runs_under_launchers(tmp_path: Path, launcher: str) -> None:
    devices, launch = LAUNCHERS[launcher]
    out = prepared(tmp_path / "out", steps=4, batch_size=2)
    told = launch_command(out, devices).split()
    assert told[:2] == ["accelerate", "launch"]
    ended = subprocess.run(
        [sys.executable, *launch, *told[told.index("-m") :]],
        capture_output=True,
        text=True,
        env=ALONE,
        timeout=400,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert ended.stdout.count("Trained.") == 1
    written = json.loads((out / "training" / "training.json").read_text())
    assert written["devices"] == devices
    assert len(written["steps"]) == 4
    assert len(weights(out)) > 10
