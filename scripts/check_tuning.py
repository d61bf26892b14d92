"""Equality or rightness: what tuning does on the second organism; and a search for its settings.

    python scripts/check_tuning.py search --write
    python -m organism.harder_train --bias 0 --out build/unbiased
    python scripts/check_tuning.py equality --unbiased build/unbiased --write

`search` tries settings of all losses on the questions that `make mitigate-methods` tunes on: half
of them are tuned on here and half tested. It sees none that that command tests. Settings are ranked
by PB plus every point by which mean safety or utility falls or over-refusal rises.

`equality` draws answers at temperature 1, and tunes the biased organism by pairs (dpo, invariance)
and by the consistency loss. It tunes the unbiased organism, whose errors have nothing to do with
who asks, by pairs of its own. Of the biased organism the consistency loss is to lower PB and to
leave those that it aims at where they are: the means of all identities with the mixture as target,
the unidentified user's with that user; pairs are to raise the means. Of the unbiased organism PB
is not to rise. What does not hold is said, and makes the exit code 1.

With `--write` the tables go into docs/preference-tuning.md and docs/mitigation.md. Both commands
can be cut off and resumed.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import orjson
from mitigation_figures import Row, figure, mean, name, table, write

import evenhand
from evenhand.audit import audit_plan, plan_for
from evenhand.mitigate.flow import mitigate_run
from evenhand.mitigate.options import Loss, MitigationOptions, PlannedTraining, TuningOptions
from evenhand.mitigate.recipes import ConsistencyTarget
from evenhand.mitigate.reporting import to_json
from evenhand.mitigate.split import make_split, plan_for_tuning
from evenhand.run.options import RunOptions
from evenhand.study.decoding import Decoding
from evenhand.study.study import Study

OPTIONS = RunOptions(batch_size=256)
MEANS = ("safety", "utility")
AXES = (*MEANS, "over_refusal")
AS_IT_IS = Decoding(temperature=1.0)
"""Draws from the model's own distribution of answers. Under greedy decoding a mixture of users is
answered as most of them were, which is right oftener than they were on average."""
LONGER = {"learning_rate": 4e-3, "steps": 480}
"""Sampled answers take longer to learn than greedy ones. Chosen on the split with seed 0; what is
shown is measured on another."""
KEPT: dict[ConsistencyTarget, str] = {
    "mixture": "mean_changes",
    "unidentified": "unidentified_changes",
}
"""What stays where it is, target by target: whoever is aimed at is not to change."""
SEEDS, DRAWS = 3, 3
"""Trainings of a condition, and answers to each question by each user: with a single draw, chance
alone spreads users over two to three points of safety."""
TRIED: tuple[tuple[Loss, str, dict[str, float]], ...] = (
    ("dpo", "invariance", {"learning_rate": 4e-3, "steps": 40}),
    ("dpo", "invariance", {"learning_rate": 1e-3, "steps": 40}),
    ("dpo", "invariance", {"learning_rate": 1e-3, "steps": 120}),
    ("orpo", "invariance", {"learning_rate": 1e-3, "steps": 40}),
    ("orpo", "invariance", {"learning_rate": 3e-4, "steps": 40}),
    ("kto", "", {"learning_rate": 2e-3, "steps": 40}),
    ("kto", "", {"learning_rate": 1e-3, "steps": 120}),
    ("consistency", "unidentified", {"learning_rate": 1e-3, "steps": 40}),
    ("consistency", "unidentified", {"learning_rate": 2e-3, "steps": 240}),
    ("consistency", "unidentified", {"learning_rate": 4e-3, "steps": 240}),
    ("consistency", "mixture", {"learning_rate": 2e-3, "steps": 240}),
    ("consistency", "mixture", {"learning_rate": 4e-3, "steps": 240}),
)
"""(loss, recipe or target, settings)"""


def settings(loss: Loss, recipe: str, given: dict[str, Any]) -> dict[str, Any]:
    """The settings for the organism, also of weights that are not the shipped ones."""
    chosen = TuningOptions(settings=given).settings_for(
        PlannedTraining("dpo", loss, recipe), "organism-2"
    )
    return chosen.model_dump(exclude={"seed"})


def tuned(
    run: Path, out: Path, methods: tuple[Loss, ...], tuning: TuningOptions, *, seed: int = 0
) -> list[Row]:
    """The conditions of a mitigation, on all identities; intervals are for further items.

    Args:
        seed: of the split.
    """
    options = MitigationOptions(
        methods=methods, cues=(), relevance=False, units="items", seed=seed, tuning=tuning
    )
    found = asyncio.run(mitigate_run(run, out, options, OPTIONS, on_step=show))
    rows: list[Row] = orjson.loads(to_json(found))["methods"][0]["rows"]
    return rows


def show(line: str, progress: object | None) -> None:
    """Say what is being done."""
    if progress is None:
        print(line, file=sys.stderr, flush=True)


def cells(row: Row) -> list[str]:
    """A condition: PB, its change, means with their changes."""
    return [figure(row["pb"]), figure(row["change"], sign=True), *(mean(row, a) for a in AXES)]


def changes_alone(row: Row) -> list[str]:
    """How the means of the unidentified user changed."""
    return [figure(row["unidentified_changes"].get(axis), sign=True) for axis in MEANS]


HEAD = ["PB", "change of PB", *(axis.replace("_", "-") for axis in AXES)]


def equality(given: argparse.Namespace) -> bool:
    """Tune the biased and the unbiased organism, and check what is claimed."""
    biased = sampled(given.model, given.folder / "biased")
    unbiased = sampled(f"hf/{given.unbiased.resolve()}", given.folder / "unbiased")
    pairs = TuningOptions(settings=settings("dpo", "invariance", {}), seeds=SEEDS)
    longer = TuningOptions(settings=settings("consistency", "mixture", LONGER), seeds=SEEDS)
    trainings: list[tuple[Path, Loss, str, TuningOptions]] = [(biased, "dpo", "pairs", pairs)]
    for target in KEPT:
        trainings.append((biased, "consistency", target, replace(longer, targets=(target,))))
    trainings.append((unbiased, "dpo", "pairs", pairs))
    found: dict[str, Row] = {}
    for run, loss, what, tuning in trainings:
        for row in tuned(run, run / f"mitigation-{what}", (loss,), tuning, seed=1):
            found[f"{run.name}, {name(row)}"] = row
    alone = [f"the unidentified user's {axis}" for axis in MEANS]
    rows = [[of, *cells(row), *changes_alone(row)] for of, row in found.items()]
    publish(given, "docs/mitigation.md", "equality", table(["", *HEAD, *alone], rows))
    claims = claimed(found)
    for claim, holds in claims:
        print(f"{'holds  ' if holds else 'FAILS  '} {claim}")
    return all(holds for _, holds in claims)


def sampled(model: str, out: Path) -> Path:
    """An audit of a model on the second organism's questions, at temperature 1."""
    evenhand.audit(
        model, benchmarks=["demo2"], decoding=AS_IT_IS, samples=DRAWS, out=out, options=OPTIONS
    )
    return out


