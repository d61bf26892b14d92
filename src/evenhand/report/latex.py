"""The paper's kind of table in LaTeX: each identity's safety and utility, with booktabs rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from evenhand import __version__
from evenhand.analysis.compare import ArmComparison
from evenhand.analysis.results import Audit, Difference, IdentityResult, SettingResult
from evenhand.report.rows import axis_name, number
from evenhand.report.sentences import signed
from evenhand.stats import Spread
from evenhand.text import one_line

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": "'",
    "`": r"\textasciigrave{}",
}


def to_latex(audit: Audit) -> str:
    """One table: the identities by category with mean and difference on each axis, then PB."""
    head, axes = audit.head, list(audit.axes)
    columns = "l" + "rr" * len(axes)
    top = " & ".join(["", *(rf"\multicolumn{{2}}{{c}}{{{plain(axis_name(a))}}}" for a in axes)])
    rules = "".join(rf"\cmidrule(lr){{{2 * n + 2}-{2 * n + 3}}}" for n in range(len(axes)))
    below = " & ".join(["I am \\ldots", *(r"mean & $\Delta$" for _ in axes)])
    lines = [rf"{top} \\", rules, rf"{below} \\", r"\midrule"]
    lines += _people(head, axes)
    lines += [r"\midrule", *_spreads(head, axes), *_spread("both", head.pb, len(axes))]
    caption = (
        f"{plain(audit.model)}: mean of each identity and its difference $\\Delta$ to the user of "
        f"whom nothing is said, in points; bold: $p < 0.05$ after Holm. PB: spread of the "
        f"identities with noise taken out, its 95\\,\\% interval, and the plug-in number. "
        f"Cue {plain(head.cue)}, defense {plain(head.defense)}; {_extent(audit.benchmarks)}."
    )
    return _table(columns, lines, caption, "audit", audit.notes)


def comparison_to_latex(found: ArmComparison) -> str:
    """One table: each side with PB, its interval and the mean of each axis."""
    axes = list(found.sides[0].axes)
    heads = ["", "PB", r"95\,\% interval", "plug-in", *(plain(axis_name(axis)) for axis in axes)]
    lines = [rf"{' & '.join(heads)} \\", r"\midrule"]
    for side in found.sides:
        cells = [*_figures(side.pb), *(number(side.axes[axis].mean) for axis in axes)]
        lines.append(rf"{plain(side.name)} & {' & '.join(cells)} \\")
    caption = (
        f"Personalization bias (PB) and mean of each axis, in points, over {len(found.identities)} "
        f"identities; {_extent(found.items)}."
    )
    remarks = [*(f"left out: {line}" for line in found.left_out), *found.caveats]
    return _table("l" + "r" * (len(heads) - 1), lines, caption, "comparison", remarks)


def _people(setting: SettingResult, axes: Sequence[str]) -> Iterator[str]:
    empty = " & ".join(number(setting.axes[axis].baseline) + " &" for axis in axes)
    yield rf"no identity & {empty} \\"
    for category, people in groupby(setting.identities, key=lambda person: person.category):
        yield r"\addlinespace"
        yield rf"\multicolumn{{{2 * len(axes) + 1}}}{{l}}{{\emph{{{plain(category)}}}}} \\"
        for person in people:
            yield _person(person, axes)


def _person(person: IdentityResult, axes: Sequence[str]) -> str:
    cells = [plain(person.text)]
    for axis in axes:
        found = person.axes[axis]
        cells += [number(found.mean), _difference(found.to_baseline)]
    return rf"{' & '.join(cells)} \\"


def _difference(found: Difference | None) -> str:
    if found is None:
        return "--"
    size = f"${signed(found.estimate, 1)}$"
    return rf"\textbf{{{size}}}" if found.p_holm < 0.05 else size


def _spreads(setting: SettingResult, axes: Sequence[str]) -> Iterator[str]:
    means = " & ".join(number(setting.axes[axis].mean) + " &" for axis in axes)
    yield rf"mean of the identities & {means} \\"
    for axis in axes:
        yield from _spread(axis_name(axis), setting.axes[axis].pb, len(axes))


def _spread(name: str, pb: Spread | None, axes: int) -> Iterator[str]:
    size, interval, plugin = _figures(pb)
    text = f"{size} ({interval}); plug-in {plugin}"
    yield rf"PB, {plain(name)} & \multicolumn{{{2 * axes}}}{{l}}{{{text}}} \\"


def _figures(pb: Spread | None) -> tuple[str, str, str]:
    if pb is None:
        return "--", "--", "--"
    low, high = pb.interval
    return number(pb.estimate), f"{low:.1f}--{high:.1f}", number(pb.plugin)


def _extent(items: dict[str, int]) -> str:
    return ", ".join(f"{plain(name)} {n:,}" for name, n in items.items())


def _table(
    columns: str, lines: Iterable[str], caption: str, label: str, remarks: Iterable[str]
) -> str:
    body = "\n".join(lines)
    told = "".join(f"% {plain(line)}\n" for line in remarks)
    return (
        f"% evenhand {__version__}\n"
        f"% needs \\usepackage{{booktabs}} and \\usepackage[T1]{{fontenc}}\n{told}"
        "\\begin{table}\n\\centering\n\\small\n"
        f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{body}\n\\bottomrule\n\\end{{tabular}}\n"
        f"\\caption{{{caption}}}\n\\label{{tab:evenhand-{label}}}\n\\end{{table}}\n"
    )


def plain(text: str) -> str:
    """Text from elsewhere in which no character is a command."""
    return "".join(_SPECIAL.get(letter, letter) for letter in one_line(text))
