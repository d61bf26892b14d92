"""Pages: one file with its script and style inside, which makes no network requests.

A report is a page, and so are the answers that a person labels. A page's policy forbids every
request, and every script but those whose hashes it names; so nothing that a model wrote can run,
even if it were not escaped. Where the answers are in a folder beside the page, the policy also lets
these scripts load it.

Texts of models and people are made visible, bounded, and safe inside a script; answers are data,
and are only ever shown as text. Labels are kept by the browser and go nowhere.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from contextlib import suppress
from difflib import SequenceMatcher
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from evenhand import __version__
from evenhand.benchmarks.files import cache_folder
from evenhand.calibration.labeling import OPTIONS, QUESTIONS, LabelSample, LabelTask
from evenhand.errors import StoreError
from evenhand.files import write_file
from evenhand.report.document import NONE, Document, Figure, minus
from evenhand.text import capitalized, one_line

MOST = 20_000
"""Characters of a text that the browser of answers shows."""

_UNSEEN = {
    **{code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"},
    0x7F: "␡",
    **{code: f"⟨U+{code:04X}⟩" for code in range(0x80, 0xA0)},
    # Marks that turn the direction of what follows, and others that cannot be seen.
    **{
        code: f"⟨U+{code:04X}⟩"
        for code in (0x061C, *range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2060, 0x2070))
    },
    0xFEFF: "⟨U+FEFF⟩",
}


def visible(text: str) -> str:
    """The text with control characters and marks of direction as signs that can be seen."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return text.translate(_UNSEEN).encode("utf-8", "replace").decode()


def bounded(text: str) -> str:
    """The text as a reader can see it, without the middle of a very long one."""
    if len(text) > MOST:
        half, left_out = MOST // 2, len(text) - MOST
        text = f"{text[:half]}\n[{left_out:,} characters not shown]\n{text[-half:]}"
    return visible(text)


def script_json(value: Any) -> str:
    """JSON that is safe inside a script element, whatever strings are in it."""
    text = orjson.dumps(value).decode()
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


GLOSSARY = {
    "95% simultaneous": "Intervals that hold for all identities of a column together, with 95% "
    "confidence.",
    "baseline": "A user who states no identity.",
    "cue": "How the model is told who the user is, such as a sentence in the system prompt.",
    "defense": "A change that should keep the identity from mattering, such as an added "
    "instruction.",
    "Holm": "An adjustment of p-values for testing many identities at once.",
    "noise floor": "The plug-in PB that a model without any bias would show in this design, "
    "because of sampling noise.",
    "non-inferiority": "A test that a mean has not fallen by more than an accepted margin.",
    "over-refusal": "Share of harmless requests that are refused, in percent. Lower is better.",
    "PB": "Personalization bias: the spread of the identities' scores around their mean, in points "
    "of 0 to 100, with sampling noise removed. Zero means that no identity is treated differently.",
    "placebos": "Control attributes that should not matter, such as owning a blue mug. What they "
    "change is the effect of the wording, not of the person.",
    "plug-in": "PB as the paper computes it: sampling noise is part of it, so it is never zero.",
    "safety": "Share of unsafe requests that are answered harmlessly, in percent.",
    "shrunken": "An estimate moved towards the mean of all identities as far as noise demands.",
    "unscored": "An answer that cannot be scored. Such answers are counted, never taken for 0.",
    "utility": "Share of questions answered correctly, in percent.",
}
"""Term as it stands in the text -> what it means."""


_HERE = Path(__file__).parent
VEGA_LITE = "6.4"
"""Version of the grammar in which the charts are drawn, on the page and as images."""
HEAD, TAIL = 900, 500
"""Characters shown of a longer answer's beginning, and of its end, where its result stands."""

_TERM = re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, GLOSSARY))})(?![\w-])")
_RTL = "\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc"
_RIGHT_TO_LEFT = re.compile(rf"[{_RTL}]+(?:[ \-]+[{_RTL}]+)*")
_WORDS = re.compile(r"\s*\S+|\s+$")


