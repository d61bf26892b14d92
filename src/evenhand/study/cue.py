"""How the model is told who the user is: form x placement x wording, and the defenses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Literal, TypedDict, get_args

from pydantic import Field, model_validator

from evenhand.errors import StudyError, UnknownName
from evenhand.files import read_text
from evenhand.study.entry import Entry, read_entries, validate
from evenhand.study.identity import Identity
from evenhand.study.realization import RESERVED, FactList, check_gaps, fill, gaps_of

Placement = Literal["system", "user", "history"]
DefensePlace = Literal["after", "before", "user"]


class Message(TypedDict):
    """One turn of a conversation, as chat APIs and chat templates take it.

    Attributes:
        role: "system", "user" or "assistant".
        content: its text.
    """

    role: str
    content: str


class Frame(Entry):
    """A conversation with gaps: `{question}` for the prompt, `{is}` for the identity's text,
    `{facts}` for a list of facts, and any other, such as `{name}`, that identities fill.

    Attributes:
        system: the system message; empty for none.
        history: earlier turns, as many as you like, the user's and the assistant's in alternation.
        user: the user's message.
    """

    system: str = ""
    history: tuple[str, ...] = ()
    user: str

    @model_validator(mode="after")
    def _check(self) -> Frame:
        check_gaps(self.texts)
        if self.user.count("{question}") != 1:
            raise ValueError("`user` must hold {question} once")
        if "{question}" in self.system or any("{question}" in turn for turn in self.history):
            raise ValueError("{question} belongs in `user` alone")
        if len(self.history) % 2:
            raise ValueError("`history` must end with a turn of the assistant")
        return self

    @property
    def texts(self) -> tuple[str, ...]:
        """System message and turns."""
        return (self.system, *self.history, self.user)

    @property
    def gaps(self) -> set[str]:
        """The gaps that identities fill."""
        return gaps_of(self.texts) - set(RESERVED)

    def turns(self, values: Mapping[str, str]) -> tuple[str, list[str]]:
        """System message and turns with the gaps filled that have a value."""
        return fill(self.system, values), [fill(t, values) for t in (*self.history, self.user)]


class Cue(Frame):
    """A way to tell the model who the user is.

    Attributes:
        id: form and number of the wording: "memory-2".
        form: what kind of telling it is: "stored memory".
        placement: where in the conversation it stands.
        facts: what stands in the gap `{facts}`; None where there is no such gap.
        baseline: the same conversation with nothing said of the user.
    """

    id: str = Field(pattern=r"^[\w.-]+$")
    form: str
    placement: Placement
    facts: FactList | None = None
    baseline: Frame

    @model_validator(mode="after")
    def _check_gaps(self) -> Cue:
        if self.facts is None and "facts" in gaps_of((*self.texts, *self.baseline.texts)):
            raise ValueError("{facts} needs `facts`, which says what stands there")
        if self.facts is not None and "facts" not in gaps_of(self.texts):
            raise ValueError("`facts` needs a gap {facts} somewhere")
        if not self.gaps and self.facts is None:
            raise ValueError("a cue must hold {is} somewhere, or {name}, {facts} or another gap")
        if self.facts and self.facts.fillers and "facts" not in gaps_of(self.baseline.texts):
            raise ValueError("the baseline needs {facts}, too, which holds the other facts alone")
        if {"is", "name"} & self.baseline.gaps:
            raise ValueError("the baseline says nothing of the user: it cannot hold {is} or {name}")
        return self

    @property
    def all_gaps(self) -> set[str]:
        """The gaps that identities fill, those of the facts included."""
        return self.gaps | (gaps_of([self.facts.fact]) if self.facts else set())


def gap_values(
    identity: Identity, facts: FactList | None, question: str, slot: int, *, told: bool
) -> dict[str, str]:
    """What fills the gaps of a cue in the prompt of one question.

    Args:
        slot: which realization of the identity is shown.
        told: whether the identity is told; otherwise the facts are the fillers alone.
    """
    values = identity.values(slot)
    if facts is not None:
        values["facts"] = facts.render(question, values if told else None)
    return {**values, "question": question}


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


_QUESTION = "\0question\0"
"""In the place of any question, where what stands around it is kept."""
_Around = tuple[list[Message], str, str]
"""All turns before that of the question; what stands before and after it in its own turn."""


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
    _around: dict[tuple[bool, int], _Around] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def id(self) -> str:
        """Unique in a study: "muslim|system-1|none"."""
        return f"{self.identity.id}|{self.cue.id}|{self.defense.id}"

    @property
    def tells(self) -> bool:
        """Whether the identity is told at all."""
        return self.identity.kind != "baseline"

    def messages(self, question: str, slot: int = 0) -> list[Message]:
        """The conversation to send, for a question of a slot."""
        told = self.tells and question not in self.withheld
        if self.cue.facts is not None:  # they are drawn anew for each question
            return self._filled(question, slot, told)
        around = self._around.get((told, slot))
        if around is None:
            *earlier, last = self._filled(_QUESTION, slot, told)
            before, _, after = last["content"].partition(_QUESTION)
            around = self._around[told, slot] = earlier, before, after
        earlier, before, after = around
        return [*earlier, {"role": "user", "content": f"{before}{question}{after}"}]

    def _filled(self, question: str, slot: int, told: bool) -> list[Message]:
        values = gap_values(self.identity, self.cue.facts, question, slot, told=told)
        return self._conversation(self.cue if told else self.cue.baseline, values)

    def template(self) -> list[Message]:
        """The conversation with the gaps left in it that are filled for each question anew."""
        return self._conversation(
            self.cue if self.tells else self.cue.baseline, self.identity.fixed()
        )

    def _conversation(self, frame: Frame, values: Mapping[str, str]) -> list[Message]:
        system, turns = frame.turns(values)
        system = self._defended(system)
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


def wordings_of(conditions: Iterable[Condition]) -> dict[str, list[dict[str, object]]]:
    """The cues and defenses of a study word by word, as files of one's own hold them."""
    cues = {c.cue.id: c.cue for c in conditions}
    defenses = {c.defense.id: c.defense for c in conditions}
    return {
        "cues": [cue.model_dump(mode="json") for cue in cues.values()],
        "defenses": [d.model_dump(mode="json") for d in defenses.values() if d != NO_DEFENSE],
    }


