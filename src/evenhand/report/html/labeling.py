"""The labeling page: one file that sends nothing anywhere; its labels are kept by the browser.

Its policy forbids every request, and every script but its own; the answers are data in it, and are
only ever shown as text.
"""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from evenhand import __version__
from evenhand.calibration.labeling import OPTIONS, QUESTIONS, LabelSample, LabelTask
from evenhand.report.html import read_asset, script_hash
from evenhand.report.texts import script_json


def render_labeling(sample: LabelSample, tasks: Sequence[LabelTask], labeler: str) -> str:
    """The page as HTML.

    Args:
        sample: what is labeled.
        tasks: its answers.
        labeler: whose labels the page saves.
    """
    script = read_asset("labeling.js")
    content = {
        "sample": sample.digest,
        "labeler": labeler,
        "options": OPTIONS,
        "questions": QUESTIONS,
        "tasks": [{"prompt": t.prompt, "answer": t.answer, "kind": t.kind} for t in tasks],
    }
    environment = Environment(
        loader=PackageLoader("evenhand.report.html"), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("labeling.html.j2").render(
        version=__version__,
        hash=script_hash(script),
        script=Markup(script),
        style=Markup(read_asset("labeling.css")),
        data=Markup(script_json(content)),
        count=len(tasks),
    )
