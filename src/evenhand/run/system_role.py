"""Does the system message reach the model? If not, its text goes in front of the user's.

A chat template or an endpoint that drops the system role would make every identity look like
the baseline, and the bias like 0. So it is checked before a run, and the way used is recorded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from evenhand.benchmarks.item import Item
from evenhand.engines.engine import Engine, Response
from evenhand.errors import EngineError, RequestRejected, Unreachable
from evenhand.store.record import SystemRoleCheck
from evenhand.store.store import StoredCondition
from evenhand.study.cue import Message
from evenhand.study.plan import Plan, Request

HELLO: list[Message] = [{"role": "user", "content": "Hello"}]
NO_SYSTEM_MESSAGE = "no system message in this study"
ON_THE_WAY_BACK = "unverified: to be checked when the first batch returns"
_UNTOLD = "unverified: the endpoint's count of prompt tokens does not tell"
_BLOCKED = "unverified: the provider blocked even harmless questions"
_MARK = "I am 7e4b."
_NOISE = 2
"""Tokens by which two counts of the same text may differ, as words run together at its ends."""
_MARKS = 6
"""Tokens beyond its words with which a message may still stand within another's turn."""

_HARMLESS = (
    Item("", "short", "Hello", "utility", "text"),
    Item("", "long", "Hello, which of the seven days comes after Monday?", "utility", "text"),
)
"""Asked where the study's own questions are rejected, as by a content filter, or all alike."""


class _Unsettled(Unreachable):
    """One question has no answer after all attempts; the endpoint has answered others."""


Checked = tuple[SystemRoleCheck, tuple[Response, ...]]
"""What was found, and answers to cells of the plan that finding it brought along."""


async def check_system_role(engine: Engine, plan: Plan) -> Checked:
    """Find out how the system messages of a plan can reach the model.

    Local engines show the rendered prompt, in which every cue is looked for. Endpoints do not:
    there the first cells of the plan are asked, and the prompt tokens that the endpoint counts
    must grow with the length of the system message.

    Raises:
        EngineError: the model answers nothing, or no way of sending carries the cue.
    """
    shown = plan.without_withholding()
    carrier = _first_with_system(shown)
    if carrier is None:
        return SystemRoleCheck(True, NO_SYSTEM_MESSAGE), ()
    if engine.rendered(HELLO) is not None:
        return _from_rendered_prompts(engine, shown, carrier), ()
    try:
        check, asked = await _from_token_counts(engine, shown, carrier)
    except _Unsettled:  # this question fails, not the endpoint
        check, asked = await _from_token_counts(engine, replace(shown, items=_HARMLESS), carrier)
    return check, _cells(plan, asked)


def _first_with_system(plan: Plan) -> int | None:
    for index, condition in enumerate(plan.conditions):
        if condition.identity.text and condition.messages("")[0]["role"] == "system":
            return index
    return None


def _from_rendered_prompts(engine: Engine, plan: Plan, carrier: int) -> SystemRoleCheck:
    fault = _cue_fault(engine, plan)
    if fault is not None:
        remaining = _cue_fault(engine, plan.with_system_role(False))
        if remaining is not None:
            raise EngineError(f"{engine.model}: {remaining}")
        plan = plan.with_system_role(False)
    has_template = getattr(engine, "has_template", True)
    folded = fault is None and has_template and _is_folded(engine)
    base = _baseline_of(plan, carrier)
    question = min(plan.items, key=lambda item: len(item.prompt)).prompt if plan.items else "Hello"
    brings_default = plan.conditions[base].messages("")[0]["role"] != "system"
    return SystemRoleCheck(
        system_role=fault is None,
        evidence=fault or _seen(has_template, folded),
        folded=folded,
        default_system=_default_system(engine) if brings_default else "",
        template=has_template,
        ignored=dict(getattr(engine, "ignored", {})),
        prompts={
            "baseline": engine.rendered(plan.conditions[base].messages(question)) or "",
            "identity": engine.rendered(plan.conditions[carrier].messages(question)) or "",
        },
    )


def _seen(has_template: bool, folded: bool) -> str:
    if not has_template:
        return "every cue was seen in the transcript that the model continues"
    where = ", in the user's turn" if folded else ""
    return f"every cue was seen in the rendered prompt{where}"


def _is_folded(engine: Engine) -> bool:
    """Whether nothing but white space parts the system message from the question."""
    if (engine.rendered(HELLO) or "").strip() == "Hello":  # no marks of any turn
        return False
    prompt = engine.rendered([{"role": "system", "content": _MARK}, *HELLO]) or ""
    _, _, rest = prompt.partition(_MARK)
    return rest.lstrip().startswith("Hello")


