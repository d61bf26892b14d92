"""A sandbox to test."""

from __future__ import annotations

import shutil

import pytest

from evenhand.errors import SandboxError
from evenhand.sandbox import check


@pytest.fixture(autouse=True, scope="session")
def _bubblewrap() -> None:
    """The tests here are skipped, and say so, where bubblewrap cannot run."""
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed: apt install bubblewrap")
    try:
        check("bwrap")
    except SandboxError as error:
        pytest.skip(f"bubblewrap cannot run here: {error}")
