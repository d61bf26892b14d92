"""Reading CSV files as published."""

from __future__ import annotations

import csv
from pathlib import Path


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file with a header, as column -> text."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_bare_csv(path: Path) -> list[list[str]]:
    """The rows of a CSV file without a header."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))
