"""Read results of batches into a store, in any order and any number of times.

Whatever a line holds is read by the wire's own reader. A request is settled once: a second line of
it is counted and left. Requests that have failed or expired are free to be asked again; an answer
that comes later all the same is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import IO

from evenhand.benchmarks.item import BY_LOGPROB
from evenhand.engines.access import Access, Refusal
from evenhand.engines.batches import ENVELOPES
from evenhand.engines.engine import Failure, Outcome, Response
from evenhand.engines.rules import action_for, refused_settings
from evenhand.engines.wire import Completion, Fault
from evenhand.errors import RequestRejected
from evenhand.run.system_role import ON_THE_WAY_BACK, Returned, check_returned
from evenhand.store.database import Change
from evenhand.store.rows import response_changes
from evenhand.store.sent import Sent, SentCell
from evenhand.store.store import Store
from evenhand.study.plan import Request

_CHUNK = 5000
"""Answers between two writes."""
_LONGEST_LINE = 2**24
_TELLING = 1000
"""Answers that tell whether those of a model start with a thought."""
_LEFT_OUT = "left_out"
"""The document of the run that holds the settings that the service refuses."""


@dataclass(slots=True)
class ResultCounts:
    """What was in a file of results.

    Attributes:
        lines: that are whole.
        answered: cells that are settled by it.
        failed: requests that are to be asked again.
        known: lines of requests that were answered, or had failed, already.
        foreign: lines of no request of this run.
        cut_off: the last line breaks off.
        prompt_tokens: that the requests took.
        completion_tokens: that the answers took.
    """

    lines: int = 0
    answered: int = 0
    failed: int = 0
    known: int = 0
    foreign: int = 0
    cut_off: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0


class ResultReader:
    """Reads files of results into a store, in any order and any number of times.

    Attributes:
        have: keys of the responses that are on disk.
        choices: of the items that are asked for the first token's probabilities, by their ids.
        notes: what had to be asked otherwise than the study says.
    """

    def __init__(self, store: Store, access: Access) -> None:
        self.access = access
        self.envelope = ENVELOPES[access.wire.name]
        self.sent = Sent(store)
        self.have = store.keys()
        self._store = store
        items = store.items(inactive=True).items()
        self.choices = {n: i.choices for n, i in items if i.scorer == BY_LOGPROB}
        left_out = store.document(_LEFT_OUT) or {}
        self.wire = access.wire.without(left_out)
        self.notes: list[str] = list(left_out.values())

    def read(self, files: Sequence[IO[bytes]], name: str) -> ResultCounts:
        """Read the files of one batch's results; answers are written as they are read.

        Args:
            name: of the file or batch, for messages.

        Raises:
            EngineError: no system message has reached the model, or it refuses every request.
        """
        free = self.sent.free_cells()
        cells = self.sent.cells() | free
        self._check_system_role(files, cells)
        reading = _Reading(self, cells, free.keys(), self._start_thinking(files))
        for line in _lines(files):
            if not line.endswith(b"\n") and self.envelope.result(line, self.wire) is None:
                reading.counts.cut_off = True
                break
            reading.take(line)
        reading.finish(name)
        return reading.counts

    def end(self, batch: int, why: str) -> None:
        """A batch has been read whole: requests of which it says nothing have failed."""
        left = self.sent.cells(batch).values()
        self.sent.end(batch, [("failure", (*cell, 0, why)) for cell in left])

    def leave_out(self, settings: Iterable[str], refusal: Refusal) -> None:
        """Send these settings no more, now and in later commands."""
        known = self._store.document(_LEFT_OUT) or {}
        new = [name for name in sorted(settings) if self.wire.sends(name)]
        for name in new:
            note = f"{self.access.service.name} does not take {name}, which is left out"
            known[name] = f"{note} ({refusal.failure.error})"
            self.notes.append(known[name])
        self._store.set_document(_LEFT_OUT, known)
        self.wire = self.wire.without(new)

    def _check_system_role(self, files: Sequence[IO[bytes]], cells: dict[bytes, SentCell]) -> None:
        """With the first results; nothing of them is stored if it goes wrong."""
        record = self._store.record()
        if record.system_role.evidence != ON_THE_WAY_BACK:
            return
        withheld = self._store.withholdings()
        conditions = [c for c in self._store.conditions() if c.defense not in withheld]
        returned = self._returned(files, cells)
        check = check_returned(record.study.model, conditions, returned)
        self._store.update_record(system_role=check)

    def _start_thinking(self, files: Sequence[IO[bytes]]) -> bool:
        found = (self.envelope.result(line, self.wire) for line in islice(_lines(files), _TELLING))
        outcomes = (each[1] for each in found if each)
        return any(isinstance(each, Completion) and each.starts_thinking for each in outcomes)

    def _returned(
        self, files: Sequence[IO[bytes]], cells: dict[bytes, SentCell]
    ) -> Iterator[Returned]:
        for line in _lines(files):
            found = self.envelope.result(line, self.wire)
            cell = cells.get(key_of(found[0])) if found else None
            if found is None or cell is None:
                continue
            outcome = found[1]
            if isinstance(outcome, Completion):
                yield Returned(cell[0], cell[1], outcome.prompt_tokens)
            elif action_for(outcome, self.access.wire) == "probe":
                yield Returned(cell[0], cell[1], None)


class _Reading:
    """One reading of one file."""

    def __init__(
        self,
        reader: ResultReader,
        cells: dict[bytes, SentCell],
        failed: Iterable[bytes],
        start_thinking: bool,
    ) -> None:
        self._reader = reader
        self._start_thinking = start_thinking
        self._cells = cells
        self._changes: list[Change] = []
        self._settled: list[bytes] = []
        self._failed: list[bytes] = []  # since the last write
        self._failed_before = frozenset(failed)
        self._again_keys: set[bytes] = set()
        self._refused: dict[bytes, tuple[SentCell, Refusal]] = {}
        self._completions = 0
        self.counts = ResultCounts()

    def take(self, line: bytes) -> None:
        """One line."""
        reader, counts = self._reader, self.counts
        counts.lines += 1
        found = reader.envelope.result(line, reader.wire)
        key = key_of(found[0]) if found else b""
        cell = self._cells.get(key)
        if found is None or (cell is None and key not in reader.have):
            counts.foreign += 1
        elif cell is None or key in reader.have:
            counts.known += 1
            if cell is not None:
                self._settled.append(key)
        elif isinstance(found[1], Completion):
            self._answer(key, cell, found[1])
        elif key in self._failed_before or key in self._again_keys or key in self._refused:
            counts.known += 1
        else:
            self._fail(key, cell, found[1])
        if len(self._settled) + len(self._failed) >= _CHUNK:
            self._write()

    def finish(self, name: str) -> None:
        """Settle what was refused, by whether everything was, and write the rest.

        Raises:
            EngineError: the service refuses every request.
        """
        refused = {k: r for k, r in self._refused.items() if k not in self._reader.have}
        if refused and not self._completions and not self._reader.have:
            self._write()
            why = next(iter(refused.values()))[1].failure.error
            raise RequestRejected(f"{name}: every request was refused ({why})")
        for key, (cell, refusal) in refused.items():
            status = refusal.fault.status
            if status in (401, 402, 404, 405, 407):  # of the moment, since others are answered
                self._again(key, cell, refusal)
            else:
                self._close(key, cell, refusal, "blocked" if status in (403, 451) else "rejected")
        self._write()

    def _answer(self, key: bytes, cell: SentCell, answer: Completion) -> None:
        messages = self._reader.access.messages
        if choices := self._reader.choices.get(cell[1]):
            answer.choose(choices)
        if self._start_thinking:
            answer.take_as_thought()
        response = Response(
            Request(key, 0, 0, cell[2], []),
            text=answer.text,
            thought=answer.thought,
            outcome=answer.outcome,
            error=messages.name(answer.error) if answer.error else "",
            finish=messages.name(answer.finish),
            served=messages.name(answer.served),
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
        )
        self._completions += 1
        if key in self._again_keys:
            self.counts.failed -= 1
        self.counts.prompt_tokens += answer.prompt_tokens
        self.counts.completion_tokens += answer.completion_tokens
        self._settle(key, cell, response)

    def _fail(self, key: bytes, cell: SentCell, fault: Fault) -> None:
        reader = self._reader
        refusal = reader.access.messages.refusal(fault)
        wire = reader.access.wire  # with all settings, as it may have been sent
        action = action_for(fault, wire)
        if action == "block":
            self._close(key, cell, refusal, "blocked")
        elif action == "probe":
            self._refused[key] = cell, refusal
        elif action == "ask once more" and reader.sent.failed_alike(cell, refusal.failure.error):
            self._close(key, cell, refusal, "blocked")
        else:
            settings = refused_settings(fault, wire) if action == "adapt" else frozenset()
            if "logprobs" in settings:  # without them there is nothing to ask for
                self._close(key, cell, refusal, "rejected")
                return
            if settings:
                reader.leave_out(settings, refusal)
            self._again(key, cell, refusal)

    def _close(self, key: bytes, cell: SentCell, refusal: Refusal, outcome: Outcome) -> None:
        status = refusal.fault.status
        finish = f"HTTP {status}" if status else ""
        request = Request(key, 0, 0, cell[2], [])
        error = refusal.failure.error
        self._settle(
            key, cell, Response(request, None, outcome=outcome, error=error, finish=finish)
        )

    def _settle(self, key: bytes, cell: SentCell, response: Response) -> None:
        self._changes += response_changes(response, cell[0], cell[1])
        self._settled.append(key)
        self._reader.have.add(key)
        self.counts.answered += 1

    def _again(self, key: bytes, cell: SentCell, refusal: Refusal) -> None:
        failure: Failure = refusal.failure
        self._changes.append(("failure", (*cell, failure.status, failure.error)))
        self._failed.append(key)
        self._again_keys.add(key)
        self.counts.failed += 1

    def _write(self) -> None:
        self._reader.sent.write(self._changes, self._settled, self._failed)
        self._changes, self._settled, self._failed = [], [], []


def key_of(name: str) -> bytes:
    """The key of the request that has this id in a batch; b"" where it is not one of ours."""
    try:
        return bytes.fromhex(name.rpartition("-")[2])
    except ValueError:
        return b""


def _lines(files: Iterable[IO[bytes]]) -> Iterator[bytes]:
    """The lines that are not blank; one that is longer than any reply is an empty object."""
    for file in files:
        file.seek(0)
        while line := file.readline(_LONGEST_LINE):
            if len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
                while not line.endswith(b"\n") and line:
                    line = file.readline(_LONGEST_LINE)
                yield b"{}\n"  # no reply is that long
            elif line.strip():
                yield line
