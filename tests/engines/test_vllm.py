"""vLLM as an engine, on a stub; scripts/check_vllm_calls.py checks its calls by the package."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from evenhand.engines import EngineOptions, make_engine
from evenhand.engines.engine import Response
from evenhand.errors import EngineError, MissingExtra, ModelNotFound, UsageError
from evenhand.study.decoding import Decoding
from evenhand.study.plan import Request
from late import late
from vllm_stub import CONTEXT, stub

late("transformers")

ORGANISM = Path(__file__).parents[2] / "src" / "evenhand" / "organism" / "model"
MODEL = f"vllm/{ORGANISM}"


def ask(engine: Any, *questions: str) -> list[Response]:
    """Answers by place."""
    found: dict[int, Response] = {}
    requests = (
        Request(bytes([n] * 8), 0, n, 0, [{"role": "user", "content": text}])
        for n, text in enumerate(questions)
    )

    def settle(response: Response) -> None:
        assert response.request.item not in found
        found[response.request.item] = response

    asyncio.run(engine.answer(requests, settle))
    asyncio.run(engine.close())
    return [found[n] for n in sorted(found)]


def named(calls: Any, name: str) -> list[dict[str, Any]]:
    return [arguments for called, _, arguments in calls if called == name]


def test_answers_and_how_vllm_is_asked() -> None:
    with stub(reply=lambda prompt: "yes" if "weather" in prompt else "no " * 99) as calls:
        engine = make_engine(MODEL, Decoding(max_tokens=20, seed=3))
        hf = make_engine(f"hf/{ORGANISM}", Decoding())
        assert engine.address == hf.address
        hello: list[Any] = [{"role": "user", "content": "Hello"}]
        assert engine.rendered(hello) == hf.rendered(hello)
        one, two = ask(engine, "Of the weather", "Of cake")
    assert (one.text, one.outcome, one.finish) == ("yes", "whole", "stop")
    assert (two.outcome, two.finish, two.completion_tokens) == ("cut off", "length", 20)
    assert one.prompt_tokens > 0
    (given,) = named(calls, "AsyncEngineArgs")
    assert given["enable_prefix_caching"]
    assert given["generation_config"] == "vllm"
    assert not given["trust_remote_code"]
    _, first, second = named(calls, "SamplingParams")
    assert (first["temperature"], first["max_tokens"]) == (0, 20)
    assert first["seed"] != second["seed"]
    assert [called for called, *_ in calls][-1] == "AsyncLLM.shutdown"


def test_the_model_s_own_sampling_is_left_to_it_but_not_its_style() -> None:
    with stub() as calls:
        make_engine(MODEL, Decoding(temperature=None))
    (given,) = named(calls, "AsyncEngineArgs")
    assert given["generation_config"] == "auto"
    (sampling,) = named(calls, "SamplingParams")
    assert sampling["temperature"] == 0.6
    assert "repetition_penalty" not in sampling


def test_more_requests_than_are_under_way_at_once() -> None:
    with stub(reply=lambda _: "yes"):
        found = ask(make_engine(MODEL, Decoding()), *(f"Question {n % 200}" for n in range(255)))
    assert [response.text for response in found] == ["yes"] * 255


def test_what_is_longer_than_the_context_is_rejected_alone() -> None:
    with stub(reply=lambda _: "yes"):
        long, short = ask(make_engine(MODEL, Decoding()), "cake " * CONTEXT, "cake")
    assert long.outcome == "rejected"
    assert f"the model's context is {CONTEXT}" in long.error
    assert short.text == "yes"


def test_an_adapter_is_loaded_on_its_base_model(tmp_path: Path) -> None:
    config = {"base_model_name_or_path": str(ORGANISM), "r": 20}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    with stub() as calls:
        engine = make_engine(f"vllm/{tmp_path}", Decoding())
        ask(engine, "Hello")
        assert engine.address.startswith(f"{tmp_path}#")
        assert " on " in engine.address
    (given,) = named(calls, "AsyncEngineArgs")
    assert (given["model"], given["enable_lora"], given["max_lora_rank"]) == (str(ORGANISM), 1, 32)
    (asked,) = named(calls, "AsyncLLM.generate")
    assert asked["lora_request"].arguments == ("adapter", 1, str(tmp_path))


def test_a_part_of_a_gpu_and_a_template_of_one_s_own() -> None:
    with stub() as calls:
        options = EngineOptions(gpus_per_worker=0.5, chat_template="ASK")
        engine = make_engine(MODEL, Decoding(), options)
        assert engine.rendered([{"role": "user", "content": "x"}]) == "ASK"
    (given,) = named(calls, "AsyncEngineArgs")
    assert given["gpu_memory_utilization"] == pytest.approx(0.45)


@pytest.mark.parametrize(
    ("model", "fails", "kind", "line"),
    [
        (MODEL, "no CUDA\nmore", ModelNotFound, "cannot load .*: no CUDA$"),
        ("vllm/./nowhere", "", ModelNotFound, "cannot load ./nowhere: there is no such folder"),
    ],
)
def test_models_that_cannot_be_loaded(
    model: str, fails: str, kind: type[Exception], line: str
) -> None:
    with stub(fails=fails), pytest.raises(kind, match=line):
        make_engine(model, Decoding())


def test_vllm_s_own_errors_are_one_line() -> None:
    def reply(_: str) -> str:
        raise RuntimeError("the engine is dead\nsee above")

    with stub(reply=reply), pytest.raises(EngineError, match=r"the engine is dead$"):
        ask(make_engine(MODEL, Decoding()), "Hello", "again")


def test_an_unknown_field_of_the_decoding() -> None:
    signatures = {
        "AsyncEngineArgs": dict.fromkeys(
            ("model", "generation_config", "enable_prefix_caching", "tensor_parallel_size",
             "distributed_executor_backend", "gpu_memory_utilization", "trust_remote_code",
             "disable_log_stats", "dtype"), False,
        ),
        "AsyncLLM.from_engine_args": {"engine_args": True},
        "AsyncLLM.get_tokenizer": {},
        "SamplingParams": dict.fromkeys(("output_kind", "temperature"), False),
    }  # fmt: skip
    with stub(signatures), pytest.raises(UsageError, match="vLLM refuses the decoding"):
        make_engine(MODEL, Decoding(extra={"wrong": 1}))


def test_no_vllm_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingExtra, match=r"pip install 'evenhand\[vllm\]'"):
        make_engine(MODEL, Decoding())
