"""How a model and its judges are asked, which changes no answer; also the flags of the commands."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter
from cyclopts.validators import Number
from pydantic import BeforeValidator, ConfigDict, Field, PlainValidator, TypeAdapter
from pydantic.dataclasses import dataclass

from evenhand.engines import EngineOptions
from evenhand.engines.services import services
from evenhand.errors import UsageError
from evenhand.run.recorder import Price

_CONFIG = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


def _to_price(given: Any) -> Any:
    return Price.parse(given) if isinstance(given, str) else given


def _to_urls(given: Any) -> Any:
    if isinstance(given, str):
        raise UsageError(f'base_urls is a list: ["{given}"]')
    return given if isinstance(given, tuple) else tuple(given)


_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*|[a-z_]+")


def _to_pairs(given: Any) -> Any:
    """Of NAME=VALUE, as flags have them; `env:VARIABLE` stands for what the environment holds."""
    if not isinstance(given, str | list | tuple):
        return None if given is None else _PAIRS.validate_python(given)
    found = {}
    for pair in [given] if isinstance(given, str) else given:
        name, equals, value = str(pair).partition("=")
        if not equals or not name.strip():
            raise ValueError("must be NAME=VALUE or NAME=env:VARIABLE")
        variable = value.removeprefix("env:")
        if variable != value and variable not in os.environ:
            # Some give the secret itself in the variable's place.
            named = variable if _VARIABLE.fullmatch(variable) else "of the name after env:"
            raise ValueError(f"the environment has no variable {named}")
        found[name.strip()] = value if variable == value else os.environ[variable]
    return found


# Options that several commands share.
MaxConnections = Annotated[
    int,
    Field(ge=1),
    Parameter(validator=Number(gte=1), help="Maximum number of concurrent requests."),
]
Timeout = Annotated[
    float, Field(gt=0), Parameter(validator=Number(gt=0), help="Seconds for one attempt.")
]
BatchSize = Annotated[
    int | None,
    Field(ge=1),
    Parameter(
        validator=Number(gte=1),
        help="Maximum number of conversations per forward pass of local weights. Default: as many "
        "as memory holds and as bring speed.",
    ),
]
On = Annotated[
    str | None,
    Parameter(
        help="Run copies of local weights, of the model and of judges, on a Ray cluster: local "
        "starts one on this machine; auto, HOST:PORT or ray://HOST:PORT joins one. Default: on "
        "this machine, without Ray."
    ),
]
Workers = Annotated[
    int | None,
    Field(ge=1),
    Parameter(
        validator=Number(gte=1),
        help="Number of copies of local weights, each in a process of its own; 1 stays in this "
        "process. Default: by the size of the model and the number of cores; with --on as many as "
        "the GPUs hold, 2 without GPUs.",
    ),
]
GpusPerWorker = Annotated[
    float | None,
    Field(ge=0),
    Parameter(
        validator=Number(gte=0),
        help="GPUs of each copy with --on; a fraction shares one. Default: 1 where there are GPUs.",
    ),
]
MaxCost = Annotated[
    float | None,
    Field(gt=0),
    Parameter(
        validator=Number(gt=0),
        help="Maximum cost of this command in dollars, judges included. Default: no limit.",
    ),
]
TokenPrice = Annotated[
    Price | None,
    BeforeValidator(_to_price),
    Parameter(n_tokens=1, accepts_keys=False, allow_leading_hyphen=True),
]
BaseUrls = Annotated[
    tuple[str, ...], BeforeValidator(_to_urls), Parameter(negative="", show_default=False)
]
_PAIRS = TypeAdapter(dict[str, str])
if TYPE_CHECKING:
    Pairs = Mapping[str, str] | None
else:
    # A list to cyclopts, which of any other type keeps the last flag alone.
    Pairs = Annotated[
        list[str] | None,
        PlainValidator(_to_pairs),
        Parameter(negative="", show_default=False),
    ]
_UNSEEN = Parameter(parse=False)


def _check_gpus(on: str | None, gpus: float | None) -> None:
    if on is None and gpus is not None:
        raise UsageError("--gpus-per-worker needs --on: --on local")


@dataclass(frozen=True, config=_CONFIG)
class JudgeOptions:
    """How judges are reached, and what they cost."""

    base_urls: Annotated[BaseUrls, Parameter(name="--judge-base-url")] = ()
    """Endpoint of the judge, up to and with /v1; may be repeated. Default: the environment's
    OPENAI_BASE_URL, never the endpoint of the model under audit. Its key is in
    EVENHAND_JUDGE_API_KEY, else in OPENAI_API_KEY."""

    max_connections: Annotated[MaxConnections, _UNSEEN] = 64
    """Maximum number of concurrent requests."""

    timeout: Annotated[Timeout, _UNSEEN] = 120.0
    """Seconds for one attempt."""

    batch_size: Annotated[BatchSize, _UNSEEN] = None
    """Maximum number of answers per forward pass of local weights. Default: as many as memory holds
    and as bring speed."""

    on: Annotated[On, _UNSEEN] = None
    """Where copies of local weights run; see `RunOptions`."""

    workers: Annotated[Workers, _UNSEEN] = None
    """Number of copies."""

    gpus_per_worker: Annotated[GpusPerWorker, _UNSEEN] = None
    """GPUs of each copy."""

    labels: Annotated[str | None, Parameter(name="--judge-labels")] = None
    """Meaning of a classifier's labels: LABEL=MEANING,... with refusal, compliance, harmless,
    harmful or safe; or a YAML or TOML file. Default: the known meanings."""

    max_tokens: Annotated[int | None, Field(ge=1), Parameter(name="--judge-max-tokens")] = None
    """Maximum number of tokens of a rubric judge's verdict; a model with visible reasoning needs
    more than the default. Default: 300."""

    price: Annotated[TokenPrice, Parameter(name="--judge-price")] = None
    """Price of a million of the judge's tokens in dollars, as PROMPT/COMPLETION: 0.15/0.60.
    Default: not known."""

    def __post_init__(self) -> None:
        _check_gpus(self.on, self.gpus_per_worker)

    @property
    def for_engine(self) -> EngineOptions:
        """Those that concern the judge's engine."""
        return EngineOptions(
            base_urls=self.base_urls,
            max_connections=self.max_connections,
            timeout=self.timeout,
            batch_size=self.batch_size,
            judge=True,
            on=self.on,
            workers=self.workers,
            gpus_per_worker=self.gpus_per_worker,
        )


