"""evenhand sandbox: run one program in the sandbox; and the flags that choose the sandbox."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import cyclopts
import orjson
from cyclopts import Group, Parameter
from cyclopts.validators import Number

from evenhand.cli.options import Format
from evenhand.errors import UsageError
from evenhand.sandbox import ACCEPT, DEFAULT_LIMITS, Limits, chosen, run_program, using

_SANDBOX = Group("Sandbox: where programs that the model wrote are run", sort_key=4)
_SECONDS, _MEBIBYTES = Number(gte=1, lte=3600), Number(gte=32, lte=2**20)
_LONGEST = 4 * 2**20  # bytes


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SandboxFlags:
    """Where programs that the model wrote are run."""

    sandbox: Annotated[
        str, Parameter(group=_SANDBOX, help="bwrap (bubblewrap), docker, podman, or none.")
    ] = "bwrap"
    accept_unprotected: Annotated[
        bool,
        Parameter(
            name=ACCEPT,
            group=_SANDBOX,
            negative="",
            help="With --sandbox none: such a program can read, send and delete all that you can.",
        ),
    ] = False

    def using(self) -> AbstractContextManager[None]:
        """Use that sandbox within the block; UsageError where it cannot be chosen."""
        return using(self.sandbox, accept_unprotected=self.accept_unprotected)


sandbox = cyclopts.App(name="sandbox", help="Run one program as those of a model are run.")


@sandbox.command
def run(
    file: Annotated[Path, Parameter(help="Program in Python.")],
    *,
    cpu: Annotated[
        int, Parameter(validator=_SECONDS, help="Seconds of CPU time, and of sleep.")
    ] = DEFAULT_LIMITS.cpu,
    memory: Annotated[int, Parameter(validator=_MEBIBYTES, help="MiB.")] = DEFAULT_LIMITS.memory,
    format: Annotated[Format, Parameter(help="Of the result.")] = "text",
    flags: SandboxFlags = SandboxFlags(),
) -> None:
    """Run one program in the sandbox, with no input, and tell how it ended.

    The exit code is 0 however the program ends; its status is in what is printed: ok, error,
    timeout, memory, output or killed.
    """
    with flags.using():
        ran = run_program(_read(file), chosen(), Limits(cpu=cpu, memory=memory))
    if format == "json":
        print(orjson.dumps(asdict(ran), option=orjson.OPT_INDENT_2).decode())
        return
    print(_printable(ran.stdout), end="")
    print(_printable(ran.stderr), end="", file=sys.stderr)
    code = "" if ran.exit_code is None else f", exit code {ran.exit_code}"
    print(f"{ran.status} after {ran.cpu_seconds:.2f} s of CPU time{code}", file=sys.stderr)


def _read(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            content = opened.read(_LONGEST + 1)
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from None
    if len(content) > _LONGEST:
        raise UsageError(f"{file}: longer than 4 MiB, which no program here may be")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{file}: not UTF-8") from None


def _printable(text: str) -> str:
    """Without anything that a terminal would obey, but with its lines."""
    return "".join(letter for letter in text if letter.isprintable() or letter in "\n\t")
