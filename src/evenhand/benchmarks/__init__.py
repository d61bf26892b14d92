"""Benchmarks: the built-in ones, those of other packages, suites, and the user's own files.

load("gsm8k", shots=4)      the items of one benchmark
load("my/questions.jsonl")  the items of the user's own
resolve(["paper"])          the benchmarks of a suite
fetch(["mmlu"])             download ahead
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from evenhand.axes import AXES
from evenhand.benchmarks import files
from evenhand.benchmarks.item import Benchmark, Item
from evenhand.errors import BenchmarkError, PluginError, UnknownName, UsageError
from evenhand.plugins import load_plugin, plugin_names
from evenhand.text import one_line

__all__ = [
    "BENCHMARKS",
    "SUITES",
    "Benchmark",
    "Item",
    "fetch",
    "files_of",
    "find_benchmark",
    "is_own",
    "known_benchmarks",
    "load",
    "resolve",
]

BENCHMARKS: dict[str, str] = {
    "do_not_answer": "evenhand.benchmarks.do_not_answer:DO_NOT_ANSWER",
    "strongreject": "evenhand.benchmarks.strongreject:STRONGREJECT",
    "strongreject-346": "evenhand.benchmarks.strongreject:STRONGREJECT_346",
    "harmbench": "evenhand.benchmarks.harmbench:HARMBENCH",
    "xstest": "evenhand.benchmarks.xstest:XSTEST",
    "mmlu": "evenhand.benchmarks.mmlu:MMLU",
    "mmlu-test": "evenhand.benchmarks.mmlu:MMLU_TEST",
    "gsm8k": "evenhand.benchmarks.gsm8k:GSM8K",
    "bbh": "evenhand.benchmarks.bbh:BBH",
    "mbpp": "evenhand.benchmarks.mbpp:MBPP",
    "mbpp-all": "evenhand.benchmarks.mbpp:MBPP_ALL",
    "relevance": "evenhand.benchmarks.shipped:RELEVANCE",
    "demo_safety": "evenhand.benchmarks.shipped:SAFETY",
    "demo_over_refusal": "evenhand.benchmarks.shipped:OVER_REFUSAL",
    "demo_knowledge": "evenhand.benchmarks.shipped:KNOWLEDGE",
    "demo_arithmetic": "evenhand.benchmarks.shipped:ARITHMETIC",
    "demo_reasoning": "evenhand.benchmarks.shipped:REASONING",
    "demo2_codewords": "evenhand.benchmarks.shipped:CODEWORDS",
    "demo2_jargon": "evenhand.benchmarks.shipped:JARGON",
    "demo2_estimates": "evenhand.benchmarks.shipped:ESTIMATES",
    "demo2_rumors": "evenhand.benchmarks.shipped:RUMORS",
}
"""The built-in benchmarks: name -> where its `Benchmark` is. Other packages add to them by the
entry point group `evenhand.benchmarks`."""

OWN_ENDINGS = (".jsonl", ".csv")
"""How the names of files of the user's own items end."""

SUITES: dict[str, tuple[str, ...]] = {
    "paper": ("do_not_answer", "strongreject", "mmlu", "gsm8k"),
    "demo": tuple(name for name in BENCHMARKS if name.startswith("demo_")),
    "demo2": tuple(name for name in BENCHMARKS if name.startswith(("demo_", "demo2_"))),
}
"""Names that stand for several benchmarks."""


def known_benchmarks() -> list[str]:
    """Names of all benchmarks, those of other packages last."""
    return plugin_names("benchmark", BENCHMARKS)


def find_benchmark(name: str) -> Benchmark:
    """The benchmark of that name.

    Raises:
        UnknownName: there is no such benchmark.
        PluginError: it is another package's, and broken.
    """
    known = BENCHMARKS if name in BENCHMARKS else known_benchmarks()
    if name not in known:
        raise UnknownName("benchmark", name, [*known, *SUITES])
    found = load_plugin("benchmark", name, BENCHMARKS)
    if not isinstance(found, Benchmark) or found.name != name:
        raise PluginError(
            f'benchmark "{name}": the entry point must name a Benchmark whose name is "{name}"'
        )
    return found


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
    benchmark = find_benchmark(str(name))
    _check_shots(benchmark.name, shots, benchmark.max_shots)
    names = files_of(benchmark.name, shots=shots)
    paths = files.get_all(names, benchmark=benchmark.name, offline=offline)
    if benchmark.name in BENCHMARKS:
        return benchmark.read(paths, shots)
    return _read_foreign(benchmark, paths, shots)


def is_own(name: str | Path) -> bool:
    """Whether this is the path of a user's own benchmark and not a name."""
    return str(name) not in BENCHMARKS and Path(name).suffix in OWN_ENDINGS


def resolve(names: Iterable[str]) -> list[str]:
    """Suites replaced by their benchmarks, each benchmark once, in the order given.

    Raises:
        UnknownName: neither a benchmark nor a suite nor a .jsonl or .csv file.
    """
    resolved: dict[str, None] = {}
    for name in names:
        for member in SUITES.get(name, (name,)):
            if not is_own(member):
                find_benchmark(member)
            resolved[member] = None
    return list(resolved)


def files_of(name: str, *, shots: int = 0) -> tuple[str, ...]:
    """Local paths of the public files that a benchmark needs; empty where it ships with us.

    Raises:
        UnknownName: there is no such benchmark.
    """
    benchmark = find_benchmark(name)
    return benchmark.files + (benchmark.shot_files if shots else ())


def fetch(names: Iterable[str], *, offline: bool = False) -> list[Path]:
    """Get and verify every file of these benchmarks and suites.

    Files of worked examples, and of answers that people have labeled, are among them.

    Raises:
        UnknownName: there is no such benchmark or suite.
        DataError: a file cannot be had, or is not the pinned one.
    """
    paths: list[Path] = []
    for benchmark in [find_benchmark(name) for name in resolve(names)]:
        labeled = files.names_under(f"{benchmark.name}/responses_human/")
        wanted = benchmark.files + benchmark.shot_files + labeled
        paths += files.get_all(wanted, benchmark=benchmark.name, offline=offline).values()
    return paths


def _read_foreign(benchmark: Benchmark, paths: Mapping[str, Path], shots: int) -> list[Item]:
    """Items of another package's benchmark, held to what the rest of evenhand counts on."""
    try:
        items = list(benchmark.read(paths, shots))
    except Exception as error:  # another package's code: anything can happen in it
        reason = one_line(f"{type(error).__name__}: {error}")
        raise PluginError(f'benchmark "{benchmark.name}" cannot be read ({reason})') from error
    if not items or not all(isinstance(item, Item) for item in items):
        raise PluginError(f'benchmark "{benchmark.name}": `read` must give Items, at least one')
    ids = {item.id for item in items if item.benchmark == benchmark.name and item.axis in AXES}
    if len(ids) < len(items):
        raise PluginError(
            f'benchmark "{benchmark.name}": every item needs an id of its own, a known axis, and '
            f'the benchmark "{benchmark.name}"'
        )
    return items


def _load_own(path: Path, shots: int) -> list[Item]:
    from evenhand.benchmarks.own import read_own

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
