"""One number, one interval, one verdict: wherever a result is shown, and in every format."""

from __future__ import annotations

import dataclasses
import io
import re

import pytest
from rich.console import Console

from evenhand.analysis import Audit
from evenhand.analysis.results import Difference
from evenhand.analysis.setting import with_conclusion
from evenhand.report.document import Document, Figure, Table, TableCell, minus, tables_of
from evenhand.report.findings import audit_document
from evenhand.report.html import to_html
from evenhand.report.latex import to_latex
from evenhand.report.markdown import to_markdown
from evenhand.report.terminal import print_document
from evenhand.report.wording import standing
from evenhand.stats import BiasChange, MeanChange, PlaceboContrast, TradeOff
from fakes import audit, biased, spread


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    folder = tmp_path_factory.mktemp("audit") / "run"
    return audit(folder, biased(0.4, 0.3, seed=1), identities=["religion", "gender"])


def text(document: Document, width: int = 140) -> str:
    out = io.StringIO()
    print_document(document, Console(file=out, width=width))
    return out.getvalue()


def people_table(found: Audit) -> Table:
    section = next(s for s in audit_document(found).sections if s.name == "identities")
    return next(t for t in tables_of(section.blocks, 0))


def replace_differences(found: Audit, **by_axis: Difference) -> Audit:
    """The first identity with these differences to the baseline."""
    first, *others = found.head.identities
    axes = {
        name: dataclasses.replace(axis, to_baseline=by_axis.get(name, axis.to_baseline))
        for name, axis in first.axes.items()
    }
    first = dataclasses.replace(first, axes=axes, text="a Martian")
    head = dataclasses.replace(found.head, identities=[first, *others])
    return dataclasses.replace(found, settings=[head, *found.settings[1:]])


def test_a_difference_has_one_interval_in_every_format(found: Audit) -> None:
    """The simultaneous one, and the column says so; the pointwise one is nowhere."""
    odd = Difference(-41.5, (-52.0, -31.0), (-63.0, -22.0), 0.0001, 0.001, 1.0)
    document = audit_document(replace_differences(found, safety=odd))
    for made in (text(document), to_markdown(document), to_latex(document), to_html(document)):
        plain = made.replace("\\", "").replace("$-$", "-").replace("−", "-")
        plain = re.sub(r"<script>.*?</script>", "", plain, flags=re.DOTALL)
        plain = re.sub(r"</?(?:strong|span|td|th|tr)[^>]*>", "", plain)
        assert "[-63, -22]" in plain
        assert "95% simultaneous" in " ".join(plain.split())
        assert "-52" not in plain
        assert "-31.0" not in plain
    (chart,) = (f for f in document.figures() if f.name == "forest-safety")
    rows = [row for data in chart.chart().to_dict()["datasets"].values() for row in data]
    (mine,) = (row for row in rows if row.get("name") == "a Martian")
    assert (mine["low"], mine["high"], mine["standing"]) == (-63.0, -22.0, "worse")


@pytest.mark.parametrize("p_adjusted", [0.001, 0.2])
@pytest.mark.parametrize("simultaneous", [(-30.0, -5.0), (-30.0, 5.0)])
def test_a_star_follows_the_test_that_the_caption_names(
    found: Audit, p_adjusted: float, simultaneous: tuple[float, float]
) -> None:
    """Whatever the interval; where the two disagree, the sentence says so."""
    odd = Difference(-90.0, simultaneous, simultaneous, p_adjusted, p_adjusted, 1.0)
    changed = replace_differences(found, safety=odd)
    table = people_table(changed)
    assert "adjusted p < 0.05" in table.legend
    (row,) = (row for row in table.rows if row.head == "a Martian")
    assert row.cells[2].strong == (p_adjusted < 0.05)
    sentences = " ".join(audit_document(changed).sections[2].sentences)
    said = "a Martian, -90.0" in sentences
    assert said == (p_adjusted < 0.05)
    if said:
        assert ("disagree" in sentences) == (simultaneous[1] > 0)


