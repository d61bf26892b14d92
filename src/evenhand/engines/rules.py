"""What follows from a reply that is no answer: wait, try again, settle, or stop.

One table, `_RULES`, read from the top; and the time that a rate limit asks to wait, wherever the
endpoint says it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Literal

from evenhand.engines.wire import Fault, Wire

Action = Literal["stop", "adapt", "wait", "retry", "ask once more", "block", "probe"]
"""What to do about a fault.

- "stop": the endpoint will answer nothing more, such as without credit.
- "adapt": it refuses a setting, which is left out from now on; see `refused_settings`.
- "wait": a rate limit; all requests to this endpoint wait, and no attempt is used up.
- "retry": it uses up an attempt.
- "ask once more": then the answer counts as blocked.
- "block": the provider's filter withheld the answer.
- "probe": a harmless request shows whether it is this question or every request that is refused.
"""

MOST_SECONDS = 86_400.0
"""The longest wait that is taken at its word, a day."""

_NO_CREDIT = (
    r"insufficient.?(?:quota|balance|credits?|funds)|credit.?balance|out of (?:credits?|funds)"
    r"|(?:spend|spending|usage|billing|hard).?limit.{0,30}(?:reached|exceeded)"
    r"|reached.{0,40}(?:usage|spend|spending|billing).?limit"
    r"|(?:spend|spending).?cap.{0,30}(?:reached|exceeded)"
    r"|billing.?(?:not.?active|hard.?limit|error)|payment.?required|arrearage|余额不足|欠费"
    r"|account.{0,20}(?:deactivated|suspended|not active|good standing)"
    r"|(?:not|n['’]t).{0,20}(?:enough|any) credits|credits? (?:are |is )?exhausted"
    r"|monthly.{0,20}(?:quota|limit).{0,20}(?:reached|exceeded)|exceeded_current_quota"
    r"|exceeded your current quota(?!.*(?:retry|metric|per.?(?:minute|day)))"
)
_FILTERED = (
    r"content.?(?:filter|management|policy)|responsible.?ai|moderat|flagged|sensitive|blocked by"
    r"|safety.?(?:system|filter|reason|check|violation)|content.?safety|usage.?(?:polic|guideline)"
    r"|prohibited|inappropriate|data.?inspection.?failed|nsfw|hate.?speech"
    r"|(?:prompt|jailbreak).(?:attack|injection)"
    r"|(?:request|prompt|input|content|message|output|pii)\w* (?:\w+ ){1,2}(?:blocked|refused)"
    r"|(?:harmful|unsafe|toxic).?content|violat\w*.{0,40}(?:polic|terms)"
    r"|content exists risk|guard.?rail|jailbreak|guard rejected|敏感|不安全|违规|审核"
)
_FILTERED_FOR_SURE = r"content.?policy.?violation|\b(?:was|is|been|were) (?:filtered|flagged)"
"""For statuses that mean a failure of the filter itself as well."""
_FIREWALL = (
    r"requested url was rejected|(?:request|access|you) (?:has|have|was|is) (?:been )?blocked"
    r"|request (?:blocked|rejected|unsuccessful)|incapsula|imperva|mod_?security|firewall|\bwaf\b"
)
"""Pages of firewalls before an endpoint, some of which come with status 200."""
_TRANSIENT = frozenset({408, 409, 421, 423, 424, 425, 449, 460, 498, 499})
_LIMITED = frozenset({420, 429, 529})
_EVERY_REQUEST = frozenset({401, 402, 403, 404, 405, 407})


@dataclass(frozen=True, slots=True)
class _Rule:
    """A row of the table: which faults it is about, and what follows.

    Attributes:
        statuses: those it is about; any if empty.
        words: a pattern that message or code must hold.
    """

    action: Action
    statuses: frozenset[int] = frozenset()
    words: str = ""

    def is_about(self, fault: Fault, text: str) -> bool:
        """Whether it decides on this fault."""
        if self.statuses and fault.status not in self.statuses:
            return False
        return not self.words or re.search(self.words, text, re.IGNORECASE) is not None


_RULES = (
    _Rule("stop", frozenset({400, 403, 429}), _NO_CREDIT),
    _Rule("wait", frozenset({400}), r"rate.?limit.{0,4}(?:ed|exceeded|reached|error)|throttl"),
    _Rule("block", frozenset({400, 406, 415, 422, 446}), _FILTERED),
    _Rule("block", frozenset({500, 503}), _FILTERED_FOR_SURE),
    _Rule("block", frozenset({400, 405, 406, 418}), _FIREWALL),
    _Rule("block", frozenset({451})),
    _Rule("wait", _LIMITED),
    _Rule("wait", frozenset({403}), r"rate.?limit"),
    _Rule("retry", _TRANSIENT),
    _Rule("probe", _EVERY_REQUEST),
)


def action_for(fault: Fault, wire: Wire) -> Action:
    """What to do about a fault of a request that was sent by this wire."""
    if fault.kind == "empty":
        return "ask once more"
    if fault.kind == "foreign" and re.search(_FIREWALL, fault.words, re.IGNORECASE):
        return "block"
    if fault.status == 0 or fault.status >= 600 or fault.status < 300:
        return "retry"
    if fault.status < 400:  # a redirect that is not followed
        return "probe"
    text = f"{fault.message} {fault.words}"[:20_000]
    if refused_settings(fault, wire):
        return "adapt"
    for rule in _RULES:
        if rule.is_about(fault, text):
            return rule.action
    return "retry" if fault.status >= 500 else "probe"


# Settings that an endpoint refuses

_SPELLINGS = {
    "temperature": r"temperature",
    "top_k": r"top[_ -]?k",
    "top_p": r"top[_ -]?p",
    "seed": r"(?:random_)?seed",
    "stop": r"stop(?:[_ ]?sequences)?",
    "max_tokens": r"max[_ ]?tokens",
    "logprobs": r"(?:top[_ ]?)?log[_ ]?prob(?:s|abilities)",
    "top_logprobs": r"top[_ ]?log[_ ]?probs",
}
_REFUSED = re.compile(
    r"(?:not|n['’]t) (?:\w+ ){0,2}?(?:support|permit|allow|accept|avail|recogni|set|use|specif)"
    r"|unsupported|does(?: not|n['’]t)"
    r"|deprecated|removed|un(?:known|recogni[sz]ed|expected)|extra (?:inputs|fields|parameters)"
    r"|extra_forbidden|additional propert|invalid (?:field|parameter|argument) name|cannot both"
    r"|no longer|only the default|cannot find field|not found in schema|disabled|forbidden|is fixed"
    r"|(?:must|should) be (?:equal to )?(?:1|1\.0|null|none|unset)(?![\d.])"
    r"|only (?:be )?(?:set to )?(?:1|1\.0)(?![\d.])|only [\d.]+ is allowed"
    r"|only (?:supports )?\w+ ?= ?[\d.]+|not a valid param|(?:invalid|no such) param\w*:",
    re.IGNORECASE,
)
_UNKNOWN_FIELD = re.compile(
    r"un(?:known|recogni[sz]ed|supported|expected) (?:\w+ )?(?:param|arg|field|key|propert)"
    r"|extra (?:inputs|fields|parameters)|extra_forbidden",
    re.IGNORECASE,
)
_OUT_OF_RANGE = re.compile(
    r"too (?:large|high|long)|at most|exceed|maximum (?:of|is)|less than|greater|between|range",
    re.IGNORECASE,
)
_TOO_MANY = re.compile(rf"{_OUT_OF_RANGE.pattern}|<=|≤|\bmax\b|up to", re.IGNORECASE)


def refused_settings(fault: Fault, wire: Wire) -> frozenset[str]:
    """Settings in the request that the endpoint does not take at all, by its error.

    A value out of range is no such refusal. Of several that cannot go together, the later of
    temperature, top_p, top_k is meant.
    """
    if fault.status not in (400, 404, 422, 501):
        return frozenset()
    text = f"{fault.message} {fault.words}"
    if wire.sends("top_logprobs") and _named("top_logprobs", text) and _TOO_MANY.search(text):
        return frozenset({"top_logprobs"})  # fewer are asked for from now on
    if not (match := _REFUSED.search(fault.message)):
        return frozenset()
    sent = [name for name in wire.optional if wire.sends(name)]
    at = {name: m.start() for name in sent if (m := _named(name, text))}
    if "max_tokens" in at and (
        _OUT_OF_RANGE.search(fault.message)
        or not ("max_completion_tokens" in text or _UNKNOWN_FIELD.search(text))
    ):
        del at["max_tokens"]
    if not at:
        return frozenset()
    if "both" in match[0].lower() or re.search(r"\bboth\b", fault.message):
        last = next(name for name in ("top_k", "top_p", *sent) if name in at)
        return frozenset({last})
    return frozenset(_in_one_list(at, text))


def _named(name: str, text: str) -> re.Match[str] | None:
    return re.search(rf"(?<![a-z_]){_SPELLINGS[name]}(?![a-z_])", text, re.IGNORECASE)


def _in_one_list(at: Mapping[str, int], text: str) -> list[str]:
    """The setting that is named first, and those in one list with it: "`top_p` and `top_k`"."""
    found: list[str] = []
    end = -1
    for name in sorted(at, key=lambda name: at[name]):
        between = text[end : at[name]] if found else ""
        if found and not re.fullmatch(r"(?:[\s,;:'\"`&/.]|and|or|body|loc|\[|\])*", between):
            break
        found.append(name)
        match = _named(name, text)
        end = match.end() if match else end
    return found


# How long to wait

_DURATION = re.compile(
    r"(\d+(?:\.\d+)?)\s*"
    r"(ms|milliseconds?|d|days?|h|hours?|m|min(?:ute)?s?|s|sec(?:ond)?s?|秒)(?![a-z])",
    re.IGNORECASE,
)
_SPOKEN = re.compile(
    r"(?:(?:try|retry)(?:\s\w+){0,3}?|again|wait|(?:retry_?delay|cooldown|retry.after)['\"]?\s*:"
    r"|reset(?:s|ting)?|available|请在)\s*"
    r"(?:in|for|after)?\s*(?:about|approximately|around)?\s*"
    r"['\"]?((?:\d+(?:\.\d+)?\s*(?:[a-z]+|秒)[\s,]*(?:and\s+)?)+)",
    re.IGNORECASE,
)
_NAMED = re.compile(
    r"retry[-_ ]?after(?:_seconds)?['\"]?\s*[:=]\s*['\"]?(\d+(?:\.\d+)?)(?![\w.:-])", re.IGNORECASE
)
_SPOKEN_DATE = re.compile(
    r"(?:again|resets?|retry)\s+(?:at|after|on)\s+"
    r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:\.\d+)?)\s?(UTC|GMT|Z|[+-]\d\d:?\d\d)",
    re.IGNORECASE,
)
_RESETS = re.compile(
    r"rate-?limit\w*-(?:(requests|tokens|input-tokens|output-tokens)-)?reset(?:-(.+))?$"
)
_STANDARD = re.compile(r"\b(?:reset|t)\s*=\s*\"?(\d+)")
"""The RateLimit header of the IETF's drafts, earlier and later."""


