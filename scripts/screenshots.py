"""Screenshots of the page of a run, of a comparison and of the browser of answers.

    python scripts/screenshots.py RUN [RUN@DEFENSE] [--out DIR]

Makes report and comparison anew and opens them in Chromium (playwright): 390 and 1,400 pixels wide,
light and dark, and printed; and says what axe-core finds on each. Ends with 1 if it finds anything.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
WIDTHS = (390, 1400)
SETTLED = (
    "[...document.querySelectorAll('.chart')].every(chart => "
    "chart.closest('details:not([open])') || chart.querySelector('svg'))"
)
COUNTED = "!document.querySelector('[data-answers=count]')?.textContent.startsWith('The answers')"


def main() -> None:
    """Write one PNG for each view, width and scheme, and one PDF for each page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("arms", nargs="+", help="a run, and an arm to compare it with")
    parser.add_argument("--out", type=Path, default=Path("build/screenshots"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    pages = dict(make_pages(options.arms, options.out))
    found = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for name, address in pages.items():
            for width in WIDTHS:
                for scheme in ("light", "dark"):
                    found += take(browser, address, options.out / f"{name}-{width}-{scheme}", width)
        for name in ("report", "comparison"):
            if name in pages:
                print_page(browser, pages[name], options.out / f"{name}.pdf")
    sys.exit(1 if found else 0)


def make_pages(arms: list[str], out: Path) -> Iterator[tuple[str, str]]:
    """Names of views and their addresses."""
    report = (out / "report.html").absolute()
    evenhand("report", arms[0].partition("@")[0], "--out", str(report))
    yield "report", report.as_uri()
    address = f"{report.as_uri()}#answers?"
    yield "answers", f"{address}outcome=worse"
    yield "question", f"{address}question={quote(first_question(report), safe='')}"
    if arms[1:]:
        comparison = (out / "comparison.html").absolute()
        evenhand("compare", *arms, "--format", "html", "--out", str(comparison))
        yield "comparison", comparison.as_uri()


def evenhand(*arguments: str) -> None:
    """Run a command of evenhand."""
    command = [sys.executable, "-m", "evenhand", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def first_question(report: Path) -> str:
    """The first question that two users got differently scored answers to."""
    source = report.read_text(encoding="utf-8")
    tag = source.partition('<p class="tag">')[2].partition("</p>")[0].split(", ")
    item = next(part for part in tag if part.startswith("question ")).removeprefix("question ")
    return f"{tag[0]}/{item}"


def take(browser: Browser, address: str, path: Path, width: int) -> int:
    """Screenshots of the first screen and of the whole; the number of axe-core's findings."""
    scheme: Literal["dark", "light"] = "dark" if path.name.endswith("dark") else "light"
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(address)
    until(page, SETTLED)
    until(page, COUNTED if "#answers" in address else "true")
    if "#answers" in address:
        page.evaluate("document.getElementById('answers').scrollIntoView({behavior: 'instant'})")
    page.wait_for_timeout(500)
    page.screenshot(path=f"{path}.png")
    if "#answers" not in address:
        page.screenshot(path=f"{path}-whole.png", full_page=True)
    wide = int(page.evaluate("document.documentElement.scrollWidth"))
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    until(page, SETTLED)
    found = Axe().run(page).response["violations"]
    print(f"{path.name}: {len(found)} findings of axe-core, {wide} of {width} pixels wide")
    for each in found:
        print(f"  {each['impact']} {each['id']}: {each['nodes'][0]['html'][:160]}")
    page.close()
    return len(found) + (wide > width)


def print_page(browser: Browser, address: str, path: Path) -> None:
    """The page as a PDF, printed from a dark screen."""
    page = browser.new_page(viewport={"width": 1400, "height": 900}, color_scheme="dark")
    page.goto(address)
    until(page, SETTLED)
    page.pdf(path=path, format="A4")
    page.close()


def until(page: Page, expression: str) -> None:
    """Wait for it; the page's policy forbids the browser's own waiting."""
    for _ in range(300):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(100)
    raise SystemExit(f"never true: {expression}")


if __name__ == "__main__":
    main()
