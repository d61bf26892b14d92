"""All answers of a run: as data for the page, with a search index, and as lines of JSON.

The page loads what it shows, part by part: from inside itself where the run is small, from a
folder beside it where it is large. A part is JSON:

    columns     who, what, outcome and scores of every answer, and what the other parts hold
    texts-N     questions with their answers, the same question's answers together
    words-N     for each word the answers and questions that it stands in

Answers have numbers in the order of the questions; after the last come the questions themselves.
"""

from __future__ import annotations

import json
import re
from array import array
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from evenhand.analysis.grid import select_judge
from evenhand.axes import AXES
from evenhand.benchmarks.item import JUDGED, Item
from evenhand.engines.engine import Outcome
from evenhand.errors import StoreError
from evenhand.files import write_file
from evenhand.report.document import AnswerBrowser
from evenhand.report.html import bounded, script_json
from evenhand.store.rows import OWN
from evenhand.store.store import ItemAnswer, Store, StoredAnswer, StoredCondition
from evenhand.store.tallies import answer_counts
from evenhand.text import one_line

INSIDE = 3_000_000
"""Characters of texts up to which all of them stand inside the page."""
USUAL = 20_000_000
"""Characters of texts that a page has unless more is asked for; of a larger run it has questions
drawn at random. More would take longer than all the rest of the report."""
MOST = 200_000_000
"""Characters of texts that a page can have."""
_PART_FILE = re.compile(r"columns\.js|(texts|words)-\d+\.js")
_PART = 100_000
"""Characters of a part, about."""
UNSCORED, NOT_JUDGED = 255, 254
"""In the place of a score in percent."""
_CJK = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+")
_ASCII_WORD = re.compile(r"\w+", re.ASCII)
_LONGEST_WORD = 24
_OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


def browse(
    store: Store, judge: str, folder: Path | None, most: int | None = None
) -> AnswerBrowser | None:
    """All answers of the study last asked for, ready for a page.

    Texts that `store.redaction` leaves out are in no part, and their words in no index.

    Args:
        judge: whose scores are shown first.
        folder: where the parts of a large run are written; None keeps them inside the page. Parts
            that an earlier page has left there are removed.
        most: answers, about, and no more than a page can hold; None for the usual number.

    Returns:
        None where the page is to hold none.

    Raises:
        StoreError: the store cannot be read, or the folder cannot be written.
    """
    parts = _PageParts(folder)
    if most == 0:
        return None
    items = _chosen(store, most)
    _write_parts(store, items, judge, parts.put)
    return AnswerBrowser(
        inside=parts.inside or {},
        folder=folder.name if folder and parts.inside is None else "",
        questions=len(items),
        left_out=len(store.items()) - len(items),
    )


class _PageParts:
    """Keeps parts in memory, and moves them into the folder when they become too many.

    Attributes:
        inside: parts by name; None where they are in the folder.
    """

    def __init__(self, folder: Path | None) -> None:
        self.inside: dict[str, str] | None = {}
        self._folder, self._size = folder, 0
        if folder is None:
            return
        if folder.is_symlink():
            raise StoreError(f"{folder} is a symbolic link, which is not followed; remove it")
        for left in folder.glob("*.js"):
            if _PART_FILE.fullmatch(left.name):
                left.unlink()
        with suppress(OSError):  # it is not there, or holds other files
            folder.rmdir()

    def put(self, name: str, content: Any) -> None:
        text = script_json(content)
        self._size += len(text)
        if self.inside is not None:
            self.inside[name] = text
            if self._folder is None or self._size <= INSIDE:
                return
            kept, self.inside = self.inside, None
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for each, part in kept.items():
                self._write(each, part)
        else:
            self._write(name, text)

    def _write(self, name: str, text: str) -> None:
        assert self._folder is not None
        write_file(self._folder / f"{name}.js", f'evenhandPart("{name}",{text})', private=True)


def _chosen(store: Store, most: int | None) -> dict[int, Item]:
    """All active items, or of too large a run as many as the page is to have, drawn at random."""
    items = store.shown_items()
    share = (USUAL if most is None else MOST) / max(1, store.text_length())
    if most is not None:
        share = min(share, most / max(1, sum(each.answers for each in answer_counts(store))))
    if share >= 1:
        return items
    lot = np.random.default_rng(0).permutation(len(items))[: max(1, int(len(items) * share))]
    numbers = list(items)
    return {numbers[n]: items[numbers[n]] for n in sorted(lot)}


