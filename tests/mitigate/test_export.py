"""The forms in which a tuned model is served, and the check of what a server answers."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import evenhand
from evenhand.engines.mock import MockEngine
from evenhand.engines.weights import write_steering
from evenhand.errors import UsageError
from evenhand.mitigate.export import (
    agreement,
    export,
    modelfile,
    splitter_of,
    turn_texts,
    write_gguf,
)
from evenhand.organism import MODEL
from evenhand.store.store import Store
from evenhand.study.cue import Message
from late import late
from runs import run_main
from server import serving

torch = late("torch")
transformers = late("transformers")
peft = late("peft")
late("gguf")

TURNS: list[Message] = [
    {"role": "system", "content": "You are a helpful assistant. I am a woman."},
    {"role": "user", "content": "How many plums are in 12 boxes of 31? Naïve 东京 \n\n 007"},
]


def _tokenizer() -> Any:
    return transformers.AutoTokenizer.from_pretrained(MODEL)


def _grouped_llama(**changes: Any) -> Any:
    """Random weights; groups of queries, heads of another size, and rows beyond the tokens."""
    torch.manual_seed(5)
    fields = {
        "vocab_size": len(_tokenizer()) + 5,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rope_theta": 50_000.0,
        "initializer_range": 0.3,
        "tie_word_embeddings": False,
    }
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**fields | changes)).eval()


def _read_back(folder: Path) -> tuple[Any, Any]:
    """As transformers reads `model.gguf`, which needs none of the code that wrote it."""
    given = {"gguf_file": "model.gguf"}
    config = transformers.GgufConfig(dequantize=True)
    return (
        transformers.AutoTokenizer.from_pretrained(folder, **given),
        transformers.AutoModelForCausalLM.from_pretrained(
            folder, quantization_config=config, dtype=torch.float32, **given
        ).eval(),
    )


def _logits(net: Any, ids: Sequence[int]) -> Any:
    with torch.no_grad():
        return net(torch.tensor([list(ids)])).logits[0]


def _prompt(tokenizer: Any) -> list[int]:
    ids: list[int] = tokenizer.apply_chat_template(
        TURNS, add_generation_prompt=True, return_dict=False
    )
    return ids


@pytest.mark.slow
def test_the_gguf_file_reads_back_as_the_same_model(tmp_path: Path) -> None:
    exported = export("organism", tmp_path / "out", "gguf")
    tokenizer, net = _read_back(exported.weights.parent)
    own = transformers.AutoModelForCausalLM.from_pretrained(MODEL).eval()
    ids = _prompt(_tokenizer())
    assert _prompt(tokenizer) == ids
    assert tokenizer.eos_token_id == _tokenizer().eos_token_id
    assert torch.equal(_logits(net, ids), _logits(own, ids))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.slow
def test_grouped_queries_and_short_numbers_are_kept(tmp_path: Path, dtype: str) -> None:
    net = _grouped_llama().to(getattr(torch, dtype))
    write_gguf(net, _tokenizer(), tmp_path / "model.gguf")
    _, back = _read_back(tmp_path)
    own = _grouped_llama()
    own.load_state_dict(net.state_dict())  # the same numbers, in float32
    ids = _prompt(_tokenizer())
    assert torch.allclose(_logits(back, ids), _logits(own, ids), atol=1e-5)


@pytest.mark.slow
def test_an_adapter_is_merged_into_its_base_model(tmp_path: Path) -> None:
    base = transformers.AutoModelForCausalLM.from_pretrained(MODEL)
    config = peft.LoraConfig(
        r=4, target_modules=["q_proj", "k_proj", "down_proj"], init_lora_weights=False
    )
    tuned = peft.get_peft_model(base, config)
    tuned.peft_config["default"].base_model_name_or_path = str(MODEL)
    tuned.save_pretrained(tmp_path / "tuned")
    _tokenizer().save_pretrained(tmp_path / "tuned")
    ids = _prompt(_tokenizer())
    expected = _logits(tuned.eval(), ids)
    model = f"hf/{tmp_path / 'tuned'}"
    merged = transformers.AutoModelForCausalLM.from_pretrained(
        export(model, tmp_path / "merged", "merged").weights
    )
    assert torch.allclose(_logits(merged, ids), expected, atol=1e-4)
    untuned = transformers.AutoModelForCausalLM.from_pretrained(MODEL)
    assert not torch.allclose(_logits(untuned, ids), expected, atol=1e-2)
    export(model, tmp_path / "gguf", "gguf")
    assert torch.allclose(_logits(_read_back(tmp_path / "gguf")[1], ids), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"attention_bias": True}, "biases"),
        ({"hidden_act": "gelu"}, "activation"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}, "rotary"),
    ],
)
def test_what_is_no_plain_llama_is_refused(
    tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    with pytest.raises(UsageError, match=f"{why}.*convert_hf_to_gguf"):
        write_gguf(_grouped_llama(**changes), _tokenizer(), tmp_path / "model.gguf")
    assert not (tmp_path / "model.gguf").exists()


def test_another_family_is_refused(tmp_path: Path) -> None:
    config = transformers.GPT2Config(vocab_size=50, n_embd=8, n_layer=1, n_head=1)
    with pytest.raises(UsageError, match=r'its type is "gpt2".*--to merged'):
        write_gguf(transformers.GPT2LMHeadModel(config), _tokenizer(), tmp_path / "model.gguf")


def test_a_steered_model_is_refused(tmp_path: Path) -> None:
    steered = tmp_path / "steered"
    steered.mkdir()
    subspace = np.eye(2, 128, dtype=np.float32), np.zeros(128, dtype=np.float32)
    write_steering(steered, str(MODEL), {1: subspace}, {})
    _tokenizer().save_pretrained(steered)
    with pytest.raises(UsageError, match="is steered"):
        export(f"hf/{steered}", tmp_path / "out", "gguf")


def test_a_tokenizer_that_rewrites_texts_is_refused(tmp_path: Path) -> None:
    from tokenizers import normalizers

    tokenizer = _tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    with pytest.raises(UsageError, match="rewrites texts"):
        write_gguf(_grouped_llama(), tokenizer, tmp_path / "model.gguf")


def test_ways_of_cutting_texts() -> None:
    whole = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    bytes_only = whole | {"use_regex": False}
    digits = {"type": "Digits", "individual_digits": True}
    together = {"type": "Sequence", "pretokenizers": [digits, whole]}
    unknown = {"type": "Split", "pattern": {"Regex": "x"}, "behavior": "Isolated", "invert": False}
    assert splitter_of(whole) == "gpt-2"
    assert splitter_of(together) == "smollm"
    assert splitter_of({"type": "Sequence", "pretokenizers": [unknown, bytes_only]}) is None
    assert splitter_of(whole | {"add_prefix_space": True}) is None
    assert splitter_of(digits | {"individual_digits": False}) is None
    assert splitter_of(None) is None


# Ollama

CHATML = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe kind<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA_3 = (
    "{% for m in messages %}{% if loop.first %}<|begin|>{% endif %}"
    "<|start|>{{ m['role'] }}<|stop|>\n\n{{ m['content'] | trim }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant<|stop|>\n\n{% endif %}"
)
PLAIN = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
FOLDED = (
    "{% for m in messages %}{% if m['role'] == 'user' %}[INST] {% if loop.index0 == 1 %}"
    "{{ messages[0]['content'] }} {% endif %}{{ m['content'] }} [/INST]"
    "{% elif m['role'] == 'assistant' %} {{ m['content'] }}</s>{% endif %}{% endfor %}"
)
REFUSES_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}"


def _with_template(template: str | None) -> Any:
    tokenizer = _tokenizer()
    tokenizer.add_special_tokens(
        {"additional_special_tokens": ["<|im_start|>", "<|im_end|>", "<|start|>", "<|stop|>"]}
    )
    tokenizer.chat_template = template
    return tokenizer


def test_a_modelfile_says_the_chat_template_in_ollamas_language() -> None:
    assert modelfile(_with_template(CHATML), "model.gguf") == (
        "FROM ./model.gguf\n"
        'TEMPLATE """{{ range .Messages }}{{ if eq .Role "system" }}<|im_start|>system\n'
        '{{ else if eq .Role "user" }}<|im_start|>user\n'
        '{{ else if eq .Role "assistant" }}<|im_start|>assistant\n'
        "{{ end }}{{ .Content }}<|im_end|>\n"
        '{{ end }}<|im_start|>assistant\n"""\n'
        'SYSTEM """Be kind"""\n'
        "PARAMETER repeat_penalty 1\n"
        'PARAMETER stop "<|end|>"\n'
    )


