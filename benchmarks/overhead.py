"""What a request costs beside a bare aiohttp + orjson loop, in CPU, time and memory.

    python benchmarks/overhead.py [--latency 0.2 --connections 256]

Against a local server in a process of its own: 32 conditions x 939 questions. "asked" is a run
without scoring: start, plan, requests with redaction and thought splitting, durable store. "whole"
is `evenhand audit`: scores, statistics and report, too. Each is compared with the bare loop that
was measured just before. Needs Do-Not-Answer: set EVENHAND_DATA_DIR, or run
`evenhand fetch do_not_answer` first.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from fixed_endpoint import fixed_endpoints

CONDITIONS, ITEMS = 32, 939
MOST_ASKED, MOST_WHOLE, MOST_MB = 1.6, 2.2, 130
REQUESTS = CONDITIONS * ITEMS


async def bare(url: str, connections: int, requests: int) -> None:
    """The least a client can do: send, read, parse."""
    import aiohttp
    import orjson

    left = iter(range(requests))
    message = "You are a helpful assistant. I am a middle-aged person."

    async def work(session: aiohttp.ClientSession) -> None:
        for number in left:
            body = {
                "model": "fixed",
                "temperature": 0,
                "max_tokens": 512,
                "messages": [
                    {"role": "system", "content": message},
                    {"role": "user", "content": f"Question {number}: how do I do this thing?"},
                ],
            }
            async with session.post(url, data=orjson.dumps(body)) as reply:
                orjson.loads(await reply.read())["choices"][0]["message"]["content"]

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        await asyncio.gather(*(work(session) for _ in range(connections)))


def ask(base_url: str, folder: str, connections: int) -> None:
    """A run without scoring."""
    from evenhand.audit import plan_for
    from evenhand.engines import make_engine
    from evenhand.run.event_loop import run_async
    from evenhand.run.loop import run
    from evenhand.run.options import RunOptions
    from evenhand.store.store import Store
    from evenhand.study.study import Study

    plan = plan_for(Study(model="openai/fixed", benchmarks=("do_not_answer",)))
    options = RunOptions(base_urls=[base_url], max_connections=connections)
    store = Store.create(Path(folder))

    async def ask_all() -> None:
        engine = make_engine(plan.study.model, plan.study.decoding, options.for_engine)
        try:
            await run(plan, engine, store)
        finally:
            await engine.close()

    run_async(ask_all())
    store.close()


def measure(command: list[str], env: dict[str, str]) -> tuple[float, float, float]:
    """CPU seconds, wall seconds and peak MB of a command."""
    started = time.monotonic()
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - started
    if status:
        sys.exit(f"{command} failed with {os.waitstatus_to_exitcode(status)}")
    return usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latency", type=float, default=0.0, help="seconds")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--bare", metavar="URL", help=argparse.SUPPRESS)
    parser.add_argument("--ask", nargs=2, metavar=("URL", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask:
        ask(*options.ask, options.connections)
        return
    if options.bare:
        asyncio.run(bare(options.bare, options.connections, REQUESTS))
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    env = {**os.environ, "OPENAI_API_KEY": ""}
    with fixed_endpoints(options.latency) as (base_url,):
        asked, whole, most = [], [], 0.0
        print(f"{REQUESTS:,} requests, {options.connections} connections, {options.latency:g} s")
        connections = ("--connections", str(options.connections))
        for _ in range(options.runs):
            url = f"{base_url}/chat/completions"
            bare_cpu, bare_wall, _ = measure(
                [sys.executable, __file__, "--bare", url, *connections], env
            )
            with tempfile.TemporaryDirectory() as folder:
                asked_cpu, asked_wall, asked_mb = measure(
                    [sys.executable, __file__, "--ask", base_url, f"{folder}/run", *connections],
                    env,
                )
            with tempfile.TemporaryDirectory() as folder:
                cpu, wall, memory = measure(
                    [
                        *(sys.executable, "-m", "evenhand", "audit", "openai/fixed", "--quiet"),
                        *("--base-url", base_url, "-b", "do_not_answer", "--out", f"{folder}/run"),
                        *("--max-connections", str(options.connections), "--format", "json"),
                    ],
                    env,
                )
            asked.append(asked_cpu / bare_cpu)
            whole.append(cpu / bare_cpu)
            most = max(most, asked_mb, memory)
            for name, its_cpu, its_wall, its_mb in (
                ("bare", bare_cpu, bare_wall, 0.0),
                ("asked", asked_cpu, asked_wall, asked_mb),
                ("whole", cpu, wall, memory),
            ):
                print(
                    f"{name:>6} {1e3 * its_cpu / REQUESTS:.3f} ms CPU, {REQUESTS / its_wall:,.0f}/s"
                    + (f", {its_mb:.0f} MB, {its_cpu / bare_cpu:.2f} times" if its_mb else "")
                )
        print(
            f"median: asked {median(asked):.2f} times the bare loop (at most {MOST_ASKED}; "
            f"{min(asked):.2f} to {max(asked):.2f}), whole {median(whole):.2f} times (at most "
            f"{MOST_WHOLE}; {min(whole):.2f} to {max(whole):.2f}); {most:.0f} MB (at most "
            f"{MOST_MB})"
        )
        if median(asked) > MOST_ASKED or median(whole) > MOST_WHOLE or most > MOST_MB:
            sys.exit(1)


if __name__ == "__main__":
    main()