def pause_of(headers: Mapping[str, str], text: str, now: float | None = None) -> float:
    """Seconds that an endpoint asks to wait, at most a day; 0 if it does not say.

    Args:
        headers: of its reply, with names in lower case.
        text: of its error.
        now: seconds since the epoch; the present if None.
    """
    now = time.time() if now is None else now
    named = {name: value for name, value in headers.items() if "retry-after" in name}
    for name, value in named.items():
        if name.endswith("-ms") and (milliseconds := _number(value)):
            return _bounded(milliseconds / 1000)
    if pause := max((retry_after(value, now) for value in named.values()), default=0.0):
        return pause
    resets = [
        _moment(value, now)
        for name, value in headers.items()
        if (match := _RESETS.search(name)) and _is_used_up(headers, name, match)
    ]
    if limit := _STANDARD.search(headers.get("ratelimit", "")):
        resets.append(_bounded(float(limit[1][:10])))
    if any(resets):
        return max(resets)
    text = text[:5000]
    if spoken := _SPOKEN.search(text):
        return _bounded(_duration(spoken[1]))
    if seconds := _NAMED.search(text):
        return _bounded(float(seconds[1]))
    date = _SPOKEN_DATE.search(text)
    return _moment(date[1] + re.sub("UTC|GMT", "Z", date[2].upper()), now) if date else 0.0


