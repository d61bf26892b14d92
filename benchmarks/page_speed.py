"""How soon the page of a run of 400,000 answers opens, and how soon a search in them ends.

    python benchmarks/page_speed.py [FOLDER]

The answers are some 300 characters long; the page is made by `evenhand report` with its folder
beside it, opened from disk in Chromium, and searched. Targets: all charts in view drawn within 2 s,
a search shown within 0.3 s, each the first time its words are looked up. A page of 4,000 answers
is opened in the same browser for comparison. A FOLDER keeps the run and the page.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import tempfile
import time
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page, sync_playwright

from evenhand.benchmarks.item import Item
from evenhand.engines.engine import Response
from evenhand.run.scoring import score_run
from evenhand.store.record import RunRecord, SystemRoleCheck
from evenhand.store.store import Store
from evenhand.study.cue import NO_DEFENSE, Condition, select_cues
from evenhand.study.identity import BASELINE, shipped_identities
from evenhand.study.plan import Plan, Request
from evenhand.study.study import Study

USERS, WORDS = 32, 48
SYLLABLES = [f"{one}{other}" for one in "bcdfghklmnprstvw" for other in "aeiou"]
RANKS = ((17, 40), (1200,), (3, 5, 8, 900))
"""Which words are searched for together, by how frequent they are."""
WRITTEN_AT_ONCE = 200
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def write_run(folder: Path, items: int) -> None:
    """A finished run of random words, the frequent ones as frequent as in English."""
    rng = np.random.default_rng(0)
    people = (BASELINE, *(i for i in shipped_identities() if i.kind == "identity"))[:USERS]
    cue = select_cues(["system"])[0]
    conditions = tuple(Condition(who, cue, NO_DEFENSE) for who in people)
    questions = tuple(
        Item(f"u{n % 4}", f"q{n}", f"Question {n} on subject {n % 97}?", "utility", "choice", "A",
             ("one", "two"), f"subject {n % 12}")
        for n in range(items)
    )  # fmt: skip
    plan = Plan(Study(model="openai/any"), conditions, questions)
    words = vocabulary()
    share = 1 / np.arange(1, len(words) + 1)
    share /= share.sum()
    store = Store.create(folder)
    record = RunRecord(study=plan.study, system_role=SystemRoleCheck(True, "made up"))
    ids = store.activate(plan.conditions, plan.items, record)
    for start in range(0, items, WRITTEN_AT_ONCE):
        stop = min(items, start + WRITTEN_AT_ONCE)
        lot = rng.choice(words, size=(stop - start, USERS, WORDS), p=share)
        right = rng.random((stop - start, USERS)) < 0.7
        store.write(
            [
                Response(
                    Request(blake2b(f"{user}-{item}".encode()).digest()[:16], user, item, 0, []),
                    f"{' '.join(lot[item - start, user])}. Therefore, the answer is "
                    f"{'A' if right[item - start, user] else 'B'}.",
                )
                for item in range(start, stop)
                for user in range(USERS)
            ],
            *ids,
        )
    score_run(store)
    store.close()


def vocabulary() -> NDArray[np.str_]:
    """Made-up words, the most frequent first."""
    rng = np.random.default_rng(1)
    letters = rng.choice(SYLLABLES, size=(60_000, 3))
    return np.array(list(dict.fromkeys("".join(each) for each in letters))[:20_000])


Seconds = tuple[float, float]
"""On the clock, and of the processor for the page's own thread, which other work does not slow."""


class Watch:
    """Time since it was made, for one page."""

    def __init__(self, page: Page) -> None:
        self._session = page.context.new_cdp_session(page)
        self._session.send("Performance.enable", {"timeDomain": "threadTicks"})
        self._start = time.perf_counter(), self._busy()

    def _busy(self) -> float:
        metrics = self._session.send("Performance.getMetrics")["metrics"]
        return float(next(m["value"] for m in metrics if m["name"] == "TaskDuration"))

    def seconds(self) -> Seconds:
        return time.perf_counter() - self._start[0], self._busy() - self._start[1]


def open_and_search(browser: Browser, page_file: Path) -> tuple[Seconds, dict[str, Seconds]]:
    """Seconds until the charts in view are drawn, and seconds of each search."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    watch = Watch(page)
    page.goto(page_file.as_uri())
    until(page, "document.querySelector('#bias svg, #map svg, #forest-utility svg') !== null")
    opened = watch.seconds()
    page.evaluate("document.querySelector('.browser').scrollIntoView()")
    count = "document.querySelector('[data-answers=count]').textContent"
    until(page, f"{count}.includes('shown.')")
    searches = {}
    known = vocabulary()
    asked = [" ".join(known[rank] for rank in ranks) for ranks in RANKS]
    for words in (*asked, known[2000][:4], "subject"):
        before = page.evaluate(count)
        watch = Watch(page)
        page.locator("[data-answers=q]").fill(words)
        until(page, f"{count} !== {before!r}")
        searches[words] = watch.seconds()
    page.close()
    return opened, searches


def _shown(seconds: Seconds) -> str:
    return f"{seconds[0]:.2f} s ({seconds[1]:.2f})"


def until(page: Page, expression: str) -> None:
    """Poll every 5 ms; the page's policy forbids the browser's own waiting."""
    for _ in range(20_000):
        if page.evaluate(expression):
            return
        time.sleep(0.005)
    raise SystemExit(f"never true: {expression}")


def main() -> None:
    """Print one line for each page."""
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(sys.argv[1] if sys.argv[1:] else temporary)
        made = {}
        for answers in (4_000, 400_000):
            folder = base / f"run-{answers}"
            if not folder.exists():
                write_run(folder, answers // USERS)
            start = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "evenhand", "report", str(folder), "--answers", "400000"],
                check=True, capture_output=True,
            )  # fmt: skip
            made[answers] = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        print("| answers | report made | page + folder | opened (CPU) | slowest search (CPU) |")
        print("|---|---|---|---|---|")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            for answers, seconds in made.items():
                folder = base / f"run-{answers}"
                beside = list((folder / "report-answers").glob("*.js"))
                size = sum(file.stat().st_size for file in [folder / "report.html", *beside]) / 1e6
                opened, searches = open_and_search(browser, folder / "report.html")
                slowest = max(searches, key=lambda words: searches[words])
                print(
                    f"| {answers:,} | {seconds:.0f} s | {size:.0f} MB | {_shown(opened)} | "
                    f'{_shown(searches[slowest])}, "{slowest}" |'
                )
        print(f"most memory of a report: {peak:.2f} GiB")


if __name__ == "__main__":
    main()
