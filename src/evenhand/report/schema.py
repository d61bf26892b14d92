"""The JSON Schema of the reports, made of the result classes and of what they say of themselves."""

from __future__ import annotations

import re
from typing import Any

from pydantic import TypeAdapter

from evenhand import stats
from evenhand.analysis import compare, conclusion, grid, recognition, relevance, results
from evenhand.axes import AVERAGED_AXES
from evenhand.report.data import SCHEMA
from evenhand.run import probe

_FLAT = {
    "": "mean of the axis, in points",
    "_delta": "difference to the baseline, in points; absent where there is none",
    "_delta_interval": "95% interval of the difference, for this identity alone",
    "_delta_simultaneous": "95% interval that holds simultaneously for all identities of the axis",
    "_delta_p_adjusted": "p-value of no difference, adjusted for all identities (Sidak)",
}
_NUMBER_OR_NULL: dict[str, Any] = {"anyOf": [{"type": "number"}, {"type": "null"}]}


def report_schema() -> dict[str, Any]:
    """Of `report --format json` and of `compare --format json`."""
    report, definitions = _parts(results.Audit)
    setting, further = _parts(results.SettingResult)
    definitions |= further | {"SettingResult": setting}
    _add_flat_fields(definitions["IdentityResult"])
    comparison, further = _parts(compare.ArmComparison)
    definitions |= further
    for whole in (report, comparison):
        whole["properties"] = {
            "schema": {"const": SCHEMA, "description": "raised when a field changes or goes"},
            "evenhand": {"type": "string", "description": "version that wrote it"},
            **whole["properties"],
        }
        whole["required"] = ["schema", "evenhand", *whole["required"]]
    headline = {k: v for k, v in setting["properties"].items() if k not in report["properties"]}
    report["properties"] |= headline
    report["required"] += list(headline)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "evenhand report",
        "description": "What `evenhand report --format json` (Audit) and `evenhand compare "
        "--format json` (ArmComparison) print. Rates and differences are in points of 0-100. "
        "null: too little data, or not asked for. Fields of Audit that SettingResult has, too, "
        "are those of the first cue and defense.",
        "oneOf": [{"$ref": "#/$defs/Audit"}, {"$ref": "#/$defs/ArmComparison"}],
        "$defs": definitions | {"Audit": report, "ArmComparison": comparison},
    }


def _parts(kind: type) -> tuple[dict[str, Any], dict[str, Any]]:
    """The schema of a class, and those of the classes that it uses, by name."""
    schema = TypeAdapter(kind).json_schema(mode="serialization")
    definitions = schema.pop("$defs", {})
    for name, definition in definitions.items():
        _describe(definition, _class_of(name))
    _describe(schema, kind)
    return schema, definitions


def _class_of(name: str) -> type:
    for module in (results, compare, probe, relevance, recognition, conclusion, grid, stats):
        if isinstance(found := getattr(module, name, None), type):
            return found
    raise LookupError(name)


def _describe(schema: dict[str, Any], kind: type) -> None:
    """Put what the docstring says of each field beside the field."""
    summary, about = _read_docstring(kind.__doc__ or "")
    schema["description"] = summary
    schema["additionalProperties"] = False
    for base in reversed(kind.__mro__[1:-1]):
        about = _read_docstring(base.__doc__ or "")[1] | about
    for name, field in schema["properties"].items():
        field.pop("title", None)
        if name not in about:
            continue
        if "NaN" in about[name] and field.get("type") == "number":  # JSON has no NaN
            del field["type"]
            field |= _NUMBER_OR_NULL
        field["description"] = about[name].replace("NaN", "null")


def _read_docstring(text: str) -> tuple[str, dict[str, str]]:
    """The summary, and what is said of each attribute."""
    summary, _, attributes = text.partition("Attributes:")
    found: dict[str, str] = {}
    for entry in re.split(r"\n {8}(?=\S)", attributes):
        names, colon, what = entry.partition(":")
        if colon:
            line = " ".join(what.split())
            found |= {name.strip(): line for name in names.split(",")}
    return " ".join(summary.split()), found


def _add_flat_fields(identity: dict[str, Any]) -> None:
    """The fields of the axes that stand flat beside them."""
    interval = {"type": "array", "prefixItems": [{"type": "number"}] * 2, "minItems": 2}
    kinds = {"": _NUMBER_OR_NULL, "_delta_interval": interval, "_delta_simultaneous": interval}
    for axis in AVERAGED_AXES:
        for suffix, what in _FLAT.items():
            kind = kinds.get(suffix, {"type": "number"})
            identity["properties"][f"{axis}{suffix}"] = kind | {"description": what}
