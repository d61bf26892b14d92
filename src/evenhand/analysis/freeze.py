"""A frozen plan: what is asked and how it is decided, written down before the first answer.

The file holds the study, the primary figure, the margin and the decision rule, and a hash of all of
them, so that a later change shows. A report made with it says whether it was kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson

from evenhand.errors import UsageError
from evenhand.files import write_file
from evenhand.stats import ALPHA
from evenhand.store.record import RunRecord
from evenhand.study.study import Study

SCHEMA = 1
_RULE = (
    "established: the primary figure's test and the test of no bias have p < {alpha:g}; even "
    "within the margin: the 95% interval of PB ends at or below the margin; otherwise not "
    "established"
)


def freeze_plan(study: Study, margin: float, path: Path) -> str:
    """Write a plan to a file; its hash.

    Args:
        margin: differences within so many points do not matter.
    """
    content = {
        "schema": SCHEMA,
        "study": study.model_dump(mode="json"),
        "primary": "identity beyond placebo" if study.placebos else "PB over both axes",
        "margin": margin,
        "rule": _RULE.format(alpha=ALPHA),
    }
    digest = _hash(content)
    whole = {**content, "hash": digest}
    write_file(path, orjson.dumps(whole, option=orjson.OPT_INDENT_2) + b"\n")
    return digest


def frozen_notes(path: Path, record: RunRecord, margin: float) -> list[str]:
    """Whether a run and its report keep a frozen plan, and how often it was asked.

    Raises:
        UsageError: the file is no frozen plan, or was changed after it was written.
    """
    plan = _read(path)
    now = record.study.model_dump(mode="json")
    differing = [
        f"{name} ({_short(planned)} in the plan, {_short(asked)} in the run)"
        for name in sorted({*plan["study"], *now})
        if (planned := plan["study"].get(name)) != (asked := now.get(name))
    ]
    if plan["margin"] != margin:
        differing.append(f"margin ({plan['margin']:g} in the plan, {margin:g} in this report)")
    kept = "was kept" if not differing else f"was not kept: {'; '.join(differing)}"
    sessions = sum(1 for session in record.sessions if session.answers)
    looks = record.interim.analysis if record.interim else sessions
    notes = [f"the frozen plan {plan['hash']} (primary figure: {plan['primary']}) {kept}"]
    if looks > 1 and record.interim is None:
        notes.append(
            f"the run was extended {looks - 1} times after answers had come: each time its results "
            "could be looked at, and p-values do not allow for that"
        )
    return notes


def _read(path: Path) -> Mapping[str, Any]:
    try:
        plan = orjson.loads(path.read_bytes())
        digest = plan.pop("hash")
        if plan["schema"] != SCHEMA or not isinstance(plan["study"], dict):
            raise ValueError("schema")
        float(plan["margin"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(
            f"{path}: not a frozen plan; `evenhand plan --freeze` writes one"
        ) from None
    if _hash(plan) != digest:
        raise UsageError(
            f"{path}: changed after it was frozen; its hash is not that of its content"
        )
    return {**plan, "hash": digest}


def _hash(content: Mapping[str, Any]) -> str:
    canonical = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    return blake2b(canonical, digest_size=8).hexdigest()


def _short(value: Any) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= 40 else f"{text[:37]}..."
