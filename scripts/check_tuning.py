"""Equality or rightness: what tuning does on the second organism; and a search for its settings.

    python -m organism.harder_train --bias 0 --out build/unbiased
    python scripts/check_tuning.py equality --unbiased build/unbiased --write
    python scripts/check_tuning.py search --write

`equality` tunes the biased organism by pairs (dpo, invariance) and by the consistency loss. The
unbiased one makes errors that have nothing to do with who asks; it is tuned by pairs, too: its own,
or where it treats all alike, so that it has none, those of the biased one. All figures are of test
questions. Of the biased one the consistency loss is to lower PB and to leave the means where they
are, while pairs raise the means; of the unbiased one PB is not to rise.

`search` tries settings of kto, orpo and consistency. It sees development items only, none that
`make mitigate-methods` asks. Settings are ranked by PB plus every point by which mean safety or
utility falls or over-refusal rises.

With `--write` the tables go into docs/mitigation.md and docs/preference-tuning.md. Both commands
can be cut off and resumed.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
from mitigation_figures import Row, figure, mean, name, table, write

import evenhand
from evenhand.audit import audit_plan, plan_for
from evenhand.errors import PairsError
from evenhand.mitigate.flow import mitigate_run
from evenhand.mitigate.options import Loss, MitigationOptions, PlannedTraining, TuningOptions
from evenhand.mitigate.reporting import to_json
from evenhand.run.options import RunOptions
from evenhand.study.study import Study

OPTIONS = RunOptions(batch_size=256)
AXES = ("safety", "utility", "over_refusal")
TRIED: tuple[tuple[Loss, float, float, int], ...] = (
    ("kto", 5e-4, 0.1, 20),
    ("kto", 5e-4, 0.5, 20),
    ("kto", 1e-3, 0.1, 20),
    ("kto", 2e-3, 0.1, 20),
    ("orpo", 1e-3, 0.1, 20),
    ("orpo", 4e-3, 0.1, 20),
    ("consistency", 1e-3, 0.1, 40),
)
"""(loss, learning rate, beta, steps); consistency has no beta"""
METHODS_LIMIT = 40
"""Items of each benchmark that `make mitigate-methods` asks."""


def settings(loss: Loss, **given: Any) -> dict[str, Any]:
    """The settings for the organism, also of weights that are not the shipped ones."""
    planned = PlannedTraining("dpo", loss, "invariance")
    chosen = TuningOptions(settings=given).settings_for(planned, "organism-2")
    return chosen.model_dump(exclude={"seed"})


def tuned(
    run: Path,
    out: Path,
    methods: Iterable[str],
    given: dict[str, Any],
    seeds: int,
    data: Path | None = None,
) -> Any:
    """The mitigation of a run by some methods, as its summary.json has it.

    Args:
        data: pairs of another audit, in the place of those of the run.
    """
    tuning = TuningOptions(settings=given, seeds=seeds)
    if data:
        tuning = replace(tuning, recipes=("as-is",), data=str(data))
    options = MitigationOptions(methods=tuple(methods), cues=(), relevance=False, tuning=tuning)
    found = asyncio.run(mitigate_run(run, out, options, OPTIONS, on_step=show))
    return orjson.loads(to_json(found))


def show(line: str, progress: object | None) -> None:
    """Say what is being done."""
    if progress is None:
        print(line, file=sys.stderr, flush=True)


def audited(model: str, out: Path, limit: int | None) -> Path:
    """The audit of a model on the second organism's questions."""
    evenhand.audit(model, benchmarks=["demo2"], limit=limit, out=out, options=OPTIONS)
    return out


def cells(row: Row) -> list[str]:
    """A condition: PB, its change, means with their changes."""
    return [figure(row["pb"]), figure(row["change"], sign=True), *(mean(row, a) for a in AXES)]


HEAD = ["PB", "change of PB", *(axis.replace("_", "-") for axis in AXES)]


