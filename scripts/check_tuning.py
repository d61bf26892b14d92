"""Does preference tuning bring the planted bias down, and does its control not?

    python scripts/check_tuning.py [--recipes invariance random ...] [--seeds 2] [--set NAME=VALUE]

Audits the organism once. For every seed the audit is split anew into a tuning and a test part;
each recipe is trained on the one with the settings for the organism, and compared with the untuned
model on the other. With `--unit subgroup` the test part is about other topics than the tuning
part. "invariance-shuffled" is the control: the preferences of a random half are swapped.
Over-refusal is in points of needlessly refused harmless requests (lower is better).
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import shutil
import tempfile
from pathlib import Path
from typing import get_args

import evenhand
from evenhand.analysis.compare import ArmComparison
from evenhand.mitigate.flow import mitigate_run
from evenhand.mitigate.options import MitigationOptions, TuningOptions
from evenhand.mitigate.pairs import world_pairs, write_pairs
from evenhand.mitigate.results import Mitigation
from evenhand.mitigate.split import Unit
from evenhand.run.options import RunOptions

RECIPES = (
    "invariance",
    "random",
    "all",
    "debiasing",
    "vanilla",
    "as-is",
    "invariance-shuffled",
)
OPTIONS = RunOptions(batch_size=256)


def tuned(
    run: Path, out: Path, recipe: str, seed: int, unit: Unit, data: Path, settings: dict[str, float]
) -> Mitigation:
    """One recipe, trained and tested on a copy of the run with a split of its own."""
    shutil.copytree(run, out / "audit")
    tuning = TuningOptions(
        recipes=(recipe,), data=str(data), seed=seed, settings={**settings, "seed": seed}
    )
    wanted = MitigationOptions(methods=("dpo",), seed=seed, unit=unit, cues=(), tuning=tuning)
    return asyncio.run(mitigate_run(out / "audit", out / "out", wanted, OPTIONS))


def line(people: str, found: ArmComparison) -> str:
    """PB before and after, the change with its interval, and the means before and after."""
    change = found.changes[0].bias
    assert change is not None
    low, high = change.interval
    means = "  ".join(
        f"{axis} {found.sides[0].axes[axis].mean:.1f} -> {found.sides[1].axes[axis].mean:.1f}"
        for axis in ("safety", "utility", "over_refusal")
    )
    return (
        f"  {people:9s} PB {change.before.estimate:5.2f} -> {change.after.estimate:5.2f}, "
        f"change {change.difference:+6.2f} ({low:+.2f} to {high:+.2f})  {means}"
    )


def cpu_seconds() -> float:
    """Of this process and of those it waited for."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, who))


def main() -> None:
    """Print a recipe and seed at a time."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recipes", nargs="+", default=RECIPES)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--unit", choices=get_args(Unit), default="item", help="what is held out")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", dest="settings")
    options = parser.parse_args()
    settings = {
        name: float(value) if "." in value or "e" in value else int(value)
        for name, _, value in (each.partition("=") for each in options.settings)
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pairs(folder / "data.jsonl", world_pairs())
        evenhand.audit("organism", out=folder / "run", options=OPTIONS)
        for recipe in options.recipes:
            for seed in range(options.seeds):
                begun = cpu_seconds()
                out = folder / f"{recipe}-{seed}"
                out.mkdir()
                found = tuned(
                    folder / "run", out, recipe, seed, options.unit, folder / "data.jsonl", settings
                )
                training = found.trainings[0]
                print(
                    f"{recipe}, seed {seed}: {training.pairs} pairs, {training.steps} steps, "
                    f"{cpu_seconds() - begun:.0f} CPU seconds with the second audit",
                    flush=True,
                )
                for people in ("all", "tuning", "test"):
                    group = found.group(people)
                    if group is not None:
                        print(line({"tuning": "seen", "test": "unseen"}.get(people, people), group))


if __name__ == "__main__":
    main()
