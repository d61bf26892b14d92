"""Fakes of four batch APIs that check each request, and write each reply, by the SDKs' types.

What becomes of a request when its batch is worked off is `fate`: "answer", "expired", "500",
"400", "twice" (two lines), "foreign" (a line of another study beside the answer) or "silent" (no
line at all). Requests that get an answer are paid for, and counted.
"""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import anthropic.types.messages as anthropic_types
from aiohttp import web
from anthropic.types import message_create_params
from anthropic.types.messages import batch_create_params as anthropic_batch
from google.genai import batches as genai_batches
from google.genai import types as genai_types
from openai.types import Batch, BatchError, BatchRequestCounts, FileObject
from openai.types import batch_create_params as openai_batch
from openai.types.batch import Errors
from openai.types.chat import completion_create_params as openai_chat
from pydantic import BaseModel, ConfigDict, TypeAdapter

from endpoints.test_providers import PARAMS, SAMPLING, check_gemini_body, message
from server import running

KEY = "sk-batch-0123456789"
_FORBID = ConfigDict(extra="forbid")
_checked: tuple[Any, ...] = (
    openai_batch.BatchCreateParams,
    openai_chat.CompletionCreateParamsBase,
    openai_chat.CompletionCreateParamsNonStreaming,
    anthropic_batch.BatchCreateParams,
    anthropic_batch.Request,
    message_create_params.MessageCreateParamsBase,
)
for _params in _checked:
    _params.__pydantic_config__ = _FORBID
OPENAI_CHAT: TypeAdapter[Any] = TypeAdapter(openai_chat.CompletionCreateParamsNonStreaming)
OPENAI_CREATE: TypeAdapter[Any] = TypeAdapter(openai_batch.BatchCreateParams)
_NOW = datetime.now(UTC)


@dataclass
class Job:
    """A batch at the service."""

    name: str
    requests: dict[str, dict[str, Any]]
    facts: dict[str, Any]
    status: str = "under way"
    answers: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    why: str = ""


@dataclass
class FakeService:
    """A batch API.

    Attributes:
        fate: of a request, by its id and body, when its batch is worked off.
        tokens: counts the prompt tokens of a body.
        on: called with the name of a step before its reply is sent; may return another reply.
        faults: what was wrong with requests; empty in a good test.
        paid: how often each cell was answered.
    """

    fate: Callable[[str, dict[str, Any]], str] = lambda _name, _body: "answer"
    tokens: Callable[[dict[str, Any]], int] = lambda body: len(json.dumps(body).split())
    on: Callable[[str], web.Response | None] = lambda _step: None
    url: str = ""
    jobs: list[Job] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    paid: Counter[str] = field(default_factory=Counter)

    model = ""
    variable = ""
    version = "/v1"

    def finish(self, status: str = "ended") -> None:
        """Work off all that is under way, last request first."""
        for job in self.jobs:
            if job.status != "under way":
                continue
            job.status = status
            if status != "ended":
                continue
            for name, body in reversed(job.requests.items()):
                self._work_off(job, name, body)

    def _work_off(self, job: Job, name: str, body: dict[str, Any]) -> None:
        fate = self.fate(name, body)
        if fate in ("answer", "twice", "foreign"):
            self.paid[name.rpartition("-")[2]] += 1
            line = self.answer(name, self.tokens(body))
            job.answers += [line] * (2 if fate == "twice" else 1)
            if fate == "foreign":
                job.answers.append(self.answer("other-" + "ab" * 16, 5))
        elif fate != "silent":
            job.errors.append(self.error(name, fate))

    @abstractmethod
    def routes(self, app: web.Application) -> None:
        """Add what the service answers."""

    @abstractmethod
    def answer(self, name: str, tokens: int) -> str:
        """A line of results with an answer."""

    @abstractmethod
    def error(self, name: str, fate: str) -> str:
        """A line of results without one."""

    def job(self, requests: dict[str, dict[str, Any]], facts: dict[str, Any], name: str) -> Job:
        job = Job(name, requests, facts)
        self.jobs.append(job)
        return job

    def named(self, name: str) -> Job:
        return next(job for job in self.jobs if job.name == name)

    def checked(self, step: str, make: Any) -> Any:
        """A handler: what is wrong with the request ends the test."""

        async def handle(request: web.Request) -> web.Response:
            try:
                self.check_key(request)
                made: web.Response = await make(request)
            except Exception as error:
                self.faults.append(f"{step}: {error!r}")
                return web.Response(status=400, text=json.dumps({"error": {"message": str(error)}}))
            return self.on(step) or made

        return handle

    def check_key(self, request: web.Request) -> None:
        assert request.headers["Authorization"] == f"Bearer {KEY}"


