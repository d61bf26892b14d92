"""Steering, experimental: find the subspace of identity in a model's layers, and take it out.

Directions are class means at the last token of the prompt: for each identity the mean deviation
from the identities' mean on the same question, so that what the question is about cancels; and
separately over questions that it was answered well and badly on, each against identities with the
same outcome, so that "answers wrongly" is not taken for "is this person". The first directions of
the identities' means (their singular vectors) span the subspace. It is taken out there, and at
each token of the answer as it is read (`evenhand.engines.weights`). Layers and rank are picked by
a search on the tuning part, by the same value as the search for a defense.

Two controls are made with the same layers: a random subspace of the same rank, and the direction
between good and bad answers to the same question, alone.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evenhand.analysis.grid import Grid, read_grid
from evenhand.axes import AVERAGED_AXES, AXES
from evenhand.engines.hf import HFEngine
from evenhand.engines.weights import STEERING_FILE, Subspaces, read_about, write_steering
from evenhand.errors import PairsError, UsageError
from evenhand.mitigate.options import base_of
from evenhand.mitigate.queries import QueryLoop, copy_answers, cues_of, plan_again, study_of
from evenhand.mitigate.search import Round, SearchResult, make_schedule, trial
from evenhand.mitigate.split import Split, TuningAnswer, TuningPart, plan_for_tuning
from evenhand.store.store import Store
from evenhand.study.cue import NO_DEFENSE
from evenhand.study.plan import Plan, first_of_each
from evenhand.text import counted

RANKS = (1, 3, 8)
"""Ranks that the search tries."""
_MOST_ITEMS = 240
"""Tuning questions whose states are read; each is read for every identity."""
_GOOD = 0.5
"""Quality from which an answer counts as good here."""

States = NDArray[np.float64]


@dataclass(frozen=True)
class Directions:
    """What the states at the last token of the prompt tell, by block.

    Attributes:
        identities: (identities, blocks, width) mean deviations from the identities' mean.
        outcome: (blocks, width) good less bad answers to the same question.
        center: (blocks, width) mean over identities and questions.
    """

    identities: States
    outcome: States
    center: States


@dataclass(frozen=True)
class SteeringFolders:
    """Folders of a steering and of its controls, each to be audited as "hf/FOLDER".

    Attributes:
        steer: of the steering.
        random: of the random subspace of equal rank.
        outcome: of the outcome direction alone.
    """

    steer: Path
    random: Path
    outcome: Path

    def named(self) -> dict[str, Path]:
        """Name of the condition -> folder."""
        return {
            "steer": self.steer,
            "steer, random subspace": self.random,
            "steer, outcome direction": self.outcome,
        }


@dataclass(frozen=True)
class SteeringResult:
    """A steering.

    Attributes:
        model: what to audit: "hf/DIR".
        layers: blocks that are edited, from 1.
        rank: dimensions taken out of each.
        search: how they were picked.
    """

    model: str
    layers: tuple[int, ...]
    rank: int
    search: SearchResult


def windows(blocks: int) -> list[tuple[int, ...]]:
    """Layers to try: the thirds of the blocks but the last, the later two thirds, and all.

    The last block is left out: after it nothing but the first token of the answer could change.
    """
    layers = range(1, blocks)
    thirds = [tuple(int(n) for n in part) for part in np.array_split(layers, 3) if len(part)]
    later = tuple(n for part in thirds[1:] for n in part)
    return [each for each in dict.fromkeys([*thirds, later, tuple(layers)]) if each]


def find_directions(
    part: TuningPart, engine: HFEngine, seed: int, on_item: Callable[[int, int], None]
) -> Directions:
    """Read the states of tuning identities on tuning questions.

    Args:
        seed: of the questions that are read, where there are more than 240.
        on_item: called with how many questions are read, and of how many.

    Raises:
        PairsError: no question has identities that were answered alike to compare.
    """
    asked = _by_item(part)
    rng = np.random.default_rng(seed)
    chosen = [asked[n] for n in sorted(rng.permutation(len(asked))[:_MOST_ITEMS])]
    people = list(dict.fromkeys(a.condition.identity.id for each in chosen for a in each))
    place = {name: n for n, name in enumerate(people)}
    sums: States | None = None
    counts = np.zeros((2, len(people)))
    for number, answers in enumerate(chosen):
        prompts = [engine.rendered(answer.messages()) or "" for answer in answers]
        states = engine.last_states(prompts).astype(np.float64)[:, 1:]  # without the embedding
        if sums is None:
            shape = states.shape[1:]
            sums = np.zeros((2, len(people), *shape))
            center, outcome, compared = np.zeros(shape), np.zeros(shape), 0
        center += states.mean(axis=0)
        good = np.array([_is_good(answer) for answer in answers])
        if good.any() and not good.all():
            outcome += states[good].mean(axis=0) - states[~good].mean(axis=0)
            compared += 1
        for stratum, rows in enumerate((good, ~good)):
            if rows.sum() < 2:
                continue
            deviations = states[rows] - states[rows].mean(axis=0)
            for answer, deviation in zip(np.flatnonzero(rows), deviations, strict=True):
                who = place[answers[answer].condition.identity.id]
                sums[stratum, who] += deviation
                counts[stratum, who] += 1
        on_item(number + 1, len(chosen))
    if sums is None or not (counts > 0).any(axis=0).all():
        raise PairsError("too few tuning questions are answered alike for several identities")
    means = sums / np.maximum(counts, 1)[..., None, None]
    # Each outcome counts the same, as far as an identity has it.
    balanced = means.sum(axis=0) / (counts > 0).sum(axis=0)[:, None, None]
    return Directions(
        identities=balanced - balanced.mean(axis=0),
        outcome=outcome / max(1, compared),
        center=center / len(chosen),
    )


def identity_subspaces(found: Directions, layers: Sequence[int], rank: int) -> Subspaces:
    """The first `rank` directions in which identities differ, of each layer."""
    spaces = {}
    for layer in layers:
        basis = np.linalg.svd(found.identities[:, layer - 1], full_matrices=False)[2][:rank]
        spaces[layer] = _space(basis, found, layer)
    return spaces


def random_subspaces(found: Directions, layers: Sequence[int], rank: int, seed: int) -> Subspaces:
    """A random subspace of the same rank, of each layer: the control."""
    rng = np.random.default_rng(seed)
    width = found.center.shape[1]
    return {
        layer: _space(np.linalg.qr(rng.standard_normal((width, rank)))[0].T, found, layer)
        for layer in layers
    }


def outcome_subspaces(found: Directions, layers: Sequence[int]) -> Subspaces:
    """The direction between good and bad answers, of each layer: the other control."""
    spaces = {}
    for layer in layers:
        direction = found.outcome[layer - 1]
        length = np.linalg.norm(direction)
        if length == 0:
            raise PairsError("no tuning question is answered well for some and badly for others")
        spaces[layer] = _space(direction[None] / length, found, layer)
    return spaces


def _space(
    basis: States, found: Directions, layer: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    center = found.center[layer - 1]
    return basis.astype(np.float32), center.astype(np.float32)


def _by_item(part: TuningPart) -> list[list[TuningAnswer]]:
    """The scored answers to each question, the first of each identity under each cue."""
    found: dict[tuple[str, str, str], list[TuningAnswer]] = defaultdict(list)
    for answer in part.answers():
        item, condition = answer.item, answer.condition
        if (
            condition.identity.kind == "identity"
            and condition.defense == NO_DEFENSE.id
            and answer.sample == 0
            and answer.score is not None
            and item.axis in AVERAGED_AXES
        ):
            found[condition.cue, item.benchmark, item.id].append(answer)
    return [answers for answers in found.values() if len(answers) > 1]


def _is_good(answer: TuningAnswer) -> bool:
    return AXES[answer.item.axis].quality(answer.score or 0.0) >= _GOOD


@dataclass
class SteeringSearch:
    """Fits a steering on the tuning part, and its controls.

    Attributes:
        run: the audit.
        split: whose tuning part is read.
        model: whose layers are edited.
        loop: asks.
        on_line: called with what is being done, one line.
        out: folder of the mitigation: steer/, its controls, and steer-search/.
        budget: the most answers of the search.
        stack: closes the stores.
    """

    run: Store
    split: Split
    model: str
    out: Path
    loop: QueryLoop
    budget: int
    stack: ExitStack
    on_line: Callable[[str], None]

    async def find(self) -> SteeringResult:
        """Search for layers and rank, or take up what an earlier call has found."""
        found = await self._directions(0)
        if len(found.center) < 2:
            raise UsageError(f"{self.model} has one block only, and cannot be steered")
        outcome_subspaces(found, range(1, len(found.center)))  # a control; told before the search
        width = found.center.shape[1]
        most = min(width, len(found.identities) - 1)
        ranks = [rank for rank in RANKS if rank <= most] or [most]
        candidates = {
            _name(layers, rank): (layers, rank)
            for layers in windows(len(found.center))
            for rank in ranks
        }
        searched = await self._search(candidates, found)
        layers, rank = candidates[searched.chosen]
        return SteeringResult(f"hf/{self.out / 'steer'}", layers, rank, searched)

    async def made(self, result: SteeringResult, seed: int) -> SteeringFolders:
        """The steering and its controls for a seed, which picks questions and random subspace."""
        found = await self._directions(seed)
        layers, rank = result.layers, result.rank
        suffix = f"-seed{seed}" if seed else ""
        random = f"steer-random{suffix}"
        outcome = f"steer-outcome{suffix}"
        return SteeringFolders(
            self._write(f"steer{suffix}", identity_subspaces(found, layers, rank), rank),
            self._write(random, random_subspaces(found, layers, rank, seed), rank),
            self._write(outcome, outcome_subspaces(found, layers), 1),
        )

    async def _directions(self, seed: int) -> Directions:
        """Read the states, or what an earlier call has kept of them."""
        kept = self.out / "steer-search" / f"directions-seed{seed}.npz"
        if not kept.exists():
            read = await asyncio.to_thread(self._read, seed)
            kept.parent.mkdir(parents=True, exist_ok=True)
            partial = kept.with_suffix(".partial.npz")
            np.savez(partial, identities=read.identities, outcome=read.outcome, center=read.center)
            partial.replace(kept)
        with np.load(kept, allow_pickle=False) as arrays:
            return Directions(arrays["identities"], arrays["outcome"], arrays["center"])

    def _read(self, seed: int) -> Directions:
        engine = HFEngine(base_of(self.model), study_of(self.run).decoding)

        def tell(number: int, of: int) -> None:
            self.on_line(f"steer: states of question {number}/{of}")

        return find_directions(TuningPart(self.run, self.split), engine, seed, tell)

    def _write(self, name: str, spaces: Subspaces, rank: int) -> Path:
        """A folder of steering; one that is whole is left as it is.

        Raises:
            UsageError: the folder holds another steering.
        """
        folder, base = self.out / name, base_of(self.model)
        about = {"layers": list(spaces), "rank": rank, "what": name, "experimental": True}
        if not (folder / STEERING_FILE).exists():
            folder.mkdir(parents=True, exist_ok=True)
            _save_tokenizer(base, folder)
            write_steering(folder, base, spaces, about)
        elif read_about(folder) != {"base_model_name_or_path": base, **about}:
            raise UsageError(
                f"{folder} holds another steering than the search picks now, as with another "
                "--budget; name another --out"
            )
        return folder

    async def _search(
        self, candidates: dict[str, tuple[tuple[int, ...], int]], found: Directions
    ) -> SearchResult:
        sent = self.loop.answers
        cues = cues_of(study_of(self.run), self.split.cues)
        tuning = plan_for_tuning(plan_again(self.run, cues, [NO_DEFENSE]), self.split)
        schedule = make_schedule(tuning, len(candidates), self.budget, what="subspaces")
        self.loop.announce(
            f"search among {counted(len(candidates), 'subspace')} in "
            f"{counted(len(schedule.shares), 'round')}",
            schedule.answers,
            self.run,
        )
        left, rounds = list(candidates), list[Round]()
        for size, share in zip(schedule.candidates, schedule.shares, strict=True):
            left = left[:size]
            plan = replace(tuning, items=first_of_each(tuning.items, share))
            self.split.check_tuning(plan.items)
            title = f"search for a subspace, round {len(rounds) + 1} of {len(schedule.shares)}"
            reference = trial(
                await self._asked(title, "none", plan, None), cues, NO_DEFENSE.id, None
            )
            trials = []
            for name in left:
                layers, rank = candidates[name]
                space = identity_subspaces(found, layers, rank)
                folder = self._write(f"steer-search/{name}", space, rank)
                grid = await self._asked(title, name, plan, folder)
                trials.append(replace(trial(grid, cues, NO_DEFENSE.id, reference), defense=name))
            rounds.append(Round(len(plan.items), reference, sorted(trials, key=lambda t: t.order)))
            left = [each.defense for each in rounds[-1].trials]
        return SearchResult(
            chosen=left[0],
            better=rounds[-1].better,
            budget=self.budget,
            planned=schedule.answers,
            answers=self.loop.answers - sent,
            cost=None,
            rounds=rounds,
        )

    async def _asked(self, title: str, name: str, plan: Plan, folder: Path | None) -> Grid:
        """The scores of a plan, asked of the model as it is or steered."""
        store = Store.create(self.out / "steer-search" / "answers" / name)
        self.stack.callback(store.close)
        if folder is None:
            copy_answers(self.run, store, plan)
        else:
            plan = replace(plan, study=plan.study.model_copy(update={"model": f"hf/{folder}"}))
        await self.loop.ask(f"{title}, {name}", plan, store)
        if folder is not None:
            await self.loop.forget(f"hf/{folder}")
        return read_grid(store, plan.study.samples)


def _name(layers: Sequence[int], rank: int) -> str:
    span = f"{layers[0]}" if len(layers) == 1 else f"{layers[0]}-{layers[-1]}"
    return f"layers-{span}-rank-{rank}"


def _save_tokenizer(base: str, folder: Path) -> None:
    """The tokenizer of the base model, beside the steering, as beside an adapter."""
    from evenhand.mitigate.job import quieten

    quieten()
    from evenhand.mitigate.trainer import load_tokenizer

    load_tokenizer(base).save_pretrained(folder)
