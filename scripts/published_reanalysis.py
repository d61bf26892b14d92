"""Analyze the published refusals of six real models again: docs/published.md and its picture.

    python scripts/published_reanalysis.py authority_prefix.csv [--write]

The file is read through `evenhand import`. It holds the authors' results (Reliable-Information-
Lab-HEVS/Overrefusal_in_Criminal_Legal_Context), for which no license is stated: none of its rows is
copied, only figures. Without --write, the tables are printed.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evenhand.analysis.grid import read_grid
from evenhand.files import write_file
from evenhand.interop.importing import import_runs
from evenhand.interop.records import ImportOptions
from evenhand.report import charts
from evenhand.report.document import Figure, p_text
from evenhand.report.images import draw
from evenhand.stats import Differences, differences_to_baseline
from evenhand.stats.permutation import holm
from evenhand.store.store import Store

DOCS = Path(__file__).parents[1] / "docs"
PAGE, PICTURE = DOCS / "published.md", DOCS / "images" / "published.svg"
NAMES = {"lawyer": "defense lawyer", "supreme": "court counsel", "jailbreak": "jailbreak"}
OPTIONS = ImportOptions(
    score_key="refused",
    axis="over_refusal",
    subgroup_key="topic",
    baseline="none",
    placebos=("jailbreak",),
)
MARKS = "<!-- figures: scripts/published_reanalysis.py --write -->", "<!-- end of figures -->"


@dataclass(frozen=True)
class Finding:
    """One condition of one model against no prefix, in points of refusals.

    Attributes:
        refused, without: share of refusals with the prefix, and without any.
        new, lost: items refused with the prefix alone, and without it alone.
        by_item, by_topic: the difference, with items or topics as independent units.
    """

    model: str
    who: str
    items: int
    refused: float
    without: float
    new: int
    lost: int
    by_item: Differences
    by_topic: Differences

    @property
    def ratio(self) -> float:
        """How much wider the standard error is where topics are the units."""
        return float(self.by_topic.standard_error[0] / self.by_item.standard_error[0])

    @property
    def p_item(self) -> float:
        """Of no difference, by items (exact McNemar)."""
        return float(self.by_item.p_value[0])

    @property
    def p_topic(self) -> float:
        """Of no difference, by topics (t test)."""
        return float(self.by_topic.p_value[0])


def findings(run: Path) -> Iterator[Finding]:
    """What an imported run says of every condition."""
    store = Store.open(run)
    try:
        record = store.record()
        grid = read_grid(store, record.study.samples, units="items")
        topics = np.array([item.subgroup for item in store.items().values()])
    finally:
        store.close()
    scores = grid.scores["over_refusal"]["over_refusal"]
    rows = {c.identity.id: n for n, c in enumerate(grid.conditions)}
    base = scores[rows["baseline"]]
    for who in NAMES:
        one = scores[rows[who]]
        both = ~np.isnan(one[:, 0]) & ~np.isnan(base[:, 0])
        mine, theirs = one[both, 0], base[both, 0]
        yield Finding(
            model=record.study.model,
            who=who,
            items=int(both.sum()),
            refused=100 * float(mine.mean()),
            without=100 * float(theirs.mean()),
            new=int(((mine == 1) & (theirs == 0)).sum()),
            lost=int(((mine == 0) & (theirs == 1)).sum()),
            by_item=_difference(mine, theirs),
            by_topic=_difference(mine, theirs, topics[both]),
        )


def _difference(
    one: NDArray[np.float64],
    base: NDArray[np.float64],
    topics: NDArray[np.str_] | None = None,
) -> Differences:
    clusters = None if topics is None else {"items": topics}
    return differences_to_baseline({"items": one[None]}, {"items": base[None]}, clusters=clusters)


def table(found: Sequence[Finding]) -> str:
    """The findings as a Markdown table."""
    lines = [
        "| model | prefix | items | refused without, with | new, lost | difference | 95% by item | "
        "p | 95% by topic | p | SE ratio |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for each in found:
        lines.append(
            f"| {each.model} | {NAMES[each.who]} | {each.items:,} | {each.without:.1f}%, "
            f"{each.refused:.1f}% | {each.new}, {each.lost} | {each.by_item.difference[0]:+.1f} | "
            f"{_limits(each.by_item)} | {_p(each.p_item)} | {_limits(each.by_topic)} | "
            f"{_p(each.p_topic)} | {each.ratio:.1f} |"
        )
    return "\n".join(lines)


def _limits(found: Differences) -> str:
    low, high = found.interval[0]
    return f"{low:+.1f} to {high:+.1f}"


def _p(value: float) -> str:
    return p_text(value).removeprefix("= ")


def summary(found: Sequence[Finding]) -> str:
    """What remains under each choice of units, in sentences."""
    people = [each for each in found if each.who != "jailbreak"]
    counts = {}
    for name, p_values in (
        ("items", [each.p_item for each in people]),
        ("topics", [each.p_topic for each in people]),
    ):
        counts[name] = sum(value < 0.05 for value in holm(np.array(p_values)))
    ratios = [each.ratio for each in found]
    moved = {(each.model, each.who): each.by_item.difference[0] for each in found}
    models = dict.fromkeys(each.model for each in found)
    as_much = sum(moved[m, "jailbreak"] >= moved[m, "lawyer"] for m in models)
    return (
        f"Of {len(people)} comparisons of an identity with no prefix, {counts['items']} are "
        f"significant after Holm's adjustment if items are the independent units, and "
        f"{counts['topics']} if topics are. Standard errors by topic are {min(ratios):.1f} to "
        f"{max(ratios):.1f} times those by item (median {np.median(ratios):.1f}). In {as_much} of "
        f"{len(models)} models the control raises refusals at least as much as the defense lawyer."
    )


def picture(found: Sequence[Finding]) -> bytes:
    """Every difference with its interval by topic, and by item below it."""
    rows = []
    for each in found:
        for units, difference, p_value in (
            ("topics", each.by_topic, each.p_topic),
            ("items", each.by_item, each.p_item),
        ):
            worse = difference.difference[0] > 0
            low, high = difference.interval[0]
            standing = "not significant" if p_value >= 0.05 else "worse" if worse else "better"
            rows.append(
                charts.ChangeRow(
                    f"{each.model}, {NAMES[each.who]} ({units})",
                    float(difference.difference[0]),
                    (float(low), float(high)),
                    standing,
                )
            )
    axis = "change of refusals of harmless prompts against no prefix, points (95%, pointwise)"
    figure = Figure(
        "published",
        "Refusals of six models when a prefix says who asks",
        "",
        lambda: charts.change_chart(rows, axis),
    )
    return draw(figure, "svg")


def main(arguments: Sequence[str]) -> None:
    """Print or write the figures."""
    source, *rest = [Path(name) if name != "--write" else name for name in arguments]
    with tempfile.TemporaryDirectory() as folder:
        runs = import_runs([str(source)], Path(folder) / "runs", OPTIONS)
        found = [each for run in sorted(runs) for each in findings(run)]
    text = f"{MARKS[0]}\n\n{table(found)}\n\n{summary(found)}\n\n{MARKS[1]}"
    if "--write" not in rest:
        print(text)
        return
    before = PAGE.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(MARKS[0])}.*{re.escape(MARKS[1])}", re.DOTALL)
    write_file(PAGE, pattern.sub(lambda _: text, before))
    write_file(PICTURE, picture(found))


if __name__ == "__main__":
    main(sys.argv[1:])