def retry_after(header: str, now: float | None = None) -> float:
    """Seconds of a Retry-After header, which holds seconds or a date; 0 if it says nothing."""
    now = time.time() if now is None else now
    header = header.strip(" \"'")
    first = header.partition(",")[0]
    if _number(first):
        return _moment(first, now)
    if seconds := _duration(header) if _DURATION.fullmatch(header.strip()) else 0.0:
        return _bounded(seconds)
    try:
        return _bounded(parsedate_to_datetime(header).timestamp() - now)
    except (TypeError, ValueError, OverflowError, OSError, IndexError, AttributeError):
        return _moment(header, now)


def _is_used_up(headers: Mapping[str, str], name: str, reset: re.Match[str]) -> bool:
    """Whether it is this limit of several that holds: nothing remains of it, or none says."""
    start = name[: reset.start()]
    kind = reset[1] or reset[2]
    names = [f"{start}ratelimit-{kind}-remaining", f"{start}ratelimit-remaining-{kind}"]
    names += [f"{start}ratelimit-remaining"]
    left = next((headers[n] for n in names if n in headers), "0")
    return left.strip() in ("", "0", "0.0")


def _moment(value: str, now: float) -> float:
    """Seconds from now of a duration, a number of seconds, an epoch or a date; 0 for others."""
    value = value.strip()
    number = _number(value)
    if number > 1e11:
        return _bounded(number / 1000 - now)
    if number > 1e9:
        return _bounded(number - now)
    if number:
        return _bounded(number)
    if seconds := _duration(value):
        return _bounded(seconds)
    try:
        return _bounded(datetime.fromisoformat(value).timestamp() - now)
    except (ValueError, OverflowError, OSError):
        return 0.0


def _duration(text: str) -> float:
    """Seconds of "1m30.5s", "250ms", "2 hours"; 0 if there is none in it."""
    total = 0.0
    for number, unit in _DURATION.findall(text[:200]):
        unit = unit.lower()
        scales = {"d": 86_400, "h": 3600, "m": 60}
        scale = 0.001 if unit.startswith(("ms", "mil")) else scales.get(unit[0], 1)
        total += float(number) * scale
    return total


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        return 0.0
    return number if number > 0 else 0.0


def _bounded(seconds: float) -> float:
    return max(0.0, min(seconds, MOST_SECONDS)) if seconds == seconds else 0.0
