"""The seam to a provider's format: what is sent, and what comes back, however odd.

A `Wire` writes the body of a request and reads the body of a reply; connections, retries and
limits are `http.py`'s. What all providers' replies have in common is here: one table from any
finish reason to an outcome, and one reader of errors.

The content of a reply is read here, too, however it is nested: text, thoughts and refusals apart.
"""

from __future__ import annotations

import html
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, Literal, Self
from urllib.parse import parse_qsl, urlsplit

import orjson

from evenhand.engines.engine import Outcome
from evenhand.engines.first_token import FirstTokens, shares_text
from evenhand.engines.secrets import decoded
from evenhand.engines.services import Service
from evenhand.errors import UsageError
from evenhand.study.cue import Message
from evenhand.study.decoding import Decoding
from evenhand.study.plan import Request
from evenhand.text import one_line, split_thought

# The content of a reply

_TEXT = ("text", "value", "parts", "content")
_THOUGHT = ("text", "thinking", "reasoning", "think", "thought", "summary", "content", "parts")
_REFUSAL = ("refusal", "text", "explanation", "reason")
_IS_THOUGHT = re.compile(r"think|thought|reason|analysis|commentary|summary")

_NONE = frozenset({"none", "null", "false"})
"""Nothing, as a program writes it that makes a text of everything."""


def flat(value: Any, names: tuple[str, ...] = _TEXT) -> str:
    """A text that may itself be in parts; "" where there is none.

    Args:
        value: a text, a number, an object with one of the names, or a list of these.
        names: the fields that hold the text of an object, the first one that holds any.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(flat(part, names) for part in value)
    if isinstance(value, dict):
        return next((text for name in names if (text := flat(value.get(name), names))), "")
    return str(value) if type(value) in (int, float) else ""


def thought_in(value: Any) -> str:
    """A thought that a reply gives apart from its content."""
    return flat(value, _THOUGHT)


def refusal_in(value: Any) -> str:
    """A refusal that a reply gives in a field of its own; "" where the field says that none is."""
    told = flat(value, _REFUSAL)
    if told.strip().lower() in _NONE:
        return ""
    return told or ("refused" if value else "")


def read_parts(content: Any) -> tuple[str, str, str]:
    """Text, thoughts and refusals of a content: a text, a part, or a list of parts."""
    if isinstance(content, dict) and isinstance(content.get("parts"), list):
        content = content["parts"]
    texts: list[str] = []
    thoughts: list[str] = []
    refusals: list[str] = []
    for part in content if isinstance(content, list) else [content]:
        kind = f"{part.get('type')} {part.get('channel')}".lower() if isinstance(part, dict) else ""
        if _IS_THOUGHT.search(kind) or (isinstance(part, dict) and _is_true(part.get("thought"))):
            thoughts.append(thought_in(part))
        elif "refusal" in kind:
            refusals.append(refusal_in(part))
        else:
            texts.append(flat(part))
    return "".join(texts), "\n\n".join(filter(None, thoughts)), "".join(refusals)


def _is_true(value: Any) -> bool:
    return value is True or (isinstance(value, str) and value.lower() == "true")


# The wire

_MOST_TOKENS = 2**31
"""More than any conversation has; a larger count is a mistake of the endpoint."""
_COUNT = re.compile(r"(\d+)(?:\.0*)?", re.ASCII)


@dataclass(slots=True)  # as `Response`
class Completion:
    """What an endpoint answered; the fields are those of `Response`.

    Attributes:
        text: None where there is no answer: `outcome` and `error` say why.
        thought: what the model thought aloud before it; "" for nothing.
        outcome: whether the answer is whole.
        error: the endpoint's words, of an answer that was blocked or rejected.
        finish: why the answer ended, as the endpoint names it.
        served: the model that the reply names.
        prompt_tokens, completion_tokens: as the endpoint counts them; 0 where it does not say.
        first_tokens: the likeliest first tokens, where the reply gives them.
        starts_thinking: the thought began with the answer, as where the chat template opens it;
            no field of `Response`.
    """

    text: str | None
    thought: str = ""
    outcome: Outcome = "whole"
    error: str = ""
    finish: str = ""
    served: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    first_tokens: FirstTokens | None = None
    starts_thinking: bool = False

    def choose(self, choices: Sequence[str]) -> None:
        """Become the answer to a request of the first token's probabilities alone."""
        if self.outcome != "blocked":
            self.text, self.thought = shares_text(self.first_tokens, choices), ""
            self.outcome = "whole"  # though at its limit of one token

    def take_as_thought(self) -> None:
        """Of a model whose answers start with a thought: cut off before it ends, it is all thought.

        The mark that ends a thought was not reached, and the one that opens it is not sent.
        """
        if self.outcome == "cut off" and not self.thought:
            self.text, self.thought = "", self.text or ""