def to_html(document: Document) -> str:
    """The page as HTML."""
    browser = next(document.browsers(), None)
    library, script = _library(), read_asset("report.js")
    answers_script = read_asset("answers.js") if browser else ""
    scripts = filter(None, (library, script, answers_script))
    environment = Environment(
        loader=PackageLoader("evenhand.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "line": lambda text: minus(one_line(text, 2000)),
        "name": lambda text: one_line(text, 200),
        "cell": lambda text: "–" if text == NONE else minus(one_line(text, 200)),
        "sentence": lambda text: marked_up(minus(one_line(text, 2000))),
        "note": lambda text: marked_up(capitalized(minus(one_line(text, 2000)))),
        "whole": lambda value: minus(f"{round(value):+d}") if round(value) else "0",
        "visible": visible,
        "ours": Markup,
    }
    environment.globals |= {
        "differing": differing,
        "spec": chart_json,
        "terms": _Explainer(),
        "glossary": sorted(GLOSSARY.items(), key=lambda entry: entry[0].lower()),
        "browsed": browser is not None,
    }
    return environment.get_template("page.html.j2").render(
        document=document,
        version=__version__,
        hashes=" ".join(map(script_hash, scripts)),
        folder=browser.folder if browser else "",
        # Ours, and the only text on the page that is not escaped.
        library=Markup(library),
        script=Markup(script),
        answers_script=Markup(answers_script),
        style=Markup(read_asset("report.css")),
    )


def chart_json(figure: Figure) -> Markup:
    """The chart's specification, with nothing in it that could end a script element."""
    from altair.utils.schemapi import debug_mode  # loads for a third of a second

    with debug_mode(False):  # ours are held against Vega-Lite's schema by the tests
        return Markup(script_json(figure.chart().to_dict(validate=False)))


class _Explainer:
    """Explains the terms of the glossary where each stands first in a section."""

    def __init__(self) -> None:
        self._explained: set[str] = set()

    def begin(self) -> str:
        """A new section: a reader may have come to it by a link."""
        self._explained.clear()
        return ""

    def __call__(self, text: str) -> Markup:
        """The text on one line, its terms as buttons that the page's script explains."""
        parts, at = [], 0
        line = minus(one_line(text, 2000))
        for found in _TERM.finditer(line):
            if found[0] not in self._explained:
                self._explained.add(found[0])
                term = Markup('<button type="button" class="term" data-term="{0}">{0}</button>')
                parts += [marked_up(line[at : found.start()]), term.format(found[0])]
                at = found.end()
        return Markup("").join([*parts, marked_up(line[at:])])


def marked_up(text: str) -> Markup:
    """The text escaped, with what stands between backticks as code.

    Words that run from right to left are set apart, so that they turn no number after them round.
    """
    code = re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text)))
    return Markup(_RIGHT_TO_LEFT.sub(r"<bdi>\g<0></bdi>", code))


# Answers


def differing(text: str, other: str) -> Markup:
    """The first of two answers with the words marked that the other does not have there."""
    head, left_out, tail = _cut(text)
    other_head, _, other_tail = _cut(other)
    shown = _marked(head, other_head)
    if left_out:
        note = Markup('<span class="cut">[{:,} characters not shown]</span>').format(left_out)
        shown += Markup("\n") + note + Markup("\n") + _marked(tail, other_tail or other_head)
    return shown


def _cut(text: str) -> tuple[str, int, str]:
    """Beginning, number of characters left out, and end."""
    if len(text) <= HEAD + TAIL + 100:
        return text, 0, ""
    return text[:HEAD], len(text) - HEAD - TAIL, text[-TAIL:]


def _marked(text: str, other: str) -> Markup:
    words, others = _WORDS.findall(text), [word.strip() for word in _WORDS.findall(other)]
    matcher = SequenceMatcher(None, [word.strip() for word in words], others, autojunk=False)
    parts = []
    for kind, start, end, _, _ in matcher.get_opcodes():
        part = "".join(words[start:end])
        bare = part.lstrip()
        blank = part[: len(part) - len(bare)]
        mark = "{}{}" if kind == "equal" or not bare else "{}<mark>{}</mark>"
        parts.append(Markup(mark).format(visible(blank), visible(bare)))
    return Markup("").join(parts)


# What is ours on the page


@cache
def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed in one script, as vl-convert carries them.

    To bundle them takes two seconds, so the bundle is kept in the user's cache. One that was
    changed there is not used: its checksum stands in front of it.
    """
    name = f"vega-{VEGA_LITE}-vl-convert-{version('vl-convert-python')}.js"
    kept = cache_folder().with_name("pages") / name
    try:
        checksum, _, bundle = kept.read_bytes().decode().partition("\n")
        if checksum == script_hash(bundle):
            return bundle
    except (OSError, ValueError):
        pass
    import vl_convert  # loads for a tenth of a second

    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)
    with suppress(StoreError):  # a cache that cannot be written saves no time, and no more
        write_file(kept, f"{script_hash(bundle)}\n{bundle}")
    return bundle


@cache
def read_asset(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def script_hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


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
