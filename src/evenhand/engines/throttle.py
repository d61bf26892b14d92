"""How many requests may be under way at once, and when."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque

_BACKOFF_FIRST = 0.5
_BACKOFF_MOST = 60.0
_EASE_EVERY = 1.0


def backoff(attempt: int) -> float:
    """Seconds to wait before attempt `attempt` + 1: exponential with full jitter.

    Source: Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
    """
    return random.uniform(0, min(_BACKOFF_MOST, _BACKOFF_FIRST * 2**attempt))


class Throttle:
    """Additive increase, multiplicative decrease of the number of requests under way.

    A 429 takes a quarter off the limit, once a second at most; as many answers as the limit add
    one. Retry-After holds all requests back, since the endpoint means the client, not the one
    request.

    Args:
        limit: the most requests under way at once.
    """

    def __init__(self, limit: int) -> None:
        self._most = limit
        self._limit = float(limit)
        self._eased_at = 0.0
        self._resume_at = 0.0
        self._under_way = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def limit(self) -> int:
        """Requests that may be under way now."""
        return max(1, int(self._limit))

    def answered(self) -> None:
        """An answer came."""
        if self._limit < self._most:
            self._limit = min(self._most, self._limit + 1 / self._limit)

    def overloaded(self, retry_after: float) -> None:
        """A 429 came, with the endpoint's wish of how long to hold back, in seconds."""
        now = time.monotonic()
        self._resume_at = max(self._resume_at, now + retry_after)
        if now - self._eased_at >= _EASE_EVERY:
            self._eased_at = now
            self._limit = max(1.0, self._limit * 0.75)

    async def admit(self) -> None:
        """Wait until one more request may be sent; `release` must follow when it has ended."""
        while self._under_way >= self.limit or self._waiting_for_endpoint():
            if self._under_way < self.limit:
                await asyncio.sleep(self._waiting_for_endpoint())
            else:
                turn = asyncio.get_running_loop().create_future()
                self._waiting.append(turn)
                await turn
        self._under_way += 1

    def release(self) -> None:
        """A request has ended, with an answer or without."""
        self._under_way -= 1
        free = self.limit - self._under_way
        while self._waiting and free > 0:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                free -= 1

    def _waiting_for_endpoint(self) -> float:
        """Seconds until Retry-After has passed."""
        return max(0.0, self._resume_at - time.monotonic())
