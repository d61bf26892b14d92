"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_BESIDE_THE_REPOSITORY = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def data_dir(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Local copies of the public data files; the test is skipped where there are none."""
    folder = Path(os.environ.get("EVENHAND_DATA_DIR", _BESIDE_THE_REPOSITORY))
    if not folder.is_dir():
        pytest.skip(f"no public data files in {folder}; set EVENHAND_DATA_DIR to a copy")
    monkeypatch.setenv("EVENHAND_DATA_DIR", str(folder))
    return folder
