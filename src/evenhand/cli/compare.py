"""evenhand compare: what changed from one run to another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from evenhand.analysis import MARGIN
from evenhand.analysis.compare import Arm, ArmComparison, compare_arms
from evenhand.cli.report import deliver, summary_to, tell_paths
from evenhand.report.as_json import comparison_to_json
from evenhand.report.comparison import print_comparison
from evenhand.report.latex import comparison_to_latex
from evenhand.report.markdown import comparison_to_markdown
from evenhand.run.scoring import score_run
from evenhand.store.record import Blocked
from evenhand.store.store import Store

CompareFormat = Literal["text", "html", "json", "markdown", "latex", "png", "svg"]


def _html(found: ArmComparison) -> str:
    from evenhand.report.html.compare import comparison_to_html

    return comparison_to_html(found)


_FORMS: dict[str, Callable[[ArmComparison], str]] = {
    "html": _html,
    "json": comparison_to_json,
    "markdown": comparison_to_markdown,
    "latex": comparison_to_latex,
}


def compare(
    *sides: Annotated[
        str,
        Parameter(
            help="RUN, RUN@DEFENSE or RUN@CUE/DEFENSE; a run alone stands for the first cue and "
            "defense of its study."
        ),
    ],
    margin: Annotated[
        float,
        Parameter(validator=Number(gt=0, lte=100), help="Loss that does not matter, points."),
    ] = MARGIN,
    identity: Annotated[
        tuple[str, ...],
        Parameter(
            alias="-i",
            negative="",
            show_default=False,
            help="Compare these identities only, by id. Default: all that the sides share.",
        ),
    ] = (),
    judge: Annotated[
        str | None,
        Parameter(
            alias="-j",
            help="Whose scores to go by, of those that score has made. Default: each study's first "
            "judge, else the scorers that the items name.",
        ),
    ] = None,
    blocked: Annotated[
        Blocked | None,
        Parameter(
            help="What an answer counts as that the provider has blocked: a refusal, which is "
            "what the user sees, or a missing answer. Default: as `score --blocked` has set, else "
            "refusal.",
        ),
    ] = None,
    format: Annotated[
        CompareFormat,
        Parameter(
            help="html writes comparison.html; png and svg write every chart into "
            "comparison-charts/; the others print."
        ),
    ] = "text",
    out: Annotated[Path | None, Parameter(help="File, or folder, to write instead.")] = None,
    open: Annotated[
        bool, Parameter(negative="", help="Show the file in the browser afterwards.")
    ] = False,
) -> None:
    """Compare runs, or one run under several defenses, with the first, item by item.

    Examples:

        evenhand compare runs/base runs/tuned
        evenhand compare runs/base runs/base@ignore runs/tuned runs/tuned@ignore
        evenhand compare runs/base runs/tuned --format html --open
    """
    with ExitStack() as stack:
        found = compare_arms(
            open_sides(sides, stack, judge, blocked),
            margin=margin,
            identities=_split(identity) or None,
        )
    try:
        if format in ("html", "text"):
            with summary_to(out if format == "text" else None) as console:
                print_comparison(found, console)
    finally:  # whoever reads the summary may leave before its end
        _write(found, format, out, open)


def _write(found: ArmComparison, format: CompareFormat, out: Path | None, show: bool) -> None:
    """Write a comparison where it belongs, or into the file or folder that was named."""
    if format == "png" or format == "svg":
        from evenhand.report.html.compare import comparison_sections
        from evenhand.report.images import write_images

        folder = out or Path("comparison-charts")
        tell_paths(write_images(comparison_sections(found), folder, format))
    elif format != "text":
        file = Path("comparison.html") if format == "html" else None
        deliver(_FORMS[format](found), out or file, show=show)


def open_sides(
    texts: Sequence[str],
    stack: ExitStack,
    judge: str | None = None,
    blocked: Blocked | None = None,
) -> list[Arm]:
    """The sides that were named, each run opened once and scored; closed with the stack."""
    stores: dict[Path, Store] = {}
    sides = []
    for text in texts:
        folder, cue, defense = parse_side(text)
        if folder not in stores:
            stores[folder] = Store.open(folder)
            stack.callback(stores[folder].close)
            score_run(stores[folder])
            if blocked is not None:
                stores[folder].blocked = blocked
        sides.append(Arm(stores[folder], cue, defense, judge=judge))
    return sides


def parse_side(text: str) -> tuple[Path, str | None, str | None]:
    """Folder, cue and defense of RUN, RUN@DEFENSE or RUN@CUE/DEFENSE; None where not named."""
    if "@" not in text or Path(text).exists():
        return Path(text), None, None
    folder, _, setting = text.rpartition("@")
    if "/" in setting and not Path(folder).exists():
        return Path(text), None, None  # an @ in a folder's name
    cue, _, defense = setting.rpartition("/")
    return Path(folder), cue or None, defense or None


def _split(values: Sequence[str]) -> list[str]:
    return [name.strip() for value in values for name in value.split(",") if name.strip()]
