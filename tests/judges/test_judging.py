"""Judging a run: every verdict on disk, none paid for twice, and nothing else changed."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from evenhand import JudgeOptions, RunOptions, audit
from evenhand.analysis import analyze
from evenhand.engines.mock import MockEngine
from evenhand.errors import EngineError, RunFolderError, UnknownName, UsageError
from evenhand.judges import check_judge
from evenhand.judges.rubric import question
from evenhand.run.recorder import Price
from evenhand.scorers import Answer
from evenhand.study.cue import Message
from judging import GOOD, REFUSED, Rule, finished_run, judge, opened, rubric, verdicts
from runs import command, finish, plan_of, run_main, write_benchmark
from server import Server, key_of, refuse_all, serving

JUDGE = "rubric:openai/j"
KEY = "sk-secret-0123456789abcdefghijklmnopqrstuvwxyz"


def number(answer: Answer) -> float:
    """A rule of judging: from the length of the answer."""
    return len(answer.text) % 11 / 10


def test_every_answer_of_a_judged_item_gets_a_verdict(tmp_path: Path) -> None:
    run = finished_run(tmp_path, lambda m: f"Sure: {m[0]['content']} {m[-1]['content']}")
    rule = Rule(number)
    progress = judge(run, rule)
    assert progress.cells == progress.done == progress.sent == 30  # 5 items x 6 users
    assert {answer.item.scorer for answer in rule.seen} == {"refusal"}
    found = verdicts(run, "rule")
    assert len(found) == 30
    assert {why for _, _, why in found.values()} == {"by rule"}
    store = opened(run)
    own, theirs = store.scores(), store.scores(judge=store.judges()["rule"])
    assert own.shape == theirs.shape == (60, 4)
    choices = {n for n, item in store.items().items() if item.scorer == "choice"}
    of_choice = np.isin(own[:, 1], list(choices))
    np.testing.assert_array_equal(
        _sorted(own[of_choice]), _sorted(theirs[_choices(theirs, choices)])
    )
    store.close()


def _choices(rows: Any, items: set[int]) -> Any:
    return np.isin(rows[:, 1], list(items))


def _sorted(rows: Any) -> Any:
    return rows[np.lexsort(rows.T)]


def test_answers_that_say_the_same_are_judged_once(tmp_path: Path) -> None:
    run = finished_run(tmp_path, lambda m: f"Never. {m[-1]['content'][:12]}")
    rule = Rule(number)
    progress = judge(run, rule)
    assert len(rule.seen) == 5, "one for each item, whoever asked"
    assert progress.done == progress.sent == 30
    assert len(verdicts(run, "rule")) == 30


def test_a_second_time_nothing_is_asked(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    judge(run, Rule(number))
    rule = Rule(number)
    progress = judge(run, rule)
    assert rule.seen == []
    assert (progress.done, progress.sent) == (30, 0)
    judge(run, rule, again=True)
    assert len(rule.seen) == 5


def test_a_grown_study_has_only_the_new_answers_judged(tmp_path: Path) -> None:
    def say(messages: list[Message]) -> str:
        return f"{messages[0]['content']} {messages[-1]['content']}"

    run = finished_run(tmp_path, say, identities=["jewish", "muslim"])
    judge(run, Rule(number))
    finished_run(tmp_path, say, identities=["jewish", "muslim", "hindu"])
    rule = Rule(number)
    assert judge(run, rule).cells == 20
    assert len(rule.seen) == 5


def test_what_cannot_be_judged_is_not_sent(tmp_path: Path) -> None:
    run = finished_run(tmp_path, lambda m: "" if "4" in m[-1]["content"] else "<think>hm")
    rule = Rule(number)
    judge(run, rule)
    assert rule.seen == []
    reasons = {reason for _, reason, _ in verdicts(run, "rule").values()}
    assert reasons == {"empty answer", "cut off while thinking"}


def test_verdicts_of_another_wording_are_never_mixed(tmp_path: Path) -> None:
    run = finished_run(tmp_path)

    class Other(Rule):
        @property
        def facts(self) -> dict[str, Any]:
            return {"kind": "rule", "wording": 2}

    judge(run, Rule(number))
    with pytest.raises(RunFolderError, match=r"another wording or other labels.*--again"):
        judge(run, Other(number))
    assert len(verdicts(run, "rule")) == 30
    judge(run, Other(lambda _: 1.0), again=True)
    assert {value for value, *_ in verdicts(run, "rule").values()} == {1.0}
    with pytest.raises(RunFolderError):
        judge(run, Rule(number))


def test_a_judge_that_fails_midway_keeps_what_it_has_judged(tmp_path: Path) -> None:
    run = finished_run(tmp_path, lambda m: f"{m[0]['content']} {m[-1]['content']}")

    class Failing(Rule):
        async def judge(self, answers: Any, settle: Any) -> None:
            async def some() -> None:
                await Rule.judge(
                    self, (a for _, a in zip(range(12), answers, strict=False)), settle
                )

            await some()
            raise EngineError("no more")

    failing = Failing(number)
    with pytest.raises(EngineError, match="no more"):
        judge(run, failing)
    assert len(verdicts(run, "rule")) == 12
    rule = Rule(number)
    judge(run, rule)
    assert len(rule.seen) == 18
    assert {(a.item.id, a.text) for a in rule.seen}.isdisjoint(
        (a.item.id, a.text) for a in failing.seen
    )


def test_two_processes_do_not_judge_at_once(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    store = opened(run)
    with store.only_process(), pytest.raises(RunFolderError, match="another evenhand is running"):
        judge(run, Rule(number))
    store.close()


def test_attempts_and_tokens_are_kept(tmp_path: Path) -> None:
    run = finished_run(tmp_path, lambda m: f"{m[0]['content']} {m[-1]['content']}")

    def reply(messages: list[Message]) -> str:
        return GOOD if len(messages) > 2 or "egg" in messages[1]["content"] else "um"

    judge(run, rubric(reply, JUDGE))
    store = opened(run)
    (record,) = [r for r in analyze(store, judge=JUDGE).judges if r.judge == JUDGE]
    assert (record.verdicts, record.unscored, record.failed_attempts) == (30, 0, 30)
    assert record.prompt_tokens > 30 * 300
    assert record.completion_tokens > 0
    store.close()


# Through the command line and an endpoint


def score_command(run: Path, server: Server, *more: str) -> list[str]:
    return ["score", str(run), "--judge", JUDGE, "--judge-base-url", server.url, *more]


def keys_of(run: Path) -> dict[int, str]:
    """Response -> key of the judge's request in the server's log."""
    store = opened(run)
    items = store.items()
    keys = {
        response: key_of(question(Answer(text, items[item])), None)
        for response, _, item, text, *_ in store.unscored(0, again=True)
        if items[item].scorer == "refusal" and text
    }
    store.close()
    return keys


@pytest.mark.slow
def test_killed_at_random_moments_nothing_is_paid_twice(tmp_path: Path) -> None:
    run = finished_run(
        tmp_path, lambda m: f"{m[0]['content']} {m[-1]['content']}", items=60, identities=["all"]
    )
    keys = keys_of(run)
    assert len(set(keys.values())) == 30 * 32
    rng = random.Random(5)
    with serving(latency=0.02, content=lambda k: GOOD if int(k, 16) % 3 else REFUSED) as server:
        kills = 0
        while kills < 5:
            before = len(server.requests)
            on_disk = {keys[response] for response in verdicts(run, JUDGE)}
            process = command(score_command(run, server, "--max-connections", "8"))
            wanted = before + rng.randint(20, 150)
            while len(server.requests) < wanted:
                assert process.poll() is None, process.communicate()
                time.sleep(0.005)
            time.sleep(rng.random() * 0.3)
            process.kill()
            finish(process)
            assert not on_disk & set(server.requests[before:]), "a verdict on disk was asked again"
            kills += 1
        settled = {keys[response] for response in verdicts(run, JUDGE)}
        assert 0 < len(settled) < len(keys), "killed amid the verdicts"
        # What a kill may cost: the requests under way, and a quarter of a second of verdicts.
        lost = [key for key in server.answers if key in set(keys.values()) - settled]
        assert len(lost) < 5 * 150
        server.latency = 0
        before = len(server.requests)
        code, out, err = finish(command(score_command(run, server)))
        assert code == 0, err
        assert "960 of 960 answers have a verdict" in out
        assert not settled & set(server.requests[before:])
        assert set(keys.values()) <= set(server.requests)
    for response, (value, *_) in verdicts(run, JUDGE).items():
        assert value == (0.25 if int(keys[response], 16) % 3 else 1)


@pytest.mark.slow
def test_interrupted_the_verdicts_are_safe(tmp_path: Path) -> None:
    import signal

    run = finished_run(
        tmp_path, lambda m: f"{m[0]['content']} {m[-1]['content']}", items=40, identities=["all"]
    )
    with serving() as server:

        def answer(_key: str) -> str:
            server.hold = len(server.answers) >= 90  # all others wait, so that it cannot finish
            return GOOD

        server.content = answer
        process = command(score_command(run, server, "--max-connections", "8"))
        while not server.hold:
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        answered = len(server.answers)
        process.send_signal(signal.SIGINT)
        code, _, err = finish(process)
    assert code == 130
    assert "verdicts so far are safe" in err
    assert "Traceback" not in err
    # One was the example, and as many as there are connections were still on their way.
    assert len(verdicts(run, JUDGE)) >= answered - 1 - 8


def test_a_cost_limit_stops_and_the_next_command_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished_run(tmp_path, lambda m: f"{m[0]['content']} {m[-1]['content']}", items=40)
    with serving(content=lambda _: GOOD) as server:
        # A verdict has 10 tokens: at a dollar for each, 20 verdicts cost $ 200.
        limited = ["--judge-price", "0/1000000", "--max-cost", "200", "--max-connections", "4"]
        assert run_main(score_command(run, server, *limited)) == 3
        output = capsys.readouterr()
        assert "the judge's cost limit of $200 is reached" in output.err
        assert "about $2" in output.out
        judged = len(verdicts(run, JUDGE))
        assert 20 <= judged <= 24
        assert run_main(score_command(run, server)) == 0
        assert len(verdicts(run, JUDGE)) == 120
        counts = Counter(server.requests)
        assert sorted(counts.values())[-2:] == [1, 2], "only the example was asked twice"
    assert run_main(score_command(run, server, "--max-cost", "1")) == 2
    assert "--judge-price" in capsys.readouterr().err


@pytest.mark.slow
def test_the_judge_s_key_is_nowhere(tmp_path: Path) -> None:
    run = finished_run(tmp_path)

    def quote(body: dict[str, Any], authorization: str) -> Any:
        if len(body["messages"]) == 1 or "egg" in body["messages"][1]["content"]:
            return None
        return 400, {"error": {"message": f"your header was {authorization}"}}

    seen = []
    for refuse, wanted in ((quote, 0), (refuse_all(401, f"bad key {KEY}"), 2)):
        with serving(content=lambda _: GOOD, refuse=refuse) as server:
            process = command(
                score_command(run, server, "--again"),
                env={"EVENHAND_JUDGE_API_KEY": KEY, "OPENAI_API_KEY": "sk-other"},
            )
            code, out, err = finish(process)
        assert code == wanted, err
        seen += [out, err]
    reasons = {reason for _, reason, _ in verdicts(run, JUDGE).values()}
    assert reasons <= {"rejected by the judge's endpoint"}
    files = b"".join(f.read_bytes() for f in tmp_path.rglob("*") if f.is_file())
    for text in (*seen, files.decode("latin-1")):
        assert KEY[:12] not in text
        assert "sk-other" not in text


def test_audit_with_a_judge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark = write_benchmark(tmp_path / "own.jsonl", 10)
    with serving() as model, serving(content=lambda _: GOOD) as judge_server:
        arguments = ["audit", "openai/test", "-b", str(benchmark), "-i", "religion"]
        arguments += ["--base-url", model.url, "--out", str(tmp_path / "run"), "--format", "json"]
        arguments += ["--judge", JUDGE, "--judge-base-url", judge_server.url]
        arguments += ["--price", "1/1", "--judge-price", "0/1000000"]
        assert run_main(arguments) == 0
        output = capsys.readouterr()
        found = orjson.loads(output.out)
        assert found["judge"] == JUDGE
        assert found["axes"]["safety"]["mean"] == pytest.approx(25)
        assert [judge["judge"] for judge in found["judges"]] == ["refusal", JUDGE]
        (pair,) = found["judge_pairs"]
        assert (pair["first"], pair["second"], pair["axis"]) == ("refusal", JUDGE, "safety")
        distinct = len(set(judge_server.requests))
        assert "Cost of this command: about $" in output.err
        assert float(output.err.split("$")[1].replace(",", "").split()[0]) >= 10 * (distinct - 1)
        assert len(model.requests) == 60
        before = len(judge_server.requests)
        assert run_main(arguments) == 0
        assert len(model.requests) == 60
        assert len(judge_server.requests) == before, "a finished audit asks nobody"


def test_the_report_goes_by_whom_it_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished_run(tmp_path)
    judge(run, Rule(lambda _: 0.6, "rubric:openai/a"))
    judge(run, Rule(lambda _: 1.0, "rubric:openai/b"))

    def safety(*more: str) -> float:
        capsys.readouterr()
        assert run_main(["report", str(run), "--format", "json", *more]) == 0
        return float(orjson.loads(capsys.readouterr().out)["axes"]["safety"]["mean"])

    assert safety() == 0
    assert safety("--judge", "refusal") == 0
    assert safety("--judge", "rubric:openai/a") == pytest.approx(60)
    assert safety("--judge", "rubric:openai/b") == pytest.approx(100)
    corrected = ["--judge", "rubric:openai/a", "--judge-error", "0.9/100,0.8/100"]
    assert run_main(["report", str(run), "--format", "json", *corrected]) == 0
    mean = orjson.loads(capsys.readouterr().out)["axes"]["safety"]["judge"]["mean"]
    assert mean == pytest.approx(100 * (0.6 + 0.8 - 1) / 0.7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--judge", "rubric:openai/c"], "holds no scores of rubric:openai/c; to make them"),
        (["--judge-error", "0.9,0.8"], "there is no such file"),
        (["--judge-error", "0.9/0,0.8/100"], "needs human labels of both kinds"),
        (["--judge-error", "0.5/10,0.5/10"], "no better than chance"),
        (["--judge-error", "x/10,0.5/10"], "not of the form 0.97/250,0.95/200"),
        (["--judge-error", "nowhere.json"], "there is no such file"),
    ],
)
def test_a_report_that_cannot_be_had(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    run = finished_run(tmp_path)
    capsys.readouterr()
    assert run_main(["report", str(run), "--format", "text", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert message in err


def test_a_calibration_s_file_and_whose_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from evenhand.calibration.agreement import Agreement, Calibration

    run = finished_run(tmp_path)
    whole = Agreement(90, 10, 20, 80)
    Calibration("refusal", "x", "refusal", 1, whole, {}, {}).save(tmp_path / "refusal.json")
    Calibration("rubric:a", "x", "refusal", 1, whole, {}, {}).save(tmp_path / "other.json")
    arguments = ["report", str(run), "--format", "json", "--judge-error"]
    capsys.readouterr()
    assert run_main([*arguments, str(tmp_path / "refusal.json")]) == 0
    found = orjson.loads(capsys.readouterr().out)["axes"]["safety"]["judge"]
    assert found["mean"] == 0  # judged 0 %, where 20 % would be mistakes alone
    assert run_main([*arguments, str(tmp_path / "other.json")]) == 2
    assert "is the calibration of rubric:a; the scores are refusal's" in capsys.readouterr().err


# What is missing is told before anything is paid


@pytest.mark.parametrize(
    ("judge_name", "message"),
    [
        ("rubic:openai/x", 'unknown judge "rubic:openai/x"'),
        ("rubric:", "unknown judge"),
        ("rubric", "unknown judge"),
        ("rubric:gpt-4o", "unknown model"),
        ("classifier:", "unknown judge"),
        ("rubric:openai/x", "no API key for the judge"),
        ("classifier:/nowhere", "cannot load /nowhere: there is no such folder"),
    ],
)
def test_without_its_judge_no_audit_begins(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    judge_name: str,
    message: str,
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "EVENHAND_JUDGE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    benchmark = write_benchmark(tmp_path / "own.jsonl", 2)
    with serving() as server:
        arguments = ["audit", "openai/test", "-b", str(benchmark), "--base-url", server.url]
        code = run_main([*arguments, "--judge", judge_name, "--out", str(tmp_path / "run")])
        assert not server.requests
    err = capsys.readouterr().err
    assert code == 2
    assert err.count("\n") == 1
    assert message in err


@pytest.mark.slow
def test_a_judge_that_does_not_answer_stops_the_audit_before_it_is_paid(tmp_path: Path) -> None:
    benchmark = write_benchmark(tmp_path / "own.jsonl", 2)
    with serving() as model, serving(refuse=refuse_all(401, "bad key")) as judge_server:
        arguments = ["audit", "openai/test", "-b", str(benchmark), "--base-url", model.url]
        arguments += ["--judge", JUDGE, "--judge-base-url", judge_server.url]
        arguments += ["--out", str(tmp_path / "run")]
        code, _, err = finish(command(arguments, env={"EVENHAND_JUDGE_API_KEY": "sk-x"}))
        assert not model.requests
    assert code == 2
    assert "refuses the key" in err


def test_a_missing_extra_is_told_by_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evenhand.judges.find_spec", lambda _: None)
    for name in ("classifier:LibrAI/longformer-action-ro", "rubric:hf/x"):
        with pytest.raises(UsageError, match=r"pip install 'evenhand\[local\]'"):
            check_judge(name)
    check_judge("rubric:openai/x")
    check_judge("refusal")
    with pytest.raises(UnknownName):
        check_judge("choice")


def test_the_plan_counts_the_judge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark = write_benchmark(tmp_path / "own.jsonl", 10)
    arguments = ["plan", "openai/test", "-b", str(benchmark), "-i", "religion", "--samples", "2"]
    arguments += ["--judge", JUDGE, "--judge", "refusal"]
    assert run_main([*arguments, "--judge-price", "1/10", "--format", "json"]) == 0
    paid, free = orjson.loads(capsys.readouterr().out)["judges"]
    assert paid["verdicts"] == free["verdicts"] == 5 * 6 * 2
    assert free["cost"] is None
    assert paid["completion_tokens"] == 60 * 300
    assert paid["cost"] == pytest.approx((paid["prompt_tokens"] + 10 * 60 * 300) / 1e6)
    assert run_main(arguments) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"{JUDGE}: at most 60 verdicts" in text
    assert "give --judge-price" in text


def test_a_judge_of_the_study_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark = write_benchmark(tmp_path / "own.jsonl", 4)
    study = tmp_path / "study.yaml"
    study.write_text(
        f"model: openai/test\nbenchmarks: [{benchmark.name}]\n"
        f"identities: [age]\njudges: [{JUDGE}]\n"
    )
    with serving() as model, serving(content=lambda _: REFUSED) as judge_server:
        arguments = ["audit", str(study), "--base-url", model.url, "--format", "json"]
        arguments += ["--judge-base-url", judge_server.url, "--out", str(tmp_path / "run")]
        assert run_main(arguments) == 0
    found = orjson.loads(capsys.readouterr().out)
    assert found["judge"] == JUDGE
    assert found["axes"]["safety"]["mean"] == 100


def test_audit_from_python_with_a_judge_and_looks(tmp_path: Path) -> None:
    benchmark = write_benchmark(tmp_path / "own.jsonl", 40)
    with serving(content=lambda _: GOOD) as judge_server:
        judging = JudgeOptions((judge_server.url,), price=Price(1, 1))
        found = audit(
            "openai/test",
            out=tmp_path / "run",
            engine=MockEngine(lambda m: f"{m[0]['content']}"),
            benchmarks=[str(benchmark)],
            identities=["religion"],
            judges=[JUDGE],
            options=RunOptions(precision=50, judging=judging, max_cost=100.0),
        )
    assert found.interim is not None
    assert found.judge == JUDGE
    assert found.axes["safety"].mean == pytest.approx(25)


@pytest.mark.parametrize(
    ("prices", "message"),
    [
        (["--price", "1/1"], "price of rubric:openai/j, too: --judge-price 0/0 if it is free"),
        (["--judge-price", "1/1"], "price of the model, too: --price 0/0 if it is free"),
        ([], "--max-cost needs the price of the tokens"),
    ],
)
def test_a_limit_needs_every_price(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], prices: list[str], message: str
) -> None:
    benchmark = write_benchmark(tmp_path / "own.jsonl", 2)
    with serving() as server:
        arguments = ["audit", "openai/test", "-b", str(benchmark), "--base-url", server.url]
        arguments += ["--judge", JUDGE, "--judge-base-url", server.url, "--max-cost", "1", *prices]
        assert run_main([*arguments, "--out", str(tmp_path / "run")]) == 2
        assert not server.requests
    assert message in capsys.readouterr().err


def test_one_limit_covers_the_model_and_the_judge(tmp_path: Path) -> None:
    plan = plan_of("openai/test", write_benchmark(tmp_path / "own.jsonl", 40), identities=["age"])
    study = plan.study.model_copy(update={"judges": (JUDGE,)})
    with serving() as model, serving(content=lambda _: GOOD) as judge_server:
        options = RunOptions(
            base_urls=(model.url,),
            max_connections=2,
            price=Price(0, 1_000_000),
            max_cost=240 * 10 + 200.0,
            judging=JudgeOptions((judge_server.url,), max_connections=2, price=Price(0, 1_000_000)),
        )
        found = audit(study, out=tmp_path / "run", options=options)
    assert found.done == 240
    judged = len(verdicts(tmp_path / "run", JUDGE))
    assert 20 <= judged <= 22
    assert any("answers have no verdict of" in note for note in found.notes)
    assert not any("no answer yet" in note for note in found.notes)


def test_unscored_verdicts_are_counted_and_shown(tmp_path: Path) -> None:
    run = finished_run(tmp_path, lambda m: f"{m[0]['content']} {m[-1]['content']}")

    def reply(messages: list[Message]) -> str:
        return "no" if "Muslim" in messages[1]["content"] else GOOD

    judge(run, rubric(reply, JUDGE))
    store = opened(run)
    found = analyze(store, judge=JUDGE)
    store.close()
    assert found.unscored_reasons["judge's verdict: no JSON object"] == 5
    (muslim,) = [p for p in found.identities if p.id == "muslim"]
    assert muslim.unscored >= 5
