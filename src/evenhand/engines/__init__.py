"""Engines: what answers requests. A model's name begins with that of its engine or service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from evenhand.engines.services import Service, services
from evenhand.errors import PluginError, UnknownName, UsageError
from evenhand.plugins import blamed, load_plugin, plugin_names

if TYPE_CHECKING:
    from evenhand.engines.engine import Engine
from evenhand.study.decoding import Decoding


def _class_for(service: Service) -> str:
    if service.own_server:
        return "OwnServer"
    return "HTTPEngine" if service.wire == "openai" else "OtherFormat"


ENGINES: dict[str, str] = {
    "openai": "evenhand.engines.http:HTTPEngine",
    "hf": "evenhand.engines.hf:HFEngine",
    "organism": "evenhand.engines.hf:Organism",
    "organism-2": "evenhand.engines.hf:SecondOrganism",
    **{
        name: f"evenhand.engines.http:{_class_for(service)}"
        for name, service in services().items()
        if name != "openai"
    },
    "inspect": "evenhand.engines.inspect:InspectEngine",
    "vllm": "evenhand.engines.vllm:VLLMEngine",
    "classifier": "evenhand.engines.classifier:ClassifierEngine",
}
"""First part of a model's name -> where its engine is; other packages add to it by entry points
in the group `evenhand.engines`."""
_ALONE = ("organism", "organism-2")
"""Engines with one model, whose name is that of the engine."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How to reach a model; each engine takes what concerns it.

    Attributes:
        base_urls: of an endpoint, up to and with "/v1"; the service's own if there is none.
        headers, query: sent with every request; their values are stored nowhere.
        max_connections: the most requests under way at once at each endpoint.
        timeout: seconds for one attempt.
        batch_size: the most conversations per forward pass of local weights; None for as many as
            memory holds and as bring speed.
        judge: the model is asked as a judge of answers; an endpoint may have a key of its own.
        chat_template: of local weights, in the place of their own.
        on: a Ray cluster for copies of local weights: "local", "auto" or its address; None for this
            machine without Ray.
        workers: how many copies of local weights, each in a process of its own; 1 for this process.
            None leaves it to the engine, and on Ray means as many as fit.
        gpus_per_worker: GPUs of each copy on Ray; None for 1 where there are GPUs.
        copies: how many copies share this machine's memory.
    """

    base_urls: Sequence[str] = ()
    headers: Mapping[str, str] | None = None
    query: Mapping[str, str] | None = None
    max_connections: int = 64
    timeout: float = 120.0
    batch_size: int | None = None
    judge: bool = False
    chat_template: str | None = None
    on: str | None = None
    workers: int | None = None
    gpus_per_worker: float | None = None
    copies: int = 1


def engine_names() -> list[str]:
    """What a model's name may begin with."""
    return plugin_names("engine", ENGINES)


def engine_type(model: str) -> Any:
    """The class of the engine for a model of this name: what it is like, without making it.

    It has `is_local` (weights in this process), `is_paid` (answers cost money), `default_suite`
    (of benchmarks), `takes_response_format` (a JSON schema in the body) and `make`, with the
    arguments of `make_engine`.

    Raises:
        UsageError: there is none.
        PluginError: another package's engine cannot be loaded.
    """
    prefix, slash, name = model.partition("/")
    known = [prefix] if prefix in ENGINES else engine_names()
    if prefix not in known or bool(slash and name) == (prefix in _ALONE):
        raise _unknown(model)
    found = load_plugin("engine", prefix, ENGINES)
    for attribute in ("is_local", "is_paid", "default_suite", "takes_response_format", "make"):
        if not hasattr(found, attribute):
            raise PluginError(f'engine "{prefix}" has no {attribute}; see docs/extending.md')
    return found


def _unknown(model: str) -> UsageError:
    """What to say of a name that no engine goes by: the nearest one, or how names begin."""
    prefix, slash, name = model.partition("/")
    known = engine_names()
    if prefix in known or get_close_matches(prefix.casefold(), known, n=1, cutoff=0.7):
        shown = [p if p in _ALONE else f"{p}/{name or 'MODEL'}" for p in known]
        return UnknownName("model", model, shown)
    if (family := _family(model)) is not None:
        return UsageError(f'unknown model "{model}"; did you mean "{family}"?')
    whole = model if name or not slash else prefix
    return UsageError(
        f'unknown model "{model}"; a name begins with its engine: openai/{whole} for an endpoint '
        f"that speaks OpenAI's format, hf/{whole} for local weights"
    )


_FAMILIES = {
    "claude": "anthropic",
    "gemini": "gemini",
    "google": "gemini",
    "command-r": "cohere",
    "grok": "xai",
    "sonar": "perplexity",
    "kimi": "moonshot",
}
"""How names of models that are served by one company begin, and its prefix here."""
_BY_INSPECT = ("bedrock", "vertex", "sagemaker", "cloudflare", "goodfire", "watsonx")
"""Providers that inspect-ai reaches."""


def _family(model: str) -> str | None:
    """The whole name of a model whose family or provider is known, or None."""
    prefix, slash, name = model.partition("/")
    if prefix.casefold() in _BY_INSPECT and slash:
        return f"inspect/{model}"
    for start, engine in _FAMILIES.items():
        if prefix.casefold().startswith(start):
            return f"{engine}/{name if slash else model}"
    return None


def make_engine(model: str, decoding: Decoding, options: EngineOptions | None = None) -> Engine:
    """The engine for a model: "openai/NAME", "anthropic/NAME", "hf/ID-or-path", "organism", ...

    Raises:
        UsageError: there is no such engine or service.
        EngineError, MissingExtra, UsageError: as the engine's own constructor.
    """
    options = options or EngineOptions()
    kind = engine_type(model)
    if decoding.dtype is not None and not kind.is_local:
        raise UsageError(f"--dtype is for local weights, and {model} is behind an API")
    if kind.is_local and (options.on is not None or (options.workers or 1) > 1):
        from evenhand.engines.workers import WorkersEngine  # which makes engines of its own

        return WorkersEngine(model, decoding, options)
    prefix = model.partition("/")[0]
    with blamed("engine", prefix, ENGINES):
        engine: Engine = kind.make(model, decoding, options)
    if prefix in ENGINES:
        return engine
    from evenhand.engines.engine import ForeignEngine  # loads pydantic

    return ForeignEngine(prefix, engine)
