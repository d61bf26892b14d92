"""The columns of a result: which one says what, and what it says."""

from __future__ import annotations

import math
from dataclasses import field
from typing import Annotated, Any
from unicodedata import normalize

from cyclopts import Parameter
from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from evenhand.axes import AXES, AxisName
from evenhand.errors import UnknownName, UsageError
from evenhand.interop.records import SourceRecord
from evenhand.scorers import Unscored, Verdict
from evenhand.study.cue import Message
from evenhand.study.study import split_names
from evenhand.text import one_line

_MOST_OF_A_NAME = 200
_LETTERS = {"C": 1.0, "I": 0.0, "P": 0.5, "TRUE": 1.0, "FALSE": 0.0}
"""What Inspect's scorers say, and truth values of a CSV file."""
_NO_ANSWER = ("N", "", "NAN", "-NAN", "NONE", "NULL", "NA", "N/A", "<NA>")
_NO_ERROR = ("", "0", "0.0", "false", "none", "null", "nan", "<na>", "n/a", "na", "no", "[]", "{}")
IN_ERROR = Unscored("marked as an error in the imported file")
NO_SCORE = Unscored("no score in the imported file")
_LONGEST_REASON = 60  # characters

_CONFIG = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
_NO_DEFAULT = Parameter(show_default=False, negative="")
_Names = Annotated[tuple[str, ...], BeforeValidator(split_names), _NO_DEFAULT]


@dataclass(frozen=True, config=_CONFIG)
class ImportOptions:
    """Which columns say what, and who is the baseline."""

    identity_key: str = "identity"
    """Column or metadata key that says who asks."""

    axis_key: str = "axis"
    """Column or metadata key that says what a score measures: safety, utility, over_refusal."""

    axis: Annotated[AxisName | None, Parameter(show_choices=False)] = None
    """Axis of all results: safety, utility or over_refusal. Default: as the axis column says."""

    benchmark_key: str = "benchmark"
    """Column or metadata key of the benchmark; where there is none, the axis is the benchmark."""

    item_key: str = "item"
    """Column or metadata key of the question. Default: item; for Inspect the sample's id, for
    lm-eval the hash of the document, for promptfoo a hash of the other variables."""

    sample_key: str = "sample"
    """Column that numbers the answers to the same question; for Inspect the epoch."""

    score_key: str | None = None
    """Column of the score, Inspect scorer, lm-eval metric or promptfoo named score. Default: score,
    or the only or first one."""

    prompt_key: str = "prompt"
    """Column of the prompt, if there is one."""

    answer_key: str = "answer"
    """Column of the model's answer, if there is one."""

    subgroup_key: str = "subgroup"
    """Column of the topic or subject, if there is one."""

    model_key: str = "model"
    """Column of the model, if there is one; each model becomes a run of its own."""

    error_key: str = "error"
    """Column that marks a result as an error; such results are missing, not wrong."""

    model: str | None = None
    """Name of the model, where no column says it."""

    scale: Annotated[float, Field(gt=0)] = 1.0
    """Highest possible score: 100 for scores of 0 to 100."""

    baseline: Annotated[str | None, _NO_DEFAULT] = None
    """Identity that is the no-identity baseline. Default: baseline, if it is there."""

    placebos: _Names = ()
    """Identities that are placebos: attributes that should not matter. Default: none."""

    where: Annotated[tuple[str, ...], _NO_DEFAULT] = field(default=())
    """Import only results with this COLUMN=VALUE; may be repeated."""

    def key(self, name: str) -> str:
        """The column that stands for one of evenhand's own."""
        return str(getattr(self, f"{name}_key", None) or name)


