"""Local weights through transformers, in this process: CPU, CUDA or MPS, batched by length."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evenhand.engines import EngineOptions
from evenhand.engines.engine import Response, windows
from evenhand.engines.first_token import bare, option_names, text_of
from evenhand.engines.hosts import can_start_processes, cores
from evenhand.engines.weights import (
    NetworkSize,
    address_of,
    base_model,
    free_memory,
    is_adapter,
    is_steered,
    why_not_loaded,
    with_adapter,
)
from evenhand.engines.workers import WorkersEngine
from evenhand.errors import (
    EngineError,
    EvenhandError,
    MissingExtra,
    ModelNotFound,
    RequestRejected,
    UsageError,
)
from evenhand.organism import SHIPPED
from evenhand.study.cue import Message
from evenhand.study.decoding import Decoding
from evenhand.study.plan import Request
from evenhand.text import first_line_of, one_line, opened_thought, split_thought

_SMALL = 50_000_000
"""Parameters up to which one thread computes as fast as several, so that processes bring more."""
_MANY, _FEW = 256, 64
"""Most rows of a batch, where passes over small weights cost little but their own start, or where
a GPU computes; and where a larger batch only delays its first answer."""
_SPREAD_AFTER = 5.0
"""Seconds of work after which several processes are started: about what it takes to start them."""
_OF_PROCESS = 700 * 2**20
"""Bytes of a worker without weights."""
_MOST_WORKERS = 16
_WINDOW = 1024
"""Requests, at least, that are put into batches together; their order is free within a window."""
_ALONE = "all was answered in one process, since no other could load the model"
_NEXT_TURNS = ("\n\nUser:", "\n\nSystem:", "\n\nAssistant:")
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
_OF_ROWS = frozenset(
    {
        *("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff"),
        *("top_h", "repetition_penalty", "no_repeat_ngram_size", "bad_words_ids", "sequence_bias"),
        *("suppress_tokens", "min_new_tokens", "forced_eos_token_id", "do_sample"),
        "exponential_decay_length_penalty",
    }
)
"""Arguments of `generate` by which a row's next word depends on nothing but the row."""
_Put = Callable[[Response], None]


@dataclass(frozen=True, eq=False)
class _Prompt:
    """A request as the model reads it."""

    request: Request
    text: str
    tokens: list[int]


