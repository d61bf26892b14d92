"""A bundle checked, and run again: hashes, counts, scores and figures, all made anew."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import orjson

from evenhand import __version__
from evenhand.analysis import analyze
from evenhand.analysis.evidence import read_details
from evenhand.analysis.results import Audit
from evenhand.bundle import pack
from evenhand.bundle.pack import BundleReader
from evenhand.errors import RunFolderError, UsageError
from evenhand.report.data import to_json
from evenhand.run.scoring import split
from evenhand.scorers import Score, Unscored, Verdict, score_batch
from evenhand.store.dump import Dump, Row, load_run
from evenhand.store.redaction import Redaction, leaves_out
from evenhand.store.store import Store
from evenhand.study.plan import Plan
from evenhand.text import counted, one_line

TOLERANCE = 1e-6
"""Largest difference of two figures, in points, that is the rounding of another machine."""
_MOST_NAMED = 5
_NOT_FIGURES = ("notes", "placement")
_OF_TEXTS = ("judge",)
"""Figures that need the answers' texts: whether a judge's known errors apply to them."""


@dataclass(frozen=True)
class BundleCheck:
    """One thing that was checked.

    Attributes:
        name: what was checked.
        holds: None where it could not be checked.
        detail: what was found.
    """

    name: str
    holds: bool | None
    detail: str


def verify_bundle(path: Path) -> list[BundleCheck]:
    """Check a bundle: hashes, counts, scores and figures.

    Raises:
        UsageError: it is no bundle at all, or one that could do harm.
    """
    with BundleReader(path) as bundle:
        checks = [_hashes(bundle)]
        if not checks[0].holds:
            return checks  # figures of other files than those listed say nothing
        with TemporaryDirectory() as scratch:
            own: dict[int, float | None] = {}
            try:
                store = load_bundle(bundle, Path(scratch) / "run", own)
            except RunFolderError:  # which names a folder that nobody knows
                raise UsageError(
                    f"{path}: not a sound bundle: its rows are not those of a run"
                ) from None
            try:
                checks.append(_counts(bundle, store, len(own)))
                checks.append(_questions(bundle, store))
                checks.append(_scores(bundle, store, own))
                audit = analyze(store)
                checks.append(_figures(bundle, audit))
                store.redaction = _redaction_of(bundle)
                checks.append(_readings(bundle, audit, store, Path(scratch) / "again"))
            finally:
                store.close()
    return checks


def load_bundle(
    bundle: BundleReader, folder: Path, own_scores: dict[int, float | None] | None = None
) -> Store:
    """A run folder with the rows of a bundle.

    Args:
        own_scores: gets the score of each answer by its question's own scorer.

    Raises:
        RunFolderError: the folder holds something, or the rows are none of a run.
        UsageError: the bundle is damaged.
    """
    try:
        documents = orjson.loads(bundle.read(pack.DOCUMENTS))
    except orjson.JSONDecodeError:
        documents = None
    if not isinstance(documents, dict):
        raise UsageError(f"{bundle.path}: not a sound bundle: {pack.DOCUMENTS} is not JSON")
    dump = Dump(
        documents=documents,
        conditions=bundle.rows(pack.CONDITIONS),
        items=bundle.rows(pack.QUESTIONS),
        judges=bundle.rows(pack.JUDGES),
        answers=_answers(bundle, {} if own_scores is None else own_scores),
        failures=bundle.rows(pack.FAILURES),
    )
    store = load_run(dump, folder)
    for name in sorted(bundle.names):
        if name.startswith(pack.LABELS):
            labels = folder / "labels"
            labels.mkdir(mode=0o700, exist_ok=True)
            (labels / name.removeprefix(pack.LABELS)).write_bytes(bundle.read(name))
    return store


def _answers(bundle: BundleReader, own: dict[int, float | None]) -> Iterator[Row]:
    for name in sorted(bundle.names):
        if name.startswith(pack.ANSWERS):
            for row in bundle.rows(name):
                yield row
                own[row["id"]] = next((s[1] for s in row["scores"] if s[0] == 0), None)


def _hashes(bundle: BundleReader) -> BundleCheck:
    listed = bundle.manifest["files"]
    faults = [f"{name} is not listed" for name in bundle.names - set(listed)]
    faults += [f"{name} is missing" for name in set(listed) - bundle.names]
    for name in sorted(set(listed) & bundle.names):
        facts = listed[name]
        if not isinstance(facts, dict) or facts.get("sha256") != bundle.digest(name):
            faults.append(f"the hash of {name} differs from the manifest")
    return _check("hashes", faults, f"{len(listed):,} files match the manifest")


def _counts(bundle: BundleReader, store: Store, answers: int) -> BundleCheck:
    stated = bundle.manifest.get("counts")
    found = {
        "answers": answers,
        "questions": len(store.items()),
        "conditions": len(store.conditions()),
        "samples": store.record().study.samples,
    }
    stated = stated if isinstance(stated, dict) else {}
    faults = [
        f"{count:,} {name}, but the manifest says {stated.get(name)}"
        for name, count in found.items()
        if stated.get(name) != count
    ]
    model = store.record().study.model
    if bundle.manifest.get("model") != model:
        faults.append("the manifest names another model than the run")
    told = [counted(count, name.removesuffix("s")) for name, count in found.items()]
    return _check("counts", faults, ", ".join(told))


def _questions(bundle: BundleReader, store: Store) -> BundleCheck:
    redaction, stated = bundle.manifest.get("redaction"), bundle.manifest.get("data_sets")
    stated = stated if isinstance(stated, dict) else {}
    faults, left_out = [], []
    for name, facts in pack.data_sets(store).items():
        given = stated.get(name)
        if any(leaves_out(redaction, axis) for axis in facts["axes"]):
            left_out.append(name)
        elif not isinstance(given, dict) or given.get("sha256") != facts["sha256"]:
            faults.append(f"the hash of the questions of {name} differs from the manifest")
    if not faults and left_out:
        return BundleCheck("questions", None, f"left out, not checked: {', '.join(left_out)}")
    return _check("questions", faults, "the questions of every data set match the manifest")


def _scores(bundle: BundleReader, store: Store, own: Mapping[int, float | None]) -> BundleCheck:
    """The answers scored again by their questions' own scorers, programs left aside."""
    redaction = bundle.manifest.get("redaction")
    items = {
        number: item
        for number, item in store.items().items()
        if item.scorer != "code" and not leaves_out(redaction, item.axis)
    }
    people = {c.id: c.identity.id for c in store.conditions()}
    checked = differing = last = 0
    while rows := store.unscored(last, again=True):
        last = rows[-1][0]
        answers, missing = split([row for row in rows if row[2] in items], items, people)
        verdicts = score_batch([answer for _, answer in answers])
        results: list[tuple[int, Score | Verdict]] = [*missing]
        results += [(number, found) for (number, _), found in zip(answers, verdicts, strict=True)]
        for number, verdict in results:
            score = verdict.score if isinstance(verdict, Verdict) else verdict
            again = None if isinstance(score, Unscored) else score
            checked += 1
            before = own[number]
            same = again is before or (
                again is not None and before is not None and abs(again - before) < TOLERANCE
            )
            differing += not same
    rest = len(own) - checked
    aside = f"; {rest:,} without text or with programs were not checked" if rest else ""
    if not checked:
        return BundleCheck(
            "scores", None, "the texts of all answers are left out, so none can be scored again"
        )
    if differing and bundle.manifest.get("evenhand") != __version__:
        detail = (
            f"{differing:,} of {checked:,} answers get another score from evenhand {__version__}"
        )
        return BundleCheck("scores", None, detail)
    faults = [f"{differing:,} of {checked:,} answers have another score"] if differing else []
    return _check("scores", faults, f"{checked:,} answers get the same score again{aside}")


