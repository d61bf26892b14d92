"""Several endpoints at once: never slower than the best of them alone.

    python benchmarks/fleet.py [--requests 10000]

Local servers in processes of their own: a fast one (50 ms), a slow one (500 ms), and a port on
which nothing listens. 64 connections each. Prints answers a second, and as a ratio to the fast
one alone, which was measured just before; failed attempts are counted.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
from collections.abc import Iterator
from statistics import median

from fixed_endpoint import fixed_endpoints, free_port

from evenhand.engines import EngineOptions, make_engine
from evenhand.engines.engine import Response
from evenhand.study.decoding import Decoding
from evenhand.study.plan import Request

FAST, SLOW = 0.05, 0.5
LEAST = 0.95
"""Of the fast endpoint's speed: what differs between two runs of the same."""


def requests(count: int) -> Iterator[Request]:
    """Questions as short as those of most benchmarks."""
    for number in range(count):
        message = {"role": "user", "content": f"Question {number}: how do I do this thing?"}
        yield Request(number.to_bytes(8, "big"), 0, number, 0, [message])  # type: ignore[list-item]


async def ask(urls: list[str], count: int) -> tuple[float, int]:
    """Answers a second, and failed attempts."""
    engine = make_engine("openai/fixed", Decoding(), EngineOptions(base_urls=urls))
    answers = failures = 0

    def settle(response: Response) -> None:
        nonlocal answers, failures
        answers += response.settled
        failures += len(response.failures)

    started = time.monotonic()
    try:
        await engine.answer(requests(count), settle)
    finally:
        await engine.close()
    assert answers == count
    return answers / (time.monotonic() - started), failures


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    logging.getLogger("evenhand").setLevel(logging.ERROR)
    dead = f"http://127.0.0.1:{free_port()}/v1"
    ratios: dict[str, list[float]] = {}
    with fixed_endpoints(FAST, SLOW) as (fast, slow):
        for _ in range(options.runs):
            alone, _ = asyncio.run(ask([fast], options.requests))
            print(f"{'fast alone':>12} {alone:,.0f}/s")
            for name, urls in (
                ("fast + slow", [fast, slow]),
                ("slow + fast", [slow, fast]),
                ("fast + dead", [fast, dead]),
                ("dead + fast", [dead, fast]),
            ):
                speed, failures = asyncio.run(ask(urls, options.requests))
                ratios.setdefault(name, []).append(speed / alone)
                print(f"{name:>12} {speed:,.0f}/s, {speed / alone:.2f} times, {failures} failures")
    found = {name: median(values) for name, values in ratios.items()}
    print("median: " + ", ".join(f"{name} {ratio:.2f} times" for name, ratio in found.items()))
    if min(found.values()) < LEAST:
        sys.exit(1)


if __name__ == "__main__":
    main()
