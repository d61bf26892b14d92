"""Local weights through transformers, in this process: CPU, CUDA or MPS, batched by length."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evenhand.engines import EngineOptions, adapter
from evenhand.engines.engine import Response
from evenhand.engines.first_token import bare, option_names, text_of
from evenhand.errors import EngineError, MissingExtra, ModelNotFound, RequestRejected, UsageError
from evenhand.study.cue import Message
from evenhand.study.decoding import Decoding
from evenhand.study.plan import Request
from evenhand.text import one_line, opened_thought, split_thought

_BATCHES_PER_CHUNK = 16
"""Requests are sorted by length within chunks of so many batches, to waste little on padding."""
NEXT_TURNS = ("\n\nUser:", "\n\nSystem:", "\n\nAssistant:")
"""What ends the answer of a base model: it would go on with turns of its own invention."""
_KEPT = (
    *("bos_token_id", "eos_token_id", "pad_token_id", "cache_implementation"),
    *("do_sample", "temperature", "top_k", "top_p"),
)
"""Fields of `generation_config.json` that are kept: what belongs to the model, and what a study's
decoding sets or expressly leaves to the model."""
_STYLE = {
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "min_p": 0.0,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "top_h": None,
    "num_beams": 1,
    "num_beam_groups": 1,
    "diversity_penalty": 0.0,
    "length_penalty": 1.0,
    "penalty_alpha": None,
    "guidance_scale": 1.0,
    "min_new_tokens": 0,
    "bad_words_ids": None,
    "sequence_bias": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "exponential_decay_length_penalty": None,
    "stop_strings": None,
    "watermarking_config": None,
}
"""Fields that change how a model picks its words, beside those that a study's decoding sets, and
the value of each that changes nothing."""


class HFEngine:
    """A causal language model of the transformers library.

    Args:
        path: a folder with weights or with an adapter, or an id on the Hugging Face hub.
        decoding: how the model picks its words.
        name: what to call the model in messages; `hf/{path}` if None.
        batch_size: conversations per forward pass; halved when memory runs out.
        chat_template: in the place of the model's own.

    Attributes:
        has_template: False for a base model: it is sent a transcript to continue.
        ignored: fields of the model's `generation_config.json` that would change how it picks its
            words, and are not used: {"repetition_penalty": 1.1}.

    Raises:
        MissingExtra: transformers or torch is not installed.
        ModelNotFound: there is no such model, or it cannot be loaded.
        UsageError: an extra field is neither an argument of `generate` nor a variable of the chat
            template.
    """

    is_local = True
    is_paid = False
    default_suite = "paper"
    takes_response_format = False
    gives_logprobs = True
    notes: Sequence[str] = ()

    def __init__(
        self,
        path: str | Path,
        decoding: Decoding,
        *,
        name: str | None = None,
        batch_size: int = 64,
        chat_template: str | None = None,
    ) -> None:
        try:
            import torch
            import transformers
        except ImportError:
            raise MissingExtra("local models", "local") from None
        self.model = name or f"hf/{path}"
        self._path = str(path)
        self._torch = torch
        self._decoding = decoding
        self._batch_size = batch_size
        self._stop = threading.Event()
        self._tokenizer, self._net = _load(transformers, torch, str(path))
        if chat_template is not None:
            self._tokenizer.chat_template = chat_template
        self.ignored = _neutralize(transformers, self._net)
        self._extra, self._variables = _sort_extra(
            decoding.extra, transformers.GenerationConfig, self._tokenizer.chat_template, self.model
        )

    @property
    def has_template(self) -> bool:
        return self._tokenizer.chat_template is not None

    @property
    def _context(self) -> int | None:
        """The most tokens of prompt and answer together; None where the model does not say."""
        config = self._net.config.get_text_config()
        most = getattr(config, "max_position_embeddings", None)
        return most if isinstance(most, int) and most > 0 else None

    @classmethod
    def make(cls, model: str, decoding: Decoding, options: EngineOptions) -> HFEngine:
        """As `make_engine`."""
        return cls(
            model.partition("/")[2],
            decoding,
            batch_size=options.batch_size,
            chat_template=options.chat_template,
        )

    @property
    def address(self) -> str:
        """The folder and a fingerprint of its files; for a model of the hub, its commit.

        An adapter is followed by the address of its base model.
        """
        return adapter.address(self._path, getattr(self._net.config, "_commit_hash", None))

    def rendered(self, messages: list[Message]) -> str | None:
        """The prompt as the model reads it.

        Raises:
            RequestRejected: the chat template takes no such conversation.
        """
        return prompt_of(self._tokenizer, messages, self._variables, self.model)

    async def answer(self, requests: Iterator[Request], settle: Callable[[Response], None]) -> None:
        """Answer all requests; see `Engine.answer`. Generation runs in a thread of its own."""
        self._stop.clear()
        while chunk := list(islice(requests, self._batch_size * _BATCHES_PER_CHUNK)):
            prompts = [self.rendered(request.messages) or "" for request in chunk]
            order = sorted(range(len(chunk)), key=lambda i: -len(prompts[i]))
            size = self._batch_size
            for start in range(0, len(order), size):
                batch = order[start : start + size]
                work = asyncio.to_thread(
                    self._answer_batch, [chunk[i] for i in batch], [prompts[i] for i in batch]
                )
                for response in await self._until_stopped(work):
                    settle(response)

    async def close(self) -> None:
        """Nothing to release: the weights go with the object."""

    async def _until_stopped(self, work: Any) -> list[Response]:
        """Await a thread; when cancelled, end its generation at the next token."""
        task = asyncio.ensure_future(work)
        try:
            return list(await asyncio.shield(task))
        except asyncio.CancelledError:
            self._stop.set()
            await asyncio.wait([task])
            raise

    def _answer_batch(self, requests: Sequence[Request], prompts: Sequence[str]) -> list[Response]:
        """Generate; what leaves too little of the context for a whole answer goes alone."""
        most = self._decoding.max_tokens
        together: list[int] = []
        choosing = [n for n, request in enumerate(requests) if request.choices]
        responses = self._choose([requests[n] for n in choosing], [prompts[n] for n in choosing])
        for n, prompt in enumerate(prompts):
            if requests[n].choices:
                continue
            room = most if self._context is None else self._context - self._count(prompt)
            if room >= most:
                together.append(n)
            elif room > 0:
                responses += self._generate_in_memory([requests[n]], [prompt], room)
            else:
                size = f"{self._count(prompt):,} tokens"
                error = f"the prompt has {size}; the model's context is {self._context:,}"
                responses.append(Response(requests[n], None, outcome="rejected", error=error))
        if together:
            responses += self._generate_in_memory(
                [requests[n] for n in together], [prompts[n] for n in together], most
            )
        return responses

    def _count(self, prompt: str) -> int:
        return len(self._tokenizer(prompt, add_special_tokens=not self.has_template)["input_ids"])

    def _generate_in_memory(
        self, requests: Sequence[Request], prompts: Sequence[str], most: int
    ) -> list[Response]:
        """Generate; when memory runs out, in halves."""
        try:
            return self._generate(requests, prompts, most)
        except self._torch.cuda.OutOfMemoryError:
            self._torch.cuda.empty_cache()
            half = len(requests) // 2
            if not half:
                raise EngineError("out of GPU memory with one conversation at a time") from None
            self._batch_size = half
            return self._generate_in_memory(
                requests[:half], prompts[:half], most
            ) + self._generate_in_memory(requests[half:], prompts[half:], most)

    def _generate(
        self, requests: Sequence[Request], prompts: Sequence[str], most: int
    ) -> list[Response]:
        started = time.monotonic()
        inputs = self._tokenizer(
            list(prompts),
            return_tensors="pt",
            padding=True,
            # A chat template writes the token that opens a text itself.
            add_special_tokens=not self.has_template,
        ).to(self._net.device)
        self._seed(requests[0])
        with self._torch.inference_mode():
            try:
                output = self._net.generate(**inputs, **self._generation(most))
            except ValueError as error:  # of its arguments
                raise RequestRejected(f"{self.model}: {first_line(error)}") from None
        if self._stop.is_set():
            return []
        width = inputs["input_ids"].shape[1]
        seconds = (time.monotonic() - started) / len(requests)
        return [
            self._response(request, prompt, row[width:].tolist(), int(mask.sum()), seconds, most)
            for request, prompt, row, mask in zip(
                requests, prompts, output, inputs["attention_mask"], strict=True
            )
        ]

    def _choose(self, requests: Sequence[Request], prompts: Sequence[str]) -> list[Response]:
        """Answer by the options' shares of the first token: one forward pass, no generation."""
        if not requests or self._stop.is_set():
            return []
        started = time.monotonic()
        inputs = self._tokenizer(
            list(prompts),
            return_tensors="pt",
            padding=True,
            add_special_tokens=not self.has_template,
        ).to(self._net.device)
        mask = inputs["attention_mask"]
        lengths = mask.sum(dim=1).tolist()
        if len(requests) > 1 and self._context is not None and max(lengths) >= self._context:
            return [
                response
                for request, prompt in zip(requests, prompts, strict=True)
                for response in self._choose([request], [prompt])
            ]
        if self._context is not None and lengths[0] >= self._context:
            error = (
                f"the prompt has {lengths[0]:,} tokens; the model's context is {self._context:,}"
            )
            return [Response(requests[0], None, outcome="rejected", error=error)]
        further = {"logits_to_keep": 1, "position_ids": (mask.cumsum(-1) - 1).clamp(min=0)}
        own = getattr(self._net, "get_base_model", lambda: self._net)()  # inside an adapter
        takes = inspect.signature(own.forward).parameters
        further = {name: value for name, value in further.items() if name in takes}
        try:
            with self._torch.inference_mode():
                last = self._net(**inputs, **further, use_cache=False).logits[:, -1]
        except self._torch.cuda.OutOfMemoryError:
            self._torch.cuda.empty_cache()
            half = len(requests) // 2
            if not half:
                raise EngineError("out of GPU memory with one conversation at a time") from None
            return self._choose(requests[:half], prompts[:half]) + self._choose(
                requests[half:], prompts[half:]
            )
        shares = last.float().softmax(dim=-1).cpu()
        seconds = (time.monotonic() - started) / len(requests)
        return [
            Response(
                request,
                text_of(self._option_shares(request.choices, row)),
                finish="stop",
                prompt_tokens=length,
                seconds=seconds,
            )
            for request, row, length in zip(requests, shares, lengths, strict=True)
        ]

    def _option_shares(self, choices: Sequence[str], shares: Any) -> dict[str, float]:
        found: dict[str, float] = {}
        for name, letter in option_names(choices).items():
            if tokens := self._tokens_by_name.get(name):
                found[letter] = found.get(letter, 0.0) + float(shares[tokens].sum())
        return found

    @cached_property
    def _tokens_by_name(self) -> dict[str, list[int]]:
        """The vocabulary by what a token says without the marks around a letter."""
        found: dict[str, list[int]] = {}
        special = set(self._tokenizer.all_special_tokens)
        tokens = self._tokenizer.convert_ids_to_tokens(list(range(len(self._tokenizer))))
        for number, token in enumerate(tokens):
            if token and token not in special:
                found.setdefault(bare(token), []).append(number)
        return found

    def last_states(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        """What every layer holds at the end of each rendered prompt.

        Returns:
            (prompts, layers, width); the first layer is the embedding.
        """
        found = []
        for start in range(0, len(prompts), self._batch_size):
            inputs = self._tokenizer(
                list(prompts[start : start + self._batch_size]),
                return_tensors="pt",
                padding=True,
                add_special_tokens=not self.has_template,
            ).to(self._net.device)
            with self._torch.inference_mode():
                states = self._net(**inputs, output_hidden_states=True).hidden_states
            found.append(self._torch.stack([layer[:, -1] for layer in states], dim=1).float().cpu())
        return np.asarray(self._torch.cat(found).numpy(), dtype=np.float32)

    def _seed(self, first: Request) -> None:
        """Sampling that is the same when the same cells are asked in the same batches."""
        if self._decoding.seed is not None:
            self._torch.manual_seed(self._decoding.seed + int.from_bytes(first.key[:4], "big"))

    def _generation(self, most: int) -> dict[str, Any]:
        settings = self._decoding
        options: dict[str, Any] = {
            "max_new_tokens": most,
            "do_sample": settings.temperature != 0,
            "pad_token_id": self._tokenizer.pad_token_id,
            "stopping_criteria": [self._stopped],
        }
        if settings.temperature is None:
            del options["do_sample"]  # as the model's own generation_config says
        elif settings.temperature > 0:
            options["temperature"] = settings.temperature
            options["top_k"] = settings.top_k or 0
            options["top_p"] = settings.top_p or 1.0
        if self._stop_strings:
            options["stop_strings"] = list(self._stop_strings)
            options["tokenizer"] = self._tokenizer
        return options | self._extra

    @property
    def _stop_strings(self) -> tuple[str, ...]:
        return self._decoding.stop if self.has_template else (*self._decoding.stop, *NEXT_TURNS)

    def _stopped(self, input_ids: Any, _scores: Any) -> Any:
        """Stopping criterion: one flag a row, as transformers asks for."""
        shape, device = (input_ids.shape[0],), input_ids.device
        return self._torch.full(shape, self._stop.is_set(), dtype=self._torch.bool, device=device)

    def _response(
        self,
        request: Request,
        prompt: str,
        tokens: list[int],
        prompt_tokens: int,
        seconds: float,
        most: int,
    ) -> Response:
        last = self._end_tokens()
        length = next((n for n, token in enumerate(tokens) if token in last), len(tokens))
        thought, text, still_thinking = read_tokens(self._tokenizer, prompt, tokens[:length])
        # As endpoints do: the stop string itself is left out.
        ends = [at for stop in self._stop_strings if (at := text.find(stop)) >= 0]
        text = text[: min(ends)] if ends else text
        cut_off = still_thinking or (not ends and length == most)
        return Response(
            request,
            text=text,
            thought=thought,
            outcome="cut off" if cut_off else "whole",
            finish="length" if cut_off else "stop",
            prompt_tokens=prompt_tokens,
            completion_tokens=length,
            seconds=seconds,
        )

    def _end_tokens(self) -> set[int]:
        ends = self._net.generation_config.eos_token_id
        listed = ends if isinstance(ends, list) else [ends]
        return {token for token in (*listed, self._tokenizer.pad_token_id) if token is not None}


class Organism(HFEngine):
    """The model organism that comes with evenhand: a small model trained to show a known bias."""

    gives_logprobs = False  # it names an option by its text, at the end of an answer
    default_suite = "demo"

    @classmethod
    def make(cls, model: str, decoding: Decoding, options: EngineOptions) -> HFEngine:
        """As `make_engine`."""
        folder = Path(__file__).parent.parent / "organism" / "model"
        return cls(folder, decoding, name=model, batch_size=options.batch_size)


def _load(transformers: Any, torch: Any, path: str) -> tuple[Any, Any]:
    quiet(transformers)
    if path.startswith(("/", ".", "~")) and not Path(path).is_dir():
        raise ModelNotFound(f"cannot load {path}: there is no such folder")
    tuned = adapter.is_adapter(path)
    weights = adapter.base_model(path) if tuned else path
    spread = {"device_map": "auto"} if torch.cuda.device_count() > 1 else {}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            path, padding_side="left", trust_remote_code=False
        )
        net = transformers.AutoModelForCausalLM.from_pretrained(
            weights, dtype="auto", trust_remote_code=False, use_safetensors=True, **spread
        )
    except Exception as error:  # a folder may hold anything, and each of its parsers has errors
        raise ModelNotFound(f"cannot load {path}: {_why_not(error, weights)}") from None
    if tuned:
        net = adapter.with_adapter(net, path, torch)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if not spread:
        net = net.to(device(torch))
    return tokenizer, net.eval()


