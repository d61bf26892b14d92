"""The options that several verbs share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from cyclopts import Group, Parameter
from cyclopts.validators import Number

from evenhand.audit import RunOptions
from evenhand.engines import engine_type
from evenhand.errors import UnknownName, UsageError
from evenhand.judges.run import Judging
from evenhand.run.recorder import Price
from evenhand.study.decoding import PRESETS
from evenhand.study.entry import validate
from evenhand.study.study import Baseline, Study, read_study

_STUDY = Group("Study: what is asked", sort_key=1)
_DECODING = Group("Decoding: how the model picks its words", sort_key=2)
_RUN = Group("Run: how it is asked", sort_key=3)

Format = Literal["text", "json"]

_AT_LEAST_1 = Number(gte=1)
_AT_LEAST_0 = Number(gte=0)
_ABOVE_0 = Number(gt=0)


def _names(*names: str, help: str) -> Any:
    return Parameter(name=list(names), group=_STUDY, negative="", help=help)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class StudyFlags:
    """What is asked. A flag that is not given leaves the study file, or the default, as it is."""

    benchmark: Annotated[
        tuple[str, ...] | None,
        _names(
            "--benchmark",
            "--benchmarks",
            "-b",
            help="Benchmark, suite, or file of your own (.jsonl, .csv); repeat, or separate by "
            "commas. Default: demo for the organism, else paper.",
        ),
    ] = None
    identity: Annotated[
        tuple[str, ...] | None,
        _names(
            "--identity",
            "--identities",
            "-i",
            help='Identity, category, "religion*age" for intersections, or all. Default: all.',
        ),
    ] = None
    identities_file: Annotated[
        Path | None,
        Parameter(group=_STUDY, help="YAML or TOML file of your own identities."),
    ] = None
    placebos: Annotated[
        bool | None,
        Parameter(
            group=_STUDY,
            negative="--no-placebos",
            help="Ask on behalf of attributes that cannot matter, too.",
        ),
    ] = None
    cue: Annotated[
        tuple[str, ...] | None,
        _names(
            "--cue",
            "--cues",
            "-c",
            help='How the model is told: system, user, memory, history, third-person, "memory-*" '
            "for every wording, or all. Default: system.",
        ),
    ] = None
    cues_file: Annotated[
        Path | None, Parameter(group=_STUDY, help="YAML or TOML file of your own cues.")
    ] = None
    baseline: Annotated[
        Baseline | None,
        Parameter(
            group=_STUDY,
            help="This option sets what the unidentified user's conversation holds where a cue "
            'stands in the system prompt: none, or neutral ("You are a helpful assistant."), for '
            "models whose chat template inserts a system prompt of its own. Default: none.",
        ),
    ] = None
    defense: Annotated[
        tuple[str, ...] | None,
        Parameter(
            name=["--defense", "-d"],
            group=_STUDY,
            negative="",
            help="Defense for the system prompt: a name, none, or a sentence. Default: none.",
        ),
    ] = None
    defenses_file: Annotated[
        Path | None, Parameter(group=_STUDY, help="YAML or TOML file of your own defenses.")
    ] = None
    samples: Annotated[
        int | None,
        Parameter(group=_STUDY, validator=_AT_LEAST_1, help="Answers per cell. Default: 1."),
    ] = None
    limit: Annotated[
        int | None,
        Parameter(
            group=_STUDY,
            validator=_AT_LEAST_1,
            help="The most items of each benchmark, a fixed random choice.",
        ),
    ] = None
    shots: Annotated[
        int | None,
        Parameter(group=_STUDY, validator=_AT_LEAST_0, help="Worked examples. Default: 0."),
    ] = None
    seed: Annotated[
        int | None, Parameter(group=_STUDY, help="Of the choice and order of items. Default: 0.")
    ] = None
    preset: Annotated[
        str | None,
        Parameter(
            group=_DECODING,
            help="greedy (default), or paper: top-k 10, 300 tokens.",
        ),
    ] = None
    temperature: Annotated[
        float | None, Parameter(group=_DECODING, validator=_AT_LEAST_0, help="0 is greedy.")
    ] = None
    top_k: Annotated[int | None, Parameter(group=_DECODING, validator=_AT_LEAST_1)] = None
    top_p: Annotated[float | None, Parameter(group=_DECODING, validator=Number(gt=0, lte=1))] = None
    max_tokens: Annotated[
        int | None,
        Parameter(group=_DECODING, validator=_AT_LEAST_1, help="Of an answer. Default: 512."),
    ] = None
    decoding_seed: Annotated[
        int | None, Parameter(group=_DECODING, help="Seed sent along with sample 0, 1, ...")
    ] = None
    stop: Annotated[
        tuple[str, ...] | None,
        Parameter(group=_DECODING, negative="", help="String that ends an answer."),
    ] = None
    extra: Annotated[
        tuple[str, ...] | None,
        Parameter(group=_DECODING, negative="", help="Further body field, as KEY=JSON."),
    ] = None

    def study(self, target: str, judges: tuple[str, ...] | None = None) -> Study:
        """The study of a file or of a model, with the flags on top.

        Args:
            judges: names of judges, for the verbs that have that flag.

        Raises:
            UsageError: the file is invalid, or a name or a value is.
        """
        flags: dict[str, Any] = {
            "benchmarks": _split(self.benchmark),
            "identities": _split(self.identity),
            "identities_file": self.identities_file,
            "placebos": self.placebos,
            "cues": _split(self.cue),
            "cues_file": self.cues_file,
            "baseline": self.baseline,
            "defenses": self.defense,
            "defenses_file": self.defenses_file,
            "samples": self.samples,
            "limit": self.limit,
            "shots": self.shots,
            "seed": self.seed,
            "judges": judges,
        }
        given = {name: value for name, value in flags.items() if value is not None}
        given["decoding"] = self._decoding()
        if target.endswith((".yaml", ".yml", ".toml")):
            study = read_study(Path(target), given)
        else:
            study = validate(Study, {"model": target, **given}, "study")
        engine_type(study.model)
        return study

    def _decoding(self) -> dict[str, Any]:
        preset = {}
        if self.preset is not None:
            if self.preset not in PRESETS:
                raise UnknownName("decoding preset", self.preset, PRESETS)
            preset = PRESETS[self.preset].model_dump()
        flags = {
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": self.top_p,
            "max_tokens": self.max_tokens,
            "seed": self.decoding_seed,
            "stop": self.stop,
            "extra": _extra(self.extra) if self.extra else None,
        }
        return preset | {name: value for name, value in flags.items() if value is not None}


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class RunFlags:
    """How it is asked; nothing here changes the answers."""

    base_url: Annotated[
        tuple[str, ...],
        Parameter(
            group=_RUN,
            negative="",
            show_default=False,
            help="Endpoint, up to and with /v1; repeat to use several in turn. Default: "
            "the environment's OPENAI_BASE_URL.",
        ),
    ] = ()
    max_connections: Annotated[
        int, Parameter(group=_RUN, validator=_AT_LEAST_1, help="Requests under way at once.")
    ] = 64
    timeout: Annotated[
        float, Parameter(group=_RUN, validator=_ABOVE_0, help="Seconds for one attempt.")
    ] = 120.0
    batch_size: Annotated[
        int, Parameter(group=_RUN, validator=_AT_LEAST_1, help="For local weights.")
    ] = 64
    price: Annotated[
        str | None,
        Parameter(
            group=_RUN,
            allow_leading_hyphen=True,
            help="Dollars per million tokens, as PROMPT/COMPLETION: 0.15/0.60.",
        ),
    ] = None
    max_cost: Annotated[
        float | None,
        Parameter(
            group=_RUN,
            validator=_ABOVE_0,
            help="Dollars that this command may cost, judges included.",
        ),
    ] = None
    precision: Annotated[
        float | None,
        Parameter(
            group=_RUN,
            validator=_ABOVE_0,
            help="Stop when PB is known within so many points to either side.",
        ),
    ] = None
    offline: Annotated[
        bool, Parameter(group=_RUN, negative="", help="Never download a benchmark.")
    ] = False
    quiet: Annotated[bool, Parameter(group=_RUN, negative="", help="Show no progress.")] = False

    def options(self, judging: Judging | None = None) -> RunOptions:
        """As the Python interface takes them.

        Args:
            judging: how the study's judges are reached, for the verbs that have judges.

        Raises:
            UsageError: the price is malformed, or a cost limit has no price.
        """
        price = price_of(self.price) if self.price else None
        priced = price or (judging and judging.price)
        if self.max_cost is not None and not priced:
            raise UsageError("--max-cost needs the price of the tokens: --price 0.15/0.60")
        return RunOptions(
            base_urls=self.base_url,
            max_connections=self.max_connections,
            timeout=self.timeout,
            batch_size=self.batch_size,
            price=price,
            max_cost=self.max_cost,
            precision=self.precision,
            offline=self.offline,
            judging=judging,
        )


def _split(values: Iterable[str] | None) -> tuple[str, ...] | None:
    if values is None:
        return None
    names = tuple(name.strip() for value in values for name in value.split(",") if name.strip())
    if not names:
        raise UsageError("an option for names was given without any")
    return names


def _extra(pairs: Iterable[str]) -> dict[str, Any]:
    fields = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f'--extra "{pair}" is not of the form KEY=JSON')
        try:
            fields[name] = orjson.loads(value)
        except orjson.JSONDecodeError:
            raise UsageError(f'--extra {name}: "{value}" is not JSON (quote strings)') from None
    return fields


def price_of(text: str, flag: str = "--price") -> Price:
    """The price of tokens, of "PROMPT/COMPLETION".

    Raises:
        UsageError: it is not of that form.
    """
    try:
        prompt, completion = (float(part) for part in text.split("/"))
    except ValueError:
        raise UsageError(
            f'{flag} "{text}" is not of the form PROMPT/COMPLETION: 0.15/0.60'
        ) from None
    if not (0 <= prompt < inf and 0 <= completion < inf):
        raise UsageError(f'{flag} "{text}": a price is a number from 0 up')
    return Price(prompt, completion)
