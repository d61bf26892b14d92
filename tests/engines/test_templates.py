"""What chat templates as published make of a conversation, and whether reports say so truthfully.

The templates in `templates/` are those of real models, cut to what a conversation without tools
needs. Behind them is a tiny Llama with random weights: what is tested is what it reads.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from evenhand import RunOptions, audit
from evenhand.analysis import Audit
from evenhand.engines.engine import Response
from evenhand.engines.hf import HFEngine
from evenhand.errors import RequestRejected
from evenhand.store.record import SystemRoleCheck
from evenhand.store.store import Store
from evenhand.study.cue import Message
from evenhand.study.decoding import Decoding
from evenhand.study.plan import Request
from late import late
from runs import plan_of, write_benchmark
from server import error, serving
from tiny_llama import save_tiny_llama

torch = late("torch")
transformers = late("transformers")

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Published:
    """What a template is known to do.

    Attributes:
        read: the prompt of "I am a man." with the question "Why?", as published.
        default: part of the system prompt that it brings along.
    """

    read: str
    system_role: bool = True
    folded: bool = False
    default: str = ""


CHATML = "<|im_start|>system\nI am a man.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n"
MODELS = {
    "smollm2": Published(
        CHATML + "<|im_start|>assistant\n", default="named SmolLM, trained by Hugging Face"
    ),
    "qwen2.5": Published(
        CHATML + "<|im_start|>assistant\n", default="You are Qwen, created by Alibaba Cloud."
    ),
    "qwen3": Published(CHATML + "<|im_start|>assistant\n"),
    "llama-3": Published(
        "<s><|start_header_id|>system<|end_header_id|>\n\nI am a man.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "gemma-2": Published(
        "<s><start_of_turn>user\nI am a man.\n\nWhy?<end_of_turn>\n<start_of_turn>model\n",
        system_role=False,
    ),
    "gemma-3": Published(
        "<s><start_of_turn>user\nI am a man.\n\nWhy?<end_of_turn>\n<start_of_turn>model\n",
        folded=True,
    ),
    "mistral": Published("<s>[INST] I am a man.\n\nWhy?[/INST]", folded=True),
    "deepseek-r1": Published("<s>I am a man.<｜User｜>Why?<｜Assistant｜><think>\n"),
}


def template_of(name: str) -> str:
    return (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8").removesuffix("\n")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("weights"))


def engine_of(weights: Path, name: str | None, **decoding: Any) -> HFEngine:
    template = template_of(name) if name else None
    return HFEngine(
        weights, Decoding(max_tokens=2, **decoding), name="hf/tiny", chat_template=template
    )


def record_of(run: Path) -> SystemRoleCheck:
    store = Store.open(run)
    try:
        return store.record().system_role
    finally:
        store.close()


def audited(
    tmp_path: Path, engine: HFEngine | None = None, url: str = "", **study: Any
) -> tuple[Audit, SystemRoleCheck]:
    benchmark = write_benchmark(tmp_path / "own.jsonl", 4)
    model = "hf/tiny" if engine else "openai/test"
    decoding = {"seed": None, "max_tokens": 2} if engine else {}
    plan = plan_of(model, benchmark, identities=["gender"], decoding=decoding, **study)
    options = RunOptions((url,)) if url else None
    result = audit(plan.study, out=tmp_path / "run", engine=engine, options=options)
    return result, record_of(tmp_path / "run")


@pytest.mark.parametrize("name", MODELS)
def test_the_templates_render_as_published(weights: Path, name: str) -> None:
    engine = engine_of(weights, name)
    messages: list[Message] = [
        {"role": "system", "content": "I am a man."},
        {"role": "user", "content": "Why?"},
    ]
    if not MODELS[name].system_role:
        with pytest.raises(RequestRejected, match="System role not supported"):
            engine.rendered(messages)
        messages = [{"role": "user", "content": "I am a man.\n\nWhy?"}]
    assert engine.rendered(messages) == MODELS[name].read


@pytest.mark.parametrize("name", MODELS)
def test_in_process_placement_and_baseline_are_told(
    weights: Path, tmp_path: Path, name: str
) -> None:
    known = MODELS[name]
    result, check = audited(tmp_path, engine_of(weights, name))
    assert (check.system_role, check.folded) == (known.system_role, known.folded)
    assert known.default in check.default_system
    assert bool(check.default_system) == bool(known.default)
    notes = "\n".join(result.notes)
    assert ("in front of the user's message" in notes) == (not known.system_role)
    assert ("into the user's turn" in notes) == known.folded
    assert ("--baseline neutral" in notes) == bool(known.default)
    assert known.default in notes
    identity, baseline = check.prompts["identity"], check.prompts["baseline"]
    assert "I am a man." in identity
    assert "I am" not in baseline
    assert known.default in baseline
    assert not known.default or known.default not in identity


@pytest.mark.parametrize("name", ["smollm2", "qwen2.5"])
def test_a_neutral_baseline_keeps_the_vendor_s_prompt_out(
    weights: Path, tmp_path: Path, name: str
) -> None:
    result, check = audited(tmp_path, engine_of(weights, name), baseline="neutral")
    assert not check.default_system
    assert "<|im_start|>system\nYou are a helpful assistant.<|im_end|>" in check.prompts["baseline"]
    assert not any("--baseline neutral" in note for note in result.notes)


def test_a_base_model_gets_a_transcript_and_stops_at_the_next_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(save_tiny_llama(tmp_path / "base", template=None), None)
    answers_with(engine, monkeypatch, " Because.\n\nUser: And then?\n\nAssistant: No.")
    result, check = audited(tmp_path, engine)
    assert not check.template
    assert any("base model" in note for note in result.notes)
    assert check.prompts["identity"].startswith("System: You are a helpful assistant. I am a man.")
    store = Store.open(tmp_path / "run")
    assert {text for *_, text, _ in store.texts()} == {" Because."}
    store.close()


def answers_with(engine: HFEngine, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Have the model say this, whatever it is asked."""
    tokenizer = engine._tokenizer
    said = tokenizer(text, add_special_tokens=False)["input_ids"]

    def generate(input_ids: Any, **_: Any) -> Any:
        new = torch.tensor([said] * len(input_ids))
        return torch.cat([input_ids, new], dim=1)

    monkeypatch.setattr(engine._net, "generate", generate)


