"""The batch APIs of OpenAI (Azure, Together), Anthropic and Gemini: upload, create, ask, fetch.

A batch costs money from the moment it is created, so creating is never tried twice: where it is
not known whether the service has taken one, `BatchService.find` looks among all that it lists.
Keys go nowhere but into headers, and only to the host of the base URL.

Files of many requests and of their results have OpenAI's, Anthropic's or Gemini's form. The bodies
are the wire's, and so is the reading of replies; an envelope adds the id of each request, and reads
what a line of results says beside the reply: expired, failed, refused.

Source: the packages `openai` (batch), `anthropic` (messages.batches), `google-genai` (batches) and
`together`; the form of OpenAI is also that of Azure, Together and `vllm run-batch`.
"""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO, ClassVar, Literal
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import orjson

from evenhand.engines.access import Access, Refusal
from evenhand.engines.connection import Connection, Reply
from evenhand.engines.throttle import Endpoint, backoff
from evenhand.engines.wire import (
    Completion,
    Fault,
    Wire,
    checked_url,
    count_of,
    fault_of,
    loads,
    mapping,
    status_of,
)
from evenhand.errors import EngineError, Unreachable, UsageError

# Files of requests and of results


class Envelope(ABC):
    """The form of one provider's batch files.

    Attributes:
        begin, between, end: what stands before, between and after the requests of a file.
        suffix: of a file of requests.
        id_field: what holds the id of a request and of its result.
        request_field: what holds the body of a request.
    """

    begin: ClassVar[bytes] = b""
    between: ClassVar[bytes] = b"\n"
    end: ClassVar[bytes] = b"\n"
    suffix: ClassVar[str] = ".jsonl"
    id_field: ClassVar[str] = "custom_id"
    request_field: ClassVar[str]

    @abstractmethod
    def request(self, name: str, body: bytes) -> bytes:
        """A request as it stands in a file, from its id and the body that the wire has written."""

    @abstractmethod
    def _read(self, row: dict[str, Any], wire: Wire) -> Completion | Fault:
        """What a line of results says; its id is known."""

    def result(self, line: bytes, wire: Wire) -> tuple[str, Completion | Fault] | None:
        """The id and the outcome of a line of results; None where it has no id, or is a request."""
        try:
            row = loads(line)
            name = row[self.id_field]
        except (ValueError, RecursionError, KeyError, TypeError, IndexError):
            return None
        if not isinstance(name, str) or not isinstance(row, dict):
            return None
        if self.request_field in row and not row.keys() & _OUTCOMES:
            return None
        return name, self._read(row, wire)


_OUTCOMES = {"response", "error", "result", "status"}
"""Fields that a line of results has, whether its request went well or not."""


class _OpenAIEnvelope(Envelope):
    request_field = "body"

    def request(self, name: str, body: bytes) -> bytes:
        return b'{"custom_id":"%s","method":"POST","url":"/v1/chat/completions","body":%s}' % (
            name.encode(),
            body,
        )

    def _read(self, row: dict[str, Any], wire: Wire) -> Completion | Fault:
        response = mapping(row.get("response"))
        body = response.get("body")
        if body is None and "choices" in response:  # some versions leave the wrapping out
            return wire.parse_loaded(response)
        status = response.get("status_code", 200)
        if body is not None and status == 200:
            return wire.parse_loaded(body)
        if body is not None and isinstance(status, int):
            return fault_of(status, orjson.dumps(body))
        return _fault_in(row.get("error") or response.get("error"))


class _AnthropicEnvelope(Envelope):
    begin = b'{"requests":[\n'
    between = b",\n"
    end = b"\n]}\n"
    suffix = ".json"
    request_field = "params"

    def request(self, name: str, body: bytes) -> bytes:
        return b'{"custom_id":"%s","params":%s}' % (name.encode(), body)

    def _read(self, row: dict[str, Any], wire: Wire) -> Completion | Fault:
        result = mapping(row.get("result"))
        kind = result.get("type")
        if kind == "succeeded":
            return wire.parse_loaded(result.get("message"))
        if kind in ("expired", "canceled"):
            return Fault(0, f"the request has {kind}" if kind == "expired" else "canceled")
        outer = mapping(result.get("error"))
        return _fault_in(outer.get("error") or outer)


