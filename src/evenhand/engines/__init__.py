"""Engines: what answers requests. `make_engine` picks one by the prefix of the model's name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evenhand.engines.engine import Engine
from evenhand.errors import UnknownName
from evenhand.study.decoding import Decoding

PREFIXES = ("openai/", "hf/", "organism")


def check_model(model: str) -> None:
    """Whether there is an engine for a model of this name.

    Raises:
        UnknownName: there is none.
    """
    prefix, slash, name = model.partition("/")
    if model != "organism" and not (f"{prefix}{slash}" in PREFIXES and name):
        known = [p if p == "organism" else f"{p}{name or 'MODEL'}" for p in PREFIXES]
        raise UnknownName("model", model, known)


def make_engine(
    model: str,
    decoding: Decoding,
    *,
    base_urls: Sequence[str] = (),
    max_connections: int = 64,
    timeout: float = 120.0,
    batch_size: int = 64,
    judge: bool = False,
) -> Engine:
    """The engine for a model: "openai/NAME", "hf/ID-or-path" or "organism".

    Args:
        judge: the model is asked as a judge of answers; an endpoint may have a key of its own.

    Raises:
        UnknownName: there is no such prefix.
        EngineError, MissingExtra, UsageError: as the engine's own constructor.
    """
    check_model(model)
    # Imported here: a user of one engine need not have, or wait for, the packages of the others.
    if model.startswith("openai/"):
        from evenhand.engines.openai import OpenAIEngine

        return OpenAIEngine(
            model.removeprefix("openai/"),
            decoding,
            base_urls=base_urls,
            max_connections=max_connections,
            timeout=timeout,
            judge=judge,
        )
    from evenhand.engines.hf import HFEngine

    if model == "organism":
        folder = Path(__file__).parent.parent / "organism" / "model"
        return HFEngine(folder, decoding, name=model, batch_size=batch_size)
    return HFEngine(model.removeprefix("hf/"), decoding, batch_size=batch_size)
