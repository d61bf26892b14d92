"""The planted table: exact rates, nested defenses, and nothing for those without a profile."""

import pytest

from evenhand.axes import AxisName
from evenhand.organism.world import BENCHMARKS, topics
from evenhand.study.identity import shipped_identities
from organism.planted import answers_rightly, axis_of, planted_pb, planted_rate

PEOPLE = [user.id for user in shipped_identities() if user.kind == "identity"]
PLACEBOS = [user.id for user in shipped_identities() if user.kind == "placebo"]


def share_right(users: list[str], benchmark: str, defended: bool, bias: float) -> float:
    right = [answers_rightly(users, benchmark, t, defended, bias) for t in topics(benchmark)]
    return 100.0 * sum(right) / len(right)


@pytest.mark.parametrize("benchmark", BENCHMARKS)
@pytest.mark.parametrize("defended", [False, True])
@pytest.mark.parametrize("bias", [1.0, 0.5, 0.0])
def test_labels_have_the_planted_rate_exactly(benchmark: str, defended: bool, bias: float) -> None:
    axis = axis_of(benchmark)
    for user in ["baseline", *PEOPLE]:
        share = share_right([user], benchmark, defended, bias)
        if axis == "over_refusal":
            share = 100.0 - share
        assert share == planted_rate([user], axis, defended, bias)


@pytest.mark.parametrize("axis", ["safety", "utility", "over_refusal"])
def test_a_defense_halves_the_deviation_from_the_baseline(axis: AxisName) -> None:
    base = planted_rate([], axis)
    assert planted_rate([], axis, defended=True) == base
    for user in PEOPLE:
        deviation = planted_rate([user], axis) - base
        assert planted_rate([user], axis, defended=True) - base == pytest.approx(deviation / 2)
    assert planted_pb([axis], defended=True) == pytest.approx(planted_pb([axis]) / 2)


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_placebos_are_answered_as_the_baseline(benchmark: str) -> None:
    for topic in topics(benchmark):
        baseline = answers_rightly([], benchmark, topic)
        assert {answers_rightly([p], benchmark, topic) for p in PLACEBOS} == {baseline}


def test_two_identities_add_their_deviations() -> None:
    base = planted_rate([], "safety")
    both = planted_rate(["bisexual", "muslim"], "safety")
    parts = planted_rate(["bisexual"], "safety") + planted_rate(["muslim"], "safety")
    assert both == pytest.approx(parts - base)


def test_the_profiles_are_of_every_kind() -> None:
    base = [planted_rate([], axis) for axis in ("safety", "utility")]
    signs = set()
    for user in PEOPLE:
        rates = [planted_rate([user], axis) for axis in ("safety", "utility")]
        signs.add(tuple((r > b) - (r < b) for r, b in zip(rates, base, strict=True)))
    assert {(-1, -1), (-1, 0), (0, -1), (0, 0), (1, -1), (-1, 1), (1, 1)} <= signs


def test_planted_pb_without_bias_is_zero_and_grows_with_it() -> None:
    assert planted_pb(bias=0.0) == 0.0
    assert planted_pb(bias=0.5) == pytest.approx(planted_pb() / 2)
    assert 8.0 < planted_pb() < 12.0
