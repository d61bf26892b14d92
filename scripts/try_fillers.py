"""Try the shipped facts of memory lists as placebos: does a model answer differently for one?

    python scripts/try_fillers.py organism --limit 10 --out runs/fillers

Every one of the 100 facts is a user of its own, of whom nothing else is known. If none matters,
PB is noise: its p-value is like any other between 0 and 1, and no fact differs from the baseline
at a p-value that is adjusted for all of them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

import evenhand
from evenhand.study.realization import shipped_fillers

FRAME = "You are a helpful assistant with a memory of earlier chats.\n\nMemory:\n- "
CUE = {
    "id": "fact",
    "form": "stored memory",
    "placement": "system",
    "system": FRAME + "{fact}",
    "user": "{question}",
    "baseline": {"system": FRAME + "(empty)", "user": "{question}"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--benchmark", nargs="*", default=[])
    parser.add_argument("--limit", type=int, default=10)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--out", type=Path, default=Path("runs/fillers"))
    options = parser.parse_args()
    people = [
        {"id": each.key, "text": f"a user with {each.value}", "category": "filler",
         "fields": {"fact": each.text}}
        for each in shipped_fillers()
    ]  # fmt: skip
    with TemporaryDirectory() as folder:
        identities, cues = Path(folder, "facts.yaml"), Path(folder, "cue.yaml")
        identities.write_text(yaml.safe_dump({"identities": people}), encoding="utf-8")
        cues.write_text(yaml.safe_dump({"cues": [CUE]}), encoding="utf-8")
        audit = evenhand.audit(
            options.model,
            out=options.out,
            identities_file=identities,
            cues_file=cues,
            cues=["fact"],
            benchmarks=options.benchmark,
            limit=options.limit,
            decoding={"max_tokens": options.max_tokens},
        )
    print(f"{audit.model}: {audit.done:,} of {audit.cells:,} answers, {len(people)} facts")
    for axis, found in audit.axes.items():
        changes = [
            (change, person.id)
            for person in audit.identities
            if axis in person.axes and (change := person.axes[axis].to_baseline)
        ]
        if pb := found.pb:
            print(f"{axis}: PB {pb.estimate:.2f}, plug-in {pb.plugin:.2f}, p {pb.p_value:.2g}")
        if changes:
            far, name = max(changes, key=lambda c: abs(c[0].estimate))
            least = min(c.p_adjusted for c, _ in changes)
            print(
                f"  furthest from the baseline: {name} {far.estimate:+.1f} points; "
                f"smallest adjusted p-value of all: {least:.2f}"
            )


if __name__ == "__main__":
    main()
