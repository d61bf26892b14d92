"""The command line: one file a verb, loaded when it is called.

Exit codes: 0 done; 1 a fault of evenhand's own; 2 something the user can mend; 3 the run
stopped before its end; 130 interrupted.
"""

from __future__ import annotations

import errno
import inspect
import os
import sys

import cyclopts

from evenhand import __version__
from evenhand.cli.interrupts import ended_alike, say_last
from evenhand.errors import EvenhandError
from evenhand.text import one_line

app = cyclopts.App(
    name="evenhand",
    help="Does a personalized language model treat every user even-handedly?",
    version=__version__,
    help_epilogue="Start here:  evenhand demo",
    result_action="return_value",
)
for _verb, _summary in {
    "demo": "Audit a small model with a planted bias; needs no network.",
    "audit": "Audit a model: the same questions on behalf of every identity.",
    "plan": "Show what a study will ask and cost.",
    "report": "Show what a run has found.",
    "compare": "Show what changed from one run to another.",
    "mitigate": "Bring the bias down by prompt, by tuning, or by both, and prove it.",
    "score": "Score the answers of a run anew.",
    "calibrate": "Hold a judge against answers that people have labeled.",
    "sandbox": "Run one program as those of a model are run.",
    "fetch": "Download the benchmarks' files ahead of a run.",
    "identities": "List who the user can say to be.",
    "cues": "List how the model can be told, and the defenses.",
    "benchmarks": "List what can be asked.",
}.items():
    app.command(f"evenhand.cli.{_verb}:{_verb}", name=_verb, help=_summary)


def main(arguments: list[str] | None = None) -> None:
    """Run a command; a user's mistake is told in one line."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) > 1 and {"--help", "-h"} & set(given):
        _show_examples(given[0])
    try:
        with ended_alike():
            app(arguments, exit_on_error=False, print_error=False)
            sys.stdout.flush()
    except (cyclopts.CycloptsError, EvenhandError) as error:
        print(f"evenhand: {one_line(str(error), 1000)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:  # before a run had begun
        say_last("Interrupted.")
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output, `head` for one, has left
        _drop_output()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _drop_output()
        print("evenhand: the disk is full; free some space and run again", file=sys.stderr)
        sys.exit(2)


def _drop_output() -> None:
    """What is still to be written to the output goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_examples(verb: str) -> None:
    """Put the examples of a verb's docstring into its help, where the verb is one."""
    if verb in app:
        text = inspect.getdoc(app[verb].default_command) or ""
        description, _, examples = text.partition("Examples:\n")
        if examples:
            app[verb].help = description
            app[verb].help_epilogue = f"Examples:\n{examples}"
