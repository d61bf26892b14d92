"""Steering: directions of identity are found, and taken out at the last token that is read."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from evenhand.engines.hf import HFEngine
from evenhand.engines.weights import (
    blocks_of,
    is_steered,
    read_subspaces,
    write_steering,
)
from evenhand.errors import ModelNotFound, PairsError, TrainingError, UsageError
from evenhand.mitigate.split import TuningPart
from evenhand.mitigate.steer import (
    SteeringSearch,
    find_directions,
    identity_subspaces,
    outcome_subspaces,
    random_subspaces,
    windows,
)
from evenhand.organism import MODEL
from evenhand.study.cue import Message
from evenhand.study.decoding import Decoding
from late import late
from runs import run_main

torch = late("torch")
transformers = late("transformers")
trainer = late("evenhand.mitigate.trainer", "transformers")

WIDTH = 128


def space(rank: int, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((WIDTH, rank)))[0].T
    return basis.astype(np.float32), rng.standard_normal(WIDTH).astype(np.float32)


def folder(out: Path, spaces: dict[int, Any]) -> Path:
    out.mkdir()
    trainer.load_tokenizer(str(MODEL)).save_pretrained(out)
    write_steering(out, str(MODEL), spaces, {"rank": 2})
    return out


def states_of(net: Any, ids: Any) -> list[Any]:
    """What comes out of each block, after all hooks; the first is the embedding."""
    found = [net.get_input_embeddings()(ids)]
    taps = [
        block.register_forward_hook(lambda *given: found.append(given[-1]))
        for block in blocks_of(net, torch)
    ]
    with torch.inference_mode():
        net(ids)
    for tap in taps:
        tap.remove()
    return found


def test_the_last_token_that_is_read_is_edited_and_no_other(tmp_path: Path) -> None:
    basis, center = space(3)
    plain = HFEngine(MODEL, Decoding())._net
    steered = HFEngine(folder(tmp_path / "s", {2: (basis, center)}), Decoding())._net
    assert is_steered(steered)
    assert not is_steered(plain)
    ids = torch.arange(10, 30).reshape(2, 10)
    before, after = states_of(plain, ids), states_of(steered, ids)
    assert torch.equal(before[1], after[1]), "not before the layer"
    assert torch.equal(before[2][:, :-1], after[2][:, :-1]), "not at other tokens"
    within = (after[2][:, -1] - torch.from_numpy(center)) @ torch.from_numpy(basis).T
    assert within.abs().max() < 1e-4, "within the subspace it is the center"
    beside = after[2][:, -1] - before[2][:, -1]
    assert (beside - beside @ torch.from_numpy(basis.T @ basis)).abs().max() < 1e-4
    one = states_of(steered, ids[:, :1])[2][:, 0]
    assert ((one - torch.from_numpy(center)) @ torch.from_numpy(basis).T).abs().max() < 1e-4


def test_a_folder_is_known_by_its_files_and_its_weights(tmp_path: Path) -> None:
    first = HFEngine(folder(tmp_path / "a", {1: space(2)}), Decoding()).address
    other = HFEngine(folder(tmp_path / "b", {1: space(2, seed=1)}), Decoding()).address
    base = HFEngine(MODEL, Decoding()).address
    assert first.startswith(f"{tmp_path}/a#")
    assert first.endswith(f" on {base}")
    assert first.partition("#")[2] != other.partition("#")[2]
    kept = read_subspaces(tmp_path / "a")
    assert np.array_equal(kept[1][0], space(2)[0])


def test_folders_that_do_not_fit_are_one_line(tmp_path: Path) -> None:
    for name, spaces in {
        "narrow": {1: (np.eye(2, 64, dtype=np.float32), np.zeros(64, np.float32))},
        "deep": {9: space(2)},
        "flat": {1: (np.zeros(WIDTH, np.float32), np.zeros(WIDTH, np.float32))},
    }.items():
        with pytest.raises(ModelNotFound, match="it is of another model"):
            HFEngine(folder(tmp_path / name, spaces), Decoding())
    broken = folder(tmp_path / "broken", {1: space(2)})
    (broken / "steering.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ModelNotFound, match="cannot load the steering") as error:
        HFEngine(broken, Decoding())
    assert "\n" not in str(error.value)
    told = json.loads((broken / "steering.json").read_text())
    (broken / "steering.json").write_text(json.dumps(told | {"base_model_name_or_path": 7}))
    with pytest.raises(ModelNotFound, match=r"its steering\.json names no base model"):
        HFEngine(broken, Decoding())
    with pytest.raises(TrainingError, match="adapter or steering"):
        trainer.load_tokenizer(str(broken))


class Planted:
    """An engine whose states are a direction of the person, one of the outcome, and the item."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.people = rng.standard_normal((6, 2))
        self.axes = np.linalg.qr(rng.standard_normal((WIDTH, 3)))[0].T
        self.rng = rng

    def rendered(self, messages: list[Message]) -> str:
        return messages[0]["content"]

    def last_states(self, prompts: list[str]) -> Any:
        rows = []
        for prompt in prompts:
            item, person, good = map(int, prompt.split())
            told = self.people[person] @ self.axes[:2] + 5.0 * good * self.axes[2]
            noise = np.random.default_rng(item).standard_normal(WIDTH)
            rows.append(np.stack([noise, noise + told, noise + told]))
        return np.array(rows)


