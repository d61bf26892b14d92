"""Connections: one POST over aiohttp, with everything that a server sends bounded.

No cookies are kept, for requests are independent; no redirect is followed, for prompts must not
go where the user did not send them; proxies are those of the environment.
"""

from __future__ import annotations

import logging
import os
import zlib
from base64 import b64encode
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from ipaddress import ip_address, ip_network
from typing import Any, BinaryIO, NamedTuple
from urllib import request

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from evenhand import __version__
from evenhand.engines.secrets import LogFilter, Redactor
from evenhand.errors import UsageError

MOST_BYTES = 2**24
"""Of a reply, as sent and as unpacked: more than any answer needs."""
_CONNECT = 20.0
"""Seconds for a connection, which is quick where there is anybody at all."""
_LOGGERS = ("aiohttp.client", "aiohttp.internal", "aiohttp.server", "asyncio")


class Reply(NamedTuple):
    """What a server sent.

    Attributes:
        status: of HTTP.
        headers: with names in lower case; empty for a reply with status 200.
        raw: the body, unpacked.
    """

    status: int
    headers: Mapping[str, str]
    raw: bytes


class UnreadableBody(Exception):
    """A reply that is too large, or packed in a way that was not asked for."""


class Connection:
    """A pool of connections.

    Args:
        timeout: seconds for one attempt.
        redact: takes keys out of what the libraries below log.
    """

    def __init__(self, timeout: float, redact: Redactor) -> None:
        self._timeout = timeout
        self._filter = LogFilter(redact)
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(self._filter)
        self._targets: dict[str, tuple[URL, URL | None, dict[str, str]]] = {}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300),
            timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=min(timeout, _CONNECT)),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={
                "Content-Type": "application/json",
                "User-Agent": f"evenhand/{__version__}",
                "Accept": "application/json",
                "Accept-Encoding": "gzip, deflate",
            },
        )

    def post(
        self, url: str, headers: Mapping[str, str], body: bytes
    ) -> Coroutine[Any, Any, Reply | str]:
        """The reply, or what went wrong on the way (not yet redacted)."""
        return self._send("POST", url, headers, body)

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Reply | str:
        """The same for any method, and a body that may take its time; the timeout is of silence."""
        patient = aiohttp.ClientTimeout(
            total=None, sock_connect=min(self._timeout, _CONNECT), sock_read=self._timeout
        )
        return await self._send(method, url, headers, body, timeout=patient)

    async def download(
        self, url: str, headers: Mapping[str, str], target: BinaryIO, most: int
    ) -> Reply | str:
        """The same, with the body of a reply with status 200 written to a file.

        Args:
            most: bytes that are taken in.
        """
        plain = {**headers, "Accept-Encoding": "identity", "Accept": "*/*"}
        patient = aiohttp.ClientTimeout(
            total=None, sock_connect=min(self._timeout, _CONNECT), sock_read=self._timeout
        )
        return await self._send("GET", url, plain, None, timeout=patient, target=(target, most))

    async def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        timeout: aiohttp.ClientTimeout | None = None,
        target: tuple[BinaryIO, int] | None = None,
    ) -> Reply | str:
        where = self._targets.get(url)
        if where is None:
            where = self._targets[url] = URL(url), *_without_user(proxy_for(url))
        try:
            reply = await self._session.request(
                method,
                where[0],
                data=body,
                # To the proxy itself where it answers, and with the request where it passes it on.
                headers={**headers, **where[2]} if where[0].scheme == "http" else headers,
                proxy=where[1],
                proxy_headers=where[2],
                allow_redirects=False,
                timeout=timeout or self._session.timeout,
            )
            try:  # a reply that is read to its end gives its connection back by itself
                if target is not None and reply.status == 200:
                    await _write(reply, *target)
                    return Reply(200, {}, b"")
                raw = await _read(reply)
                if reply.status == 200 and timeout is None:
                    return Reply(200, {}, raw)
                return Reply(reply.status, {k.lower(): v for k, v in reply.headers.items()}, raw)
            except BaseException:
                reply.close()
                raise
        except aiohttp.ConnectionTimeoutError:
            return f"no connection within {min(self._timeout, _CONNECT):g} s"
        except TimeoutError:
            return f"no answer within {self._timeout:g} s"
        except (
            aiohttp.ClientError,
            HttpProcessingError,
            OSError,
            ValueError,
            UnreadableBody,
        ) as error:
            return network_error(error)

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()
        for name in _LOGGERS:
            logging.getLogger(name).removeFilter(self._filter)


