"""evenhand cues: how the model can be told, and how it can be asked not to let it matter."""

from __future__ import annotations

from typing import Annotated

import orjson
from cyclopts import Parameter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evenhand.cli.options import Format
from evenhand.study.cue import shipped_cues, shipped_defenses

_WITHHOLDING = {
    "rule": "(tells the model of the identity only where a rule says that the question needs it)",
    "model": "(the same; the model itself decides, question by question)",
}


def cues(*, format: Annotated[Format, Parameter(help="Of the lists.")] = "text") -> None:
    """List the cues and the defenses.

    Examples:

        evenhand cues
    """
    if format == "json":
        listed = {
            "cues": [cue.model_dump() for cue in shipped_cues()],
            "defenses": [defense.model_dump() for defense in shipped_defenses()],
        }
        print(orjson.dumps(listed, option=orjson.OPT_INDENT_2).decode())
        return
    table = Table("cue", "placement", "wording", box=None, padding=(0, 2, 0, 0))
    for cue in shipped_cues():
        wording = cue.system or next(iter(cue.history), cue.user)
        table.add_row(cue.id, cue.placement, escape(" ".join(wording.split())))
    console = Console()
    console.print(table)
    console.print()
    table = Table("defense", "sentence", box=None, padding=(0, 2, 0, 0))
    for defense in shipped_defenses():
        table.add_row(defense.id, escape(defense.text) or _WITHHOLDING[defense.withhold])
    console.print(table)
