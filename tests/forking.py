"""Runs of the command in processes that are forked from one that has imported it.

A process of its own that imports evenhand takes half a second of CPU before it begins, and tests
start a hundred of them. Here the imports are shared, and nothing else: every run has its own
memory, environment, folder and signals, and ends as an interpreter does.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

_LONGEST = 1 << 20
_PYTHON = {name: value for name, value in os.environ.items() if name.startswith("PYTHON")}
_PRELOADED = ("audit", "report", "mitigate", "score", "plan", "gate")


class ForkedCommand:
    """`evenhand ARGUMENTS` in a process; what tests use of `subprocess.Popen`."""

    def __init__(self, arguments: Sequence[str], env: Mapping[str, str], umask: int) -> None:
        ends = [os.pipe() for _ in range(3)]
        request = {"arguments": list(arguments), "env": dict(env), "umask": umask}
        whole = json.dumps(request | {"folder": str(Path.cwd())}).encode()
        assert len(whole) < _LONGEST
        socket.send_fds(_server(), [whole], [write for _, write in ends])
        for _, write in ends:
            os.close(write)
        self.stdout = os.fdopen(ends[0][0], encoding="utf-8")
        self.stderr = os.fdopen(ends[1][0], encoding="utf-8")
        self._status = os.fdopen(ends[2][0], encoding="ascii")
        self.pid = int(self._status.readline())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code, or less than 0 for the signal that ended it; None while it runs."""
        return self._ended(0.0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("evenhand", timeout or 0.0)
        return code

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._status, selectors.EVENT_READ)
                if selector.select(timeout):
                    self.returncode = int(self._status.readline())
                    self._status.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """All that is left of its standard output and standard error, when it has ended."""
        with ThreadPoolExecutor(2) as readers:
            said = [readers.submit(stream.read) for stream in (self.stdout, self.stderr)]
            try:
                out, err = (each.result(timeout) for each in said)
            except TimeoutError:
                self.kill()
                raise
        self.wait(timeout)
        self.stdout.close()
        self.stderr.close()
        return out, err


def imports_alike(env: Mapping[str, str]) -> bool:
    """Whether an interpreter with these variables finds the modules that this one finds."""
    return {name: value for name, value in env.items() if name.startswith("PYTHON")} == _PYTHON


@cache
def _server() -> socket.socket:
    """The way to the process that has imported the command; it ends with this one."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * _LONGEST)
    subprocess.Popen([sys.executable, __file__, str(its.fileno())], pass_fds=[its.fileno()])
    its.close()
    return ours


def _serve(asked: socket.socket) -> dict[str, Any] | None:
    """Fork a process for each request; in such a process, the request. None at the end."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        whole, ends, _, _ = socket.recv_fds(asked, _LONGEST, 3)
        if not whole:
            return None
        if os.fork() == 0:
            asked.close()
            return _watched(json.loads(whole), ends)
        for end in ends:
            os.close(end)


def _watched(request: dict[str, Any], ends: list[int]) -> dict[str, Any]:
    """Fork once more; the first process tells how the second ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    out, err, status = ends
    child = os.fork()
    if child == 0:
        os.close(status)
        for end, stream in ((out, 1), (err, 2)):
            os.dup2(end, stream)
            os.close(end)
        return request
    os.close(out)
    os.close(err)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.write(status, f"{child}\n".encode())
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(BrokenPipeError):
        os.write(status, f"{ended}\n".encode())
    os._exit(0)


def _as_asked(request: dict[str, Any]) -> None:
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["folder"])
    if request["umask"] >= 0:
        os.umask(request["umask"])
    sys.argv = ["-c", *request["arguments"]]
    # Those of the server were made for what it writes to, a file perhaps; these write to pipes.
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)


if __name__ == "__main__":
    del sys.path[0]  # this folder, which is not on the path of the command
    import aiohttp  # noqa: F401

    import evenhand.analysis  # noqa: F401
    from evenhand.cli import app, main
    from evenhand.engines import throttle

    throttle._BACKOFF_FIRST = 0.02
    for verb in _PRELOADED:
        app[verb].assemble_argument_collection()
    gc.freeze()
    found = _serve(socket.socket(fileno=int(sys.argv[1])))
    if found is not None:
        _as_asked(found)
        main()
