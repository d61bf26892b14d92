"""Start a process in a sandbox: bubblewrap, a container, or none; its limits, and how it can end.

In bubblewrap a program sees Python, the system's shared libraries, three devices, and an empty
/tmp of limited size. It has no home, no /etc, no /proc, no network, no other process and no
privilege, an environment of one variable, and can write to nothing but /tmp.

Docker and Podman are for computers where bubblewrap cannot run. They are as strict, with two
differences: processes are counted (64) rather than refused, and a container takes a good part of
a second to start.

Within bubblewrap a filter of system calls allows no processes, no sockets, and none of the kernel's
darker corners. It is written as the kernel's own filter program (classic BPF): for each refused
call a comparison and a jump. What is refused fails with EPERM and harms nobody else. Python, its
standard library and threads need none of it.
"""

from __future__ import annotations

import errno
import marshal
import os
import platform
import shutil
import struct
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
from typing import IO, Literal
from uuid import uuid4

import orjson

from evenhand.errors import SandboxError
from evenhand.text import one_line

# What may be used, and how a program ended

SandboxKind = Literal["bwrap", "docker", "podman", "none"]
"""What contains the program: bubblewrap, a container, or nothing at all."""

Status = Literal["ok", "error", "timeout", "memory", "output", "killed"]
"""How it ended: exit code 0; another exit code; too much time; out of memory; too much output;
by a signal, or by us for too many threads."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one program may use.

    Attributes:
        cpu: seconds of CPU time, at least 1; also the seconds that it may sleep.
        memory: MiB of address space.
        output: bytes that it may print, standard output and standard error each.
        file_size: MiB of a file, and of all its files together.
        threads: at once.
    """

    cpu: int = 5
    memory: int = 512
    output: int = 2**20
    file_size: int = 16
    threads: int = 64


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended.

    Attributes:
        status: how it ended, in one word.
        cpu_seconds: CPU time of the program as last seen, every 0.05 s; 0.0 in containers, where
            it cannot be seen.
        stdout, stderr: as far as the limit on output; undecodable bytes are replaced.
        exit_code: None where it was killed.
    """

    status: Status
    cpu_seconds: float
    stdout: str
    stderr: str
    exit_code: int | None


@dataclass(frozen=True, slots=True)
class Tested:
    """How the tests of a program went.

    Attributes:
        passed: every test passed.
        status: how the program ended; "ok" where it was still there after the tests.
        why: for a reader, why it did not pass; empty if it did.
        cpu_seconds: as in `Ran`.
    """

    passed: bool
    status: Status
    why: str
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Tests:
    """Tests of a program; none of this is ever in the sandbox that the program is in.

    Attributes:
        tests: each passes if it raises nothing: "assert add(1, 2) == 3".
        names: what the program is to define; all other names are the tests' own.
        before: code that is run before these names are there: imports and helpers.
        setup: code that is run with them, before the tests.
    """

    tests: tuple[str, ...]
    names: tuple[str, ...]
    before: str = ""
    setup: str = ""


# The filter of system calls

_PROCESSES = {"fork": (57, None), "vfork": (58, None)}
"""Calls that make a process whatever their arguments are: name -> number on (x86_64, aarch64)."""

_REFUSED: dict[str, tuple[int | None, int | None]] = {
    # the network; socketpair, which asyncio needs, is no way out
    "socket": (41, 198), "bind": (49, 200), "listen": (50, 201), "connect": (42, 203),
    # memory that no limit counts
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194),
    "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180),
    # other processes, and the guard that ends this one
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "kcmp": (312, 272), "prctl": (157, 167),
    # who may use a file: where evenhand is run by root, the devices in a sandbox are its own
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54),
    "utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "setxattrat": (463, 463),
    # its turn on the processor: who waits for it on purpose would take for ever
    "setpriority": (141, 140), "sched_setscheduler": (144, 119), "sched_setparam": (142, 118),
    "sched_setattr": (314, 274), "sched_setaffinity": (203, 122), "ioprio_set": (251, 30),
    # namespaces and file systems
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39),
    "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fspick": (433, 433), "mount_setattr": (442, 442), "mknod": (133, None), "mknodat": (259, 33),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "quotactl": (179, 60),
    # the kernel itself
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "io_setup": (206, 0), "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142),
    "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89), "syslog": (103, 116),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171),
    "clock_adjtime": (305, 266), "personality": (135, 92), "fanotify_init": (300, 262),
    "inotify_init": (253, None), "inotify_init1": (294, 26), "vhangup": (153, 58),
    "iopl": (172, None), "ioperm": (173, None),
}  # fmt: skip

_CLONE, _CLONE3 = (56, 220), (435, 435)
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""machine -> (its column above, its name for the kernel)."""

_CLONE_THREAD = 0x00010000
_X32 = 0x40000000  # calls of x86_64's other interface have this bit

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _REFUSE = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _MACHINE, _FIRST_ARGUMENT = 0, 4, 16  # where they are in the data of a call


@cache
def filter_program(processes: bool = False) -> bytes:
    """The filter, as `bwrap --seccomp` reads it.

    Args:
        processes: allow new processes.

    Raises:
        SandboxError: it is not written for this computer's processor.
    """
    machine = platform.machine()
    if machine not in _MACHINES:
        raise SandboxError(
            f"there is no filter of system calls for {machine}; use --sandbox docker or podman"
        )
    column, name = _MACHINES[machine]
    steps = [
        (_LOAD, 0, 0, _MACHINE),
        (_EQUAL, 1, 0, name),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _KILL),
    ]
    refused = _REFUSED if processes else _REFUSED | _PROCESSES
    for numbers in refused.values():
        if (number := numbers[column]) is not None:
            steps += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSE | errno.EPERM)]
    # The C library falls back to clone, whose arguments can be looked at.
    steps += [(_EQUAL, 0, 1, _CLONE3[column]), (_RETURN, 0, 0, _REFUSE | errno.ENOSYS)]
    if not processes:
        steps += [
            (_EQUAL, 0, 3, _CLONE[column]),
            (_LOAD, 0, 0, _FIRST_ARGUMENT),
            (_ANY_BIT, 1, 0, _CLONE_THREAD),
            (_RETURN, 0, 0, _REFUSE | errno.EPERM),
        ]
    steps.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


# The start of a process

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
