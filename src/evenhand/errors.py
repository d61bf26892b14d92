"""Every error that evenhand raises on purpose.

    EvenhandError                  base; the command line prints its message on one line
    ├── UsageError                 the user's input is wrong; exit code 2
    │   ├── UnknownName            no identity, cue, benchmark, ... of that name
    │   ├── StudyError             a study, identity, cue or defense file is invalid
    │   ├── BenchmarkError         a benchmark file is invalid
    │   ├── PairsError             a file of preference pairs is invalid
    │   ├── MissingExtra           an optional dependency is not installed
    │   ├── PluginError            an engine, benchmark, ... of another package cannot be loaded
    │   └── RunFolderError         the run folder cannot be used for this study
    ├── DataError                  a data file is absent, or not the pinned one; exit code 2
    ├── SandboxError               what the model wrote cannot be run safely here; exit code 2
    ├── StoreError                 the store cannot be read or written; exit code 2
    ├── TrainingError              a training cannot begin, or was stopped; exit code 2
    ├── NotFinished                cells have no answer yet; the same command resumes; exit code 3
    └── EngineError                the model cannot be reached or will not answer; exit code 2
        ├── AuthenticationError    the endpoint refuses the key (HTTP 401, 403)
        ├── ModelNotFound          the endpoint or path has no such model (HTTP 404)
        ├── Unreachable            the endpoint does not answer at all
        └── RequestRejected        the endpoint refuses every request as malformed (HTTP 4xx)

Anything else that escapes is a fault of evenhand's own: exit code 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class EvenhandError(Exception):
    """Base of all errors raised on purpose; its text is one line that says what to do."""


class UsageError(EvenhandError):
    """The user's input is wrong."""


class UnknownName(UsageError):
    """No such identity, cue, benchmark, ...; the message names the nearest one.

    Args:
        kind: what was looked up, in the singular: "benchmark".
        name: what the user wrote.
        known: all the names that there are.
        where: it was looked up, if that needs saying: " in runs/first".
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], where: str = "") -> None:
        known = list(known)
        folded = {candidate.casefold(): candidate for candidate in known}
        near = get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
        if len(known) == 1:
            hint = f'there is only "{known[0]}"'
        elif near:
            hint = f'did you mean "{folded[near[0]]}"?'
        elif len(known) <= 12:
            hint = f"there are: {', '.join(known)}"
        else:
            hint = f"there are {len(known)}, such as: {', '.join(known[:5])}"
        super().__init__(f'unknown {kind} "{name}"{where}; {hint}')


class StudyError(UsageError):
    """A study, identity, cue or defense file is invalid."""


class BenchmarkError(UsageError):
    """A benchmark file is invalid."""


class PairsError(UsageError):
    """A file or set of preference pairs is invalid."""


class MissingExtra(UsageError):
    """An optional dependency is not installed.

    Args:
        what: what needs it: "local models".
        extra: the extra that brings it: "local".
    """

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} need more packages: pip install 'evenhand[{extra}]'")


class PluginError(UsageError):
    """An engine, benchmark, scorer, judge or format of another package cannot be loaded."""


class RunFolderError(UsageError):
    """The run folder cannot be used for this study."""


class DataError(EvenhandError):
    """A data file is absent, or is not the pinned one."""


class SandboxError(EvenhandError):
    """Code that the model wrote cannot be run safely on this computer."""


class StoreError(EvenhandError):
    """The store cannot be read or written."""


class TrainingError(EvenhandError):
    """A training cannot begin, or was stopped; its last good checkpoint is kept."""


class NotFinished(EvenhandError):
    """A limit is reached, or cells have no answer yet; the same command resumes."""


class EngineError(EvenhandError):
    """The model cannot be reached or will not answer."""


class AuthenticationError(EngineError):
    """The endpoint refuses the key."""


class ModelNotFound(EngineError):
    """The endpoint or the path has no such model."""


class Unreachable(EngineError):
    """The endpoint does not answer at all."""


class RequestRejected(EngineError):
    """The endpoint refuses every request as malformed."""
