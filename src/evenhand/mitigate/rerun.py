"""Asking again what a run has asked: other defenses, other cues, a part of the items.

The items and identities are those that the run has stored, word for word, so that nothing
depends on files that may have changed since.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from evenhand.store.record import RunRecord
from evenhand.store.store import Store
from evenhand.study.cue import Condition, Cue, Defense, read_cues, select_cues
from evenhand.study.plan import Plan
from evenhand.study.study import Study


def study_of(store: Store) -> Study:
    """The study of a run.

    Raises:
        RunFolderError: the run has not begun.
    """
    return store.record().study


def cues_of(study: Study, names: Iterable[str]) -> list[Cue]:
    """Cues by name, those of the study's own file included.

    Raises:
        UnknownName: a name fits nothing.
        StudyError: the file is invalid.
    """
    own = read_cues(Path(study.cues_file)) if study.cues_file else []
    return select_cues(names, own)


def plan_again(store: Store, cues: Sequence[Cue], defenses: Sequence[Defense]) -> Plan:
    """The run's items and identities under these cues and defenses; placebos are left out."""
    study = study_of(store)
    asked = study.model_copy(
        update={
            "cues": tuple(cue.id for cue in cues),
            "defenses": tuple(defense.id for defense in defenses),
            "placebos": False,
        }
    )
    people = dict.fromkeys(c.identity for c in store.conditions() if c.identity.kind != "placebo")
    conditions = tuple(
        Condition(person, cue, defense) for cue in cues for defense in defenses for person in people
    )
    return Plan(asked, conditions, tuple(store.items().values()))


def borrow(source: Store, target: Store, plan: Plan) -> int:
    """Copy the answers that `source` has for cells of the plan, so that they are not paid twice.

    They are found by their keys, which hold model, decoding and every word sent.

    Returns:
        How many cells of the plan were copied.
    """
    record = source.record()
    placed = plan.with_system_role(record.system_role.system_role)
    begun = target.record_if_begun() or RunRecord(
        study=placed.study, system_role=record.system_role, blocked=record.blocked
    )
    new = begun.model_copy(update={"study": placed.study})
    ids = target.activate(placed.conditions, placed.items, new)
    wanted = source.keys() - target.keys()
    requests = {r.key: r for r in placed.requests() if r.key in wanted} if wanted else {}
    found = source.responses(requests)
    target.write(found, *ids)
    return len(found)
