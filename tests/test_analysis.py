"""Scores that are known give results that can be computed by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from evenhand.analysis import analyze
from evenhand.axes import AxisName
from evenhand.engines.engine import Failure, Response
from evenhand.errors import RunFolderError
from evenhand.report.data import to_json
from evenhand.scorers import Unscored
from evenhand.store.store import Store
from evenhand.study.plan import Plan
from fakes import audit, biased
from runs import plan_of, record_of

Floats = NDArray[np.float64]
SCORER = {"safety": "refusal", "over_refusal": "refusal", "utility": "number"}


def write_benchmark(path: Path, axis: AxisName, items: int) -> None:
    with path.open("w") as file:
        for n in range(items):
            record = {
                "id": f"q{n}",
                "prompt": f"{path.stem}: {axis} {n}",
                "axis": axis,
                "scorer": SCORER[axis],
            }
            file.write(json.dumps(record | ({"answer": "1"} if axis == "utility" else {})) + "\n")


class Study:
    """A store whose scores are set by hand; rows are the plan's conditions, the baseline first."""

    def __init__(
        self, tmp_path: Path, sizes: dict[str, tuple[AxisName, int]], **fields: Any
    ) -> None:
        for name, (axis, items) in sizes.items():
            write_benchmark(tmp_path / f"{name}.jsonl", axis, items)
        files = [str(tmp_path / f"{name}.jsonl") for name in sizes]
        self.plan: Plan = plan_of("openai/m", Path(files[0]), benchmarks=files, **fields)
        self.store = Store.create(tmp_path / "run")
        self.ids = self.store.activate(self.plan.conditions, self.plan.items, record_of(self.plan))

    def score(self, value: Callable[[int, str, int], float | str | None]) -> None:
        """`value` of (condition, benchmark, item): a score, why there is none, or no answer."""
        scores: dict[bytes, float | str] = {}
        responses = []
        for request in self.plan.requests():
            item = self.plan.items[request.item]
            found = value(request.condition, item.benchmark, int(item.id[1:]))
            if found is not None:
                scores[request.key] = found
                responses.append(Response(request, "text", prompt_tokens=3, completion_tokens=2))
        self.store.write(responses, *self.ids)
        rows = self.store._connection.execute("SELECT id, key FROM response").fetchall()
        self.store.write_scores(
            (number, Unscored(found) if isinstance(found := scores[key], str) else found)
            for number, key in rows
        )

    def result(self) -> dict[str, Any]:
        return dict(orjson.loads(to_json(analyze(self.store))))


def noise_of(scores: Floats) -> float:
    """Squared points of noise in the plug-in PB of one benchmark, one sample an item."""
    people, items = scores.shape
    residual = scores - scores.mean(0) - scores.mean(1, keepdims=True) + scores.mean()
    mean_square = (residual**2).sum() / ((people - 1) * (items - 1))
    return float(1e4 * (people - 1) / people * mean_square / items)


@pytest.fixture
def arrays() -> dict[str, Floats]:
    """Benchmark -> (baseline and 5 identities, items)."""
    draw = np.random.default_rng(5)
    lift = np.array([0.0, 0.3, 0.1, 0.0, -0.2, -0.3])[:, None]
    return {
        "safe": (draw.random((6, 40)) < 0.6 + lift).astype(float),
        "maths": (draw.random((6, 30)) < 0.5 + lift / 2).astype(float),
        "facts": (draw.random((6, 20)) < 0.5 - lift / 2).astype(float),
        "fine": (draw.random((6, 10)) < 0.3).astype(float),
    }


SIZES: dict[str, tuple[AxisName, int]] = {
    "safe": ("safety", 40),
    "maths": ("utility", 30),
    "facts": ("utility", 20),
    "fine": ("over_refusal", 10),
}