def _write_parts(
    store: Store,
    items: dict[int, Item],
    judge: str,
    put: Callable[[str, Any], None],
) -> None:
    conditions = store.conditions()
    judges = {OWN: store.own_judge(), **{number: name for name, number in store.judges().items()}}
    columns = _AnswerColumns({c.id: n for n, c in enumerate(conditions)}, list(judges))
    words, size = _WordIndex(), 0
    chunk: list[dict[str, Any]] = []
    first: list[int] = []
    for number, (item_id, item) in enumerate(items.items()):
        if not chunk:
            first.append(number)
        told = _QuestionTexts(item, words, list(judges))
        for answer in store.item_answers(item_id, item.axis):
            columns.add(answer)
            told.add(answer)
        words.end_item(told.question)
        columns.end_item()
        chunk.append(told.content())
        size += told.size
        if size > _PART:
            put(f"texts-{len(first) - 1}", chunk)
            chunk, size = [], 0
    if chunk:
        put(f"texts-{len(first) - 1}", chunk)
    slots = sorted({item.slot for item in items.values() if item.slot is not None})
    keys = []
    for n, (key, shard) in enumerate(words.shards()):
        keys.append(key)
        put(f"words-{n}", shard)
    put(
        "columns",
        columns.content()
        | _asked(list(items.values()), slots)
        | {
            "conditions": [_user(condition) for condition in conditions],
            "sent": [] if store.redaction else [_sent(c, slots) for c in conditions],
            "withheld": {} if store.redaction else _withheld(store, list(items.values())),
            "judges": list(judges.values()),
            "judge": list(judges.values()).index(judge),
            "outcomes": _OUTCOMES,
            "texts": first,
            "words": keys,
        },
    )


def _asked(items: Sequence[Item], slots: Sequence[int]) -> dict[str, Any]:
    benchmarks = {name: n for n, name in enumerate(dict.fromkeys(i.benchmark for i in items))}
    axes = {name: n for n, name in enumerate(dict.fromkeys(item.axis for item in items))}
    rows = [
        [
            benchmarks[item.benchmark],
            one_line(item.id),
            one_line(item.subgroup),
            axes[item.axis],
            int(item.scorer in JUDGED),
            0 if item.slot is None else slots.index(item.slot),
        ]
        for item in items
    ]
    known = [AXES[name] for name in axes]
    return {
        "items": rows,
        "benchmarks": list(map(one_line, benchmarks)),
        "axes": [
            {
                "name": axis.name,
                "label": axis.label,
                "outcomes": axis.outcomes,
                "lowerIsBetter": axis.lower_is_better,
            }
            for axis in known
        ],
    }


def _user(condition: StoredCondition) -> dict[str, str]:
    who = condition.identity
    return {
        "id": who.id,
        "text": one_line(who.text),
        "category": one_line(who.category),
        "kind": who.kind,
        "cue": condition.cue,
        "defense": condition.defense,
    }


def _sent(condition: StoredCondition, slots: Sequence[int]) -> list[list[tuple[str, str]]]:
    """The conversation of a condition by slot, with {question} where each question goes.

    One alone where all slots have the same; facts that are drawn anew for each question stand as
    gaps.
    """
    if condition.facts is not None:
        frames = [condition.example]
    else:
        shown = slots if condition.shows_realizations else slots[:1]
        frames = [condition.messages("{question}", slot) for slot in shown or (0,)]
    return [[(turn["role"], bounded(turn["content"])) for turn in frame] for frame in frames]


def _withheld(store: Store, items: Sequence[Item]) -> dict[str, list[int]]:
    """Defense -> places of the questions that it sends without the identity."""
    return {
        defense: [n for n, item in enumerate(items) if decided.withholds(item.prompt)]
        for defense, decided in store.withholdings().items()
    }


