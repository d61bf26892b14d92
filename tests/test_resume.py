"""A second command in the same folder: it asks what is new, and nothing else."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from evenhand import RunOptions, audit
from evenhand.analysis import Audit
from evenhand.engines.mock import MockEngine
from evenhand.engines.weights import address_of, base_model, find_weights
from evenhand.errors import RunFolderError
from evenhand.run.recorder import Price
from fakes import benchmarks, biased, write_questions
from runs import command, finish, plan_of, run_main, server_keys, stored, write_benchmark
from server import Server, serving

IDENTITIES = ["religion"]


@pytest.fixture
def benchmark(tmp_path: Path) -> Path:
    return write_benchmark(tmp_path / "own.jsonl", 10)


class Folder:
    """A run folder, and how many requests each audit in it sends."""

    def __init__(self, server: Server, benchmark: Path, out: Path) -> None:
        self.server, self.benchmark, self.out = server, benchmark, out
        self.sent = 0

    def audit(self, model: str = "openai/test", **fields: Any) -> Audit:
        plan = plan_of(model, self.benchmark, **{"identities": IDENTITIES, **fields})
        before = len(self.server.requests)
        result = audit(plan.study, out=self.out, options=RunOptions((self.server.url,)))
        self.sent = len(self.server.requests) - before
        assert result.done == result.cells == plan.cells
        assert set(server_keys(plan)) <= {key for key, *_ in stored(self.out)}
        return result


def test_a_finished_audit_sends_nothing(benchmark: Path, tmp_path: Path) -> None:
    with serving() as server:
        folder = Folder(server, benchmark, tmp_path / "run")
        first = folder.audit()
        assert folder.sent == 60
        assert orjson.dumps(folder.audit()) == orjson.dumps(first)
        assert folder.sent == 0


@pytest.mark.parametrize(
    ("before", "after", "new"),
    [
        ({}, {"samples": 3}, 120),
        ({}, {"identities": ["religion", "age"]}, 50),
        ({}, {"placebos": True}, 140),
        ({"limit": 4}, {"limit": 7}, 18),
        ({"limit": 4}, {}, 36),
        ({}, {"cues": ["system", "user"]}, 60),
        ({}, {"cues": ["system", "user-2", "memory"]}, 120),
        ({"cues": ["user"]}, {"cues": ["user", "system"]}, 60),
        ({}, {"defenses": ["none", "ignore"]}, 60),
        ({"samples": 2}, {"samples": 1}, 0),
        ({}, {"identities": ["jewish", "muslim"]}, 0),
        ({}, {"limit": 3}, 0),
    ],
    ids=str,
)
def test_a_grown_study_sends_only_what_is_new(
    benchmark: Path, tmp_path: Path, before: dict[str, Any], after: dict[str, Any], new: int
) -> None:
    with serving() as server:
        folder = Folder(server, benchmark, tmp_path / "run")
        folder.audit(**before)
        result = folder.audit(**after)
        assert folder.sent == new
    # The report is on the study last asked for, however much more there is in the folder.
    plan = plan_of("openai/test", benchmark, **{"identities": IDENTITIES, **after})
    assert result.cells == plan.cells
    assert [person.id for person in result.identities] == [
        c.identity.id for c in plan.conditions[: len(result.identities) + 1] if c.identity.text
    ]


def test_another_wording_of_an_identity_is_refused(benchmark: Path, tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    one = "identities: [{id: a, text: a nurse}, {id: b, text: a baker}]"
    fields: dict[str, Any] = {"identities": [], "identities_file": own}
    with serving() as server:
        folder = Folder(server, benchmark, tmp_path / "run")
        own.write_text(one)
        folder.audit(**fields)
        own.write_text(one.replace("baker", "cook"))
        with pytest.raises(RunFolderError, match='another wording of identity "b"'):
            folder.audit(**fields)
        assert len(server.requests) == 30
        own.write_text(one)
        folder.audit(**fields)
        assert folder.sent == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "openai/other"}, "holds a run of openai/test, not of openai/other"),
        ({"decoding": {"temperature": 0.7}}, "other decoding parameters"),
        ({"decoding": {"seed": 1}}, "other decoding parameters"),
        ({"decoding": {"extra": {"min_p": 0.1}}}, "other decoding parameters"),
    ],
)
def test_another_study_is_refused(
    benchmark: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with serving() as server:
        folder = Folder(server, benchmark, tmp_path / "run")
        first = folder.audit()
        with pytest.raises(RunFolderError, match=message):
            folder.audit(**change)
        assert orjson.dumps(folder.audit()) == orjson.dumps(first)
        assert len(server.requests) == 60


def test_an_edited_question_is_refused(benchmark: Path, tmp_path: Path) -> None:
    with serving() as server:
        folder = Folder(server, benchmark, tmp_path / "run")
        folder.audit()
        benchmark.write_text(benchmark.read_text().replace("Question 3", "Riddle 3"))
        with pytest.raises(RunFolderError, match='another wording of "q3" in own'):
            folder.audit()
        assert len(server.requests) == 60


@pytest.mark.usefixtures("data_dir")
def test_other_shots_are_refused(tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "model": "openai/test",
        "benchmarks": ["gsm8k"],
        "identities": ["age"],
        "limit": 1,
    }
    with serving() as server:
        options = RunOptions((server.url,))
        audit(**fields, shots=2, out=tmp_path / "run", options=options)
        with pytest.raises(RunFolderError, match="other shots"):
            audit(**fields, shots=1, out=tmp_path / "run", options=options)
        assert len(server.requests) == 6


def test_extra_fields_in_another_order_are_the_same_study(benchmark: Path, tmp_path: Path) -> None:
    with serving() as server:
        folder = Folder(server, benchmark, tmp_path / "run")
        folder.audit(decoding={"extra": {"a": 1, "b": {"c": 1, "d": 2}}})
        folder.audit(decoding={"extra": {"b": {"d": 2, "c": 1}, "a": 1}})
        assert folder.sent == 0


def test_a_cost_limit_stops_and_the_next_run_goes_on(
    benchmark: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    with serving() as server:
        arguments = ["audit", "openai/test", "-b", str(benchmark), "-i", "religion"]
        arguments += ["--decoding-seed", "0", "--base-url", server.url, "--out", str(run)]
        # An answer has 10 tokens: at a dollar for each, 20 answers cost $ 200.
        limited = ["--price", "0/1000000", "--max-cost", "200", "--max-connections", "4"]
        assert run_main([*arguments, *limited]) == 3
        assert "Not finished: the cost limit of $200 is reached" in capsys.readouterr().err
        sent = len(server.requests)
        assert 20 <= sent <= 23  # those under way still end
        assert len(stored(run)) == sent
        assert run_main(arguments) == 0
        assert len(server.requests) == 60
    assert len(stored(run)) == 60


def test_cost_is_that_of_the_tokens() -> None:
    assert Price(0.15, 0.60).cost(2_000_000, 1_000_000) == pytest.approx(0.90)


@pytest.mark.slow
def test_a_second_process_on_the_same_folder_gets_one_line(benchmark: Path, tmp_path: Path) -> None:
    with serving(latency=0.01) as server:
        arguments = ["audit", "openai/test", "-b", str(benchmark), "-i", "religion"]
        arguments += ["--base-url", server.url, "--out", str(tmp_path / "run")]
        first = command([*arguments, "--max-connections", "4"])
        while not server.answers:
            assert first.poll() is None
            time.sleep(0.001)
        server.hold = True
        sent = set(server.requests)
        code, out, err = finish(command(arguments))
        assert code == 2
        assert out == ""
        assert err == f"evenhand: another evenhand is running in {tmp_path / 'run'}\n"
        server.hold = False
        assert finish(first)[0] == 0
        assert len(server.requests) == 60 == len(set(server.requests))
        assert sent < set(server.requests)


@pytest.mark.slow
def test_a_report_while_the_run_goes_on(benchmark: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with serving(latency=0.02) as server:
        arguments = ["audit", "openai/test", "-b", str(benchmark), "-i", "religion"]
        arguments += ["--base-url", server.url, "--out", str(run), "--max-connections", "3"]
        process = command(arguments)
        while len(server.answers) < 12:
            assert process.poll() is None
            time.sleep(0.001)
        server.hold = True
        code, out, err = finish(command(["report", str(run)]))
        assert code == 0, err
        assert "of 60 answers" in out
        assert "no answer yet" in out
        server.hold = False
        code, _, err = finish(process)
        assert code == 0, err
    assert len(stored(run)) == 60


@pytest.mark.slow
def test_progress_is_silent_without_a_terminal(benchmark: Path, tmp_path: Path) -> None:
    with serving() as server:
        arguments = ["audit", "openai/test", "-b", str(benchmark), "-i", "religion"]
        run = tmp_path / "run"
        process = command([*arguments, "--base-url", server.url, "--out", str(run)])
        code, out, err = finish(process)
    assert code == 0
    assert out
    assert err == f"Run folder: {run}; see it: evenhand report {run} --open\n"


def at(address: str) -> MockEngine:
    engine = biased()
    engine.address = address
    return engine


def test_weights_that_were_moved_are_known_by_their_files(tmp_path: Path) -> None:
    questions = benchmarks(write_questions(tmp_path / "q", 2))
    study: dict[str, Any] = {"identities": IDENTITIES, "benchmarks": questions}
    run = tmp_path / "run"
    first = audit("hf//a/tuned", engine=at("/a/tuned#1f on /a/base#2e"), out=run, **study)
    kept = stored(run)
    moved = audit("hf/b/tuned", engine=at("b/tuned#1f on c/base#2e"), out=run, **study)
    assert stored(run) == kept
    assert orjson.dumps(moved) == orjson.dumps(first), "and no note of another place"
    for model, address in (
        ("hf/b/tuned", "b/tuned#3d on c/base#2e"),
        ("hf/b/tuned", "b/tuned#1f on c/base#3d"),
        ("hf/b/tuned", "b/tuned#1f on c/base#2e in bfloat16"),
        ("hf/b/other", "b/other#1f on c/base#2e"),
        ("vllm/b/tuned", "b/tuned#1f on c/base#2e"),
    ):
        with pytest.raises(RunFolderError, match="holds a run of hf//a/tuned, not of"):
            audit(model, engine=at(address), out=run, **study)


def test_weights_of_a_run_are_found_where_they_lie_now(tmp_path: Path) -> None:
    for place, content in (("old", "1"), ("new", "1"), ("other", "2")):
        (tmp_path / place / "tuned").mkdir(parents=True)
        (tmp_path / place / "tuned" / "model.safetensors").write_text(content)
    old, new = tmp_path / "old" / "tuned", tmp_path / "new" / "tuned"
    model, asked = f"hf/{old}", [address_of(str(old), None, "bfloat16")]
    assert find_weights(model, asked, new.parent) == old
    assert find_weights(model, [], tmp_path / "other") == old, "as it is named"
    (old / "model.safetensors").write_text("trained anew")
    assert find_weights(model, asked, new.parent) == new
    shutil.rmtree(old)
    assert find_weights(model, asked, new.parent) == new
    assert find_weights(model, asked, tmp_path / "other") is None
    assert find_weights("openai/tuned", asked, new.parent) is None


def test_an_adapter_s_base_that_was_moved_with_it_is_found(tmp_path: Path) -> None:
    adapter = tmp_path / "new" / "run" / "mitigation" / "tuned"
    adapter.mkdir(parents=True)
    base = {"base_model_name_or_path": "/no/such/place/base"}
    (adapter / "adapter_config.json").write_bytes(orjson.dumps(base))
    assert base_model(str(adapter)) == "/no/such/place/base"
    (tmp_path / "new" / "base").mkdir()
    assert base_model(str(adapter)) == str(tmp_path / "new" / "base")
