"""Where workers live: on Ray, or in processes of this machine, which are called alike.

Ray is a cluster that is there, or one of its own on this machine. Processes need nothing that must
be installed; `multiprocessing` is not used to start them, for it would run the user's own script
again in each: a script without `if __name__ == "__main__"` would audit itself without end.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Generator, Sequence
from concurrent import futures
from contextlib import suppress
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from evenhand import __version__
from evenhand.errors import EngineError, EvenhandError, MissingExtra, Unreachable, UsageError
from evenhand.text import one_line

# Ray

_PROBE = 5.0
"""Seconds to find out that nobody listens at an address; Ray itself takes two minutes."""


class Cluster:
    """The connection to Ray, which all engines of this process share.

    Args:
        on: "local" for a cluster of its own on this machine, "auto" for the one that the
            environment names or that runs here, or an address.
    """

    users = 0
    """How many engines hold the connection, if evenhand has made it."""
    shared = ""
    """What it is connected to."""

    def __init__(self, on: str) -> None:
        # Nothing is sent to anyone, whoever asked Ray for it; and Ray's words on workers that died
        # do not get among what the command prints.
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".*")
        try:
            import ray
        except ImportError:
            raise MissingExtra("workers on Ray", "ray") from None
        if Cluster.users and on != Cluster.shared:
            raise UsageError(f"--on {on}: this process is already connected to {Cluster.shared}")
        self._ray = ray
        self.on = Cluster.shared = on
        self._open = True
        if Cluster.users or not ray.is_initialized():
            Cluster.users += 1
        if not ray.is_initialized():
            try:
                _connect(ray, on)
            except BaseException:
                self.leave()
                raise
        task = ray.exceptions.RayTaskError
        others = {each for each in vars(ray.exceptions).values() if isinstance(each, type)}
        base = ray.exceptions.RayError
        self.death: tuple[type[Exception], ...] = tuple(
            each
            for each in others
            if issubclass(each, base) and each is not base and not issubclass(each, task)
        )

    def room(self, workers: int | None, gpus: float | None) -> tuple[int, float]:
        """How many workers to start, and GPUs for each.

        Raises:
            UsageError: no node has as many GPUs, or they cannot be divided so; or there would be
                more workers than this machine can start.
        """
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        each = [float(node.get("GPU", 0)) for node in nodes]
        if gpus is None:
            gpus = float(any(each))
        if gpus > 1 and gpus != int(gpus):
            raise UsageError(f"--gpus-per-worker {gpus:g}: above 1 it must be a whole number")
        if gpus > max(each, default=0):
            raise UsageError(
                f"--gpus-per-worker {gpus:g}: no node of the cluster has as many GPUs; the most "
                f"is {max(each, default=0):g}"
            )
        if workers is None:
            workers = sum(int(have / gpus) for have in each) if gpus else 2
        if self.on == "local":
            check_workers(workers)
        return workers, gpus

    def threads(self, workers: int) -> int | None:
        """Threads of each worker for torch, where they share this machine; None otherwise."""
        if self.on != "local":
            return None
        return threads_of_each(workers)

    def start(self, worker: type, gpus: float) -> Any:
        """A new actor of this class, in a process of its own."""
        return (
            self._ray.remote(worker)
            .options(
                num_gpus=gpus,
                # On a cluster of one's own it is for the user to say how many are too many.
                num_cpus=0 if self.on == "local" else 1,
                max_restarts=0,
                max_task_retries=0,
                scheduling_strategy="SPREAD",
            )
            .remote()
        )

    def wait(self, references: Sequence[Any], number: int, timeout: float | None) -> list[Any]:
        """The first of them that are there."""
        if not number:
            return []
        ready, _ = self._ray.wait(references, num_returns=number, timeout=timeout)
        return list(ready)

    def get(self, reference: Any) -> Any:
        return self._ray.get(reference)

    def kill(self, actor: Any) -> None:
        if self._ray.is_initialized():
            self._ray.kill(actor)

    def leave(self) -> None:
        """Give the connection up; the last one ends it, and with it a cluster of its own."""
        if not self._open:
            return
        self._open = False
        if Cluster.users:
            Cluster.users -= 1
            if not Cluster.users:
                self._ray.shutdown()


def _connect(ray: Any, on: str) -> None:
    """Start a cluster on this machine, or join one.

    Raises:
        Unreachable: there is none.
        EngineError: it does not take this process, as with another version of Python.
    """
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    # Ray would end the process at once, and what has been answered would not be written.
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM) if main else None
    try:
        if on == "local":
            ray.init(
                address="local",
                include_dashboard=False,
                object_store_memory=200 * 2**20,
                _node_ip_address="127.0.0.1",
                **quiet,
            )
            return
        address = os.environ.get("RAY_ADDRESS", on) if on == "auto" else on
        _probe(address, on)
        ray.init(address=address, **quiet)
    except EvenhandError:
        raise
    except ConnectionError as error:
        raise Unreachable(f"--on {on}: there is no Ray cluster ({reason_of(error)})") from None
    except (RuntimeError, ValueError, OSError) as error:
        raise EngineError(f"--on {on}: {reason_of(error)}") from None
    finally:
        if main and handler is not None:
            signal.signal(signal.SIGTERM, handler)


def _probe(address: str, on: str) -> None:
    """Check that somebody listens at an address.

    Raises:
        UsageError: it is none.
        Unreachable: nobody does.
    """
    if address == "auto":
        return
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    is_port = re.fullmatch(r"[0-9]{1,5}", port) and int(port) < 2**16
    if not (colon and is_port and re.fullmatch(r"[^\s/@]+", host)):
        if address != on:
            raise UsageError("RAY_ADDRESS: must be auto, HOST:PORT or ray://HOST:PORT")
        shown = one_line(re.sub(r"//.*@", "//...@", on), 100)
        raise UsageError(f'--on "{shown}": must be local, auto, HOST:PORT or ray://HOST:PORT')
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_PROBE) as connection:
            if os.environ.get("RAY_USE_TLS", "0") not in ("1", "true"):
                _greet(connection)
    except OSError as error:
        raise Unreachable(
            f"--on {on}: there is no Ray cluster at {host}:{port} ({error})"
        ) from None


def _greet(connection: socket.socket) -> None:
    """Open HTTP/2, as Ray speaks it: with another kind of server, Ray would wait for minutes.

    Source: RFC 9113, sections 3.4 and 6.5.

    Raises:
        OSError: the server answers otherwise, or not at all.
    """
    settings = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings)
    answer = b""
    while len(answer) < 4 and (more := connection.recv(64)):
        answer += more
    if answer[3:4] != settings[3:4]:
        raise OSError("another kind of server listens there")


def reason_of(error: BaseException) -> str:
    """One line: what an error of Ray's says first, or what lies behind it."""
    text = str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    behind = next((line for line in lines if line.startswith("ModuleNotFoundError")), None)
    if behind:
        return (
            f"{behind.partition(': ')[2]}; install evenhand {__version__} and the model's packages "
            "on every node"
        )
    return one_line(" ".join(lines) if len(text) < 400 else lines[0], 300) if lines else "no reason"