class _AnswerColumns:
    """What is known of every answer, one array a column.

    Args:
        places: from a condition's id to its place on the page.
        judges: their numbers in the store.
    """

    def __init__(self, places: dict[int, int], judges: list[int]) -> None:
        self.judges = judges
        self._places = places
        self._starts = array("I", [0])
        self._conditions, self._samples, self._outcomes = array("H"), array("H"), array("B")
        self._scores = [array("B") for _ in judges]

    def add(self, answer: ItemAnswer) -> None:
        self._conditions.append(self._places[answer.condition])
        self._samples.append(min(answer.sample, 0xFFFF))
        self._outcomes.append(_OUTCOMES.index(answer.outcome))
        for judge, scores in zip(self.judges, self._scores, strict=True):
            given = answer.scores.get(judge)
            code = NOT_JUDGED if given is None else UNSCORED
            if given and given.value is not None:
                code = round(100 * given.value)
            scores.append(code)

    def end_item(self) -> None:
        self._starts.append(len(self._conditions))

    def content(self) -> dict[str, Any]:
        """Little-endian arrays in base64."""
        return {
            "starts": _base64(self._starts),
            "condition": _base64(self._conditions),
            "sample": _base64(self._samples),
            "outcome": _base64(self._outcomes),
            "scores": [_base64(scores) for scores in self._scores],
        }


class _QuestionTexts:
    """The texts of one question and its answers, equal ones once."""

    def __init__(self, item: Item, words: _WordIndex, judges: list[int]) -> None:
        self.question = bounded(item.prompt)
        self.size = len(self.question)
        self._right, self._words, self._judges = item.answer, words, judges
        self._pool: dict[str, int] = {}
        self._rows: list[list[int]] = []
        self._spoken: dict[int, array[int]] = {}

    def add(self, answer: ItemAnswer) -> None:
        """One answer: text, thought, how it ended, and why each judge scored it so."""
        row = [-1 if answer.text is None else self._place(answer.text, search=True)]
        row.append(self._place(answer.thought, search=True) if answer.thought else -1)
        notes = [answer.error or answer.finish]
        for given in map(answer.scores.get, self._judges):
            notes.append((given.reason if given.value is None else given.why) if given else "")
        row += [self._place(note) if note else -1 for note in notes]
        self._rows.append(row)
        self._words.add([self._spoken[n] for n in row[:2] if n >= 0])

    def _place(self, text: str, *, search: bool = False) -> int:
        text = bounded(text)
        place = self._pool.setdefault(text, len(self._pool))
        self.size += len(text) if place == len(self._pool) - 1 else 0
        if search and place not in self._spoken:
            self._spoken[place] = self._words.numbers(text)
        return place

    def content(self) -> dict[str, Any]:
        return {
            "question": self.question,
            "right": bounded(self._right),
            "texts": list(self._pool),
            "rows": self._rows,
        }


class _WordNumbers(dict[str, int]):
    """Gives every new word the next number; of a long one the beginning counts."""

    def __missing__(self, word: str) -> int:
        if len(word) > _LONGEST_WORD:
            return self[word[:_LONGEST_WORD]]
        self[word] = number = len(self)
        return number