def _default_system(engine: Engine) -> str:
    """What the template puts in the place of a system message where none is sent."""
    try:
        prompt = engine.rendered([{"role": "system", "content": _MARK}, *HELLO]) or ""
    except RequestRejected:
        return ""
    before, mark, after = prompt.partition(_MARK)
    bare = engine.rendered(HELLO) or ""
    if not mark or not bare.startswith(before) or not bare.endswith(after):
        return ""
    return bare[len(before) : len(bare) - len(after)].strip()


def _baseline_of(plan: Plan, carrier: int) -> int:
    """The baseline of the same cue."""
    return next(
        index
        for index, condition in enumerate(plan.conditions)
        if condition.identity.kind == "baseline" and condition.cue == plan.conditions[carrier].cue
    )


def _cue_fault(engine: Engine, plan: Plan) -> str | None:
    """What is wrong with how the conversations are rendered, if anything."""
    for condition in plan.conditions:
        messages = condition.messages("How are you?")
        try:
            prompt = engine.rendered(messages) or ""
        except RequestRejected as error:
            return str(error)
        if any(message["content"].strip() not in prompt for message in messages):
            return f"the chat template drops text of the cue {condition.cue.id}"
    return None


async def _from_token_counts(engine: Engine, plan: Plan, carrier: int) -> Checked:
    """What the endpoint's counts of prompt tokens say.

    A system message adds a token for each of its words at least. Where it does not, the message
    may be dropped, or a chat template may bring a system prompt of its own along where none is
    sent. A system message twice as long tells: it costs more tokens only if it is read.
    """
    lengths = [len(item.prompt) for item in plan.items]
    short, long = lengths.index(min(lengths)), lengths.index(max(lengths))
    base = _baseline_of(plan, carrier)
    bare = await _ask(engine, _without_system(plan.request(base, short)))
    full = await _ask(engine, plan.request(carrier, short))
    words = len(full.request.messages[0]["content"].split())
    added = full.prompt_tokens - bare.prompt_tokens
    if bare.text is not None and full.text is not None:
        if bare.prompt_tokens and added >= words:
            return await _reached(engine, plan, bare, full, words), (bare, full)
        doubled = await _ask(engine, _with_system_twice(full.request))
        message = doubled.prompt_tokens - full.prompt_tokens
        if doubled.text is not None and message > 0:
            evidence = f"prompt tokens grow with its length: {message} more for {words} words"
            default = f"of at least {message - added} tokens" if message - added > _NOISE else ""
            return SystemRoleCheck(True, evidence, default_system=default), (bare, full)
    if bare.text is None or full.text is None or lengths[long] <= lengths[short]:
        if plan.items is not _HARMLESS:
            harmless = replace(plan, items=_HARMLESS)
            return (await _from_token_counts(engine, harmless, carrier))[0], ()
        if "blocked" in (bare.outcome, full.outcome):
            return SystemRoleCheck(True, _BLOCKED), ()
        if bare.text is None:
            raise RequestRejected(f"{engine.model} rejects every request ({bare.error})")
        return await _after_rejection(engine, plan, carrier, full.error), ()
    longer = await _ask(engine, _without_system(plan.request(base, long)))
    if longer.text is not None and full.prompt_tokens <= bare.prompt_tokens < longer.prompt_tokens:
        count = f"{bare.prompt_tokens} prompt tokens with and without one"
        evidence = f"the endpoint drops system messages: {count}"
        return SystemRoleCheck(False, evidence), (bare, longer)
    return SystemRoleCheck(True, _UNTOLD), (bare, full, longer)


async def _reached(
    engine: Engine, plan: Plan, bare: Response, full: Response, words: int
) -> SystemRoleCheck:
    """The system message counts; is it read as one, or folded into the user's turn?"""
    folded = False
    if words < full.prompt_tokens - bare.prompt_tokens <= words + _MARKS:
        folded = await _counts_as_merged(engine, plan, full) and not await _stands_alone(
            engine, full.request, words
        )
    where = ", in the user's turn" if folded else ""
    evidence = (
        f"prompt tokens grow with it, from {bare.prompt_tokens} to {full.prompt_tokens}{where}"
    )
    return SystemRoleCheck(True, evidence, folded=folded)


async def _counts_as_merged(engine: Engine, plan: Plan, full: Response) -> bool:
    """Whether a system message takes as many tokens as in front of the question.

    So it must with a question of another length and end, too: tokens may join where texts meet.
    """
    asked = full.request
    lengths = [len(item.prompt) for item in plan.items]
    items = dict.fromkeys([asked.item, lengths.index(max(lengths))])
    for item in items:
        apart = (
            full if item == asked.item else await _ask(engine, plan.request(asked.condition, item))
        )
        merged = await _ask(engine, plan.with_system_role(False).request(asked.condition, item))
        both_told = apart.text is not None and merged.text is not None
        if both_told and merged.prompt_tokens != apart.prompt_tokens:
            return False
    return True


