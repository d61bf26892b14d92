"""The command line of bubblewrap: what a program sees of this computer, which is next to nothing.

It sees Python, the system's shared libraries, three devices, and an empty /tmp of limited size;
no home, no /etc, no /proc, no network, no other process, an environment of one variable, and it is
nobody without any privilege. Nothing but /tmp can be written to.
"""

from __future__ import annotations

import shutil
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from evenhand.errors import SandboxError

NOBODY = "65534"
ENVIRONMENT = {"PYTHONHASHSEED": "0"}
"""Sets of strings have the same order in each run, so that scoring can be repeated."""

_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")
_ALONE = ("user", "ipc", "pid", "net", "uts", "cgroup-try")


def command(
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
