"""evenhand: does a personalized language model treat every user even-handedly?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evenhand.audit import audit, compare

if TYPE_CHECKING:
    from evenhand import stats
    from evenhand.analysis.results import Audit
    from evenhand.run.options import JudgeOptions, RunOptions
    from evenhand.study.decoding import Decoding
    from evenhand.study.study import Study

__version__ = "0.2.0"

__all__ = [
    "Audit",
    "Decoding",
    "JudgeOptions",
    "RunOptions",
    "Study",
    "__version__",
    "audit",
    "compare",
    "stats",
]

_LAZY = {
    "Audit": "evenhand.analysis.results:Audit",
    "Decoding": "evenhand.study.decoding:Decoding",
    "JudgeOptions": "evenhand.run.options:JudgeOptions",
    "RunOptions": "evenhand.run.options:RunOptions",
    "Study": "evenhand.study.study:Study",
    "stats": "evenhand.stats",
}
"""Loaded when used, so that `import evenhand` is fast."""


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'evenhand' has no attribute '{name}'")
    from pkgutil import resolve_name

    return resolve_name(_LAZY[name])
