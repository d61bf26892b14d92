"""The terminal: any width, no color, a map in characters, and nothing that a terminal obeys."""

from __future__ import annotations

import dataclasses
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from evenhand.analysis import Audit
from evenhand.analysis.compare import Arm, ArmComparison, compare_arms
from evenhand.report.comparison import comparison_document
from evenhand.report.document import Column, Table, TableCell, TableRow
from evenhand.report.findings import audit_document
from evenhand.report.terminal import axis_ends, print_document, print_table, trade_off_text
from fakes import HOSTILE, audit, biased, run, saying

WIDTHS = (200, 80, 72, 60, 44, 30)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """All that a summary can hold, of a model that treats two religions worse."""
    return audit(
        tmp_path_factory.mktemp("audit") / "run",
        biased(0.4, 0.3, 0.3, seed=1),
        identities=["religion", "age", "christian*age"],
        placebos=True,
        cues=["system", "memory"],
        defenses=["none", "ignore"],
    )


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> ArmComparison:
    folder = tmp_path_factory.mktemp("compared")
    stores = [run(folder / "a", biased(0.4, seed=1)), run(folder / "b", biased(seed=2), items=50)]
    return compare_arms([Arm(stores[0]), Arm(stores[1])], margin=2.0)


def printed(
    found: Audit | ArmComparison,
    width: int = 80,
    *,
    details: bool = True,
    color: bool = False,
    encoding: str = "utf-8",
) -> str:
    """What the terminal gets."""
    bytes_written = io.BytesIO()
    file = io.TextIOWrapper(bytes_written, encoding=encoding)
    console = Console(
        file=file,
        width=width,
        force_terminal=color,
        color_system="truecolor" if color else None,
    )
    if isinstance(found, Audit):
        print_document(audit_document(found), console, details=details)
    else:
        print_document(comparison_document(found), console)
    file.flush()
    return bytes_written.getvalue().decode(encoding)


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits(found: Audit, compared: ArmComparison, width: int) -> None:
    for each in (found, compared):
        lines = printed(each, width).splitlines()
        assert max(cell_len(line.rstrip()) for line in lines) <= width


@pytest.mark.parametrize("width", [200, 80, 72, 60, 44])
def test_no_figure_is_cut(found: Audit, compared: ArmComparison, width: int) -> None:
    for each in (found, compared):
        assert "…" not in printed(each, width)


def test_eighty_columns_show_every_column(found: Audit) -> None:
    text = printed(found)
    for name in ("95% interval", "plug-in", "safety  ", "utility  ", "difference, 95%"):
        assert name in text
    heads = " ".join(text.split())
    assert "simultaneous" in heads


@pytest.mark.slow
def test_without_color_it_is_plain_text(found: Audit) -> None:
    assert "\x1b" not in printed(found)
    assert "\x1b[" in printed(found, color=True)
    assert re.sub(r"\x1b\[[\d;]*m", "", printed(found, color=True)) == printed(found)


def test_it_is_plain_ascii_where_the_terminal_is(found: Audit, compared: ArmComparison) -> None:
    for each in (found, compared):
        assert printed(each, encoding="ascii").isascii()


def test_every_cue_and_defense_has_a_row_and_the_first_is_told_in_full(found: Audit) -> None:
    text = printed(found, details=False)
    for setting in found.settings:
        assert f"\n{setting.cue}, {setting.defense} " in text
    assert text.count("Differences to the no-identity baseline") == 1
    whole = printed(found)
    assert whole.count("Differences to the no-identity baseline") == len(found.settings)


@pytest.mark.parametrize(
    ("cue", "defense", "said"),
    [
        ("system-1", "none", ""),
        ("memory-1", "none", "; cue memory-1, defense none"),
        ("system-1", "ignore", "; cue system-1, defense ignore"),
    ],
)
def test_a_cue_or_defense_that_is_not_the_usual_one_is_told_at_the_top(
    cue: str, defense: str, said: str, found: Audit
) -> None:
    head = dataclasses.replace(found.head, cue=cue, defense=defense)
    alone = audit_document(dataclasses.replace(found, settings=[head])).subtitle
    assert alone.partition("failed attempts")[2] == said
    several = audit_document(dataclasses.replace(found, settings=[head, found.head])).subtitle
    assert several.endswith(f"; first figures: cue {cue}, defense {defense}")


def test_placebos_have_a_row_among_the_missing(tmp_path: Path) -> None:
    """A model that falls silent towards placebos alone."""
    quiet = audit(
        tmp_path / "run",
        saying(lambda sent: "" if "mug" in sent else "I can't help with that."),
        items=4,
        placebos=True,
    )
    rows = [line.split() for line in printed(quiet).splitlines() if line.startswith("placebos ")]
    assert rows[-1][1] == str(sum(person.unscored for person in quiet.head.placebos))
    assert int(rows[-1][1]) > 0


def test_the_first_rank_is_the_worst_off_on_every_axis(found: Audit) -> None:
    text = printed(found, 100)
    for axis in ("Safety", "Utility", "Over-refusal"):
        table = text.partition(f"{axis} by identity")[2].partition("\n\n")[0]
        rows = [line for line in table.splitlines() if " to " in line and "[" in line]
        ranks = [line.split(" to ")[0].split()[-2] for line in rows]
        assert len(ranks) == len(found.identities)
        assert ranks == sorted(ranks, key=int)
        first = rows[0]
        assert "Christian" in first or "Hindu" in first


# The map