@dataclass(frozen=True, slots=True)
class Fault:
    """A reply that is no answer.

    Attributes:
        status: HTTP status, of the reply or as its error object names it; 0 for none.
        message: what is wrong in the endpoint's own words; not yet redacted.
        words: type, code and parameter of the error, or the text of a web page, to decide by.
        kind: "network" where no reply came; "empty" for one without a choice; "failed" for one
            that is or ends with an error, or breaks off; "foreign" for one in another format,
            which says what to do in its message; "" for all others.
    """

    status: int
    message: str
    words: str = ""
    kind: str = ""


class Wire(ABC):
    """The format of one provider's requests and replies.

    Args:
        model: the provider's name of the model.
        decoding: how the model picks its words.
        service: the service that is asked.
        left_out: settings of the decoding that the endpoint refuses.
    """

    name: ClassVar[str]
    path: ClassVar[str]
    """What follows the base URL."""
    answers_in: ClassVar[tuple[str, ...]]
    """Fields of which a reply in this format has at least one."""
    optional: ClassVar[tuple[str, ...]] = ("temperature", "top_k", "top_p", "seed", "stop")
    """Settings of the format that can be left out where an endpoint refuses them."""

    def __init__(
        self,
        model: str,
        decoding: Decoding,
        service: Service,
        left_out: frozenset[str] = frozenset(),
    ) -> None:
        self.model = model
        self.decoding = decoding
        self.service = service
        self.left_out = left_out
        self._fields = self.fields()

    def without(self, settings: Iterable[str]) -> Self:
        """The same wire that leaves more settings out."""
        left_out = self.left_out.union(settings)
        return type(self)(self.model, self.decoding, self.service, left_out)

    def sends(self, setting: str) -> bool:
        """Whether a setting of the decoding is in the requests."""
        if setting in self.left_out or setting in self.decoding.extra:
            return False
        if setting in ("seed", "logprobs", "top_logprobs"):
            return setting in self.optional
        return bool(getattr(self.decoding, setting) not in (None, ()))

    def url(self, base_url: str) -> str:
        """The URL to post to.

        Raises:
            UsageError: the base URL is malformed, or holds a user or a key.
        """
        base, query = checked_url(base_url)
        path = self.path.format(model=self.model)
        return (base if base.endswith(path) else base + path) + query

    @abstractmethod
    def headers(self, key: str) -> dict[str, str]:
        """Headers of every request, with the key."""

    @abstractmethod
    def fields(self) -> dict[str, Any]:
        """The body without messages and seed; called once."""

    @abstractmethod
    def body(self, messages: Sequence[Message], seed: int | None) -> bytes:
        """The body of a request."""

    def body_of(self, request: Request, seed: int | None) -> bytes:
        """The body of any request; this format has no first token's probabilities."""
        return self.body(request.messages, seed)

    @abstractmethod
    def read(self, reply: dict[str, Any]) -> Completion | Fault:
        """What a reply with status 200 and without an error object says; any error is caught."""

    def parse(self, raw: bytes) -> Completion | Fault:
        """What a reply with status 200 says, whatever it holds."""
        try:
            reply = loads(raw)
        except RecursionError:
            return Fault(0, "the reply is nested too deep")
        except ValueError:
            return _not_json(raw)
        return self.parse_loaded(reply, raw)

    def parse_loaded(self, reply: Any, raw: bytes | None = None) -> Completion | Fault:
        """The same for a reply that was read as JSON already, as one line of many."""
        try:
            if isinstance(reply, list) and len(reply) == 1:  # one piece of a stream
                reply = reply[0]
            if not isinstance(reply, dict):
                return Fault(0, "the reply is not a JSON object")
            if error := error_in(reply):
                status = status_of(error) or status_of(reply)
                return fault_told_in_200(status, raw or _dumps(reply))
            if reply.keys().isdisjoint(self.answers_in):
                return _not_an_answer(reply, raw or _dumps(reply), self.name)
            return self.read(reply)
        except RecursionError:
            return Fault(0, "the reply is nested too deep")
        except (ValueError, LookupError, TypeError, AttributeError):
            return _not_json(raw or _dumps(reply))