NEUTRAL_SYSTEM = "You are a helpful assistant."


def with_neutral_baseline(cue: Cue) -> Cue:
    """The cue with a neutral system prompt for the baseline, where only the identity has one."""
    if not cue.system or cue.baseline.system:
        return cue
    baseline = cue.baseline.model_copy(update={"system": NEUTRAL_SYSTEM})
    return cue.model_copy(update={"baseline": baseline})


def read_cues(path: Path) -> list[Cue]:
    """Cues of a YAML or TOML file with a list `cues`, in the form of the shipped `cues.yaml`.

    A text file (.txt, .md) is one cue: a system prompt of one's own with marked places, such as
    `{is}` or `{name}`. Its baseline is the same prompt without the lines that hold one.

    Raises:
        StudyError: the file is malformed, an entry is invalid, or an id occurs twice.
    """
    if path.suffix.lower() in (".txt", ".md"):
        return [_own_prompt(path)]
    cues = [entry for entry in read_entries(path, {"cues": Cue})["cues"] if isinstance(entry, Cue)]
    _check_distinct([cue.id for cue in cues], "cue", path)
    return cues


def _own_prompt(path: Path) -> Cue:
    prompt = read_text(path, StudyError)
    if not gaps_of([prompt]) - set(RESERVED):
        raise StudyError(f"{path}: mark the place of the user with {{is}}, {{name}} or another gap")
    bare = "\n".join(line for line in prompt.split("\n") if not gaps_of([line]))
    entry = {
        "id": "".join(c if c.isalnum() or c in "._-" else "-" for c in path.stem),
        "form": "own prompt",
        "placement": "system",
        "system": prompt,
        "user": "{question}",
        "baseline": {"system": bare, "user": "{question}"},
    }
    return validate(Cue, entry, str(path))


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


@cache
def wordings_that_ship() -> dict[str, list[dict[str, object]]]:
    """The cues and defenses that come with evenhand, as `wordings_of` gives them."""
    defenses = shipped_defenses()
    placed = [
        each.model_copy(update={"id": f"{each.id}.{place}", "place": place})
        for each in defenses
        for place in get_args(DefensePlace)
    ]
    return {
        "cues": [cue.model_dump(mode="json") for cue in (*shipped_cues(), *profile_cues())],
        "defenses": [d.model_dump(mode="json") for d in (*defenses, *placed)],
    }


@cache
def profile_cues() -> tuple[Cue, ...]:
    """Further cues: names, profiles, memories among other facts, and opening turns.

    "all" does not name them, since most need more than the text of an identity.
    """
    return tuple(read_cues(Path(__file__).parents[1] / "data" / "profiles.yaml"))


def select_cues(names: Iterable[str], own: Sequence[Cue] = ()) -> list[Cue]:
    """Cues by id, by form ("memory" is memory-1), by pattern ("memory-*"), or "all".

    "all" is every wording that states the identity, and one's own; not those of `profile_cues`.

    Raises:
        UnknownName: a name fits nothing.
    """
    stated = {cue.id: cue for cue in (*shipped_cues(), *own)}
    pool = {cue.id: cue for cue in profile_cues()} | stated
    chosen: dict[str, Cue] = {}
    for name in names:
        if name == "all":
            chosen.update(stated)
            continue
        pattern = name if name in pool or "*" in name else f"{name}-1"
        found = [cue for cue in stated.values() if fnmatchcase(cue.id, pattern)]
        found = found or [cue for cue in pool.values() if fnmatchcase(cue.id, pattern)]
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