def _why_not(error: Exception, weights: str) -> str:
    """One line: what the error says, or what usually lies behind it."""
    text = first_line(error)
    if "trust_remote_code" in str(error):
        return "it needs code of its own, and evenhand runs no code from a model"
    files = {path.suffix for path in Path(weights).glob("*")} if Path(weights).is_dir() else set()
    if ".bin" in files and ".safetensors" not in files:
        return "its weights are a pickle, which may run code; convert them to safetensors"
    if type(error).__name__ == "SafetensorError":
        return f"its weights are damaged ({one_line(text)}); copy or download them again"
    return one_line(text)


def _neutralize(transformers: Any, net: Any) -> dict[str, Any]:
    """Drop what `generation_config.json` says of a style of decoding; returns what that was."""
    own = net.generation_config
    kept = {name: getattr(own, name, None) for name in _KEPT}
    net.generation_config = transformers.GenerationConfig(**kept)
    return {
        name: value
        for name, neutral in _STYLE.items()
        if (value := getattr(own, name, None)) not in (None, neutral)
    }


def _sort_extra(
    extra: Mapping[str, Any], config: Any, template: Any, model: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Extra fields as arguments of `generate`, and as variables of the chat template.

    `chat_template_kwargs`, the form that servers take, holds such variables, too.
    """
    fields = dict(extra)
    variables: dict[str, Any] = {}
    nested = fields.pop("chat_template_kwargs", None)
    if isinstance(nested, dict):
        variables |= nested
    arguments = config().to_dict()
    text = str(template or "")
    for name in list(fields):
        if name in arguments:
            continue
        if not re.search(rf"\b{re.escape(name)}\b", text):
            raise UsageError(
                f"--extra {name}: {model} knows no such setting; it is neither an argument of "
                "transformers' generate nor a variable of the chat template"
            )
        variables[name] = fields.pop(name)
    return fields, variables


def quiet(transformers: Any) -> None:
    """No warnings, no bars: what a user must know, evenhand says itself."""
    transformers.logging.set_verbosity_error()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    transformers.logging.disable_progress_bar()


def first_line(error: Exception) -> str:
    """The first line of what an error says; its name if it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def device(torch: Any) -> str:
    """Where a model that fits on one device goes."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def read_tokens(tokenizer: Any, prompt: str, tokens: Sequence[int]) -> tuple[str, str, bool]:
    """Thought and answer of what a model wrote, and whether it was still thinking at the end.

    The marks of a thought may be special tokens, and the template may have opened it.
    """
    thought, text, still_thinking = split_thought(opened_thought(prompt) + tokenizer.decode(tokens))
    if not thought and not still_thinking:
        return thought, tokenizer.decode(tokens, skip_special_tokens=True), False
    for mark in tokenizer.all_special_tokens:
        thought, text = thought.replace(mark, ""), text.replace(mark, "")
    return thought, text, still_thinking


def prompt_of(
    tokenizer: Any, messages: list[Message], variables: Mapping[str, Any], model: str
) -> str:
    """The prompt as the model reads it: by its chat template, or else as a transcript.

    Args:
        tokenizer: of transformers.
        variables: of the template, beside the messages.
        model: its name, for the message of an error.

    Raises:
        RequestRejected: the chat template takes no such conversation.
    """
    if tokenizer.chat_template is None:
        return transcript(messages)
    try:
        return str(
            tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, **variables
            )
        )
    except Exception as error:  # templates raise whatever they like
        raise RequestRejected(
            f"the chat template of {model} rejects: {one_line(str(error))}"
        ) from None


def transcript(messages: Sequence[Message]) -> str:
    """For base models without a chat template: a transcript for the model to continue."""
    turns = [f"{message['role'].capitalize()}: {message['content']}" for message in messages]
    return "\n\n".join([*turns, "Assistant:"])
