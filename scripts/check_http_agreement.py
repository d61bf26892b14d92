"""Does the organism answer alike over HTTP and in process? Served by `transformers serve`.

    pip install 'transformers[serving]'
    python scripts/check_http_agreement.py [--limit 25]

Both audits ask real benchmark files (set EVENHAND_DATA_DIR, or `evenhand fetch` them first) with
greedy decoding, on behalf of 31 identities and the baseline; then the answers are compared one
by one.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from served import served

import evenhand
from evenhand.organism import MODEL
from evenhand.store.store import Store

BENCHMARKS = ("do_not_answer", "xstest", "mmlu", "gsm8k")


def answers(folder: Path) -> dict[tuple[str, str, str], str | None]:
    """Answers of a run by condition, benchmark and item."""
    store = Store.open(folder)
    conditions = {c.id: f"{c.identity.id}|{c.cue}" for c in store.conditions()}
    items = store.items()
    found = {}
    last = 0
    while rows := store.unscored(last, again=True):
        for _, condition, item, text, *_ in rows:
            found[conditions[condition], items[item].benchmark, items[item].id] = text
        last = rows[-1][0]
    store.close()
    return found


def main() -> None:
    """Run both audits and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=int, default=25)
    options = parser.parse_args()
    study = {"benchmarks": BENCHMARKS, "limit": options.limit, "decoding": {"max_tokens": 48}}
    with tempfile.TemporaryDirectory() as folder:
        with served(MODEL, Path(folder)) as url:
            remote = evenhand.audit(
                f"openai/{MODEL}",
                out=f"{folder}/served",
                options=evenhand.RunOptions(base_urls=(url,)),
                **study,
            )
        local = evenhand.audit("organism", out=f"{folder}/local", **study)
        over_http, in_process = answers(Path(folder, "served")), answers(Path(folder, "local"))
    same = sum(over_http[cell] == in_process[cell] for cell in in_process)
    print(f"over HTTP:  {remote.done:,} of {remote.cells:,} cells done; {remote.placement}")
    print(f"in process: {local.done:,} of {local.cells:,} cells done; {local.placement}")
    print(f"{same:,} of {len(in_process):,} answers are the same ({same / len(in_process):.2%})")


if __name__ == "__main__":
    main()