class HFEngine:
    """A causal language model of the transformers library.

    Args:
        path: a folder with weights or with an adapter, or an id on the Hugging Face hub.
        decoding: how the model picks its words.
        name: what to call the model in messages; `hf/{path}` if None.
        batch_size: the most conversations per forward pass, halved when memory runs out; None for
            as many as memory holds and as bring speed.
        chat_template: in the place of the model's own.
        copies: of the model that share this machine's memory.
        spread: makes an engine of several workers, to which what takes long is handed over; None
            to stay in this process.

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

    def __init__(
        self,
        path: str | Path,
        decoding: Decoding,
        *,
        name: str | None = None,
        batch_size: int | None = None,
        chat_template: str | None = None,
        copies: int = 1,
        spread: Callable[[int], WorkersEngine] | None = None,
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
        self._stop = threading.Event()
        self._tokenizer, self._net = load_weights(transformers, torch, str(path), decoding.dtype)
        self._vocabulary = int(self._net.get_input_embeddings().weight.shape[0])
        self._size = NetworkSize.of(self._net)
        on_cpu = self._net.device.type == "cpu"
        self._is_small = on_cpu and self._size.parameters <= _SMALL
        self._batch_size = batch_size or (_MANY if self._is_small or not on_cpu else _FEW)
        self._budget = free_memory(torch, self._net.device) // copies
        self._spread = spread if self._is_small else None
        self._workers: WorkersEngine | None = None
        self._notes: list[str] = []
        if chat_template is not None:
            self._tokenizer.chat_template = chat_template
        self.ignored = _neutralize(transformers, self._net)
        self._extra, self._variables = _sort_extra(
            decoding.extra, transformers.GenerationConfig, self._tokenizer.chat_template, self.model
        )

    @property
    def notes(self) -> Sequence[str]:
        """What the workers note, where there are some; or why there are none."""
        return self._notes if self._workers is None else self._workers.notes

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
        return cls._made(model.partition("/")[2], model, decoding, options)

    @classmethod
    def _made(
        cls, path: str | Path, model: str, decoding: Decoding, options: EngineOptions
    ) -> HFEngine:
        def spread(workers: int) -> WorkersEngine:
            return WorkersEngine(model, decoding, replace(options, workers=workers), wait=False)

        return cls(
            path,
            decoding,
            name=model,
            batch_size=options.batch_size,
            chat_template=options.chat_template,
            copies=options.copies,
            spread=spread if options.workers is None and can_start_processes() else None,
        )

    @property
    def address(self) -> str:
        """The folder and a fingerprint of its files; for a model of the hub, its commit.

        An adapter is followed by the address of its base model.
        """
        commit = getattr(self._net.config, "_commit_hash", None)
        return address_of(self._path, commit, self._decoding.dtype)

    def rendered(self, messages: list[Message]) -> str | None:
        """The prompt as the model reads it.

        Raises:
            RequestRejected: the chat template takes no such conversation.
        """
        return prompt_of(self._tokenizer, messages, self._variables, self.model)

    async def answer(self, requests: Iterator[Request], settle: Callable[[Response], None]) -> None:
        """Answer all requests; see `Engine.answer`. Generation runs in a thread of its own."""
        self._stop.clear()
        began = time.monotonic()
        divided = windows(requests, _WINDOW)
        for window in divided:
            if self._workers is None and time.monotonic() - began > _SPREAD_AFTER:
                self._start_workers()
            if self._workers is not None and await self._may_hand_over(self._workers):
                left = chain(window, chain.from_iterable(divided))
                await self._workers.answer(left, settle)
                break
            await self._until_stopped(partial(self._answer_window, window), settle)

    async def close(self) -> None:
        """End the workers; the weights go with the object."""
        if self._workers is not None:
            await self._workers.close()

    def _start_workers(self) -> None:
        """Have several processes take over what takes one of them long, once they have loaded the
        model, if it is small enough."""
        spread, self._spread = self._spread, None
        if spread is None:
            return
        memory = free_memory(self._torch, self._net.device) // (self._size.bytes + _OF_PROCESS)
        workers = min(cores(), memory, _MOST_WORKERS)
        if workers > 1:
            try:
                self._workers = spread(workers)
            except EvenhandError as error:
                self._notes.append(f"{_ALONE} ({error})")

    async def _may_hand_over(self, workers: WorkersEngine) -> bool:
        """Whether a worker has loaded the model; without any, all is done in this process."""
        try:
            return workers.is_ready()
        except EvenhandError as error:
            self._notes.append(f"{_ALONE} ({error})")
            self._workers = None
            await workers.close()
            return False

    async def _until_stopped(
        self, work: Callable[[_Put], None], settle: Callable[[Response], None]
    ) -> None:
        """Run work in a thread, and settle here what it settles there.

        When cancelled, or when an answer cannot be kept, generation ends at the next token.
        """
        loop, settled = asyncio.get_running_loop(), asyncio.Queue[Response | None]()

        def put(response: Response | None) -> None:
            loop.call_soon_threadsafe(settled.put_nowait, response)

        task = asyncio.ensure_future(asyncio.to_thread(work, put))
        task.add_done_callback(lambda _: settled.put_nowait(None))
        try:
            while response := await settled.get():
                settle(response)
            task.result()
        except BaseException:
            self._stop.set()
            await asyncio.wait([task])
            raise

    def _answer_window(self, requests: Sequence[Request], settle: _Put) -> None:
        """Answer requests; for a small network one thread is faster than several."""
        threads = self._torch.get_num_threads()
        if self._is_small:
            self._torch.set_num_threads(1)
        try:
            self._answer_batches(requests, settle)
        finally:
            self._torch.set_num_threads(threads)

    def _answer_batches(self, requests: Sequence[Request], settle: _Put) -> None:
        """Answer requests in batches; what leaves too little of the context goes alone."""
        most = self._decoding.max_tokens
        together: list[_Prompt] = []
        choosing: list[_Prompt] = []
        alone: list[tuple[_Prompt, int]] = []
        for prompt in self._read(requests):
            room = most if self._context is None else self._context - len(prompt.tokens)
            if room <= 0:
                size = f"{len(prompt.tokens):,} tokens"
                error = f"the prompt has {size}; the model's context is {self._context:,}"
                settle(Response(prompt.request, None, outcome="rejected", error=error))
            elif prompt.request.choices:
                choosing.append(prompt)
            elif room >= most:
                together.append(prompt)
            else:
                alone.append((prompt, room))
        for batch in self._batches(choosing):
            self._in_memory(self._choose, batch, settle)
        for batch in self._batches(together):
            self._in_memory(partial(self._generate, most), batch, settle)
        for prompt, room in alone:
            self._in_memory(partial(self._generate, room), [prompt], settle)

    def _read(self, requests: Sequence[Request]) -> list[_Prompt]:
        texts = [self.rendered(request.messages) or "" for request in requests]
        # A chat template writes the token that opens a text itself.
        found = self._tokenizer(texts, add_special_tokens=not self.has_template)["input_ids"]
        if not all(found):
            raise RequestRejected(f"{self.model}: the chat template makes an empty prompt")
        if max(map(max, found)) >= self._vocabulary:
            raise EngineError(
                f"{self.model}: the tokenizer has tokens beyond the {self._vocabulary:,} that the "
                "weights know; give the folder the tokenizer that belongs to its weights"
            )
        return [_Prompt(*each) for each in zip(requests, texts, found, strict=True)]

    def _batches(self, prompts: Sequence[_Prompt]) -> list[list[_Prompt]]:
        """Prompts of like length together, or those that begin alike, whichever is less to read.

        The longest come first: if memory does not suffice, it shows at once.
        """
        from evenhand.engines.decode import tokens_to_read

        by_length = sorted(prompts, key=lambda prompt: -len(prompt.tokens))
        orders = [by_length]
        if self._may_share:
            orders.append(sorted(prompts, key=lambda prompt: prompt.tokens, reverse=True))
        divided = [list(self._portions(order)) for order in orders]

        def to_read(batches: list[list[_Prompt]]) -> int:
            tokens = ([prompt.tokens for prompt in batch] for batch in batches)
            return sum(tokens_to_read(each, share=self._may_share) for each in tokens)

        return min(divided, key=to_read)

    def _portions(self, prompts: Sequence[_Prompt]) -> Iterator[list[_Prompt]]:
        """Batches within the budget of tokens, in this order."""
        most = self._decoding.max_tokens
        batch: list[_Prompt] = []
        width = 0
        for prompt in prompts:
            width = max(width, len(prompt.tokens))
            full = len(batch) >= self._batch_size
            if batch and (full or (len(batch) + 1) * self._size.row(width, most) > self._budget):
                yield batch
                batch, width = [], len(prompt.tokens)
            batch.append(prompt)
        if batch:
            yield batch

    def _in_memory(
        self,
        answer: Callable[[Sequence[_Prompt], _Put], None],
        batch: Sequence[_Prompt],
        settle: _Put,
    ) -> None:
        """Have one batch answered; when memory runs out, what is left of it in halves."""
        left = {id(prompt.request): prompt for prompt in batch}

        def take(response: Response) -> None:
            del left[id(response.request)]
            settle(response)

        if self._stop.is_set():
            return
        try:
            answer(batch, take)
        except FloatingPointError as error:
            raise EngineError(f"{self.model}: {error}") from None
        except self._torch.cuda.OutOfMemoryError:
            self._torch.cuda.empty_cache()
            half = len(left) // 2
            if not half:
                raise EngineError("out of GPU memory with one conversation at a time") from None
            self._batch_size = half
            again = list(left.values())
            self._in_memory(answer, again[:half], settle)
            self._in_memory(answer, again[half:], settle)

    def _generate(self, most: int, batch: Sequence[_Prompt], settle: _Put) -> None:
        """Have the model write up to so many tokens for each prompt."""
        # This module is read where no torch is installed, too.
        from evenhand.engines.decode import Decoder, Draws

        started = time.monotonic()
        padded = self._side_by_side(batch)
        left = set(range(len(batch)))

        def ended(row: int, tokens: list[int]) -> None:
            left.remove(row)
            settle(self._response(batch[row], tokens, time.monotonic() - started, most))

        width = padded.ids.shape[1]

        def stops(ids: Any, scores: Any) -> Any:
            """Stop strings, in what is new: one may begin in the prompt, as a line break does."""
            return self._criteria(ids[:, width:], scores)

        options = self._generation(most)
        criteria: list[Any] = [stops] if self._stop_strings else []
        options["stopping_criteria"] = criteria
        if self._by_row:
            draws = Draws([self._seed(prompt.request) for prompt in batch])
            options["custom_generate"] = Decoder(padded, draws, ended, self._stop.is_set).decode
        else:
            criteria.append(self._stopped)
            options["tokenizer"] = self._tokenizer
            options["logits_processor"] = [_checked]
            if (seed := self._seed(batch[0].request)) is not None:
                self._torch.manual_seed(sum(seed) % 2**63)
        ids, mask = padded.tensors(self._torch, self._net.device)
        with self._torch.inference_mode():
            try:
                output = self._net.generate(input_ids=ids, attention_mask=mask, **options)
            except ValueError as error:  # of its arguments
                raise RequestRejected(f"{self.model}: {first_line_of(error)}") from None
        for row in sorted(left) if not self._stop.is_set() else ():
            ended(row, output[row, width:].tolist())

    def _choose(self, batch: Sequence[_Prompt], settle: _Put) -> None:
        """Answer by the options' shares of the first token; nothing is written."""
        from evenhand.engines.decode import first_scores

        started = time.monotonic()
        with self._torch.inference_mode():
            scores = first_scores(self._net, self._side_by_side(batch), self._takes)
        shares = scores.softmax(dim=-1).cpu()
        for prompt, row in zip(batch, shares, strict=True):
            settle(
                Response(
                    prompt.request,
                    text_of(self._option_shares(prompt.request.choices, row)),
                    finish="stop",
                    prompt_tokens=len(prompt.tokens),
                    seconds=time.monotonic() - started,
                )
            )

    def _side_by_side(self, batch: Sequence[_Prompt]) -> Any:
        from evenhand.engines.decode import side_by_side

        tokens = [prompt.tokens for prompt in batch]
        return side_by_side(tokens, self._pad, share=self._may_share)

    @property
    def _pad(self) -> int:
        """What stands where no token is: the tokenizer may have none, or one that the weights do
        not know; no row sees it."""
        pad = self._tokenizer.pad_token_id
        return pad if pad is not None and pad < self._vocabulary else 0

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

    def _seed(self, request: Request) -> list[int] | None:
        """What an answer is drawn from: the same whenever the same cell is asked."""
        seed = self._decoding.seed
        return None if seed is None else [seed, int.from_bytes(request.key, "big")]

    @cached_property
    def _by_row(self) -> bool:
        """Whether rows can settle one by one.

        `generate` itself is left to do what looks at whole batches, such as beam search, and
        models without a cache of keys and values.
        """
        return "past_key_values" in self._takes and self._extra.keys() <= _OF_ROWS

    @cached_property
    def _takes(self) -> frozenset[str]:
        """Arguments of the network."""
        own = getattr(self._net, "get_base_model", lambda: self._net)()  # inside an adapter
        return frozenset(inspect.signature(own.forward).parameters)

    @cached_property
    def _may_share(self) -> bool:
        """Whether padding may stand amid a prompt, after what it shares with others."""
        from evenhand.engines.decode import has_plain_cache

        if is_steered(self._net):  # the end of what is shared would be edited, too
            return False
        return self._by_row and not self._extra and has_plain_cache(self._net.config)

    def _generation(self, most: int) -> dict[str, Any]:
        settings = self._decoding
        options: dict[str, Any] = {
            "max_new_tokens": most,
            "do_sample": settings.temperature != 0,
            "pad_token_id": self._pad,
        }
        if settings.temperature is None:
            del options["do_sample"]  # as the model's own generation_config says
        elif settings.temperature > 0:
            options["temperature"] = settings.temperature
            options["top_k"] = settings.top_k or 0
            options["top_p"] = settings.top_p or 1.0
        return options | self._extra

    @cached_property
    def _criteria(self) -> Any:
        """What ends a row beside its last token and its length."""
        from transformers import StopStringCriteria

        return StopStringCriteria(self._tokenizer, list(self._stop_strings))

    @property
    def _stop_strings(self) -> tuple[str, ...]:
        return stop_strings(self._decoding, has_template=self.has_template)

    def _stopped(self, input_ids: Any, _scores: Any) -> Any:
        """Stopping criterion: one flag a row, as transformers asks for."""
        shape, device = (input_ids.shape[0],), input_ids.device
        return self._torch.full(shape, self._stop.is_set(), dtype=self._torch.bool, device=device)

    def _response(self, prompt: _Prompt, tokens: list[int], seconds: float, most: int) -> Response:
        last = self._end_tokens()
        length = next((n for n, token in enumerate(tokens) if token in last), len(tokens))
        thought, text, still_thinking = read_tokens(self._tokenizer, prompt.text, tokens[:length])
        whole, text = text, before_stop(text, self._stop_strings)
        cut_off = still_thinking or (text == whole and length == most)
        return Response(
            prompt.request,
            text=text,
            thought=thought,
            outcome="cut off" if cut_off else "whole",
            finish="length" if cut_off else "stop",
            prompt_tokens=len(prompt.tokens),
            completion_tokens=length,
            seconds=seconds,
        )

    def _end_tokens(self) -> set[int]:
        ends = self._net.generation_config.eos_token_id
        listed = ends if isinstance(ends, list) else [ends]
        padding = [] if self._by_row else [self._tokenizer.pad_token_id]  # after rows that ended
        return {token for token in (*listed, *padding) if token is not None}


