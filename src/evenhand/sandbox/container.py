"""The command lines of Docker and Podman, for computers where bubblewrap cannot run.

As strict as bubblewrap, but for two things: processes are counted (64) and not refused, and a
container takes a good part of a second to start.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence

from evenhand.errors import SandboxError
from evenhand.sandbox.bwrap import ENVIRONMENT, NOBODY
from evenhand.sandbox.outcome import Limits

IMAGE = f"python:{sys.version_info.major}.{sys.version_info.minor}-slim"
"""The same Python as ours, and nothing else."""

_GRACE = 10


def command(kind: str, name: str, program: Sequence[str], limits: Limits) -> list[str]:
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


def kill(kind: str, name: str) -> None:
    """End a container; nothing is wrong if it has ended already."""
    subprocess.run([kind, "kill", name], capture_output=True, check=False)
