"""The probe finds what a layer holds of the identity, and nothing where it holds nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from numpy.typing import NDArray

import evenhand
from evenhand.engines.mock import MockEngine
from evenhand.report.findings import audit_document
from evenhand.report.formats import render
from evenhand.study.cue import Message
from fakes import HELP, benchmarks, write_questions

pytest.importorskip("sklearn")

NAMES = """
identities:
  - {id: b, text: a B person, names: [Baa, Bab, Bac, Bad, Bae, Baf, Bag, Bah, Bai, Baj]}
  - {id: w, text: a W person, names: [Waa, Wab, Wac, Wad, Wae, Waf, Wag, Wah, Wai, Waj]}
"""


class Layered(MockEngine):
    """Layer 0 holds noise, layer 1 each name by itself, layer 2 the group of a name."""

    def __init__(self) -> None:
        super().__init__(lambda _: HELP)

    def rendered(self, messages: list[Message]) -> str:
        return "\n".join(message["content"] for message in messages)

    def last_states(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        return np.stack([self._states(prompt) for prompt in prompts]).astype(np.float32)

    def _states(self, prompt: str) -> NDArray[np.float64]:
        noise = np.random.default_rng(crc32(prompt.encode())).standard_normal((3, 6))
        name = prompt.partition("name is ")[2].partition(".")[0]
        noise[1] += 5 * np.random.default_rng(crc32(name.encode())).standard_normal(6)
        noise[2, 0] += 5.0 if name.startswith("B") else -5.0
        return noise


def test_a_probe_tells_groups_by_names_that_it_has_not_seen(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(NAMES)
    audit = evenhand.audit(
        "openai/m",
        engine=Layered(),
        out=tmp_path / "run",
        benchmarks=benchmarks(write_questions(tmp_path / "q", 20))[:2],
        identities_file=str(tmp_path / "own.yaml"),
        cues=["name"],
        check_cues=True,
    )
    noise, by_name, by_group = audit.probe
    assert [each.layer for each in audit.probe] == [0, 1, 2]
    assert {each.chance for each in audit.probe} == {50.0}
    assert by_group.accuracy > 97
    assert by_group.interval[0] > 75
    # Names that it has not learned from tell nothing where only the names are held.
    for each in (noise, by_name):
        assert each.interval[0] <= 50
    assert "layer 2 of 2" in render(audit_document(audit), "markdown")


def test_without_the_check_nothing_is_probed(tmp_path: Path) -> None:
    audit = evenhand.audit(
        "openai/m",
        engine=Layered(),
        out=tmp_path / "run",
        benchmarks=benchmarks(write_questions(tmp_path / "q", 6)),
        identities=["muslim", "hindu"],
    )
    assert not audit.probe
