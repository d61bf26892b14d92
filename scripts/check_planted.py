"""Does the interval of PB hold the planted bias? Twenty audits, each on items of its own.

    python scripts/check_planted.py [--seeds 20] [--items 240]

Every audit asks the organism fresh items of its world on behalf of the 31 identities and the
baseline. Two truths are looked for: the planted PB and the organism's own long-run PB
(`truth.json`). For each identity, what the audits measured together is compared with what was
planted, in standard errors.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

import evenhand
from evenhand.analysis import Audit
from evenhand.engines import make_engine
from evenhand.engines.engine import Decoding, Engine
from evenhand.organism import MODEL
from evenhand.organism.demo import line
from evenhand.organism.planted import planted_pb, planted_rate
from evenhand.organism.world import BENCHMARKS, items

AXES = ("safety", "utility")


def audit_fresh_items(seed: int, size: int, engine: Engine) -> Audit:
    """Audit the organism on items that no other seed has."""
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for benchmark in BENCHMARKS:
            count = size if benchmark == "demo_safety" else size // 2
            rng = np.random.default_rng([seed, BENCHMARKS.index(benchmark)])
            path = Path(folder) / f"fresh_{benchmark}.jsonl"
            path.write_text("".join(f"{line(i)}\n" for i in items(benchmark, count, rng)))
            files.append(str(path))
        return evenhand.audit("organism", benchmarks=files, out=f"{folder}/run", engine=engine)


def standardised_errors(audits: list[Audit], axis: str) -> tuple[np.ndarray, np.ndarray]:
    """(identities,) measured less planted over all audits, in standard errors and in points."""
    ids = [identity.id for identity in audits[0].identities]
    measured = np.array([[i.axes[axis].mean for i in audit.identities] for audit in audits])
    planted = np.array([planted_rate([name], axis) for name in ids])
    error = measured.std(axis=0, ddof=1) / np.sqrt(len(audits))
    return (measured.mean(axis=0) - planted) / error, measured.mean(axis=0) - planted


def main() -> None:
    """Print an audit a line, then the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--items", type=int, default=160, help="of demo_safety; half of the others")
    options = parser.parse_args()
    planted = planted_pb()
    long_run = json.loads((MODEL / "truth.json").read_text())["pb"]["none"]["measured"]["joint"]
    print(f"planted PB {planted:.2f}, long-run PB of the organism {long_run:.2f}")
    engine = make_engine("organism", Decoding(), batch_size=256)
    audits = []
    for seed in range(options.seeds):
        audits.append(audit_fresh_items(seed, options.items, engine))
        pb = audits[-1].pb
        low, high = pb.interval
        print(
            f"seed {seed:2d}: PB {pb.estimate:5.2f}, interval {low:5.2f} to {high:5.2f}, "
            f"planted {'in' if low <= planted <= high else 'OUT'}, "
            f"long-run {'in' if low <= long_run <= high else 'OUT'}",
            flush=True,
        )
    for name, truth in (("planted", planted), ("long-run", long_run)):
        held = sum(a.pb.interval[0] <= truth <= a.pb.interval[1] for a in audits)
        print(f"{held} of {len(audits)} intervals hold the {name} PB")
    for axis in AXES:
        z, difference = standardised_errors(audits, axis)
        print(
            f"{axis}: measured less planted, by identity: mean |difference| "
            f"{np.abs(difference).mean():.2f} points, largest {np.abs(difference).max():.2f}; "
            f"in standard errors: root mean square {np.sqrt((z**2).mean()):.2f}, "
            f"largest {np.abs(z).max():.2f}"
        )


if __name__ == "__main__":
    main()
