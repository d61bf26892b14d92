"""Getting data files: local copies, cache, download from a local server."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from evenhand.benchmarks import fetch, files, load
from evenhand.benchmarks.files import Source
from evenhand.errors import DataError

NAME = "gsm8k/test.jsonl"
CONTENT = b'{"question": "1 + 1?", "answer": "Two.\\n#### 2"}\n'
OTHER = b"something else"
PINNED, FOUND = (hashlib.sha256(content).hexdigest()[:12] for content in (CONTENT, OTHER))


class Server(ThreadingHTTPServer):
    """A server that counts its requests and can misbehave."""

    mode = "good"
    requests = 0


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests += 1
        if self.server.mode == "missing":
            self.send_error(404)
            return
        body = OTHER if self.server.mode == "other" else CONTENT
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:10] if self.server.mode == "interrupted" else body)

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server for NAME, as if it were the public source."""
    server = Server(("127.0.0.1", 0), Handler)
    url = f"http://127.0.0.1:{server.server_address[1]}/{NAME}"
    pinned = Source(url, hashlib.sha256(CONTENT).hexdigest(), len(CONTENT), "MIT")
    monkeypatch.setattr(files, "sources", lambda: {NAME: pinned})
    monkeypatch.delenv("EVENHAND_DATA_DIR", raising=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(files, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def in_cache(cache: Path) -> list[str]:
    return [str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file()]


def test_downloads_once_then_uses_the_cache(server: Server, cache: Path) -> None:
    assert [item.answer for item in load("gsm8k")] == ["2"]
    assert [item.answer for item in load("gsm8k")] == ["2"]
    assert [item.answer for item in load("gsm8k", offline=True)] == ["2"]
    assert server.requests == 1
    assert in_cache(cache) == [NAME]


def test_says_nothing(server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    load("gsm8k")
    assert server.requests == 1
    assert capfd.readouterr() == ("", "")


def test_wrong_hash_of_a_download(server: Server, cache: Path) -> None:
    server.mode = "other"
    with pytest.raises(DataError) as error:
        load("gsm8k")
    assert NAME in str(error.value)
    assert PINNED in str(error.value)
    assert FOUND in str(error.value)
    assert "\n" not in str(error.value)
    assert in_cache(cache) == []


@pytest.mark.parametrize("mode", ["interrupted", "missing"])
def test_failed_downloads_leave_nothing(server: Server, cache: Path, mode: str) -> None:
    server.mode = mode
    with pytest.raises(DataError, match=f"cannot download {NAME} .* `evenhand fetch gsm8k`"):
        load("gsm8k")
    assert in_cache(cache) == []
    server.mode = "good"
    assert len(load("gsm8k")) == 1


def test_no_network(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = Source("http://127.0.0.1:1/x", "0" * 64, 1, "MIT")
    monkeypatch.setattr(files, "sources", lambda: {NAME: nobody})
    with pytest.raises(DataError) as error:
        load("gsm8k")
    assert "`evenhand fetch gsm8k`" in str(error.value)
    assert "EVENHAND_DATA_DIR" in str(error.value)
    assert "\n" not in str(error.value)
    assert server.requests == 0


def test_offline_never_tries(server: Server) -> None:
    with pytest.raises(DataError, match=f"{NAME} is not on this computer; run `evenhand fetch"):
        load("gsm8k", offline=True)
    assert server.requests == 0


def test_a_spoiled_cache_is_fetched_again_but_not_offline(server: Server, cache: Path) -> None:
    put(cache / NAME, OTHER)
    with pytest.raises(DataError, match=f"expected SHA-256 {PINNED}, found {FOUND}; delete it"):
        load("gsm8k", offline=True)
    assert server.requests == 0
    assert len(load("gsm8k")) == 1
    assert (cache / NAME).read_bytes() == CONTENT


def test_local_copies_come_first(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENHAND_DATA_DIR", str(tmp_path / "copies"))
    with pytest.raises(DataError, match="which is no folder"):
        load("gsm8k")
    (tmp_path / "copies").mkdir()
    assert len(load("gsm8k")) == 1  # not there: from the server
    put(tmp_path / "copies" / NAME, CONTENT)
    assert files.get(NAME, benchmark="gsm8k") == tmp_path / "copies" / NAME
    assert server.requests == 1


def test_wrong_local_copy_is_an_error_and_not_passed_over(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENHAND_DATA_DIR", str(tmp_path))
    path = put(tmp_path / NAME, OTHER)
    with pytest.raises(DataError) as error:
        load("gsm8k")
    assert str(error.value) == (
        f"{path} is not the pinned file: expected SHA-256 {PINNED}, found {FOUND}; "
        "restore it, or unset EVENHAND_DATA_DIR"
    )
    assert server.requests == 0


def test_each_file_is_hashed_once(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[Path] = []
    real = files._sha256

    def hashing(path: Path) -> str:
        hashed.append(path)
        return real(path)

    monkeypatch.setattr(files, "_sha256", hashing)
    monkeypatch.setenv("EVENHAND_DATA_DIR", str(tmp_path))
    put(tmp_path / NAME, CONTENT)
    for _ in range(5):
        load("gsm8k")
    assert hashed == [tmp_path / NAME]
    assert server.requests == 0


def test_a_folder_that_cannot_be_written(server: Server, cache: Path) -> None:
    put(cache, b"a file where the folder should be")
    with pytest.raises(DataError, match=f"cannot download {NAME} .* at {cache}"):
        load("gsm8k")
    assert server.requests == 0


def test_fetch_gets_every_file_of_a_suite(data_dir: Path) -> None:
    paths = fetch(["paper", "mmlu-test"], offline=True)
    names = {str(path.relative_to(data_dir)) for path in paths}
    assert {"gsm8k/train.jsonl", "gsm8k/test.jsonl", "mmlu/test/anatomy_test.csv"} <= names
    assert len(names) == 1 + 2 + 1 + 57 + 2 + 57  # with two of labeled answers