def test_all_numbers_of_a_finished_run(tmp_path: Path, arrays: dict[str, Floats]) -> None:
    study = Study(tmp_path, SIZES, identities=["religion"])
    study.score(lambda condition, name, item: float(arrays[name][condition, item]))
    result = study.result()
    assert result["cells"] == result["done"] == 6 * 100
    assert result["unscored"] == 0
    assert result["benchmarks"] == {"safe": 40, "maths": 30, "facts": 20, "fine": 10}
    assert (result["prompt_tokens"], result["completion_tokens"]) == (1800, 1200)

    safety = 100 * arrays["safe"].mean(1)
    utility = 100 * (arrays["maths"].mean(1) + arrays["facts"].mean(1)) / 2
    assert result["axes"]["safety"]["mean"] == pytest.approx(safety[1:].mean())
    assert result["axes"]["safety"]["baseline"] == pytest.approx(safety[0])
    assert result["axes"]["utility"]["mean"] == pytest.approx(utility[1:].mean())
    assert result["axes"]["utility"]["baseline"] == pytest.approx(utility[0])
    assert result["axes"]["over_refusal"]["mean"] == pytest.approx(100 * arrays["fine"][1:].mean())

    names = ["jewish", "christian", "atheist", "muslim", "hindu"]
    for n, (name, person) in enumerate(zip(names, result["identities"], strict=True), start=1):
        assert person["id"] == name
        assert person["category"] == "religion"
        assert person["safety"] == pytest.approx(safety[n])
        assert person["utility"] == pytest.approx(utility[n])
        assert person["safety_delta"] == pytest.approx(safety[n] - safety[0])
        assert person["utility_delta"] == pytest.approx(utility[n] - utility[0])
        low, high = person["safety_delta_interval"]
        assert low < person["safety_delta"] < high
        assert person["done"] == 100
    assert result["baseline"]["safety"] == pytest.approx(safety[0])

    spread_safety, spread_utility = safety[1:].var(), utility[1:].var()
    noise_safety = noise_of(arrays["safe"][1:])
    noise_utility = (noise_of(arrays["maths"][1:]) + noise_of(arrays["facts"][1:])) / 4
    for pb, plugin2, noise in (
        (result["pb"], spread_safety + spread_utility, noise_safety + noise_utility),
        (result["axes"]["safety"]["pb"], spread_safety, noise_safety),
        (result["axes"]["utility"]["pb"], spread_utility, noise_utility),
    ):
        assert pb["plugin"] == pytest.approx(plugin2**0.5)
        assert pb["noise_floor"] == pytest.approx(noise**0.5)
        assert pb["signed_square"] == pytest.approx(plugin2 - noise)
        assert pb["estimate"] == pytest.approx(max(0.0, plugin2 - noise) ** 0.5)
        low, high = pb["interval"]
        assert 0 <= low <= pb["estimate"] <= high
        assert 0 <= pb["p_value"] <= 1


def test_samples_are_averaged(tmp_path: Path) -> None:
    study = Study(tmp_path, {"safe": ("safety", 4)}, identities=["age"], samples=2)
    turn = iter(([0.0] * 6 + [1.0] * 6) * 4)  # the first sample of each item, the second
    study.score(lambda *_: next(turn))
    result = study.result()
    assert result["cells"] == result["done"] == 48
    assert result["samples"] == 2
    assert result["axes"]["safety"]["mean"] == pytest.approx(50)


def test_the_unscored_are_missing_and_never_zero(tmp_path: Path) -> None:
    study = Study(tmp_path, {"safe": ("safety", 8)}, identities=["religion"])

    def value(condition: int, _name: str, item: int) -> float | str:
        if condition == 4 and item < 4:
            return "no final answer found" if item else "empty answer"
        return 1.0

    study.score(value)
    result = study.result()
    assert result["unscored"] == 4
    assert result["unscored_reasons"] == {"no final answer found": 3, "empty answer": 1}
    muslim = result["identities"][3]
    assert (muslim["id"], muslim["done"], muslim["unscored"]) == ("muslim", 8, 4)
    assert muslim["safety"] == pytest.approx(100)
    assert any("missing depends on the identity" in note for note in result["notes"])


def test_failed_attempts_are_counted_by_identity(tmp_path: Path) -> None:
    study = Study(tmp_path, {"safe": ("safety", 2)}, identities=["age"])
    failures = [Failure(429, "slow down"), Failure(0, "gone")]
    study.store.write([Response(study.plan.request(2, 0), "a", failures=failures)], *study.ids)
    result = study.result()
    assert result["failed_attempts"] == 2
    assert [person["failed_attempts"] for person in result["identities"]] == [0, 2, 0, 0, 0]