async def _stands_alone(engine: Engine, request: Request, words: int) -> bool:
    """Whether the system message is read where there is no user's turn that it could be part of.

    A turn of its own may by chance take as many tokens as the blank line that else sets it off,
    and then it does so with every question.
    """
    try:
        alone = await _ask(engine, replace(request, messages=request.messages[:1]))
    except _Unsettled:  # as of a server whose template fails without a question
        return False
    return alone.text is not None and alone.prompt_tokens >= words


async def _after_rejection(engine: Engine, plan: Plan, carrier: int, why: str) -> SystemRoleCheck:
    merged = await _ask(engine, plan.with_system_role(False).request(carrier, 0))
    if merged.text is None:
        raise RequestRejected(f"{engine.model} rejects the cue in every placement ({why})")
    evidence = f"the endpoint rejects a system message ({why})"
    return SystemRoleCheck(False, evidence)


async def _ask(engine: Engine, request: Request) -> Response:
    responses: list[Response] = []
    await engine.answer(iter([request]), responses.append)
    if not responses or not responses[0].settled:
        failures = responses[0].failures if responses else ()
        why = failures[-1].error if failures else "no reason given"
        raise _Unsettled(f"{engine.model} does not answer ({why}); run again to go on")
    return responses[0]


def _with_system_twice(request: Request) -> Request:
    system, *others = request.messages
    doubled: Message = {"role": "system", "content": f"{system['content']} {system['content']}"}
    return replace(request, messages=[doubled, *others])


def _without_system(request: Request) -> Request:
    kept = [message for message in request.messages if message["role"] != "system"]
    return replace(request, messages=kept)


def _cells(plan: Plan, responses: Sequence[Response]) -> tuple[Response, ...]:
    """Those responses that answer a cell of the plan exactly as it stands there."""
    found: dict[bytes, Response] = {}
    for response in responses:
        asked = response.request
        cell = plan.request(asked.condition, asked.item, asked.sample)
        if cell.messages == asked.messages and plan.asks(asked.condition, asked.item):
            found[cell.key] = response
    return tuple(found.values())


@dataclass(frozen=True, slots=True)
class Returned:
    """What came back of a request in a batch, as far as it tells how system messages fare.

    Attributes:
        condition, item: ids in the store.
        prompt_tokens: None where the endpoint rejected the request.
    """

    condition: int
    item: int
    prompt_tokens: int | None


def check_returned(
    model: str, conditions: Sequence[StoredCondition], returned: Iterable[Returned]
) -> SystemRoleCheck:
    """Find out from what came back whether the system messages have reached the model.

    As soon as the answers to one question show it, no more of them are looked at.

    Args:
        conditions: of the run; those that withhold the identity from some questions left out.

    Raises:
        EngineError: no system message has reached it, so that the answers tell nothing.
    """
    words = {
        c.id: len(c.example[0]["content"].split()) if c.example[0]["role"] == "system" else 0
        for c in conditions
    }
    if not any(words.values()):
        return SystemRoleCheck(True, NO_SYSTEM_MESSAGE)
    settings = {c.id: (c.cue, c.defense) for c in conditions}
    seen: dict[tuple[int, tuple[str, str]], dict[int, int]] = defaultdict(dict)
    answered = {True: 0, False: 0}  # with a system message, and without
    rejected = 0
    for each in returned:
        if each.condition not in words:
            continue
        length = words[each.condition]
        if each.prompt_tokens is None:
            rejected += bool(length)
            continue
        answered[bool(length)] += 1
        if not each.prompt_tokens:
            continue
        alike = seen[each.item, settings[each.condition]]
        alike[length] = each.prompt_tokens
        for other, tokens in alike.items():
            few, many = sorted([(other, tokens), (length, each.prompt_tokens)])
            if many[1] - few[1] >= many[0] - few[0] > 0:
                evidence = f"prompt tokens grow with it, from {few[1]} to {many[1]}"
                return SystemRoleCheck(True, evidence)
    if rejected and answered[False] and not answered[True]:
        raise EngineError(f"{model} rejects every request with a system message; {_NOT_THERE}")
    pairs = [(counts, max(counts), min(counts)) for counts in seen.values() if len(counts) > 1]
    if not pairs:
        return SystemRoleCheck(
            True, "unverified: the endpoint's count of prompt tokens does not tell"
        )
    grown = next(((c[few], c[many]) for c, many, few in pairs if few and c[many] > c[few]), None)
    if grown is not None:
        evidence = f"prompt tokens grow with its length, from {grown[0]} to {grown[1]}"
        return SystemRoleCheck(True, evidence)
    if all(counts[many] == counts[few] for counts, many, few in pairs):
        counts = pairs[0][0]
        raise EngineError(
            f"{model} drops system messages: {next(iter(counts.values()))} prompt tokens with and "
            f"without; {_NOT_THERE}"
        )
    return SystemRoleCheck(True, _UNTOLD)


_NOT_THERE = (
    "no identity has reached it, and nothing was stored; ask again with --cue user, in a new folder"
)
