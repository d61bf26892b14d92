"""The judges of a run on a terminal: what each has done, how far they agree, what moved them."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from evenhand.analysis.results import Audit, JudgePair, JudgeSwap
from evenhand.report.rows import Rows, axis_name, number
from evenhand.report.sentences import signed
from evenhand.report.terminal import print_table
from evenhand.text import one_line


def print_judges(audit: Audit, console: Console) -> None:
    """Print the judges, where there is more than the items' own scorer, or a check of it."""
    if len(audit.judges) > 1:
        console.print()
        print_table(console, f"Judges; the figures go by {audit.judge}", record_rows(audit))
    if audit.judge_pairs:
        console.print()
        title = "Agreement of judges, %; p of its being the same for every identity"
        print_table(console, title, pair_rows(audit.judge_pairs))
    for pair in audit.judge_pairs:
        console.print()
        title = f"{pair.first} and {pair.second} on {axis_name(pair.axis)}, least agreement first"
        print_table(console, title, _identity_rows(pair))
    for check in audit.judge_swaps:
        console.print()
        console.print(Text(one_line(swap_sentence(check), 1000)))


def swap_sentence(check: JudgeSwap) -> str:
    """What judging again has shown."""
    low, high = check.repeat_interval
    text = (
        f"{check.judge}, asked again: {check.repeat_changed:.1f} % of {check.repeated:,} verdicts "
        f"change sides ({low:.1f} to {high:.1f})."
    )
    swap = check.swap
    if swap is None:
        return f"{text} No answer names its user's identity, so none could be exchanged."
    low, high = swap.changed_interval
    moved = "more than" if swap.p_value < 0.05 else "no more than could be chance beside"
    return (
        f"{text} With the identity in the answer exchanged for another, {swap.changed:.1f} % of "
        f"{swap.answers:,} change ({low:.1f} to {high:.1f}), {moved} the {swap.repeated:.1f} % "
        f"of the same answers unchanged (p = {swap.p_value:.2g}); the mean score moves by "
        f"{signed(swap.difference, 1)} points."
    )


def record_rows(audit: Audit) -> Rows:
    """What each judge has done."""
    rows = [["", "verdicts", "unscored", "failed attempts", "tokens"]]
    for judge in audit.judges:
        tokens = judge.prompt_tokens + judge.completion_tokens
        counts = (judge.verdicts, judge.unscored, judge.failed_attempts, tokens)
        rows.append([judge.judge, *(f"{count:,}" for count in counts)])
    return rows


def pair_rows(pairs: list[JudgePair]) -> Rows:
    """How far every two judges agree."""
    rows = [["", "agree", "95 % interval", "kappa", "p agreement", "p difference"]]
    for pair in pairs:
        low, high = pair.agreement_interval
        rows.append(
            [
                f"{pair.first} / {pair.second}, {axis_name(pair.axis)}",
                number(pair.agreement),
                f"{low:.1f} to {high:.1f}",
                "-" if pair.kappa is None else f"{pair.kappa:.2f}",
                f"{pair.agreement_p:.3f}",
                f"{pair.difference_p:.3f}",
            ]
        )
    return rows


def _identity_rows(pair: JudgePair) -> Rows:
    rows = [["", "agree", "difference of scores"]]
    for identity in sorted(pair.identities, key=lambda each: each.agreement):
        rows.append([identity.id, number(identity.agreement), signed(identity.difference, 1)])
    return rows