@pytest.mark.parametrize("template", [None, FOLDED, REFUSES_SYSTEM, CHATML + "{{ 1 / 0 }}"])
def test_no_modelfile_where_the_template_does_more(template: str | None) -> None:
    assert modelfile(_with_template(template), "model.gguf") is None


def test_no_modelfile_with_texts_that_end_its_quotes() -> None:
    assert modelfile(_with_template(CHATML.replace("Be kind", 'Be """kind')), "m") is None
    assert modelfile(_with_template(CHATML.replace("Be kind", "{{ '{{' }}")), "m") is None


@pytest.mark.parametrize("template", [CHATML, LLAMA_3, PLAIN])
def test_the_texts_around_turns_give_the_same_prompt(template: str) -> None:
    tokenizer = _with_template(template)

    def render(messages: Sequence[Message]) -> str:
        return str(
            tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=True
            )
        )

    texts = turn_texts(render, [t.content for t in tokenizer.added_tokens_decoder.values()])
    assert texts is not None
    answered: list[Message] = [{"role": "assistant", "content": "372."}, TURNS[1]]
    for messages in (TURNS, TURNS[1:], TURNS + answered):
        assert texts.render(messages) == render(messages)


# What a server answers


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "run"
    evenhand.audit(
        "organism",
        benchmarks=["demo_safety"],
        identities=["man"],
        limit=4,
        decoding={"max_tokens": 24},
        out=folder,
    )
    return folder