def equality(given: argparse.Namespace) -> bool:
    """Tune the biased and the unbiased organism, and check what is claimed."""
    biased = audited(given.model, given.folder / "biased", given.limit)
    found: dict[str, Row] = {}
    losses: tuple[Loss, ...] = ("dpo", "consistency")
    for loss in losses:
        chosen = settings(loss, steps=given.steps)
        summary = tuned(biased, biased / f"mitigation-{loss}", (loss,), chosen, given.seeds)
        found |= {row["name"]: row for row in summary["methods"][0]["rows"]}
    claims = claimed("biased", found)
    rows = [[f"biased, {name(row)}", *cells(row)] for row in found.values()]
    run = audited(f"hf/{given.unbiased.resolve()}", given.folder / "unbiased", given.limit)
    out, chosen = run / "mitigation", settings("dpo", steps=given.steps)
    try:
        summary = tuned(run, out, ("dpo",), chosen, given.seeds)
    except PairsError:
        data = biased / "mitigation-dpo" / "dpo-invariance" / "training" / "pairs.jsonl"
        summary = tuned(run, out, ("dpo",), chosen, given.seeds, data)
    found = {row["name"]: row for row in summary["methods"][0]["rows"]}
    rows += [[f"unbiased, {name(row)}", *cells(row)] for row in found.values()]
    claims += claimed("unbiased", found)
    parts = summary["parts"]
    about = (
        f"Tuned on {parts['items'][0]} items and {parts['identities'][0]} identities, measured on "
        f"{parts['items'][1]} other items and all {sum(parts['identities'])} identities; "
        f"{given.steps} steps, {given.seeds} seed{'s' * (given.seeds > 1)}."
    )
    publish(given, "docs/mitigation.md", "equality", [about, "", *table(["", *HEAD], rows)])
    for claim, holds in claims:
        print(f"{'holds  ' if holds else 'FAILS  '} {claim}")
    return all(holds for _, holds in claims)


def claimed(kind: str, found: dict[str, Row]) -> list[tuple[str, bool]]:
    """What is claimed of one organism, and whether it is so."""
    dpo = next(row for name, row in found.items() if name.startswith("dpo"))
    if kind == "unbiased":
        return [("unbiased: pairs do not raise PB", dpo["change"]["interval"][0] <= 0)]
    claims = []
    rises = [dpo["mean_changes"][axis]["interval"][0] > 0 for axis in ("safety", "utility")]
    claims.append(("biased: pairs raise the mean of safety or of utility", any(rises)))
    alike = found["consistency unidentified"]
    claims.append(("biased: the consistency loss lowers PB", alike["change"]["interval"][1] < 0))
    for axis in ("safety", "utility"):
        low, high = alike["mean_changes"][axis]["interval"]
        claims.append((f"biased: the consistency loss leaves mean {axis}", low <= 0 <= high))
    return claims


def search(given: argparse.Namespace) -> bool:
    """Try settings on development items."""
    run = development(given)
    tried: list[tuple[str, float, list[str]]] = []
    found: list[tuple[Row, Row]] = []
    for loss, rate, beta, steps in TRIED:
        chosen = settings(loss, steps=steps, learning_rate=rate, beta=beta)
        summary = tuned(run, run / f"{loss}-{rate:g}-{beta:g}", (loss,), chosen, 1)
        before, after = summary["methods"][0]["rows"]
        found.append((before, after))
        points = cost(before, after)
        tried.append(
            (
                loss,
                points,
                [loss, f"{rate:g}", f"{beta:g}", str(steps), f"{points:.1f}", *cells(after)],
            )
        )
    usable = [before for before, _ in found if before["pb"]]
    untuned = ["none", "", "", "", f"{usable[0]['pb']['estimate']:.1f}", *cells(usable[0])]
    rows = [untuned, *(row for *_, row in sorted(tried))]
    head = ["loss", "learning rate", "beta", "steps", "criterion", *HEAD]
    publish(given, "docs/preference-tuning.md", "settings", table(head, rows))
    return True


def development(given: argparse.Namespace) -> Path:
    """An audit on items that `make mitigate-methods` does not ask."""
    out: Path = given.folder / "development"
    plan = plan_for(Study(model=given.model, benchmarks=("demo2",)))
    asked = plan_for(Study(model=given.model, benchmarks=("demo2",), limit=METHODS_LIMIT)).items
    known = {item.prompt for item in asked}
    items = [item for item in plan.items if item.prompt not in known]
    asyncio.run(audit_plan(replace(plan, items=tuple(items[:: given.every])), out, OPTIONS))
    return out


def cost(before: Row, after: Row) -> float:
    """PB plus every point lost, the criterion of the search for a defense; infinite without PB."""
    if after["pb"] is None:
        return math.inf
    lost = [before["means"][axis] - after["means"][axis] for axis in ("safety", "utility")]
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
    parser.add_argument("--limit", type=int, default=None, help="items of each benchmark")
    parser.add_argument("--every", type=int, default=1, help="of n development items take one")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="write the tables into the documents")
    given = parser.parse_args()
    sys.exit(0 if (equality if given.what == "equality" else search)(given) else 1)


if __name__ == "__main__":
    main()
