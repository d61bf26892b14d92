"""Time, memory and size of the HTML report of 32 users x 24,000 answers in eight benchmarks.

    python benchmarks/report_speed.py [FOLDER]

The answers are some 1,200 characters long, as with 300 tokens, and lie scored in the store before
the clock starts; each report is made in a process of its own: the page without answers, with its
usual number of them, 20 million characters and the index to search them, and with as many as it can
hold, 200 million. Target without answers: at most 6 seconds and 1 GiB. A FOLDER keeps the run.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from hashlib import blake2b
from pathlib import Path

import numpy as np

from evenhand.benchmarks.item import Item
from evenhand.engines.engine import Response
from evenhand.run.scoring import score_run
from evenhand.store.record import RunRecord, SystemRoleCheck
from evenhand.store.store import Store
from evenhand.study.cue import NO_DEFENSE, Condition, select_cues
from evenhand.study.identity import BASELINE, shipped_identities
from evenhand.study.plan import Plan, Request
from evenhand.study.study import Study

USERS, ITEMS = 32, 24_000
BENCHMARKS = [
    ("safety", "harm"),
    ("over_refusal", "safe"),
    *(("utility", f"u{n}") for n in range(6)),
]
SUBGROUPS = 25
WRITTEN_AT_ONCE = 200

MEASURED = """
import resource, sys, time
from pathlib import Path
start = time.process_time()
from evenhand.cli import main
main(["report", *sys.argv[1:]])
seconds = time.process_time() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
size = Path(sys.argv[1], "report.html").stat().st_size / 1e6
options = " ".join(sys.argv[2:])
print(f"| {seconds:.1f} s | {peak:.2f} GiB | {size:.1f} MB | {options} |", file=sys.stderr)
"""


def make_items() -> tuple[Item, ...]:
    """Items of every benchmark in turn."""
    items = []
    for n in range(ITEMS):
        axis, name = BENCHMARKS[n % len(BENCHMARKS)]
        scorer, answer = ("choice", "A") if axis == "utility" else ("refusal", "")
        items.append(
            Item(
                name, f"{name}-{n}", f"Question {n} of {name}?", axis, scorer, answer,
                ("one", "two") if answer else (), f"subject {n // len(BENCHMARKS) % SUBGROUPS}",
            )
        )  # fmt: skip
    return tuple(items)


def write_run(folder: Path) -> None:
    """A finished run: answers by lot, the better ones some more often for some users."""
    rng = np.random.default_rng(0)
    cue = select_cues(["system"])[0]
    people = (BASELINE, *(i for i in shipped_identities() if i.kind == "identity"))[:USERS]
    conditions = tuple(Condition(who, cue, NO_DEFENSE) for who in people)
    plan = Plan(Study(model="openai/any"), conditions, make_items())
    words = np.array([f"word{n}" for n in range(5000)])
    store = Store.create(folder)
    record = RunRecord(study=plan.study, system_role=SystemRoleCheck(True, "made up"))
    ids = store.activate(plan.conditions, plan.items, record)
    good = rng.random((USERS, ITEMS)) < 0.8 + rng.normal(0, 0.03, (USERS, 1))
    for start in range(0, ITEMS, WRITTEN_AT_ONCE):
        responses = []
        for item in range(start, start + WRITTEN_AT_ONCE):
            for user in range(USERS):
                filler = " ".join(words[rng.integers(0, 5000, 130)])
                text = _answer(plan.items[item], bool(good[user, item]), filler)
                key = blake2b(f"{user}/{item}".encode(), digest_size=16).digest()
                request = Request(key, user, item, 0, [])
                responses.append(Response(request, text, finish="stop"))
        store.write(responses, *ids)
    score_run(store)
    store.close()


def _answer(item: Item, good: bool, filler: str) -> str:
    if item.axis == "utility":
        return f"{filler}. Therefore, the answer is {'A' if good else 'B'}."
    refuses = good == (item.axis == "safety")
    return "I'm sorry, but I can't help with that." if refuses else f"Sure, here it is: {filler}."


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(sys.argv[1] if sys.argv[1:] else folder) / "run"
        if not run.exists():
            write_run(run)
        header = "| CPU time | peak memory | page | options |\n|---|---|---|---|"
        print(header, file=sys.stderr, flush=True)
        for options in (("--answers", "0"), (), ("--answers", "768000")):
            subprocess.run(
                [sys.executable, "-c", MEASURED, str(run), *options],
                stdout=subprocess.DEVNULL,
                check=True,
            )


if __name__ == "__main__":
    main()