# Processes of this machine

_END = 10.0
"""Seconds for a process to be gone after it was killed, or to be waited for after its last word."""
_MOST_OF_CORE = 16
"""Workers of a core of this machine, at most."""


class WorkerDied(Exception):
    """The process of a worker is gone."""


class Processes:
    """This machine, as a place of workers."""

    death: tuple[type[Exception], ...] = (WorkerDied,)

    def room(self, workers: int | None, gpus: float | None) -> tuple[int, float]:
        """How many workers to start; none of them has a GPU.

        Raises:
            UsageError: GPUs are to be shared out, processes cannot be started so, or there would
                be too many.
        """
        if gpus or Path("/dev/nvidiactl").exists():
            raise UsageError("--workers shares out the cores of a machine; for GPUs add --on local")
        if not can_start_processes():
            raise UsageError("--workers needs --on local on this system")
        check_workers(workers or 1)
        return workers or 1, 0.0

    def threads(self, workers: int) -> int:
        """Threads of each worker for torch: its part of the cores."""
        return threads_of_each(workers)

    def start(self, worker: type, _gpus: float) -> _WorkerProcess:
        """A worker of this class in a new process.

        Raises:
            EngineError: the system starts none.
        """
        try:
            return _WorkerProcess(worker)
        except OSError as error:
            raise EngineError(f"cannot start a worker: {error.strerror or error}") from None

    def wait(self, references: Sequence[Any], number: int, timeout: float | None) -> list[Any]:
        """The first of them that are there."""
        if not number:
            return []
        until = futures.FIRST_COMPLETED if number == 1 else futures.ALL_COMPLETED
        futures.wait([each.future for each in references], timeout, until)
        return [each for each in references if each.future.done()][:number]

    def get(self, reference: Any) -> Any:
        """What has come of a call."""
        return reference.future.result()

    def kill(self, actor: Any) -> None:
        """End a worker."""
        actor.kill()

    def leave(self) -> None:
        """Nothing holds workers but themselves."""


def can_start_processes() -> bool:
    """Whether workers can be handed a socket when they start."""
    return os.name == "posix"