# From Python 3.13 on, of the stores that tests before this one left open.
@pytest.mark.filterwarnings("ignore:.*unclosed database:ResourceWarning")
@pytest.mark.filterwarnings("error")  # they would stand in the user's terminal
@pytest.mark.parametrize("answered", [0, 1, 5, 6, 7, 13, 30])
def test_a_run_at_any_stage_can_be_reported(tmp_path: Path, answered: int) -> None:
    study = Study(
        tmp_path, {"safe": ("safety", 3), "maths": ("utility", 2)}, identities=["religion"]
    )
    order = iter(range(30))
    study.score(lambda c, *_: (c % 2) * 1.0 if next(order) < answered else None)
    result = study.result()
    assert result["cells"] == 30
    assert result["done"] == answered
    assert any("no answer yet" in note for note in result["notes"]) == (answered < 30)
    assert (result["pb"] is None) or answered >= 12
    for person in result["identities"]:
        assert (person["safety"] is None and person["utility"] is None) == (person["done"] == 0)


@pytest.mark.parametrize("axis", ["safety", "utility", "over_refusal"])
def test_one_axis_alone(tmp_path: Path, axis: AxisName) -> None:
    study = Study(tmp_path, {"one": (axis, 12)}, identities=["religion"])
    study.score(lambda condition, _name, item: float((condition + item) % 3 == 0))
    result = study.result()
    assert list(result["axes"]) == [axis]
    assert (result["pb"] is None) == (axis == "over_refusal")  # PB is of safety and utility
    assert result["axes"][axis]["pb"] is not None


def test_one_identity_alone_has_no_spread(tmp_path: Path) -> None:
    study = Study(tmp_path, {"safe": ("safety", 6)}, identities=["muslim"])
    study.score(lambda condition, _name, item: float(condition == 1 or item < 3))
    result = study.result()
    assert result["pb"] is None
    assert result["identities"][0]["safety_delta"] == pytest.approx(50)


def test_all_alike_is_no_bias(tmp_path: Path) -> None:
    study = Study(tmp_path, {"safe": ("safety", 6)}, identities=["religion"])
    study.score(lambda *_: 1.0)
    pb = study.result()["pb"]
    assert (pb["plugin"], pb["noise_floor"], pb["estimate"]) == (0, 0, 0)
    assert pb["p_value"] == 1


@pytest.mark.slow
def test_placebos_cues_and_defenses_are_kept_apart(tmp_path: Path) -> None:
    study = Study(
        tmp_path,
        {"safe": ("safety", 8)},
        identities=["religion"],
        placebos=True,
        cues=["system", "user"],
        defenses=["none", "ignore"],
    )
    names = [condition.id for condition in study.plan.conditions]

    def value(condition: int, _name: str, item: int) -> float:
        if names[condition] == "muslim|user-1|ignore":
            return 0.0
        return float(item % 2)

    study.score(value)
    result = study.result()
    assert [(s["cue"], s["defense"]) for s in result["settings"]] == [
        ("system-1", "none"),
        ("system-1", "ignore"),
        ("user-1", "none"),
        ("user-1", "ignore"),
    ]
    assert [len(s["placebos"]) for s in result["settings"]] == [14] * 4
    deltas = [[p["safety_delta"] for p in s["identities"]] for s in result["settings"]]
    expected = [[0] * 5] * 3 + [[0, 0, 0, -50, 0]]
    np.testing.assert_allclose(deltas, expected, atol=1e-9)
    assert result["pb"]["estimate"] == pytest.approx(
        0
    )  # the headline is that of the first cue and defense
    assert result["settings"][3]["pb"]["plugin"] == pytest.approx(20)


def test_a_run_that_has_not_begun(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="has no answers yet"):
        analyze(Store.create(tmp_path / "run"))


def test_a_smaller_study_says_that_the_folder_holds_more(tmp_path: Path) -> None:
    """Its figures take the place of the larger study's, and both counts are shown."""
    folder = tmp_path / "run"
    whole = audit(folder, biased(), items=3, samples=3)
    assert not [note for note in whole.notes if "the run folder holds" in note]
    found = audit(folder, biased(), items=3, samples=1)
    assert any(
        "holds 162 answers; these figures are of the 54" in note and "1 of 3 samples" in note
        for note in found.notes
    )
    again = audit(folder, biased(), items=3, samples=3)
    assert again.pb == whole.pb
    fewer = audit(folder, biased(), items=3, samples=3, limit=2)
    assert any("holds 162 answers; these figures are of the 108" in note for note in fewer.notes)
