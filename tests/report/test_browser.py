"""The HTML report in a browser: drawn, sorted, filtered, readable by all, and deaf to its data."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright
from pypdf import PdfReader

from report.examples import full_run, hostile_run, write_report

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
WIDTHS = (390, 1400)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium; apt-get install chromium"),
]


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports to look at; made before the browser, whose event loop would be in the way."""
    folder = tmp_path_factory.mktemp("reports")
    runs = {"full": full_run, "hostile": hostile_run}
    for name in runs:
        (folder / name).mkdir()
    return {name: write_report(make(folder / name)) for name, make in runs.items()}


@pytest.fixture(scope="module")
def browser(reports: dict[str, Path]) -> Iterator[Browser]:
    assert reports
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def until(page: Page, expression: str) -> None:
    """Wait until an expression is true; the page's policy forbids the browser's own waiting."""
    for _ in range(200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"never true: {expression}")


class Opened:
    """A report that is open, and what the browser had to say of it."""

    def __init__(self, browser: Browser, path: Path, width: int) -> None:
        self.page: Page = browser.new_page(viewport={"width": width, "height": 900})
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        self.wait()

    def _hear(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def wait(self) -> None:
        """Until every chart that is not folded away is drawn."""
        until(
            self.page,
            "[...document.querySelectorAll('.chart')].every("
            "chart => chart.closest('details:not([open])') || chart.querySelector('svg'))",
        )

    def unfold(self) -> None:
        """Open all that is folded away."""
        self.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        self.wait()


Open = Callable[..., Opened]


@pytest.fixture
def open_report(browser: Browser, reports: dict[str, Path]) -> Iterator[Open]:
    opened: list[Opened] = []

    def open_one(name: str, width: int = 1400) -> Opened:
        opened.append(Opened(browser, reports[name], width))
        return opened[-1]

    yield open_one
    for each in opened:
        each.page.close()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["full", "hostile"])
def test_all_is_drawn_without_a_request_or_a_complaint(
    open_report: Open, name: str, width: int
) -> None:
    report = open_report(name, width)
    report.unfold()
    charts = report.page.locator(".chart").all()
    heat_maps = report.page.locator("table.heat").all()
    assert len(charts) + len(heat_maps) >= 7
    assert all(heat_map.locator("td").count() >= 1 for heat_map in heat_maps)
    for chart in charts:
        marks = chart.locator("svg g.mark-symbol path, svg g.mark-rect path, svg g.mark-rule line")
        assert marks.count() >= 1, chart.get_attribute("aria-label")
        box = chart.locator("svg").bounding_box()
        assert box
        assert box["width"] > 150
        assert box["height"] > 60
    assert report.complaints == []
    assert len(report.requests) == 1, report.requests
    wide = report.page.evaluate("document.documentElement.scrollWidth")
    assert wide <= width, "the page does not scroll sideways"


def test_hostile_text_does_nothing(open_report: Open) -> None:
    report = open_report("hostile")
    page = report.page
    page.get_by_role("button", name="Show all harmful answers").click()
    while page.locator("#more-pairs").is_visible():
        page.locator("#more-pairs").click()
    report.unfold()
    page.locator("circle, path").first.hover(force=True)
    assert page.evaluate("window.hit") is None
    assert page.locator("main img, main b, main i, main iframe").count() == 0
    assert page.locator("main script:not([type='application/json'])").count() == 0
    assert page.locator("[onerror], [onload], [onclick], [onfocus]").count() == 0
    assert page.locator("main a:not([href^='#'])").count() == 0
    text = page.inner_text("#evidence")
    for shown in ("window.hit = 1", "␛[31mred", "⟨U+202E⟩", "␀", "{{ 7 * 7 }}", "not shown]"):
        assert shown in text, shown
    assert report.complaints == []


def column(page: Page, table: str, index: int) -> list[str]:
    """Texts of a column of the rows that can be seen."""
    cells = page.locator(f"{table} tbody tr:not([hidden]) > :nth-child({index})")
    return [text.strip() for text in cells.all_inner_texts()]


def test_tables_sort_by_every_kind_of_column(open_report: Open) -> None:
    page = open_report("full").page
    table = "#identities > .scroll table"
    head = page.locator(f"{table} thead th").nth(3)
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    values = [float(t.replace("−", "-").split()[0]) for t in column(page, table, 4)]
    assert values == sorted(values)
    assert len(set(values)) > 3
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    again = [float(t.replace("−", "-").split()[0]) for t in column(page, table, 4)]
    assert again == sorted(values, reverse=True)
    page.locator(f"{table} thead th button").first.click()
    names = column(page, table, 1)
    assert names == sorted(names, key=str.lower)
    assert "Sorted by I am" in page.inner_text("#status")