def threads_of_each(workers: int) -> int:
    """Threads for torch in each of several workers on this machine."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() else max(1, cores() // workers)


def check_workers(workers: int) -> None:
    """Check that this machine can start so many processes.

    Raises:
        UsageError: it cannot: thousands of them would bring it down.
    """
    if workers > (most := _MOST_OF_CORE * cores()):
        raise UsageError(f"--workers {workers}: on this machine at most {most}")


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _WorkerReply:
    """What will come of a call."""

    def __init__(self) -> None:
        self.future: futures.Future[Any] = futures.Future()
        self.future.set_running_or_notify_cancel()  # whoever no longer waits does not end the call

    def __await__(self) -> Generator[Any, None, Any]:
        return asyncio.wrap_future(self.future).__await__()


class _Method:
    """A method of a worker, called as Ray has it."""

    def __init__(self, process: _WorkerProcess, name: str) -> None:
        self._process = process
        self._name = name

    def remote(self, *arguments: Any) -> _WorkerReply:
        return self._process.call(self._name, arguments)


class _WorkerProcess:
    """A process with one worker in it, from outside."""

    def __init__(self, worker: type) -> None:
        ours, theirs = socket.socketpair()
        # A file, for nobody reads along: a pipe would fill up and hold the process.
        self._words = TemporaryFile()  # noqa: SIM115
        place = os.pathsep.join(part for part in sys.path if part)
        with theirs:
            self._popen = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, str(theirs.fileno()), worker.__module__],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._words,
                env={**os.environ, "PYTHONPATH": place},
            )
        self._connection = Connection(ours.detach())
        self._numbers = count()
        self._lock = threading.Lock()
        self._replies: dict[int, _WorkerReply] = {}
        self._dead: WorkerDied | None = None
        threading.Thread(target=self._receive, daemon=True).start()

    def __getattr__(self, name: str) -> _Method:
        return _Method(self, name)

    def call(self, name: str, arguments: tuple[Any, ...]) -> _WorkerReply:
        """Have a method of the worker called."""
        reply = _WorkerReply()
        with self._lock:
            if self._dead is None:
                number = next(self._numbers)
                self._replies[number] = reply
                with suppress(OSError):  # the receiving thread sees its end, too
                    self._connection.send((number, name, arguments))
                return reply
        reply.future.set_exception(self._dead)
        return reply

    def kill(self) -> None:
        """End the process at once."""
        self._popen.kill()
        self._popen.wait(_END)

    def _receive(self) -> None:
        """Take what the worker sends, until it is gone."""
        with suppress(EOFError, OSError), self._connection:
            while True:
                number, answer, fault = self._connection.recv()
                reply = self._replies.pop(number)
                if fault is None:
                    reply.future.set_result(answer)
                else:
                    reply.future.set_exception(RuntimeError(fault))
        died = WorkerDied(self._how_it_ended())
        with self._lock:
            self._dead = died
        for reply in self._replies.values():
            reply.future.set_exception(died)

    def _how_it_ended(self) -> str:
        with self._words:
            try:
                code = self._popen.wait(_END)
            except subprocess.TimeoutExpired:
                return "it no longer listens"
            if code < 0:
                name = signal.Signals(-code).name
                return f"killed by {name}{', as when memory runs out' if code == -9 else ''}"
            self._words.seek(max(0, self._words.seek(0, os.SEEK_END) - 2000))
            lines = self._words.read().decode("utf-8", "replace").strip().splitlines()
            last = f": {one_line(lines[-1], 200)}" if lines else ""
            return f"it ended with code {code}{last}"


# --- in the process of a worker ---------------------------------------------------------------


async def _serve(connection: Connection, worker: Any) -> None:
    """Do what the driver asks for, until it is gone."""
    loop = asyncio.get_running_loop()
    under_way: set[asyncio.Task[None]] = set()

    async def call(number: int, name: str, arguments: tuple[Any, ...]) -> None:
        answer = fault = None
        try:
            answer = await getattr(worker, name)(*arguments)
        except Exception:  # the driver's to raise
            fault = f"in a worker: {traceback.format_exc()}"
        connection.send((number, answer, fault))

    def begin(*message: Any) -> None:
        task = loop.create_task(call(*message))
        under_way.add(task)
        task.add_done_callback(under_way.discard)

    def listen() -> None:
        try:
            while True:
                loop.call_soon_threadsafe(begin, *connection.recv())
        except (EOFError, OSError):
            os._exit(0)  # nobody waits for what is under way

    threading.Thread(target=listen, daemon=True).start()
    await asyncio.Event().wait()


def main(descriptor: str, module: str) -> None:
    """Run a worker whose driver holds the other end of a socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver, which ends this
    worker = __import__(module, fromlist=["Worker"]).Worker()
    asyncio.run(_serve(Connection(int(descriptor)), worker))


if __name__ == "__main__":
    main(*sys.argv[1:])
