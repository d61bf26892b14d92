"""Decoding: how the model picks its words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson
from cyclopts import Parameter
from pydantic import (
    BeforeValidator,
    Field,
    JsonValue,
    PlainSerializer,
    PlainValidator,
    StringConstraints,
    TypeAdapter,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from evenhand.errors import UnknownName, UsageError
from evenhand.study.entry import Entry


def _json_fields(given: Any) -> Any:
    """Fields written as KEY=JSON, as flags have them, or as a mapping."""
    if not isinstance(given, str | list | tuple):
        return _FIELDS.validate_python(given)
    fields = {}
    for pair in [given] if isinstance(given, str) else given:
        name, equals, value = str(pair).partition("=")
        if not equals or not name:
            raise ValueError(f'"{pair}" is not of the form KEY=JSON')
        try:
            fields[name] = orjson.loads(value)
        except orjson.JSONDecodeError:
            raise ValueError(f'{name}: "{value}" is not JSON (quote strings)') from None
    return fields


_FIELDS: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(dict[str, JsonValue])
if TYPE_CHECKING:
    ExtraFields = dict[str, JsonValue]
else:
    # A list to cyclopts, which of any other type keeps the last flag alone.
    ExtraFields = Annotated[
        list[str],
        PlainValidator(_json_fields),
        PlainSerializer(lambda fields: fields, return_type=dict[str, JsonValue]),
        WithJsonSchema({"type": "object"}),
    ]


_Verbatim = Annotated[str, StringConstraints(strip_whitespace=False)]
"""Text whose blanks and line breaks at the ends count."""


def _none_for_default(given: Any) -> Any:
    return None if given == "default" else given


def _none_for_auto(given: Any) -> Any:
    return None if given == "auto" else given


class Decoding(Entry):
    """How the model picks its words; what is None is left to the model's own default."""

    preset: Annotated[str | None, Parameter(show_default=False)] = Field(default=None, exclude=True)
    """Named decoding parameters, which further options change: greedy, or paper (sampling among the
    10 likeliest tokens, 300 new tokens). Default: greedy."""

    temperature: Annotated[float | None, BeforeValidator(_none_for_default)] = Field(
        default=0.0, ge=0
    )
    """Sampling temperature; 0 is greedy decoding, and "default" leaves it to the model."""

    top_k: int | None = Field(default=None, ge=1)
    """Number of likeliest tokens to sample among. Default: the model's own."""

    top_p: float | None = Field(default=None, gt=0, le=1)
    """Joint probability of the likeliest tokens to sample among. Default: the model's own."""

    max_tokens: int = Field(default=512, ge=1, le=2**31)
    """Maximum number of new tokens per answer."""

    seed: Annotated[int | None, Parameter(name="--decoding-seed")] = Field(
        default=None, ge=0, le=2**31
    )
    """Seed of the sampling. An endpoint gets seed + s for sample s; local weights draw each
    answer from the seed and its cell. Default: none for local weights; an endpoint gets one
    drawn from the cell where answers are sampled or repeated, so that no cache repeats them."""

    stop: Annotated[tuple[_Verbatim, ...], Parameter(negative="", show_default=False)] = ()
    """String that ends an answer; may be repeated. Default: none."""

    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"] | None, BeforeValidator(_none_for_auto)
    ] = None
    """Number format of local weights and of all that is computed with them: float32, bfloat16 or
    float16. Answers of two formats differ, and are never mixed. Default: auto, the format in which
    the weights are stored."""

    extra: Annotated[ExtraFields, Parameter(negative="", show_default=False)] = Field(
        default_factory=dict
    )
    """Further field of the request body of an endpoint, as KEY=JSON; may be repeated."""

    @model_validator(mode="before")
    @classmethod
    def _from_preset(cls, given: Any) -> Any:
        """A preset by its name alone, or its fields with others on top."""
        if isinstance(given, str):
            given = {"preset": given}
        if not isinstance(given, dict) or given.get("preset") is None:
            return given
        name = str(given["preset"])
        if name not in PRESETS:
            raise UnknownName("decoding preset", name, PRESETS)
        others = {field: value for field, value in given.items() if field != "preset"}
        return {**PRESETS[name].model_dump(), **others}

    def facts(self) -> dict[str, Any]:
        """What the answers depend on, and keys are made of.

        Fields that version 0.1 did not have are left out where they have their default, so that a
        newer evenhand does not ask everything again.
        """
        defaults = PRESETS["greedy"].model_dump()
        return {
            name: value
            for name, value in self.model_dump().items()
            if name in _FIRST_FIELDS or value != defaults[name]
        }

    def check(self) -> None:
        """Check what runs of earlier versions may hold, and no new one may.

        Raises:
            UsageError: a further field is one that the study or another option sets, so that the
                run would not tell what was sent; or a string that ends an answer is empty.
        """
        for name in self.extra:
            if name in _FLAGS:
                raise UsageError(f"--extra {name}: use --{_FLAGS[name]}, which the run records")
            if name in ("model", "messages", "stream", "n"):
                raise UsageError(f"--extra {name}: this field is evenhand's own")
        if "" in self.stop:
            raise UsageError("--stop is empty; leave it out where nothing ends an answer")

    @field_validator("extra")
    @classmethod
    def _no_secrets(cls, extra: dict[str, JsonValue]) -> dict[str, JsonValue]:
        """The study is written into the run folder, where no key may ever be."""
        for name in extra:
            if re.search(r"api.?key|auth|secret|password|bearer|access.?token", name.lower()):
                raise ValueError(f'"{name}" looks like a secret; keys belong in OPENAI_API_KEY')
            if name.lower() in ("headers", "extra_headers"):
                raise ValueError(f'"{name}" is not a body field; use --header NAME=VALUE')
        return extra


_FLAGS = {
    name: name.replace("_", "-") for name in ("temperature", "top_k", "top_p", "max_tokens", "stop")
} | {"seed": "decoding-seed", "dtype": "dtype"}
"""Fields of a request that have a flag of their own."""
_FIRST_FIELDS = ("temperature", "top_k", "top_p", "max_tokens", "seed", "stop", "extra")

PRESETS: dict[str, Decoding] = {}
"""Named decodings; `paper` is that of Vijjini et al. 2025: top-k 10, at most 300 new tokens."""
PRESETS["greedy"] = Decoding()
PRESETS["paper"] = Decoding(temperature=1.0, top_k=10, max_tokens=300)