def _redaction_of(bundle: BundleReader) -> Redaction | None:
    """Whose texts are left out, as the manifest says.

    Raises:
        UsageError: it says something else.
    """
    found = bundle.manifest.get("redaction")
    known: dict[Any, Redaction | None] = {None: None, **{r: r for r in get_args(Redaction)}}
    if not (found is None or isinstance(found, str)) or found not in known:
        raise UsageError(f"{bundle.path}: not a sound bundle: what is left out is unknown")
    return known[found]


def _figures(bundle: BundleReader, audit: Audit) -> BundleCheck:
    """Every figure of the report, computed again."""
    headline = list(differing_figures(bundle.manifest.get("figures"), pack.figures_of(audit)))
    if headline:
        return _check("figures", headline, "")
    pb = audit.pb
    detail = "no PB, of too few scores"
    if pb:
        detail = f"PB {pb.estimate:.1f} ({pb.interval[0]:.1f} to {pb.interval[1]:.1f})"
    if bundle.manifest.get("evenhand") != __version__:
        return _check("figures", [], f"recomputed with the same headline: {detail}")
    try:
        report = orjson.loads(bundle.read("report.json"))
    except orjson.JSONDecodeError:
        report = None
    aside = _OF_TEXTS if bundle.manifest.get("redaction") else ()
    again = orjson.loads(to_json(audit))
    faults = list(differing_figures(report, again, aside=aside, texts=True))
    rest = "; corrections for judge error need the texts and were not checked" if aside else ""
    return _check("figures", faults, f"recomputed, all the same: {detail}{rest}")


