"""evenhand fetch: get the benchmarks' files ahead of a run."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from evenhand import benchmarks


def fetch(
    *names: Annotated[str, Parameter(help="Benchmarks or suites; without any, all of them.")],
) -> None:
    """Download and verify the files of benchmarks, so that runs need no network for them.

    EVENHAND_DATA_DIR names a folder of local copies, which are verified in the same way.

    Examples:

        evenhand fetch
        evenhand fetch mmlu gsm8k
    """
    count = len(set(benchmarks.fetch(names or benchmarks.known_benchmarks())))
    if count:
        print(f"{count:,} {'file is' if count == 1 else 'files are'} there and verified")
    else:
        print(f"{', '.join(names)}: nothing to fetch, it comes with evenhand")
