"""Which sandbox is used: what the user chose, and no other in its place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import get_args

from evenhand.benchmarks.item import Item
from evenhand.errors import UnknownName, UsageError
from evenhand.sandbox.outcome import Kind
from evenhand.sandbox.running import check

CHOICES: tuple[Kind, ...] = get_args(Kind)
ACCEPT = "--i-accept-that-model-written-code-runs-here-unprotected"

_chosen: ContextVar[Kind] = ContextVar("sandbox", default="bwrap")


def chosen() -> Kind:
    """The sandbox that code is run in; bubblewrap unless `using` says otherwise."""
    return _chosen.get()


@contextmanager
def using(kind: str, *, accept_unprotected: bool = False) -> Iterator[None]:
    """Use this sandbox within the block.

    Raises:
        UnknownName: there is no sandbox of that name.
        UsageError: "none" was chosen and its danger not accepted.
    """
    for known in CHOICES:
        if known == kind:
            break
    else:
        raise UnknownName("sandbox", kind, CHOICES)
    if known == "none" and not accept_unprotected:
        raise UsageError(
            "--sandbox none lets code that the model wrote do all that you can do on this "
            f"computer; if you want that, add {ACCEPT}"
        )
    token = _chosen.set(known)
    try:
        yield
    finally:
        _chosen.reset(token)


def require(items: Iterable[Item]) -> None:
    """Check that the chosen sandbox works, if any of these items needs one.

    Raises:
        SandboxError: it does not; the message says what to install.
    """
    if any(item.scorer == "code" for item in items):
        check(chosen())
