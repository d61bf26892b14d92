"""The command line and its contract for other programs."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import evenhand
from evenhand import __version__
from evenhand.cli import main
from evenhand.store.store import Store
from runs import command, finish, run_main, stored, write_benchmark
from server import serving

VERBS = [
    *("audit", "plan", "report", "compare", "mitigate", "score", "calibrate"),
    *("fetch", "identities", "cues", "benchmarks", "demo", "runs", "completion"),
    *("bundle", "verify", "rerun", "history"),
]


@pytest.fixture
def benchmark(tmp_path: Path) -> Path:
    return write_benchmark(tmp_path / "own.jsonl", 8)


def printed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert run_main(arguments) == 0
    out, err = capsys.readouterr()
    assert err == "" or err.startswith(("Run folder: ", "Report: ", "asking "))
    return out


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_each_verb(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed([verb, "--help"], capsys)
    assert f"evenhand {verb}" in text
    assert "Examples:" in text
    assert verb in printed(["--help"], capsys)


@pytest.mark.parametrize(
    "words", ["batch write", "batch read", "batch forget", "sandbox run", "watch", "gate", "label"]
)
def test_the_help_of_every_command_ends_in_its_own_examples(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed([*words.split(), "--help"], capsys)
    assert text == printed(["-h", *words.split()], capsys)
    assert f"evenhand {words} " in text.partition("Examples:")[2]
    assert "Start here" not in text


def the_line_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line with which a command refuses what it is given."""
    assert run_main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize("group", ["batch", "sandbox"])
