"""The decoding loop of local weights: rows settle when they end, and leave the batch.

`generate` of transformers prepares everything else: the settings, what changes the scores, what
ends an answer. It hands over to `Decoder.decode` where it would begin to sample.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers.cache_utils import DynamicCache, DynamicLayer

_ROOM = 32
"""Tokens by which the cache of a batch grows at least."""
_PRESENT = 0.75
"""Share of the rows that must still be writing; below it the finished ones leave the batch, which
copies the cache of the others."""
_GAIN = 0.9
"""Share of the prompts' tokens, at most, that must remain to be computed for a shared prefix to be
computed apart: the second pass and the copies cost something, too. Where 0.86, 0.75 and 0.56 of the
tokens remained, so did 0.89, 0.72 and 0.57 of the CPU time (64 rows, a million weights)."""
_SAVED = 512
"""Tokens, at least, that a shared prefix must save."""


@dataclass(frozen=True)
class PaddedPrompts:
    """Prompts side by side, as a model reads them.

    Attributes:
        ids: (rows, width); padding stands before the prompt, or after its shared part.
        mask: (rows, width); 0 for padding.
        shared: tokens at the beginning of each row that belong to the shared part.
        groups: (rows,); rows with the same number have the same shared part.
    """

    ids: NDArray[np.int64]
    mask: NDArray[np.int64]
    shared: int
    groups: NDArray[np.int64]

    def tensors(self, torch: Any, device: Any) -> tuple[Any, Any]:
        """`ids` and `mask` on a device."""
        ids, mask = (torch.as_tensor(each, device=device) for each in (self.ids, self.mask))
        return ids, mask


def side_by_side(prompts: Sequence[Sequence[int]], pad: int, *, share: bool) -> PaddedPrompts:
    """Prompts of at least one token, padded to one width.

    Args:
        share: whether prompts that begin alike may be divided after what they share.
    """
    lengths = np.array([len(prompt) for prompt in prompts])
    shared = _division(prompts)[0] if share else 0
    head = np.minimum(lengths - 1, shared)
    tail = lengths - head
    width = shared + int(tail.max())
    ids = np.full((len(prompts), width), pad, dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        for begin, end, part in (
            (shared - head[row], shared, prompt[: head[row]]),
            (width - tail[row], width, prompt[head[row] :]),
        ):
            ids[row, begin:end] = part
            mask[row, begin:end] = 1
    groups = np.unique(ids[:, :shared], axis=0, return_inverse=True)[1] if shared else lengths * 0
    return PaddedPrompts(ids, mask, shared, groups.reshape(-1))


def tokens_to_read(prompts: Sequence[Sequence[int]], *, share: bool) -> int:
    """How many tokens are computed until the prompts are read, padding included."""
    return _division(prompts)[1] if share else len(prompts) * max(map(len, prompts))


def _division(prompts: Sequence[Sequence[int]]) -> tuple[int, int]:
    """Tokens after which to divide the prompts, 0 where that would not be faster; the tokens that
    are computed then, padding included."""
    ordered = sorted(map(tuple, prompts))
    lengths = [len(prompt) for prompt in ordered]
    width = max(lengths)
    table = np.full((len(ordered), width + 1), -1, dtype=np.int64)
    for row, prompt in enumerate(ordered):
        table[row, : len(prompt)] = prompt
    table[::2, -1] = -2  # so that each two differ somewhere
    alike = np.argmin(table[1:] == table[:-1], axis=1)
    plain = len(prompts) * width
    best, cost = 0, plain
    enough = min(plain * _GAIN, plain - _SAVED)
    for at in np.unique(np.minimum(alike, min(lengths) - 1)):
        parts = 1 + int((alike < at).sum())
        total = int(parts * at + len(prompts) * (width - at))
        if at > 0 and total < min(cost, enough):
            best, cost = int(at), total
    return best, cost


class _RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer, with room for tokens to come.

    `DynamicLayer` itself copies all that it holds for each new token.
    """

    def __init__(self) -> None:
        super().__init__()
        self.keys: Any
        self.values: Any
        self._all: list[Any] = []

    def update(self, key_states: Any, value_states: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
        """Add tokens; all keys and values so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        begin = self.get_seq_length()
        end = begin + key_states.shape[-2]
        if not self._all or self._all[0].shape[-2] < end:
            room = end + max(_ROOM, end // 4)
            held = (self.keys, self.values) if begin else (key_states, value_states)
            self._all = [_grown(each[..., :begin, :], room) for each in held]
        keys, values = self._all
        keys[..., begin:end, :] = key_states
        values[..., begin:end, :] = value_states
        self.keys, self.values = keys[..., :end, :], values[..., :end, :]
        return self.keys, self.values

    def reorder_cache(self, beam_idx: Any) -> None:
        """Keep these rows, in this order."""
        end = self.get_seq_length()
        held = (each.index_select(0, beam_idx) for each in (self.keys, self.values))
        keys, values = self._all = [_grown(each, end + _ROOM) for each in held]
        self.keys, self.values = keys[..., :end, :], values[..., :end, :]


def _grown(held: Any, length: int) -> Any:
    """A tensor that begins with the tokens held, and has room for further ones."""
    grown = held.new_empty((*held.shape[:-2], length, held.shape[-1]))
    grown[..., : held.shape[-2], :] = held
    return grown


def new_cache(config: Any) -> Any:
    """An empty cache for a model of this configuration."""
    cache = DynamicCache(config=config.get_text_config(decoder=True))
    cache.layers = [_RoomyLayer() if type(each) is DynamicLayer else each for each in cache.layers]
    return cache


def has_plain_cache(config: Any) -> bool:
    """Whether every layer attends to all tokens: where some see a window, padding amid a prompt
    would take up room in it."""
    return all(type(layer) is _RoomyLayer for layer in new_cache(config).layers)


class Draws:
    """Random numbers of their own for each row, so that no answer depends on its neighbors.

    Args:
        seeds: of the rows; None of one whose numbers nobody can repeat.
    """

    def __init__(self, seeds: Sequence[Sequence[int] | None]) -> None:
        self._seeds = seeds
        self._streams: list[np.random.Generator] = []
        self._block = np.empty((len(seeds), 0))

    def at(self, step: int, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """A number from 0 to 1, both excluded, for each of these rows."""
        if not self._streams:
            self._streams = [np.random.Generator(np.random.Philox(seed)) for seed in self._seeds]
        while step >= self._block.shape[1]:
            more = [stream.random(_ROOM) for stream in self._streams]
            self._block = np.hstack([self._block, np.array(more)])
        # Not 1 in 32 bits either.
        drawn: NDArray[np.float64] = np.clip(self._block[rows, step], 1e-9, 1 - 2**-20)
        return drawn


class Decoder:
    """Writes the answers of one batch.

    Args:
        rows: the prompts.
        draws: the random numbers, where words are sampled.
        ended: called with a row and its new tokens when it has ended.
        stopped: whether to give up, with no further row ended.
    """

    def __init__(
        self,
        rows: PaddedPrompts,
        draws: Draws,
        ended: Callable[[int, list[int]], None],
        stopped: Callable[[], bool],
    ) -> None:
        self._rows = rows
        self._draws = draws
        self._ended = ended
        self._stopped = stopped

    def decode(
        self,
        net: Any,
        input_ids: Any,
        logits_processor: Any,
        stopping_criteria: Any,
        generation_config: Any,
        **inputs: Any,
    ) -> Any:
        """Write until every row has ended; for `generate(custom_generate=...)`.

        `generate` gives by name what it would give to its own loop, and takes names beyond those
        for options of its caller's.
        """
        for unused in ("past_key_values", "use_cache", "synced_gpus"):
            inputs.pop(unused, None)
        mask, places = inputs.pop("attention_mask", None), inputs.pop("position_ids", None)
        cache = new_cache(net.config)

        def forward(ids: Any, mask: Any, places: Any) -> Any:
            """Scores of the next token, of each row."""
            output = net(
                input_ids=ids,
                attention_mask=mask,
                past_key_values=cache,
                use_cache=True,
                return_dict=True,
                **({} if places is None else {"position_ids": places}),
                **inputs,
            )
            return output.logits[:, -1].float()

        ids = input_ids
        scores = _read(forward, cache, self._rows, ids, mask, places)
        present = np.arange(len(ids))
        writing = np.ones(len(ids), dtype=bool)
        width = ids.shape[1]
        for step in count():
            scores = logits_processor(ids, scores)
            sampling = generation_config.do_sample
            token = self._sample(scores, step, present) if sampling else _likeliest(scores)
            ids = torch.cat([ids, token[:, None]], dim=1)
            ends = stopping_criteria(ids, scores).cpu().numpy() & writing
            if self._stopped():
                break
            for row in np.flatnonzero(ends):
                self._ended(int(present[row]), ids[row, width:].tolist())
            writing &= ~ends
            if not writing.any():
                break
            if mask is not None:
                mask = torch.nn.functional.pad(mask, (0, 1), value=1)
            if writing.mean() < _PRESENT:
                kept = np.flatnonzero(writing)
                rows = torch.as_tensor(kept, device=ids.device)
                cache.reorder_cache(rows)
                ids, mask, places = (
                    each if each is None else each.index_select(0, rows)
                    for each in (ids, mask, places)
                )
                present, writing = present[kept], writing[kept]
            places = None if places is None else places[:, -1:] + 1
            scores = forward(ids[:, -1:], mask, places)
        return input_ids

    def _sample(self, scores: Any, step: int, rows: NDArray[np.int64]) -> Any:
        """A token for each row, drawn by its own random number."""
        up_to = torch.softmax(scores, dim=-1).cumsum(dim=-1)
        check_numbers(up_to[:, -1])  # NaN where any score is
        drawn = torch.as_tensor(self._draws.at(step, rows), dtype=up_to.dtype).to(scores.device)
        return torch.searchsorted(up_to, drawn[:, None] * up_to[:, -1:], right=True)[:, 0]


def _likeliest(scores: Any) -> Any:
    """The token with the highest score of each row."""
    found = scores.max(dim=-1)
    check_numbers(found.values)  # NaN where any score is
    return found.indices


def first_scores(net: Any, rows: PaddedPrompts, takes: Container[str]) -> Any:
    """Scores of the first new token, (rows, vocabulary).

    Args:
        takes: the arguments of the network.
    """
    ids, mask = rows.tensors(torch, net.device)
    cache = new_cache(net.config) if rows.shared else None
    further = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}

    def forward(ids: Any, mask: Any, places: Any) -> Any:
        known = {} if "position_ids" not in takes else {"position_ids": places}
        known |= {} if cache is None else {"past_key_values": cache}
        output = net(
            input_ids=ids, attention_mask=mask, use_cache=cache is not None, **known, **further
        )
        return output.logits[:, -1].float()

    scores = _read(forward, cache, rows, ids, mask, (mask.cumsum(-1) - 1).clamp(min=0))
    check_numbers(scores.amax(dim=-1))  # NaN where any score is
    return scores


def _read(
    forward: Callable[..., Any], cache: Any, rows: PaddedPrompts, ids: Any, mask: Any, places: Any
) -> Any:
    """Read the prompts, the shared part of each group once; scores of the first new token."""
    at = rows.shared
    if not at:
        return forward(ids, mask, places)
    _, first = np.unique(rows.groups, return_index=True)
    of_groups = torch.as_tensor(first, device=ids.device)
    forward(*(each if each is None else each[of_groups, :at] for each in (ids, mask, places)))
    cache.reorder_cache(torch.as_tensor(rows.groups, device=ids.device))
    return forward(ids[:, at:], mask, None if places is None else places[:, at:])


def check_numbers(scores: Any) -> None:
    """Check that scores are finite: of others always the same token would be chosen.

    Raises:
        FloatingPointError: one is not.
    """
    if not scores.isfinite().all():
        raise FloatingPointError(
            "it computes NaN or infinity in the place of scores; its weights are damaged, or need "
            "--dtype float32"
        )