def planted_part(always_bad: int = 0) -> TuningPart:
    """Answers of six people to 60 questions; who is answered badly depends on the person."""
    rng = np.random.default_rng(1)

    def answers() -> Any:
        for item in range(60):
            for person in range(6):
                good = bool(rng.random() < 0.2 + 0.12 * person) and person >= always_bad
                yield SimpleNamespace(
                    item=SimpleNamespace(axis="utility", benchmark="b", id=str(item)),
                    condition=SimpleNamespace(
                        identity=SimpleNamespace(kind="identity", id=str(person)),
                        defense="none",
                        cue="system-1",
                    ),
                    sample=0,
                    score=float(good),
                    messages=lambda i=item, p=person, g=good: [{"content": f"{i} {p} {int(g)}"}],
                )

    return cast(TuningPart, SimpleNamespace(answers=answers))


def test_identity_is_found_and_not_the_outcome_that_goes_with_it() -> None:
    engine = Planted(np.random.default_rng(0))
    found = find_directions(planted_part(), cast(HFEngine, engine), 0, lambda *_: None)
    basis = identity_subspaces(found, [1, 2], 2)[2][0]
    shown = np.linalg.norm(basis @ engine.axes.T, axis=0)
    assert shown[:2] == pytest.approx([1.0, 1.0], abs=0.02), "the two directions of the person"
    assert shown[2] < 0.1, "and not that of the outcome"
    outcome = outcome_subspaces(found, [1])[1][0]
    assert abs(outcome[0] @ engine.axes[2]) > 0.9
    for rank in (1, 3):
        random = random_subspaces(found, [1], rank, seed=4)[1][0]
        assert random @ random.T == pytest.approx(np.eye(rank), abs=1e-6)
    assert found.identities.shape == (6, 2, WIDTH)


def test_without_answers_alike_there_is_nothing_to_find() -> None:
    def none() -> Any:
        return iter(())

    part = cast(TuningPart, SimpleNamespace(answers=none))
    engine = cast(HFEngine, Planted(np.random.default_rng(0)))
    with pytest.raises(PairsError, match="too few tuning questions"):
        find_directions(part, engine, 0, lambda *_: None)
    assert find_directions(planted_part(3), engine, 0, lambda *_: None).identities.shape[0] == 6


def test_windows_leave_out_the_last_block() -> None:
    assert windows(4) == [(1,), (2,), (3,), (2, 3), (1, 2, 3)]
    assert windows(2) == [(1,)]
    assert all(max(window) < 32 for window in windows(32))


@pytest.mark.slow
def test_steering_from_the_audit_to_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = [
        *("mitigate", "organism", "--identity", "religion,gender", "--limit", "10"),
        *("--method", "steer", "--test-cue", "none", "--batch-size", "256", "--budget", "1500"),
        *("--out", "made", "--format", "json"),
    ]
    assert run_main(command) == 0
    found = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in found["methods"][0]["rows"]}
    assert list(rows) == ["none", "steer", "steer, random subspace", "steer, outcome direction"]
    assert rows["steer, random subspace"]["is_control"]
    assert rows["steer"]["changed"] > 0
    assert rows["steer"]["unidentified"] is not None
    assert len(found["steering"]["search"]["rounds"]) == 3
    assert run_main(command) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["answers"] == 0, "all is there"
    assert again["groups"] == found["groups"]
    shutil.move("made", "moved")  # named another way, too: by its whole path
    elsewhere = [str(tmp_path / "moved") if each == "made" else each for each in command]
    assert run_main(elsewhere) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["answers"] == 0, "the weights are the same"
    assert (
        again["groups"][0]["comparison"]["changes"] == (found["groups"][0]["comparison"]["changes"])
    )
    small = ["dpo,steer" if each == "steer" else each for each in command]
    small[small.index("--budget") + 1], small[small.index("--out") + 1] = "100", "small"
    assert run_main(small) == 2
    assert "raise --budget" in capsys.readouterr().err
    trained = tmp_path / "small" / "dpo-invariance" / "training" / "training.json"
    assert not trained.exists(), "told before the training"


def test_a_folder_with_another_steering_is_not_taken_for_this_one(tmp_path: Path) -> None:
    found = find_directions(
        planted_part(), cast(HFEngine, Planted(np.random.default_rng(0))), 0, lambda *_: None
    )
    unused = cast(Any, None)
    made = SteeringSearch(unused, unused, "organism", tmp_path, unused, 9, ExitStack(), print)
    first = made._write("steer", identity_subspaces(found, [1], 2), 2)
    weights = (first / "steering.json").stat().st_mtime_ns
    assert made._write("steer", identity_subspaces(found, [1], 2), 2) == first
    assert (first / "steering.json").stat().st_mtime_ns == weights, "left as it is"
    for layers, rank in (([1], 1), ([1, 2], 2)):
        with pytest.raises(UsageError, match="holds another steering than the search picks now"):
            made._write("steer", identity_subspaces(found, layers, rank), rank)
    (first / "steering.json").write_text("[damaged")
    with pytest.raises(UsageError, match="holds another steering"):
        made._write("steer", identity_subspaces(found, [1], 2), 2)