def reply(model: Any) -> web.Response:
    return web.Response(text=model.model_dump_json(), content_type="application/json")


def _lines_of(content: bytes, name: str, body: str) -> dict[str, dict[str, Any]]:
    rows = [json.loads(line) for line in content.decode().splitlines()]
    found = {row[name]: row[body] for row in rows}
    assert len(found) == len(rows) <= 50_000
    assert all(re.fullmatch(r"[\w-]{1,64}", name) for name in found)
    return found


class FakeOpenAI(FakeService):
    """POST /files, POST /batches, GET /batches, GET /batches/ID, GET /files/ID/content."""

    model = "openai/test"
    variable = "OPENAI_API_KEY"

    def routes(self, app: web.Application) -> None:
        app.router.add_post("/v1/files", self.checked("upload", self._upload))
        app.router.add_post("/v1/batches", self.checked("create", self._create))
        app.router.add_get("/v1/batches", self.checked("list", self._list))
        app.router.add_get("/v1/batches/{id}", self.checked("state", self._state))
        app.router.add_get("/v1/files/{id}/content", self.checked("fetch", self._fetch))

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        assert form["purpose"] == "batch"
        part = form["file"]
        assert isinstance(part, web.FileField)
        content = part.file.read()
        for row in map(json.loads, content.decode().splitlines()):
            assert (row["method"], row["url"]) == ("POST", "/v1/chat/completions")
            assert set(row) == {"custom_id", "method", "url", "body"}
            OPENAI_CHAT.validate_python({k: v for k, v in row["body"].items() if k != "top_k"})
        name = f"file-{len(self.files)}"
        self.files[name] = content
        file = FileObject(
            id=name, bytes=len(content), created_at=0, filename=part.filename, object="file",
            purpose="batch", status="processed",
        )  # fmt: skip
        return reply(file)

    async def _create(self, request: web.Request) -> web.Response:
        body = OPENAI_CREATE.validate_python(await request.json())
        requests = _lines_of(self.files[body["input_file_id"]], "custom_id", "body")
        return reply(self._batch(self.job(requests, dict(body), f"batch_{len(self.jobs)}")))

    def _batch(self, job: Job) -> Batch:
        ended = job.status != "under way"
        status: Any = {"under way": "in_progress", "ended": "completed"}.get(job.status, job.status)
        done = len(job.requests) if ended else 0
        return Batch(
            id=job.name,
            completion_window="24h",
            created_at=0,
            endpoint=job.facts["endpoint"],
            input_file_id=job.facts["input_file_id"],
            object="batch",
            status=status,
            metadata=job.facts.get("metadata"),
            output_file_id=f"{job.name}-out" if job.answers else None,
            error_file_id=f"{job.name}-err" if job.errors else None,
            errors=Errors(data=[BatchError(message=job.why)]) if job.why else None,
            request_counts=BatchRequestCounts(completed=done, failed=0, total=len(job.requests)),
        )

    async def _state(self, request: web.Request) -> web.Response:
        return reply(self._batch(self.named(request.match_info["id"])))

    async def _list(self, request: web.Request) -> web.Response:
        assert request.query["limit"] == "100"
        data = [self._batch(job).model_dump() for job in reversed(self.jobs)]
        return web.json_response({"object": "list", "data": data, "has_more": False})

    async def _fetch(self, request: web.Request) -> web.Response:
        name, _, kind = request.match_info["id"].rpartition("-")
        lines = self.named(name).answers if kind == "out" else self.named(name).errors
        return web.Response(text="".join(lines))

    def answer(self, name: str, tokens: int) -> str:
        message = {"role": "assistant", "content": "I can't help with that."}
        body = {
            "id": "c", "object": "chat.completion", "created": 0, "model": "test-1",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": tokens, "completion_tokens": 6, "total_tokens": tokens + 6},
        }  # fmt: skip
        return _openai_line(name, 200, body, None)

    def error(self, name: str, fate: str) -> str:
        if fate == "expired":
            told = {"code": "batch_expired", "message": "This request could not be executed."}
            return _openai_line(name, 0, None, told)
        body = {"error": {"message": REASONS[fate], "type": "x", "param": None, "code": None}}
        return _openai_line(name, int(fate[:3]), body, None)


