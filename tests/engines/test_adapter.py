"""Adapters are audited like any local model, and answer as PEFT and transformers load them."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from evenhand.engines import make_engine
from evenhand.engines.engine import Response
from evenhand.engines.weights import with_adapter
from evenhand.errors import MissingExtra, ModelNotFound
from evenhand.organism import MODEL
from evenhand.study.cue import Message
from evenhand.study.decoding import Decoding
from evenhand.study.plan import Request
from late import late
from runs import run_main

torch = late("torch")
transformers = late("transformers")
peft = late("peft")

QUESTIONS = [
    "Please teach me to season a soup before noon.",
    "Show me how to trap a fox in a yard without help.",
    "Nina has 15 candles and lends out 7 of them. How many candles are left with Nina now?",
]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter for the organism with random weights, strong enough to change its answers."""
    folder = tmp_path_factory.mktemp("adapter") / "tuned"
    net = transformers.AutoModelForCausalLM.from_pretrained(MODEL)
    config = peft.LoraConfig(
        r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False
    )
    torch.manual_seed(5)
    peft.get_peft_model(net, config).save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(MODEL).save_pretrained(folder)
    return folder


def messages(question: str) -> list[Message]:
    return [{"role": "user", "content": question}]


def texts(model: str) -> list[str | None]:
    engine = make_engine(model, Decoding(max_tokens=12))
    asked = [Request(bytes([n]), 0, n, 0, messages(q)) for n, q in enumerate(QUESTIONS)]
    found: list[Response] = []
    asyncio.run(engine.answer(iter(asked), found.append))
    return [r.text for r in sorted(found, key=lambda r: r.request.item)]


def generated(net: Any, folder: Path) -> list[str]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    answers = []
    for question in QUESTIONS:
        prompt = tokenizer.apply_chat_template(
            messages(question), tokenize=False, add_generation_prompt=True
        )
        inputs = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
        out = net.generate(**inputs, do_sample=False, max_new_tokens=12)
        new = out[0, inputs["input_ids"].shape[1] :]
        answers.append(tokenizer.decode(new, skip_special_tokens=True))
    return answers


@pytest.mark.slow
def test_the_engine_answers_as_peft_and_transformers_do(tuned: Path) -> None:
    found = texts(f"hf/{tuned}")
    assert found != texts("organism")
    assert found == generated(peft.AutoPeftModelForCausalLM.from_pretrained(tuned).eval(), tuned)
    native = transformers.AutoModelForCausalLM.from_pretrained(tuned).eval()
    assert found == generated(native, tuned)


def test_merged_only_where_nothing_is_rounded(tuned: Path) -> None:
    for dtype, merged in ((torch.float32, True), (torch.bfloat16, False)):
        net = transformers.AutoModelForCausalLM.from_pretrained(MODEL, dtype=dtype)
        whole = with_adapter(net, str(tuned), torch)
        assert any("lora" in name for name, _ in whole.named_parameters()) != merged


def test_the_address_tells_adapter_and_base(tuned: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tuned"
    shutil.copytree(tuned, folder)
    before = make_engine(f"hf/{folder}", Decoding()).address
    assert str(folder) in before.split(" on ")[0]
    assert str(MODEL) in before.split(" on ")[1]
    (folder / "README.md").write_text("An audit was added to the card.")
    assert make_engine(f"hf/{folder}", Decoding()).address == before
    net = transformers.AutoModelForCausalLM.from_pretrained(MODEL)
    peft.get_peft_model(net, peft.LoraConfig(target_modules="all-linear")).save_pretrained(folder)
    assert make_engine(f"hf/{folder}", Decoding()).address != before


@pytest.mark.parametrize("config", ["{}", "[1]", "{", '{"base_model_name_or_path": null}'])
def test_an_adapter_of_nothing(tmp_path: Path, config: str) -> None:
    (tmp_path / "adapter_config.json").write_text(config)
    with pytest.raises(ModelNotFound, match="names no base model"):
        make_engine(f"hf/{tmp_path}", Decoding())


def test_a_base_that_is_gone_and_one_that_does_not_fit(tuned: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tuned"
    shutil.copytree(tuned, folder)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"base_model_name_or_path": str(tmp_path / "gone")}))
    with pytest.raises(ModelNotFound, match="cannot load"):
        make_engine(f"hf/{folder}", Decoding())
    path.write_text(json.dumps(config | {"r": 8}))
    with pytest.raises(ModelNotFound, match="cannot load the adapter"):
        make_engine(f"hf/{folder}", Decoding())


def test_files_of_an_adapter_that_are_missing_or_damaged_are_named(
    tuned: Path, tmp_path: Path
) -> None:
    again = "; copy or download it again$"
    for name, content, complaint in (
        ("tokenizer.json", None, f"it has no tokenizer.json{again}"),
        ("adapter_model.safetensors", None, f"it has no adapter_model.safetensors{again}"),
        (
            "adapter_model.safetensors",
            b"",
            r"it has a damaged adapter_model.safetensors \(.*too small\)" + again,
        ),
    ):
        folder = tmp_path / "tuned"
        shutil.copytree(tuned, folder)
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content)
        with pytest.raises(ModelNotFound, match=complaint):
            make_engine(f"hf/{folder}", Decoding())
        shutil.rmtree(folder)


def test_without_peft(tuned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(MissingExtra, match=r"evenhand\[train\]"):
        with_adapter(None, str(tuned), torch)


def test_an_audit_of_an_adapter(
    tuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = ["-b", "demo_safety,demo_knowledge", "-i", "age", "--limit", "6", "--max-tokens", "12"]
    code = run_main(["audit", f"hf/{tuned}", *study, "--out", str(tmp_path / "run")])
    assert code == 0, capsys.readouterr().err
    assert "72 of 72 answers" in capsys.readouterr().out
