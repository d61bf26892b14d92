"""Where there is no sandbox, nothing is run and nothing is asked; there is no silent way around."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from evenhand import sandbox
from evenhand.cli import main
from evenhand.errors import SandboxError
from runs import run_main
from sandbox_limits import ADD, LIMITS
from server import serving

ACCEPT = "--i-accept-that-model-written-code-runs-here-unprotected"
TASK = {
    "task_id": "1",
    "prompt": 'def add(a, b):\n    """The sum."""\n',
    "entry_point": "add",
    "canonical_solution": "    return a + b\n",
    "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n",
}
NO_NAMESPACES = """#!/bin/sh
echo "bwrap: No permissions to create new namespace, likely because the kernel does not allow \
non-privileged user namespaces." >&2
exit 1
"""
FAKE_DOCKER = """#!{python}
import json, os, sys
with open({log!r}, "a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
if sys.argv[1] == "run":
    at = next(i for i, word in enumerate(sys.argv) if word.startswith("python:"))
    os.execvp({python!r}, [{python!r}, *sys.argv[sys.argv.index("python", at) + 1 :]])
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a programming task, and a PATH of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    (tmp_path / "bin").mkdir()
    (tmp_path / "tasks.jsonl").write_text(json.dumps(TASK))
    return tmp_path


def install(folder: Path, name: str, script: str) -> None:
    path = folder / "bin" / name
    path.write_text(script)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def complaint(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    code = run_main(arguments)
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1), err
    return err


@pytest.mark.parametrize("verb", ["plan", "audit"])
@pytest.mark.parametrize(
    ("bwrap", "told"),
    [
        (None, "apt install bubblewrap"),
        (NO_NAMESPACES, "needs user namespaces"),
        ("#!/bin/sh\nexit 0\n", "bubblewrap cannot make a sandbox here"),
        ("#!/nowhere\n", "cannot start a sandbox"),
    ],
)
def test_nothing_is_asked(
    verb: str, bwrap: str | None, told: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if bwrap:
        install(folder, "bwrap", bwrap)
    install(folder, "docker", "#!/bin/sh\nexit 0\n")  # which nobody has chosen
    with serving() as server:
        arguments = [verb, "openai/m", "-b", "tasks.jsonl", "--base-url", server.url]
        assert told in complaint(arguments, capsys)
        assert server.requests == []
    assert not list(folder.glob("runs/*"))


def test_other_benchmarks_need_no_sandbox(folder: Path) -> None:
    assert run_main(["plan", "organism", "-i", "religion", "--limit", "2"]) == 0
    assert not list((folder / "bin").iterdir())


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--sandbox", "none"], f"if you want that, add {ACCEPT}"),
        (["--sandbox", "bwarp"], 'unknown sandbox "bwarp"; did you mean "bwrap"?'),
        (["--sandbox", "docker"], "--sandbox docker: docker is not installed"),
        (["--sandbox", "podman"], "--sandbox podman: podman is not installed"),
    ],
)
def test_bad_choices(
    flags: list[str], told: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told in complaint(["plan", "openai/m", "-b", "tasks.jsonl", *flags], capsys)
    (folder / "p.py").write_text("print(1)")
    assert told in complaint(["sandbox", "run", "p.py", *flags], capsys)


def test_none_with_its_danger_accepted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "p.py").write_text("import os; print(os.getuid())")
    main(["sandbox", "run", "p.py", "--sandbox", "none", ACCEPT, "--format", "json"])
    ran = json.loads(capsys.readouterr().out)
    assert (ran["status"], ran["stdout"]) == ("ok", f"{os.getuid()}\n")


@pytest.mark.usefixtures("bubblewrap")
@pytest.mark.slow
def test_without_standard_input(tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text("print(6 * 7)")
    command = f"{sys.executable} -m evenhand sandbox run {tmp_path}/p.py <&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr


@pytest.mark.parametrize(
    ("content", "flags", "told"),
    [
        (b"x = '\xff'", [], "p.py: not UTF-8"),
        (b"#" * 5_000_000, [], "p.py: longer than 4 MiB"),
        (b"\x7fELF\x02\x01\xff", [], "p.py: not UTF-8"),
        (b"", ["--cpu", "-1"], "--cpu"),
        (b"", ["--cpu", "nan"], "--cpu"),
        (b"", ["--cpu", "99999999999999999999"], "--cpu"),
        (b"", ["--memory", "1"], "--memory"),
        (b"", ["--memory", "99999999999999999999"], "--memory"),
    ],
)
def test_bad_programs(
    content: bytes, flags: list[str], told: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "p.py").write_bytes(content)
    assert told in complaint(["sandbox", "run", "p.py", *flags], capsys)
    assert "cannot be read: Is a directory" in complaint(["sandbox", "run", "."], capsys)


def test_accepting_alone_changes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "p.py").write_text("print(1)")
    assert "apt install bubblewrap" in complaint(["sandbox", "run", "p.py", ACCEPT], capsys)


@pytest.mark.usefixtures("bubblewrap")
@pytest.mark.slow
def test_namespaces_forbidden_within_bubblewrap() -> None:
    """The kernel itself forbids them: a bubblewrap inside one that allows no more."""
    forbidding = ("bwrap", "--unshare-user", "--disable-userns", "--dev-bind", "/", "/", "--")
    told = subprocess.run(
        [*forbidding, sys.executable, "-m", "evenhand", "sandbox", "run", __file__],
        capture_output=True,
        text=True,
        check=False,
    )
    if "disable-userns" in told.stderr:
        pytest.skip(f"this bubblewrap cannot forbid namespaces: {told.stderr}")
    assert told.returncode == 2
    assert "bubblewrap cannot make a sandbox here" in told.stderr
    assert "Traceback" not in told.stderr


@pytest.mark.slow
def test_container(folder: Path) -> None:
    """Docker is not here: its place is taken by a program that notes how it is called."""
    log = folder / "log"
    install(folder, "docker", FAKE_DOCKER.format(python=sys.executable, log=str(log)))
    tester = sandbox.Tester("docker", LIMITS)
    assert tester.test(["def add(a, b): return a + b"], ADD).passed
    assert not tester.test(["import os; os._exit(0)"], ADD).passed
    slow = tester.test(["def add(a, b):\n while True: pass"], ADD)
    assert slow.status in ("timeout", "killed")
    tester.close()
    calls = [json.loads(line) for line in log.read_text().splitlines()]
    started = [call for call in calls if call[0] == "run"]
    assert len(started) == 4  # the tests' side, and three programs
    killed = {call[1] for call in calls if call[0] == "kill"}
    for call in started:
        line = " ".join(call)
        for flag in (
            "--rm --interactive --name evenhand-",
            "--network none --read-only",
            "--tmpfs /tmp:rw,noexec,nosuid,nodev,size=16m",
            "--user 65534:65534 --cap-drop ALL --security-opt no-new-privileges",
            "--pids-limit 64",
            "timeout -s KILL",
        ):
            assert flag in line
        assert "--privileged" not in line
        assert "--volume" not in line
        assert "-v" not in call
    assert started[0][call.index("--name") + 1] in killed  # the tests' side was ended at the end


def test_container_that_does_not_start(folder: Path) -> None:
    install(folder, "podman", "#!/bin/sh\necho 'Cannot connect to Podman' >&2\nexit 125\n")
    with pytest.raises(SandboxError, match=r"--sandbox podman cannot .*Cannot connect to Podman"):
        sandbox.check("podman")


def test_choice_ends_with_its_block() -> None:
    with sandbox.using("docker"):
        assert sandbox.chosen() == "docker"
    assert sandbox.chosen() == "bwrap"
