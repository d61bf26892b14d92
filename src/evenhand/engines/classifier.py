"""Sequence classifiers of the transformers library: a label for each conversation.

An engine of judges, not of audits: what it answers is the likeliest label and its share, as JSON.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from evenhand.engines import EngineOptions
from evenhand.engines.engine import Response
from evenhand.engines.hf import device, quiet
from evenhand.engines.weights import address_of, why_not_loaded
from evenhand.errors import EngineError, MissingExtra, ModelNotFound
from evenhand.study.cue import Message
from evenhand.study.decoding import Decoding
from evenhand.study.plan import Request

_BATCHES_PER_CHUNK = 16
"""Conversations are sorted by length within chunks of so many batches, to pad little."""
_LONGEST = 4096
"""Tokens that are read where the model itself names no limit."""


class ClassifierEngine:
    """Answers with the likeliest label of one text or two: {"label": "LABEL_0", "share": 0.93}.

    Args:
        model: "classifier/" and an id on the Hugging Face hub, or a folder.
        batch_size: conversations per forward pass; halved when memory runs out.

    Attributes:
        labels: all labels that the model knows.

    Raises:
        MissingExtra: transformers or torch is not installed.
        ModelNotFound: there is no such model, or it is no sequence classifier.
    """

    is_local = True
    is_paid = False
    default_suite = "paper"
    takes_response_format = False
    notes: Sequence[str] = ()

    def __init__(self, model: str, *, batch_size: int = 64) -> None:
        try:
            import torch
            import transformers
        except ImportError:
            raise MissingExtra("classifiers as judges", "local") from None
        self.model = model
        self._path = model.partition("/")[2]
        self._torch = torch
        self._batch_size = batch_size
        self._tokenizer, self._net = _load(transformers, torch, self._path)
        self._labels = {int(n): str(label) for n, label in self._net.config.id2label.items()}
        self._longest = min(self._tokenizer.model_max_length, _positions(self._net.config))

    @classmethod
    def make(cls, model: str, _decoding: Decoding, options: EngineOptions) -> ClassifierEngine:
        """As `make_engine`."""
        return cls(model, batch_size=options.batch_size or 64)

    @property
    def labels(self) -> Sequence[str]:
        return tuple(self._labels.values())

    @property
    def address(self) -> str:
        """The folder and a fingerprint of its files; for a model of the hub, its commit."""
        return address_of(self._path, getattr(self._net.config, "_commit_hash", None))

    def rendered(self, messages: list[Message]) -> str | None:
        """None: it reads contents, not a prompt."""

    async def answer(self, requests: Iterator[Request], settle: Callable[[Response], None]) -> None:
        """Classify all; see `Engine.answer`. The work is done in a thread of its own."""
        while chunk := list(islice(requests, self._batch_size * _BATCHES_PER_CHUNK)):
            chunk.sort(key=lambda request: -sum(len(m["content"]) for m in request.messages))
            while chunk:
                batch, chunk = chunk[: self._batch_size], chunk[self._batch_size :]
                for response in await asyncio.to_thread(self._classify, batch):
                    settle(response)

    async def close(self) -> None:
        """Nothing to release: the weights go with the object."""

    def _classify(self, requests: Sequence[Request]) -> list[Response]:
        """One batch; when memory runs out, in halves."""
        try:
            return self._forward(requests)
        except self._torch.cuda.OutOfMemoryError:
            self._torch.cuda.empty_cache()
            half = len(requests) // 2
            if not half:
                raise EngineError("out of GPU memory with one answer at a time") from None
            self._batch_size = half
            return self._classify(requests[:half]) + self._classify(requests[half:])

    def _forward(self, requests: Sequence[Request]) -> list[Response]:
        contents = [[message["content"] for message in each.messages] for each in requests]
        inputs = self._tokenizer(
            *map(list, zip(*contents, strict=True)),
            return_tensors="pt",
            padding=True,
            truncation=True,
            max_length=self._longest,
        ).to(self._net.device)
        vocabulary = self._net.get_input_embeddings().weight.shape[0]
        if int(inputs["input_ids"].max()) >= vocabulary:
            raise EngineError(
                f"{self.model}: the tokenizer has tokens beyond the {vocabulary:,} that the "
                "weights know; give the folder the tokenizer that belongs to its weights"
            )
        with self._torch.inference_mode():
            shares = self._net(**inputs).logits.float().softmax(dim=-1).max(dim=-1)
        if not shares.values.isfinite().all():
            raise EngineError(
                f"{self.model}: it computes NaN or infinity in the place of shares; its weights "
                "are damaged"
            )
        found = zip(
            requests,
            shares.values.tolist(),
            shares.indices.tolist(),
            inputs["attention_mask"].sum(dim=-1).tolist(),
            strict=True,
        )
        return [
            Response(
                request,
                orjson.dumps({"label": self._labels[n], "share": share}).decode(),
                finish="stop",
                prompt_tokens=tokens,
            )
            for request, share, n, tokens in found
        ]


def _load(transformers: Any, torch: Any, model: str) -> tuple[Any, Any]:
    quiet(transformers)
    if model.startswith(("/", ".", "~")) and not Path(model).is_dir():
        raise ModelNotFound(f"cannot load {model}: there is no such folder")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(model, trust_remote_code=False)
        net, report = transformers.AutoModelForSequenceClassification.from_pretrained(
            model, output_loading_info=True, trust_remote_code=False
        )
    except Exception as error:  # a folder may hold anything, and each of its parsers has errors
        raise ModelNotFound(f"cannot load {model}: {why_not_loaded(error, model)}") from None
    if any("score" in key or "classifier" in key for key in report["missing_keys"]):
        raise ModelNotFound(f"{model} is no sequence classifier: it has no weights for one")
    if missing := sorted(report["missing_keys"]):  # they hold random numbers
        raise ModelNotFound(
            f"cannot load {model}: its weights lack {missing[0]} and {len(missing) - 1:,} others "
            "that its config.json asks for; copy or download both again"
        )
    if net.config.num_labels < 2:
        raise ModelNotFound(f"{model} is no classifier of two labels or more: it has one")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if net.config.pad_token_id is None:
        net.config.pad_token_id = tokenizer.pad_token_id
    return tokenizer, net.to(device(torch)).eval()


def _positions(config: Any) -> int:
    """Tokens that the model has places for; some keep two of them for themselves."""
    places = getattr(config, "max_position_embeddings", None)
    return places - 2 if isinstance(places, int) and places > 2 else _LONGEST
