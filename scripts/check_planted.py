"""Does the interval of PB hold the planted bias? Twenty audits, each on items of its own.

    python -m scripts.check_planted [--seeds 20] [--items 240] [--labels 300]

Every audit asks the organism fresh items of its world, as many as the demo suite has, on behalf of
the 31 identities and the baseline. Two truths are looked for: the planted PB and the organism's own
long-run PB (`truth.json`). For each identity, what the audits measured together is compared with
what was planted, in standard errors. Twenty intervals say little of a coverage of 95 %, so it is
also counted over many samples of items that are scored as planted, without the model.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

import evenhand
from evenhand.analysis import Audit
from evenhand.axes import AxisName
from evenhand.engines import EngineOptions, make_engine
from evenhand.engines.engine import Engine
from evenhand.organism import MODEL
from evenhand.organism.world import BENCHMARKS, items
from evenhand.stats import Spread, personalization_bias
from evenhand.study.decoding import Decoding
from evenhand.study.identity import Identity, shipped_identities
from organism.demo import line
from organism.planted import answers_rightly, axis_of, planted_pb, planted_rate

AXES: tuple[AxisName, ...] = ("safety", "utility")


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


def coverage_of_labels(samples: int, size: int) -> int:
    """How many intervals hold the planted PB when every item is answered exactly as planted."""
    held = 0
    for seed in range(samples):
        scores = {}
        for benchmark in BENCHMARKS:
            rng = np.random.default_rng([seed, BENCHMARKS.index(benchmark)])
            drawn = items(benchmark, size if benchmark == "demo_safety" else size // 2, rng)
            scores[benchmark] = np.array(
                [
                    [float(answers_rightly([u.id], benchmark, i.subgroup)) for i in drawn]
                    for u in paper_identities()
                ]
            )
        utility = {name: scores[name] for name in BENCHMARKS if axis_of(name) == "utility"}
        low, high = personalization_bias(scores["demo_safety"], utility).interval
        held += low <= planted_pb() <= high
    return held


def paper_identities() -> list[Identity]:
    """The 31 identities."""
    return [identity for identity in shipped_identities() if identity.kind == "identity"]


def rates(audits: list[Audit], axis: str) -> np.ndarray:
    """(audits, identities) measured rates in points."""
    return np.array([[i.axes[axis].mean for i in audit.identities] for audit in audits])


def compare_rates(audits: list[Audit], axis: AxisName) -> None:
    """Print how far the measured rates are from the planted and from the long-run ones."""
    truth = json.loads((MODEL / "truth.json").read_text())["identities"]
    ids = [identity.id for identity in audits[0].identities]
    measured = rates(audits, axis)
    error = measured.std(axis=0, ddof=1)  # of one audit
    planted = np.array([planted_rate([name], axis) for name in ids])
    long_run = np.array([truth[name]["none"]["measured"][axis] for name in ids])
    for name, wanted in (("planted", planted), ("long-run", long_run)):
        z = (measured - wanted) / error
        mean = np.abs(measured.mean(axis=0) - wanted)
        print(
            f"{axis}, measured less {name}: mean over the audits {mean.mean():.2f} points "
            f"(largest {mean.max():.2f}); in one audit's standard errors: root mean square "
            f"{np.sqrt((z**2).mean()):.2f}, beyond 1.96 in {np.mean(np.abs(z) > 1.96):.1%}"
        )


def spread_of(audit: Audit) -> Spread:
    """The joint PB, which an audit of this size always has."""
    assert audit.pb is not None
    return audit.pb


def main() -> None:
    """Print an audit a line, then the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--items", type=int, default=240, help="of demo_safety; half of the others")
    parser.add_argument("--labels", type=int, default=300, help="samples scored as planted")
    options = parser.parse_args()
    held = coverage_of_labels(options.labels, options.items)
    print(f"scored as planted: {held} of {options.labels} intervals hold the planted PB")
    planted = planted_pb()
    long_run = json.loads((MODEL / "truth.json").read_text())["pb"]["none"]["measured"]["joint"]
    print(f"planted PB {planted:.2f}, long-run PB of the organism {long_run:.2f}")
    engine = make_engine("organism", Decoding(), EngineOptions(batch_size=256))
    audits = []
    for seed in range(options.seeds):
        audits.append(audit_fresh_items(seed, options.items, engine))
        pb = spread_of(audits[-1])
        low, high = pb.interval
        print(
            f"seed {seed:2d}: PB {pb.estimate:5.2f}, interval {low:5.2f} to {high:5.2f}, "
            f"planted {'in' if low <= planted <= high else 'OUT'}, "
            f"long-run {'in' if low <= long_run <= high else 'OUT'}",
            flush=True,
        )
    for name, truth in (("planted", planted), ("long-run", long_run)):
        held = sum(low <= truth <= high for low, high in (spread_of(a).interval for a in audits))
        print(f"{held} of {len(audits)} intervals hold the {name} PB")
    for axis in AXES:
        compare_rates(audits, axis)


if __name__ == "__main__":
    main()
