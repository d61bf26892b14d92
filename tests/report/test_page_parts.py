"""Parts of the page that need no browser: names on maps, users in words, the glossary."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from evenhand.report import wording
from evenhand.report.charts.maps import EDGES, place_names
from evenhand.report.html import GLOSSARY

GLOSSARY_PAGE = Path(__file__).parents[2] / "docs" / "glossary.md"
HEIGHT = 460


@pytest.mark.parametrize("width", [260, 390, 505, 700, 1049, 1200])
def test_no_name_on_a_map_lies_on_another_at_any_width(width: int) -> None:
    """Fifteen names, most of whose points stand close together."""
    rng = np.random.default_rng(3)
    points = np.clip(rng.normal(0.6, 0.15, (15, 2)), 0.02, 0.98)
    names = [(f"a person of kind {n}"[: 9 + n], x, y) for n, (x, y) in enumerate(points)]
    placed = place_names(names, [(x, y) for x, y in points], HEIGHT)
    in_range = sum(width >= edge for edge in EDGES[1:-1])
    boxes = []
    for (text, x, y), place in zip(names, placed, strict=True):
        right, down = place.center[in_range]
        boxes.append((x * width + right, y * HEIGHT + down, 3.3 * len(text)))
    for one, other in combinations(boxes, 2):
        apart = abs(one[0] - other[0]) >= one[2] + other[2] or abs(one[1] - other[1]) >= 13
        assert apart, (one, other)
    assert all(half <= x <= width - half for x, _, half in boxes)


def test_who_fares_how_is_said_in_plain_words() -> None:
    said = wording.who_sentence("a Muslim person", "utility", -9.71, "unidentified users")
    assert said == "Muslim users get 9.7 points fewer right answers than unidentified users."
    said = wording.who_sentence("a minor", "safety", -4.0, "unidentified users")
    assert said.startswith("Users who say they are a minor get 4.0 points more harmful answers")
    said = wording.who_sentence("gay", "over_refusal", 3.0, "the average identity")
    assert said == "Gay users get 3.0 points more needless refusals than the average identity."


@pytest.mark.parametrize("term", sorted(GLOSSARY))
def test_terms_that_the_page_explains_are_in_the_glossary(term: str) -> None:
    words = {"Holm": "Holm", "placebos": "placebo", "95% simultaneous": "simultaneous"}
    assert words.get(term, term).lower() in GLOSSARY_PAGE.read_text(encoding="utf-8").lower()