def _readings(bundle: BundleReader, audit: Audit, store: Store, folder: Path) -> BundleCheck:
    """What people read (tables, page, card, data sheet), made again."""
    if bundle.manifest.get("evenhand") != __version__:
        return BundleCheck("readings", None, "made by another version of evenhand")
    redacted = bundle.manifest.get("redaction") is not None
    faults, aside = [], []
    folder.mkdir()
    details = read_details(store, audit)
    audit = replace(audit, notes=_stated_notes(bundle))  # some are of what lies beside the run
    try:
        made = list(pack.readings(store, audit, details, bundle.manifest, folder))
    except (KeyError, TypeError, AttributeError, ValueError):
        return _check("readings", ["the manifest lacks what the card and data sheet say"], "")
    for name, content in made:
        if name == pack.REPORT:
            continue  # compared figure by figure
        if redacted and name.startswith("report"):
            aside.append(name)
        elif name not in bundle.names:
            faults.append(f"{name} is missing")
        elif not _alike(b"".join(bundle.chunks(name)), content):
            # Without texts it is not known whether a judge's known errors apply.
            (aside if redacted and name.startswith("card") else faults).append(name)
    if redacted and "card.json" in aside:
        faults += _card_figures(bundle)
    missing = f"; these need the texts and were not checked: {', '.join(aside)}" if aside else ""
    found = [fault if " " in fault else f"{fault} differs when written again" for fault in faults]
    return _check(
        "readings", found, f"written again, all the same: tables, page, card, data sheet{missing}"
    )


