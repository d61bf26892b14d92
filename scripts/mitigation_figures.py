"""Write the figures of a mitigation into the documents, and check what is claimed of them.

    make mitigate-methods
    .venv/bin/python scripts/mitigation_figures.py runs/mitigate-methods    # the last step of it

The tables go between the markers <!-- MARK: begin --> and <!-- MARK: end --> of the document. Exit
code 1 if a claim does not hold.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import orjson

from evenhand.report.document import signed

DOCUMENTS = ("docs/mitigation.md",)
CEILING = 97.5
"""Means of safety and utility from which on there is hardly room for a bias."""
Row = dict[str, Any]


def tables(summary: dict[str, Any]) -> str:
    """All conditions, for all identities under the first cue, then for others and other cues."""
    head, *others = summary["methods"]
    axes = list(head["rows"][0]["means"])
    asks = any(row["relevance"] for row in head["rows"])
    columns = ["PB", "change of PB", "place", *(a.replace("_", "-") for a in axes)]
    columns += ["relevance"] * asks + ["unidentified user, % scored otherwise"]
    rows = []
    for row in head["rows"]:
        cells = [figure(row["pb"]), figure(row["change"], sign=True), _places(row)]
        cells += [mean(row, axis) for axis in axes]
        cells += [figure(row["relevance"])] * asks
        alone = row["unidentified"]
        cells.append("" if alone is None else f"{100 * alone:.0f}")
        rows.append([name(row), *cells])
    parts, seeds = summary["parts"], max(row["seeds"] for row in head["rows"])
    about = (
        f"Tuned on {parts['items'][0]} items and {parts['identities'][0]} identities; measured on "
        f"{parts['items'][1]} other items and all {sum(parts['identities'])} identities, "
        f"{parts['identities'][1]} of them never tuned on. {seeds} seed{'s' * (seeds > 1)}; every "
        f"figure of identities rests on the same {head['cells']:,} of {head['all_cells']:,} cells."
    )
    text = [about, "", *table(["", *columns], rows)]
    shown = [g for g in others if g["people"] != "tuning"]
    if shown:
        who = {"all": "", "test": "identities never tuned on"}
        names = [", ".join(filter(None, [who[g["people"]], f"`{g['cue']}`"])) for g in shown]
        more = [[name(row), *(_carried(g, row["name"]) for g in shown)] for row in head["rows"]]
        text += ["", *table(["PB and its change", *names], more)]
    return "\n".join(text)


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return [lines[0], "|---" * len(head) + "|", *lines[1:]]


def name(row: Row) -> str:
    return f"*{row['name']}*" if row["is_control"] else str(row["name"])


def figure(figure: Row | None, *, sign: bool = False) -> str:
    if figure is None:
        return ""
    values = [figure["estimate"], *figure["interval"]]
    shown = [signed(v, 1) if sign else f"{v + 0.0:.1f}" for v in values]
    return f"{shown[0]} ({shown[1]} to {shown[2]})"


def mean(row: Row, axis: str) -> str:
    change = row["mean_changes"].get(axis)
    mean = f"{row['means'][axis]:.1f}"
    return f"{mean}; {figure(change, sign=True)}" if change else mean


def _places(row: Row) -> str:
    low, high = row["places"] or ("", "")
    return f"{low}" if low == high else f"{low}-{high}"


def _carried(group: Row, name: str) -> str:
    row = next(row for row in group["rows"] if row["name"] == name)
    if row["pb"] is None:
        return ""
    pb = f"{row['pb']['estimate']:.1f}"
    return f"{pb}; {figure(row['change'], sign=True)}" if row["change"] else pb


def claims(summary: dict[str, Any]) -> list[tuple[str, bool]]:
    """What docs/mitigation.md claims of any run, and whether this one bears it out."""
    rows = [row for row in summary["methods"][0]["rows"] if row["change"]]
    checked = []
    for row in rows:
        name = row["name"]
        if row["is_control"]:
            fall = row["change"]["interval"][1] < 0
            checked.append((f"{name}: no significant fall of PB", not fall))
            continue
        means = [row["means"][axis] for axis in ("safety", "utility")]
        checked.append((f"{name}: means {means} below the ceiling", min(means) < CEILING))
    return checked


def write(path: Path, mark: str, text: str) -> bool:
    """Put the text between the markers of a document; False where it has none."""
    content = path.read_text(encoding="utf-8")
    begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    if begin not in content or end not in content:
        return False
    before, _, rest = content.partition(begin)
    path.write_text(f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}", encoding="utf-8")
    return True


def main() -> None:
    """Write the tables and print what is claimed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("runs/mitigate-methods"))
    parser.add_argument("--mark", default="methods")
    given = parser.parse_args()
    summary = orjson.loads((given.folder / "summary.json").read_bytes())
    text = tables(summary)
    for name in DOCUMENTS:
        written = write(Path(name), given.mark, text)
        print(f"{name}: {'written' if written else 'has no markers'}")
    print(text)
    checked = claims(summary)
    for claim, holds in checked:
        print(f"{'holds  ' if holds else 'FAILS  '} {claim}")
    sys.exit(not all(holds for _, holds in checked))


if __name__ == "__main__":
    main()
