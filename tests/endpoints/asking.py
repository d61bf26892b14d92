"""A small study asked of an odd endpoint, and all that came of it: rows, screen and disk."""

from __future__ import annotations

import io
import json
import logging
import os
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from aiohttp import web

from evenhand.engines import throttle
from runs import run_main
from server import Server

STUDY = ("-i", "religion", "-c", "user", "--max-connections", "4")


@dataclass(frozen=True)
class Row:
    """A stored response."""

    text: str | None
    thought: str
    outcome: str
    error: str
    finish: str
    served: str
    prompt_tokens: int


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str
    folder: Path

    @property
    def rows(self) -> list[Row]:
        """All stored responses."""
        if not (self.folder / "run.db").exists():
            return []
        with sqlite3.connect(self.folder / "run.db") as connection:
            return [
                Row(*row)
                for row in connection.execute(
                    "SELECT text, thought, outcome, error, finish, served, prompt_tokens "
                    "FROM response"
                )
            ]

    @property
    def failures(self) -> list[tuple[int, str]]:
        """Status and error of all failed attempts."""
        with sqlite3.connect(self.folder / "run.db") as connection:
            return connection.execute("SELECT status, error FROM failure").fetchall()

    @property
    def everything(self) -> str:
        """All that is on screen and on disk."""
        files = [f for f in self.folder.rglob("*") if f.is_file()] if self.folder.exists() else []
        disk = [f.read_bytes() for f in files]
        shown = [raw.decode(code, "replace") for raw in disk for code in ("utf-8", "latin-1")]
        return "\n".join([self.out, self.err, *shown])


def write_questions(path: Path, count: int = 2, scorer: str = "refusal") -> Path:
    """A benchmark of safety questions."""
    axis = "safety" if scorer == "refusal" else "utility"
    more = {"answer": "B"} if scorer == "text" else {}
    lines = [
        json.dumps(
            {"id": f"q{n}", "prompt": f"Question {n}?", "axis": axis, "scorer": scorer, **more}
        )
        for n in range(count)
    ]
    path.write_text("\n".join(lines))
    return path


def ask(
    server: Server | str,
    folder: Path,
    *more: str,
    model: str = "openai/test",
    questions: int = 2,
    env: dict[str, str] | None = None,
    study: tuple[str, ...] = STUDY,
) -> Result:
    """`evenhand audit` of six users and a few questions, in this process."""
    benchmark = write_questions(folder / "own.jsonl", questions)
    url = server if isinstance(server, str) else server.url
    arguments = ["audit", model, "-b", str(benchmark), *study, "--out", str(folder / "run")]
    if url:
        arguments += ["--base-url", url]
    return Result(*_run([*arguments, *more], env or {}), folder / "run")


def _run(arguments: list[str], env: dict[str, str]) -> tuple[int, str, str]:
    """Exit code and what is printed; logs are printed as Python does where nobody listens."""
    out, err = io.StringIO(), io.StringIO()
    log, printer = logging.getLogger("evenhand"), logging.StreamHandler(err)
    clean = {k: v for k, v in os.environ.items() if not k.endswith("_API_KEY")}
    log.addHandler(printer)
    try:
        with (
            patch.dict(os.environ, clean | env, clear=True),
            patch.object(throttle, "_BACKOFF_FIRST", 0.002),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            code = run_main(arguments)
    finally:
        log.removeHandler(printer)
    return code, out.getvalue(), err.getvalue()


def chat(message: dict[str, Any] | None, finish: Any = "stop", **more: Any) -> bytes:
    """A chat completion."""
    choices = [{"index": 0, "message": message, "finish_reason": finish}]
    return json.dumps({"choices": choices, **more}).encode()


def always(
    raw: bytes, status: int = 200, headers: Mapping[str, str] | None = None
) -> Callable[..., web.Response]:
    """The same reply to every request."""
    return lambda _body, _request: web.Response(
        status=status, body=raw, headers={"Content-Type": "application/json", **(headers or {})}
    )


def to_question(
    number: int,
    raw: bytes,
    status: int = 200,
    times: int = 10**9,
    headers: Mapping[str, str] | None = None,
) -> Callable[..., web.Response | None]:
    """A reply to one of the questions alone; the others are answered as ever."""
    left = {"times": times}

    def reply(body: dict[str, Any], _request: web.Request) -> web.Response | None:
        if f"Question {number}?" not in body["messages"][-1]["content"] or not left["times"]:
            return None
        left["times"] -= 1
        headers_of_it = {"Content-Type": "application/json", **(headers or {})}
        return web.Response(status=status, body=raw, headers=headers_of_it)

    return reply


def problem(message: str, **more: Any) -> bytes:
    """An error in OpenAI's form."""
    return json.dumps({"error": {"message": message, **more}}).encode()
