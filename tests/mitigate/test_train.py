"""Training on the organism: the same weights for the same seed, stopped by bad numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evenhand.errors import StudyError, TrainingError, UsageError
from evenhand.mitigate.examples import PreferencePair
from evenhand.mitigate.job import prepare, write_card
from evenhand.mitigate.options import Loss, PlannedTraining, TrainingSettings, TuningOptions
from evenhand.mitigate.train import Trained, main, train
from evenhand.study.cue import Message
from late import late
from mitigate.training import SHORT, pairs, prepared, weights

torch = late("torch")
late("trl")
late("peft")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(prepared(tmp_path_factory.mktemp("trained") / "out"))


@pytest.mark.slow
def test_it_learns_the_preference(trained: Trained) -> None:
    assert [step["step"] for step in trained.steps] == list(range(1, 13))
    assert trained.steps[0]["loss"] == pytest.approx(0.693, abs=0.001)
    assert trained.steps[-1]["loss"] < 0.4
    assert trained.steps[-1]["accuracy"] == 1
    assert trained.steps[-1]["margin"] > 0.5


@pytest.mark.slow
def test_what_is_left_when_it_is_done(trained: Trained) -> None:
    found = {path.name for path in trained.out.iterdir()}
    assert found == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "chat_template.jinja",
        "tokenizer.json",
        "tokenizer_config.json",
        "training",
    }
    assert {path.name for path in (trained.out / "training").iterdir()} == {
        "job.json",
        "pairs.jsonl",
        "training.json",
    }
    written = json.loads((trained.out / "training" / "training.json").read_text())
    assert written["finished"]
    assert written["steps"] == trained.steps
    assert written["settings"]["seed"] == 0


def test_done_is_done(trained: Trained) -> None:
    before = (trained.out / "adapter_model.safetensors").stat().st_mtime_ns
    assert train(trained.out).steps == trained.steps
    assert (trained.out / "adapter_model.safetensors").stat().st_mtime_ns == before


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_another_other_ones(
    trained: Trained, tmp_path: Path
) -> None:
    again = weights(train(prepared(tmp_path / "again")).out)
    other = weights(train(prepared(tmp_path / "other", seed=1)).out)
    for name, tensor in weights(trained.out).items():
        assert torch.equal(tensor, again[name])
    assert any(not torch.equal(tensor, other[name]) for name, tensor in again.items())


@pytest.mark.slow
def test_progress_is_told_step_by_step(tmp_path: Path) -> None:
    lines: list[str] = []
    train(prepared(tmp_path / "out", steps=3), lambda progress: lines.append(progress.line()))
    assert [line.split("  ")[0] for line in lines] == ["step 1/3", "step 2/3", "step 3/3"]
    assert lines[-1].endswith("preferences right 100%  0:00 left")


@pytest.mark.slow
def test_resumed_it_computes_no_reference_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trl import DPOTrainer

    calls: list[int] = []
    compute = DPOTrainer.compute_ref_log_probs

    def counted(*arguments: Any) -> Any:
        calls.append(1)
        return compute(*arguments)

    def stop(progress: Any) -> None:
        if progress.step.step == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(DPOTrainer, "compute_ref_log_probs", counted)
    out = prepared(tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        train(out, stop)
    assert calls
    calls.clear()
    assert train(out).resumed_from == 4
    assert not calls


@pytest.mark.slow
def test_cut_off_while_the_model_is_written(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = prepared(tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr("evenhand.mitigate.train._write_curves", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(out)
    assert train(out).resumed_from == 12
    steps = json.loads((out / "training" / "training.json").read_text())["steps"]
    assert [step["step"] for step in steps] == list(range(1, 13))
    for name, tensor in weights(trained.out).items():
        assert torch.equal(tensor, weights(out)[name])


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_it_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trl import DPOTrainer

    compute = DPOTrainer.compute_loss

    def broken(trainer: Any, *arguments: Any, **named: Any) -> Any:
        loss = compute(trainer, *arguments, **named)
        return loss * float("nan") if trainer.state.global_step >= 7 else loss

    out = prepared(tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(DPOTrainer, "compute_loss", broken)
        with pytest.raises(TrainingError) as error:
            train(out)
    message = str(error.value)
    assert "broke down at step 8" in message
    assert "lower learning rate" in message
    assert "The checkpoint of step 4 is kept" in message
    assert "\n" not in message
    # Step 8 was to be saved as well: its broken weights are nowhere.
    kept = list((out / "training" / "checkpoints").glob("checkpoint-*"))
    assert [path.name for path in kept] == ["checkpoint-4"]
    assert all(torch.isfinite(t).all() for t in weights(kept[0]).values())
    written = json.loads((out / "training" / "training.json").read_text())
    assert not written["finished"]
    assert len(written["steps"]) == 8
    assert train(out).resumed_from == 4, "the checkpoint is good to go on from"


@pytest.mark.slow
def test_full_training_gives_a_whole_model(tmp_path: Path) -> None:
    out = train(prepared(tmp_path / "out", method="full", steps=2)).out
    assert (out / "model.safetensors").exists()
    assert not (out / "adapter_config.json").exists()
    assert "library_name: transformers" in (out / "README.md").read_text()


@pytest.mark.slow
def test_a_supervised_loss_adds_to_the_preference_loss(tmp_path: Path) -> None:
    plain = train(prepared(tmp_path / "plain", steps=2)).steps
    both = train(prepared(tmp_path / "both", steps=2, sft_weight=1.0)).steps
    assert both[0]["loss"] > plain[0]["loss"] + 0.5


def test_the_card_carries_settings_and_audit(trained: Trained) -> None:
    assert "Not audited yet." in (trained.out / "README.md").read_text()
    write_card(trained.out, "PB fell from 11.6 to 0.4 points.")
    card = (trained.out / "README.md").read_text()
    front = card.split("---")[1]
    assert "library_name: peft" in front
    assert "base_model: " in front
    assert "PB fell from 11.6 to 0.4 points." in card
    assert "Not audited" not in card
    assert "| the answer was cut off | 7 |" in card
    assert card.count("    chosen: Boil them.") == 20, "to be read by a person"
    assert "    <|begin|><|system|>You are a helpful assistant. I am a man.<|end|><|user|>" in card
    for line in ("| lora_r | 16 |", "| seed | 0 |", "| learning_rate | 0.001 |", "48 pairs"):
        assert line in card


@pytest.mark.slow
def test_prompts_that_leave_no_room_for_an_answer_are_counted(tmp_path: Path) -> None:
    told: Message = {"role": "user", "content": "Why? " * 200}
    long = [PreferencePair((told,), "Because.", f"No, {n}.") for n in range(3)]
    training = TrainingSettings.model_validate(SHORT | {"steps": 2})
    with pytest.raises(TrainingError, match="no prompt fits into max_length 128"):
        prepare("organism", long, tmp_path / "out", training, recipe="random")
    job = prepare("organism", [*pairs(), *long], tmp_path / "out", training, recipe="random")
    assert (job.pairs, job.too_long) == (51, 3)
    assert len(train(tmp_path / "out").steps) == 2
    assert "too long: 3 pairs" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.slow
def test_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("evenhand.mitigate.train._print_line", _interrupt)
    assert main([str(prepared(tmp_path / "out"))]) == 130
    assert "Interrupted. Run the same command to resume" in capsys.readouterr().err


def test_a_folder_with_another_training_is_left_alone(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"holds a training with other settings \(steps\)"):
        prepared(trained.out, steps=13)
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(TrainingError, match="holds other files"):
        prepared(tmp_path)


def test_the_same_training_is_prepared_twice(tmp_path: Path) -> None:
    prepared(tmp_path / "out")
    prepared(tmp_path / "out")


def test_what_cannot_be_trained(tmp_path: Path, trained: Trained) -> None:
    training = TrainingSettings.model_validate(SHORT)
    for model, complaint, kind in (
        ("openai/any", "only local weights", UsageError),
        (f"hf/{tmp_path / 'nowhere'}", "cannot load", TrainingError),
        (f"hf/{trained.out}", "is an adapter or steering, not a whole model", TrainingError),
    ):
        with pytest.raises(kind, match=complaint):
            prepare(model, pairs(), tmp_path / "out", training, recipe="random")
    with pytest.raises(TrainingError, match="no training in"):
        train(tmp_path / "nowhere")


@pytest.mark.slow
def test_the_module_is_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "evenhand: no training in" in capsys.readouterr().err
    assert main([str(prepared(tmp_path / "out", steps=2))]) == 0
    assert f"evenhand audit hf/{tmp_path / 'out'}" in capsys.readouterr().out


def test_settings_of_recipes_and_of_the_organism() -> None:
    paper = TuningOptions().settings_for(PlannedTraining("dpo", "dpo", "random"), "hf/any")
    assert (paper.lora_r, paper.lora_alpha, paper.learning_rate) == (16, 16, 5e-6)
    assert (paper.beta, paper.steps, paper.method, paper.four_bit) == (0.1, 100, "lora", None)
    assert paper.sft_weight == 0
    assert (
        TuningOptions()
        .settings_for(PlannedTraining("dpo", "dpo", "invariance"), "hf/any")
        .sft_weight
        == 1
    )
    assert (
        TuningOptions(settings={"sft_weight": 0.5})
        .settings_for(PlannedTraining("dpo", "dpo", "invariance"), "hf/any")
        .sft_weight
        == 0.5
    )
    assert (
        TuningOptions()
        .settings_for(PlannedTraining("dpo", "dpo", "random"), "organism")
        .learning_rate
        > 1e-4
    )
    assert (
        TuningOptions(settings={"learning_rate": 1e-5})
        .settings_for(PlannedTraining("dpo", "dpo", "random"), "organism")
        .learning_rate
        == 1e-5
    )


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"stepz": 5}, 'did you mean "steps"'),
        ({"steps": 0}, "steps: must be 1 or more"),
        ({"method": "magic"}, "method: "),
        ({"learning_rate": float("nan")}, "learning_rate: "),
    ],
)
def test_settings_that_are_none(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(StudyError, match=complaint):
        TuningOptions(settings=given).settings_for(
            PlannedTraining("dpo", "dpo", "random"), "hf/any"
        )


def test_the_card_shows_each_pair_once_and_counts_them(tmp_path: Path) -> None:
    from evenhand.mitigate.job import TrainingFiles, _shown_pairs

    files = TrainingFiles(tmp_path)
    files.rows.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "prompt": [{"role": "system", "content": user}, {"role": "user", "content": question}],
            "chosen": [{"role": "assistant", "content": "Yes."}],
        }
        for question in ("Is it so?", "Can it be?")
        for user in ("I am a man.", "I am a woman.", "I am old.")
    ]
    files.rows.write_text("".join(json.dumps(row) + "\n" for row in rows))
    card = "\n".join(_shown_pairs(files, "pairs"))
    assert "2 of the pairs, all that differ, to be read by a person:" in card
    assert card.count("Is it so?") == card.count("Can it be?") == 1


@pytest.mark.parametrize(
    ("loss", "recipe", "title"),
    [
        ("dpo", "all", "organism, tuned with direct preference optimization (recipe all)"),
        (
            "orpo",
            "all-shuffled",
            "organism, tuned with odds ratio preference optimization on shuffled preferences: a "
            "control",
        ),
    ],
)
def test_the_title_of_a_card_says_what_the_model_is(
    loss: Loss, recipe: str, title: str, tmp_path: Path
) -> None:
    settings = TrainingSettings.model_validate(SHORT)
    prepare("organism", pairs(), tmp_path / "out", settings, loss=loss, recipe=recipe)
    found = {
        "steps": [{"loss": 0.7}],
        "seconds": 1.0,
        "devices": 1,
        "device": "cpu",
        "resumed_from": 0,
        "settings": {},
    }
    (tmp_path / "out" / "training" / "training.json").write_text(json.dumps(found))
    write_card(tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"# {title}\n" in card
    is_control = recipe.endswith("-shuffled")
    assert ("It is a control, to check the method by, and not for use." in card) == is_control
    assert ("What the pairs taught holds at best" in card) != is_control
    assert "alike" not in card
