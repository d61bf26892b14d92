"""Benchmarks: the known ones, suites of them, and the user's own files.

load("gsm8k", shots=4)      the items of one benchmark
load("my/questions.jsonl")  the items of the user's own
resolve(["paper"])          the benchmarks of a suite
fetch(["mmlu"])             download ahead
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from evenhand.benchmarks import files
from evenhand.benchmarks.bbh import BBH
from evenhand.benchmarks.benchmark import Benchmark
from evenhand.benchmarks.demo import DEMO
from evenhand.benchmarks.do_not_answer import DO_NOT_ANSWER
from evenhand.benchmarks.gsm8k import GSM8K
from evenhand.benchmarks.harmbench import HARMBENCH
from evenhand.benchmarks.item import Item
from evenhand.benchmarks.mbpp import MBPP, MBPP_ALL
from evenhand.benchmarks.mmlu import MMLU, MMLU_TEST
from evenhand.benchmarks.own import read_own
from evenhand.benchmarks.records import ENDINGS
from evenhand.benchmarks.relevance import RELEVANCE
from evenhand.benchmarks.strongreject import STRONGREJECT, STRONGREJECT_346
from evenhand.benchmarks.xstest import XSTEST
from evenhand.errors import BenchmarkError, UnknownName, UsageError

__all__ = [
    "BENCHMARKS",
    "SUITES",
    "Benchmark",
    "Item",
    "fetch",
    "files_of",
    "is_own",
    "load",
    "resolve",
]

BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        DO_NOT_ANSWER,
        STRONGREJECT,
        STRONGREJECT_346,
        HARMBENCH,
        XSTEST,
        MMLU,
        MMLU_TEST,
        GSM8K,
        BBH,
        MBPP,
        MBPP_ALL,
        RELEVANCE,
        *DEMO,
    )
}
"""All benchmarks that evenhand knows, by name."""

SUITES: dict[str, tuple[str, ...]] = {
    "paper": ("do_not_answer", "strongreject", "mmlu", "gsm8k"),
    "demo": tuple(benchmark.name for benchmark in DEMO),
}
"""Names that stand for several benchmarks."""


def load(name: str | Path, *, shots: int = 0, offline: bool = False) -> list[Item]:
    """All items of a benchmark, in an order and with ids that never change.

    Args:
        name: name of a benchmark, or path of the user's own .jsonl or .csv file.
        shots: worked examples before each question, the same for every identity.
        offline: never use the network.

    Raises:
        UnknownName: there is no such benchmark.
        BenchmarkError: the user's own file is not there, or invalid.
        UsageError: the benchmark has no worked examples, or not that many.
        DataError: a file cannot be had, or is not the pinned one.
    """
    if is_own(name):
        return _load_own(Path(name), shots)
    benchmark = _benchmark(str(name))
    _check_shots(benchmark.name, shots, benchmark.max_shots)
    names = files_of(benchmark.name, shots=shots)
    return benchmark.read(files.get_all(names, benchmark=benchmark.name, offline=offline), shots)


def is_own(name: str | Path) -> bool:
    """Whether this is the path of a user's own benchmark and not a name."""
    return str(name) not in BENCHMARKS and Path(name).suffix in ENDINGS


def resolve(names: Iterable[str]) -> list[str]:
    """Suites replaced by their benchmarks, each benchmark once, in the order given.

    Raises:
        UnknownName: neither a benchmark nor a suite nor a .jsonl or .csv file.
    """
    resolved: dict[str, None] = {}
    for name in names:
        for member in SUITES.get(name, (name,)):
            if not is_own(member):
                _benchmark(member)
            resolved[member] = None
    return list(resolved)


def files_of(name: str, *, shots: int = 0) -> tuple[str, ...]:
    """Local paths of the public files that a benchmark needs; empty where it ships with us.

    Raises:
        UnknownName: there is no such benchmark.
    """
    benchmark = _benchmark(name)
    return benchmark.files + (benchmark.shot_files if shots else ())


def fetch(names: Iterable[str], *, offline: bool = False) -> list[Path]:
    """Get and verify every file of these benchmarks and suites.

    Files of worked examples, and of answers that people have labeled, are among them.

    Raises:
        UnknownName: there is no such benchmark or suite.
        DataError: a file cannot be had, or is not the pinned one.
    """
    paths: list[Path] = []
    for benchmark in [_benchmark(name) for name in resolve(names)]:
        labeled = files.names_under(f"{benchmark.name}/responses_human/")
        wanted = benchmark.files + benchmark.shot_files + labeled
        paths += files.get_all(wanted, benchmark=benchmark.name, offline=offline).values()
    return paths


def _benchmark(name: str) -> Benchmark:
    if name not in BENCHMARKS:
        raise UnknownName("benchmark", name, [*BENCHMARKS, *SUITES])
    return BENCHMARKS[name]


def _load_own(path: Path, shots: int) -> list[Item]:
    if path.stem in BENCHMARKS:
        raise BenchmarkError(f'{path}: "{path.stem}" is a benchmark of evenhand; rename the file')
    _check_shots(str(path), shots, 0)
    return read_own(path, path.stem)


def _check_shots(name: str, shots: int, most: int) -> None:
    if shots < 0:
        raise UsageError(f"shots must be 0 or more, not {shots}")
    if shots > most == 0:
        raise UsageError(f"{name} has no split to take worked examples from; use shots 0")
    if shots > most:
        raise UsageError(f"{name} has at most {most} worked examples, not {shots}")