def _checked(_ids: Any, scores: Any) -> Any:
    """Scores as they are, if they are finite."""
    from evenhand.engines.decode import check_numbers

    check_numbers(scores.amax(dim=-1))
    return scores


class Organism(HFEngine):
    """A model organism that comes with evenhand: a small model trained to show a known bias."""

    default_suite = "demo"
    gives_logprobs = False  # it names an option by its text, at the end of an answer

    @classmethod
    def make(cls, model: str, decoding: Decoding, options: EngineOptions) -> HFEngine:
        """As `make_engine`."""
        return cls._made(SHIPPED[model], model, decoding, options)


class SecondOrganism(Organism):
    """The organism whose bias is harder to find and to take away."""

    default_suite = "demo2"


def load_weights(transformers: Any, torch: Any, path: str, dtype: str | None) -> tuple[Any, Any]:
    """Tokenizer and network of a folder or an id on the hub, with its adapter or steering.

    Raises:
        ModelNotFound: there is no such model, or it cannot be loaded.
        MissingExtra: peft is not installed.
    """
    quiet(transformers)
    if path.startswith(("/", ".", "~")) and not Path(path).is_dir():
        raise ModelNotFound(f"cannot load {path}: there is no such folder")
    tuned = is_adapter(path)
    weights = base_model(path) if tuned else path
    if tuned and weights.startswith(("/", ".", "~")) and not Path(weights).is_dir():
        raise ModelNotFound(f"cannot load {path}: its base model {weights} is not there")
    spread = {"device_map": "auto"} if torch.cuda.device_count() > 1 else {}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            path, padding_side="left", trust_remote_code=False
        )
        net, loaded = transformers.AutoModelForCausalLM.from_pretrained(
            weights,
            dtype=dtype or "auto",
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            **spread,
        )
    except Exception as error:  # a folder may hold anything, and each of its parsers has errors
        raise ModelNotFound(f"cannot load {path}: {_why_not(error, path, weights)}") from None
    if missing := sorted(loaded["missing_keys"]):  # they hold random numbers
        raise ModelNotFound(
            f"cannot load {path}: its weights lack {missing[0]} and {len(missing) - 1:,} others "
            "that its config.json asks for; copy or download both again"
        )
    if tuned:
        net = with_adapter(net, path, torch)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if not spread:
        try:
            net = net.to(device(torch))
        except torch.cuda.OutOfMemoryError as error:
            raise ModelNotFound(f"cannot load {path}: {one_line(first_line_of(error))}") from None
    return tokenizer, net.eval()