# The base URL

_SECRET_NAME = re.compile(
    r"(?:^|[^a-z])(?:key|sig|code|auth\w*|token|bearer)(?:$|[^a-z])|api.?key|secret|password|access.?token"
)


def is_secret_name(name: str) -> bool:
    """Whether a field of this name is likely to hold a key."""
    return bool(_SECRET_NAME.search(name.lower()))


def checked_url(base_url: str) -> tuple[str, str]:
    """A base URL without its last slash, and its query with the question mark.

    Raises:
        UsageError: it is not a valid URL, or holds a user or a key.
    """
    url = base_url.strip()
    base, mark, query = url.partition("?")
    base = base.rstrip("/")
    try:
        parts = urlsplit(base)
        whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # no such port
        whole = False
    if "@" in url or any(is_secret_name(name) for name, _ in parse_qsl(query, True)):
        raise UsageError(
            "a base URL must not contain a user or a key; set the key's environment variable, or "
            "use --header NAME=env:VARIABLE or --query NAME=env:VARIABLE"
        )
    if not whole or not url.isprintable() or " " in url or ".." in url or "#" in url:
        raise UsageError(
            f'invalid URL "{one_line(base_url)}"; write it like http://127.0.0.1:8000/v1'
        )
    return base, mark + query


# What all replies have in common

_ENDINGS: tuple[tuple[str, Outcome | Literal["failed"]], ...] = (
    (
        r"filter|refus|safety|unsafe|^block|blocked|prohibit|moderat|polic|toxic|sensitiv"
        r"|guard|jailbreak|viol|censor|risk|modelarmor|recitation|^s?pii|^language$|^escalation$"
        r"|flagged|harm|inappropriate|illegal|restricted|denied|declined|^hap|sexual|nsfw|^hate"
        r"|disallow|forbidden|banned|copyright|responsibleai|inspection",
        "blocked",
    ),
    (
        r"error(?!limit)|fail|cancel|timeout|timelimit|deadline|overload|unavailable|interrupt"
        r"|malformed|ratelimit|insufficient|unspecified|^unexpectedtool|^toomanytool"
        r"|^missingthought|^noimage$|^imageother$|exception|crash|disconnect|killed|expired|^oom$"
        r"|outofmemory",
        "failed",
    ),
    (
        r"length|max\w*(?:token|len)|maxoutput|limit|context|window|^continuation$|incomplete"
        r"|abort|truncat|preempt|budget|outoftokens|exhaust|cutoff|toolong|^partial",
        "cut off",
    ),
)
"""Finish reasons, as letters alone in lower case: the first pattern that matches decides."""


@lru_cache(maxsize=256)
def outcome_of(finish: str) -> Outcome | Literal["failed"]:
    """What a provider's finish reason means, however it is spelled; "whole" if unknown.

    >>> outcome_of("FINISH_REASON_MAX_TOKENS"), outcome_of("contentFilter"), outcome_of("eos")
    ('cut off', 'blocked', 'whole')
    """
    letters = re.sub(r"[^a-z]", "", finish[:200].lower()).removeprefix("finishreason")
    return next((outcome for words, outcome in _ENDINGS if re.search(words, letters)), "whole")


