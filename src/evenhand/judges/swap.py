"""Does a judge go by the identity words within an answer? Judge again, with them exchanged.

A judge never sees who asked, but an answer may say so itself: "As a Muslim, you may ...". Two
things are looked at.

Repetition: a random sample of the judged answers is judged again as it stands, in another order.
A judge that always says the same has no verdict changed; one that wavers shows how much.

Exchange: among the answers that name the very identity on whose behalf they were asked, a sample
is judged again with that name replaced by another identity's of the same category, and once more
unchanged, for comparison. If more verdicts change under the exchange than under mere repetition,
the judge goes by the words, and its differences between identities are in doubt. Answers that
name no identity cannot be judged by it, and prove nothing.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from heapq import nsmallest

from evenhand.errors import RunFolderError
from evenhand.judges.judge import Judge, Judgment
from evenhand.run.recorder import Arrival, Price, Progress, Recorder
from evenhand.run.scoring import score_run
from evenhand.scorers import Answer
from evenhand.store.redaction import shown_name
from evenhand.store.rows import OWN, recheck_changes
from evenhand.store.store import Store
from evenhand.store.verdicts import judged_answers, recheck_keys
from evenhand.study.identity import Identity

SAMPLE = 200
UNCHANGED = ""
"""In the place of the other identity: the answer as it stands."""


@dataclass(frozen=True, slots=True)
class Recheck:
    """One answer to judge again.

    Attributes:
        response: its id in the store.
        other: id of the identity whose name was put in the place of the user's; or `UNCHANGED`.
        answer: as the judge is shown it.
    """

    response: int
    other: str
    answer: Answer


@dataclass(frozen=True, slots=True)
class _Stored:
    response: int
    answer: Answer
    identity: Identity


def name_of(identity: Identity) -> str:
    """The words that name an identity in an answer: "Muslim" of "a Muslim person"."""
    text = re.sub(r"^(?:an?|the)\s+", "", identity.text.strip(), flags=re.IGNORECASE)
    return re.sub(r"\s+(?:person|people|individual)$", "", text, flags=re.IGNORECASE)


def mention_of(identity: Identity) -> re.Pattern[str]:
    """Where an answer names an identity: as a word of its own, hyphens and blanks alike."""
    words = r"[\s-]+".join(re.escape(word) for word in re.split(r"[\s-]+", name_of(identity)))
    return re.compile(rf"(?<![\w-]){words}(?![\w-])", re.IGNORECASE)


def exchanged(text: str, identity: Identity, other: Identity) -> str:
    """The text with every naming of one identity replaced by the other's name."""
    return mention_of(identity).sub(lambda _: name_of(other), text)


async def recheck_run(
    store: Store,
    judge: Judge,
    *,
    sample: int = SAMPLE,
    price: Price | None = None,
    max_cost: float | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Judge a sample again, unchanged and with identities exchanged; resumed where cut off.

    Args:
        sample: the most answers to repeat, and the most to exchange identities in.
        price, max_cost, on_progress: as `judge_run`.

    Raises:
        RunFolderError: the judge has scored nothing in this run.
        EngineError: the judge cannot be reached or will not answer.
    """
    with store.only_process():
        number = _number(store, judge)
        if (
            judge.facts.get("kind") == "offline"
        ):  # it may be another than last time, and costs nothing
            store.forget_rechecks(number)
        wanted = list(_rechecks(store, number, sample))
        known = recheck_keys(store, number)
        left = [each for each in wanted if (each.response, each.other) not in known]
        random.Random(0).shuffle(left)
        left.sort(key=lambda each: each.answer.item.axis)  # answers of one kind are judged together
        if left:
            await judge.start()
        recorder = Recorder(
            store,
            Progress(len(wanted), done=len(wanted) - len(left)),
            price=price,
            max_cost=max_cost,
            on_progress=on_progress,
            limit="the judge's cost limit",
        )

        def answers() -> Iterator[Answer]:
            for each in left:
                if not recorder.may_ask():
                    return
                yield each.answer

        def settle(place: int, judgment: Judgment) -> None:
            recorder.settle(_arrival(number, left[place], judgment))

        await recorder.record(judge.judge(answers(), settle))
    return recorder.progress


def _arrival(judge: int, recheck: Recheck, judgment: Judgment) -> Arrival:
    return Arrival(
        recheck_changes(
            judge, recheck.response, recheck.other, judgment.verdict, judgment.failures
        ),
        int(judgment.verdict is not None),
        len(judgment.failures),
        judgment.prompt_tokens,
        judgment.completion_tokens,
    )


def _number(store: Store, judge: Judge) -> int:
    if judge.name == store.own_judge():
        score_run(store)
        return OWN
    name, known = shown_name(judge.name), store.judges()
    if name not in known:
        raise RunFolderError(f"{store.folder} holds no scores of {judge.name} to check")
    return known[name]


def _rechecks(store: Store, judge: int, sample: int) -> Iterator[Recheck]:
    """The sample is the same for the same run, and a larger one holds a smaller."""
    people = {c.identity.id: c.identity for c in store.conditions()}
    stored = list(nsmallest(sample, _stored(store, judge), key=_rank))
    naming = (
        each
        for each in _stored(store, judge)
        if each.identity.kind == "identity"
        and "+" not in each.identity.id
        and mention_of(each.identity).search(each.answer.text)
    )
    swapped = [
        (each, other)
        for each in nsmallest(sample, naming, key=_rank)
        if (other := _other(each, people)) is not None
    ]
    unchanged = {each.response: each for each in [*stored, *(each for each, _ in swapped)]}
    for each in unchanged.values():
        yield Recheck(each.response, UNCHANGED, each.answer)
    for each, other in swapped:
        text = exchanged(each.answer.text, each.identity, other)
        answer = Answer(text, each.answer.item, each.answer.truncated)
        yield Recheck(each.response, other.id, answer)


def _stored(store: Store, judge: int) -> Iterator[_Stored]:
    """All answers that the judge has given a score, a condition at a time."""
    for condition in store.conditions():
        for response, answer in judged_answers(store, judge, condition.id):
            yield _Stored(response, answer, condition.identity)


def _rank(stored: _Stored) -> bytes:
    """A random place that depends on nothing but the response."""
    return blake2b(str(stored.response).encode(), digest_size=8).digest()


def _other(stored: _Stored, people: Mapping[str, Identity]) -> Identity | None:
    """Another identity of the category, or of any where it is alone there."""
    own = stored.identity
    others = [i for i in people.values() if i.kind == "identity" and i.id != own.id]
    others = [i for i in others if "+" not in i.id]
    alike = [i for i in others if i.category == own.category] or others
    return alike[int.from_bytes(_rank(stored), "big") % len(alike)] if alike else None
