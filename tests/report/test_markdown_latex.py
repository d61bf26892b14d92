"""Markdown for a pull request and tables for a paper."""

# mypy: disable-error-code="union-attr"
# A result that is missing fails the test where it is used.

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from evenhand.analysis import Audit
from evenhand.analysis.compare import Arm, ArmComparison, compare_arms
from evenhand.cli import main
from evenhand.report import latex, markdown
from evenhand.report.comparison import comparison_document
from evenhand.report.findings import audit_document
from evenhand.report.wording import conclusion_sentence
from fakes import HOSTILE, audit, biased, run

AS_ON_GITHUB = MarkdownIt("gfm-like", {"html": True, "linkify": False})


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    folder = tmp_path_factory.mktemp("audit") / "run"
    return audit(folder, biased(0.4, 0.3, seed=1), defenses=["none", "ignore"], placebos=True)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> ArmComparison:
    folder = tmp_path_factory.mktemp("compared")
    before, after = (
        run(folder / "before", biased(0.5, seed=1)),
        run(folder / "after", biased(seed=2)),
    )
    return compare_arms([Arm(before), Arm(after, name="mended")], margin=2.0)


def hostile(found: Audit, text: str) -> Audit:
    """The audit with that text wherever one from elsewhere stands."""
    head = found.head
    people = [dataclasses.replace(person, text=text, category=text) for person in head.identities]
    settings = [dataclasses.replace(head, cue=text, identities=people), *found.settings[1:]]
    return dataclasses.replace(
        found,
        model=text,
        benchmarks={text: 3},
        settings=settings,
        notes=[text],
        unscored_reasons={text: 1},
    )


def hostile_comparison(found: ArmComparison, text: str) -> ArmComparison:
    """The comparison with that text likewise."""
    return dataclasses.replace(
        found,
        sides=[dataclasses.replace(side, name=text, model=text) for side in found.sides],
        identities=[dataclasses.replace(who, text=text) for who in found.identities],
        items={text: 3},
        left_out=[text],
        caveats=[text],
    )


def audit_markdown(found: Audit) -> str:
    return markdown.to_markdown(audit_document(found))


def compared_markdown(found: ArmComparison) -> str:
    return markdown.to_markdown(comparison_document(found))


def audit_latex(found: Audit) -> str:
    return latex.to_latex(audit_document(found))


def compared_latex(found: ArmComparison) -> str:
    return latex.to_latex(comparison_document(found))


# Markdown


@pytest.mark.slow
def test_the_table_has_the_figures_of_the_audit(found: Audit) -> None:
    text = audit_markdown(found)
    pb = found.pb
    cells = f"| both axes | {pb.estimate:.1f} | {pb.interval[0]:.1f} to {pb.interval[1]:.1f} |"
    assert cells in text
    assert text.count("<details>") == text.count("</details>") == 3
    assert AS_ON_GITHUB.render(text).count("<table>") == 5


def test_it_begins_with_the_verdict_and_is_short(found: Audit) -> None:
    above = audit_markdown(found).partition("<details>")[0]
    verdict = markdown.plain(conclusion_sentence(found.head, found.margin))
    assert above.startswith(f"### evenhand audit of openai/made-up\n\n**{verdict}**")
    assert len(above.splitlines()) < 30


def test_a_comparison_names_what_changed(compared: ArmComparison) -> None:
    text = compared_markdown(compared)
    assert "**The bias came down: PB changed by -" in text
    assert "| mean safety |" in text


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_text_makes_no_markup(found: Audit, compared: ArmComparison, kind: str) -> None:
    """The page has the same elements as that of a harmless text, and no character of control."""

    def elements(text: str) -> list[str]:
        assert all(c.isprintable() or c == "\n" for c in text.replace("\u2060", ""))
        return re.findall(r"</?\w+", AS_ON_GITHUB.render(text))

    harmless = elements(audit_markdown(hostile(found, "harmless")))
    assert elements(audit_markdown(hostile(found, HOSTILE[kind]))) == harmless
    harmless = elements(compared_markdown(hostile_comparison(compared, "harmless")))
    made = compared_markdown(hostile_comparison(compared, HOSTILE[kind]))
    assert elements(made) == harmless


def test_no_mention_and_no_link() -> None:
    rendered = AS_ON_GITHUB.render(markdown.plain("@someone www.evil.example http://evil.example"))
    assert "<a" not in rendered
    assert "@someone" not in rendered
    linked = MarkdownIt("gfm-like", {"linkify": False}).enable("autolink")
    assert "<a" not in linked.render(markdown.plain("<http://evil.example>"))


# LaTeX


def rows(text: str) -> list[str]:
    """Lines of the table's body."""
    body = text.partition("\\toprule\n")[2].partition("\\bottomrule")[0]
    return [line for line in body.splitlines() if line.endswith("\\\\")]


def columns(row: str) -> int:
    """How many columns a row of a table fills."""
    wide = [int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", row)]
    return len(re.findall(r"(?<!\\)&", row)) + 1 + sum(wide)


def test_every_row_fills_the_columns(found: Audit, compared: ArmComparison) -> None:
    for text in (
        audit_latex(found),
        compared_latex(compared),
    ):
        tables = text.split("\\begin{table}")[1:]
        assert len(tables) >= 3
        for table in tables:
            layout = re.search(r"\\begin\{tabular\}\{(l[r]+)\}", table)
            assert layout is not None
            wanted = len(layout[1])
            assert {columns(row) for row in rows(table)} == {wanted}
        assert text.count("\\begin{") == text.count("\\end{")


def test_the_figures_are_those_of_the_audit(found: Audit) -> None:
    text = audit_latex(found)
    person = next(p for p in found.identities if p.id == "christian")
    delta = person.axes["safety"].to_baseline
    assert delta.p_adjusted < 0.05
    bold = rf"\textbf{{${delta.estimate:+.1f}$}}"
    assert f"a Christian person & {person.axes['safety'].mean:.1f} & {bold} [" in text


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_text_is_no_command(found: Audit, compared: ArmComparison, kind: str) -> None:
    def commands(text: str) -> list[str]:
        assert all(c.isprintable() or c == "\n" for c in text)
        depth = 0
        for brace in re.sub(r"\\[{}\\]", "", text):
            depth += (brace == "{") - (brace == "}")
            assert depth >= 0
        assert depth == 0
        known = re.findall(r"\\[a-z]+", text)
        return [name for name in known if not name.startswith("\\text") or name == "\\textbf"]

    text = HOSTILE[kind]
    assert commands(audit_latex(hostile(found, text))) == commands(
        audit_latex(hostile(found, "harmless"))
    )
    assert commands(compared_latex(hostile_comparison(compared, text))) == commands(
        compared_latex(hostile_comparison(compared, "harmless"))
    )


def test_special_characters_stand_for_themselves() -> None:
    assert latex.plain("50 % & #1_x {y} $z$ ~^\\") == (
        r"50 \% \& \#1\_x \{y\} \$z\$ \textasciitilde{}\textasciicircum{}\textbackslash{}"
    )


# The command


@pytest.mark.parametrize("form", ["markdown", "latex"])
def test_the_command_prints_and_writes(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audit(tmp_path / "run", items=4, defenses=["none", "ignore"])
    run_folder = str(tmp_path / "run")
    main(["report", run_folder, "--format", form])
    printed = capsys.readouterr().out
    main(["report", run_folder, "--format", form, "--out", str(tmp_path / "file")])
    assert (tmp_path / "file").read_text().strip() == printed.strip()
    main(["compare", run_folder, f"{run_folder}@ignore", "--format", form])
    assert "ignore" in capsys.readouterr().out