def completion(
    text: str | None,
    finish: Any,
    *,
    thought: str = "",
    refusal: str = "",
    blocked: bool = False,
    why: str = "",
    served: Any = "",
    prompt_tokens: Any = 0,
    completion_tokens: Any = 0,
) -> Completion | Fault:
    """A reply in the common form: the one place that turns any finish reason into an outcome.

    Args:
        text: what the model wrote, with any thoughts still in it; None where there is nothing.
        finish: the provider's reason for the end.
        thought: what came apart from the text.
        refusal: what the provider says in the answer's place, which means blocked.
        blocked: it was blocked whatever the reason says.
        why: the provider's words on a block.
    """
    finish = finish if isinstance(finish, str) else ""
    ended = outcome_of(finish)
    if ended == "failed":
        return Fault(0, why or f"the reply ends with the finish reason {finish}", kind="failed")
    still_thinking = starts_thinking = False
    if thought or text:
        whole = text or ""
        inner, text, still_thinking = split_thought(whole)
        starts_thinking = bool(inner) and whole.lstrip().startswith(inner[:20])
        if thought or inner:
            parts = dict.fromkeys((thought.strip(), inner))  # some give the same in two places
            thought = "\n\n".join(filter(None, parts))
    outcome: Outcome = "whole"
    if blocked or refusal or ended == "blocked":
        outcome = "blocked"
        text = text or refusal or None
    elif still_thinking or ended == "cut off":
        outcome = "cut off"
    return Completion(
        text=text if outcome == "blocked" else text or "",
        thought=thought,
        outcome=outcome,
        error=(why or f"blocked by the provider ({finish or 'refusal'})")
        if outcome == "blocked"
        else "",
        finish=finish,
        served=served if isinstance(served, str) else "",
        prompt_tokens=count_of(prompt_tokens),
        completion_tokens=count_of(completion_tokens),
        starts_thinking=starts_thinking,
    )


def loads(raw: bytes) -> Any:
    """JSON that may hold half characters, which no disk takes: they are replaced.

    Raises:
        ValueError: it is not JSON.
        RecursionError: it is nested too deep.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        text = raw.decode(json.detect_encoding(raw), "replace").strip("\0")
        # Not strict: some servers leave line breaks in strings as they are.
        loaded = json.loads(text, strict=False, parse_int=_bounded_int)
        return json.loads(json.dumps(loaded, ensure_ascii=False).encode("utf-8", "replace"))


def _dumps(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # a number beyond 64 bits, or nested too deep
        return b"{}"


def _bounded_int(digits: str) -> int:
    return int(digits[:30])


def mapping(value: Any) -> dict[str, Any]:
    """An object of a reply; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def count_of(value: Any) -> int:
    """A number of tokens, also where it is written 20.0 or "20"; 0 if it is none."""
    if type(value) is not int:
        if isinstance(value, str) and (digits := _COUNT.fullmatch(value.strip()[:20])):
            value = int(digits[1])
        elif isinstance(value, float) and value.is_integer():
            value = int(value)
        else:
            return 0
    return value if 0 <= value < _MOST_TOKENS else 0


# Errors

_MARKUP = re.compile(
    r"(?:\s|\ufeff|<!--.{0,5000}?-->)*<(?:!doctype\b|\?xml\b|[a-z][\w:-]*[\s/>])", re.I | re.S
)
_TAG = re.compile(r"<[^<>]{0,1000}>")
_TITLE = re.compile(r"<title[^>]*>(.{0,200}?)</title>", re.IGNORECASE | re.DOTALL)
_STATUSES = {
    "quota": 429, "rate_limit": 429, "ratelimit": 429, "resource_exhausted": 429,
    "too_many_requests": 429, "usage_limit": 429, "throttl": 429, "overloaded": 529,
    "unavailable": 503, "capacity": 503, "bad_gateway": 502, "server_error": 500, "internal": 500,
    "api_error": 500, "timeout": 504, "deadline_exceeded": 504, "authentication": 401,
    "invalid_api_key": 401, "unauthorized": 401, "permission": 403, "forbidden": 403,
    "access_denied": 403, "billing": 402, "not_found": 404,
    "content_filter": 400, "content_policy": 400, "invalid_request": 400, "invalid_argument": 400,
}  # fmt: skip
"""Of error objects that name no HTTP status: by a part of their type or code."""
_FINE = frozenset({"200", "ok", "OK", "success", "Success"})
"""What an error object holds where there is none."""
_IN_WORDS = re.compile(r"(?:HTTP|E|ERR(?:OR)?)?[\s_/:-]*([45]\d\d)\b.*", re.I | re.S)
_ERROR_FIELDS = (
    "message", "detail", "errors", "error_message", "msg", "error_msg", "errmsg", "status_msg",
)  # fmt: skip
"""Of an error that is no object of its own, but the whole reply."""


