"""What a request costs beside a bare aiohttp + orjson loop, in CPU, time and memory.

    python benchmarks/overhead.py [--latency 0.2 --connections 256]

Against a local server in a process of its own: 32 conditions x 939 questions, everything
included (start, plan, durable store, scores, statistics, report). Needs Do-Not-Answer: set
EVENHAND_DATA_DIR, or run `evenhand fetch do_not_answer` first.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONDITIONS, ITEMS = 32, 939
REQUESTS = CONDITIONS * ITEMS
HERE = Path(__file__).parent


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


def measure(command: list[str], env: dict[str, str]) -> tuple[float, float, float]:
    """CPU seconds, wall seconds and peak MB of a command."""
    started = time.monotonic()
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - started
    if status:
        sys.exit(f"{command} failed with {os.waitstatus_to_exitcode(status)}")
    return usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latency", type=float, default=0.0, help="seconds")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--bare", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        asyncio.run(bare(options.bare, options.connections, REQUESTS))
        return
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, str(HERE / "fixed_endpoint.py"), str(port), str(options.latency)]
    )
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    base_url = f"http://127.0.0.1:{port}/v1"
    env = {**os.environ, "OPENAI_API_KEY": ""}
    try:
        time.sleep(1)
        ratios = []
        print(f"{REQUESTS:,} requests, {options.connections} connections, {options.latency:g} s")
        for _ in range(options.runs):
            bare_cpu, bare_wall, _ = measure(
                [
                    *(sys.executable, __file__, "--bare", f"{base_url}/chat/completions"),
                    *("--connections", str(options.connections)),
                ],
                env,
            )
            with tempfile.TemporaryDirectory() as folder:
                cpu, wall, memory = measure(
                    [
                        *(sys.executable, "-m", "evenhand", "audit", "openai/fixed"),
                        *("--base-url", base_url, "-b", "do_not_answer", "--out", f"{folder}/run"),
                        *("--max-connections", str(options.connections), "--format", "json"),
                    ],
                    env,
                )
            ratios.append(cpu / bare_cpu)
            print(
                f"bare {1e3 * bare_cpu / REQUESTS:.3f} ms CPU, {REQUESTS / bare_wall:,.0f}/s | "
                f"evenhand {1e3 * cpu / REQUESTS:.3f} ms CPU, {REQUESTS / wall:,.0f}/s, "
                f"{memory:.0f} MB | CPU ratio {ratios[-1]:.2f}"
            )
        print(f"median CPU ratio {sorted(ratios)[len(ratios) // 2]:.2f}")
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
