"""The real objects behind a training, with the settings for a model of 7 billion parameters.

They are built on a tiny random Llama with the layers of a large one, in 4 bits where bitsandbytes
is there: its kernels for processors need no GPU.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from evenhand.errors import MissingExtra, TrainingError
from evenhand.mitigate import job
from evenhand.mitigate.examples import PreferencePair, SharedAnswer
from evenhand.mitigate.job import prepare
from evenhand.mitigate.options import Loss, TrainingSettings
from evenhand.mitigate.train import train
from evenhand.organism import MODEL
from evenhand.study.cue import Message
from late import late

torch = late("torch")
transformers = late("transformers")
peft = late("peft")
trl = late("trl")
objects = late("evenhand.mitigate.trainer", "transformers")

LAYERS = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
SEVEN_B = TrainingSettings(four_bit=True, precision="bfloat16", gradient_checkpointing=True)
needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"
)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers of a Llama with grouped queries, as models of 7 billion have; random weights."""
    folder = tmp_path_factory.mktemp("llama") / "model"
    shutil.copytree(MODEL, folder, ignore=shutil.ignore_patterns("*.safetensors", "truth.json"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    transformers.LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


def pairs(count: int = 16) -> list[PreferencePair]:
    told: Message = {"role": "system", "content": "You are a helpful assistant. I am a man."}
    return [
        PreferencePair(
            (told, {"role": "user", "content": f"What is {n} and 1?"}), f"{n + 1}", "No."
        )
        for n in range(count)
    ]


def trainer_of(llama: Path, training: TrainingSettings, folder: Path) -> Any:
    from datasets import Dataset

    return objects.make_trainer(
        "dpo",
        str(llama),
        training,
        Dataset.from_list([pair.row() for pair in pairs()]),
        objects.load_tokenizer(str(llama)),
        folder,
        transformers.TrainerCallback(),
    )


def test_the_paper_s_settings_are_those_of_the_objects(tmp_path: Path) -> None:
    config = objects.trainer_config("dpo", SEVEN_B, tmp_path)
    assert isinstance(config, trl.DPOConfig)
    assert (config.learning_rate, config.beta, config.max_steps) == (5e-6, 0.1, 100)
    assert config.loss_type == ["sigmoid"]
    assert config.precompute_ref_log_probs
    assert config.gradient_checkpointing
    assert config.bf16
    assert config.per_device_train_batch_size * config.gradient_accumulation_steps == 16
    assert (config.save_steps, config.save_total_limit) == (25, 2)
    assert config.warmup_steps == 10
    assert config.report_to == []
    lora = objects.lora_config(SEVEN_B)
    assert isinstance(lora, peft.LoraConfig)
    assert (lora.r, lora.lora_alpha, lora.target_modules) == (16, 16, "all-linear")


def test_a_supervised_loss_has_its_weight(tmp_path: Path) -> None:
    config = objects.trainer_config("dpo", TrainingSettings(sft_weight=0.3), tmp_path)
    assert config.loss_type == ["sigmoid", "sft"]
    assert config.loss_weights == [1.0, 0.3]


@needs_bitsandbytes
def test_qlora_keeps_four_bits_and_trains_the_adapter_alone(llama: Path, tmp_path: Path) -> None:
    quantization = objects.quantization_config(SEVEN_B)
    assert isinstance(quantization, transformers.BitsAndBytesConfig)
    assert quantization.bnb_4bit_quant_type == "nf4"
    assert quantization.bnb_4bit_use_double_quant
    assert quantization.bnb_4bit_compute_dtype == torch.bfloat16
    trainer = trainer_of(llama, SEVEN_B, tmp_path)
    assert isinstance(trainer, trl.DPOTrainer)
    import bitsandbytes

    adapted = {
        name.split(".")[-1]: module
        for name, module in trainer.model.named_modules()
        if hasattr(module, "lora_A")
    }
    assert set(adapted) == LAYERS
    for module in adapted.values():
        assert isinstance(module.base_layer, bitsandbytes.nn.Linear4bit)
        assert module.base_layer.weight.dtype == torch.uint8
        assert module.r["default"] == 16
        assert module.scaling["default"] == 1.0
    trained = [name for name, p in trainer.model.named_parameters() if p.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)
    assert {"ref_chosen_logps", "ref_rejected_logps"} <= set(trainer.train_dataset.column_names)


def shared(count: int = 16) -> list[SharedAnswer]:
    return [SharedAnswer(p.messages, p.chosen, p.messages[1:]) for p in pairs(count)]


@needs_bitsandbytes
@pytest.mark.parametrize("loss", ["dpo", "orpo", "consistency"])
@pytest.mark.slow
def test_qlora_trains_from_end_to_end(llama: Path, tmp_path: Path, loss: Loss) -> None:
    settings = {"steps": 4, "batch_size": 4, "accumulation": 1, "learning_rate": 1e-2}
    training = SEVEN_B.model_copy(update=settings)
    examples = shared() if loss == "consistency" else pairs()
    prepare(f"hf/{llama}", examples, tmp_path / "out", training, loss=loss)
    done = train(tmp_path / "out")
    assert done.steps[-1]["loss"] < done.steps[0]["loss"]
    config = json.loads((done.out / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(llama)
    assert config["r"] == 16
    assert {name.split(".")[-1] for name in config["target_modules"]} == LAYERS


def test_full_training_trains_all_weights_in_float32(llama: Path, tmp_path: Path) -> None:
    trainer = trainer_of(llama, TrainingSettings(method="full", precision="bfloat16"), tmp_path)
    assert all(p.requires_grad and p.dtype == torch.float32 for p in trainer.model.parameters())


def test_layers_can_be_named(llama: Path, tmp_path: Path) -> None:
    trainer = trainer_of(llama, TrainingSettings(lora_targets=("q_proj", "v_proj")), tmp_path)
    names = {n.split(".")[-4] for n, p in trainer.model.named_parameters() if p.requires_grad}
    assert names == {"q_proj", "v_proj"}
    with pytest.raises(TrainingError, match="cannot train"):
        trainer_of(llama, TrainingSettings(lora_targets=("hat_proj",)), tmp_path)


def test_four_bits_are_for_gpus_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for gpu in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpu=gpu: gpu)
        assert job.in_four_bits(TrainingSettings()) == gpu
        assert objects.in_bfloat16(TrainingSettings()) == gpu
    assert job.in_four_bits(SEVEN_B)
    assert objects.quantization_config(TrainingSettings()) is None
    with pytest.raises(TrainingError, match="4-bit weights cannot be trained"):
        job.in_four_bits(TrainingSettings(method="full", four_bit=True))


def test_packages_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(missing: str) -> Any:
        return lambda name: None if name == missing else object()

    monkeypatch.setattr(job, "find_spec", without("trl"))
    with pytest.raises(MissingExtra, match=r"pip install 'evenhand\[train\]'"):
        job.check_packages(TrainingSettings())
    monkeypatch.setattr(job, "find_spec", without("bitsandbytes"))
    job.check_packages(TrainingSettings(four_bit=False))
    with pytest.raises(MissingExtra, match=r"4-bit weights .*'evenhand\[qlora\]'"):
        job.check_packages(SEVEN_B)