class _GeminiEnvelope(Envelope):
    id_field = "key"
    request_field = "request"

    def request(self, name: str, body: bytes) -> bytes:
        return b'{"key":"%s","request":%s}' % (name.encode(), body)

    def _read(self, row: dict[str, Any], wire: Wire) -> Completion | Fault:
        if row.get("response") is not None:
            return wire.parse_loaded(row["response"])
        error = mapping(row.get("error") or row.get("status"))
        code = error.get("code")
        if isinstance(code, int) and code in _HTTP_OF_GRPC:
            error = {**error, "code": _HTTP_OF_GRPC[code]}
        return _fault_in(error)


_HTTP_OF_GRPC = {
    1: 499, 3: 400, 4: 504, 5: 404, 7: 403, 8: 429, 9: 400, 11: 400, 12: 501, 13: 500, 14: 503,
    16: 401,
}  # fmt: skip
"""Source: google/rpc/code.proto."""

ENVELOPES: dict[str, Envelope] = {
    "openai": _OpenAIEnvelope(),
    "anthropic": _AnthropicEnvelope(),
    "gemini": _GeminiEnvelope(),
}
"""By the name of the wire."""


def _fault_in(error: Any) -> Fault:
    """An error that stands in a line in the reply's place."""
    if not error:
        return Fault(0, "the line holds neither a reply nor an error")
    return fault_of(status_of(error), orjson.dumps({"error": error}))


# The services

NAME = "evenhand"
"""What the name of a batch at the service begins with, and its field of our id."""
_ATTEMPTS = 4
_PATIENCE = 60.0
"""Seconds, at most, that a command waits where a service asks it to."""
_MOST_OF_RESULTS = 2**34
"""Bytes: 50,000 replies of the longest kind are less."""
_MOST_PAGES = 100
"""Of a list: a service that lists without end is not waited for."""
_ID = re.compile(r"[\w./:-]{1,200}", re.ASCII)
_CLOCKS_DIFFER = 86_400.0
"""Seconds by which the clock of a service may be behind ours, which may be in another time zone."""


@dataclass(frozen=True, slots=True)
class BatchState:
    """Where a batch stands.

    Attributes:
        stage: "failed" where it was refused as a whole, so that nothing is paid for.
        note: the service's own word, and how many are done.
        results: where its results are.
    """

    stage: Literal["under way", "ended", "failed"]
    note: str
    results: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Intent:
    """A batch that a command meant to create, of which it is not known whether it did.

    Attributes:
        token: the id that we gave it.
        file: the id of the file that was uploaded for it; "" if there is none.
        requests: how many it holds.
        since: when it was about to be created, in seconds since the epoch.
        known: ids of the batches that are known to be others.
    """

    token: str
    file: str
    requests: int
    since: float
    known: frozenset[str]