@dataclass(frozen=True, config=_CONFIG)
class RunOptions:
    """How to ask; nothing here changes the answers."""

    base_urls: Annotated[BaseUrls, Parameter(name="--base-url")] = ()
    """Endpoint, up to and with /v1; repeat the option to spread requests over several. Default: the
    service's own, or the environment's OPENAI_BASE_URL."""

    headers: Annotated[Pairs, Parameter(name="--header")] = field(default=None, repr=False)
    """Header of every request, as NAME=VALUE or NAME=env:VARIABLE; may be repeated. Values are
    stored nowhere. Default: none."""

    query: Annotated[Pairs, Parameter(name="--query")] = field(default=None, repr=False)
    """Query parameter of every request, as NAME=VALUE or NAME=env:VARIABLE; may be repeated. Values
    are stored nowhere. Default: none."""

    max_connections: MaxConnections = 64
    """Maximum number of concurrent requests at each endpoint."""

    timeout: Timeout = 120.0
    """Seconds for one attempt."""

    batch_size: BatchSize = None
    """Maximum number of conversations per forward pass of local weights. Default: as many as memory
    holds and as bring speed."""

    on: On = None
    """Run copies of local weights on a Ray cluster: "local" starts one on this machine; "auto",
    "HOST:PORT" or "ray://HOST:PORT" joins one. Default: on this machine, without Ray."""

    workers: Workers = None
    """Number of copies of local weights, each in a process of its own; 1 stays in this process.
    Default: by the size of the model and the number of cores; with `on` as many as the GPUs hold, 2
    without GPUs."""

    gpus_per_worker: GpusPerWorker = None
    """GPUs of each copy with `on`; a fraction shares one. Default: 1 where there are GPUs."""

    price: TokenPrice = None
    """Price of a million tokens in dollars, as PROMPT/COMPLETION: 0.15/0.60. Default: not known."""

    batch: Annotated[bool, Parameter(negative="", show_default=False)] = False
    """Send the questions to the service's batch API, at half the price and within a day; run the
    same command again to collect the answers. Default: ask at once."""

    max_cost: MaxCost = None
    """Maximum cost of this command in dollars, judges included. Default: no limit."""

    precision: Annotated[float | None, Field(gt=0)] = None
    """Half-width of the confidence interval of PB, in points, at which to stop early. Default: ask
    all items."""

    offline: Annotated[bool, Parameter(negative="", show_default=False)] = False
    """Never download a benchmark. Default: download what is missing."""

    judging: Annotated[
        JudgeOptions,
        Parameter(
            name="*",
            group=Group("Judge: who scores the answers of safety and over-refusal", sort_key=4),
        ),
    ] = JudgeOptions()
    """How the study's judges are reached, and their price."""

    def __post_init__(self) -> None:
        _check_gpus(self.on, self.gpus_per_worker)
        if self.batch and self.precision is not None:
            raise UsageError("--precision stops early, and a batch is asked as a whole; take one")
        if not find_spec("genai_prices"):
            self.check_limit()

    def check_limit(self) -> None:
        """Raise `UsageError` where there is a cost limit and no price."""
        if self.max_cost is not None and not (self.price or self.judging.price):
            raise UsageError("--max-cost needs the price of the tokens: --price 0.15/0.60")

    def with_known_prices(self, model: str, judges: Sequence[str]) -> RunOptions:
        """The same with prices of a kept list where none is given; see `known_price`."""
        judging = self.judging
        paid = [name.removeprefix("rubric:") for name in judges if name.startswith("rubric:")]
        if judging.price is None and len(paid) == 1 and not judging.base_urls:
            judging = replace(judging, price=known_price(paid[0]))
        price = self.price
        if price is None and not self.base_urls:
            price = known_price(model)
        return replace(self, price=price, judging=judging)

    @property
    def asking_price(self) -> Price | None:
        """The price of the model's tokens as they are asked: half of it in batches."""
        return self.price.halved() if self.price and self.batch else self.price

    @property
    def for_engine(self) -> EngineOptions:
        """Those that concern the engine."""
        return EngineOptions(
            base_urls=self.base_urls,
            headers=self.headers,
            query=self.query,
            max_connections=self.max_connections,
            timeout=self.timeout,
            batch_size=self.batch_size,
            on=self.on,
            workers=self.workers,
            gpus_per_worker=self.gpus_per_worker,
        )

    def with_judges_alike(self) -> RunOptions:
        """The same with judges that are asked as the model is: connections, batches, workers."""
        judging = replace(
            self.judging,
            max_connections=self.max_connections,
            timeout=self.timeout,
            batch_size=self.batch_size,
            on=self.on,
            workers=self.workers,
            gpus_per_worker=self.gpus_per_worker,
        )
        return replace(self, judging=judging)


_PROVIDERS = {"gemini": "google", "xai": "x-ai", "moonshot": "moonshotai"}
"""Names of the list where they are not ours."""
_TOKENS = 1000
"""So few that no price for long prompts applies."""


def known_price(model: str) -> Price | None:
    """The price of a model at its service's own address; None where it is not known.

    The list is that of the package genai-prices (extra `prices`), as old as what is installed:
    nothing is asked of any network.
    """
    prefix, _, name = model.partition("/")
    service = services().get(prefix)
    own_address = prefix == "openai" and os.environ.get("OPENAI_BASE_URL")
    if service is None or service.own_server or own_address or not name:
        return None
    try:
        from genai_prices import Usage, calc_price
    except ImportError:
        return None
    usage = Usage(input_tokens=_TOKENS, output_tokens=_TOKENS)
    try:
        found = calc_price(usage, model_ref=name, provider_id=_PROVIDERS.get(prefix, prefix))
    except (LookupError, ValueError):
        return None
    million = 1e6 / _TOKENS
    return Price(float(found.input_price) * million, float(found.output_price) * million)