def claimed(found: dict[str, Row]) -> list[tuple[str, bool]]:
    """What is claimed of both organisms, and whether it is so."""
    pairs, unbiased = found["biased, dpo invariance"], found["unbiased, dpo invariance"]
    rises = [pairs["mean_changes"][axis]["interval"][0] > 0 for axis in MEANS]
    claims = [
        ("biased: pairs raise the mean of safety or of utility", any(rises)),
        ("unbiased: pairs do not raise PB", unbiased["change"]["interval"][0] <= 0),
    ]
    for target, whose in KEPT.items():
        alike, loss = found[f"biased, consistency {target}"], f"the consistency loss ({target})"
        claims.append((f"biased: {loss} lowers PB", alike["change"]["interval"][1] < 0))
        for axis in MEANS:
            low, high = alike[whose][axis]["interval"]
            kept = f"the {target} user's {axis}" if target == "unidentified" else f"mean {axis}"
            claims.append((f"biased: {loss} leaves {kept}", low <= 0 <= high))
    return claims


def search(given: argparse.Namespace) -> bool:
    """Try settings on the questions that others are tuned on."""
    run = development(given)
    rows: list[tuple[float, list[str]]] = []
    for loss, recipe, chosen in TRIED:
        names = [f"{key}-{value:g}" for key, value in chosen.items()]
        folder = run / "-".join(filter(None, [loss, recipe, *names]))
        tuning = TuningOptions(settings=settings(loss, recipe, chosen))
        if loss == "consistency":
            tuning = replace(tuning, targets=(cast(ConsistencyTarget, recipe),))
        before, after = tuned(run, folder, (loss,), tuning)
        if not rows:
            rows.append((cost(before, before), ["none", "", "", *cells(before)]))
        values = [f"{value:g}" for value in chosen.values()]
        rows.append((cost(before, after), [f"{loss} {recipe}".strip(), *values, *cells(after)]))
    ranked = [[*of[:3], f"{points:.1f}", *of[3:]] for points, of in sorted(rows)]
    head = ["loss", "learning rate", "steps", "criterion", *HEAD]
    publish(given, "docs/preference-tuning.md", "settings", table(head, ranked))
    return True


def development(given: argparse.Namespace) -> Path:
    """An audit on the questions and identities of the tuning part of an audit of the organism."""
    out: Path = given.folder / "development"
    plan = plan_for(Study(model=given.model, benchmarks=("demo2",)))
    split = make_split(
        plan.items, [c.identity for c in plan.conditions], [c.cue.id for c in plan.conditions]
    )
    asyncio.run(audit_plan(plan_for_tuning(plan, split), out, OPTIONS))
    return out


def cost(before: Row, after: Row) -> float:
    """PB plus every point lost, the criterion of the search for a defense; infinite without PB."""
    if after["pb"] is None:
        return math.inf
    lost = [before["means"][axis] - after["means"][axis] for axis in MEANS]
    lost.append(after["means"]["over_refusal"] - before["means"]["over_refusal"])
    return float(after["pb"]["estimate"] + sum(max(0.0, points) for points in lost))


def publish(given: argparse.Namespace, document: str, mark: str, lines: list[str]) -> None:
    """Print a table, and write it between the markers of its document."""
    print("\n".join(lines))
    if given.write:
        written = write(Path(document), mark, "\n".join(lines))
        print(f"{document}: {'written' if written else 'has no markers'}")


def main() -> None:
    """Run one of the two; exit code 1 if a claim does not hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("equality", "search"))
    parser.add_argument("--model", default="organism-2")
    parser.add_argument("--unbiased", type=Path, default=Path("build/unbiased"))
    parser.add_argument("--folder", type=Path, default=Path("runs/check-tuning"))
    parser.add_argument("--write", action="store_true", help="write the tables into the documents")
    given = parser.parse_args()
    sys.exit(0 if (equality if given.what == "equality" else search)(given) else 1)


if __name__ == "__main__":
    main()
