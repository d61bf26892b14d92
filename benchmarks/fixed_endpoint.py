"""A local chat endpoint that costs next to nothing: fixed answers, a set latency, no faults.

    python benchmarks/fixed_endpoint.py PORT [LATENCY_SECONDS]

or, from another benchmark, `with fixed_endpoints(0.05) as (base_url,):`.

It reads each request no further than the length of its body, so that what is measured is the
client.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import orjson

ANSWER = orjson.dumps(
    {
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "model": "fixed",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "I'm sorry, but I can't help with that request. It could cause "
                    "harm to other people. If you like, I can tell you about safe ways to learn "
                    "more about this topic. Therefore, the answer is B.",
                },
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 50, "completion_tokens": 45, "total_tokens": 95},
    }
)
REPLY = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
    + str(len(ANSWER)).encode()
    + b"\r\n\r\n"
    + ANSWER
)


class FixedAnswer(asyncio.Protocol):
    """One connection: a fixed reply to every request, after the latency."""

    def __init__(self, latency: float) -> None:
        self._latency = latency
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport to reply through."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Reply to each whole request in the buffer."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            self._buffer = self._buffer[end + 4 + length :]
            if self._latency:
                asyncio.get_running_loop().call_later(self._latency, self._transport.write, REPLY)
            else:
                self._transport.write(REPLY)


async def serve(port: int, latency: float) -> None:
    """Serve on the loopback address until killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: FixedAnswer(latency), "127.0.0.1", port)
    await server.serve_forever()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def fixed_endpoints(*latencies: float) -> Iterator[list[str]]:
    """Base URLs of one endpoint a latency, each in a process of its own."""
    ports = [free_port() for _ in latencies]
    servers = [
        subprocess.Popen([sys.executable, __file__, str(port), str(latency)])
        for port, latency in zip(ports, latencies, strict=True)
    ]
    try:
        time.sleep(1)
        yield [f"http://127.0.0.1:{port}/v1" for port in ports]
    finally:
        for server in servers:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0))
