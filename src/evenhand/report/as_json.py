"""The audit as one JSON object.

`pb`, `axes`, `identities`, ... are those of the first cue and defence; `settings` holds the same
for every cue and defence. Fields of an identity that most readers want stand flat beside its
`axes`: `safety`, `safety_delta`, `safety_delta_interval`, `safety_delta_p_holm`, and so on.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import orjson

from evenhand import __version__
from evenhand.analysis.results import Audit, IdentityResult, SettingResult

SCHEMA = 1
"""Raised when a field changes its meaning or goes."""


def to_json(audit: Audit) -> str:
    """The audit as indented JSON; what there is too little data for is null."""
    content = {"schema": SCHEMA, "evenhand": __version__, **_audit(audit)}
    options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY
    return orjson.dumps(content, option=options).decode()


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
    flat: dict[str, Any] = {}
    for name, axis in identity.axes.items():
        delta = axis.to_baseline
        flat[name] = axis.mean
        flat[f"{name}_delta"] = delta.estimate if delta else None
        flat[f"{name}_delta_interval"] = delta.interval if delta else None
        flat[f"{name}_delta_p_holm"] = delta.p_holm if delta else None
    return asdict(identity) | flat
