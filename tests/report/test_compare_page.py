"""The page of a comparison in a browser, its charts as images, and its words."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from evenhand.analysis.compare import Arm, ArmComparison, compare_arms
from evenhand.cli import main
from evenhand.report.comparison import comparison_document, comparison_sections, read_training
from evenhand.report.html import to_html
from evenhand.report.images import draw
from fakes import HOSTILE, audit, biased, run
from report.test_browser import CHROMIUM, WIDTHS, Opened

in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium; apt-get install chromium")


def write_training(folder: Path) -> Path:
    """What a training leaves beside the weights."""
    steps = [
        {"step": n, "loss": 1 / n, "accuracy": n / 10, "margin": 0.1 * n} for n in range(1, 10)
    ]
    (folder / "training").mkdir(parents=True)
    content = {"finished": True, "pairs": 300, "recipe": "invariance", "steps": steps}
    (folder / "training" / "training.json").write_text(json.dumps(content))
    return folder


def side_by_side(folder: Path) -> ArmComparison:
    """None, prompt, tuned and both, as a mitigation is compared; one side has been trained."""
    sides = []
    people = {"identities": ["religion", "age"]}
    for n, (name, bias) in enumerate((("none", 0.5), ("prompt", 0.3), ("DPO", 0.1), ("both", 0.0))):
        store = run(folder / name, biased(bias, bias / 2, bias / 4, seed=n), items=80, **people)
        sides.append(Arm(store, name=name))
    found = compare_arms(sides, margin=2.0)
    tuned = dataclasses.replace(found.sides[2], model=f"hf/{write_training(folder / 'tuned')}")
    return dataclasses.replace(found, sides=[*found.sides[:2], tuned, found.sides[3]])


def hostile(found: ArmComparison) -> ArmComparison:
    """The same with hostile text wherever text from elsewhere stands."""
    texts = list(HOSTILE.values())

    def text(n: int) -> str:
        return texts[n % len(texts)]

    return dataclasses.replace(
        found,
        sides=[
            dataclasses.replace(side, name=text(n), model=text(n + 1), run=text(n + 2))
            for n, side in enumerate(found.sides)
        ],
        identities=[
            dataclasses.replace(who, text=text(n), category=text(n + 3))
            for n, who in enumerate(found.identities)
        ],
        items=dict.fromkeys(texts, 3),
        left_out=texts,
        caveats=texts,
    )


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> ArmComparison:
    return side_by_side(tmp_path_factory.mktemp("sides"))


@pytest.fixture(scope="module")
def pages(found: ArmComparison, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    two = dataclasses.replace(found, sides=found.sides[:2], changes=found.changes[:1])
    little = compare_arms(
        [
            Arm(run(folder / "a", biased(seed=1), items=1)),
            Arm(run(folder / "b", biased(seed=2), items=1)),
        ],
        margin=2.0,
    )
    contents = {"four": found, "two": two, "hostile": hostile(found), "little": little}
    paths = {}
    for name, content in contents.items():
        paths[name] = folder / f"{name}.html"
        paths[name].write_text(to_html(comparison_document(content)))
    return paths


@pytest.fixture(scope="module")
def browser(pages: dict[str, Path]) -> Iterator[Browser]:
    assert pages
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, pages: dict[str, Path]) -> Iterator[Callable[..., Opened]]:
    opened: list[Opened] = []

    def open_one(name: str, width: int = 1400) -> Opened:
        opened.append(Opened(browser, pages[name], width))
        return opened[-1]

    yield open_one
    for each in opened:
        each.page.close()


@in_browser
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["four", "two", "hostile", "little"])
@pytest.mark.slow
def test_all_is_drawn_without_a_request_or_a_complaint(
    open_page: Callable[..., Opened], name: str, width: int
) -> None:
    opened = open_page(name, width)
    opened.unfold()
    charts = opened.page.locator(".chart").all()
    assert len(charts) >= {"four": 18, "two": 7, "hostile": 14, "little": 1}[name]
    for chart in charts:
        marks = chart.locator("svg g[class*=mark-] path, svg g.mark-rule line")
        assert marks.count() >= 1, chart.get_attribute("aria-label")
    assert opened.complaints == []
    assert len(opened.requests) == 1, opened.requests
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.page.evaluate("window.hacked") is None
    assert opened.page.locator("main img, main b, main a:not([href^='#'])").count() == 0


@in_browser
@pytest.mark.parametrize("name", ["four", "hostile"])
@pytest.mark.slow
def test_no_accessibility_fault(open_page: Callable[..., Opened], name: str) -> None:
    opened = open_page(name)
    violations = Axe().run(opened.page).response["violations"]
    grave = [v["id"] for v in violations if v["impact"] in ("serious", "critical")]
    assert grave == []


@in_browser
@pytest.mark.slow
def test_the_category_limits_a_table_and_its_charts(open_page: Callable[..., Opened]) -> None:
    page = open_page("four").page
    section = page.locator("#identities-2")
    others = page.locator("#identities-1 tbody tr:not([hidden])").count()
    section.locator("[data-filter]").select_option("age")
    shown = section.locator("tbody tr:not([hidden]) > :nth-child(2)").all_inner_texts()
    assert set(shown) == {"age"}
    assert page.locator("#identities-1 tbody tr:not([hidden])").count() == others


@in_browser
@pytest.mark.slow
def test_the_arrows_zoom(open_page: Callable[..., Opened]) -> None:
    page = open_page("two").page
    labels = "#arrows-1 svg g.role-axis-label text"
    before = page.locator(labels).all_text_contents()
    page.locator("#arrows-1").get_by_role("button", name="Zoom in").click()
    page.wait_for_timeout(200)
    assert page.locator(labels).all_text_contents() != before


def text_of(found: ArmComparison) -> str:
    """All sentences of the page."""
    return " ".join(s for section in comparison_sections(found) for s in section.sentences)


@pytest.mark.slow
def test_what_the_page_says(found: ArmComparison) -> None:
    text = text_of(found)
    assert "both: The bias came down" in text
    assert "was tuned on 300 pairs (invariance) in 9 steps" in text
    titles = [section.title for section in comparison_sections(found)]
    assert titles == [
        "The answer",
        "From before to after",
        "How much, and what it cost",
        "Who gained and who lost: prompt",
        "Who gained and who lost: DPO",
        "Who gained and who lost: both",
        "The training",
        "What is compared, and what is not",
    ]
    assert "Every identity and question of every arm is compared." in text


def test_the_arrows_begin_and_end_where_the_identities_stand(found: ArmComparison) -> None:
    figure = next(f for f in comparison_document(found).figures() if f.name == "arrows-3")
    chart = figure.chart().to_dict()
    rows = [row for rows in chart["datasets"].values() for row in rows if "when" in row]
    for who in found.identities:
        mine = {(r["when"], r["safety"], r["utility"]) for r in rows if r["text"] == who.text}
        for when, side in (("before", 0), ("after", 3)):
            safety, utility = who.means["safety"][side], who.means["utility"][side]
            assert safety is not None
            assert utility is not None
            assert (when, round(safety, 2), round(utility, 2)) in mine


@pytest.mark.parametrize("kind", ["png", "svg"])
@pytest.mark.slow
def test_every_chart_is_drawn_without_a_browser(
    found: ArmComparison, kind: Literal["png", "svg"], tmp_path: Path
) -> None:
    for figure in comparison_document(found).figures():
        image = draw(figure, kind)
        if kind == "svg":
            assert image.count(b"<path") > 3
            assert b"<script" not in image
        else:
            path = tmp_path / "image.png"
            path.write_bytes(image)
            with Image.open(path) as opened:
                assert opened.width > 1000
                assert len(opened.convert("RGB").getcolors(2**24) or []) > 10


@pytest.mark.slow
def test_hostile_text_is_inert_in_the_images(found: ArmComparison) -> None:
    for figure in comparison_document(hostile(found)).figures():
        image = draw(figure, "svg").decode()
        assert not re.search(r"<(script|img|svg onload|image|a) ", image)


@pytest.mark.slow
def test_the_command_writes_page_and_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    audit(tmp_path / "run", biased(0.4), items=10, defenses=["none", "ignore"])
    main(["compare", "run", "run@ignore", "--format", "html"])
    assert (tmp_path / "comparison.html").stat().st_size < 5_000_000
    main(["compare", "run", "run@ignore", "--format", "svg", "--out", "images"])
    assert (tmp_path / "images" / "arrows-1.svg").exists()
    main(["report", "run", "--format", "png"])
    assert (tmp_path / "run" / "charts" / "bias.png").exists()
    assert "Report: comparison.html" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"steps": 3}', '{"steps": [{"step": "x"}]}', '{"steps": [], "pairs": "x"}'],
)
def test_curves_that_cannot_be_read_are_none(content: str, tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "training.json").write_text(content)
    assert read_training(f"hf/{tmp_path}") is None
    assert read_training("hf/no/such/folder") is None
    assert read_training("openai/x") is None