REASONS = {
    "500": "The server had an error.",
    "400": "The question cannot be read.",
    "400 temperature": "'temperature' is not supported with this model.",
}


def _openai_line(name: str, status: int, body: Any, error: Any) -> str:
    response = {"status_code": status, "request_id": "r", "body": body} if body else None
    line = {"id": "batch_req_1", "custom_id": name, "response": response, "error": error}
    return json.dumps(line) + "\n"


class TogetherJob(BaseModel):
    """`together.types.batch.BatchJob`; the package itself would bring a hundred others."""

    model_config = ConfigDict(extra="forbid")

    id: str
    user_id: str
    input_file_id: str
    file_size_bytes: int
    status: Literal[
        "VALIDATING", "IN_PROGRESS", "COMPLETED", "FAILED", "EXPIRED", "CANCELLED", "CANCELING"
    ]
    job_deadline: datetime
    created_at: datetime
    endpoint: Literal["/v1/completions", "/v1/chat/completions"]
    progress: float = 0.0
    model_id: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    error: str | None = None
    completed_at: datetime | None = None


class FakeTogether(FakeOpenAI):
    """As OpenAI's, but for the upload, a job in the reply to the creation, and a bare list.

    A job has no metadata and counts no requests; its status is in capitals.
    """

    model = "together/test"
    variable = "TOGETHER_API_KEY"

    def routes(self, app: web.Application) -> None:
        app.router.add_post("/v1/files/upload", self.checked("upload", self._upload_form))
        app.router.add_post("/v1/batches", self.checked("create", self._create))
        app.router.add_get("/v1/batches", self.checked("list", self._list))
        app.router.add_get("/v1/batches/{id}", self.checked("state", self._state))
        app.router.add_get("/v1/files/{id}/content", self.checked("fetch", self._fetch))

    async def _upload_form(self, request: web.Request) -> web.Response:
        form = await request.post()
        assert set(form) == {"purpose", "file_name", "file_type", "file"}
        assert (form["purpose"], form["file_type"]) == ("batch-api", "jsonl")
        part = form["file"]
        assert isinstance(part, web.FileField)
        assert form["file_name"] == part.filename
        content = part.file.read()
        for row in map(json.loads, content.decode().splitlines()):
            assert {"custom_id", "body"} <= set(row)
            OPENAI_CHAT.validate_python({k: v for k, v in row["body"].items() if k != "top_k"})
        name = f"file-{len(self.files)}"
        self.files[name] = content
        facts = {"id": name, "object": "file", "filename": part.filename, "bytes": len(content)}
        return web.json_response(facts | {"purpose": "batch-api", "FileType": "jsonl"})

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        assert set(body) == {"input_file_id", "endpoint", "completion_window"}
        requests = _lines_of(self.files[body["input_file_id"]], "custom_id", "body")
        job = self.job(requests, body, f"batch_{len(self.jobs)}")
        return web.json_response({"job": self._shown(job), "warning": None})

    def _shown(self, job: Job) -> dict[str, Any]:
        status = {"under way": "IN_PROGRESS", "ended": "COMPLETED"}
        facts = {
            "id": job.name,
            "user_id": "u",
            "input_file_id": job.facts["input_file_id"],
            "file_size_bytes": len(self.files[job.facts["input_file_id"]]),
            "status": status.get(job.status, job.status.upper()),
            "job_deadline": _NOW,
            "created_at": _NOW,
            "endpoint": job.facts["endpoint"],
            "progress": 100.0 if job.status == "ended" else 0.0,
            "model_id": "test",
            "output_file_id": f"{job.name}-out" if job.answers else None,
            "error_file_id": f"{job.name}-err" if job.errors else None,
            "error": job.why or None,
        }
        shown: dict[str, Any] = json.loads(TogetherJob.model_validate(facts).model_dump_json())
        return shown

    async def _state(self, request: web.Request) -> web.Response:
        return web.json_response(self._shown(self.named(request.match_info["id"])))

    async def _list(self, request: web.Request) -> web.Response:  # noqa: ARG002
        return web.json_response([self._shown(job) for job in reversed(self.jobs)])