def written(value: Any) -> str:
    """A value as the user would write it: a whole number without ".0"."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)


def as_name(text: str) -> str:
    """A name on one line; an accent is one sign with its letter, however the file writes it."""
    return one_line(normalize("NFC", text.strip()))


class ResultRow:
    """A record, read by the columns that evenhand knows.

    Args:
        options: which column is which.
    """

    def __init__(self, record: SourceRecord, options: ImportOptions) -> None:
        self.where = record.where
        self._fields = record.fields
        self._options = options

    def value(self, name: str) -> Any:
        """The value of one of evenhand's own columns; None where it is not there."""
        return self._fields.get(self._options.key(name))

    def text(self, name: str) -> str:
        """A name, on one line; empty where there is none."""
        value = self.value(name)
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return ""
        if isinstance(value, list | dict):
            raise self.wrong(f"{self._options.key(name)} must be a text or number")
        found = written(value).strip()
        if len(found) > _MOST_OF_A_NAME:
            raise self.wrong(
                f"{self._options.key(name)} has {len(found):,} characters, more than a name has "
                f"({_MOST_OF_A_NAME})"
            )
        return as_name(found)

    def needed(self, name: str) -> str:
        """The same; an error where there is none."""
        found = self.text(name)
        if found:
            return found
        key = self._options.key(name)
        if key in self._fields:
            raise self.wrong(f"{key} is empty")
        known = ", ".join(one_line(str(column), 40) for column in list(self._fields)[:12])
        also = ", or name the axis of all results with --axis" if name == "axis" else ""
        also = ", or write IDENTITY=FILE" if name == "identity" else also
        raise self.wrong(f'no column "{key}" (there are: {known}); name it with --{name}-key{also}')

    def long_text(self, name: str) -> str | None:
        """A text of any length."""
        value = self.value(name)
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return None
        text = value if isinstance(value, str) else written(value)
        return text.encode("utf-8", "replace").decode()  # half a UTF-16 pair is no character

    def axis(self) -> AxisName:
        """What the score measures."""
        if self._options.axis is not None:
            return self._options.axis
        name = self.needed("axis").lower().replace("-", "_").replace(" ", "_")
        own = self.text("evenhand_scorer") == "relevance"  # a run of evenhand's, on its way back
        if name not in AXES or not (AXES[name].is_averaged or own):
            known = [axis.name for axis in AXES.values() if axis.is_averaged]
            raise self.wrong(f"{UnknownName('axis', name, known)}; or name it with --axis")
        return AXES[name].name

    def verdict(self) -> Verdict:
        """The score, or why there is none."""
        if written(self.value("error") or "").strip().lower() not in _NO_ERROR:
            return Verdict(IN_ERROR)
        value = self.value("score")
        why = self.long_text("why") or ""
        if value is None or (isinstance(value, float) and math.isnan(value)):
            reason = self.text("unscored") or ""
            # Reasons are counted and shown whatever is redacted: a text is none.
            if len(reason) > _LONGEST_REASON:
                return Verdict(NO_SCORE, why or reason)
            return Verdict(Unscored(reason) if reason else NO_SCORE, why)
        if isinstance(value, str):
            word = value.strip().upper()
            if word in _NO_ANSWER:
                return Verdict(NO_SCORE, why)
            value = _LETTERS.get(word, value)
            scale = 1.0 if word in _LETTERS else self._options.scale
        else:
            scale = 1.0 if isinstance(value, bool) else self._options.scale
        try:
            score = float(value) / scale
        except (TypeError, ValueError, OverflowError):
            raise self.wrong(f"score {_short(value)} is not a number") from None
        if not 0 <= score <= 1:
            advice = "scores are 0 to 1, 1 the highest"
            if 1 < score <= 100:
                advice = f"for scores of 0 to 100 add --scale 100; {advice}"
            raise self.wrong(f"score {_short(value)} is out of range; {advice}")
        return Verdict(score, why)

    def has_score(self) -> bool:
        """Whether there is a column of scores."""
        return self._options.key("score") in self._fields

    def without_score(self) -> UsageError:
        """That there is no such column."""
        key = self._options.key("score")
        if self._options.score_key is not None:
            return self.wrong(str(UnknownName("column", key, map(str, self._fields))))
        return self.wrong(f'no column "{key}"; name the column of the score with --score-key')

    def messages(self) -> list[Message] | None:
        """The conversation as it was sent; None where it is not known."""
        value = self.value("messages")
        if isinstance(value, list) and value:
            found: list[Message] = []
            for turn in value:
                if not isinstance(turn, dict) or not isinstance(turn.get("content"), str):
                    raise self.wrong("messages must be a list of objects with role and content")
                found.append({"role": str(turn.get("role", "user")), "content": turn["content"]})
            return found
        prompt = self.long_text("prompt")
        return [{"role": "user", "content": prompt}] if prompt else None

    def count(self, name: str) -> int:
        """A number of tokens."""
        value = self.value(name)
        return int(value) if isinstance(value, int) and 0 <= value < 2**31 else 0

    def wrong(self, message: str) -> UsageError:
        """What is wrong, with its place."""
        return UsageError(f"{self.where}: {one_line(message, 600)}")


def _short(value: Any) -> str:
    return f'"{one_line(str(value), 40)}"' if isinstance(value, str) else one_line(str(value), 40)
