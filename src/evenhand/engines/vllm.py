"""Local weights through vLLM, in this process: continuous batches, prefixes computed once."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from evenhand.engines import EngineOptions
from evenhand.engines.engine import Response, windows
from evenhand.engines.first_token import TOP, shares_text
from evenhand.engines.hf import before_stop, prompt_of, read_tokens, stop_strings
from evenhand.engines.weights import (
    ADAPTER_FILE,
    address_of,
    base_model,
    is_adapter,
    is_steering,
    why_not_loaded,
)
from evenhand.errors import EngineError, MissingExtra, ModelNotFound, UsageError
from evenhand.study.cue import Message
from evenhand.study.decoding import Decoding
from evenhand.study.plan import Request
from evenhand.text import first_line_of, one_line

_WINDOW = 1024
"""Requests, at least, among which those of one identity are asked one after the other."""
_UNDER_WAY = 512
"""Requests that vLLM has at once: more than it batches, so that none of its places is free."""
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Largest ranks of adapters that vLLM can be prepared for."""
_FIRST_TOKEN = {"max_tokens": 1, "logprobs": TOP, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
"""Settings for the probabilities of the first token, as they are unscaled."""
_GPU_SHARE = 0.9
"""Of the memory of the GPU, or of the worker's part of it."""


class VLLMEngine:
    """A causal language model run by vLLM, on all GPUs that this process sees.

    Args:
        model: "vllm/" and a folder with weights or with an adapter (LoRA), or an id on the hub.
        decoding: how the model picks its words; `extra` holds further fields of vLLM's
            `SamplingParams`, and `chat_template_kwargs`.
        options: `chat_template` in the place of the model's own; `gpus_per_worker` below 1 for a
            part of one GPU's memory.

    Raises:
        MissingExtra: vLLM is not installed.
        ModelNotFound: there is no such model, or it cannot be loaded.
        UsageError: an extra field is none of `SamplingParams`.
    """

    is_local = True
    is_paid = False
    default_suite = "paper"
    takes_response_format = False
    gives_logprobs = True
    notes: Sequence[str] = ()

    def __init__(self, model: str, decoding: Decoding, options: EngineOptions) -> None:
        os.environ["VLLM_NO_USAGE_STATS"] = "1"
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        try:
            import torch
            import vllm
        except ImportError:
            raise MissingExtra("models on vLLM", "vllm") from None
        self.model = model
        self._vllm = vllm
        self._decoding = decoding
        self._path = model.partition("/")[2]
        self._numbers = count()
        if is_steering(self._path):
            raise ModelNotFound(f"cannot load {self._path}: vLLM knows no steering; use hf/")
        tuned = is_adapter(self._path)
        weights = base_model(self._path) if tuned else self._path
        if weights.startswith(("/", ".", "~")) and not Path(weights).is_dir():
            raise ModelNotFound(f"cannot load {weights}: there is no such folder")
        self._net = _load(self._path if tuned else None, weights, decoding, options, torch)
        self._tokenizer = self._net.get_tokenizer()
        if options.chat_template is not None:
            self._tokenizer.chat_template = options.chat_template
        self._lora = _lora(self._path) if tuned else None
        extra = dict(decoding.extra)
        self._variables: Any = extra.pop("chat_template_kwargs", {})
        self._sampling = self._settings() | extra
        try:
            vllm.SamplingParams(**self._sampling)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"{model}: vLLM refuses the decoding: {first_line_of(error)}"
            ) from None

    @classmethod
    def make(cls, model: str, decoding: Decoding, options: EngineOptions) -> VLLMEngine:
        """As `make_engine`."""
        return cls(model, decoding, options)

    @property
    def has_template(self) -> bool:
        return self._tokenizer.chat_template is not None

    @property
    def address(self) -> str:
        """The folder and a fingerprint of its files; for a model of the hub, its commit."""
        config = self._net.model_config.hf_config
        commit = getattr(config, "_commit_hash", None)
        return address_of(self._path, commit, self._decoding.dtype)

    def rendered(self, messages: list[Message]) -> str | None:
        """The prompt as the model reads it.

        Raises:
            RequestRejected: the chat template takes no such conversation.
        """
        return prompt_of(self._tokenizer, messages, self._variables, self.model)

    async def answer(self, requests: Iterator[Request], settle: Callable[[Response], None]) -> None:
        """Answer all requests; see `Engine.answer`. Each settles when its last token is there."""

        # Prefixes that are computed once must still be there when the next prompt has them.
        by_prefix = (
            request
            for window in windows(requests, _WINDOW)
            for request in sorted(window, key=lambda request: request.condition)
        )

        async def work() -> None:
            for request in by_prefix:
                settle(await self._answer_one(request))

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(_UNDER_WAY):
                    group.create_task(work())
        except ExceptionGroup as several:
            raise several.exceptions[0] from None

    async def close(self) -> None:
        """End vLLM's own process, and release the GPU."""
        self._net.shutdown()

    async def _answer_one(self, request: Request) -> Response:
        started = time.monotonic()
        prompt = self.rendered(request.messages) or ""
        # A chat template writes the token that opens a text itself.
        tokens = self._tokenizer(prompt, add_special_tokens=not self.has_template)["input_ids"]
        context = self._net.model_config.max_model_len
        room = min(self._decoding.max_tokens, context - len(tokens))
        if room <= 0:
            error = f"the prompt has {len(tokens):,} tokens; the model's context is {context:,}"
            return Response(request, None, outcome="rejected", error=error)
        output = await self._generate(request, tokens, room)
        (completion,) = output.outputs
        if request.choices:
            given = completion.logprobs[0].values() if completion.logprobs else ()
            first = [(str(each.decoded_token), float(each.logprob)) for each in given]
            return Response(
                request,
                shares_text(first, request.choices),
                finish="stop",
                prompt_tokens=len(tokens),
                completion_tokens=1,
                seconds=time.monotonic() - started,
            )
        thought, text, still_thinking = read_tokens(
            self._tokenizer, prompt, list(completion.token_ids)
        )
        cut_off = still_thinking or completion.finish_reason == "length"
        return Response(
            request,
            text=before_stop(text, self._stop_strings),
            thought=thought,
            outcome="cut off" if cut_off else "whole",
            finish=str(completion.finish_reason or ""),
            prompt_tokens=len(tokens),
            completion_tokens=len(completion.token_ids),
            seconds=time.monotonic() - started,
        )

    async def _generate(self, request: Request, tokens: list[int], room: int) -> Any:
        """The finished output of one request; cancelled, vLLM drops it."""
        settings = self._sampling | {"max_tokens": room}
        if request.choices:
            settings |= _FIRST_TOKEN
        if self._decoding.seed is not None:
            own = int.from_bytes(request.key[:4], "big")
            settings["seed"] = (self._decoding.seed + own) % 2**31
        last = None
        try:
            async for output in self._net.generate(
                self._vllm.TokensPrompt(prompt_token_ids=tokens),
                self._vllm.SamplingParams(**settings),
                f"evenhand-{next(self._numbers)}",
                lora_request=self._lora,
            ):
                last = output
        except Exception as error:  # of a request or of vLLM's own process, by many classes
            raise EngineError(f"{self.model}: {one_line(first_line_of(error))}") from None
        if last is None:
            raise EngineError(f"{self.model}: vLLM gave no output")
        return last

    @property
    def _stop_strings(self) -> tuple[str, ...]:
        return stop_strings(self._decoding, has_template=self.has_template)

    def _settings(self) -> dict[str, Any]:
        """Arguments of `SamplingParams`, the token limit and the seed excepted."""
        from vllm.sampling_params import RequestOutputKind

        settings = self._decoding
        found: dict[str, Any] = {"output_kind": RequestOutputKind.FINAL_ONLY}
        if settings.temperature is None:
            own = self._net.model_config.get_diff_sampling_param()
            found |= {name: own[name] for name in ("temperature", "top_k", "top_p") if name in own}
        else:
            found["temperature"] = settings.temperature
        if settings.temperature:
            found["top_k"] = settings.top_k or 0
            found["top_p"] = settings.top_p or 1.0
        if self._stop_strings:
            found["stop"] = list(self._stop_strings)
        return found


