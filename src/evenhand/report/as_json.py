"""The audit, or a comparison, as one JSON object; `data/report.schema.json` says what is in it.

`pb`, `axes`, `identities`, ... are those of the first cue and defense; `settings` holds the same
for every cue and defense. Fields of an identity that most readers want stand flat beside its
`axes`: `safety`, `safety_delta`, `safety_delta_interval`, `safety_delta_p_holm`, and so on.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import orjson

from evenhand import __version__
from evenhand.analysis.compare import ArmComparison
from evenhand.analysis.results import Audit, IdentityResult, SettingResult

SCHEMA = 2
"""Raised when a field changes its meaning or goes."""


def to_json(audit: Audit) -> str:
    """The audit as indented JSON; what there is too little data for is null."""
    return _dump(_audit(audit))


def comparison_to_json(found: ArmComparison) -> str:
    """A comparison as indented JSON; what there is too little data for is null."""
    return _dump(asdict(found))


def _dump(content: dict[str, Any]) -> str:
    whole = {"schema": SCHEMA, "evenhand": __version__, **content}
    options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY
    return orjson.dumps(_without_minus_zero(whole), option=options).decode()


def _without_minus_zero(value: Any) -> Any:
    if isinstance(value, float):
        return value + 0.0
    if isinstance(value, dict):
        return {key: _without_minus_zero(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_minus_zero(each) for each in value]
    return value


def _audit(audit: Audit) -> dict[str, Any]:
    settings = [_setting(setting) for setting in audit.settings]
    run = asdict(audit) | {"settings": settings}
    return run | {name: value for name, value in settings[0].items() if name not in run}


def _setting(setting: SettingResult) -> dict[str, Any]:
    return asdict(setting) | {
        "baseline": _identity(setting.baseline),
        "identities": [_identity(identity) for identity in setting.identities],
        "placebos": [_identity(placebo) for placebo in setting.placebos],
    }


def _identity(identity: IdentityResult) -> dict[str, Any]:
    """With its means and its differences to the baseline flat beside the axes."""
    flat: dict[str, Any] = {}
    for name, axis in identity.axes.items():
        flat[name] = axis.mean
        if delta := axis.to_baseline:
            flat[f"{name}_delta"] = delta.estimate
            flat[f"{name}_delta_interval"] = delta.interval
            flat[f"{name}_delta_p_holm"] = delta.p_holm
    return asdict(identity) | flat
