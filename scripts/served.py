"""A model folder behind `transformers serve`, for the scripts that compare it with in process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BLOCKS = 64
"""Of 256 tokens each for keys and values, which would otherwise take 90% of the free memory."""


@contextmanager
def served(model: Path, home: Path) -> Iterator[str]:
    """The base URL of the model's server, from when it answers until the end.

    Args:
        home: folder for what the server keeps, so that it sees no other models.
    """
    port = free_port()
    command = [
        *(sys.executable, "-P", "-m", "transformers.cli.transformers", "serve", str(model)),
        *("--host", "127.0.0.1", "--port", str(port), "--continuous-batching"),
        *("--cb-num-blocks", str(_BLOCKS)),
    ]
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:  # requests that were given up keep it from ending
            server.kill()
            server.wait()


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str) -> None:
    """Wait until a server answers."""
    for _ in range(300):
        time.sleep(1)
        try:
            urllib.request.urlopen(url, timeout=5)
        except OSError:
            continue
        return
    sys.exit("the server did not come up")
