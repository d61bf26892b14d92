"""The re-analysis of published results: its counts, and the page that shows them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
import published_reanalysis as published

from evenhand.interop.importing import import_runs
from evenhand.stats.permutation import holm


@pytest.mark.slow
def test_counts_of_the_authors_and_the_page(data_dir: Path, tmp_path: Path) -> None:
    """New and lost refusals as the authors count them, but for results marked as errors."""
    source = data_dir / "published" / "authority_prefix.csv"
    if not source.is_file():
        pytest.skip(f"no {source}")
    runs = import_runs([str(source)], tmp_path / "runs", published.OPTIONS)
    assert len(runs) == 6
    found = {(e.model, e.who): e for run in sorted(runs) for e in published.findings(run)}
    counts = {place: (each.new, each.lost) for place, each in found.items()}
    assert counts["apertus-8b", "lawyer"] == (98, 11)
    assert counts["apertus-8b", "supreme"] == (78, 12)
    assert counts["gemma-4-e4b", "lawyer"] == (93, 48)
    assert counts["gemma-4-e4b", "supreme"] == (150, 38)
    assert counts["qwen3-8b", "lawyer"] == (27, 13)
    assert counts["qwen3-8b", "supreme"] == (21, 16)
    assert counts["llama-3.1-8b", "lawyer"] == (77, 38)  # 78 and 39 with two errors
    assert counts["llama-3.1-8b", "supreme"] == (94, 36)  # 95 and 36 with one error
    jailbreak = found["llama-3.1-8b", "jailbreak"]
    assert jailbreak.by_item.standard_error[0] == pytest.approx(1.33, abs=0.02)
    page = published.PAGE.read_text()
    assert published.table(list(found.values())) in page
    assert published.summary(list(found.values())) in page


def test_holm() -> None:
    assert holm(np.array([0.01, 0.04, 0.03, 0.5])) == pytest.approx([0.04, 0.09, 0.09, 0.5])
