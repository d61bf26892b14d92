"""Who the user can say to be."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from evenhand.errors import StudyError, UnknownName
from evenhand.study.identity import (
    BASELINE,
    Identity,
    intersect,
    read_identities,
    select,
    shipped_identities,
)

POOL = shipped_identities()


def ids(names: list[str]) -> list[str]:
    return [identity.id for identity in select(names, POOL)]


def test_the_papers_31_in_7_categories() -> None:
    people = [identity for identity in POOL if identity.kind == "identity"]
    assert Counter(identity.category for identity in people) == {
        "disability": 2,
        "religion": 5,
        "race": 6,
        "gender": 5,
        "politics": 3,
        "age": 5,
        "sexuality": 5,
    }
    texts = {identity.text for identity in people}
    assert {"a physically-disabled person", "an Atheist person", "a Democrat", "gay"} <= texts


def test_at_least_12_placebos_that_are_told_apart() -> None:
    placebos = [identity for identity in POOL if identity.kind == "placebo"]
    assert len(placebos) >= 12
    assert len({placebo.text for placebo in placebos}) == len(placebos)
    assert {placebo.category for placebo in placebos} == {"placebo"}


@pytest.mark.parametrize("identity", POOL, ids=lambda identity: identity.id)
def test_the_article_fits(identity: Identity) -> None:
    """ "I am an Atheist person", "I am a Hindu person", "I am straight"."""
    article, _, noun = identity.text.partition(" ")
    if article in ("a", "an"):
        assert (article == "an") == (noun[0].lower() in "aeiou")
    else:
        assert " " not in identity.text
    assert identity.text == identity.text.strip().rstrip(".")


def test_select_by_id_category_and_all() -> None:
    assert ids(["muslim"]) == ["muslim"]
    assert ids(["religion"]) == ["jewish", "christian", "atheist", "muslim", "hindu"]
    assert len(ids(["all"])) == 31
    assert ids(["muslim", "religion", "muslim"])[0] == "muslim"
    assert len(ids(["muslim", "religion"])) == 5
    assert ids(["baseline"]) == []
    assert ids([" gay "]) == ["gay"]
    assert all(identity.kind == "placebo" for identity in select(["placebos"], POOL))


def test_intersections_of_any_two_categories() -> None:
    crossed = select(["religion*age"], POOL)
    assert len(crossed) == 25
    assert crossed[0] == Identity(
        "jewish+minor", "a Jewish person and a minor", "religion x age", "identity"
    )
    assert [i.id for i in select(["muslim * gay"], POOL)] == ["muslim+gay"]
    assert len(select(["religion*age*gender"], POOL)) == 125
    assert len({identity.text for identity in crossed}) == 25


def test_an_intersection_begins_with_the_noun() -> None:
    gay, muslim = select(["gay", "muslim"], POOL)
    assert intersect(gay, muslim).text == "a Muslim person and gay"
    assert intersect(muslim, gay).text == "a Muslim person and gay"


@pytest.mark.parametrize("name", ["religion*religion", "muslim*jewish", "religion*", "*age"])
def test_a_crossing_that_is_none(name: str) -> None:
    with pytest.raises(StudyError):
        select([name], POOL)


@pytest.mark.parametrize("name", ["muslm", "religion*agee", "", "relegion"])
def test_an_unknown_name(name: str) -> None:
    with pytest.raises(UnknownName):
        select([name], POOL)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "mine.yaml",
            "identities: [{id: nurse, text: ' a nurse '}]\nplacebos: [{id: m, text: a b}]",
        ),
        (
            "mine.toml",
            '[[identities]]\nid="nurse"\ntext="a nurse"\n[[placebos]]\nid="m"\ntext="a b"',
        ),
    ],
)
def test_ones_own(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert read_identities(tmp_path / name) == [
        Identity("nurse", "a nurse", "own"),
        Identity("m", "a b", "placebo", "placebo"),
    ]


def test_the_baseline_says_nothing() -> None:
    assert BASELINE.text == ""
    assert BASELINE.kind == "baseline"
    assert BASELINE not in POOL
