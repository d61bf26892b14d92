"""What is written at the end of a mitigation: summary, cards, comparison page."""

from __future__ import annotations

from pathlib import Path

import orjson

from evenhand.errors import StoreError
from evenhand.files import write_file
from evenhand.mitigate.results import Mitigation
from evenhand.report.mitigation import markdown

FORMAT = "evenhand mitigation 1"


def to_json(found: Mitigation) -> str:
    """The whole result; `format` names its form."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY
    return orjson.dumps({"format": FORMAT, **_plain(found)}, option=options).decode()


def write_outcome(found: Mitigation, out: Path) -> Path:
    """Write OUT/summary.json, OUT/report.html and the cards of the tuned models.

    Returns:
        The page.

    Raises:
        StoreError: the folder cannot be written.
    """
    try:
        write_file(out / "summary.json", to_json(found))
        if found.trainings:
            from evenhand.mitigate.train_card import write_card

            for training in found.trainings:
                names = {training.name, "none"} | {
                    side.name for side in found.head.sides if training.recipe in side.name
                }
                write_card(Path(training.model.removeprefix("hf/")), markdown(found, sorted(names)))
    except OSError as error:
        raise StoreError(f"cannot write to {out}: {error.strerror}") from None
    from evenhand.report.html.mitigation import mitigation_to_html  # takes the charts along

    page = out / "report.html"
    write_file(page, mitigation_to_html(found))
    return page


def _plain(found: Mitigation) -> dict[str, object]:
    return {name: getattr(found, name) for name in found.__dataclass_fields__}
