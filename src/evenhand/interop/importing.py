"""From files of results to run folders: the answers and scores of another tool, as a run.

Who, what and which is said by columns: `identity`, `axis`, `benchmark`, `item`, `sample`, `score`,
and where they are there `prompt` or `messages`, `answer`, `error`, `model`, `subgroup`, `cue`,
`defense`, `kind` and more. An imported run is reported, compared, gated, judged and labeled as one
that evenhand has asked; nothing can be asked in it.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args

from evenhand.benchmarks.item import IMPORTED, Item
from evenhand.engines.engine import Outcome
from evenhand.errors import RunFolderError, UnknownName, UsageError
from evenhand.interop.records import (
    IN_ERROR,
    NO_SCORE,
    ImportOptions,
    ResultRow,
    SourceFile,
    SourceRecord,
    as_name,
    read_source,
    written,
)
from evenhand.scorers import BATCH_SCORERS, SCORERS
from evenhand.store.database import has_tables
from evenhand.store.record import ImportedFrom, RunRecord, SystemRoleCheck
from evenhand.store.store import ImportedAnswer, Store, StoredCondition
from evenhand.study.cue import Message
from evenhand.study.decoding import Decoding
from evenhand.study.identity import BASELINE, Identity, IdentityKind, shipped_identities
from evenhand.study.study import Study
from evenhand.text import one_line

MOST_CELLS = 20_000_000
_MOST_SAMPLES = 1000
_UNKNOWN_SYSTEM = "imported: how the prompts were sent is not known here"
_NO_PROMPT = "the prompt is not in the imported file"


def import_runs(files: Sequence[str], out: Path, options: ImportOptions) -> list[Path]:
    """Import files of results into a run folder, or for several models into one for each.

    Args:
        files: paths; "IDENTITY=PATH" where all of a file is of one identity.
        out: a new run folder; with several models, the folder of their run folders.

    Raises:
        UsageError: a file is not what can be imported, or its results are no grid of identities
            and items; nothing is written then.
        MissingExtra: a package is needed to read a file.
        RunFolderError: there is a run already.
    """
    options = replace(
        options,
        baseline=None if options.baseline is None else as_name(options.baseline),
        placebos=tuple(map(as_name, options.placebos)),
    )
    sources = [_open(name, options) for name in files]
    grids: dict[str, _ImportedRun] = {}
    conditions = [_condition(text) for text in options.where]
    kept = read = 0
    for who, source in sources:
        for record in source.records:
            read += 1
            fields = {**record.fields, options.identity_key: who} if who else record.fields
            if not all(_fits(record.where, fields, *condition) for condition in conditions):
                continue
            kept += 1
            row = ResultRow(SourceRecord(record.where, fields), options)
            model = options.model or row.text("model") or "imported"
            grids.setdefault(model, _ImportedRun(options)).add(row)
    if not kept:
        hint = f"; --where keeps none of {read:,}" if read else ""
        raise UsageError(f"there are no results to import{hint}")
    for grid in grids.values():
        grid.check()
    folders = dict.fromkeys(grids, out)
    if len(grids) > 1:
        folders = {model: out / _slug(model) for model in grids}
        if len(set(folders.values())) < len(folders):
            raise UsageError("two models have the same name for a folder; use --where model=NAME")
    for folder in folders.values():
        if has_tables(folder):
            raise RunFolderError(f"{folder} holds a run already; take a new folder with --out")
    origin = _origin([source for _, source in sources], _command(files, out, options))
    for model, grid in grids.items():
        grid.write(folders[model], model, origin)
    return list(folders.values())


def _open(name: str, options: ImportOptions) -> tuple[str, SourceFile]:
    """The identity, if one is named, and the file."""
    who, equals, path = name.partition("=")
    score, aside = options.score_key, (options.identity_key, options.axis_key)
    try:
        whole = not equals or Path(name).exists()
    except OSError:  # too long a name
        whole = False
    if whole:
        return "", read_source(Path(name), score, aside)
    if not who.strip():
        raise UsageError(f'"{name}": name the identity before the equals sign: IDENTITY=FILE')
    return who.strip(), read_source(Path(path), score, aside)


def _condition(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise UsageError(f'--where "{text}" is not of the form COLUMN=VALUE')
    return name.strip(), value


def _fits(where: str, fields: Mapping[str, Any], column: str, value: str) -> bool:
    if column not in fields:
        raise UsageError(f"{where}: --where: {UnknownName('column', column, map(str, fields))}")
    return written(fields[column]) == value


def _slug(model: str) -> str:
    return re.sub(r"[^\w.-]+", "-", model).strip("-.")[:100] or "model"


def _command(files: Sequence[str], out: Path, options: ImportOptions) -> str:
    usual = ImportOptions()
    words = ["evenhand", "import", *files, "--out", str(out)]
    for name in ImportOptions.__dataclass_fields__:
        value = getattr(options, name)
        if value == getattr(usual, name):
            continue
        flag = f"--{name.replace('_', '-')}"
        if name == "where":
            words += [word for each in value for word in (flag, each)]
        else:
            words += [flag, ",".join(value) if isinstance(value, tuple) else written(value)]
    return shlex.join(words)


def _origin(sources: Sequence[SourceFile], command: str) -> ImportedFrom:
    files = []
    for source in sources:
        with source.path.open("rb") as file:
            digest = sha256()
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        name = one_line(source.path.name, 120)
        files.append(f"{name} ({source.format}, SHA-256 {digest.hexdigest()[:16]})")
    decodings = [dict(source.decoding) for source in sources]
    same = decodings[0] if all(each == decodings[0] for each in decodings) else {}
    return ImportedFrom(tuple(files), command, has_prompts=False, decoding=same)


# All results of a model


class _ImportedRun:
    """The results of one model, as a grid of conditions x items x samples."""

    def __init__(self, options: ImportOptions) -> None:
        self._options = options
        self._people: dict[tuple[str, str, str], tuple[Identity, int]] = {}
        self._items: dict[tuple[str, str], tuple[Item, int, str]] = {}
        self._prompts: list[dict[int, list[Message]]] = []
        self._samples: dict[str, None] = {}
        self._cells: dict[tuple[int, int, str], str] = {}
        self._answers: list[tuple[ImportedAnswer, str]] = []

    def add(self, row: ResultRow) -> None:
        """Take one result.

        Raises:
            UsageError: it does not fit what came before.
        """
        if not row.has_score():
            raise row.without_score()
        condition, item = self._place_of(row), self._item_of(row)
        sample = row.text("sample") or "0"
        cell = condition, item, sample
        if cell in self._cells:
            raise row.wrong(self._duplicate(row, self._cells[cell]))
        self._cells[cell] = row.where
        self._samples[sample] = None
        if len(self._samples) > _MOST_SAMPLES:
            raise row.wrong(f"more than {_MOST_SAMPLES} samples; is --sample-key right?")
        if len(self._people) * len(self._items) * len(self._samples) > MOST_CELLS:
            raise row.wrong(
                f"{len(self._people):,} identities x {len(self._items):,} items are more than "
                f"{MOST_CELLS:,} cells; are --identity-key and --item-key right?"
            )
        messages = row.messages()
        if messages:
            self._prompts[item].setdefault(condition, messages)
        outcome = row.text("outcome")
        answer = ImportedAnswer(
            condition=condition,
            item=item,
            sample=0,
            verdict=row.verdict(),
            text=row.long_text("answer"),
            thought=row.long_text("thought") or "",
            outcome=_outcome(outcome),
            finish=row.text("finish"),
            error=one_line(row.long_text("error") or ""),
            prompt_tokens=row.count("prompt_tokens"),
            completion_tokens=row.count("completion_tokens"),
        )
        self._answers.append((answer, sample))

    def _place_of(self, row: ResultRow) -> int:
        name, cue = row.needed("identity"), row.text("cue") or "imported"
        where = name, cue, row.text("defense") or "none"
        found = self._people.get(where)
        if found is None:
            identity = self._identity(name, row)
            found = self._people[where] = identity, len(self._people)
        return found[1]

    def _identity(self, name: str, row: ResultRow) -> Identity:
        kind: IdentityKind = "identity"
        given = row.text("kind").lower()
        if name == (self._options.baseline or BASELINE.id) or (
            given == "baseline" and self._options.baseline is None
        ):
            return BASELINE
        if name in self._options.placebos or (given == "placebo" and not self._options.placebos):
            kind = "placebo"
        known = {each.id: each for each in shipped_identities()}.get(name)
        usual = ("placebo" if kind == "placebo" else "imported") if known is None else None
        text = row.text("identity_text") or (known.text if known else name)
        category = row.text("category") or (known.category if known else usual or "imported")
        return Identity(name, text, category, kind)

    def _item_of(self, row: ResultRow) -> int:
        axis, name = row.axis(), row.needed("item")
        benchmark = row.text("benchmark") or axis
        found = self._items.get((benchmark, name))
        if found is not None:
            if found[0].axis != axis:
                raise row.wrong(
                    f'item "{name}" of {benchmark} is on the axis {found[0].axis} at {found[2]} '
                    f"and here on {axis}; is --axis-key right?"
                )
            return found[1]
        choices = row.value("choices")
        if not isinstance(choices, list) or not all(isinstance(each, str) for each in choices):
            choices = []
        scorer = row.text("evenhand_scorer")
        item = Item(
            benchmark=benchmark,
            id=name,
            prompt="",
            axis=axis,
            scorer=scorer if scorer in {*SCORERS, *BATCH_SCORERS} else IMPORTED,
            answer=one_line(row.long_text("target") or "", 2000),
            choices=tuple(choices[:26]),
            subgroup=row.text("subgroup"),
        )
        number = len(self._items)
        self._items[benchmark, name] = item, number, row.where
        self._prompts.append({})
        return number

    def _duplicate(self, row: ResultRow, first: str) -> str:
        cure = "number repeated answers with --sample-key, or choose rows with --where"
        for column in ("judge", "filter", "prompt_label", "cue", "defense"):
            if row.value(column) not in (None, ""):
                cure = f"choose one with --where {column}={written(row.value(column))}"
                break
        else:
            if row.where.rpartition(":")[0] != first.rpartition(":")[0]:
                cure = (
                    "name whose results each file holds (IDENTITY=FILE), or import files of "
                    "different models one by one, each with an --out of its own"
                )
        return (
            f"identity {row.text('identity')}, item {row.text('item')} has a result at {first} "
            f"already; {cure}"
        )

    def check(self) -> None:
        """Raise `UsageError` if these results are no comparison of identities."""
        people = [identity for identity, _ in self._people.values()]
        ids = {name for name, _, _ in self._people}
        for name in (self._options.baseline, *self._options.placebos):
            if name is not None and name not in ids:
                raise UsageError(str(UnknownName("identity", name, sorted(ids))))
        if not any(identity.kind == "identity" for identity in people):
            raise UsageError(
                f"there is no identity beside baseline and placebos ({', '.join(sorted(ids))}); "
                "is --identity-key right?"
            )
        alike = Counter((i.id, cue, d) for (_, cue, d), (i, _) in self._people.items())
        if max(alike.values()) > 1:
            raise UsageError("more than one identity is a baseline; name one with --baseline")
        asked = {(item, condition) for condition, item, _ in self._cells}
        if len(people) > 1 and len({item for item, _ in asked}) == len(asked):
            raise UsageError(
                "no question has results of two identities, so nothing can be compared; name the "
                "column that is the same for all identities with --item-key"
            )
        both = [name for name in self._options.placebos if name == self._options.baseline]
        if both:
            raise UsageError(f"{both[0]} cannot be both the baseline and a placebo")
        if not any(isinstance(each.verdict.score, float) for each, _ in self._answers):
            raise UsageError("none of the results has a score; is --score-key right?")

    def write(self, folder: Path, model: str, origin: ImportedFrom) -> None:
        """Make a run of it."""
        items, conditions, notes = self._wordings()
        missing = sum(each.verdict.score == IN_ERROR for each, _ in self._answers)
        unscored = sum(each.verdict.score == NO_SCORE for each, _ in self._answers)
        if missing:
            notes.append(f"{missing:,} results are marked as errors and count as missing")
        if unscored:
            notes.append(f"{unscored:,} results have no score and count as missing")
        known = {k: v for k, v in origin.decoding.items() if k in Decoding.model_fields}
        study = Study(
            model=model,
            benchmarks=tuple(dict.fromkeys(item.benchmark for item in items)),
            identities=tuple(
                dict.fromkeys(c.identity.id for c in conditions if c.identity.kind == "identity")
            ),
            cues=tuple(dict.fromkeys(c.cue for c in conditions)),
            defenses=tuple(dict.fromkeys(c.defense for c in conditions)),
            placebos=any(c.identity.kind == "placebo" for c in conditions),
            samples=len(self._samples),
            decoding=Decoding.model_validate({"temperature": None, **known}),
        )
        imported = ImportedFrom(
            origin.files, origin.command, any(self._prompts), known, tuple(notes)
        )
        record = RunRecord(
            study=study, system_role=SystemRoleCheck(True, _UNKNOWN_SYSTEM), imported=imported
        )
        numbers = {name: n for n, name in enumerate(_in_order(self._samples))}
        store = Store.create(folder)
        try:
            store.fill(conditions, items, record, self._numbered(numbers))
        finally:
            store.close()

    def _numbered(self, numbers: Mapping[str, int]) -> Iterator[ImportedAnswer]:
        return (replace(answer, sample=numbers[sample]) for answer, sample in self._answers)

    def _wordings(self) -> tuple[list[Item], list[StoredCondition], list[str]]:
        """Items and conditions with their wordings, and what does not fit them."""
        items = []
        frames: dict[int, Counter[str]] = {}
        examples: dict[str, list[Message]] = {}
        for (item, number, _), sent in zip(self._items.values(), self._prompts, strict=True):
            prompt = _question([messages[-1]["content"] for messages in sent.values()])
            items.append(replace(item, prompt=prompt or f"{item.benchmark} {item.id}"))
            for condition, messages in sent.items() if prompt else ():
                frame = _frame(messages, prompt)
                name = repr(frame)
                examples[name] = frame
                frames.setdefault(condition, Counter())[name] += 1
            assert number == len(items) - 1
        unlike = sum(bool(sent) for sent in self._prompts) - sum(
            item.prompt != f"{item.benchmark} {item.id}" for item in items
        )
        conditions, varying = [], 0
        for (_, cue, defense), (identity, number) in self._people.items():
            frame = [{"role": "user", "content": f"{{question}}\n\n[{_NO_PROMPT}]"}]
            if number in frames:
                varying += len(frames[number]) > 1
                frame = examples[frames[number].most_common(1)[0][0]]
            conditions.append(StoredCondition(number, identity, cue, defense, frame))
        notes = [] if any(self._prompts) else ["the prompts are not in the imported file"]
        if all(c.identity.kind != "baseline" for c in conditions):
            notes.append(
                "there is no baseline, so identities are compared with their mean alone"
                if sum(c.identity.kind == "identity" for c in conditions) > 1
                else "there is one identity and no baseline, so there is nothing to compare it "
                "with; name the baseline with --baseline, or import other identities, too"
            )
        if unlike:
            notes.append(
                f"the prompts of {unlike:,} items have no question in common; the item's name "
                "stands in its place"
            )
        if varying:
            notes.append(
                f"for {varying} identities the prompts are worded in more than one way; the most "
                "frequent one is shown"
            )
        return items, conditions, notes


def _outcome(name: str) -> Outcome:
    return next((known for known in get_args(Outcome) if known == name), "whole")


def _in_order(samples: Iterable[str]) -> list[str]:
    names = list(samples)
    return sorted(names, key=int) if all(re.fullmatch(r"\d{1,18}", n) for n in names) else names


def _question(prompts: Sequence[str]) -> str:
    """What all prompts of an item have in common: the question without who asks.

    A judge is shown this and nothing else. Empty where they have nothing in common.
    """
    different = list(dict.fromkeys(prompts))
    if len(different) < 2:
        return different[0] if different else ""
    end = _shared_start([prompt[::-1] for prompt in different])[::-1]
    start = _shared_start(different)
    if len(end) >= len(start):
        whole = all(p == end or p[-len(end) - 1].isspace() for p in different) if end else True
        return (end if whole else re.sub(r"^\S*\s", "", end)).strip()
    whole = all(p == start or p[len(start)].isspace() for p in different)
    return (start if whole else re.sub(r"\s\S*$", "", start)).strip()


def _shared_start(texts: Sequence[str]) -> str:
    """The longest start of all texts: of the first and the last in alphabetical order."""
    first, last = min(texts), max(texts)
    length = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), None)
    return first if length is None else first[:length]


def _frame(messages: Sequence[Message], prompt: str) -> list[Message]:
    *before, last = messages
    head, found, tail = last["content"].rpartition(prompt)
    content = f"{head}{{question}}{tail}" if found else last["content"]
    return [*before, {"role": last["role"], "content": content}]
