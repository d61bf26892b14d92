"""The command `evenhand`, and python -m evenhand."""

import os
import signal
from typing import Any


def main() -> None:
    """Run a command; Ctrl-C ends it without a traceback while its modules are imported, too."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    try:
        from evenhand.cli import main as run

        run()
    finally:
        signal.signal(signal.SIGINT, before)


def _leave(*_: Any) -> None:
    os.write(2, b"Interrupted.\n")
    os._exit(130)


if __name__ == "__main__":
    main()
