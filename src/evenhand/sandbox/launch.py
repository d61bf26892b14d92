"""Start a process in a sandbox: bubblewrap, a container, or none.

In bubblewrap a program sees Python, the system's shared libraries, three devices, and an empty
/tmp of limited size. It has no home, no /etc, no /proc, no network, no other process and no
privilege, an environment of one variable, and can write to nothing but /tmp.

Docker and Podman are for computers where bubblewrap cannot run. They are as strict, with two
differences: processes are counted (64) rather than refused, and a container takes a good part of
a second to start.
"""

from __future__ import annotations

import marshal
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fcntl import F_DUPFD_CLOEXEC, fcntl
from functools import cache
from pathlib import Path
from types import CodeType
from typing import IO
from uuid import uuid4

import orjson

from evenhand.errors import SandboxError
from evenhand.sandbox.outcome import Limits, SandboxKind
from evenhand.sandbox.seccomp import filter_program
from evenhand.text import one_line

_INSIDE = Path(__file__).parent / "inside"
_BOOT = """
import marshal, os, sys
def exactly(count):
    read = b""
    while len(read) < count:
        read += os.read(0, count - len(read)) or sys.exit("cut off")
    return read
for name, code in marshal.loads(exactly(int.from_bytes(exactly(4), "big"))):
    module = type(sys)(name)
    sys.modules[name] = module
    exec(code, module.__dict__)
module.main(*sys.argv[1:])
"""
# No site packages, no folder of the user's on the path, no compiled files.
_FLAGS = ("-S", "-s", "-P", "-B")


@dataclass
class Launched:
    """A process, and how to reach and end it.

    Attributes:
        kind: of the sandbox.
        process: the sandbox tool; its pipes are those of the program inside.
        info: where bubblewrap tells the number of its first process; None for the others.
        name: of the container; empty for the others.
    """

    kind: SandboxKind
    process: subprocess.Popen[bytes]
    info: int | None = None
    name: str = ""
    _first: int | None = None

    def pipes(self) -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
        """Standard input, output and error of the program inside."""
        process = self.process
        assert process.stdin
        assert process.stdout
        assert process.stderr
        return process.stdin, process.stdout, process.stderr

    def first(self) -> int | None:
        """Number of the process that all others in the sandbox end with; None if not known yet."""
        if self._first is None and self.info is not None:
            with suppress(BlockingIOError, orjson.JSONDecodeError, KeyError, TypeError):
                self._first = int(orjson.loads(os.read(self.info, 4096))["child-pid"])
        return self._first

    def close(self) -> None:
        """Forget it, once it has ended."""
        if self.info is not None:
            os.close(self.info)
            self.info = None

    def kill(self) -> None:
        """End every process in the sandbox."""
        if self.kind == "bwrap" and (first := self.first()):
            with suppress(ProcessLookupError):
                os.kill(first, 9)
        elif self.kind == "none":
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, 9)
        elif self.name:
            _kill_container(self.kind, self.name)
            self.process.kill()
        else:
            self.process.kill()


def launch(
    kind: SandboxKind, arguments: Sequence[str], limits: Limits, *, processes: bool = False
) -> Launched:
    """Start Python in a sandbox, where it waits for `first_input`.

    Args:
        arguments: of `main`.
        processes: whether it may start further processes.

    Raises:
        SandboxError: the sandbox tool is not there or cannot be started.
    """
    own = (*_FLAGS, "-c", _BOOT, *arguments)
    try:
        if kind == "bwrap":
            return _in_bubblewrap((python(), *own), limits, processes)
        if kind == "none":
            return _bare((python(), *own))
        name = f"evenhand-{uuid4().hex[:12]}"
        argv = container_command(kind, name, ("python", *own), limits)
        return Launched(kind, _popen(argv), name=name)
    except OSError as error:
        raise SandboxError(f"cannot start a sandbox: {error.strerror}") from None


def failure(kind: SandboxKind, told: str) -> SandboxError:
    """What to say where the sandbox tool started nothing."""
    reason = one_line(told, 200) or "it ended without a word"
    if kind == "bwrap":
        return SandboxError(
            f"bubblewrap cannot make a sandbox here ({reason}); it needs user namespaces: allow "
            "them (docs/code.md), or choose --sandbox docker or --sandbox podman"
        )
    return SandboxError(f"--sandbox {kind} cannot start Python ({reason})")


def _in_bubblewrap(program: Sequence[str], limits: Limits, processes: bool) -> Launched:
    system_calls = filter_program(processes)
    filter_read, filter_write = _pipe()
    info_read, info_write = _pipe()
    os.set_blocking(info_read, False)
    try:
        os.write(filter_write, system_calls)
        os.close(filter_write)
        argv = bubblewrap_command(
            program, seccomp_fd=filter_read, info_fd=info_write, scratch_mib=limits.file_size
        )
        process = _popen(argv, pass_fds=(filter_read, info_write))
    except BaseException:
        os.close(info_read)
        raise
    finally:
        os.close(filter_read)
        os.close(info_write)
    return Launched("bwrap", process, info_read)


def _pipe() -> tuple[int, int]:
    """A pipe whose ends are not 0, 1 or 2, not even where evenhand was started without those."""
    ends = os.pipe()
    read, write = (fcntl(end, F_DUPFD_CLOEXEC, 3) for end in ends)
    for end in ends:
        os.close(end)
    return read, write