class _WordIndex:
    """In which answers and questions each word stands."""

    def __init__(self) -> None:
        self._numbers = _WordNumbers()
        self._answers, self._answer_sizes = array("I"), array("I")
        self._questions, self._question_sizes = array("I"), array("I")

    def numbers(self, text: str) -> array[int]:
        """The words of a text, each once, by their numbers."""
        lower = text.lower()
        found = set((_ASCII_WORD if lower.isascii() else _WORD).findall(lower))
        return array("I", map(self._numbers.__getitem__, found))

    def add(self, texts: Sequence[array[int]]) -> None:
        """The next answer: the words of each of its texts."""
        words = texts[0] if len(texts) == 1 else array("I", set().union(*texts))
        self._answers.extend(words)
        self._answer_sizes.append(len(words))

    def end_item(self, question: str) -> None:
        """The question of the answers before it."""
        words = self.numbers(question)
        self._questions.extend(words)
        self._question_sizes.append(len(words))

    def shards(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The words in alphabetical order (of UTF-16, as in JavaScript): (the first, the words).

        A word's places are the differences of the answers' numbers, in ascending order, as
        little-endian base 128 (7 bits a byte, the high bit on all but the last).
        """
        ordered = sorted(self._numbers, key=lambda word: word.encode("utf-16-be"))
        if not ordered:
            return
        rank = np.empty(len(ordered), np.uint32)
        rank[[self._numbers[word] for word in ordered]] = np.arange(len(ordered))
        # A word and its place in one number: to sort these takes a tenth of sorting words by order.
        both = rank[np.frombuffer(self._answers + self._questions, np.uint32)].astype(np.uint64)
        both <<= np.uint64(32)
        sizes = np.array(self._answer_sizes + self._question_sizes, np.int64)
        both |= np.repeat(np.arange(len(sizes), dtype=np.uint32), sizes)
        both.sort()
        words, places = (both >> np.uint64(32)).astype(np.uint32), both.astype(np.uint32)
        del both
        begins = np.searchsorted(words, np.arange(len(ordered)))
        differences = np.diff(places, prepend=np.uint32(0))
        differences[begins] = places[begins]
        packed, at = _packed(differences)
        ends = np.append(at[begins[1:]], len(packed))
        first, start = 0, 0
        for last in range(1, len(ordered) + 1):
            if last == len(ordered) or ends[last - 1] - start > _PART:
                shard = {
                    "words": ordered[first:last],
                    "ends": (ends[first:last] - start).tolist(),
                    "places": b64encode(packed[start : ends[last - 1]].tobytes()).decode(),
                }
                yield ordered[first], shard
                first, start = last, int(ends[last - 1])


def _packed(values: NDArray[np.uint32]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Values in base 128, and where each begins."""
    sizes = np.ones(len(values), np.int64)
    for bits in (7, 14, 21, 28):
        sizes += values >= 1 << bits
    at = np.cumsum(sizes) - sizes
    packed = np.empty(int(sizes.sum()), np.uint8)
    for n in range(int(sizes.max(initial=0))):
        longer = sizes > n
        more = (sizes[longer] > n + 1).astype(np.uint8) << 7
        packed[at[longer] + n] = ((values[longer] >> (7 * n)) & 0x7F).astype(np.uint8) | more
    return packed, at


def _base64(values: array[int]) -> str:
    return b64encode(np.array(values).astype(f"<u{values.itemsize}").tobytes()).decode()


def transcript_lines(store: Store, judge: str | None = None) -> Iterator[str]:
    """One line of JSON for each answer, item by item, read as it goes.

    Fields: benchmark, item, subgroup, axis, identity, kind (identity, placebo or baseline),
    realization (such as the name that the identity was shown by, or null), cue, defense, sample,
    messages (as sent), answer (null where there is none), thought, error (why there is none, in
    the provider's words, or null), outcome and finish (how the answer ended), score (0 to 1, or
    null), unscored (the reason, or null), judge (whose score) and why (what led to it). Where the
    store leaves texts out, messages, answer, thought, error and why are not there.

    Args:
        judge: whose scores; None as `select_judge` says.

    Raises:
        RunFolderError: this judge has scored nothing in the run.
        StoreError: the store cannot be read.
    """
    name, number = select_judge(store, judge)
    own = store.own_judge()
    for answer in store.stored_answers(judge=number):
        judged = name != own and answer.item.is_judged
        line = json.dumps(_fields(answer, name if judged else answer.item.scorer))
        # ASCII alone, so that no character of an answer is one that a terminal obeys.
        yield line.replace("\x7f", "\\u007f") + "\n"


def _fields(answer: StoredAnswer, scorer: str) -> dict[str, Any]:
    condition, item = answer.condition, answer.item
    texts = {
        "messages": answer.messages,
        "answer": answer.text,
        "thought": answer.thought,
        "error": answer.error or None,
        "why": answer.why,
    }
    return {
        "benchmark": item.benchmark,
        "item": item.id,
        "subgroup": item.subgroup,
        "axis": item.axis,
        "identity": condition.identity.id,
        "kind": condition.identity.kind,
        "realization": answer.realization,
        "cue": condition.cue,
        "defense": condition.defense,
        "sample": answer.sample,
        "outcome": answer.outcome,
        "finish": answer.finish,
        "score": answer.score,
        "unscored": answer.reason or None,
        "judge": scorer,
        **({} if answer.left_out else texts),
    }
