"""Names of benchmarks and suites."""

from __future__ import annotations

import subprocess
import sys

import pytest

from evenhand.benchmarks import BENCHMARKS, SUITES, fetch, files_of, find_benchmark, load, resolve
from evenhand.benchmarks.files import sources
from evenhand.errors import UnknownName


def test_suites_are_replaced_and_repeats_dropped() -> None:
    names = resolve(["xstest", "paper", "gsm8k", "my/own.jsonl"])
    paper = ["do_not_answer", "strongreject", "mmlu", "gsm8k"]
    assert names == ["xstest", *paper, "my/own.jsonl"]


@pytest.mark.parametrize("use", [lambda n: resolve([n]), load, files_of, lambda n: fetch([n])])
@pytest.mark.parametrize(
    ("name", "nearest"), [("gsm8", "gsm8k"), ("do-not-answer", "do_not_answer"), ("Paper", "paper")]
)
def test_unknown_names_the_nearest(use, name: str, nearest: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UnknownName, match=f'unknown benchmark "{name}"; did you mean "{nearest}"'):
        use(name)


def test_suites_hold_known_benchmarks_only() -> None:
    assert {name for names in SUITES.values() for name in names} <= set(BENCHMARKS)
    assert not set(SUITES) & set(BENCHMARKS)


def test_every_file_has_a_source_and_every_source_a_use() -> None:
    used = {file for b in map(find_benchmark, BENCHMARKS) for file in b.files + b.shot_files}
    labels = {file for file in sources() if "/responses_human/" in file}
    assert labels  # for `evenhand calibrate`
    assert used | labels == set(sources())
    for source in sources().values():
        assert source.url.startswith("https://raw.githubusercontent.com/")
        assert len(source.url.split("/")[5]) == 40  # pinned by commit
        assert len(source.sha256) == 64


def test_every_benchmark_says_what_it_is() -> None:
    for benchmark in map(find_benchmark, BENCHMARKS):
        assert benchmark.title
        assert benchmark.description.endswith(".")
        assert benchmark.license
        assert bool(benchmark.citation) == bool(benchmark.home) == bool(benchmark.files)


def test_files_for_worked_examples_are_wanted_only_with_them() -> None:
    assert files_of("gsm8k") == ("gsm8k/test.jsonl",)
    assert files_of("gsm8k", shots=2) == ("gsm8k/test.jsonl", "gsm8k/train.jsonl")
    assert files_of("demo_safety") == ()


def test_importing_is_light() -> None:
    code = (
        "import sys, evenhand.benchmarks, evenhand.scorers;"
        "print({'pooch', 'requests', 'pydantic', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
