"""With what share of each benchmark's questions the rule of `withhold` tells who asks.

    EVENHAND_DATA_DIR=... python scripts/withholding.py

Of `relevance` it should be all, of the others as few as possible. Benchmarks whose files are not
there are left out.
"""

from __future__ import annotations

from evenhand.benchmarks import BENCHMARKS, load
from evenhand.errors import DataError
from evenhand.run.withholding import needs_identity


def main() -> None:
    """Print a line of a Markdown table for each benchmark."""
    print("| benchmark | questions | told who asks, % |\n|---|---|---|")
    for name in BENCHMARKS:
        try:
            prompts = [item.prompt for item in load(name, offline=True)]
        except DataError:
            continue
        share = 100 * sum(map(needs_identity, prompts)) / len(prompts)
        print(f"| {name} | {len(prompts):,} | {share:.1f} |")


if __name__ == "__main__":
    main()
