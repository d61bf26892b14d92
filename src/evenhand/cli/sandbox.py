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

from evenhand.cli.flags import Format
from evenhand.errors import UsageError
from evenhand.sandbox import ACCEPT, DEFAULT_LIMITS, Limits, chosen, run_program, using

_SANDBOX = Group("Sandbox: where model-generated code is run", sort_key=5)
_SECONDS, _MEBIBYTES = Number(gte=1, lte=3600), Number(gte=32, lte=2**20)
_LONGEST = 4 * 2**20  # bytes


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SandboxFlags:
    """Where model-generated code is run."""

    sandbox: Annotated[
        str,
        Parameter(
            group=_SANDBOX,
            help="Sandbox for model-generated code: bwrap (bubblewrap), docker, podman or none.",
        ),
    ] = "bwrap"
    accept_unprotected: Annotated[
        bool,
        Parameter(
            name=ACCEPT,
            group=_SANDBOX,
            negative="",
            show_default=False,
            help="Required with --sandbox none: the code can read, send and delete what you can.",
        ),
    ] = False

    def using(self) -> AbstractContextManager[None]:
        """Use that sandbox within the block; UsageError where it cannot be chosen."""
        return using(self.sandbox, accept_unprotected=self.accept_unprotected)


sandbox = cyclopts.App(
    name="sandbox", help="Run a Python file in the sandbox used for model-generated code."
)


@sandbox.command
def run(
    file: Annotated[Path, Parameter(help="Python file.")],
    /,
    *,
    cpu: Annotated[
        int, Parameter(validator=_SECONDS, help="Maximum seconds of CPU time, and of sleep.")
    ] = DEFAULT_LIMITS.cpu,
    memory: Annotated[
        int, Parameter(validator=_MEBIBYTES, help="Maximum memory in MiB.")
    ] = DEFAULT_LIMITS.memory,
    format: Format = "text",
    flags: SandboxFlags = SandboxFlags(),
) -> None:
    """Run a Python file in the sandbox, without input, and say how it ended.

    The exit code is 0 however the program ends; what is printed gives its status: ok, error,
    timeout, memory, output or killed.

    Examples:

        evenhand sandbox run program.py --cpu 5 --format json
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