def _load(
    tuned: str | None, weights: str, decoding: Decoding, options: EngineOptions, torch: Any
) -> Any:
    from vllm import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    lora = {"enable_lora": True, "max_lora_rank": _rank(tuned)} if tuned else {}
    share = min(1.0, options.gpus_per_worker or 1.0)
    try:
        return AsyncLLM.from_engine_args(
            AsyncEngineArgs(
                model=weights,
                dtype=decoding.dtype or "auto",
                # What a model's files say of style is not asked for, unless the study says so.
                generation_config="auto" if decoding.temperature is None else "vllm",
                enable_prefix_caching=True,
                tensor_parallel_size=max(1, torch.cuda.device_count()),
                distributed_executor_backend="mp",
                gpu_memory_utilization=_GPU_SHARE * share,
                trust_remote_code=False,
                disable_log_stats=True,
                **lora,
            )
        )
    except Exception as error:  # configurations, files, memory: each has errors of its own
        why = why_not_loaded(error, weights)
        raise ModelNotFound(f"cannot load {weights}: {why}") from None


def _lora(path: str) -> Any:
    from vllm.lora.request import LoRARequest

    return LoRARequest("adapter", 1, str(Path(path).resolve()))


def _rank(path: str) -> int:
    """The smallest rank that vLLM can be prepared for and that holds the adapter.

    Raises:
        ModelNotFound: the adapter does not say its rank, or it is too large.
    """
    own = json.loads((Path(path) / ADAPTER_FILE).read_text(encoding="utf-8")).get("r")
    found = next((rank for rank in RANKS if isinstance(own, int) and own <= rank), None)
    if found is None:
        raise ModelNotFound(f"cannot load the adapter {path}: vLLM takes no rank of {own}")
    return found
