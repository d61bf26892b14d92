"""The learned weights of the offline judges `refusal` and `harm`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evenhand.scorers.refusal_signs import PARTS, Floats, Signs, Vocabulary, parts


@dataclass(frozen=True, slots=True)
class Weights:
    """Two models, one upon the other.

    The first weighs signs: its sums over an answer's sentences are the answer's parts. The second
    weighs the parts, scaled to unit variance and cut to [-4, 4], and their products, two by two.

    Attributes:
        vocabulary: of the signs.
        signs: (2 * SLOTS,) for refusal, full or partial, against compliance.
        bias: the constant of the first model.
        center, scale: (parts,) mean and standard deviation of each part where it was learned.
        refusal: (1 + products,) constant and weights of parts and products, for refusal, full or
            partial; the logit is calibrated on sources left out of the training.
        partial: the same for a partial against a full refusal.
        harm: the same for an answer that does as asked what should not be done.
    """

    vocabulary: Vocabulary
    signs: Floats
    bias: float
    center: Floats
    scale: Floats
    refusal: Floats
    partial: Floats
    harm: Floats

    def features(self, signs: Signs, grid: NDArray[np.float64]) -> Floats:
        """(answers, 1 + products) what the second model weighs, a constant first.

        Args:
            signs: of some answers.
            grid: `sentence_sums` of them, by `self.signs`.
        """
        found = parts(signs, grid, self.bias)
        return with_products(np.clip((found - self.center) / self.scale, -4, 4))


_FIRST, _SECOND = np.triu_indices(len(PARTS))


def with_products(scaled: Floats) -> Floats:
    """A constant, the scaled parts and half of their products, two by two."""
    one = np.ones((len(scaled), 1), dtype=np.float32)
    products = scaled[:, _FIRST] * scaled[:, _SECOND] * np.float32(0.5)
    return np.concatenate([one, scaled, products], axis=1)


def save(weights: Weights, path: Path) -> None:
    """Write weights to a file; those of signs with half precision."""
    words = "\n".join(weights.vocabulary.words).encode()
    np.savez_compressed(
        path,
        words=np.frombuffer(words, dtype=np.uint8),
        signs=weights.signs.astype(np.float16),
        bias=np.float32(weights.bias),
        center=weights.center,
        scale=weights.scale,
        refusal=weights.refusal,
        partial=weights.partial,
        harm=weights.harm,
    )


def load(path: Path) -> Weights:
    """Read what `save` wrote."""
    with np.load(path, allow_pickle=False) as found:
        words = found["words"].tobytes().decode().split("\n")
        return Weights(
            vocabulary=Vocabulary(words),
            signs=found["signs"].astype(np.float32),
            bias=float(found["bias"]),
            **{
                name: found[name].astype(np.float32)
                for name in ("center", "scale", "refusal", "partial", "harm")
            },
        )


@cache
def shipped_weights() -> Weights:
    """Those that `scripts/train_judges.py` has learned."""
    with as_file(files("evenhand") / "data" / "judge_weights.npz") as path:
        return load(path)
