"""From an audit to a better model and the evidence: split, search, train, audit again, compare.

    OUT/search/           answers of the search for a defense, on the tuning part
    OUT/dpo-RECIPE/       the tuned model or adapter, with its card
    OUT/test/             the model on the test part, without and with the defense
    OUT/test-RECIPE/      the tuned model on the test part, without and with the defense
    OUT/summary.json      what came of it; for readers OUT/report.html

Each step goes on where an earlier call was cut off: answers and checkpoints are on disk as they
come, and what is there is not asked or trained again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from evenhand.audit import RunOptions
from evenhand.engines.engine import Engine
from evenhand.errors import UsageError
from evenhand.mitigate.asking import Asking
from evenhand.mitigate.evidence import (
    compare_groups,
    notes_on,
    parts_of,
    relevance_by_condition,
)
from evenhand.mitigate.rerun import cues_of, study_of
from evenhand.mitigate.results import Mitigation, TrainingResult
from evenhand.mitigate.retest import Retest
from evenhand.mitigate.search import Search, in_other_places, search
from evenhand.mitigate.split import Split, TuningPart, split_run
from evenhand.mitigate.tuning import tune
from evenhand.mitigate.wanted import UNSEEN_CUES, Wanted, candidate_defenses
from evenhand.run.recorder import Progress
from evenhand.run.scoring import score_run
from evenhand.store.store import Store
from evenhand.study.cue import (
    Cue,
    Defense,
)

OnStep = Callable[[str, Progress | None], None]
"""(what is being done, and how far; None where it has just begun)"""


async def mitigate_run(
    run: Path,
    out: Path,
    wanted: Wanted,
    options: RunOptions,
    *,
    engine: Engine | None = None,
    on_step: OnStep = lambda *_: None,
) -> Mitigation:
    """Bring the bias of an audited model down, and measure what came of it on the test part.

    Args:
        run: folder of the audit.
        out: folder of the mitigation; resumed if it is there.
        engine: what answers for the audited model, instead of the engine of its name.

    Raises:
        UsageError: something in `wanted` does not fit, or the run is too small.
        NotFinished: the cost limit is reached; the same call goes on.
        EvenhandError: see `evenhand.errors`.
    """
    with ExitStack() as stack:
        audit = _open(Store.open(run), stack)
        score_run(audit)
        candidates = candidate_defenses(wanted) if wanted.needs_defense else []
        wanted.tuning.check(study_of(audit).model, wanted.needs_training)
        _check_identities(audit)
        split = split_run(audit, seed=wanted.seed, unit=wanted.unit)
        cues = _cues(audit, split, wanted)
        asking = Asking(options, on_step, engine)
        try:
            found = await _search(audit, split, candidates, wanted, out, asking, stack)
            chosen = _chosen(candidates, found)
            retest = Retest(audit, split, cues, out, asking, stack)
            conditions = await retest.base(wanted, chosen)
            await asking.forget(study_of(audit).model)  # a training needs the memory
            trained = []
            for n, recipe in enumerate(wanted.recipes if wanted.needs_training else ()):
                trained.append(_train(recipe, audit, split, wanted, out, on_step))
                conditions += await retest.tuned(wanted, trained[n], None if n else chosen)
        finally:
            await asking.close()
        on_step("comparing", None)
        groups = list(compare_groups(conditions, split, cues, audit, wanted.margin))
        return Mitigation(
            run=str(run),
            model=study_of(audit).model,
            out=str(out),
            margin=wanted.margin,
            parts=parts_of(audit, split, cues),
            search=found,
            defense=chosen.id if chosen else "",
            trainings=trained,
            relevance=relevance_by_condition(conditions, cues[0]),
            groups=groups,
            answers=asking.answers,
            cost=asking.cost if asking.has_price else None,
            notes=notes_on(found, split, audit, conditions, groups[0].comparison),
        )


def _open(store: Store, stack: ExitStack) -> Store:
    stack.callback(store.close)
    return store


def _check_identities(audit: Store) -> None:
    people = {c.identity.id for c in audit.conditions() if c.identity.kind == "identity"}
    if len(people) < 2:
        raise UsageError(f"{audit.folder}: a bias, and so a mitigation, needs two identities")


def _cues(audit: Store, split: Split, wanted: Wanted) -> list[Cue]:
    """The cues that are tuned on, then those of the run that are not, then further ones."""
    study = study_of(audit)
    own = dict.fromkeys(condition.cue for condition in audit.conditions())
    more = UNSEEN_CUES if wanted.cues is None else wanted.cues
    return cues_of(study, dict.fromkeys([*split.cues, *own, *more]))


async def _search(
    audit: Store,
    split: Split,
    candidates: Sequence[Defense],
    wanted: Wanted,
    out: Path,
    asking: Asking,
    stack: ExitStack,
) -> Search | None:
    if len(candidates) < 2:
        return None
    store = _open(Store.create(out / "search"), stack)
    places = not wanted.defenses  # what is named stands where its name says
    return await search(
        audit, split, store, candidates, asking, places=places, budget=wanted.budget
    )


def _chosen(candidates: Sequence[Defense], found: Search | None) -> Defense | None:
    if found is None:
        return candidates[0] if candidates else None
    tried = [d for candidate in candidates for d in (candidate, *in_other_places(candidate))]
    return next(defense for defense in tried if defense.id == found.chosen)


def _train(
    recipe: str, audit: Store, split: Split, wanted: Wanted, out: Path, on_step: OnStep
) -> TrainingResult:
    part, model = TuningPart(audit, split), study_of(audit).model
    return tune(recipe, part, model, out, wanted.tuning, lambda line: on_step(line, None))
