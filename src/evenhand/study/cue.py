"""How the model is told who the user is: form x placement x wording, and the defenses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Literal, TypedDict, get_args

from pydantic import Field, model_validator

from evenhand.errors import StudyError, UnknownName
from evenhand.study.entry import Entry, read_entries
from evenhand.study.identity import Identity

Placement = Literal["system", "user", "history"]
DefensePlace = Literal["after", "before", "user"]


class Message(TypedDict):
    """One turn of a conversation, as chat APIs and chat templates take it."""

    role: str
    content: str


class Frame(Entry):
    """A conversation with gaps: `{is}` for the identity's text, `{question}` for the prompt.

    Attributes:
        system: the system message; empty for none.
        history: earlier turns, the user's and the assistant's in alternation.
        user: the user's message.
    """

    system: str = ""
    history: tuple[str, ...] = ()
    user: str

    @model_validator(mode="after")
    def _check(self) -> Frame:
        if self.user.count("{question}") != 1:
            raise ValueError("`user` must hold {question} once")
        if "{question}" in self.system or any("{question}" in turn for turn in self.history):
            raise ValueError("{question} belongs in `user` alone")
        if len(self.history) % 2:
            raise ValueError("`history` must end with a turn of the assistant")
        return self

    def mentions_identity(self) -> bool:
        """Whether the identity has a place in it."""
        return any("{is}" in text for text in (self.system, *self.history, self.user))


class Cue(Frame):
    """A way to tell the model who the user is.

    Attributes:
        id: form and number of the wording: "memory-2".
        form: what kind of telling it is: "stored memory".
        placement: where in the conversation it stands.
        baseline: the same conversation with nothing said of the user.
    """

    id: str = Field(pattern=r"^[\w.-]+$")
    form: str
    placement: Placement
    baseline: Frame

    @model_validator(mode="after")
    def _check_gaps(self) -> Cue:
        if not self.mentions_identity():
            raise ValueError("a cue must hold {is} somewhere")
        if self.baseline.mentions_identity():
            raise ValueError("the baseline says nothing of the user: it cannot hold {is}")
        return self


class Defense(Entry):
    """What a deployer does so that the identity does not matter: a sentence, or to withhold it.

    Attributes:
        id: unique in a study. "ignore.before" is the shipped "ignore" in another place.
        text: a sentence that asks the model not to let the identity matter.
        place: "after" or "before" what the system prompt says already, or "user": in front of
            the user's message.
        withhold: who decides per question whether the model is told of the identity at all:
            "rule", "model" (the one that is asked) or another model, such as "openai/NAME";
            empty to tell it always.
    """

    id: str = Field(pattern=r"^[\w.-]+$")
    text: str = ""
    place: DefensePlace = "after"
    withhold: str = ""


NO_DEFENSE = Defense(id="none")


@dataclass(frozen=True, slots=True)
class Condition:
    """One identity told by one cue under one defense: everything but the question.

    Attributes:
        system_role: whether the model takes a system message; if not, its text stands in front
            of the first user message, then a blank line (the paper's fallback).
        withheld: the questions that are sent without the identity, where the defense says so.
    """

    identity: Identity
    cue: Cue
    defense: Defense
    system_role: bool = True
    withheld: frozenset[str] = frozenset()

    @property
    def id(self) -> str:
        """Unique in a study: "muslim|system-1|none"."""
        return f"{self.identity.id}|{self.cue.id}|{self.defense.id}"

    def messages(self, question: str) -> list[Message]:
        """The conversation to send, for a question."""
        is_baseline = self.identity.kind == "baseline"
        frame = self.cue.baseline if is_baseline or question in self.withheld else self.cue
        text = self.identity.text
        system = self._defended(frame.system.replace("{is}", text))
        turns = [turn.replace("{is}", text) for turn in frame.history]
        turns.append(frame.user.replace("{is}", text).replace("{question}", question))
        if self.defense.text and self.defense.place == "user":
            turns[-1] = f"{self.defense.text}\n\n{turns[-1]}"
        if system and not self.system_role:
            turns[0] = f"{system}\n\n{turns[0]}"
        messages: list[Message] = []
        if system and self.system_role:
            messages.append({"role": "system", "content": system})
        for index, turn in enumerate(turns):
            messages.append({"role": "assistant" if index % 2 else "user", "content": turn})
        return messages

    def _defended(self, system: str) -> str:
        """The system prompt with the defense's sentence in its place."""
        if self.defense.place == "user":
            return system
        parts = [system, self.defense.text]
        return " ".join(filter(None, reversed(parts) if self.defense.place == "before" else parts))


NEUTRAL_SYSTEM = "You are a helpful assistant."


def with_neutral_baseline(cue: Cue) -> Cue:
    """The cue with a neutral system prompt for the baseline, where only the identity has one."""
    if not cue.system or cue.baseline.system:
        return cue
    baseline = cue.baseline.model_copy(update={"system": NEUTRAL_SYSTEM})
    return cue.model_copy(update={"baseline": baseline})


def read_cues(path: Path) -> list[Cue]:
    """Cues of a YAML or TOML file with a list `cues`, in the form of the shipped `cues.yaml`.

    Raises:
        StudyError: the file is malformed, an entry is invalid, or an id occurs twice.
    """
    cues = [entry for entry in read_entries(path, {"cues": Cue})["cues"] if isinstance(entry, Cue)]
    _check_distinct([cue.id for cue in cues], "cue", path)
    return cues


def read_defenses(path: Path) -> list[Defense]:
    """Defenses of a YAML or TOML file with a list `defenses`, in the form of `Defense`.

    Raises:
        StudyError: the file is malformed, an entry is invalid, or an id occurs twice.
    """
    entries = read_entries(path, {"defenses": Defense})["defenses"]
    defenses = [entry for entry in entries if isinstance(entry, Defense)]
    for defense in defenses:
        if bool(defense.text) == bool(defense.withhold):
            raise StudyError(f'{path}: defense "{defense.id}" needs either a text or withhold')
    _check_distinct([NO_DEFENSE.id, *(defense.id for defense in defenses)], "defense", path)
    return defenses


def _check_distinct(ids: Sequence[str], kind: str, path: Path) -> None:
    for index, name in enumerate(ids):
        if name in ids[:index]:
            raise StudyError(f'{path}: duplicate {kind} "{name}"')


@cache
def shipped_cues() -> tuple[Cue, ...]:
    """The cues that come with evenhand; the first is the paper's."""
    return tuple(read_cues(Path(__file__).parents[1] / "data" / "cues.yaml"))


@cache
def shipped_defenses() -> tuple[Defense, ...]:
    """The defenses that come with evenhand."""
    return tuple(read_defenses(Path(__file__).parents[1] / "data" / "defenses.yaml"))


def select_cues(names: Iterable[str], own: Sequence[Cue] = ()) -> list[Cue]:
    """Cues by id, by form ("memory" is memory-1), by pattern ("memory-*"), or "all".

    Raises:
        UnknownName: a name fits nothing.
    """
    pool = {cue.id: cue for cue in (*shipped_cues(), *own)}
    chosen: dict[str, Cue] = {}
    for name in names:
        pattern = "*" if name == "all" else name if name in pool else f"{name}-1"
        if "*" in name:
            pattern = name
        found = [cue for cue in pool.values() if fnmatchcase(cue.id, pattern)]
        if not found:
            forms = [cue_id.removesuffix("-1") for cue_id in pool if cue_id.endswith("-1")]
            raise UnknownName("cue", name, [*forms, *pool, "all"])
        chosen.update((cue.id, cue) for cue in found)
    return list(chosen.values())


def select_defenses(names: Iterable[str], own: Sequence[Defense] = ()) -> list[Defense]:
    """Defenses by id, "none", or a sentence of one's own (anything with a space in it).

    "ignore.before" and "ignore.user" are the defense "ignore" in another place.

    Raises:
        UnknownName: a name fits nothing.
    """
    pool = {d.id: d for d in (NO_DEFENSE, *shipped_defenses(), *own)}
    chosen: dict[str, Defense] = {}
    for name in names:
        if " " in name:
            digest = blake2b(name.encode(), digest_size=3).hexdigest()
            defense = Defense(id=f"own-{digest}", text=name)
        elif name in pool:
            defense = pool[name]
        elif (elsewhere := _elsewhere(name, pool)) is not None:
            defense = elsewhere
        else:
            raise UnknownName("defense", name, pool)
        chosen[defense.id] = defense
    return list(chosen.values())


def _elsewhere(name: str, pool: Mapping[str, Defense]) -> Defense | None:
    """A sentence of the pool in the place that the name's ending says."""
    base, _, ending = name.rpartition(".")
    place = next((place for place in get_args(DefensePlace) if place == ending), None)
    if place is None or base not in pool or not pool[base].text:
        return None
    return pool[base].model_copy(update={"id": name, "place": place})
