"""The command line: one file for verbs of a kind, loaded when one is called.

Exit codes: 0 done; 1 a fault of evenhand's own; 2 something the user can correct; 3 the run
stopped before its end; 130 interrupted.
"""

from __future__ import annotations

import errno
import inspect
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest
from keyword import iskeyword
from typing import Any

import cyclopts

from evenhand import __version__
from evenhand.cli.interrupts import ended_alike, say_last
from evenhand.cli.log import with_log
from evenhand.errors import EvenhandError
from evenhand.files import open_standard_streams, rarely_collected
from evenhand.text import SpellingNote, one_line, us_spelling

app = cyclopts.App(
    name="evenhand",
    help="Does a personalized language model treat every user even-handedly?",
    version=__version__,
    help_epilogue="Start here:  evenhand demo\n\nEvery command takes --verbose, which says on "
    "standard error what happens on the way, and --log FILE, which writes it to a file.",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
for _verb, (_module, _summary) in {
    "demo": ("audit", "Audit a small model with a planted bias; needs no network."),
    "audit": ("audit", "Audit a model: the same questions for every identity."),
    "batch": ("batch", "Write a run's requests to files, or read files of results."),
    "plan": ("audit", "Show what a study asks and costs."),
    "report": ("report", "Show the results of a run."),
    "gate": ("gate", "Pass or fail a run by its confidence intervals."),
    "import": ("exchange", "Import results of other tools, or of a table, as a run."),
    "watch": ("watch", "Compare groups of users in the log of a product."),
    "bundle": ("bundle", "Write a run as one file that others can check and run again."),
    "verify": ("bundle", "Check a bundle: hashes, counts, scores and figures."),
    "rerun": ("bundle", "Run the study of a bundle again, and compare the figures."),
    "compare": ("compare", "Compare runs, or one run under several defenses."),
    "figures": ("figures", "Write the figures and tables of a paper, of one or more runs."),
    "mitigate": ("mitigate", "Reduce the bias, and measure the effect on held-out data."),
    "export": ("mitigate", "Write a tuned model for a server, and check what it serves."),
    "score": ("score", "Score the answers of a run again, or have judges score them."),
    "calibrate": ("calibrate", "Measure a judge's agreement with human labels."),
    "label": ("label", "Label a sample of a run's answers; the report is corrected by it."),
    "sandbox": ("sandbox", "Run a Python file in the sandbox used for model-generated code."),
    "history": ("compare", "Show the course of the bias over the runs of a folder."),
    "runs": ("lists", "List the runs of a folder."),
    "identities": ("lists", "List the built-in identities."),
    "cues": ("lists", "List the built-in cues and defenses."),
    "benchmarks": ("lists", "List the benchmarks and suites."),
    "fetch": ("lists", "Download the files of benchmarks ahead of a run."),
    "completion": ("lists", "Print the script that completes commands and options in a shell."),
}.items():
    _function = f"{_verb}_" if iskeyword(_verb) else _verb
    app.command(f"evenhand.cli.{_module}:{_function}", name=_verb, help=_summary)


def main(arguments: list[str] | None = None) -> None:
    """Run a command; a user's mistake is told in one line."""
    if sys.platform == "win32":
        sys.exit(_refuse_windows())
    open_standard_streams()
    given = sys.argv[1:] if arguments is None else list(arguments)
    with ended_alike(), rarely_collected():
        try:
            if len(given) > 1 and {"--help", "-h"} & set(given):
                _show_examples(given)
            with _one_note():
                app(
                    with_log(_with_values([_us_flag(word) for word in given])),
                    exit_on_error=False,
                    print_error=False,
                )
                sys.stdout.flush()
        except (cyclopts.CycloptsError, EvenhandError) as error:
            print(f"evenhand: {one_line(_message(error), 1000)}", file=sys.stderr)
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


def _message(error: Exception) -> str:
    """What is wrong; of a value in a group of options with the flag that set it."""
    if isinstance(error, cyclopts.UnusedCliTokensError):
        unused = error.unused_tokens or [""]
        return f'unexpected argument "{unused[0]}"; quote what holds spaces, or see --help'
    if isinstance(error, cyclopts.UnknownCommandError) and str(error).endswith("..."):
        told, _, _ = str(error).partition(" Available commands")  # which are cut off
        return f"{told} See evenhand --help"
    argument = getattr(error, "argument", None)
    if not isinstance(error, cyclopts.ValidationError) or argument is None:
        return str(error)
    from pydantic import ValidationError

    if not isinstance(error.__cause__, ValidationError):
        return str(error)
    from evenhand.study.entry import first_fault, in_plain_words

    fault = first_fault(error.__cause__)
    place = tuple(part for part in fault["loc"] if isinstance(part, str))
    flag = _flag_of(argument, place) or ".".join(place)
    words = in_plain_words(fault)
    return f"{flag} {words}" if words.startswith('"') else f"{flag}: {words}"


def _flag_of(argument: Any, place: tuple[str, ...]) -> str | None:
    """The flag that sets a field of a group of options."""
    names = {
        tuple(each.keys): each.name
        for each in _with_children(argument)
        if each.name.startswith("--")
    }
    known = (names.get(place[:length]) for length in range(len(place), 0, -1))
    return next(filter(None, known), None)


def _with_children(argument: Any) -> Any:
    yield argument
    for child in argument.children:
        yield from _with_children(child)


def _us_flag(word: str) -> str:
    """A flag of version 0.1 as it is spelled now."""
    if not word.startswith("--defence"):  # the old spelling
        return word
    flag, equals, value = word.partition("=")
    return us_spelling(flag) + equals + value


def _with_values(words: list[str]) -> list[str]:
    """The words with `--redact` alone, as of version 0.1, written out."""
    return [
        "--redact=all" if word == "--redact" and after not in ("harmful", "all") else word
        for word, after in zip_longest(words, words[1:])
    ]


@contextmanager
def _one_note() -> Iterator[None]:
    """Within it a note on spelling is one line, shown once; other warnings are as ever."""
    shown: set[str] = set()
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if not issubclass(category, SpellingNote):
            usual(message, category, *place, **more)
        elif str(message) not in shown:
            shown.add(str(message))
            print(f"note: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("always", SpellingNote)
        warnings.showwarning = show
        yield


def _drop_output() -> None:
    """What is still to be written to the output goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_examples(words: list[str]) -> None:
    """Put the examples of a verb's docstring into its help, where the words begin with a verb."""
    verb = app
    for word in (word for word in words if not word.startswith("-")):
        if word not in verb:
            break
        verb = verb[word]
    if verb is app:
        return
    if verb.default_command is None:  # a group of commands, such as batch
        name = f"evenhand {' '.join(verb.name)}"
        verb.help_epilogue = f"Options and examples of one:  {name} COMMAND --help"
        return
    text = inspect.getdoc(verb.default_command) or ""
    description, _, examples = text.partition("Examples:\n")
    if examples:
        verb.help = description
        verb.help_epilogue = f"Examples:\n{examples}"


def _refuse_windows() -> int:
    """Locks, signals and the sandbox are those of Unix."""
    print("evenhand: Windows is not supported; run evenhand in WSL 2", file=sys.stderr)
    return 2
