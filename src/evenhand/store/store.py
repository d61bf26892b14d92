"""The run folder's store: one SQLite file in WAL mode that holds all that a run has learned.

A response is written once and never changed; scores can be written anew at any time. Rows of
`condition` and `item` are marked active when they belong to the study last asked for, and it is
these that a report covers.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
from pydantic import ValidationError

from evenhand.benchmarks import is_own, known_benchmarks
from evenhand.benchmarks.item import IMPORTED, JUDGED, RUBRIC, Item
from evenhand.engines.engine import Outcome, Response
from evenhand.errors import RunFolderError, StoreError
from evenhand.scorers.base import Score, Verdict
from evenhand.store.database import (
    DAMAGED,
    FILE,
    JOURNALS,
    SCHEMA,
    VERSION,
    Change,
    Journal,
    Kept,
    check,
    compact,
    connect,
    has_tables,
    locked,
    make_file,
    migrate,
    note_clean_end,
    read_journals,
    store_error,
)
from evenhand.store.record import Blocked, RunRecord, Withholding
from evenhand.store.redaction import (
    LEFT_OUT,
    Redaction,
    leaves_out,
    shown_check,
    shown_frame,
    shown_item,
    shown_labels,
    shown_messages,
    shown_name,
    shown_reason,
    shown_record,
    shown_token,
)
from evenhand.store.rows import (
    ACTIVE,
    ACTIVE_OF_ITEM,
    HAS_IMPORTED_SCORE,
    OWN,
    SCORED,
    activate_condition,
    activate_item,
    apply,
    condition_content,
    counts_of,
    insert_condition,
    item_of,
    read_gaps,
    response_changes,
    score_row,
    value_with,
)
from evenhand.study.cue import Condition, Message, gap_values, wordings_that_ship
from evenhand.study.identity import Identity
from evenhand.study.plan import Request
from evenhand.study.realization import FactList, fill, gaps_of
from evenhand.text import some_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


_T = TypeVar("_T")
_MEASURED = 5000
"""Answers of which the length is looked up."""


@dataclass(frozen=True, slots=True)
class StoredCondition:
    """A condition of the study last asked for, as the audit needs it.

    Attributes:
        id: its number in the store.
        identity: who asks.
        cue, defense: their ids.
        example: the messages as sent, with gaps such as `{question}` and `{name}` in the place of
            what differs from one question to the next.
        facts: what stands in the gap `{facts}`.
    """

    id: int
    identity: Identity
    cue: str
    defense: str
    example: list[Message]
    facts: FactList | None = None

    @property
    def shows_realizations(self) -> bool:
        """Whether its cue has a gap that the identity's realizations fill."""
        texts = [turn["content"] for turn in self.example]
        return bool(
            gaps_of([*texts, self.facts.fact if self.facts else ""]) & self.identity.varying
        )

    def realization(self, slot: int | None) -> str | None:
        """Id of the realization that its cue shows on the items of a slot, such as a name."""
        shown = self.identity.shown(slot) if slot is not None else None
        return shown.id if shown and self.shows_realizations else None

    def messages(self, question: str, slot: int | None = None) -> list[Message]:
        """The conversation, for a question of a slot from which the identity was not withheld."""
        told = self.identity.kind != "baseline"
        values = gap_values(self.identity, self.facts, question, slot or 0, told=told)
        return [
            {"role": turn["role"], "content": fill(turn["content"], values)}
            for turn in self.example
        ]


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """A response of the study last asked for, as a reader or an export needs it.

    Attributes:
        condition: identity, cue and defense under which it was given.
        item: what was asked.
        sample: which of several answers of the cell, from 0.
        messages: the conversation as it was sent.
        left_out: whether question, answer, thought and `why` are, as `Store.redaction` says.
        score: in [0, 1]; None where it is unscored, for this `reason`.
        why: what led to the score.
        text: None where there is no answer: the outcome says why.
        thought: what the model thought aloud before it.
        outcome: whether it is whole.
        finish: why it ended, as the endpoint names it.
        served: the model that the reply names.
        error: why there is no answer, of one that was blocked or rejected.
    """

    condition: StoredCondition
    item: Item
    messages: list[Message]
    score: float | None
    reason: str
    why: str
    sample: int
    text: str | None
    thought: str
    outcome: Outcome
    finish: str
    served: str
    error: str
    left_out: bool = False

    @property
    def realization(self) -> str | None:
        """Id of the realization that the identity was shown by, such as a name."""
        return self.condition.realization(self.item.slot)