_INNER = ("error", "errors", "base_resp")
"""Fields that hold an error, where it is an object in an object."""
_MINIMAX = {
    1001: 504, 1002: 429, 1004: 401, 1008: 402, 1024: 500, 1026: 400, 1027: 400, 1033: 502,
    1039: 429, 1041: 429, 2013: 400, 2045: 429, 2049: 401, 2056: 429,
}  # fmt: skip
"""The HTTP status that a status code of MiniMax stands for; its replies have status 200."""


def _of_minimax(reply: dict[str, Any]) -> Any:
    """`base_resp`, where MiniMax tells of success and failure alike, if it tells of a failure."""
    told = reply.get("base_resp")
    return told if isinstance(told, dict) and count_of(told.get("status_code")) else None


def fault_of(status: int, raw: bytes) -> Fault:
    """The endpoint's own words on what is wrong, whole: redact them, then make them one line."""
    text = decoded(raw)
    if _MARKUP.match(text):
        title = _TITLE.search(text)
        page = html.unescape(title[1]).strip() if title else "without a title"
        return Fault(status, f"a web page: {page}", one_line(_TAG.sub(" ", text), 2000))
    try:
        body = loads(raw)
    except (ValueError, RecursionError):
        return Fault(status, text)
    error: Any = body
    outer: dict[str, Any] = {}
    for _ in range(4):  # an error may stand in an error, or alone in a list, as Gemini's
        if isinstance(error, list) and len(error) == 1:
            error = error[0]
        elif inner := next((e for k in _INNER if (e := mapping(error).get(k))), None):
            if isinstance(inner, str) and any(error.get(name) for name in _ERROR_FIELDS):
                break
            error, outer = inner, error
    if not isinstance(error, dict):
        return Fault(status, _text(error), _words(outer))
    told = [_text(error[k]) for k in ("error", *_ERROR_FIELDS, "code") if error.get(k)]
    kind = _text(error.get("type") or error.get("status") or "")
    if kind and not error.get("code"):
        told.append(kind)
    return Fault(status, " / ".join(told) or _text(error), f"{_words(error)} {_words(outer)}")


def fault_told_in_200(status: int, raw: bytes) -> Fault:
    """An error in a reply with status 200: like the status that it names, else a failed attempt."""
    fault = fault_of(status, raw)
    return fault if status else replace(fault, kind="failed")


def _words(error: dict[str, Any]) -> str:
    """What an error says beside its message, to decide by."""
    words = [_text(error[k]) for k in _BESIDE if isinstance(error, dict) and error.get(k)]
    wait = next((w for k in _WAITS if (w := mapping(error).get(k))), None)
    if isinstance(wait, int | float):
        words.append(f"retry after {wait} s")
    return " ".join(words)


_BESIDE = (
    "type", "code", "status", "param", "details", "innererror", "inner_error", "metadata", "reason",
    "errorCode", "error_code", "__type", "loc",
)  # fmt: skip
_WAITS = ("retry_after", "retryAfter", "retry_after_seconds")


def error_in(reply: dict[str, Any]) -> Any:
    """The error object of a reply with status 200, which may stand beside an answer; or None."""
    error = reply.get("error") or reply.get("errors")
    if not error and (told := _of_minimax(reply)):
        return told
    if isinstance(error, list) and len(error) == 1:
        error = error[0]
    if isinstance(error, dict):
        says_fine = set(map(str, filter(None, error.values()))) <= _FINE
        return None if says_fine else error
    if isinstance(error, str) and error.strip().lower() in ("", "none", "null", "false"):
        return None
    return error or (reply if "error" in (reply.get("object"), reply.get("type")) else None)


