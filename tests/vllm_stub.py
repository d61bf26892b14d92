"""A vLLM that runs nothing: its calls are noted, and checked against signatures if there are any.

    with stub(signatures) as calls:
        engine = make_engine("vllm/FOLDER", Decoding())

The model answers with what `reply` makes of the prompt, in the tokens of the folder's tokenizer.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

Signatures = Mapping[str, Mapping[str, bool]]
"""Callable -> parameters that it takes, and whether each must be given."""
Calls = list[tuple[str, tuple[Any, ...], dict[str, Any]]]

CONTEXT = 512


@contextmanager
def stub(
    signatures: Signatures | None = None,
    reply: Callable[[str], str] = lambda prompt: prompt[-20:],
    fails: str = "",
) -> Iterator[Calls]:
    """Put the stub where `import vllm` finds it; yields the calls of it, in order.

    Args:
        signatures: what every call is checked against.
        fails: makes loading the model fail with this text.
    """
    calls: Calls = []

    def note(name: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        calls.append((name, arguments, named))
        if signatures is not None:
            check(name, signatures[name], arguments, named)

    def value(name: str) -> Any:
        def make(*arguments: Any, **named: Any) -> Any:
            note(name, arguments, named)
            return SimpleNamespace(kind=name, arguments=arguments, **named)

        return make

    class AsyncLLM:
        def __init__(self, given: Any) -> None:
            import transformers

            self._tokenizer = transformers.AutoTokenizer.from_pretrained(given.model)
            self.model_config = SimpleNamespace(
                max_model_len=CONTEXT,
                hf_config=SimpleNamespace(_commit_hash=None),
                get_diff_sampling_param=lambda: {"temperature": 0.6, "repetition_penalty": 1.1},
            )
            self.under_way = self.most = 0

        @classmethod
        def from_engine_args(cls, *arguments: Any, **named: Any) -> AsyncLLM:
            note("AsyncLLM.from_engine_args", arguments, named)
            if fails:
                raise ValueError(fails)
            return cls(arguments[0])

        def get_tokenizer(self) -> Any:
            note("AsyncLLM.get_tokenizer", (), {})
            return self._tokenizer

        async def generate(self, *arguments: Any, **named: Any) -> AsyncIterator[Any]:
            note("AsyncLLM.generate", arguments, named)
            prompt, sampling, _ = arguments
            text = reply(self._tokenizer.decode(prompt.prompt_token_ids))
            tokens = self._tokenizer(text, add_special_tokens=False)["input_ids"]
            most = sampling.max_tokens
            first = [{0: SimpleNamespace(logprob=-0.25, decoded_token=text[:1])}]
            yield SimpleNamespace(
                outputs=[
                    SimpleNamespace(
                        text=text,
                        token_ids=tokens[:most],
                        finish_reason="length" if len(tokens) > most else "stop",
                        logprobs=first if getattr(sampling, "logprobs", None) else None,
                    )
                ]
            )

        def shutdown(self, *arguments: Any, **named: Any) -> None:
            note("AsyncLLM.shutdown", arguments, named)

    modules = {
        "vllm": {
            name: value(name) for name in ("AsyncEngineArgs", "SamplingParams", "TokensPrompt")
        },
        "vllm.v1": {},
        "vllm.v1.engine": {},
        "vllm.v1.engine.async_llm": {"AsyncLLM": AsyncLLM},
        "vllm.lora": {},
        "vllm.lora.request": {"LoRARequest": value("LoRARequest")},
        "vllm.sampling_params": {"RequestOutputKind": SimpleNamespace(FINAL_ONLY="final")},
    }
    for name, content in modules.items():
        module = ModuleType(name)
        vars(module).update(content)
        sys.modules[name] = module
    try:
        yield calls
    finally:
        for name in modules:
            del sys.modules[name]


def check(
    name: str, known: Mapping[str, bool], arguments: tuple[Any, ...], named: Mapping[str, Any]
) -> None:
    """Raise TypeError as Python would for a call that does not fit."""
    given = [*list(known)[: len(arguments)], *named]
    unknown = [each for each in given if each not in known]
    missing = [each for each, needed in known.items() if needed and each not in given]
    if unknown or missing or len(arguments) > len(known) or len(set(given)) < len(given):
        raise TypeError(f"{name}: unknown {unknown}, missing {missing}, of {list(known)[:12]}")