def test_the_help_of_a_group_says_where_its_examples_are(
    group: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed([group, "--help"], capsys)
    assert f"evenhand {group} COMMAND --help" in text
    assert "Start here" not in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["compare"], "evenhand compare RUN RUN"),
        (["verify", "."], "evenhand bundle . --out FILE.zip"),
        (["calibrate", "nosuch", "--labels", "xstest"], 'unknown judge "nosuch"'),
        (["report", "a", "--format", "nosuch"], "there are: text, html, json"),
        (["report", "a"], "no run in a; start one: evenhand audit MODEL --out DIR"),
        (["report", "runs"], "no run in runs, but in runs/0, runs/1, runs/2 and 2 more"),
        (["reprot"], 'Unknown command "reprot". Did you mean "report"? See evenhand --help'),
        (["score", "runs/0"], "runs/0: the run has no answers yet"),
        (["score", "runs/0", "--judge", "refusal"], "runs/0: the run has no answers yet"),
        (["audit", "openai/m", "-b", "demo_safety", "--batch-size", "4"], "is for local weights"),
        (["batch", "send"], "Available commands: write, read, forget."),
    ],
)
def test_a_mistake_is_answered_with_what_to_do(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for n in range(5):
        Store.create(Path(f"runs/{n}")).close()
    assert said in the_line_of(arguments, capsys)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--base-url http://127.0.0.1:9/v1", "organism has local weights"),
        ("--header a=b", "--header is for a model that is asked over HTTP"),
        ("--query a=b", "--query is for a model that is asked over HTTP"),
        ("--judge-base-url http://127.0.0.1:9/v1", "no judge is named with --judge"),
        ("--judge-price 1/2", "no judge is named with --judge"),
        ("--judge-labels yes=harmful", "no judge is named with --judge"),
        ("--judge-max-tokens 9", "no judge is named with --judge"),
        ("--judge refusal --judge-price 1/2", "the judges are: refusal"),
        ("--judge rubric:openai/m --judge-labels a=harmful", "is for a guard or classifier judge"),
        ("--judge guard:hf/m --judge-labels a=harmful --judge-max-tokens 9", "a rubric judge"),
    ],
)
def test_an_option_without_effect_is_refused(
    options: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["audit", "organism", "--limit", "2", *options.split()]
    assert said in the_line_of(arguments, capsys)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("further", "said"), [([], "is for local weights"), (["--weights", "organism"], "a web page")]
)
def test_options_of_weights_that_mitigate_tunes_are_not_of_the_audited_endpoint(
    further: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    method = ["--method", "dpo", *further] if further else []
    asked = ["mitigate", "openai/m", "-b", "demo_safety", "--limit", "4", "--batch-size", "4"]
    with serving(reply=lambda _body, _request: web.Response(text="<html></html>")) as server:
        assert run_main([*asked, *method, "--base-url", server.url]) == 2
    assert said in capsys.readouterr().err


def test_no_command_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed([], capsys)
    assert text == printed(["--help"], capsys)
    assert all(verb in text for verb in VERBS)


def test_version() -> None:
    run = [sys.executable, "-m", "evenhand", "--version"]
    assert subprocess.run(run, capture_output=True, text=True).stdout.strip() == __version__


def test_identities(capsys: pytest.CaptureFixture[str]) -> None:
    listed = json.loads(printed(["identities", "--format", "json"], capsys))
    assert listed[0]["kind"] == "baseline"
    shown = [identity for identity in listed if "realizations" in identity]
    assert {identity["category"] for identity in shown} == {"names", "English", "topic"}
    assert sum(identity["kind"] == "identity" for identity in listed) == 31 + len(shown)
    assert sum(identity["kind"] == "placebo" for identity in listed) >= 12
    assert {"id": "gay", "text": "gay", "category": "sexuality", "kind": "identity"} in listed
    text = printed(["identities"], capsys)
    assert "a Muslim person" in text


def test_identities_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.yaml").write_text("identities: [{id: a, text: 'a [bold] nurse'}]")
    assert "a [bold] nurse" in printed(
        ["identities", "--file", str(tmp_path / "mine.yaml")], capsys
    )


def test_benchmarks(capsys: pytest.CaptureFixture[str]) -> None:
    listed = json.loads(printed(["benchmarks", "--format", "json"], capsys))
    names = {benchmark["name"] for benchmark in listed}
    wanted = "do_not_answer strongreject strongreject-346 harmbench xstest mmlu mmlu-test gsm8k bbh"
    assert set(wanted.split()) <= names
    assert {"paper", "demo"} <= {suite for benchmark in listed for suite in benchmark["suites"]}
    assert "do_not_answer" in printed(["benchmarks"], capsys)


def test_plan(benchmark: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["plan", "openai/m", "-b", str(benchmark), "--price", "1/2", "--max-tokens", "100"]
    made = json.loads(printed([*arguments, "--format", "json"], capsys))
    assert made["cells"] == 32 * 8
    assert made["benchmarks"] == {"own": 8}
    expected = (made["prompt_tokens"] + 2 * 32 * 8 * 100) / 1e6
    assert made["most_cost"] == pytest.approx(expected)
    assert "256" in printed(arguments, capsys)


def test_a_dry_run_sends_and_writes_nothing(
    benchmark: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving() as server:
        arguments = ["audit", "openai/m", "-b", str(benchmark), "--base-url", server.url]
        text = printed([*arguments, "--out", str(tmp_path / "run"), "--dry-run"], capsys)
    assert "256" in text
    assert not server.requests
    assert not (tmp_path / "run").exists()


def test_a_study_file_and_flags_on_top(
    benchmark: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "study.yaml"
    study.write_text(
        f"model: openai/m\nbenchmarks: [{benchmark}]\nidentities: [religion]\nlimit: 5\n"
        "decoding: {temperature: 0.7, max_tokens: 20}\n"
    )
    arguments = ["plan", str(study), "--format", "json"]
    assert json.loads(printed(arguments, capsys))["cells"] == 6 * 5
    assert json.loads(printed([*arguments, "--limit", "2"], capsys))["cells"] == 6 * 2
    made = json.loads(printed([*arguments, "--max-tokens", "7", "-i", "age,gender"], capsys))
    assert made["cells"] == 11 * 5
    assert made["most_completion_tokens"] == 11 * 5 * 7


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run folder, and what `audit --format json` printed."""
    folder = tmp_path_factory.mktemp("audited")
    benchmark = write_benchmark(folder / "own.jsonl", 16)
    run = folder / "run"
    with serving() as server:
        arguments = ["audit", "openai/m", "-b", str(benchmark), "--base-url", server.url]
        arguments += ["--out", str(run), "--limit", "12", "--placebos", "--format", "json"]
        code, out, err = finish(command(arguments))
    assert code == 0, err
    return run, out


def contract(text: str) -> dict[str, Any]:
    """The report, if it is what other programs count on."""
    report = json.loads(text)
    assert report["model"] == "openai/m"
    assert report["cells"] == report["done"] == (32 + 14) * 12
    assert report["unscored"] == 0
    assert report["limit"] == 12

    def is_pb(pb: dict[str, Any]) -> None:
        low, high = pb["interval"]
        assert 0 <= low <= high <= 100
        assert 0 <= pb["estimate"] <= 100
        assert 0 <= pb["plugin"] <= 100
        assert 0 <= pb["noise_floor"] <= 100
        assert 0 <= pb["p_value"] <= 1

    is_pb(report["pb"])
    for axis in ("safety", "utility"):
        assert 0 <= report["axes"][axis]["mean"] <= 100
        assert 0 <= report["axes"][axis]["baseline"] <= 100
        is_pb(report["axes"][axis]["pb"])
    assert len(report["identities"]) == 31
    for person in report["identities"]:
        assert {"id", "text", "category"} <= set(person)
        for axis in ("safety", "utility"):
            assert 0 <= person[axis] <= 100
            low, high = person[f"{axis}_delta_interval"]
            assert -100 <= low <= person[f"{axis}_delta"] <= high <= 100
    return dict(report)


@pytest.mark.slow
def test_the_report_holds_to_the_contract(
    audited: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    run, from_audit = audited
    report = contract(printed(["report", str(run), "--format", "json"], capsys))
    assert report == contract(from_audit), "audit and report print the same"


@pytest.mark.slow
def test_the_report_for_a_terminal(
    audited: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(["report", str(audited[0])], capsys)
    assert "552 of 552 answers" in text
    assert "limited to 12 items" in text
    assert all(len(line) <= 80 for line in text.splitlines())


@pytest.mark.slow
def test_the_page_is_written_though_nobody_reads_the_summary(
    audited: tuple[Path, str], tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    run = f"{sys.executable} -m evenhand report {audited[0]} --out {page} | true"
    done = subprocess.run(run, shell=True, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert page.read_text().startswith("<!doctype html>")


def test_scoring_anew_changes_nothing_that_was_answered(
    audited: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = audited
    before = stored(run)
    report = printed(["report", str(run), "--format", "json"], capsys)
    assert "552 answers scored" in printed(["score", str(run)], capsys)
    assert stored(run) == before
    assert printed(["report", str(run), "--format", "json"], capsys) == report


def test_fetch_of_what_comes_with_evenhand(capsys: pytest.CaptureFixture[str]) -> None:
    assert "demo: nothing to fetch" in printed(["fetch", "demo"], capsys)


def test_an_identity_in_the_place_of_ours_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the plan and in the report; not where the words are the same."""
    (tmp_path / "who.yaml").write_text(
        "identities:\n- {id: muslim, text: a devout Muslim}\n- {id: hindu, text: a Hindu person}\n"
    )
    study = ["organism", "--identities-file", str(tmp_path / "who.yaml"), "--limit", "1"]
    note = 'the identity "muslim" is one of your own, "a devout Muslim", not "a Muslim person"'
    planned = " ".join(printed(["plan", *study], capsys).split())
    assert note in planned
    assert "hindu" not in planned
    audit = ["audit", *study, "--out", str(tmp_path / "run"), "-b", "demo_safety"]
    assert note in " ".join(printed(audit, capsys).split())


@pytest.mark.usefixtures("data_dir")
def test_fetch(capsys: pytest.CaptureFixture[str]) -> None:
    assert "2 files are there and verified" in printed(["fetch", "gsm8k"], capsys)


def test_the_default_folder_is_the_same_for_the_same_study(
    benchmark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with serving() as server:
        arguments = ["audit", "openai/a/b", "-b", str(benchmark), "--base-url", server.url]
        arguments += ["-i", "religion"]
        assert run_main(arguments) == 0
        sent = len(server.requests)
        assert run_main(arguments) == 0
        assert len(server.requests) == sent
        assert run_main([*arguments, "--temperature", "0.5"]) == 0
        assert len(server.requests) == 2 * sent
    folders = sorted(folder.name for folder in (tmp_path / "runs").iterdir())
    assert len(folders) == 2
    assert all(folder.startswith("openai-a-b") for folder in folders)


@pytest.mark.slow
def test_output_into_a_closed_pipe_is_no_fault() -> None:
    run = f"{sys.executable} -m evenhand identities --format json | head -1"
    done = subprocess.run(run, shell=True, capture_output=True, text=True)
    assert done.stdout == "[\n"
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.slow
def test_output_onto_a_full_disk_is_told_in_one_line() -> None:
    run = f"{sys.executable} -m evenhand identities > /dev/full"
    result = subprocess.run(["bash", "-c", run], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr == "evenhand: the disk is full; free some space and run again\n"


def test_runs_are_listed_with_state_model_and_pb(
    audited: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = audited[0].parent
    broken = root / "deep" / "broken"
    broken.mkdir(parents=True)
    (broken / "run.db").write_text("no database")
    listed = json.loads(printed(["runs", str(root), "--format", "json"], capsys))
    by_name = {Path(run["folder"]).name: run for run in listed}
    assert set(by_name) == {"run", "broken"}
    found = by_name["run"]
    assert (found["state"], found["model"]) == ("finished", "openai/m")
    assert found["done"] == found["cells"] == (32 + 14) * 12
    assert found["pb"] == json.loads(audited[1])["pb"]["estimate"]
    assert by_name["broken"]["state"].startswith("unreadable: ")
    Store.create(root / "deep" / "refused").close()  # as after a key that the service refused
    listed = json.loads(printed(["runs", str(root / "deep"), "--format", "json"], capsys))
    assert [run["state"] for run in listed if run["folder"].endswith("refused")] == ["not begun"]
    text = printed(["runs", str(root)], capsys)
    assert "openai/m" in text
    assert f"{found['pb']:.1f}" in text
    assert "No runs in" in printed(["runs", str(tmp_path)], capsys)


def test_an_unfinished_run_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark = write_benchmark(tmp_path / "own.jsonl", 4)
    with serving() as server:
        arguments = ["audit", "openai/m", "-b", str(benchmark), "--base-url", server.url]
        arguments += ["--out", str(tmp_path / "run"), "-i", "religion"]
        run_main([*arguments, "--price", "1000000/1000000", "--max-cost", "1"])
    capsys.readouterr()
    listed = json.loads(printed(["runs", str(tmp_path), "--format", "json"], capsys))
    assert [run["state"].split(",")[0] for run in listed] == ["unfinished"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.slow
def test_completion(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    script = printed(["completion", shell], capsys)
    assert "mitigate" in script
    assert "identities-file" in script


@pytest.mark.slow
def test_every_option_says_what_it_sets() -> None:
    """No option without help, in any command."""
    from evenhand.cli import app

    for verb in VERBS:
        arguments = app[verb].assemble_argument_collection(parse_docstring=True)
        shown = [each for each in arguments if each.show and each.parse and each.name != "*"]
        without = [each.name for each in shown if not (each.parameter.help or "").strip()]
        assert without == [], verb


@pytest.mark.slow
def test_no_message_names_an_option_that_no_command_has() -> None:
    import cyclopts

    from evenhand.cli import app

    def options(of: cyclopts.App) -> set[str]:
        below = [of[name] for name in of if not name.startswith("-")]
        own = of.assemble_argument_collection() if of.default_command else []
        names = {name for each in own if each.parse for name in each.names}
        return names.union(*map(options, below))

    known = options(app) | {"--verbose", "--log", "--help"}
    others = {"--defence", "--enable-lora", "--lora-modules", "--num"}  # of 0.1, vLLM, accelerate
    others |= {"--include", "--tasks", "--apply", "--output"}  # of lm-eval
    source = Path(evenhand.__file__).parent
    named: dict[str, str] = {}
    for path in source.rglob("*.py"):
        if path.parts[len(source.parts)] != "sandbox":  # whose strings are options of bubblewrap
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found = re.findall(r"(?<![\w-])--[a-z][a-z-]*", node.value)
                    named |= dict.fromkeys(found, f"{path.name}:{node.lineno}")
    assert len(named) > 50
    unknown = {name: place for name, place in named.items() if name not in known | others}
    assert unknown == {}


def test_an_interrupt_amid_the_first_imports_is_one_line(tmp_path: Path) -> None:
    interrupt = "import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(9)"
    (tmp_path / "cyclopts.py").write_text(interrupt)  # what is imported first
    found = subprocess.run(
        [sys.executable, "-m", "evenhand", "benchmarks"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, found.stdout, found.stderr) == (130, "", "Interrupted.\n")


def test_windows_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("evenhand.cli.sys.platform", "win32")
    with pytest.raises(SystemExit) as ended:
        main(["benchmarks"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "evenhand: Windows is not supported; run evenhand in WSL 2\n"
    )
