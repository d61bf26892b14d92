"""Does the system message reach the model? If not, its text goes in front of the user's.

A chat template or an endpoint that drops the system role would make every identity look like
the baseline, and the bias like 0. So it is checked before a run, and the way used is recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from evenhand.benchmarks.item import Item
from evenhand.engines.engine import Engine, Response
from evenhand.errors import EngineError, RequestRejected, Unreachable
from evenhand.store.record import SystemRoleCheck
from evenhand.study.cue import Message
from evenhand.study.plan import Plan, Request

HELLO: list[Message] = [{"role": "user", "content": "Hello"}]
NO_SYSTEM_MESSAGE = "no system message in this study"

_HARMLESS = (
    Item("", "short", "Hello", "utility", "text"),
    Item("", "long", "Hello, which of the seven days comes after Monday?", "utility", "text"),
)
"""Asked where the study's own questions are rejected, as by a content filter, or all alike."""


Checked = tuple[SystemRoleCheck, tuple[Response, ...]]
"""What was found, and answers to cells of the plan that finding it brought along."""


async def check_system_role(engine: Engine, plan: Plan) -> Checked:
    """Find out how the system messages of a plan can reach the model.

    Local engines show the rendered prompt, in which every cue is looked for. Endpoints do not:
    there the first cells of the plan are asked, and the prompt tokens that the endpoint counts
    must grow with the system message.

    Raises:
        EngineError: the model answers nothing, or no way of sending carries the cue.
    """
    shown = plan.without_withholding()
    carrier = _first_with_system(shown)
    if carrier is None:
        return SystemRoleCheck(True, NO_SYSTEM_MESSAGE), ()
    if engine.rendered(HELLO) is not None:
        return _from_rendered_prompts(engine, shown), ()
    check, asked = await _from_token_counts(engine, shown, carrier)
    return check, _cells(plan, asked)


def _first_with_system(plan: Plan) -> int | None:
    for index, condition in enumerate(plan.conditions):
        if condition.identity.text and condition.messages("")[0]["role"] == "system":
            return index
    return None


def _from_rendered_prompts(engine: Engine, plan: Plan) -> SystemRoleCheck:
    fault = _cue_fault(engine, plan)
    if fault is None:
        return SystemRoleCheck(True, "every cue was seen in the rendered prompt")
    remaining = _cue_fault(engine, plan.with_system_role(False))
    if remaining is not None:
        raise EngineError(f"{engine.model}: {remaining}")
    return SystemRoleCheck(False, fault)


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
    lengths = [len(item.prompt) for item in plan.items]
    short, long = lengths.index(min(lengths)), lengths.index(max(lengths))
    base = next(
        index
        for index, condition in enumerate(plan.conditions)
        if condition.identity.kind == "baseline" and condition.cue == plan.conditions[carrier].cue
    )
    bare = await _ask(engine, _without_system(plan.request(base, short)))
    full = await _ask(engine, plan.request(carrier, short))
    asked = [bare, full]
    if lengths[long] > lengths[short]:
        asked.append(await _ask(engine, _without_system(plan.request(base, long))))
    cannot_tell = len(asked) == 2 and 0 < full.prompt_tokens <= bare.prompt_tokens
    if cannot_tell or any(response.text is None for response in asked):
        if plan.items is not _HARMLESS:
            harmless = replace(plan, items=_HARMLESS)
            return (await _from_token_counts(engine, harmless, carrier))[0], ()
        if bare.text is None:
            raise RequestRejected(f"{engine.model} rejects every request ({bare.error})")
        if full.text is None:
            return await _after_rejection(engine, plan, carrier, full.error), ()
    without, with_system, longer = (asked[i].prompt_tokens for i in (0, 1, -1))
    if with_system <= without < longer:
        evidence = f"the endpoint drops it: {without} prompt tokens with and without"
        return SystemRoleCheck(False, evidence), (asked[0], asked[-1])
    if without < min(with_system, longer):
        evidence = f"prompt tokens grow with it, from {without} to {with_system}"
    else:
        evidence = "unverified: the endpoint's count of prompt tokens does not tell"
    return SystemRoleCheck(True, evidence), tuple(asked)


async def _after_rejection(engine: Engine, plan: Plan, carrier: int, why: str) -> SystemRoleCheck:
    merged = await _ask(engine, plan.with_system_role(False).request(carrier, 0))
    if merged.text is None:
        raise RequestRejected(f"{engine.model} rejects the cue in every placement ({why})")
    evidence = f"the endpoint rejects a system message ({why})"
    return SystemRoleCheck(False, evidence)


async def _ask(engine: Engine, request: Request) -> Response:
    responses: list[Response] = []
    await engine.answer(iter([request]), responses.append)
    if not responses[0].settled:
        why = responses[0].failures[-1].error if responses[0].failures else "no reason given"
        raise Unreachable(f"{engine.model} does not answer ({why}); run again to go on")
    return responses[0]


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
