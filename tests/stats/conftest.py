"""The simulations that the tests repeat in short live in benchmarks/simulate_stats.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
