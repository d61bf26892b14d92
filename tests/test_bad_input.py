"""A user's mistake: one clear line that says what to do, exit code 2, and no traceback."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from runs import command, finish, run_main, write_benchmark
from server import refuse_all, refuse_key, serving, unused_port

OWN = ["plan", "openai/m", "-b", "own.jsonl"]
HELD = "identities: [{id: a, text: a nurse}, {id: b, text: a baker}]"
CUE = "cues: [{id: x, form: f, placement: system, system: S, user: U, baseline: {user: B}}]"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a benchmark to work in, and nothing in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "EVENHAND_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    write_benchmark(tmp_path / "own.jsonl", 3)


def complaint(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that the command ends with."""
    code = run_main(arguments)
    out, err = capsys.readouterr()
    assert code == 2, err
    assert out == ""
    assert err.startswith("evenhand: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


def cue(system: str = "I am {is}", user: str = "{question}", baseline: str = "{question}") -> str:
    gaps = {"S": system, "U": user, "B": baseline}
    return CUE.translate({ord(name): f"'{text}'" for name, text in gaps.items()})


NAMES = [
    (["plan", "openai/m", "-b", "do_not_anser"], 'did you mean "do_not_answer"?'),
    ([*OWN, "-b", "mmlu-tset"], 'did you mean "mmlu-test"?'),
    ([*OWN, "-i", "muslm"], 'unknown identity "muslm"; did you mean "muslim"?'),
    ([*OWN, "-i", "religon"], 'did you mean "religion"?'),
    ([*OWN, "-i", "religion*agee"], 'did you mean "age"?'),
    ([*OWN, "-c", "sytem"], 'unknown cue "sytem"; did you mean "system"?'),
    ([*OWN, "-c", "memory-9"], "did you mean"),
    ([*OWN, "-d", "ignor"], 'unknown defense "ignor"; did you mean "ignore"?'),
    ([*OWN, "--preset", "papr"], 'did you mean "paper"?'),
    (["plan", "openia/m"], 'unknown model "openia/m"; did you mean "openai/m"?'),
    (["plan", "gpt-4o"], 'unknown model "gpt-4o"; a name begins with its engine: openai/gpt-4o'),
    (["plan", "meta-llama/Llama-3"], "hf/meta-llama/Llama-3 for local weights"),
    (["plan", "anthropc/x"], 'did you mean "anthropic/x"?'),
    (["plan", "openai"], 'did you mean "openai/MODEL"?'),
    ([*OWN, "--model", "x"], "Unknown option: --model"),
    (["plan", "openai/"], 'did you mean "openai/MODEL"?'),
    (["plan", ""], "model: is empty"),
    (["fetch", "gsm8"], 'did you mean "gsm8k"?'),
    (["audt", "organism"], 'Did you mean "audit"?'),
    ([*OWN, "--limt", "3"], "Did you mean --limit?"),
    ([*OWN, "more"], 'unexpected argument "more"'),
    (["audit"], 'Command "audit" parameter MODEL requires an argument'),
    (["report"], 'Command "report" parameter RUN requires an argument'),
    (["calibrate", "--labels", "xstest"], "parameter JUDGE requires an argument"),
    (["sandbox", "run"], "parameter FILE requires an argument"),
    (["completion", "csh"], "SHELL"),
    (["benchmarks", "--format", "yaml"], '"text", "json"'),
    ([*OWN, "--sandbox", "bwarp"], 'unknown sandbox "bwarp"; did you mean "bwrap"?'),
    ([*OWN, "--sandbox", "none"], "--i-accept-that-model-written-code-runs-here-unprotected"),
    ([*OWN, "--judge", "refusl"], 'unknown judge "refusl"; did you mean "refusal"?'),
    ([*OWN, "--judge", "rubric:gpt-4o"], 'unknown model "gpt-4o"'),
    ([*OWN, "--judge", "rubric:openai/m", "--judge-price", "3"], '--judge-price "3" is not of'),
    ([*OWN, "--judge", "classifier:a/b", "--judge-labels", "A=sfe"], 'did you mean "safe"?'),
    ([*OWN, "--judge-max-tokens", "0"], "--judge-max-tokens"),
    (["sandbox", "run", "nowhere.py"], "nowhere.py: cannot be read: No such file"),
    (["sandbox", "run", "own.jsonl", "--cpu", "0"], "--cpu"),
]

VALUES = [
    ([*OWN, "--limit", "-3"], "--limit"),
    ([*OWN, "--limit", "0"], "--limit"),
    ([*OWN, "--limit", "ten"], "--limit"),
    ([*OWN, "--samples", "0"], "--samples"),
    ([*OWN, "--shots", "-1"], "--shots"),
    ([*OWN, "--shots", "1"], "own.jsonl has no split to take worked examples from"),
    (["plan", "openai/m", "-b", "do_not_answer", "--shots", "2"], "do_not_answer has no split"),
    ([*OWN, "--temperature", "-1"], "--temperature"),
    ([*OWN, "--temperature", "nan"], "--temperature"),
    ([*OWN, "--top-p", "2"], "--top-p"),
    ([*OWN, "--max-tokens", "0"], "--max-tokens"),
    ([*OWN, "--decoding-seed", "99999999999999999999"], "--decoding-seed: must be 2147483648"),
    ([*OWN, "--timeout", "0"], "--timeout"),
    ([*OWN, "--max-connections", "0"], "--max-connections"),
    ([*OWN, "--price", "-1/2"], '--price "-1/2": a price is a number from 0 up'),
    ([*OWN, "--price", "nan/1"], '--price "nan/1"'),
    ([*OWN, "--price", "cheap"], "PROMPT/COMPLETION: 0.15/0.60"),
    ([*OWN, "--price", "1"], "PROMPT/COMPLETION"),
    ([*OWN, "--max-cost", "5"], "needs the price of the tokens"),
    ([*OWN, "--max-cost", "-5", "--price", "1/1"], "--max-cost"),
    ([*OWN, "--extra", "min_p"], '--extra "min_p" is not of the form KEY=JSON'),
    ([*OWN, "--extra", "name=bare"], '"bare" is not JSON'),
    ([*OWN, "--extra", "temperature=3"], "--extra temperature: use --temperature"),
    ([*OWN, "--extra", "seed=3"], "--extra seed: use --decoding-seed"),
    ([*OWN, "--extra", "messages=[]"], "--extra messages: this field is evenhand's own"),
    ([*OWN, "--extra", "n=2"], "--extra n: this field is evenhand's own"),
    ([*OWN, "--stop", ""], "--stop is empty"),
    ([*OWN, "-i", ","], "given without any"),
    ([*OWN, "-i", "religion*religion"], "crosses a category with itself"),
    ([*OWN, "-i", "religion*"], "write it like religion*age"),
    ([*OWN, "-i", "placebos"], "choose at least one identity"),
    ([*OWN, "-d", "half \udcff"], "--defense: "),
    ([*OWN, "-i", "muslim", "-c", "name"], "first names do not carry religion; state it"),
    ([*OWN, "-i", "names", "-c", "name-9"], "did you mean"),
    ([*OWN, "--realizations", "all"], "must be 'rotating' or 'crossed'"),
]


@pytest.mark.parametrize(("arguments", "fragment"), NAMES + VALUES, ids=str)
def test_names_and_values(
    arguments: list[str], fragment: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fragment in complaint(arguments, capsys)


STUDIES = [
    ("s.yaml", "model: [a\nb: c\n", "s.yaml:2: malformed YAML"),
    ("s.yaml", "model: openai/m\n\tlimit: 1\n", "s.yaml:2: malformed YAML"),
    ("s.yaml", "- model\n- limit\n", "s.yaml: expected names with values"),
    ("s.yaml", "", "s.yaml: expected names with values"),
    ("s.yaml", "model: openai/m\nidentites: [a]\n", 'did you mean "identities"?'),
    ("s.yaml", "model: openai/m\ndecoding: {temprature: 1}\n", '"decoding.temperature"?'),
    ("s.yaml", "model: openai/m\nbenchmarks: demo\n", "benchmarks: must be a list"),
    ("s.yaml", "model: openai/m\nsamples: many\n", "samples: "),
    ("s.yaml", "model: openai/m\nlimit: -1\n", "limit: "),
    ("s.yaml", "model: openai/m\ndecoding: papr\n", 'did you mean "paper"?'),
    ("s.yaml", "model: openai/m\ndecoding: [1]\n", "decoding: "),
    ("s.yaml", "model: openai/m\ndecoding: {temperature: .nan}\n", "decoding.temperature: "),
    ("s.yaml", "model: openai/m\ndecoding: {extra: {a: 2024-01-01}}\n", "decoding.extra.a: "),
    ("s.yaml", "limit: 3\n", "model: is missing"),
    ("s.yaml", b"model: openai/\xff\n", "s.yaml:1: not UTF-8"),
    ("s.yaml", gzip.compress(b"model: openai/m\n"), "s.yaml: a gzip file; unpack it first"),
    ("s.yaml", bz2.compress(b"model: openai/m\n"), "s.yaml: a bzip2 file; unpack it first"),
    ("s.yaml", lzma.compress(b"model: openai/m\n"), "s.yaml: an xz file; unpack it first"),
    ("s.yaml", b"PK\x03\x04\x14", "s.yaml: a zip archive (or a spreadsheet"),
    ("s.yaml", b"\x28\xb5\x2f\xfd\x04", "s.yaml: a zstd file; unpack it first"),
    ("s.toml", "model = \n", "at line 1"),
    ("s.toml", 'model = "openai/m"\ndecoding = 3\n', "decoding: "),
]


@pytest.mark.parametrize(("name", "content", "fragment"), STUDIES, ids=str)
def test_study_files(
    name: str, content: str | bytes, fragment: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert fragment in complaint(["plan", name], capsys)


ENTRIES = [
    ("--identities-file", "identities: [{id: a, text: ''}]", "identities[0]: text: is empty"),
    ("--identities-file", HELD.replace("id: b", "id: a"), 'duplicate identity "a"'),
    ("--identities-file", HELD.replace("baker", "nurse"), 'two identities have the text "a nurse"'),
    ("--identities-file", HELD.replace("id: a", "id: baseline"), '"baseline" is a reserved id'),
    ("--identities-file", HELD.replace("id: a", "id: all"), '"all" is a reserved id'),
    ("--identities-file", HELD.replace("a nurse", "'a {question}'"), "no gaps of its own"),
    ("--identities-file", HELD.replace("id: a", "id: a b"), "identities[0]: id: may hold"),
    ("--identities-file", HELD.replace("text", "txt"), 'did you mean "text"?'),
    ("--identities-file", "identities: [a nurse]", "identities[0]: must be names with values"),
    ("--identities-file", "identities: {a: b}", '"identities" must be a list'),
    ("--identities-file", "people: []", 'unknown key "people"; known: identities, placebos'),
    ("--identities-file", "identities: []", "nothing under identities or placebos"),
    ("--identities-file", "placebos: [{id: a, text: a b}]", "choose at least one identity"),
    ("--identities-file", HELD.replace("text: a nurse", "text: a nurse, names: [Al]"), "one real"),
    ("--identities-file", HELD.replace("text: a nurse", "text: a nurse, names: [A<, B]"), "markup"),
    ("--identities-file", HELD.replace("text:", "names: [Al, Bo], text:"), "stands in two"),
    ("--identities-file", HELD.replace("text:", "names: Al, text:"), "must be a list"),
    ("--identities-file", HELD.replace("text:", "fields: [a], text:"), "names with values"),
    ("--cues-file", cue(system="{facts} {is}"), "{facts} needs `facts`"),
    ("--cues-file", cue(baseline="{name} {question}"), "cannot hold {is} or {name}"),
    ("--cues-file", cue(system="hello"), "cues[0]: a cue must hold {is} somewhere"),
    ("--cues-file", cue(user="what?"), "`user` must hold {question} once"),
    ("--cues-file", cue(user="{question} {question}"), "`user` must hold {question} once"),
    ("--cues-file", cue(baseline="what?"), "baseline: `user` must hold {question} once"),
    ("--cues-file", cue(baseline="{question} {is}"), "the baseline says nothing of the user"),
    ("--cues-file", cue(system="{is} {question}"), "{question} belongs in `user` alone"),
    ("--cues-file", cue().replace("placement: system", "placement: top"), "placement: "),
    ("--cues-file", cue().replace("system:", "history: [hi], system:"), "turn of the assistant"),
    ("--defenses-file", "defenses: [{id: none, text: x y}]", 'duplicate defense "none"'),
    (
        "--defenses-file",
        "defenses: [{id: x, text: ''}]",
        'defense "x" needs either a text or withhold',
    ),
]


@pytest.mark.parametrize(("option", "content", "fragment"), ENTRIES, ids=str)
def test_files_of_identities_cues_and_defenses(
    option: str, content: str, fragment: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.yaml").write_text(content)
    error = complaint([*OWN, option, "mine.yaml"], capsys)
    assert fragment in error
    assert "mine.yaml" in error or "choose" in error


BENCHMARKS = [
    ("none.jsonl", None, "none.jsonl: there is no such file"),
    ("a.jsonl", "", "a.jsonl: there are no items"),
    ("a.jsonl", '\n{"id": \n', "a.jsonl:2: malformed JSON"),
    ("a.jsonl", '{"id": "a", "prompt": "b"}', "a.jsonl:1: axis is missing"),
    ("a.jsonl", '{"id": "a", "promt": "b"}', 'did you mean "prompt"?'),
    ("a.csv", "id,prompt,axis,scorer\na,b,safty,refusal\n", 'did you mean "safety"?'),
    ("gsm8k.jsonl", "{}", "is a benchmark of evenhand; rename the file"),
]


@pytest.mark.parametrize(("name", "content", "fragment"), BENCHMARKS, ids=str)
def test_own_benchmarks(
    name: str, content: str | None, fragment: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        Path(name).write_text(content)
    assert fragment in complaint(["plan", "openai/m", "-b", name], capsys)


def test_two_benchmarks_of_one_name(capsys: pytest.CaptureFixture[str]) -> None:
    Path("sub").mkdir()
    write_benchmark(Path("sub/own.jsonl"), 2)
    error = complaint(["plan", "openai/m", "-b", "own.jsonl,sub/own.jsonl"], capsys)
    assert 'two benchmarks are called "own"' in error


def test_a_study_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert "study.yaml: there is no such file" in complaint(["audit", "study.yaml"], capsys)


AUDIT = ["audit", "openai/m", "-b", "own.jsonl", "--out", "run"]
NOWHERE = ["--base-url", "http://127.0.0.1:1/v1"]


def test_no_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert "set OPENAI_API_KEY, or name a local endpoint" in complaint(AUDIT, capsys)


@pytest.mark.parametrize("url", ["127.0.0.1:8000/v1", "ftp://a/v1", "http://a:99999/v1"])
def test_a_base_url_that_is_none(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f'invalid URL "{url}"' in complaint([*AUDIT, "--base-url", url], capsys)


@pytest.mark.parametrize("cues", ["system", "user"])
@pytest.mark.parametrize(
    ("refuse", "fragment"),
    [
        (refuse_key, "refuses the key (HTTP 401: Incorrect API key provided"),
        (refuse_all(403, "no access"), "refuses the key (HTTP 403: no access)"),
        (refuse_all(404, "The model `m` does not exist"), "has no model 'm', or the URL is wrong"),
        (refuse_all(400, "top_k is not supported"), "rejects every request (HTTP 400: top_k"),
        (refuse_all(429, "Quota!", "insufficient_quota"), "the account has no credit left"),
    ],
)
def test_an_endpoint_that_refuses_everything(
    refuse: Any, fragment: str, cues: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(refuse=refuse, latency=0.02) as server:
        error = complaint([*AUDIT, "--base-url", server.url, "-c", cues], capsys)
    assert fragment in error
    assert len(server.requests) <= 2, "a storm of requests"


def test_an_unreachable_host(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evenhand.engines.throttle._BACKOFF_FIRST", 0.01)
    url = f"http://127.0.0.1:{unused_port()}/v1"
    error = complaint([*AUDIT, "--base-url", url], capsys)
    assert "does not answer (Connection refused); is it up, and --base-url right?" in error


def test_a_file_with_a_wrong_hash(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    copy = tmp_path / "data"
    shutil.copytree(data_dir / "gsm8k", copy / "gsm8k")
    altered = copy / "gsm8k" / "test.jsonl"
    altered.write_text(altered.read_text() + "\n")
    monkeypatch.setenv("EVENHAND_DATA_DIR", str(copy))
    error = complaint(["plan", "openai/m", "-b", "gsm8k"], capsys)
    assert f"{altered} is not the pinned file: expected SHA-256" in error


def test_offline_without_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("evenhand.benchmarks.files.cache_folder", lambda: tmp_path / "cache")
    error = complaint(["plan", "openai/m", "-b", "gsm8k", "--offline"], capsys)
    assert "gsm8k/test.jsonl is not on this computer; run `evenhand fetch gsm8k`" in error


def test_a_missing_extra(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    error = complaint(["audit", "hf/some/model", "-b", "own.jsonl"], capsys)
    assert "local models need more packages: pip install 'evenhand[local]'" in error


def test_a_local_model_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    error = complaint(["audit", "hf/./weights", "-b", "own.jsonl", "--out", "run"], capsys)
    assert "cannot load ./weights: there is no such folder" in error


def test_folders_that_cannot_be_used(capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").touch()
    Path("full").mkdir()
    Path("full/letter.txt").touch()
    audit = ["audit", "openai/m", "-b", "own.jsonl", *NOWHERE, "--out"]
    assert "file is a file; a run needs a folder" in complaint([*audit, "file"], capsys)
    assert "cannot make the folder file/sub" in complaint([*audit, "file/sub"], capsys)
    assert "full holds other files but no run" in complaint([*audit, "full"], capsys)
    assert "no run in nowhere" in complaint(["report", "nowhere"], capsys)
    assert "no run in full" in complaint(["score", "full"], capsys)
    assert [file.name for file in Path("full").iterdir()] == ["letter.txt"]


def test_a_folder_of_another_study(capsys: pytest.CaptureFixture[str]) -> None:
    with serving() as server:
        there = [*AUDIT, "-i", "religion", "--base-url", server.url]
        assert run_main(there) == 0
        capsys.readouterr()
        sent = len(server.requests)
        error = complaint(["audit", "openai/other", *there[2:]], capsys)
        assert "run holds a run of openai/m, not of openai/other; take a new folder" in error
        assert "other decoding parameters" in complaint([*there, "--temperature", "1"], capsys)
        assert len(server.requests) == sent


def test_a_report_of_a_run_that_never_began(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(refuse=refuse_key) as server:
        complaint([*AUDIT, "--base-url", server.url], capsys)
    assert "run: the run has no answers yet" in complaint(["report", "run"], capsys)


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["audit", "openai/m", "-b", "gsm8"], 'did you mean "gsm8k"?'),
        (["plan", "organism", "--limit", "-1"], "--limit"),
        (["report", "nowhere"], "no run in nowhere"),
    ],
)
@pytest.mark.slow
def test_in_a_process_of_its_own(arguments: list[str], fragment: str) -> None:
    code, out, err = finish(command(arguments))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert fragment in err
