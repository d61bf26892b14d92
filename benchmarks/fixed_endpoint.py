"""A local chat endpoint that costs next to nothing: fixed answers, a set latency, no faults.

    python benchmarks/fixed_endpoint.py PORT [LATENCY_SECONDS]

It reads each request no further than the length of its body, so that what is measured is the
client.
"""

from __future__ import annotations

import asyncio
import sys

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


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0))
