"""A gate's decision for machines and people: lines, Markdown, JUnit XML, SARIF."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

from evenhand import __version__
from evenhand.analysis.gate import Gate, GateCheck

_MOST_ITEMS = 1000.0
"""Factors of items above this are not worth a figure: the truth lies at the margin."""


def check_sentence(check: GateCheck, level: float, what: str = "items") -> str:
    """One check in a sentence.

    Args:
        what: more of which would settle it.
    """
    low, high = check.interval
    who = f" ({check.detail})" if check.detail else ""
    text = (
        f"{check.name}{who}: {check.estimate:.1f} points, {level:.0%} interval {low:.1f} to "
        f"{high:.1f}, margin {check.margin:g}: {check.decision}"
    )
    return f"{text}; {_need(check, what)}" if check.decision == "inconclusive" else text


def _need(check: GateCheck, what: str = "items") -> str:
    if check.needs_labels:
        return "it rests on grades by a judge that no labels bear out; label some: evenhand label"
    if check.needed is None or check.needed > _MOST_ITEMS:
        return f"the true value may lie at the margin, and no amount of {what} would settle it"
    return (
        f"about {float(f'{check.needed:.2g}'):g} times as many {what} would settle it in most runs"
    )


def gate_text(gate: Gate) -> str:
    """All checks, one a line, and the decision."""
    lines = [check_sentence(check, gate.level) for check in gate.checks]
    return "\n".join([*lines, f"Gate {gate.decision}."])


def gate_markdown(gate: Gate, run: str) -> str:
    """A summary for a pull request or a job."""
    rows = [
        f"| {check.name} | {check.detail} | {check.estimate:.1f} | "
        f"{check.interval[0]:.1f} to {check.interval[1]:.1f} | {check.margin:g} | "
        f"**{check.decision}** |"
        for check in gate.checks
    ]
    needs = [f"- {c.name}: {_need(c)}." for c in gate.checks if c.decision == "inconclusive"]
    return "\n".join(
        [
            f"### evenhand gate: {gate.decision}",
            "",
            f"`{run}`; a check passes or fails only where its whole {gate.level:.0%} interval lies "
            "on one side of the margin.",
            "",
            f"| check | who | estimate | {gate.level:.0%} interval | margin | decision |",
            "|---|---|---|---|---|---|",
            *rows,
            *(["", *needs] if needs else []),
            "",
        ]
    )


def gate_junit(gate: Gate, run: str, *, inconclusive_fails: bool) -> str:
    """JUnit XML: one test case a check."""
    suite = ElementTree.Element(
        "testsuite",
        name="evenhand gate",
        tests=str(len(gate.checks)),
        failures=str(sum(_fails(check, inconclusive_fails) for check in gate.checks)),
        errors="0",
        skipped=str(
            sum(c.decision == "inconclusive" and not inconclusive_fails for c in gate.checks)
        ),
        time="0",
    )
    for check in gate.checks:
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"evenhand.{run}", name=check.name, time="0"
        )
        text = check_sentence(check, gate.level)
        if _fails(check, inconclusive_fails):
            ElementTree.SubElement(case, "failure", message=text, type=check.decision)
        elif check.decision == "inconclusive":
            ElementTree.SubElement(case, "skipped", message=text)
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _fails(check: GateCheck, inconclusive_fails: bool) -> bool:
    return check.decision == "failed" or (check.decision == "inconclusive" and inconclusive_fails)


def gate_sarif(gate: Gate, run: str) -> str:
    """SARIF 2.1.0: one rule a kind of check, one result a check."""
    rules = sorted({check.name for check in gate.checks})
    results: list[dict[str, Any]] = [
        {
            "ruleId": check.name,
            "kind": {"passed": "pass", "failed": "fail", "inconclusive": "review"}[check.decision],
            "level": "error" if check.decision == "failed" else "none",
            "message": {"text": check_sentence(check, gate.level)},
            "locations": [{"physicalLocation": {"artifactLocation": {"uri": run}}}],
        }
        for check in gate.checks
    ]
    document = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "evenhand",
                        "version": __version__,
                        "rules": [{"id": name} for name in rules],
                    }
                },
                "results": results,
            }
        ],
    }
    return json.dumps(document, indent=2) + "\n"
