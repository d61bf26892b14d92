"""How many requests may be under way at once, and when."""

from __future__ import annotations

import asyncio
import random
import time

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

    async def admit(self, worker: int) -> None:
        """Wait until the worker of this number may send."""
        while worker >= self.limit:
            await asyncio.sleep(0.05)
        while (wait := self._resume_at - time.monotonic()) > 0:
            await asyncio.sleep(wait)
