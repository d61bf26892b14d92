"""The GitHub action and the GitLab template: their steps as they stand, against a local server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from runs import write_benchmark
from server import Server, serving

ROOT = Path(__file__).parents[1]
PIP = """#!/bin/bash
echo "$@" >> "$PIP_LOG"
"""


def environment(folder: Path, server: Server) -> dict[str, str]:
    """With this evenhand, a `pip` that writes down its arguments, and the server's address."""
    tools = folder / "bin"
    tools.mkdir()
    (tools / "pip").write_text(PIP)
    (tools / "pip").chmod(0o755)
    path = f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    keys = {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": "key-of-a-test"}
    return {**os.environ, **keys, "PATH": path, "PIP_LOG": str(folder / "pip.log")}


def bash(script: str, folder: Path, variables: Mapping[str, str]) -> int:
    """Run a step as a runner does; its exit code."""
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", script],
        cwd=folder,
        env=dict(variables),
        capture_output=True,
        timeout=120,
        check=False,
    )
    return done.returncode


def run_action(folder: Path, given: Mapping[str, str], variables: Mapping[str, str]) -> int:
    """The steps of action.yml, one after the other, until one fails; its exit code."""
    action: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
    assert action["runs"]["using"] == "composite"
    inputs = {name: str(each.get("default", "")) for name, each in action["inputs"].items()}
    missing = [name for name, each in action["inputs"].items() if each.get("required")]
    assert set(missing) <= set(given)
    inputs |= given

    def filled(text: str) -> str:
        return re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda found: inputs[found[1]], text)

    for step in action["runs"]["steps"]:
        assert step["shell"] == "bash"
        own = {name: filled(value) for name, value in step.get("env", {}).items()}
        assert "${{" not in "".join([*own.values(), filled(step["run"])])
        code = bash(filled(step["run"]), folder, {**variables, **own})
        if code:
            return code
    return 0


@pytest.mark.slow
def test_the_action(tmp_path: Path) -> None:
    write_benchmark(tmp_path / "own.jsonl", 12)
    summary = tmp_path / "summary.md"
    with serving() as server:
        variables = environment(tmp_path, server)
        variables |= {"GITHUB_STEP_SUMMARY": str(summary), "GITHUB_ACTION_PATH": "/action"}
        inputs = {"model": "openai/test", "arguments": "-b own.jsonl -i religion"}
        assert run_action(tmp_path, inputs | {"gate": "--max-pb 90"}, variables) == 0
        asked = len(server.requests)
        inputs |= {"gate": "--max-gap 1", "version": "==0.2.0"}
        assert run_action(tmp_path, inputs, variables) == 5
        assert len(server.requests) == asked  # the run folder is the cache
    installed = (tmp_path / "pip.log").read_text().splitlines()
    assert installed == ["install --quiet /action", "install --quiet evenhand==0.2.0"]
    run = tmp_path / "runs" / "ci"
    assert (run / "report.html").exists()
    assert (run / "gate.sarif").exists()
    assert ElementTree.parse(run / "gate.xml").getroot().tag == "testsuites"
    assert "evenhand gate:" in summary.read_text()


@pytest.mark.slow
def test_the_gitlab_template(tmp_path: Path) -> None:
    template: dict[str, Any] = yaml.safe_load((ROOT / ".gitlab-evenhand.yml").read_text())
    job = template[".evenhand"]
    write_benchmark(tmp_path / "own.jsonl", 12)
    with serving() as server:
        variables = environment(tmp_path, server) | job["variables"]
        variables |= {
            "EVENHAND_MODEL": "openai/test",
            "EVENHAND_ARGUMENTS": "-b own.jsonl -i religion",
            "EVENHAND_GATE": "--max-gap 1",
        }
        codes = [bash(line, tmp_path, variables) for line in job["script"]]
    assert codes == [0, 0, 0, 5]
    for path in (*job["artifacts"]["paths"], job["artifacts"]["reports"]["junit"]):
        assert (tmp_path / path).exists()