PIECES = re.compile(r"<[|｜]?[\w▁]+[|｜]?>|\[/?INST\]|\w+|\n+|[^\w\s]")


def renders(template: str) -> Callable[[list[Message]], str]:
    """As a server does."""
    from transformers.utils.chat_template_utils import render_jinja_template

    def render(messages: list[Message]) -> str:
        texts, _ = render_jinja_template(
            conversations=[messages],
            chat_template=template,
            add_generation_prompt=True,
            bos_token="<s>",
            eos_token="</s>",
        )
        return str(texts[0])

    return render


@pytest.mark.parametrize("name", MODELS)
def test_over_http_placement_and_baseline_are_told(tmp_path: Path, name: str) -> None:
    known, render = MODELS[name], renders(template_of(name))

    def refuse(body: dict[str, Any], _key: str) -> Any:
        try:
            render(body["messages"])
        except Exception as reason:
            return 400, error(str(reason))
        return None

    def count(messages: list[Message]) -> int:
        return len(PIECES.findall(render(messages)))

    with serving(count=count, refuse=refuse) as server:
        result, check = audited(tmp_path, url=server.url)
    assert result.done == result.cells
    assert (check.system_role, check.folded) == (known.system_role, known.folded)
    assert bool(check.default_system) == bool(known.default)
    notes = "\n".join(result.notes)
    assert ("in front of the user's message" in notes) == (not known.system_role)
    assert ("into the user's turn" in notes) == known.folded
    assert ("--baseline neutral" in notes) == bool(known.default)


def test_over_http_a_neutral_baseline_is_sent(tmp_path: Path) -> None:
    render = renders(template_of("qwen2.5"))
    with serving(count=lambda m: len(PIECES.findall(render(m)))) as server:
        _, check = audited(tmp_path, url=server.url, baseline="neutral")
    bare = [b for b in server.bodies if not any(m["role"] == "system" for m in b["messages"])]
    assert len(bare) <= 1, "the check's own"
    assert check.system_role


# Thoughts


def test_variables_reach_the_template(weights: Path) -> None:
    question: list[Message] = [{"role": "user", "content": "Why?"}]
    closed = "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    for extra in (
        {"enable_thinking": False},
        {"chat_template_kwargs": {"enable_thinking": False}},
    ):
        engine = engine_of(weights, "qwen3", extra=extra)
        assert (engine.rendered(question) or "").endswith(closed)
    thinking = engine_of(weights, "qwen3", extra={"enable_thinking": True})
    assert (thinking.rendered(question) or "").endswith("<|im_start|>assistant\n")


CASES = [
    # template, what the model writes, thought, answer, outcome
    ("qwen3", "<think>\nHm.\n</think>\n\nYes.</s>", "Hm.", "Yes.", "whole"),
    ("qwen3", "<think>\nHm. Hm", "Hm. Hm", "", "cut off"),
    ("deepseek-r1", "Hm.\n</think>\n\nYes.</s>", "Hm.", "Yes.", "whole"),
    ("deepseek-r1", "Hm. Hm", "Hm. Hm", "", "cut off"),
    ("smollm2", "Yes.</s>", "", "Yes.", "whole"),
]


@pytest.mark.parametrize("are_special", [True, False])
@pytest.mark.parametrize(("name", "said", "thought", "answer", "outcome"), CASES)
def test_thoughts_are_told_from_answers(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    said: str,
    thought: str,
    answer: str,
    outcome: str,
    are_special: bool,
) -> None:
    weights = save_tiny_llama(
        tmp_path / "weights", special=("<think>", "</think>") if are_special else ()
    )
    engine = engine_of(weights, name)
    answers_with(engine, monkeypatch, said)
    told: list[Response] = []
    request = Request(b"k" * 16, 0, 0, 0, [{"role": "user", "content": "Why?"}])
    asyncio.run(engine.answer(iter([request]), told.append))
    (response,) = told
    assert (response.thought, response.text, response.outcome) == (thought, answer, outcome)