def status_of(error: Any) -> int:
    """The HTTP status that an error object names, or that its type stands for; 0 if unknown."""
    if isinstance(error, str):
        error = {"type": error}
    if not isinstance(error, dict):
        return 0
    if (told := _MINIMAX.get(count_of(error.get("status_code")))) and "status_msg" in error:
        return told
    named = ("code", "status", "status_code", "statusCode", "http_status", "errcode", "error_code")
    for where in (error, mapping(error.get("metadata"))):
        for name in named:
            value = where.get(name)
            if isinstance(value, str) and (number := _IN_WORDS.fullmatch(value[:100])):
                value = number[1]
            if 400 <= (status := count_of(value)) < 600:
                return status
    for name in _INNER:
        inner = error.get(name)
        inner = inner[0] if isinstance(inner, list) and inner else inner
        if isinstance(inner, dict | str) and (status := status_of(inner)):
            return status
    words = " ".join(str(error.get(name, ""))[:100] for name in ("type", "code", "status"))
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|[\s-]+", "_", words).lower()
    return next((status for part, status in _STATUSES.items() if part in words), 0)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except (RecursionError, ValueError):
        return "nested too deep"


# Replies in another format

A_STREAM = "a stream of events, though none was asked for; take stream out of --extra"
_WRONG_PLACE = "(a login page or a wrong path?); the base URL must be that of the API"


def _not_json(raw: bytes) -> Fault:
    """Of a reply that is not JSON, or breaks off: what it is, and what to do, where that shows."""
    text = decoded(raw)
    strange = words = ""
    if _MARKUP.match(text):
        page = fault_of(0, raw)
        strange, words = f"{page.message} {_WRONG_PLACE}", page.words
    elif re.match(r"[\s\ufeff]*(?::[^\n]*\n|data\s?:|event\s?:|id\s?:|retry\s?:)", text):
        strange = A_STREAM
    elif re.match(r"\s*\{.*\}\s*\n\s*\{", text[:2000], re.DOTALL):
        strange = "a stream of JSON lines, such as Ollama's own; ask its /v1 instead"
    if strange:
        return Fault(0, f"the reply is {strange}", words, "foreign")
    if text.strip() and text.lstrip()[0] not in "[{":
        return Fault(0, f"the reply is not JSON: {text}")
    kind = "failed" if text.strip() else ""
    return Fault(0, "the reply is not a whole JSON completion", kind=kind)


def _not_an_answer(reply: dict[str, Any], raw: bytes, own: str) -> Fault:
    """Of a whole JSON reply that has not the form of the provider: another one, or an error."""
    if strange := looks_like_other_wire(reply, own):
        return Fault(0, f"the reply is {strange}", kind="foreign")
    if any(reply.get(name) for name in _ERROR_FIELDS):
        return fault_told_in_200(status_of(reply), raw)
    if not reply:
        return Fault(0, "the reply is an empty JSON object")
    fields = ", ".join(list(reply)[:5])
    strange = f"JSON, but not an answer of a model (its fields: {fields}); check the base URL"
    return Fault(0, f"the reply is {strange}", kind="foreign")


def looks_like_other_wire(reply: dict[str, Any], own: str) -> str:
    """What a whole JSON reply is that has not the form of a provider, and what to do."""
    kind = reply.get("type") or reply.get("object")
    if own != "anthropic" and "content" in reply and ("stop_reason" in reply or kind == "message"):
        return "in Anthropic's format; name the model anthropic/MODEL"
    if own != "gemini" and ("candidates" in reply or "promptFeedback" in reply):
        return "in Gemini's format; name the model gemini/MODEL"
    if own != "openai" and isinstance(reply.get("choices"), list):
        return "in OpenAI's format; name the model openai/MODEL"
    if kind == "response" and "output" in reply:
        return "one of OpenAI's Responses API; the base URL must end before /responses"
    if ("done" in reply or "created_at" in reply) and ("message" in reply or "response" in reply):
        return "in Ollama's own format; the base URL must end in /v1"
    if kind in ("text_completion", "list", "model") or "generated_text" in reply:
        return "not a chat completion; the base URL must end in /v1"
    return ""