class FakeAnthropic(FakeService):
    """POST and GET /messages/batches, GET /messages/batches/ID and its results."""

    model = "anthropic/claude-test"
    variable = "ANTHROPIC_API_KEY"

    def check_key(self, request: web.Request) -> None:
        if request.headers["anthropic-version"] == "2023-06-01":
            assert request.headers["x-api-key"] == KEY
        else:
            assert request.headers["Authorization"] == f"Bearer {KEY}"

    def routes(self, app: web.Application) -> None:
        app.router.add_post("/v1/messages/batches", self.checked("create", self._create))
        app.router.add_get("/v1/messages/batches", self.checked("list", self._list))
        app.router.add_get("/v1/messages/batches/{id}", self.checked("state", self._state))
        path = "/v1/messages/batches/{id}/results"
        app.router.add_get(path, self.checked("fetch", self._fetch))

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        assert set(body) == {"requests"}
        for each in body["requests"]:
            assert set(each) == {"custom_id", "params"}
            PARAMS.validate_python({k: v for k, v in each["params"].items() if k not in SAMPLING})
        requests = {each["custom_id"]: each["params"] for each in body["requests"]}
        assert len(requests) == len(body["requests"])
        assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name) for name in requests)
        return reply(self._batch(self.job(requests, {}, f"msgbatch_{len(self.jobs)}")))

    def _batch(self, job: Job) -> anthropic_types.MessageBatch:
        ended = job.status == "ended"
        total = len(job.requests)
        counts = anthropic_types.MessageBatchRequestCounts(
            canceled=0, errored=0, expired=0, processing=0 if ended else total,
            succeeded=total if ended else 0,
        )  # fmt: skip
        return anthropic_types.MessageBatch(
            id=job.name,
            created_at=datetime.now(UTC),
            expires_at=_NOW,
            processing_status="ended" if ended else "in_progress",
            request_counts=counts,
            results_url="https://elsewhere.example/results" if ended else None,
            type="message_batch",
        )

    async def _state(self, request: web.Request) -> web.Response:
        return reply(self._batch(self.named(request.match_info["id"])))

    async def _list(self, request: web.Request) -> web.Response:
        assert request.query["limit"] == "100"
        data = [json.loads(self._batch(job).model_dump_json()) for job in reversed(self.jobs)]
        return web.json_response({"data": data, "has_more": False})

    async def _fetch(self, request: web.Request) -> web.Response:
        job = self.named(request.match_info["id"])
        return web.Response(text="".join([*job.answers, *job.errors]))

    def answer(self, name: str, tokens: int) -> str:
        whole = json.loads(str(message("I can't help with that.", "end_turn").text))
        whole["usage"] |= {"input_tokens": tokens, "cache_read_input_tokens": 0}
        return self._line(name, {"type": "succeeded", "message": whole})

    def error(self, name: str, fate: str) -> str:
        if fate == "expired":
            return self._line(name, {"type": "expired"})
        kind = "api_error" if fate == "500" else "invalid_request_error"
        error = {"type": kind, "message": REASONS[fate]}
        whole = {"type": "error", "error": error, "request_id": "req_1"}
        return self._line(name, {"type": "errored", "error": whole})

    def _line(self, name: str, result: dict[str, Any]) -> str:
        line = {"custom_id": name, "result": result}
        anthropic_types.MessageBatchIndividualResponse.model_validate(line)
        return json.dumps(line) + "\n"


