"""evenhand demo: the whole of it on the model that comes with evenhand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from evenhand.cli.audit import audit
from evenhand.cli.options import StudyFlags


def demo(
    *,
    out: Annotated[Path, Parameter(help="Run folder.")] = Path("runs/demo"),
) -> None:
    """Audit the organism, a small model with a planted bias, on the demo suite. Needs no network.

    Examples:

        evenhand demo
    """
    audit("organism", out=out, study=StudyFlags(placebos=True))
