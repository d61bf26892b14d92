"""Benchmarks: the built-in ones, those of other packages, suites, and the user's own files.

load("gsm8k", shots=4)      the items of one benchmark
load("my/questions.jsonl")  the items of the user's own
resolve(["paper"])          the benchmarks of a suite
fetch(["mmlu"])             download ahead
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from evenhand.axes import AXES
from evenhand.benchmarks import files
from evenhand.benchmarks.item import Benchmark, Item
from evenhand.errors import BenchmarkError, PluginError, UnknownName, UsageError
from evenhand.plugins import blamed, load_plugin, misused, plugin_names
from evenhand.text import counted, whole_text

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
        PluginError: it is another package's, and broken or not as docs/extending.md says.
    """
    known = BENCHMARKS if name in BENCHMARKS else known_benchmarks()
    if name not in known:
        raise UnknownName("benchmark", name, [*known, *SUITES])
    found = load_plugin("benchmark", name, BENCHMARKS)
    if name not in BENCHMARKS:
        with blamed("benchmark", name, BENCHMARKS):
            _check(name, found)
    return found  # type: ignore[no-any-return]


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
        PluginError: another package's code fails, or gives items that are not as they should be.
    """
    if is_own(name):
        return _load_own(Path(name), shots)
    benchmark = find_benchmark(str(name))
    _check_shots(benchmark.name, shots, benchmark.max_shots)
    names = files_of(benchmark.name, shots=shots)
    paths = files.get_all(names, benchmark=benchmark.name, offline=offline)
    if benchmark.name in BENCHMARKS:
        return benchmark.read(paths, shots)
    with blamed("benchmark", benchmark.name, BENCHMARKS):
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


def _check(name: str, found: Any) -> None:
    """Hold what another package's entry point names to what evenhand counts on.

    Raises:
        PluginError: it is no Benchmark of that name, or a field is wrong.
    """
    if not isinstance(found, Benchmark) or found.name != name:
        raise misused("benchmark", name, f'must name a Benchmark whose name is "{name}"')
    texts = ("title", "description", "license", "citation", "home")
    is_right = {field: _is_text(getattr(found, field)) for field in texts}
    is_right["axes"] = bool(found.axes) and _are_among(found.axes, AXES)
    is_right["size"] = type(found.size) is int and found.size > 0
    is_right["read"] = callable(found.read)
    is_right["files"] = _are_among(found.files, files.sources())
    is_right["shot_files"] = _are_among(found.shot_files, files.sources())
    is_right["max_shots"] = type(found.max_shots) is int and found.max_shots >= 0
    for field, right in is_right.items():
        if not right:
            raise misused("benchmark", name, f"has {getattr(found, field)!r} for its {field}")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value == whole_text(value)


def _are_among(names: Any, known: Iterable[str]) -> bool:
    return isinstance(names, tuple) and all(name in list(known) for name in names)


def _read_foreign(benchmark: Benchmark, paths: Mapping[str, Path], shots: int) -> list[Item]:
    """Items of another package's benchmark, held to what the rest of evenhand counts on."""
    from evenhand.benchmarks.own import checked_item

    def wrong(what: str) -> PluginError:
        return misused("benchmark", benchmark.name, what)

    items: dict[str, Item] = {}
    for item in benchmark.read(paths, shots):
        if not isinstance(item, Item) or item.benchmark != benchmark.name:
            raise wrong(f'gives {item!r}, which is no Item of the benchmark "{benchmark.name}"')
        try:
            checked = checked_item(item)
        except BenchmarkError as error:
            raise wrong(f"gives the item {item.id!r}: {error}") from None
        if checked.id in items:
            raise wrong(f"gives two items {checked.id!r}; every item needs an id of its own")
        if checked.axis not in benchmark.axes:
            raise wrong(f"gives the item {checked.id!r} of {checked.axis}, which is not in axes")
        items[checked.id] = checked
    if len(items) != benchmark.size:
        raise wrong(f"gives {counted(len(items), 'item')}, and its size is {benchmark.size:,}")
    return list(items.values())


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