@dataclass(frozen=True, slots=True)
class GivenScore:
    """A judge's score of an answer.

    Attributes:
        value: in [0, 1]; None where there is none, for this `reason`.
        why: what led to it.
    """

    value: float | None
    reason: str
    why: str


@dataclass(frozen=True, slots=True)
class ItemAnswer:
    """An answer to a question, with the scores of all judges.

    Attributes:
        error: why there is no answer; empty where there is one.
        condition: id of the condition in the store.
        sample: which of several answers of the cell, from 0.
        text: None where there is no answer: the outcome and the error say why.
        thought: what the model thought aloud before it.
        outcome: whether it is whole.
        finish: why it ended, as the endpoint names it.
        scores: by the judges' numbers in the store.
    """

    scores: dict[int, GivenScore]
    condition: int
    sample: int
    text: str | None
    thought: str
    outcome: Outcome
    finish: str
    error: str

    def redacted(self) -> ItemAnswer:
        """Without its texts, and without what a judge or the endpoint said of them."""
        scores = {
            judge: replace(score, why="", reason=shown_reason(score.reason, "all"))
            for judge, score in self.scores.items()
        }
        text, finish = None if self.text is None else LEFT_OUT, shown_token(self.finish)
        return replace(self, scores=scores, text=text, thought="", error="", finish=finish)


