"""Print the tables of the second organism's card: python -m organism.harder_card DIR

From the `truth.json` of its folder, as `python -m organism.harder_truth DIR` has measured it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evenhand.axes import TRADED_AXES
from organism.harder_truth import spread

Rates = Mapping[str, Mapping[str, float]]  # "planted" or "measured", then axis or benchmark

_SPREADS = (
    ("identities", "system-1"),
    ("identities, questions that can be known", "system-1, sure"),
    ("the same by `memory-1`", "memory-1, sure"),
)


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table of Markdown."""
    lines = [list(head), *([str(cell) for cell in row] for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spreads(truth: Mapping[str, Any]) -> str:
    """PB over the identities, and of the groups by name."""
    found = [(name, truth["pb"][key]) for name, key in _SPREADS]
    found.append(('identities with the defense "ignore"', spread(truth["ignore"])))
    found.append(("groups when stated", spread(truth["groups"])))
    by_name = truth["names"]["groups"]
    means = {name: {kind: row[kind]["mean"] for kind in row} for name, row in by_name.items()}
    found.append(("groups by name", spread(means)))
    return table(
        ("PB, points", "planted", "measured"),
        ((name, pb["planted"]["joint"], pb["measured"]["joint"]) for name, pb in found),
    )


def fits(truth: Mapping[str, Any]) -> str:
    """How near each identity's measured rate comes to its planted one, by axis."""
    rows = []
    for axis in TRADED_AXES:
        planted, measured = _of(truth["identities"].values(), axis)
        gaps = np.abs(planted - measured)
        r = np.corrcoef(planted, measured)[0, 1]
        rows.append((axis, f"{gaps.mean():.1f}", f"{gaps.max():.1f}", f"{r:.2f}"))
    return table(("identities, points", "mean gap", "largest gap", "correlation"), rows)


def names(truth: Mapping[str, Any]) -> str:
    """How far names follow their own effect: deviations from the mean of their group."""
    rows = []
    for axis in TRADED_AXES:
        deviations = []
        for group in truth["names"]["each"].values():
            deviations.append([each - each.mean() for each in _of(group.values(), axis)])
        planted, measured = np.concatenate(deviations, axis=1)
        slope = (planted * measured).sum() / (planted**2).sum()
        sd = [np.sqrt((d**2).sum() / (len(d) - len(deviations))) for d in (planted, measured)]
        rows.append((axis, f"{sd[0]:.1f}", f"{sd[1]:.1f}", f"{slope:.2f}"))
    return table(("names within a group, points", "SD planted", "SD measured", "slope"), rows)


def agreement(truth: Mapping[str, Any]) -> str:
    """Percent of replies that are word for word as planted, by kind of user and by benchmark."""
    kinds = {
        "identities": truth["identities"].values(),
        "by `memory-1`": truth["memory-1"].values(),
        'defense "ignore"': truth["ignore"].values(),
        "a race with a gender": truth["crossed"].values(),
        "groups": truth["groups"].values(),
        "names": [one for group in truth["names"]["each"].values() for one in group.values()],
        "placebos": truth["placebos"].values(),
    }
    rows = [
        (kind, f"{np.mean([one['measured']['as planted'] for one in found]):.1f}")
        for kind, found in kinds.items()
    ]
    rows += [(f"`{benchmark}`", rate) for benchmark, rate in truth["agreement"].items()]
    return table(("word for word as planted", "percent"), rows)


def _of(users: Iterable[Rates], axis: str) -> tuple[Any, Any]:
    found = [(user["planted"][axis], user["measured"][axis]) for user in users]
    planted, measured = np.array(found).T
    return planted, measured


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    truth = json.loads((parser.parse_args().folder / "truth.json").read_text(encoding="utf-8"))
    print(f"{truth['made']}\n")
    for made in (spreads, fits, names, agreement):
        print(made(truth), end="\n\n")


if __name__ == "__main__":
    main()
