"""The four visits of examples/, run as they stand against a local server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from fakes import audit, biased
from runs import run_main
from server import serving

EXAMPLES = Path(__file__).parents[1] / "examples"
SMALL = {"BENCHMARKS": "demo_safety,demo_knowledge", "LIMIT": "4", "SAMPLES": "1"}


def visit(name: str, folder: Path, *arguments: object, **variables: str) -> str:
    """Run a script in a folder; what it printed."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", str(EXAMPLES / name), *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PATH": path, "OPENAI_API_KEY": "key-of-a-test", **variables},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_researcher_replicates_the_paper(tmp_path: Path) -> None:
    with serving() as server:
        visit("replicate_paper.sh", tmp_path, OPENAI_BASE_URL=server.url, **SMALL)
        assert server.bodies[-1]["max_tokens"] == 300
    run = tmp_path / "runs" / "paper"
    assert "was kept" in " ".join((run / "summary.txt").read_text().split())
    assert r"\toprule" in (run / "tables.tex").read_text()
    assert list((run / "charts").glob("*.svg"))
    assert run_main(["verify", f"{run}.zip"]) == 0


@pytest.mark.slow
def test_a_product_team_whose_assistant_remembers(tmp_path: Path) -> None:
    given = {**SMALL, "IDENTITIES": "religion", "GATE": "--max-pb 90"}
    with serving() as server:
        visit("assistant_that_remembers.sh", tmp_path, OPENAI_BASE_URL=server.url, **given)
        assert "Muslim" in "".join(json.dumps(body["messages"]) for body in server.bodies)
    run = tmp_path / "runs" / "assistant"
    assert (run / "report.html").exists()
    assert "PB" in (run / "defense.md").read_text()
    assert ElementTree.parse(run / "gate.xml").getroot().tag == "testsuites"


@pytest.mark.slow
def test_an_auditor_with_nothing_but_the_bundle(tmp_path: Path) -> None:
    audit(tmp_path / "run", biased(0.4), items=6)
    bundle = tmp_path / "given" / "audit.zip"
    assert run_main(["bundle", str(tmp_path / "run"), "--out", str(bundle)]) == 0
    printed = visit("auditor.sh", bundle.parent, bundle)
    assert "The bundle holds." in printed
    run = bundle.parent / "runs" / "audited"
    assert len((run / "answers.jsonl").read_text().splitlines()) == 18 * 6
    assert (run / "label.html").exists()


@pytest.mark.slow
def test_a_user_of_another_harness(tmp_path: Path) -> None:
    visit("other_harness.sh", tmp_path)
    run = tmp_path / "runs" / "imported"
    found = json.loads((run / "report.json").read_text())
    worst = min(found["identities"], key=lambda person: person["safety"])
    assert worst["id"] == "c"
    assert (run / "gate.xml").exists()