def _stated_notes(bundle: BundleReader) -> list[str]:
    try:
        notes = orjson.loads(bundle.read(pack.REPORT))["notes"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return []
    return [str(note) for note in notes] if isinstance(notes, list) else []


def _card_figures(bundle: BundleReader) -> Iterator[str]:
    """Where the card's figures are not the manifest's."""
    try:
        card = orjson.loads(bundle.read("card.json"))
        found = {name: card["found"][name] for name in ("pb", "axes")}
    except (orjson.JSONDecodeError, KeyError, TypeError):
        yield "card.json is not an audit card"
        return
    yield from differing_figures(found, bundle.manifest.get("figures"), ".card.json")


_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


def _alike(one: bytes, other: bytes) -> bool:
    """Whether two texts are the same but for rounding of their numbers on another machine."""
    if one == other:
        return True
    numbers = [_NUMBER.findall(text) for text in (one, other)]
    return _NUMBER.split(one) == _NUMBER.split(other) and all(
        a == b or (b"." in a + b and abs(float(a) - float(b)) <= TOLERANCE)
        for a, b in zip(*numbers, strict=True)
    )


def differing_figures(
    stated: Any, found: Any, place: str = "", aside: Collection[str] = (), *, texts: bool = False
) -> Iterator[str]:
    """Where two trees of figures differ by more than rounding.

    Args:
        place: of the trees in larger ones.
        aside: names that are not compared.
        texts: whether texts, and names that only the stated tree has, are compared, too.
    """
    if isinstance(found, dict) and isinstance(stated, dict):
        for name in [*found, *(sorted(stated.keys() - found.keys()) if texts else ())]:
            if name not in (*_NOT_FIGURES, *aside):
                part = stated.get(name), found.get(name)
                yield from differing_figures(*part, f"{place}.{name}", aside, texts=texts)
    elif isinstance(found, list | tuple) and isinstance(stated, list):
        if len(found) != len(stated):
            yield f"{place[1:]}: {len(stated)} values, but {len(found)} when recomputed"
            return
        for n, (one, other) in enumerate(zip(stated, found, strict=True)):
            yield from differing_figures(one, other, f"{place}[{n}]", aside, texts=texts)
    elif isinstance(found, str) and isinstance(stated, str):
        if texts and found != stated:
            yield f'{place[1:]} is "{stated:.40}", recomputed "{found:.40}"'
    elif isinstance(found, int | float) and isinstance(stated, int | float):
        if abs(found - stated) > TOLERANCE:
            yield f"{place[1:]} is {stated:g}, recomputed {found:g}"
    elif found is not stated:
        yield f"{place[1:]} is {stated!s:.40}, recomputed {found!s:.40}"


def _check(name: str, faults: list[str], detail: str) -> BundleCheck:
    if not faults:
        return BundleCheck(name, True, detail)
    more = f" and {len(faults) - _MOST_NAMED:,} more" if len(faults) > _MOST_NAMED else ""
    return BundleCheck(name, False, "; ".join(sorted(faults)[:_MOST_NAMED]) + more)


# Running again


@contextmanager
def bundled(source: Path) -> Iterator[BundleReader]:
    """The bundle of a file, or of a run folder, of which one is made for the time being."""
    if source.is_dir():
        with TemporaryDirectory() as scratch:
            path = Path(scratch) / "run.zip"
            store = Store.open(source)
            try:
                pack.make_bundle(store, path)
            finally:
                store.close()
            with BundleReader(path) as bundle:
                yield bundle
        return
    with BundleReader(source) as bundle:
        yield bundle


def unpack_study(bundle: BundleReader, folder: Path) -> Path:
    """Copy the study and its files into a folder; the path of the study file.

    Raises:
        UsageError: the bundle holds no study that can be run again, or its files are others than
            the manifest lists.
    """
    check = _hashes(bundle)
    if not check.holds:
        raise UsageError(f"{bundle.path}: {check.detail}")
    if pack.STUDY not in bundle.names:
        why = bundle.manifest.get("command")
        why = one_line(why, 300) if isinstance(why, str) else "it holds no study to run again"
        raise UsageError(f"{bundle.path}: {why}")
    names = [name for name in bundle.names if name.startswith("study/")]
    bundle.extract(names, folder)
    return folder / pack.STUDY


def without_left_out(bundle: BundleReader, store: Store) -> None:
    """Take questions whose texts are left out off the run, so that they are asked anew."""
    redaction = bundle.manifest.get("redaction")
    store.forget_items(n for n, item in store.items().items() if leaves_out(redaction, item.axis))


def open_cells(plan: Plan, store: Store) -> int:
    """How many cells of a plan have no answer in a run that was loaded from a bundle."""
    keys, record = store.keys(), store.record()
    plan = plan.with_system_role(record.system_role.system_role)
    decided = store.withholdings()
    conditions = tuple(
        replace(
            c,
            withheld=frozenset(
                item.prompt for item in plan.items if decided[c.defense.id].withholds(item.prompt)
            ),
        )
        if c.defense.withhold and c.defense.id in decided
        else c
        for c in plan.conditions
    )
    plan = replace(plan, conditions=conditions)
    return sum(request.key not in keys for request in plan.requests())