def _bare(program: Sequence[str]) -> Launched:
    return Launched("none", _popen(program, env=ENVIRONMENT, cwd=tempfile.gettempdir()))


def _popen(
    argv: Sequence[str],
    *,
    pass_fds: Sequence[int] = (),
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        argv,
        env=env,
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=pass_fds,
        process_group=0,  # Ctrl-C is for us to handle; what runs here must not end before us
    )


@cache
def first_input(kind: SandboxKind, module: str) -> bytes:
    """What a launched process reads first: `main`'s module, and what it imports."""
    modules: list[tuple[str, str | CodeType]] = []
    for name in ("codec", "limit", module):
        full = f"evenhand.sandbox.inside.{name}"
        source = (_INSIDE / f"{name}.py").read_text(encoding="utf-8")
        # Compiled here once; but the Python in a container may be another, and gets the source.
        own = kind in ("bwrap", "none")
        modules.append((full, compile(source, full, "exec", dont_inherit=True) if own else source))
    content = marshal.dumps(modules)
    return len(content).to_bytes(4, "big") + content


NOBODY = "65534"
ENVIRONMENT = {"PYTHONHASHSEED": "0"}
"""Sets of strings have the same order in each run, so that scoring can be repeated."""

_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")
_ALONE = ("user", "ipc", "pid", "net", "uts", "cgroup-try")


def bubblewrap_command(
    program: Sequence[str], *, seccomp_fd: int, info_fd: int, scratch_mib: int
) -> list[str]:
    """The program in bubblewrap.

    Args:
        seccomp_fd: from where it reads the filter of system calls.
        info_fd: to where it writes the number of its process.
        scratch_mib: size of /tmp.

    Raises:
        SandboxError: bubblewrap is not installed.
    """
    found = shutil.which("bwrap")
    if found is None:
        raise SandboxError(
            "code that the model writes is run in a sandbox, and bubblewrap is not installed: "
            "apt install bubblewrap (or choose --sandbox docker or --sandbox podman)"
        )
    return [
        found,
        *(f"--unshare-{what}" for what in _ALONE),
        *("--uid", NOBODY, "--gid", NOBODY, "--cap-drop", "ALL"),
        *("--die-with-parent", "--new-session", "--clearenv"),
        *(word for name, value in ENVIRONMENT.items() for word in ("--setenv", name, value)),
        *_system(),
        *("--size", str(scratch_mib * 2**20), "--tmpfs", "/tmp", "--remount-ro", "/"),
        *("--chdir", "/tmp", "--seccomp", str(seccomp_fd), "--info-fd", str(info_fd)),
        *("--", *program),
    ]


def python() -> str:
    """The interpreter itself, not that of a virtual environment."""
    return str(Path(sys.executable).resolve())


@cache
def _system() -> tuple[str, ...]:
    return tuple(_mounts())


def _mounts() -> Iterator[str]:
    for folder in _LIBRARIES:
        if Path(folder).is_symlink():
            yield from ("--symlink", str(Path(folder).readlink()), folder)
        else:
            yield from ("--ro-bind-try", folder, folder)
    yield from ("--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache")
    yield from ("--ro-bind", python(), python())
    # Where Python is not the system's own, its libraries are in a folder of its own, too.
    library = Path(sysconfig.get_path("stdlib")).parent
    if str(library) not in _LIBRARIES:
        yield from ("--ro-bind", str(library), str(library))
    for packages in _packages():
        yield from ("--tmpfs", str(packages), "--remount-ro", str(packages))
    for device in _DEVICES:
        yield from ("--dev-bind", device, device)


def _packages() -> list[Path]:
    """Folders of installed packages, which are hidden."""
    library = Path(sysconfig.get_path("stdlib"))
    folders = [library / "site-packages", library.parent / "python3" / "dist-packages"]
    return [folder for folder in folders if folder.is_dir()]


IMAGE = f"python:{sys.version_info.major}.{sys.version_info.minor}-slim"
"""The same Python as ours, and nothing else."""

_GRACE = 10


def container_command(kind: str, name: str, program: Sequence[str], limits: Limits) -> list[str]:
    """The program in a container of that name.

    Raises:
        SandboxError: the tool is not installed.
    """
    if shutil.which(kind) is None:
        raise SandboxError(f"--sandbox {kind}: {kind} is not installed")
    memory = f"{2 * limits.memory}m"  # the limit on one process is that of bubblewrap
    scratch = f"/tmp:rw,noexec,nosuid,nodev,size={limits.file_size}m,nr_inodes=4096"
    # Should we be killed, the container ends by itself.
    last_resort = ("timeout", "-s", "KILL", str(2 * limits.cpu + _GRACE))
    return [
        *(kind, "run", "--rm", "--interactive", "--name", name, "--network", "none"),
        *("--read-only", "--tmpfs", scratch, "--workdir", "/tmp", "--user", f"{NOBODY}:{NOBODY}"),
        *("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        *("--pids-limit", str(limits.threads), "--memory", memory, "--memory-swap", memory),
        *(word for pair in ENVIRONMENT.items() for word in ("--env", "=".join(pair))),
        *(IMAGE, *last_resort, *program),
    ]


def _kill_container(kind: str, name: str) -> None:
    """End a container; nothing is wrong if it has ended already."""
    subprocess.run([kind, "kill", name], capture_output=True, check=False)