class BatchService(ABC):
    """One service's batch API.

    Args:
        access: the way to it.
        timeout: seconds of silence after which an attempt has failed.

    Raises:
        UsageError: the service has no batch API, or there are several endpoints.
    """

    def __init__(self, access: Access, timeout: float = 120.0) -> None:
        if len(access.urls) > 1:
            raise UsageError("--batch takes one --base-url: a batch goes to one service")
        self.access = access
        self.wire = access.wire  # another one where settings are left out
        self.envelope = ENVELOPES[access.wire.name]
        base, query = checked_url(access.urls[0])
        self._base = base.removesuffix(access.wire.path)
        self._query = query
        self._timeout = timeout
        self._endpoint = Endpoint(access.wire.url(access.urls[0]), 1, is_one_of_several=False)
        self._connection: Connection | None = None

    async def close(self) -> None:
        """Close all connections."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    @abstractmethod
    async def upload(self, token: str, content: bytes) -> str:
        """Upload the requests, where the service wants that; the id of the file, else "".

        Raises:
            EngineError: it does not take them.
        """

    @abstractmethod
    async def create(self, token: str, file: str, content: bytes) -> str:
        """Create a batch, which is paid for from now on; its id.

        Raises:
            Unreachable: it is not known whether it was created.
            EngineError: the service refuses it.
        """

    @abstractmethod
    async def find(self, intent: Intent) -> str | None:
        """The id of a batch that may have been created; None if it was not.

        Raises:
            Unreachable: that cannot be told now.
            EngineError: as `state`.
        """

    @abstractmethod
    async def state(self, batch: str) -> BatchState:
        """Where a batch stands.

        Raises:
            EngineError: the service cannot be reached, or does not know the batch.
        """

    async def fetch(self, place: str, target: BinaryIO) -> None:
        """Write results to a file.

        Raises:
            EngineError: they cannot be had, or break off.
        """
        for attempt in range(_ATTEMPTS):
            target.seek(0)
            target.truncate()
            headers = self._headers()
            reply = await self._open().download(place, headers, target, _MOST_OF_RESULTS)
            if isinstance(reply, Reply) and reply.status == 200:
                return
            refusal = self._refusal(reply)
            if not _is_transient(refusal):
                break
            await asyncio.sleep(backoff(attempt))
        raise self._error(refusal, reading=True)

    # One call

    def _headers(self) -> dict[str, str]:
        return self.access.headers(self.wire)

    def _url(self, path: str, **fields: str | int) -> str:
        url = f"{self._base}{path}{self._query}"
        if fields:
            url += ("&" if "?" in url else "?") + urlencode(fields)
        return self.access.with_query(url)

    async def _get(self, url: str) -> Any:
        """The JSON at a URL, tried several times."""
        return await self._call("GET", url, attempts=_ATTEMPTS)

    async def _call(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        *,
        attempts: int = 1,
        of_headers: bool = False,
    ) -> Any:
        """The JSON of a reply with status 200 to 299; or its headers.

        Raises:
            Unreachable: no reply that says whether the service has done it.
            EngineError: it refuses.
        """
        for attempt in range(attempts):
            every = {**self._headers(), **(headers or {})}
            reply = await self._open().send(method, url, every, body)
            if isinstance(reply, Reply) and 200 <= reply.status < 300:
                try:
                    return dict(reply.headers) if of_headers else loads(reply.raw)
                except (ValueError, RecursionError):
                    reply = "the reply is not JSON"
            refusal = self._refusal(reply)
            is_last = attempt == attempts - 1 or refusal.pause > _PATIENCE
            if is_last or not _is_transient(refusal):
                break
            await asyncio.sleep(max(refusal.pause, backoff(attempt)))
        raise self._error(refusal, reading=method == "GET")

    def _refusal(self, reply: Reply | str) -> Refusal:
        if isinstance(reply, str):
            return self.access.messages.refusal(Fault(0, reply, kind="network"))
        if 300 <= reply.status < 400:
            return self.access.messages.refusal(Fault(reply.status, "redirects elsewhere"))
        return self.access.messages.refusal(fault_of(reply.status, reply.raw), reply.headers)

    def _error(self, refusal: Refusal, *, reading: bool = False) -> EngineError:
        messages, where = self.access.messages, self.access.messages.where(self._endpoint)
        too_often = refusal.fault.status in (425, 429)  # then nothing was created
        if _is_transient(refusal) and (reading or not too_often):
            return Unreachable(f"{where}: {refusal.failure.error}; run again to resume")
        if refusal.fault.status in (401, 403, 407):
            return messages.refuses_all(self._endpoint, refusal, self.access.wire)
        return EngineError(f"{where}: {refusal.failure.error}")

    async def _pages(
        self, path: str, field: str, cursor: str, **fields: str | int
    ) -> AsyncIterator[dict[str, Any]]:
        """All entries of a list, newest first.

        Args:
            field: where the entries stand.
            cursor: the field of the URL that holds the id after which to go on.
        """
        for _ in range(_MOST_PAGES):
            page = await self._get(self._url(path, **fields))
            entries = page if isinstance(page, list) else mapping(page).get(field)
            found = [mapping(e) for e in entries] if isinstance(entries, list) else []
            for entry in found:
                yield entry
            after = mapping(page).get("nextPageToken") or (found and found[-1].get("id"))
            more = mapping(page).get("has_more") or mapping(page).get("nextPageToken")
            if not more or not after:
                return
            fields[cursor] = str(after)
        raise Unreachable(f"{self._base} lists more batches than can be looked through")

    def _id(self, name: Any) -> str:
        """An id that the service gives, to be stored, shown and put into URLs."""
        if not isinstance(name, str) or not _ID.fullmatch(name):
            raise self._error(self._refusal("the reply names no id"))
        return name

    def _stage(self, note: str, results: Sequence[str], answered: int) -> BatchState:
        """Of a batch that has ended.

        Raises:
            EngineError: it has been paid for, and its results cannot be had.
        """
        if answered and not results:
            raise EngineError(f"its results are gone ({note})")
        return BatchState("ended", note, results)

    def _open(self) -> Connection:
        if self._connection is None:
            self._connection = Connection(self._timeout, self.access.redact)
        return self._connection


def batch_service(access: Access, timeout: float = 120.0) -> BatchService:
    """The batch API of a service.

    Raises:
        UsageError: it has none in a form that is known here.
    """
    if not access.service.batch_requests:
        raise UsageError(
            f"{access.service.name} has no batch API that evenhand knows; leave --batch out, or "
            "write the requests to files: evenhand batch write"
        )
    return _SERVICES[access.wire.name](access, timeout)


def _is_transient(refusal: Refusal) -> bool:
    status = refusal.fault.status
    return not status or status >= 500 or status in (408, 425, 429)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


class _OpenAIService(BatchService):
    """A file and a batch of it; Together has names of its own for some things."""

    async def upload(self, token: str, content: bytes) -> str:
        together = self.access.service.name == "together"
        name = f"{NAME}-{token}.jsonl"
        fields = {"purpose": "batch"}
        if together:
            fields = {"purpose": "batch-api", "file_name": name, "file_type": "jsonl"}
        line = f"--{token}\r\nContent-Disposition: form-data; name="
        parts = [f'{line}"{field}"\r\n\r\n{value}\r\n' for field, value in fields.items()]
        parts.append(f'{line}"file"; filename="{name}"\r\nContent-Type: application/jsonl\r\n\r\n')
        body = "".join(parts).encode() + content + f"\r\n--{token}--\r\n".encode()
        found = await self._call(
            "POST",
            self._url("/files/upload" if together else "/files"),
            body,
            {"Content-Type": f"multipart/form-data; boundary={token}"},
            attempts=_ATTEMPTS,
        )
        return self._id(mapping(found).get("id"))

    async def create(self, token: str, file: str, content: bytes) -> str:  # noqa: ARG002
        wanted: dict[str, Any] = {"input_file_id": file, "endpoint": "/v1/chat/completions"}
        wanted["completion_window"] = "24h"
        if self.access.service.name != "together":
            wanted["metadata"] = {NAME: token}
        found = mapping(await self._call("POST", self._url("/batches"), orjson.dumps(wanted)))
        return self._id(mapping(found.get("job") or found).get("id"))

    async def find(self, intent: Intent) -> str | None:
        if not intent.file:  # it comes first
            return None
        async for batch in self._pages("/batches", "data", "after", limit=100):
            ours = mapping(batch.get("metadata")).get(NAME) == intent.token
            if ours or batch.get("input_file_id") == intent.file:
                return self._id(batch.get("id"))
        return None

    async def state(self, batch: str) -> BatchState:
        found = mapping(await self._get(self._url(f"/batches/{quote(batch, safe='')}")))
        status = _text(found.get("status")).lower()
        counts = mapping(found.get("request_counts"))
        note = status.replace("_", " ") or "no status"
        if total := count_of(counts.get("total")):
            done = count_of(counts.get("completed")) + count_of(counts.get("failed"))
            note += f", {done:,} of {total:,} done"
        files = [_text(found.get(f"{kind}_file_id")) for kind in ("output", "error")]
        results = [self._url(f"/files/{quote(f, safe='')}/content") for f in files if f]
        if status == "failed" and not results:
            errors = mapping(found.get("errors")).get("data")
            first = mapping(errors[0]) if isinstance(errors, list) and errors else {}
            why = _text(first.get("message")) or _text(found.get("error")) or "no reason given"
            return BatchState("failed", self.access.redact(why))
        if status in ("completed", "expired", "cancelled", "failed"):
            # Together counts none; what it has completed is paid for.
            answered = count_of(counts.get("completed")) if counts else status == "completed"
            return self._stage(note, results, answered)
        return BatchState("under way", note)


class _AnthropicService(BatchService):
    """The requests are the body of the call that creates a batch, which carries no id of ours."""

    async def upload(self, token: str, content: bytes) -> str:  # noqa: ARG002
        return ""

    async def create(self, token: str, file: str, content: bytes) -> str:  # noqa: ARG002
        found = await self._call("POST", self._url("/messages/batches"), content)
        return self._id(mapping(found).get("id"))

    async def find(self, intent: Intent) -> str | None:
        """By time and size; by the ids of its requests, which can be seen when it has ended."""
        async for batch in self._pages("/messages/batches", "data", "after_id", limit=100):
            name, counts = _text(batch.get("id")), mapping(batch.get("request_counts"))
            created = _seconds(batch.get("created_at"))
            if created and created < intent.since - _CLOCKS_DIFFER:
                return None
            if sum(map(count_of, counts.values())) != intent.requests or name in intent.known:
                continue
            if batch.get("processing_status") != "ended":
                raise Unreachable(
                    f"the batch {name} may be one that an interrupted command has created; run "
                    "again when it has ended"
                )
            if await self._holds(name, intent.token):
                return name
        return None

    async def _holds(self, batch: str, token: str) -> bool:
        from tempfile import TemporaryFile

        with TemporaryFile() as file:
            await self.fetch(self._results(batch), file)
            file.seek(0)
            first = self.envelope.result(file.readline(2**24), self.access.wire)
        return first is not None and first[0].startswith(f"{token}-")

    async def state(self, batch: str) -> BatchState:
        found = mapping(await self._get(self._url(f"/messages/batches/{quote(batch, safe='')}")))
        status = _text(found.get("processing_status"))
        counts = {k: count_of(v) for k, v in mapping(found.get("request_counts")).items()}
        done = sum(counts.values()) - counts.get("processing", 0)
        note = f"{status.replace('_', ' ')}, {done:,} of {sum(counts.values()):,} done"
        if status != "ended":
            return BatchState("under way", note)
        results = [] if found.get("archived_at") else [self._results(batch)]
        return self._stage(note, results, counts.get("succeeded", 0))

    def _results(self, batch: str) -> str:
        return self._url(f"/messages/batches/{quote(batch, safe='')}/results")

    def _url(self, path: str, **fields: str | int) -> str:
        base = self._base if self._base.endswith("/v1") else f"{self._base}/v1"
        url = f"{base}{path}{self._query}"
        if fields:
            url += ("&" if "?" in url else "?") + urlencode(fields)
        return self.access.with_query(url)


class _GeminiService(BatchService):
    """A file under a name of ours, and a batch of it with that name; both in version v1beta."""

    def _url(self, path: str, **fields: str | int) -> str:
        root, version = self._root_and_version()
        url = f"{root}/{version}{path}{self._query}"
        if fields:
            url += ("&" if "?" in url else "?") + urlencode(fields)
        return self.access.with_query(url)

    def _root_and_version(self) -> tuple[str, str]:
        match = re.fullmatch(r"(.*?)/(v\d\w*)", self._base)
        root, version = (match[1], match[2]) if match else (self._base, "v1")
        return root, "v1beta" if version == "v1" else version

    async def upload(self, token: str, content: bytes) -> str:
        root, version = self._root_and_version()
        start = self.access.with_query(f"{root}/upload/{version}/files{self._query}")
        name = f"files/{NAME}-{token}"
        described = {"file": {"name": name, "displayName": f"{NAME}-{token}"}}
        found = await self._call(
            "POST",
            start,
            orjson.dumps(described),
            {
                "X-Goog-Upload-Protocol": "resumable",
                "X-Goog-Upload-Command": "start",
                "X-Goog-Upload-Header-Content-Length": str(len(content)),
                "X-Goog-Upload-Header-Content-Type": "application/jsonl",
            },
            attempts=_ATTEMPTS,
            of_headers=True,
        )
        given = urlsplit(_text(mapping(found).get("x-goog-upload-url")))
        own = urlsplit(root)  # the key goes nowhere else
        target = urlunsplit((own.scheme, own.netloc, given.path, given.query, ""))
        command = {"X-Goog-Upload-Command": "upload, finalize", "X-Goog-Upload-Offset": "0"}
        uploaded = mapping(await self._call("POST", target, content, command))
        return _text(mapping(uploaded.get("file")).get("name")) or name

    async def create(self, token: str, file: str, content: bytes) -> str:  # noqa: ARG002
        model = self.access.wire.model
        path = model if "/" in model else f"models/{model}"
        wanted = {"batch": {"displayName": f"{NAME}-{token}", "inputConfig": {"fileName": file}}}
        url = self._url(f"/{quote(path, safe='/@.')}:batchGenerateContent")
        found = await self._call("POST", url, orjson.dumps(wanted))
        return self._id(mapping(found).get("name"))

    async def find(self, intent: Intent) -> str | None:
        async for batch in self._pages("/batches", "operations", "pageToken", pageSize=100):
            shown = mapping(batch.get("metadata")).get("displayName") or batch.get("displayName")
            if shown == f"{NAME}-{intent.token}":
                return self._id(batch.get("name"))
        return None

    async def state(self, batch: str) -> BatchState:
        found = mapping(await self._get(self._url(f"/{quote(batch, safe='/')}")))
        facts = mapping(found.get("metadata")) or found
        state = re.sub(r"^(?:BATCH|JOB)_STATE_", "", _text(facts.get("state")))
        note = state.lower().replace("_", " ") or "no state"
        outputs = (facts.get("output"), found.get("response"), facts.get("dest"))
        files = [_text(mapping(o).get("responsesFile")) for o in outputs]
        results = [self._url(f"/{quote(f, safe='/')}:download", alt="media") for f in files if f]
        if state == "FAILED" and not results:
            why = _text(mapping(found.get("error")).get("message")) or "no reason given"
            return BatchState("failed", self.access.redact(why))
        if state in ("SUCCEEDED", "PARTIALLY_SUCCEEDED", "EXPIRED", "CANCELLED", "FAILED"):
            return self._stage(note, results[:1], int(state.endswith("SUCCEEDED")))
        return BatchState("under way", note)


def _seconds(time: Any) -> float:
    """Since the epoch; 0 where it is no time."""
    try:
        return datetime.fromisoformat(time).timestamp()
    except (ValueError, TypeError, OverflowError, OSError):
        return 0.0


_SERVICES: dict[str, Callable[[Access, float], BatchService]] = {
    "openai": _OpenAIService,
    "anthropic": _AnthropicService,
    "gemini": _GeminiService,
}