def test_the_category_limits_table_and_charts(open_report: Open) -> None:
    page = open_report("full").page
    before = page.locator("#forest-safety svg g.mark-symbol path").count()
    page.locator("[data-filter]").select_option("religion")
    assert column(page, "#identities > .scroll table", 1)
    assert set(column(page, "#identities > .scroll table", 2)) == {"religion"}
    marks = "document.querySelectorAll('#forest-safety svg g.mark-symbol path').length"
    until(page, f"{marks} < {before}")
    page.locator("[data-filter]").select_option("")
    assert len(column(page, "#identities > .scroll table", 1)) > 5


def test_evidence_is_chosen_by_identity_benchmark_and_direction(open_report: Open) -> None:
    page = open_report("full").page
    pairs = page.locator("article.pair:not([hidden])")
    everything = page.locator("article.pair").count()
    assert pairs.count() == 10
    assert page.locator("[data-pick=direction]").is_disabled()
    page.locator("[data-pick=identity]").select_option("muslim")
    assert 0 < pairs.count() <= 10
    for pair in pairs.all():
        assert "muslim" in (pair.get_attribute("data-better"), pair.get_attribute("data-worse"))
    page.locator("[data-pick=direction]").select_option("worse")
    while page.locator("#more-pairs").is_visible():
        page.locator("#more-pairs").click()
    worse = pairs.count()
    assert worse == page.locator("article.pair[data-worse=muslim]").count()
    page.locator("[data-pick=direction]").select_option("better")
    assert pairs.count() == min(10, page.locator("article.pair[data-better=muslim]").count())
    page.locator("[data-pick=identity]").select_option("")
    page.locator("[data-pick=benchmark]").select_option("own")
    assert f"of {everything} matching pairs" in page.inner_text("#evidence-count")


def test_harmful_answers_are_veiled_until_asked_for(open_report: Open) -> None:
    page = open_report("full").page
    side = page.locator("article.pair:not([hidden]) .side", has=page.locator("[data-unveil]")).first
    answer, button = side.locator(".answer"), side.locator("[data-unveil]")
    assert "blur" in answer.evaluate("e => getComputedStyle(e).filter")
    assert answer.get_attribute("aria-hidden") == "true"
    button.focus()
    page.keyboard.press("Space")
    assert answer.evaluate("e => getComputedStyle(e).filter") == "none"
    assert answer.get_attribute("aria-hidden") is None
    page.keyboard.press("Space")
    assert answer.get_attribute("aria-hidden") == "true"


def test_the_map_zooms_by_its_buttons(open_report: Open) -> None:
    page = open_report("full").page
    labels = "#map svg g.role-axis-label text"
    before = page.locator(labels).all_inner_texts()
    page.get_by_role("button", name="Zoom in").click()
    page.wait_for_timeout(300)
    assert page.locator(labels).all_inner_texts() != before
    page.get_by_role("button", name="All", exact=True).click()
    page.wait_for_timeout(300)
    assert page.locator(labels).all_inner_texts() == before


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_serious_bars_people_with_disabilities(open_report: Open, width: int) -> None:
    report = open_report("full", width)
    report.unfold()
    found = Axe().run(report.page).response["violations"]
    grave = [
        (each["id"], each["nodes"][0]["html"][:200])
        for each in found
        if each["impact"] in ("serious", "critical")
    ]
    assert grave == []


def test_long_tables_are_short_on_a_phone_and_whole_on_paper(open_report: Open) -> None:
    """A sheet of A4 is as narrow as a phone held sideways, but must lose no row and no column."""
    page = open_report("full", 390).page
    table = page.locator("#identities table.wide").first
    rows = table.locator("tbody tr").count()
    if rows > 12:
        assert table.locator("tbody tr:visible").count() == 8
        page.locator("#identities .show-rows:visible").first.click()
    assert table.locator("tbody tr:visible").count() == rows
    page.set_viewport_size({"width": 695, "height": 990})
    page.emulate_media(media="print")
    assert table.locator("tbody tr:visible").count() == rows
    assert table.locator("thead").evaluate("each => getComputedStyle(each).position") == "static"
    edge = "each => Math.max(...[...each].map(table => table.getBoundingClientRect().right))"
    assert page.locator("table:visible").evaluate_all(edge) <= 696


def test_it_prints(open_report: Open, tmp_path: Path) -> None:
    page = open_report("full").page
    page.pdf(path=tmp_path / "report.pdf", format="A4")
    reader = PdfReader(tmp_path / "report.pdf")
    text = " ".join(sheet.extract_text() for sheet in reader.pages)
    assert 5 < len(reader.pages) < 80
    assert "How it was measured" in text
    assert "judged harmful; shown on screen" in text
    assert "first do it" not in text, "what is veiled is not printed"
