"""The options of verbs that may have answers judged."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from evenhand.analysis.judges import KnownError
from evenhand.calibration.agreement import Calibration
from evenhand.cli.options import price_of
from evenhand.errors import UsageError
from evenhand.judges import JudgeOptions
from evenhand.judges.run import Judging
from evenhand.stats import JudgeError

_JUDGE = Group("Judge: who scores the answers of safety and over-refusal", sort_key=4)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class JudgeFlags:
    """Who judges. A flag that is not given leaves the study file as it is."""

    judge: Annotated[
        tuple[str, ...] | None,
        Parameter(
            name=["--judge", "-j"],
            group=_JUDGE,
            negative="",
            help="rubric:openai/NAME, rubric:hf/ID-or-path, classifier:ID-or-path, or an offline "
            "judge; repeat for several. Default: the scorers that the items name.",
        ),
    ] = None
    judge_base_url: Annotated[
        tuple[str, ...],
        Parameter(
            group=_JUDGE,
            negative="",
            show_default=False,
            help="The judge's endpoint, up to and with /v1. Default: the environment's "
            "OPENAI_BASE_URL. Its key: EVENHAND_JUDGE_API_KEY, else OPENAI_API_KEY.",
        ),
    ] = ()
    judge_price: Annotated[
        str | None,
        Parameter(
            group=_JUDGE,
            allow_leading_hyphen=True,
            help="Dollars per million of the judge's tokens, as PROMPT/COMPLETION.",
        ),
    ] = None
    judge_labels: Annotated[
        str | None,
        Parameter(
            group=_JUDGE,
            help="What a classifier's labels mean: LABEL=MEANING,... with refusal, compliance, "
            "harmless, harmful or safe; or a YAML or TOML file.",
        ),
    ] = None

    judge_max_tokens: Annotated[
        int | None,
        Parameter(
            group=_JUDGE,
            validator=Number(gte=1),
            help="Of a rubric judge's verdict. Default: 300; more for a model that thinks aloud.",
        ),
    ] = None

    def judging(
        self, *, max_connections: int = 64, timeout: float = 120.0, batch_size: int = 64
    ) -> Judging:
        """As the Python interface takes them.

        Raises:
            UsageError: the price is malformed.
        """
        options = JudgeOptions(
            base_urls=self.judge_base_url,
            max_connections=max_connections,
            timeout=timeout,
            batch_size=batch_size,
            labels=self.judge_labels,
            max_tokens=self.judge_max_tokens,
        )
        price = price_of(self.judge_price, "--judge-price") if self.judge_price else None
        return Judging(options, price)


def judge_error_of(text: str | None, judge: str) -> KnownError | Literal["none"] | None:
    """A judge's error rates, of a calibration's file or of "0.97/250,0.95/200".

    Args:
        text: "none" for no correction; None where the user says nothing.

    Raises:
        UsageError: the text is of no such form, the file is invalid or of another judge, or the
            judge is no better than chance.
    """
    if text is None or text == "none":
        return "none" if text else None
    found = re.fullmatch(r"([\d.]+)/(\d+),([\d.]+)/(\d+)", text.replace(" ", ""))
    if found:
        try:
            rates = float(found[1]), float(found[3]), int(found[2]), int(found[4])
            return KnownError(JudgeError(*rates))
        except ValueError as error:
            raise UsageError(f'--judge-error "{text}": {error}') from None
    if "/" in text and "," in text and not Path(text).exists():
        raise UsageError(f'--judge-error "{text}" is not of the form 0.97/250,0.95/200')
    calibration = Calibration.load(Path(text))
    if calibration.judge not in (judge, *judge.split("+")):
        raise UsageError(
            f"{text} is the calibration of {calibration.judge}; the scores are {judge}'s"
        )
    return KnownError(calibration.to_judge_error(), calibration.labels, calibration.judge)