@dataclass(frozen=True, slots=True)
class ImportedAnswer:
    """An answer that was given and scored elsewhere, as it goes into a store.

    Attributes:
        condition, item, sample: where it stands in the grid, from 0.
        verdict: the score that came with it, or why there is none.
        text: None where the file does not have it.
        thought: what the model thought aloud before it.
        outcome: whether it is whole.
        finish: why it ended, as the endpoint named it.
        error: why there is no answer, of one that was blocked or rejected.
        prompt_tokens, completion_tokens: 0 where the file does not say.
    """

    condition: int
    item: int
    sample: int
    verdict: Verdict
    text: str | None = None
    thought: str = ""
    outcome: Outcome = "whole"
    finish: str = ""
    error: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Store:
    """The store of one run folder; threads take turns.

    Attributes:
        redaction: whose texts `stored_answers` and `shown_items` leave out. What names things (ids,
            subgroups, reasons, the words of own cues) is then shown in code wherever it is read;
            analysis and scoring still read questions and answers.
    """

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        self.folder = folder
        self._connection = connection
        self._alone = threading.RLock()
        self._journal: Journal | None = None
        self._keeping = threading.Lock()
        self._kept: list[Kept] = []
        self._number = 0
        self._blocked: Blocked | None = None
        self._read: dict[Hashable, Any] = {}
        self._read_at = (0, 0)
        self.redaction: Redaction | None = None

    @classmethod
    def create(cls, folder: Path) -> Store:
        """Open the store of a folder, and make folder and store where there are none.

        Raises:
            RunFolderError: the folder holds other things than a run.
            StoreError: the store is damaged, or cannot be written.
        """
        if has_tables(folder):
            return cls.open(folder)
        make_file(folder)
        store = cls(folder, connect(folder))
        with store.writing() as connection:
            connection.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version={VERSION}; COMMIT;")
        return store

    @classmethod
    def open(cls, folder: Path) -> Store:
        """Open the store of a run folder that is there, bringing an older one to this version.

        Raises:
            RunFolderError: there is no run in this folder, or one of another version of evenhand.
            StoreError: the store is damaged.
        """
        if not has_tables(folder):
            inside = sorted(str(path.parent) for path in folder.glob(f"*/{FILE}"))
            if inside:
                raise RunFolderError(f"no run in {folder}, but in {some_of(inside, 3)}")
            raise RunFolderError(f"no run in {folder}; start one: evenhand audit MODEL --out DIR")
        if check(folder) != VERSION:
            migrate(folder)
        store = cls(folder, connect(folder))
        if read_journals(folder):
            # Otherwise the process that writes them is alive.
            with suppress(RunFolderError), locked(folder, wait=0):
                store._take_over()
        return store

    def close(self) -> None:
        """Close the file; what was written stays, in no more space than it takes."""
        if self._connection.total_changes:
            compact(self.folder, self._connection)
        self._connection.close()
        note_clean_end(self.folder)

    @contextmanager
    def only_process(self) -> Iterator[None]:
        """Hold the run folder for this process alone; only then can answers be kept.

        Raises:
            RunFolderError: another process has it.
        """
        with locked(self.folder):
            self._take_over()
            self._number = self._committed()
            self._journal = Journal(self.folder)
            try:
                yield
            finally:
                self._journal.close()
                self._journal = None

    def state(self) -> tuple[int, int, Blocked]:
        """What changes with every write to the store, by this process or another."""
        return *self._version(), self.blocked

    def _version(self) -> tuple[int, int]:
        with self.reading() as connection:
            (others,) = connection.execute("PRAGMA data_version").fetchone()
            return others, connection.total_changes

    def once(self, what: Hashable, read: Callable[[], _T]) -> _T:
        """What was read, kept until the store is written to: a report needs it several times."""
        version = self._version()
        if version != self._read_at:
            self._read_at, self._read = version, {}
        if what not in self._read:
            self._read[what] = read()
        found: _T = self._read[what]
        return found

    @property
    def blocked(self) -> Blocked:
        """What answers count as that the provider has blocked: as set here, or for the run."""
        if self._blocked is not None:
            return self._blocked
        stored = self.document("run")  # read for every question: the whole record takes longer
        known = stored.get("blocked") if isinstance(stored, dict) else None
        return "missing" if known == "missing" else "refusal"

    @blocked.setter
    def blocked(self, blocked: Blocked) -> None:
        """Say so for all that is read from now on; the run is not changed."""
        self._blocked = blocked

    # What the run is about

    def record(self) -> RunRecord:
        """What the run is about, and how it was asked.

        Raises:
            RunFolderError: it has not begun.
        """
        found = self.record_if_begun()
        if found is None:
            raise RunFolderError(f"{self.folder}: the run has no answers yet; start it again")
        return found

    def record_if_begun(self) -> RunRecord | None:
        """The same, or None."""
        stored = self.document("run")
        if stored is None:
            return None
        try:
            record = RunRecord.model_validate(stored)
        except ValidationError:
            raise StoreError(f"{self.folder / FILE}: {DAMAGED}") from None
        if self.redaction is None:
            return record
        return record.model_copy(update={"system_role": shown_check(record.system_role)})

    def shown_record(self) -> RunRecord:
        """The record as a reader gets it: no path of this machine; see `redaction`."""
        return shown_record(self.record(), self.redaction)

    def update_record(self, **fields: Any) -> None:
        """Change some fields of the record."""
        record = self.record().model_copy(update=fields)
        self.set_document("run", record.model_dump(mode="json"))

    def withholdings(self) -> dict[str, Withholding]:
        """What the withholding defenses of the run have decided, by defense."""
        stored = self.document("withheld") or {}
        return {name: Withholding(**facts) for name, facts in stored.items()}

    def set_withholdings(self, withholdings: Mapping[str, Withholding]) -> None:
        """Write these decisions down."""
        facts = {name: asdict(withholding) for name, withholding in withholdings.items()}
        self.set_document("withheld", facts)

    def document(self, name: str) -> Any:
        """What another part of evenhand has written about the run under a name, or None."""
        with self.reading() as connection:
            row = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        try:
            return orjson.loads(row[0]) if row else None
        except orjson.JSONDecodeError:
            raise StoreError(f"{self.folder / FILE}: {DAMAGED}") from None

    def set_document(self, name: str, value: Any) -> None:
        """Write down anything that JSON can hold, under a name."""
        with self.writing() as connection:
            _set_document(connection, name, value)

    def activate(
        self, conditions: Sequence[Condition], items: Sequence[Item], record: RunRecord
    ) -> tuple[list[int], list[int]]:
        """Make these the run's active cells, and give the ids of conditions and items.

        Args:
            record: written together with the cells.

        Raises:
            RunFolderError: one of them is there already, with another content.
        """
        with self.writing() as connection:
            connection.execute("UPDATE condition SET active = 0")
            connection.execute("UPDATE item SET active = 0")
            _set_document(connection, "run", record.model_dump(mode="json"))
            return (
                [activate_condition(connection, n, c) for n, c in enumerate(conditions)],
                [activate_item(connection, n, item) for n, item in enumerate(items)],
            )

    def conditions(self, *, inactive: bool = False) -> list[StoredCondition]:
        """The active conditions, or all, in the order of the plan."""
        where = "" if inactive else "WHERE active"
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT id, identity, text, category, kind, cue, defense, example, gaps "
                f"FROM condition {where} ORDER BY position"
            ).fetchall()
        found = []
        for row in rows:
            identity, facts = read_gaps(Identity(*row[1:5]), row[8])
            example = orjson.loads(row[7])
            found.append(StoredCondition(row[0], identity, row[5], row[6], example, facts))
        return found if self.redaction is None else [self._shown_condition(c) for c in found]

    def _shown_condition(self, condition: StoredCondition) -> StoredCondition:
        """Without words of one's own, or of an imported file, that may quote a question."""
        imported = self.record().imported is not None
        own = self.redaction == "all" and {condition.cue, condition.defense} & self.own_wordings()
        if not (imported or own):
            return condition
        return replace(condition, example=shown_frame(condition.example))

    def own_wordings(self) -> set[str]:
        """Ids of the cues and defenses whose words do not come with evenhand."""
        stored, study = self.document("wordings"), self.record().study
        if stored is None:
            files = study.cues_file or study.defenses_file
            return {*study.cues, *study.defenses} - {"none"} if files else set()
        ours = wordings_that_ship()
        return {each["id"] for kind in ours for each in stored[kind] if each not in ours[kind]}

    def items(self, *, inactive: bool = False) -> dict[int, Item]:
        """The active items, or all, by their id in the store, in the order of the plan."""
        what = "items", inactive, self.redaction
        return dict(self.once(what, lambda: self._items(inactive=inactive)))

    def _items(self, *, inactive: bool) -> dict[int, Item]:
        where = "" if inactive else "WHERE active"
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT id, benchmark, name, prompt, axis, scorer, answer, choices, subgroup, slot "
                f"FROM item {where} ORDER BY position"
            ).fetchall()
        found = {row[0]: item_of(*row[1:]) for row in rows}
        if self.redaction is None:
            return found
        published = self._published()
        return {n: shown_labels(item, self.redaction, published) for n, item in found.items()}

    def _published(self) -> set[str]:
        """Benchmarks that come with evenhand or a package, not from a file."""
        record = self.record()
        if record.imported is not None:
            return set()
        own = {Path(name).stem for name in record.study.benchmarks if is_own(name)}
        return set(known_benchmarks()) - own

    def shown_items(self) -> dict[int, Item]:
        """The active items as a reader gets them; see `redaction`."""
        return {n: shown_item(item, self.redaction) for n, item in self.items().items()}

    def scorers(self) -> set[str]:
        """What the active items are scored by."""
        with self.reading() as connection:
            rows = connection.execute("SELECT DISTINCT scorer FROM item WHERE active").fetchall()
        return {scorer for (scorer,) in rows}

    def own_judge(self) -> str:
        """The name of the items' own scorers in whose place a judge stands, such as "refusal"."""
        return "+".join(sorted(self.scorers() & JUDGED or JUDGED - {IMPORTED, RUBRIC}))

    def forget_items(self, items: Iterable[int]) -> None:
        """Take items with their answers and scores off the run."""
        numbers = [(item,) for item in items]
        of_item = "response IN (SELECT id FROM response WHERE item = ?)"
        with self.writing() as connection:
            for table in ("score", "recheck", "judge_failure"):
                connection.executemany(f"DELETE FROM {table} WHERE {of_item}", numbers)
            for table in ("response", "failure"):
                connection.executemany(f"DELETE FROM {table} WHERE item = ?", numbers)
            connection.executemany("DELETE FROM item WHERE id = ?", numbers)

    # Responses

    def keys(self) -> set[bytes]:
        """Keys of all the responses that are on disk."""
        with self.reading() as connection:
            return {key for (key,) in connection.execute("SELECT key FROM response")}

    def keys_of(self, item: int) -> set[bytes]:
        """Keys of the responses to one item that are on disk."""
        with self.reading() as connection:
            rows = connection.execute("SELECT key FROM response WHERE item = ?", (item,))
            return {key for (key,) in rows}

    def keep(self, changes: Sequence[Change]) -> None:
        """Take what has just come: it survives the death of this process from now on.

        It is in the database, and survives a loss of power, after the next `flush`. An error of
        the disk is raised there, too. To be called in `only_process`.
        """
        assert self._journal is not None
        with self._keeping:
            self._number += 1
            kept = (self._number, changes)
            self._kept.append(kept)
            with suppress(StoreError):  # the database will not be writable, either
                self._journal.append(kept)

    def flush(self) -> None:
        """Commit all that was kept, all of it or nothing."""
        assert self._journal is not None
        with self._keeping:
            batch, self._kept = self._kept, []
            if not batch:
                return
            file = self._journal.turn()
        self._commit(batch)
        self._journal.clear(file)

    def _commit(self, batch: Sequence[Kept]) -> None:
        with self.writing() as connection:
            apply(connection, (change for _, changes in batch for change in changes))
            _set_document(connection, "journal", batch[-1][0])

    def _committed(self) -> int:
        """The number of the last changes that came out of a journal into the database."""
        return int(self.document("journal") or 0)

    def _take_over(self) -> None:
        """Commit what a dead process has kept and not committed."""
        left = read_journals(self.folder)
        known = self._committed()
        batch = [kept for kept in left if kept[0] > known]
        try:
            if batch:
                self._commit(batch)
        except (KeyError, ValueError, TypeError, IndexError):
            raise StoreError(f"{self.folder / JOURNALS[0]}: {DAMAGED}") from None
        if left:
            journal = Journal(self.folder)
            for number in range(2):
                journal.clear(number)
            journal.close()

    def write(
        self, responses: Sequence[Response], condition_ids: list[int], item_ids: list[int]
    ) -> None:
        """Put responses and failed attempts on disk at once, all of them or none.

        Args:
            responses: those that are not settled add their failures only.
            condition_ids, item_ids: from the plan's indices to the ids in the store.
        """
        changes = [
            change
            for each in responses
            for change in response_changes(
                each, condition_ids[each.request.condition], item_ids[each.request.item]
            )
        ]
        with self.writing() as connection:
            apply(connection, changes)

    def fill(
        self,
        conditions: Sequence[StoredCondition],
        items: Sequence[Item],
        record: RunRecord,
        answers: Iterable[ImportedAnswer],
    ) -> None:
        """Write a whole run that was asked elsewhere into an empty store, all of it or nothing.

        Args:
            conditions, items: their ids are given anew; answers name them by their places here.
        """
        with self.writing() as connection:
            _set_document(connection, "run", record.model_dump(mode="json"))
            condition_ids = [
                insert_condition(
                    connection,
                    n,
                    f"{c.identity.id}|{c.cue}|{c.defense}",
                    condition_content(c.identity, c.cue, c.defense, c.example),
                )
                for n, c in enumerate(conditions)
            ]
            item_ids = [activate_item(connection, n, item) for n, item in enumerate(items)]
            for number, answer in enumerate(answers, 1):
                place = condition_ids[answer.condition], item_ids[answer.item]
                connection.execute(
                    "INSERT INTO response (id, key, condition, item, sample, text, error, finish, "
                    "prompt_tokens, completion_tokens, seconds, attempts, thought, outcome, "
                    "served) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 1, ?, ?, '')",
                    (
                        number,
                        number.to_bytes(16),
                        *place,
                        answer.sample,
                        answer.text,
                        answer.error,
                        answer.finish,
                        answer.prompt_tokens,
                        answer.completion_tokens,
                        answer.thought,
                        answer.outcome,
                    ),
                )
                row = score_row(number, OWN, answer.verdict)
                connection.execute("INSERT INTO score VALUES (?, ?, ?, ?, ?)", row)

    def responses(self, requests: Mapping[bytes, Request]) -> list[Response]:
        """The stored responses to requests, by their keys; the failed attempts are left out."""
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT key, text, error, finish, prompt_tokens, completion_tokens, thought, "
                "outcome, served FROM response"
            )
            return [
                Response(
                    requests[row[0]],
                    row[1],
                    error=row[2],
                    finish=row[3],
                    prompt_tokens=row[4],
                    completion_tokens=row[5],
                    thought=row[6],
                    outcome=row[7],
                    served=row[8],
                )
                for row in rows
                if row[0] in requests
            ]

    def stored(self) -> tuple[int, int]:
        """Answers on disk, those of other studies included; the most samples of a cell."""
        with self.reading() as connection:
            count, samples = connection.execute(
                "SELECT count(*), coalesce(max(sample) + 1, 0) FROM response"
            ).fetchone()
        return count, samples

    def texts(self) -> list[tuple[int, int, int, str, Outcome]]:
        """Answers of the active cells: (condition id, item id, sample, text, outcome)."""
        with self.reading() as connection:
            return connection.execute(
                "SELECT condition, item, sample, text, outcome FROM response "
                f"{ACTIVE} AND text IS NOT NULL ORDER BY condition, item, sample"
            ).fetchall()

    def answers(
        self, cells: Sequence[tuple[int, int, int]], *, judge: int = OWN
    ) -> dict[tuple[int, int, int], tuple[str, str]]:
        """Answers of a few cells, and what led to their scores.

        Args:
            cells: (condition id, item id, sample), a few thousand at the most.
            judge: whose scores of judged items; all others have their own scorer's.
        """
        wanted = orjson.dumps(cells).decode()
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT condition, item, sample, coalesce(text, '[blocked by the provider]'), "
                "CASE WHEN outcome != 'blocked' THEN why "
                "WHEN error LIKE 'blocked by the provider%' THEN error "
                "WHEN error != '' THEN 'blocked by the provider: ' || error "
                "ELSE 'blocked by the provider' END "
                f"FROM response JOIN score ON {counts_of(judge)} "
                "WHERE (condition, item, sample) IN (SELECT "
                "json_extract(value, '$[0]'), json_extract(value, '$[1]'), "
                "json_extract(value, '$[2]') FROM json_each(?)) "
                "AND (text IS NOT NULL OR outcome = 'blocked')",
                (wanted,),
            )
            return {(c, i, s): (text, why) for c, i, s, text, why in rows}

    # Scores

    def unscored(
        self, after: int, *, again: bool = False
    ) -> list[tuple[int, int, int, str | None, Outcome, bool]]:
        """The next few thousand responses to score.

        Args:
            after: the last id that was given; 0 at first.
            again: give responses that have a score of their item's own scorer, too; imported
                scores are nothing that a scorer could give again.

        Returns:
            (id, condition, item, text, outcome, whether the model thought aloud).
        """
        where = f"AND NOT {HAS_IMPORTED_SCORE}" if again else f"AND NOT {SCORED}"
        with self.reading() as connection:
            return connection.execute(
                "SELECT response.id, condition, item, text, outcome, thought != '' FROM response "
                f"WHERE response.id > ? {where} ORDER BY response.id LIMIT 5000",
                (after,),
            ).fetchall()

    def all_scored(self) -> bool:
        """Whether every response has a score of its item's own scorer."""
        with self.reading() as connection:
            answers, scores = connection.execute(
                "SELECT (SELECT count(*) FROM response), "
                f"(SELECT count(*) FROM score WHERE judge = {OWN})"
            ).fetchone()
        return bool(answers == scores)

    def judges(self) -> dict[str, int]:
        """Names and numbers of the judges that have scored answers of this run."""
        with self.reading() as connection:
            rows = connection.execute("SELECT name, id FROM judge ORDER BY id").fetchall()
        return {shown_name(name): number for name, number in rows}

    def write_scores(
        self, scores: Iterable[tuple[int, Score | Verdict]], *, judge: int = OWN
    ) -> None:
        """Write one judge's scores of responses, in the place of any that were there."""
        rows = [score_row(response, judge, score) for response, score in scores]
        with self.writing() as connection:
            connection.executemany("INSERT OR REPLACE INTO score VALUES (?, ?, ?, ?, ?)", rows)

    def forget_rechecks(self, judge: int) -> None:
        """Drop what judging again has shown: the scores that it was held against are gone."""
        with self.writing() as connection:
            connection.execute("DELETE FROM recheck WHERE judge = ?", (judge,))

    def scores(self, *, judge: int = OWN, blocked: Blocked | None = None) -> NDArray[np.float64]:
        """Scores of the active cells: rows of (condition id, item id, sample, value or NaN).

        Args:
            judge: whose scores of judged items; all others have their own scorer's.
            blocked: what blocked answers count as, in the place of the store's own `blocked`.
        """
        counted = blocked or self.blocked
        if not self.has_blocked():
            counted = "missing"  # which is the same then, and read once for both
        return self.once(("scores", judge, counted), lambda: self._scores(judge, counted))

    def has_blocked(self) -> bool:
        """Whether the provider blocked an answer, of this study or one that was asked before."""
        found = "SELECT EXISTS (SELECT 1 FROM response WHERE outcome = 'blocked')"

        def read() -> bool:
            with self.reading() as connection:
                return bool(connection.execute(found).fetchone()[0])

        return self.once("has_blocked", read)

    def _scores(self, judge: int, blocked: Blocked) -> NDArray[np.float64]:
        import numpy as np  # which takes an eighth of a second

        with self.reading() as connection:
            rows = connection.execute(
                f"SELECT condition, item, sample, coalesce({value_with(blocked)}, 9e999) "
                f"FROM response JOIN score ON {counts_of(judge)} {ACTIVE}"
            )
            found = np.fromiter(chain.from_iterable(rows), np.float64).reshape(-1, 4)
        found[np.isinf(found)] = np.nan
        found.flags.writeable = False
        return found

    def every_score(
        self,
    ) -> Iterator[tuple[int, int, int, str, float | None, str, Outcome, str, int, int]]:
        """Every judge's scores of the active cells, one row after another.

        Yields:
            (condition id, item id, sample, judge's name or "" for the item's own scorer, value or
            None, reason for None, outcome, finish, attempts, completion tokens).
        """
        value = value_with(self.blocked)
        with self.reading() as connection:
            rows = connection.execute(
                f"SELECT condition, item, sample, coalesce(judge.name, ''), {value}, "
                f"CASE WHEN {value} IS NULL THEN reason ELSE '' END, outcome, finish, "
                "response.attempts, response.completion_tokens FROM response "
                "JOIN score ON score.response = response.id "
                f"LEFT JOIN judge ON judge.id = score.judge {ACTIVE} "
                "ORDER BY response.id, score.judge"
            )
            for *cell, judge, given, reason, outcome, finish, attempts, tokens in rows:
                reason = shown_reason(reason, self.redaction)
                finish = finish if self.redaction is None else shown_token(finish)
                yield (*cell, shown_name(judge), given, reason, outcome, finish, attempts, tokens)

    def reasons(self, *, judge: int = OWN, axis: str | None = None) -> list[tuple[int, str, int]]:
        """Why answers are unscored: (condition id, reason, count).

        Args:
            axis: of whose items; None for all.
        """
        found: Counter[tuple[int, str]] = Counter()
        blocked = self.blocked
        rows = self.once(("reasons", judge, blocked), lambda: self._reasons(judge, blocked))
        for condition, its_axis, reason, count in rows:
            if axis in (None, its_axis):
                found[condition, shown_reason(reason, self.redaction)] += count
        return [(condition, reason, count) for (condition, reason), count in found.items()]

    def _reasons(self, judge: int, blocked: Blocked) -> list[tuple[int, str, str, int]]:
        """The few scores without a value come first: what was answered is looked up for them."""
        with self.reading() as connection:
            return connection.execute(
                "SELECT condition, axis, reason, count(*) FROM score CROSS JOIN response "
                f"ON {counts_of(judge)} JOIN item ON item.id = response.item {ACTIVE} "
                f"AND value IS NULL AND {value_with(blocked)} IS NULL "
                "GROUP BY condition, axis, reason"
            ).fetchall()

    def stored_answers(self, *, judge: int = OWN) -> Iterator[StoredAnswer]:
        """All responses of the study last asked for, item by item.

        Args:
            judge: whose scores of judged items; all others have their own scorer's.
        """
        conditions = {condition.id: condition for condition in self.conditions()}
        baselines = {
            (c.cue, c.defense): c for c in conditions.values() if c.identity.kind == "baseline"
        }
        withholdings, value = self.withholdings(), value_with(self.blocked)
        for item_id, item in self.items().items():
            with self.reading() as connection:
                rows = connection.execute(
                    f"SELECT condition, {value}, coalesce(reason, 'not scored yet'), "
                    "coalesce(why, ''), sample, text, thought, outcome, finish, served, error "
                    f"FROM response LEFT JOIN score ON {counts_of(judge)} "
                    f"{ACTIVE_OF_ITEM} ORDER BY condition, sample",
                    (item_id,),
                ).fetchall()
            for condition_id, score, reason, why, *rest in rows:
                condition = sent_as = conditions[condition_id]
                withholding = withholdings.get(condition.defense)
                if withholding and withholding.withholds(item.prompt):
                    sent_as = baselines[condition.cue, condition.defense]
                messages = sent_as.messages(item.prompt, item.slot)
                reason = reason if score is None else ""
                answer = StoredAnswer(condition, item, messages, score, reason, why, *rest)
                yield self._shown(answer) if leaves_out(self.redaction, item.axis) else answer

    def _shown(self, answer: StoredAnswer) -> StoredAnswer:
        return replace(
            answer,
            item=shown_item(answer.item, self.redaction),
            messages=shown_messages(answer.messages),
            reason=shown_reason(answer.reason, self.redaction),
            why="",
            text=None,
            thought="",
            error="",
            finish=shown_token(answer.finish),
            served=shown_token(answer.served),
            left_out=True,
        )

    def text_length(self) -> int:
        """About as many characters as all answers and thoughts of the study last asked for have.

        Of many answers those with the lowest keys stand for all: keys are hashes.
        """
        with self.reading() as connection:
            (answers,) = connection.execute(f"SELECT count(*) FROM response {ACTIVE}").fetchone()
            share = min(1.0, _MEASURED / max(1, answers))
            bound = min(int(share * 2**64), 2**64 - 1).to_bytes(8, "big") + b"\xff" * 8
            length, measured = connection.execute(
                "SELECT sum(length(coalesce(text, '')) + length(thought)), count(*) "
                f"FROM response INDEXED BY sqlite_autoindex_response_1 {ACTIVE} AND key <= ?",
                (bound,),
            ).fetchone()
        return int(answers * (length or 0) / max(1, measured))

    def item_answers(self, item: int, axis: str) -> list[ItemAnswer]:
        """The answers to an item, by condition in the order of the plan, then by sample.

        Args:
            item: its id in the store.
            axis: the item's: texts are left out as `redaction` says.
        """
        value = value_with(self.blocked)
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT id, condition, sample, text, thought, outcome, finish, error FROM response "
                f"{ACTIVE_OF_ITEM} "
                "ORDER BY (SELECT position FROM condition WHERE id = condition), sample",
                (item,),
            ).fetchall()
            scored = connection.execute(
                f"SELECT response, judge, {value}, reason, why FROM score "
                "JOIN response ON response.id = score.response WHERE item = ?",
                (item,),
            ).fetchall()
        answers = {number: row for number, *row in rows}
        scores: dict[int, dict[int, GivenScore]] = {}
        for response, judge, *given in scored:
            scores.setdefault(response, {})[judge] = GivenScore(*given)
        found = [ItemAnswer(scores.get(number, {}), *row) for number, row in answers.items()]
        return [each.redacted() for each in found] if leaves_out(self.redaction, axis) else found

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The database, to read from; its errors become `StoreError`."""
        try:
            with self._alone:
                yield self._connection
        except sqlite3.Error as error:
            raise store_error(self.folder, error) from None

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The database, to write to: all that is written in here, or nothing."""
        with self.reading(), self._connection:
            yield self._connection


def _set_document(connection: sqlite3.Connection, name: str, value: Any) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, orjson.dumps(value).decode())
    )