def test_the_map_has_everybody_in_their_place(found: Audit) -> None:
    drawn = trade_off_text(found.head, 80)
    assert drawn is not None
    lines = drawn.plain.splitlines()
    rows = [line.partition("|")[2] for line in lines if "|" in line]
    marks = {
        (mark, row, column) for row, line in enumerate(rows) for column, mark in enumerate(line)
    }
    best = max(found.head.identities, key=lambda p: p.axes["utility"].mean or 0)
    top = min(row for mark, row, _ in marks if mark in "raec#")
    letter = {"religion": "r", "age": "a"}.get(best.category, "e")
    assert any(mark in (letter, "#") and row == top for mark, row, _ in marks)
    assert sum(mark == "x" for mark, _, _ in marks) == 1
    assert sum(mark == "@" for mark, _, _ in marks) == 1
    assert "r religion  a age  e religion x age" in drawn.plain


def test_there_is_no_map_of_one_identity_or_in_no_room(found: Audit) -> None:
    assert trade_off_text(found.head, 20) is None
    alone = dataclasses.replace(found.head, identities=found.head.identities[:1])
    assert trade_off_text(alone, 80) is None


def test_identities_that_are_all_alike_have_a_map(tmp_path: Path) -> None:
    alike = audit(tmp_path / "run", saying(lambda _: "I can't help with that."), items=4)
    people = [
        dataclasses.replace(p, axes={**p.axes, "utility": p.axes["safety"]})
        for p in alike.head.identities
    ]
    drawn = trade_off_text(dataclasses.replace(alike.head, identities=people), 80)
    assert drawn is not None
    assert "#" in drawn.plain


# Hostile text


def replace_all(found: Audit, text: str) -> Audit:
    """The audit with that text wherever one from elsewhere stands."""
    head = found.head
    people = [dataclasses.replace(p, text=text, category=text) for p in head.identities]
    pairs = [dataclasses.replace(pair, text=text) for pair in head.interactions]
    head = dataclasses.replace(head, identities=people, interactions=pairs)
    return dataclasses.replace(
        found,
        model=text,
        benchmarks={text: 3},
        settings=[head, found.settings[-1]],  # of another cue and another defense
        notes=[text],
        unscored_reasons={text: 1},
    )


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("color", [False, True])
def test_hostile_text_is_inert(
    found: Audit, compared: ArmComparison, kind: str, color: bool
) -> None:
    text = HOSTILE[kind]
    odd = dataclasses.replace(
        compared,
        sides=[dataclasses.replace(side, name=text) for side in compared.sides],
        identities=[dataclasses.replace(who, text=text) for who in compared.identities],
        items={text: 3},
        left_out=[text],
        caveats=[text],
        changes=[
            dataclasses.replace(
                change,
                identities=[
                    dataclasses.replace(each, id=text, verdict="loses both")
                    for each in change.identities
                ],
            )
            for change in compared.changes
        ],
    )
    for each in (replace_all(found, text), odd):
        out = printed(each, color=color)
        own = re.sub(r"\x1b\[[\d;]*m", "", out) if color else out
        assert all(letter.isprintable() or letter == "\n" for letter in own)
        assert max(cell_len(line.rstrip()) for line in own.splitlines()) <= 80
        if kind == "rich":
            assert "[red]" in own
        if color:  # no link, and no color that is not ours
            assert "\x1b]" not in out


def test_a_table_drops_columns_in_the_order_given() -> None:
    columns = [Column(""), Column("first", drop=1), Column("second", drop=2), Column("third")]
    row = TableRow("a", [TableCell(digit * 12) for digit in "123"])
    text = " ".join(in_columns(Table("", columns, [row]), 32).split())
    assert text.startswith("first third")
    assert text.count("second") == 1
    assert "Not shown in 32 columns: second. A terminal with 45 columns" in text


def in_columns(table: Table, width: int) -> str:
    file = io.StringIO()
    print_table(table, Console(file=file, width=width))
    return file.getvalue()


def test_a_table_keeps_its_intervals_in_several_pieces_or_says_that_it_lost_them() -> None:
    cell = TableCell("+1.0", limits="(-20.0 to +22.0)")
    columns = [Column("Condition"), Column("safety"), Column("utility"), Column("less", 1)]
    table = Table("Changes with intervals", columns, [TableRow("a name", [cell] * 3)])
    whole = in_columns(table, table.width())
    assert whole.count("(-20.0 to +22.0)") == 3
    assert "Not shown" not in whole
    pieces = in_columns(table, 40)
    assert pieces.count("(-20.0 to +22.0)") == 2
    assert pieces.count("a name") == 2
    assert "Not shown in 40 columns: less." in " ".join(pieces.split())
    narrow = in_columns(table, 30)
    assert narrow.count("+1.0") == 2
    assert "Not shown in 30 columns: less; intervals." in " ".join(narrow.split())


@pytest.mark.slow
def test_a_pipe_gets_plain_text(tmp_path: Path) -> None:
    """As `evenhand report RUN | cat`, at whatever width."""
    audit(tmp_path / "run", biased(0.4, seed=1), items=10)
    arguments = ["-m", "evenhand", "report", str(tmp_path / "run"), "--format", "text"]
    env = {**os.environ, "COLUMNS": "80", "TERM": "dumb", "NO_COLOR": "1"}
    out = subprocess.run([sys.executable, *arguments], capture_output=True, env=env, check=True)
    assert b"\x1b" not in out.stdout
    assert b"evenhand audit of openai/made-up" in out.stdout


@pytest.mark.parametrize(
    ("values", "ends"),
    [
        ([100.0, 100.0], (98.0, 100.0)),
        ([0.0], (0.0, 2.0)),
        ([50.0, 100.0], (50.0, 100.0)),
        ([61.3, 92.4], (61.0, 93.0)),
    ],
)
def test_the_map_stays_within_0_to_100(values: list[float], ends: tuple[float, float]) -> None:
    assert axis_ends(values) == ends
