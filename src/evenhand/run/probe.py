"""Is the identity represented though not said? A probe of local weights, layer by layer.

The state that the model has reached at the end of the prompt is taken from every layer, and linear
discriminant analysis learns to tell the identities of a category apart by it. It is tested on
questions, and on names, that it has not learned from. Each question's states are centered first, as
every identity is asked it, so that nothing but the identity tells them apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any, Protocol, TypeGuard

import numpy as np
from numpy.typing import NDArray

from evenhand.benchmarks.item import Item
from evenhand.engines.engine import Engine
from evenhand.stats import item_mean
from evenhand.store.store import Store
from evenhand.study.cue import Condition
from evenhand.study.plan import Plan
from evenhand.study.recognition import group_of

MOST_ITEMS = 40
"""Questions that the probe reads, of all benchmarks together."""
_FOLDS = 5
_META = "probe"


class ShowsStates(Engine, Protocol):
    """An engine that shows what its layers hold."""

    def last_states(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        """(prompts, layers, width): the states at the end of each rendered prompt."""
        ...


@dataclass(frozen=True)
class ProbeLayer:
    """How well a linear probe of one layer predicts the identities of a category.

    Attributes:
        cue, defense: ids of those that the prompts were built with.
        category: of the identities that were told apart.
        layer: 0 for the embedding.
        layers: the last layer.
        accuracy: percent of held-out prompts classified correctly.
        interval: of it at 95%, over questions, or over slots of names.
        chance: accuracy of guessing, in percent.
    """

    cue: str
    defense: str
    category: str
    layer: int
    layers: int
    accuracy: float
    interval: tuple[float, float]
    chance: float


def can_probe(engine: Engine) -> TypeGuard[ShowsStates]:
    """Whether the engine shows what its layers hold, and scikit-learn (extra `probe`) is there."""
    return hasattr(engine, "last_states") and find_spec("sklearn") is not None


async def probe(plan: Plan, engine: ShowsStates, store: Store) -> None:
    """Probe every cue and defense, and write down what was found."""
    import asyncio  # reports read the layers, and ask nobody

    found = await asyncio.to_thread(lambda: list(_probe(plan, engine)))
    store.set_document(_META, [asdict(layer) for layer in found])


def read_probe(store: Store) -> list[ProbeLayer]:
    """What the last probe of a run has found; empty without one."""
    stored = store.document(_META) or []
    return [ProbeLayer(**{**each, "interval": tuple(each["interval"])}) for each in stored]


def _probe(plan: Plan, engine: ShowsStates) -> Iterator[ProbeLayer]:
    items = [item for item in plan.items if item.scorer != "relevance"][:MOST_ITEMS]
    settings = dict.fromkeys((c.cue.id, c.defense.id) for c in plan.conditions)
    for cue, defense in settings:
        groups: dict[str, list[Condition]] = {}
        for c in plan.conditions:
            if (c.cue.id, c.defense.id, c.identity.kind) == (cue, defense, "identity"):
                name, _ = group_of(c.identity)
                category = c.identity.category if name == c.identity.id else "names"
                groups.setdefault(category, []).append(c)
        for category, people in groups.items():
            classes = {group_of(c.identity)[0] for c in people}
            if len(classes) > 1 and len(items) >= _FOLDS:
                for layer, hits, folds in _layers(engine, people, items):
                    mean = item_mean(100.0 * hits, folds)
                    low, high = mean.interval
                    yield ProbeLayer(
                        cue=cue,
                        defense=defense,
                        category=category,
                        layer=layer[0],
                        layers=layer[1],
                        accuracy=mean.mean,
                        interval=(max(low, 0.0), high),
                        chance=100 / len(classes),
                    )


def _layers(
    engine: ShowsStates, people: Sequence[Condition], items: Sequence[Item]
) -> Iterator[tuple[tuple[int, int], NDArray[np.bool_], NDArray[np.int64]]]:
    """(layer, last layer), hits and what is held out together, for each layer in turn."""
    prompts = [
        engine.rendered(c.messages(item.prompt, item.slot or 0)) or ""
        for item in items
        for c in people
    ]
    states = engine.last_states(prompts).astype(np.float64)
    states = states.reshape(len(items), len(people), *states.shape[1:])
    states -= states.mean(axis=1, keepdims=True)
    who = np.tile([group_of(c.identity)[0] for c in people], len(items))
    shown = [n if item.slot is None else item.slot for n, item in enumerate(items)]
    folds = np.repeat(np.array(shown, dtype=np.int64), len(people))
    last = states.shape[2] - 1
    for layer in range(last + 1):
        rows = states[:, :, layer].reshape(len(who), -1)
        yield (layer, last), _held_out(rows, who, folds), folds


def _held_out(rows: NDArray[np.float64], who: Any, folds: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each row is classified correctly by an analysis that has not seen its fold."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.model_selection import GroupKFold, cross_val_predict

    if np.allclose(rows, 0.0):  # a layer that sees the last token alone, the same for all
        return np.asarray(who == who[0])
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    parts = GroupKFold(min(_FOLDS, len(np.unique(folds))))
    return np.asarray(cross_val_predict(model, rows, who, groups=folds, cv=parts) == who)
