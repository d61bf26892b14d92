"""How many requests may be under way at once at each endpoint, when, and at which one."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Sequence

from evenhand.errors import EngineError

_BACKOFF_FIRST = 0.5
_BACKOFF_MOST = 60.0
_EASE_EVERY = 1.0
_FAILING = 3
"""Failures in a row, with no answer between them, after which an endpoint of several rests."""


def backoff(attempt: int) -> float:
    """Seconds to wait before attempt `attempt` + 1: exponential with full jitter.

    Source: Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
    """
    return random.uniform(0, min(_BACKOFF_MOST, _BACKOFF_FIRST * 2**attempt))


class Throttle:
    """Additive increase, multiplicative decrease of the number of requests under way.

    A 429 takes a quarter off the limit, once a second at most; as many answers as the limit add
    one. A rate limit holds all requests back, since the endpoint means the client, not the one
    request.

    Args:
        limit: the most requests under way at once.

    Attributes:
        under_way: requests that have been sent and have not ended.
        resume_at: moment of the monotonic clock before which nothing is sent.
    """

    def __init__(self, limit: int) -> None:
        self._most = limit
        self._limit = float(limit)
        self._eased_at = 0.0
        self._limited_in_a_row = 0
        self.under_way = 0
        self.resume_at = 0.0

    @property
    def limit(self) -> int:
        """Requests that may be under way now."""
        return max(1, int(self._limit))

    def answered(self) -> None:
        """An answer came."""
        self._limited_in_a_row = 0
        if self._limit < self._most:
            self._limit = min(self._most, self._limit + 1 / self._limit)

    def overloaded(self, pause: float) -> float:
        """A rate limit was met; gives the seconds from now until requests may be sent again.

        Args:
            pause: seconds that the endpoint asks to wait; 0 if it does not say. Then the wait
                doubles with every such reply after which no answer came.
        """
        now = time.monotonic()
        if now - self._eased_at >= _EASE_EVERY:
            self._eased_at = now
            self._limit = max(1.0, self._limit * 0.75)
        if pause:
            self.resume_at = max(self.resume_at, now + pause)
        elif now >= self.resume_at:  # one step for all replies to one wave of requests
            self.resume_at = now + min(_BACKOFF_MOST, _BACKOFF_FIRST * 2**self._limited_in_a_row)
            self._limited_in_a_row += 1
        return max(0.0, self.resume_at - now)


class Endpoint(Throttle):
    """One of the endpoints of a model: how it does, and whether it may be asked now.

    Attributes:
        url: where requests go; a redirect on the same host changes it.
        heard: it has answered once. Until then it gets one request at a time, so that a wrong
            key or a wrong URL costs no storm of requests.
        answered_at: when the latest of the answered requests was sent.
        failed_in_a_row: attempts without an answer since the last one with an answer.
        unreached: of them, those in a row that brought no reply.
        fault: why it is never asked again; None while it may be.
        is_named: the user has been told that it does not answer.
        probing: held while a harmless request shows whether it refuses one question or all.
        said_until: until when the user has been told that it waits.
    """

    def __init__(self, url: str, limit: int, *, is_one_of_several: bool) -> None:
        super().__init__(limit)
        self.url = url
        self.is_one_of_several = is_one_of_several
        self.probing = asyncio.Lock()
        self.said_until = 0.0
        self.heard = False
        self.answered_at = 0.0
        self.failed_in_a_row = 0
        self.unreached = 0
        self.fault: EngineError | None = None
        self.is_named = False

    def room(self, now: float) -> int:
        """How many requests may be sent at this moment of the monotonic clock."""
        if self.fault is not None or now < self.resume_at:
            return 0
        careful = not self.heard or (self.failed_in_a_row >= _FAILING and self.is_one_of_several)
        return (1 if careful else max(1, int(self._limit))) - self.under_way

    def has_answered(self, sent: float) -> None:
        """An answer came to a request that was sent at this moment."""
        self.heard = True
        self.failed_in_a_row = 0
        self.is_named = False
        self.answered_at = max(self.answered_at, sent)
        self.answered()

    def has_failed(self, *, reached: bool) -> None:
        """An attempt brought no answer; one of several endpoints rests when it keeps failing."""
        self.failed_in_a_row += 1
        self.unreached = 0 if reached else self.unreached + 1
        if self.is_one_of_several and self.failed_in_a_row >= _FAILING:
            steps = self.failed_in_a_row - _FAILING
            rest = min(_BACKOFF_MOST, 2 * _BACKOFF_FIRST * 2 ** min(steps, 10))
            self.resume_at = max(self.resume_at, time.monotonic() + rest)


class Fleet:
    """The endpoints of one model; a request goes where the fewest are under way.

    Each endpoint has its own limit, so that a slow one never takes a place from a fast one.

    Args:
        urls: of the endpoints.
        limit: the most requests under way at once at each of them.
    """

    def __init__(self, urls: Sequence[str], limit: int) -> None:
        several = len(urls) > 1
        self.endpoints = [Endpoint(url, limit, is_one_of_several=several) for url in urls]
        self._again: deque[asyncio.Future[None]] = deque()
        self._new: deque[asyncio.Future[None]] = deque()
        self._alarm: asyncio.TimerHandle | None = None

    def left(self) -> list[Endpoint]:
        """Those that may still be asked."""
        return [endpoint for endpoint in self.endpoints if endpoint.fault is None]

    async def admit(self, *, again: bool = False, avoid: Endpoint | None = None) -> Endpoint:
        """Wait until a request may be sent, and say where; `release` must follow when it ended.

        Args:
            again: it is a further attempt, which goes before the first attempts of others.
            avoid: an endpoint to take only where no other has room.

        Raises:
            EngineError: there is none left to ask.
        """
        while True:
            now = time.monotonic()
            if endpoint := self._free(now, avoid):
                endpoint.under_way += 1
                return endpoint
            if not self.left() and (fault := self.endpoints[0].fault):
                raise fault
            turn = asyncio.get_running_loop().create_future()
            (self._again if again else self._new).append(turn)
            self._set_alarm(now)
            try:
                await turn
            except asyncio.CancelledError:
                self.wake()  # it may have been this one's turn
                raise

    def _free(self, now: float, avoid: Endpoint | None) -> Endpoint | None:
        found = None
        for endpoint in self.endpoints:
            if endpoint.room(now) > 0 and (
                found is None
                or found is avoid
                or (endpoint is not avoid and endpoint.under_way < found.under_way)
            ):
                found = endpoint
        return found

    def release(self, endpoint: Endpoint) -> None:
        """A request has ended, with an answer or without."""
        endpoint.under_way -= 1
        if self._again or self._new:
            self.wake()

    def wake(self) -> None:
        """Let as many waiting requests look again as may be sent now."""
        self._wake(time.monotonic())

    def _wake(self, now: float) -> None:
        free = sum(max(0, endpoint.room(now)) for endpoint in self.endpoints)
        for waiting in (self._again, self._new):
            while waiting and free > 0:
                turn = waiting.popleft()
                if not turn.done():
                    turn.set_result(None)
                    free -= 1

    def _set_alarm(self, now: float) -> None:
        """Wake up when the first of the endpoints that rest may be asked again."""
        rests = [e.resume_at for e in self.endpoints if e.fault is None and e.resume_at > now]
        if not rests:
            return
        loop = asyncio.get_running_loop()
        when = loop.time() + min(rests) - now + 0.001
        if self._alarm is None or self._alarm.cancelled() or self._alarm.when() > when:
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm = loop.call_at(when, self._ring)

    def _ring(self) -> None:
        # Loops ring early by up to some milliseconds. One moment decides who is woken and whether
        # to ring again: where a rest ended between two, nobody would ever be woken.
        now = time.monotonic()
        self._alarm = None
        self._wake(now)
        if self._again or self._new:
            self._set_alarm(now)
