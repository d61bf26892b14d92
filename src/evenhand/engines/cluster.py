"""The connection to Ray: a cluster that is there, or one of its own on this machine."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
from collections.abc import Sequence
from typing import Any

from evenhand import __version__
from evenhand.engines.processes import check_workers, threads_of_each
from evenhand.errors import EngineError, EvenhandError, MissingExtra, Unreachable, UsageError
from evenhand.text import one_line

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