def proxy_for(url: str) -> URL | None:
    """The proxy that HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY ask for.

    Raises:
        UsageError: its URL is malformed, or not one of an HTTP proxy.
    """
    target = URL(url)
    proxies = request.getproxies_environment()
    proxy = (proxies.get(target.scheme) or proxies.get("all") or "").strip()
    bypass = request.proxy_bypass_environment  # type: ignore[attr-defined]
    if not proxy or bypass(f"{target.host}:{target.port}", proxies):
        return None
    if target.host and _is_in_network(target.host, proxies.get("no", "")):
        return None
    try:
        found = URL(proxy if "://" in proxy else f"http://{proxy}")
        if found.scheme in ("http", "https") and found.host and found.port:
            return found
    except ValueError:
        pass
    raise UsageError(
        f"the proxy of the environment for {target.scheme}:// is not an HTTP proxy; write it like "
        "http://HOST:PORT, or name the hosts that need none in NO_PROXY"
    )


def _without_user(proxy: URL | None) -> tuple[URL | None, dict[str, str]]:
    """A proxy's URL, and the header with its user and password, which may hold any letters."""
    if proxy is None or proxy.user is None:
        return proxy, {}
    told = b64encode(f"{proxy.user}:{proxy.password or ''}".encode()).decode()
    return proxy.with_user(None), {"Proxy-Authorization": f"Basic {told}"}


def _is_in_network(host: str, no_proxy: str) -> bool:
    """Whether NO_PROXY has a network, as 10.0.0.0/8, that a host's address is in."""
    for entry in no_proxy.split(","):
        with suppress(ValueError):
            if "/" in entry and ip_address(host) in ip_network(entry.strip(), strict=False):
                return True
    return False


def network_error(error: Exception) -> str:
    """What went wrong on the way, whole; redact it, then make it one line."""
    if isinstance(error, aiohttp.ClientSSLError):
        return "the server's certificate is not trusted, or it does not speak TLS"
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return f"the proxy of the environment does not answer ({_reason(error.os_error)})"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy of the environment refuses (HTTP {error.status}: {error.message})"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"no address of {error.host} is known"
    if isinstance(error, aiohttp.ClientConnectorError):
        return _reason(error.os_error)
    # Their own texts quote the URL with its query, or what has come of the reply.
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the server closed the connection before it answered"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the reply breaks off, or is not as long as it says"
    if isinstance(error, aiohttp.ClientResponseError):
        return f"the reply is not HTTP: {error.message}"
    if isinstance(error, aiohttp.ClientOSError):
        return _reason(OSError(error.errno, ""))
    return _reason(error) if isinstance(error, OSError) else str(error) or type(error).__name__


def _reason(error: OSError) -> str:
    number = error.errno or 0
    return os.strerror(number) if number > 0 else str(error) or "the connection broke"


async def _read(reply: aiohttp.ClientResponse) -> bytes:
    """The body, of which no more is taken in than `MOST_BYTES`.

    Raises:
        UnreadableBody: it is larger, or packed in a way that was not asked for.
    """
    if (reply.content_length or 0) > MOST_BYTES:
        raise UnreadableBody(f"the reply is larger than {MOST_BYTES // 2**20} MB")
    if reply.content_length is not None:
        raw = await reply.read()
    else:
        parts: list[bytes] = []
        size = 0
        async for part in reply.content.iter_any():
            size += len(part)
            if size > MOST_BYTES:
                raise UnreadableBody(f"the reply does not end within {MOST_BYTES // 2**20} MB")
            parts.append(part)
        raw = b"".join(parts)
    for packed in reversed(_packings(reply)):
        raw = unpacked(raw, packed)
    return raw


def _packings(reply: aiohttp.ClientResponse) -> list[str]:
    """How a body was packed, in this order; nothing for most."""
    named = reply.headers.get("Content-Encoding")
    if named is None:
        return []
    each = (name.strip() for name in named.lower().split(","))
    return [name for name in each if name not in ("", "identity")][:3]


async def _write(reply: aiohttp.ClientResponse, target: BinaryIO, most: int) -> None:
    """Write the body to a file.

    Raises:
        UnreadableBody: it is larger than `most` bytes, or packed.
    """
    if _packings(reply):
        raise UnreadableBody("the reply is compressed, which was not asked for")
    async for part in reply.content.iter_chunked(2**20):
        most -= len(part)
        if most < 0:
            raise UnreadableBody("the reply is larger than any result")
        target.write(part)


def unpacked(raw: bytes, packed: str) -> bytes:
    """A body without its compression, never taking more memory than `MOST_BYTES`.

    Raises:
        UnreadableBody: it is larger than that, malformed, or neither gzip nor deflate.
    """
    if packed not in ("gzip", "x-gzip", "deflate"):
        raise UnreadableBody("the reply is compressed in a way that was not asked for")
    for window in (47, -15):  # with the header of gzip or zlib; without any
        whole, rest = b"", raw
        try:
            while rest.strip(b"\0"):  # gzip may come in several members
                unpack = zlib.decompressobj(window)
                whole += unpack.decompress(rest, MOST_BYTES - len(whole) + 1)
                if len(whole) > MOST_BYTES:
                    raise UnreadableBody(
                        f"the reply is larger than {MOST_BYTES // 2**20} MB when unpacked"
                    )
                rest = unpack.unused_data
        except zlib.error:
            if not whole:
                continue
        return whole
    raise UnreadableBody("the reply is not compressed as it says")
