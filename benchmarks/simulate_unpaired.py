"""False alarms and coverage of `stats.unpaired_groups`, behind `evenhand watch`.

python -m benchmarks.simulate_unpaired [--replications 2000]
"""

from __future__ import annotations

import argparse

import numpy as np

from evenhand.stats import unpaired_groups

# Groups, answers of each, rate of refusals, answers of a unit and their correlation, deviation of a
# group's rate from the mean in points.
SETTINGS = [
    (3, 100, 0.02, 1, 0.0, 0.0),
    (3, 100, 0.5, 1, 0.0, 0.0),
    (3, 500, 0.1, 1, 0.0, 0.0),
    (8, 100, 0.1, 1, 0.0, 0.0),
    (8, 500, 0.02, 1, 0.0, 0.0),
    (8, 500, 0.5, 1, 0.0, 0.0),
    (4, 400, 0.1, 4, 0.2, 0.0),
    (4, 400, 0.1, 8, 0.5, 0.0),
    (4, 400, 0.1, 1, 0.0, 3.0),
    (8, 1000, 0.3, 4, 0.2, 5.0),
]


def simulate(
    groups: int, size: int, rate: float, alike: int, correlation: float, deviation: float, n: int
) -> str:
    rng = np.random.default_rng(0)
    rates = rate + deviation / 100 * np.resize([1, -1], groups)
    true = 100 * float(np.std(rates))
    who = list(np.repeat([f"g{g}" for g in range(groups)], size))
    units = list(np.arange(groups * size) // alike)
    spread = one = covered = 0
    for _ in range(n):
        chance = np.repeat(rates, size // alike)
        if correlation:
            scale = (1 - correlation) / correlation
            chance = rng.beta(chance * scale, (1 - chance) * scale)
        scores = rng.random(groups * size) < np.repeat(chance, alike)
        found = unpaired_groups(scores, who, units=units)
        spread += found.p_value < 0.05
        one += float(np.nanmin(found.p_values)) < 0.05
        covered += found.spread_interval[0] <= true + 1e-9 <= found.spread_interval[1] + 1e-9
    cells = [f"{100 * count / n:.1f}" for count in (spread, one, covered)]
    setting = [groups, size, f"{rate:g}", alike, f"{correlation:g}", f"{deviation:g}"]
    return f"| {' | '.join(map(str, [*setting, *cells]))} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replications", type=int, default=2000)
    n = parser.parse_args().replications
    print(
        "| groups | answers each | rate | answers a unit | their correlation | deviation, points "
        "| spread rejected, % | any group rejected, % | spread covered, % |"
    )
    print("|" + "---|" * 9)
    for setting in SETTINGS:
        print(simulate(*setting, n), flush=True)


if __name__ == "__main__":
    main()