def _why_not(error: Exception, path: str, weights: str) -> str:
    """One line: what the error says, or what usually lies behind it."""
    if "ignore_mismatched_sizes" in str(error):
        return "its weights are of other sizes than its config.json says; copy both again"
    if "trust_remote_code" in str(error):
        return "it needs code of its own, and evenhand runs no code from a model"
    files = {path.suffix for path in Path(weights).glob("*")} if Path(weights).is_dir() else set()
    if ".bin" in files and ".safetensors" not in files:
        return "its weights are a pickle, which may run code; convert them to safetensors"
    return why_not_loaded(error, path, weights)


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
    for name in ("huggingface_hub", "bitsandbytes"):
        logging.getLogger(name).setLevel(logging.ERROR)
    transformers.logging.disable_progress_bar()


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


def stop_strings(decoding: Decoding, *, has_template: bool) -> tuple[str, ...]:
    """What ends an answer beside its last token."""
    return decoding.stop if has_template else (*decoding.stop, *_NEXT_TURNS)


def before_stop(text: str, stops: Sequence[str]) -> str:
    """The answer up to its first stop string, which is left out, as endpoints do."""
    return text[: min((at for stop in stops if (at := text.find(stop)) >= 0), default=None)]


def transcript(messages: Sequence[Message]) -> str:
    """For base models without a chat template: a transcript for the model to continue."""
    turns = [f"{message['role'].capitalize()}: {message['content']}" for message in messages]
    return "\n\n".join([*turns, "Assistant:"])