def _answers(run: Path) -> dict[str, str]:
    store = Store.open(run)
    found = {json.dumps(a.messages): a.text or "" for a in store.stored_answers()}
    store.close()
    return found


def _agree(run: Path, answers: dict[str, str], most: int = 100) -> Any:
    store = Store.open(run)
    try:
        engine = MockEngine(lambda messages: answers[json.dumps(messages)])
        return asyncio.run(agreement(store, engine, most))
    finally:
        store.close()


def test_agreement_counts_the_answers_that_are_the_same(run: Path) -> None:
    answers = _answers(run)
    found = _agree(run, answers)
    assert (found.same, found.asked, found.shared) == (8, 8, None)
    changed = next(iter(answers))
    own = answers[changed]
    found = _agree(run, answers | {changed: own[:10]})
    assert (found.same, found.asked) == (7, 8)
    assert found.differing[0][1:] == (own, own[:10])
    assert found.shared == pytest.approx(10 / len(own))
    assert _agree(run, answers, most=3).asked == 3


def test_sampled_answers_are_no_reference(tmp_path: Path) -> None:
    evenhand.audit(
        "openai/any",
        benchmarks=["demo_safety"],
        identities=["man"],
        limit=1,
        decoding={"temperature": 1.0},
        engine=MockEngine(lambda _: "No."),
        out=tmp_path / "run",
    )
    with pytest.raises(UsageError, match="sampled"):
        _agree(tmp_path / "run", {})


def test_the_command_exports_the_model_of_a_run_and_checks_a_server(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "served"
    assert run_main(["export", str(run), "--out", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {"model.gguf", "Modelfile"}
    assert f"llama-server -m {out / 'model.gguf'}" in capsys.readouterr().out
    with serving() as server:
        check = ["export", str(run), "--check", server.url, "--answers", "5"]
        assert run_main([*check, "--extra", "repeat_penalty=1"]) == 0
        assert len(server.answers) == 5
    assert all(
        (b["temperature"], b["max_tokens"], b["repeat_penalty"]) == (0, 24, 1)
        for b in server.bodies
    )
    assert "0 of 5 greedy answers are the same as those of the run." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hf/model", "--check", "http://127.0.0.1:9/v1"], "name its folder"),
        (["openai/gpt", "--out", "{new}"], "only local weights can be tuned, steered or exported"),
        (["organism", "--out", "{full}"], "holds other files"),
        (["{run}", "--check", "http://127.0.0.1:9/v1", "--extra", "penalty"], "KEY=JSON"),
        (["{run}", "--check", "http://127.0.0.1:9/v1"], "is it up, and --check right?"),
        (["hf/./nowhere", "--out", "{new}"], "cannot load ./nowhere"),
        (["organism", "--out", "{full}/file/below"], "file is a file; name another --out"),
        (["organism", "--out", "/proc/new"], "/proc"),
        (["hf/{lacking}", "--out", "{new}"], "has no adapter_model.safetensors"),
        (["hf/{pickled}", "--out", "{new}"], "a pickle, which may run code"),
        (["hf/{homeless}", "--out", "{new}"], "its base model /gone/base is not there"),
        (["{lacking}", "--out", "{new}"], "holds a model rather than a run; name it as hf/"),
    ],
)
def test_mistakes_are_told_in_one_line(
    arguments: list[str],
    message: str,
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for name, base in (("lacking", MODEL), ("pickled", MODEL), ("homeless", "/gone/base")):
        shutil.copytree(MODEL, tmp_path / name, ignore=lambda *_: ["model.safetensors"])
        told = {"base_model_name_or_path": str(base), "peft_type": "LORA"}
        (tmp_path / name / "adapter_config.json").write_text(json.dumps(told))
    (tmp_path / "pickled" / "adapter_model.bin").touch()
    places = {name: tmp_path / name for name in ("new", "full", "lacking", "pickled", "homeless")}
    given = [a.format(run=run, **places) for a in arguments]
    assert run_main(["export", *given]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "new").exists()