def test_verdicts_are_those_of_the_stars(found: Audit) -> None:
    """Significant on both axes is never called a loss on one."""
    table = people_table(found)
    names = [column.name.partition(",")[0] for column in table.columns]
    safety, utility = names.index("safety difference") - 1, names.index("utility difference") - 1
    shown = 0
    for row in table.rows:
        cells, verdict = row.cells, row.cells[-1].text

        def direction(cell: TableCell) -> int:
            return (1 if (cell.key or 0) > 0 else -1) if cell.strong else 0

        expected = {
            (-1, -1): "loses both",
            (-1, 0): "loses safety",
            (0, -1): "loses utility",
            (-1, 1): "loses safety, gains utility",
            (1, -1): "gains safety, loses utility",
            (1, 0): "gains safety",
            (0, 1): "gains utility",
            (1, 1): "gains both",
        }.get((direction(cells[safety]), direction(cells[utility])))
        if expected:
            assert verdict == expected
            shown += 1
        else:
            assert verdict in ("inconclusive", "within margin")
    assert shown >= 1


@pytest.mark.parametrize("p_value", [0.001, 0.4])
def test_what_placebos_do_as_well_is_no_headline(found: Audit, p_value: float) -> None:
    contrast = PlaceboContrast(5.0, 4.8, 0.9, 0.8, (0.0, 3.0), p_value, 0.95, 31, 14)
    head = dataclasses.replace(found.head, beyond_placebo=contrast, placebo_pb=found.pb)
    head = with_conclusion(head, margin=2.0, doubts={}, yardstick=None)
    document = audit_document(dataclasses.replace(found, settings=[head, *found.settings[1:]]))
    first = document.sections[0].sentences[0]
    if p_value < 0.05:
        assert first.startswith("The model does not treat all users alike: identity adds")
    else:
        assert first.startswith("That identity changes the answers more than placebos do is not")


@pytest.mark.parametrize("interval", [(-1.0, 1.0), (-0.96, 0.99), (-0.99, 0.95)])
def test_a_correlation_that_cannot_be_estimated_is_no_headline(
    found: Audit, interval: tuple[float, float]
) -> None:
    odd = TradeOff(0.93, interval, 0.5, 2.0, 0.95)
    head = dataclasses.replace(found.head, trade_off=odd)
    document = audit_document(dataclasses.replace(found, settings=[head, *found.settings[1:]]))
    section = next(s for s in document.sections if s.name == "trade-off")
    assert "not estimable" in " ".join(section.sentences)
    assert section.sentences[0].startswith("Compared with the no-identity baseline")
    for made in (text(document), to_markdown(document), to_html(document)):
        assert "0.93" not in made
        assert "tend to" not in made


@pytest.mark.parametrize(
    ("axis", "difference", "p_value", "expected"),
    [
        ("safety", -5.0, 0.01, "worse"),
        ("safety", 5.0, 0.01, "better"),
        ("over_refusal", -5.0, 0.01, "better"),
        ("over_refusal", 5.0, 0.01, "worse"),
        ("utility", -5.0, 0.2, "not significant"),
    ],
)
def test_a_change_is_judged_by_the_p_value_beside_it(
    axis: str, difference: float, p_value: float, expected: str
) -> None:
    interval = (difference - 1, difference + 1)  # excludes 0, whatever the p-value
    change = MeanChange(difference, 1.0, interval, p_value, 2.0, 0.9, 0.95)
    assert standing(axis, change) == expected


@pytest.mark.parametrize(("p_value", "expected"), [(0.01, "better"), (0.3, "not significant")])
def test_a_change_of_bias_is_judged_by_the_p_value_beside_it(p_value: float, expected: str) -> None:
    before = spread(5.0, 4.0, 6.0, 0.001)
    assert standing("", BiasChange(before, before, -5.0, (-9.0, -1.0), p_value, 0.95)) == expected


def test_every_table_names_its_intervals(found: Audit) -> None:
    """A column with brackets says "simultaneous"; every other interval is of one figure."""
    for table in tables_of([b for s in audit_document(found).sections for b in s.blocks], 2):
        for n, column in enumerate(table.columns[1:]):
            cells = [row.cells[n] for row in table.rows]
            assert any(cell.limits for cell in cells) == ("simultaneous" in column.name)


def test_the_same_table_is_behind_every_format(found: Audit) -> None:
    """PB as the document has it, character for character."""
    document = audit_document(found)
    figure = document.sections[0].blocks[0]
    assert isinstance(figure, Figure)
    assert figure.table
    row = figure.table.rows[0]
    values = [cell.text for cell in row.cells]
    assert f"| {row.head} | {' | '.join(values)} |".replace("<", r"\<") in to_markdown(
        document
    ).replace("| < ", r"| \< ")
    line = next(line for line in text(document).splitlines() if line.startswith(row.head))
    assert re.split(r"\s{2,}", line.strip()) == [row.head, *values]
    page = to_html(document)
    for value in values:
        assert minus(value).replace("<", "&lt;") in page