class FakeGemini(FakeService):
    """Resumable upload, POST :batchGenerateContent, GET /batches, GET files/ID:download."""

    model = "gemini/gemini-test"
    variable = "GEMINI_API_KEY"

    def check_key(self, request: web.Request) -> None:
        assert request.headers["x-goog-api-key"] == KEY

    def routes(self, app: web.Application) -> None:
        create = "/v1beta/models/gemini-test:batchGenerateContent"
        app.router.add_post("/upload/v1beta/files", self.checked("start", self._start))
        app.router.add_post("/upload/here", self.checked("upload", self._upload))
        app.router.add_post(create, self.checked("create", self._create))
        app.router.add_get("/v1beta/batches", self.checked("list", self._list))
        app.router.add_get("/v1beta/batches/{id}", self.checked("state", self._state))
        app.router.add_get("/v1beta/files/{id}", self.checked("fetch", self._fetch))

    async def _start(self, request: web.Request) -> web.Response:
        assert request.headers["X-Goog-Upload-Protocol"] == "resumable"
        assert request.headers["X-Goog-Upload-Command"] == "start"
        assert int(request.headers["X-Goog-Upload-Header-Content-Length"]) > 0
        file = genai_types.File.model_validate((await request.json())["file"])
        assert file.name
        assert re.fullmatch(r"files/[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?", file.name)
        # Another host: the key must not follow.
        where = f"https://elsewhere.example/upload/here?name={file.name}"
        return web.json_response({}, headers={"X-Goog-Upload-URL": where})

    async def _upload(self, request: web.Request) -> web.Response:
        assert request.headers["X-Goog-Upload-Command"] == "upload, finalize"
        assert request.headers["X-Goog-Upload-Offset"] == "0"
        name = request.query["name"]
        self.files[name] = await request.read()
        return web.json_response({"file": {"name": name}})

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        assert set(body) == {"batch"}
        assert set(body["batch"]) == {"displayName", "inputConfig"}
        requests = _lines_of(self.files[body["batch"]["inputConfig"]["fileName"]], "key", "request")
        for each in requests.values():
            check_gemini_body(each)
        job = self.job(requests, body["batch"], f"batches/{len(self.jobs)}")
        return self._operation(job)

    def _shown(self, job: Job) -> dict[str, Any]:
        state = {"under way": "RUNNING", "ended": "SUCCEEDED"}.get(job.status, job.status.upper())
        facts: dict[str, Any] = {
            "displayName": job.facts["displayName"], "state": f"BATCH_STATE_{state}",
            "model": "models/gemini-test",
        }  # fmt: skip
        if job.answers or job.errors:
            facts["output"] = {"responsesFile": f"files/{job.name.partition('/')[2]}"}
        shown: dict[str, Any] = {"name": job.name, "metadata": facts}
        if job.why:
            shown["error"] = {"code": 3, "message": job.why}
        read = genai_batches._BatchJob_from_mldev(shown)
        assert genai_types.BatchJob.model_validate(read).name == job.name
        return shown

    def _operation(self, job: Job) -> web.Response:
        return web.json_response(self._shown(job))

    async def _state(self, request: web.Request) -> web.Response:
        return self._operation(self.named(f"batches/{request.match_info['id']}"))

    async def _list(self, request: web.Request) -> web.Response:
        assert request.query["pageSize"] == "100"
        return web.json_response({"operations": [self._shown(job) for job in self.jobs]})

    async def _fetch(self, request: web.Request) -> web.Response:
        assert request.query["alt"] == "media"
        job = self.named(f"batches/{request.match_info['id'].removesuffix(':download')}")
        return web.Response(text="".join([*job.answers, *job.errors]))

    def answer(self, name: str, tokens: int) -> str:
        content = {"role": "model", "parts": [{"text": "I can't help with that."}]}
        response = {
            "candidates": [{"content": content, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": tokens, "candidatesTokenCount": 6},
            "modelVersion": "gemini-test-001",
        }
        genai_types.GenerateContentResponse.model_validate(response)
        return json.dumps({"key": name, "response": response}) + "\n"

    def error(self, name: str, fate: str) -> str:
        code = {"expired": 4, "500": 13}.get(fate, 3)
        error = {"code": code, "message": REASONS.get(fate, "The batch has expired.")}
        return json.dumps({"key": name, "error": error}) + "\n"


SERVICES = (FakeOpenAI, FakeTogether, FakeAnthropic, FakeGemini)


@contextmanager
def serving_batches(service: FakeService) -> Iterator[FakeService]:
    """The service on a free port of the loopback address."""
    app = web.Application(client_max_size=2**28)
    service.routes(app)
    with running(app) as root:
        service.url = f"{root}{service.version}"
        yield service
