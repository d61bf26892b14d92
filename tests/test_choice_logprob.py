"""Multiple choice by log-probabilities: shares, scores, endpoints and local weights."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import evenhand
from evenhand import benchmarks
from evenhand.analysis import analyze
from evenhand.benchmarks.item import Item
from evenhand.benchmarks.prompts import BY_LETTER, by_letter
from evenhand.engines.engine import Response
from evenhand.engines.first_token import NONE_GIVEN, read_logprobs, read_shares, shares_text
from evenhand.errors import EngineError, UsageError
from evenhand.run.options import RunOptions
from evenhand.run.scoring import score_run
from evenhand.scorers import Unscored, score
from evenhand.store.store import Store
from evenhand.study.decoding import Decoding
from evenhand.study.plan import Request, make_plan
from evenhand.study.study import Study
from fakes import write_rows
from runs import run_main
from server import Server, error, serving
from vllm_stub import stub

FOUR = Item("own", "1", "?", "utility", "choice-logprob", "B", ("w", "x", "y", "z"))


def top(**logprobs: float) -> dict[str, Any]:
    """`logprobs` of a reply with these alternatives of its first token."""
    given = [{"token": token, "logprob": value} for token, value in logprobs.items()]
    return {"content": [{"token": "A", "logprob": -0.1, "top_logprobs": given}]}


# --- from tokens to a score ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ({"B": -0.1, " A": -3.0}, 1.0),
        ({" B": -1.3, "B": -1.2, "A": -1.0, "The": -9.0}, 1.0),  # with and without a blank
        ({"(B": -0.2, "A)": -2.0}, 1.0),
        ({"\u2581B": -0.2}, 1.0),
        ({"A": -0.1, "B": -3.0}, 0.0),
        ({"b": -0.1, "A": -3.0, "B": -3.5}, Unscored("the first token names no option")),
        ({"A": -0.7, "B": -0.7}, 0.5),  # a tie, as of half precision
        ({"E": -0.1, "F": -3.0}, Unscored("the first token names no option")),  # only four options
        ({"The": -0.01, "B": -6.0}, Unscored("the first token names no option")),
        ({"x": -0.1}, 1.0),  # the text of the option, one token
        ({"I": -0.01}, Unscored("the first token names no option")),
        ({}, Unscored("no log-probabilities in the reply")),
        ({"A": -0.01, "B": -0.02}, Unscored("no log-probabilities in the reply")),  # sum above 1
    ],
)  # fmt: skip
def test_first_tokens_are_scored(tokens: dict[str, float], expected: float | Unscored) -> None:
    assert score(shares_text(list(tokens.items()), FOUR.choices), FOUR) == expected


def test_letters_beyond_d_count_where_there_are_so_many_options() -> None:
    ten = replace(FOUR, choices=tuple("qrstuvwxyz"), answer="J")
    assert score(shares_text([("J", -0.2), ("A", -2.0)], ten.choices), ten) == 1.0
    assert score(shares_text([("K", -0.2), ("J", -2.0)], ten.choices), ten) == 1.0  # no option


def test_a_text_that_opens_another_option_names_none() -> None:
    numbers = replace(FOUR, choices=("1", "12", "3", "4"), answer="A")
    shares = read_shares(shares_text([("1", -0.5), ("3", -2.0), ("12", -2.5)], numbers.choices))
    assert shares is not None
    assert set(shares) == {"C", "B"}


@pytest.mark.parametrize(
    "broken",
    [
        None,
        [],
        "none",
        {},
        {"content": None},
        {"content": []},
        {"content": [None]},
        {"content": [{"token": "A", "logprob": -0.1}]},
        {"content": [{"token": "A", "logprob": -0.1, "top_logprobs": None}]},
        {"content": [{"top_logprobs": [None, 3, {"token": "A"}, {"logprob": -1}]}]},
        {"content": [{"top_logprobs": 5}]},
        {"content": [{"top_logprobs": True}]},
        {"content": [{"top_logprobs": "A"}]},
        {"content": [{"top_logprobs": {"A": -0.1}}]},
        top(A=float("nan")),
        top(A=float("inf")),
        top(A=3.0),
        {"content": [{"top_logprobs": [{"token": "A", "logprob": "-0.1"}]}]},
        {"content": [{"top_logprobs": [{"token": "A", "logprob": True}]}]},
        {"content": [{"top_logprobs": [{"token": 65, "logprob": -0.1}]}]},
        {"tokens": ["A"], "top_logprobs": [None]},
    ],
)
def test_broken_logprobs_are_missing_data(broken: Any) -> None:
    text = shares_text(read_logprobs(broken), FOUR.choices)
    assert score(text, FOUR) == Unscored("no log-probabilities in the reply")


def test_both_forms_of_logprobs_are_read() -> None:
    assert read_logprobs(top(A=-0.5, B=-9999.0)) == (("A", -0.5), ("B", -9999.0))
    assert read_logprobs({"tokens": ["A"], "top_logprobs": [{"A": -0.5}]}) == (("A", -0.5),)


def test_two_tokens_that_read_alike_both_count_and_one_listed_twice_counts_once() -> None:
    """B has 0.30 and 0.25, A has 0.40; neither the order nor an echo changes that."""
    entries = [("B", 0.30), ("A", 0.40), ("B", 0.25), ("A", 0.40)]
    for order in (entries, entries[::-1]):
        top = [{"token": token, "logprob": math.log(share)} for token, share in order]
        text = shares_text(read_logprobs({"content": [{"top_logprobs": top}]}), FOUR.choices)
        assert text == "A 0.4, B 0.55, other 0.05"
        assert score(text, FOUR) == 1.0


@pytest.mark.parametrize(
    "text",
    ["", "B", "B 0.9", "The answer is B.", "A 0.9, A 0.1, other 0", "A 9, other 0",
     "A nan, other 0", "A 0.5,other 0.5", "A 0.9, B 0.9, other 0", "A -0.5, other 1", NONE_GIVEN],
)  # fmt: skip
def test_a_generated_answer_is_none(text: str) -> None:
    assert read_shares(text) is None


# --- what is asked ---------------------------------------------------------------------------


def test_the_letter_alone_is_asked_for() -> None:
    own = Item("own", "1", "Which?\n(A) w\n(B) x", "utility", "choice", "B", ("w", "x"))
    assert by_letter(own).prompt == f"{own.prompt}\n{BY_LETTER}"
    assert by_letter(own).scorer == "choice-logprob"
    for other in (replace(own, choices=()), replace(own, scorer="text", answer="x")):
        assert by_letter(other) is other


def test_benchmarks_of_ours_no_longer_ask_for_the_work(data_dir: Path) -> None:
    assert data_dir
    (item, *_) = (by_letter(i) for i in benchmarks.load("mmlu-test", shots=2, offline=True))
    assert BY_LETTER in item.prompt
    assert "Therefore" not in item.prompt
    assert "step by step" not in item.prompt
    assert item.prompt.count("\nAnswer: ") == 2


def questions(folder: Path, count: int = 6) -> str:
    rows = (
        {"id": f"{n}", "prompt": f"Question {n}?", "axis": "utility", "scorer": "choice",
         "answer": "AB"[n % 2], "choices": ["one", "two", "three"]}
        for n in range(count)
    )  # fmt: skip
    return str(write_rows(folder / "own.jsonl", rows))


def test_the_choice_is_part_of_the_key(tmp_path: Path) -> None:
    study = Study(model="openai/any", benchmarks=(questions(tmp_path),))
    generated = {r.key for r in make_plan(study).requests()}
    plan = make_plan(study.model_copy(update={"choice": "logprob"}))
    assert generated.isdisjoint(r.key for r in plan.requests())
    assert all(r.choices == ("one", "two", "three") for r in plan.requests())


@pytest.mark.parametrize("model", ["anthropic/claude-sonnet-5", "gemini/any", "organism"])
def test_a_model_without_log_probabilities_is_named_in_one_line(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-123")
    with pytest.raises(UsageError, match=r"gives no log-probabilities.*without --choice logprob"):
        evenhand.audit(
            model, benchmarks=[questions(tmp_path)], choice="logprob", out=tmp_path / "run"
        )


# --- endpoints -------------------------------------------------------------------------------


def reply_with(logprobs: Any, content: str | None = "A") -> Any:
    def reply(body: dict[str, Any], _request: web.Request) -> web.Response | None:
        if "logprobs" not in body:
            return None
        choice = {"index": 0, "finish_reason": "length", "logprobs": logprobs}
        choice["message"] = {"role": "assistant", "content": content}
        usage = {"prompt_tokens": len(str(body["messages"])), "completion_tokens": 1}
        return web.Response(
            text=json.dumps({"choices": [choice], "usage": usage}), content_type="application/json"
        )

    return reply


def audit(server: Server, folder: Path) -> Store:
    evenhand.audit(
        "openai/any",
        benchmarks=[questions(folder)],
        identities=["religion"],
        choice="logprob",
        out=folder / "run",
        options=RunOptions(base_urls=(server.url,)),
    )
    return Store.open(folder / "run")


def test_an_endpoint_is_asked_for_one_token_and_scored_offline(tmp_path: Path) -> None:
    with serving(reply=reply_with(top(A=-0.25, B=-2.0, The=-4.0))) as server:
        store = audit(server, tmp_path)
        asked = [body for body in server.bodies if "logprobs" in body]
    body = asked[0]
    assert (body["max_tokens"], body["logprobs"], body["top_logprobs"]) == (1, True, 20)
    assert body["temperature"] == 1.0
    assert body["messages"][-1]["content"].endswith(BY_LETTER)
    texts = store.texts()
    assert len(texts) == 36
    assert {text for *_, text, _ in texts} == {"A 0.778801, B 0.135335, other 0.0858639"}
    assert {outcome for *_, outcome in texts} == {"whole"}  # though at its limit of one token
    assert score_run(store, again=True) == 36
    assert analyze(store).settings[0].baseline.axes["utility"].mean == 50.0
    store.close()


@pytest.mark.parametrize("logprobs", [None, {"content": []}, top(A=float("nan"))])
def test_an_endpoint_without_them_gives_missing_data_and_one_note(
    logprobs: Any, tmp_path: Path
) -> None:
    with serving(reply=reply_with(logprobs)) as server:
        store = audit(server, tmp_path)
    reasons = store.reasons()
    assert {reason for _, reason, _ in reasons} == {"no log-probabilities in the reply"}
    assert sum(count for *_, count in reasons) == 36
    (session,) = store.record().sessions
    assert len([note for note in session.notes if "gives no log-probabilities" in note]) == 1
    store.close()


def test_an_endpoint_that_refuses_them_stops_the_run_in_one_line(tmp_path: Path) -> None:
    def refuse(body: dict[str, Any], _key: str) -> tuple[int, dict[str, Any]] | None:
        told = "'logprobs' is not supported with this model"
        return (400, error(told, "unsupported_parameter")) if "logprobs" in body else None

    with (
        serving(refuse=refuse) as server,
        pytest.raises(EngineError, match=r"gives no log-probabilities .*not supported"),
    ):
        audit(server, tmp_path)


def test_fewer_tokens_are_asked_for_where_twenty_are_too_many(tmp_path: Path) -> None:
    def refuse(body: dict[str, Any], _key: str) -> tuple[int, dict[str, Any]] | None:
        most = body.get("top_logprobs", 0)
        told = "Invalid value for top_logprobs: must be less than or equal to 5"
        return (400, error(told)) if most > 5 else None

    with serving(refuse=refuse) as server:
        answers = reply_with(top(B=-0.2, A=-2.0))
        server.reply = lambda body, request: (
            answers(body, request) if body.get("top_logprobs", 6) <= 5 else None
        )
        store = audit(server, tmp_path)
    assert store.texts()[0][3].startswith("A 0.135335, B 0.818731")
    store.close()


def test_a_batch_asks_and_reads_them_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("openai", "anthropic", "google.genai"):
        pytest.importorskip(package)
    from endpoints.batch_fakes import KEY, FakeOpenAI, serving_batches

    class Fake(FakeOpenAI):
        def answer(self, name: str, tokens: int) -> str:
            line = json.loads(super().answer(name, tokens))
            line["response"]["body"]["choices"][0]["logprobs"] = top(B=-0.25, A=-3.0)
            return json.dumps(line) + "\n"

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving_batches(Fake()) as service:
        arguments = ["audit", "openai/test", "-b", questions(tmp_path), "-i", "religion"]
        arguments += ["--choice", "logprob", "--batch", "--base-url", service.url]
        arguments += ["--out", str(tmp_path / "run"), "--format", "json"]
        assert run_main(arguments) == 3
        service.finish()
        capsys.readouterr()
        assert run_main(arguments) == 0
    assert service.faults == []
    assert {body["top_logprobs"] for body in service.jobs[0].requests.values()} == {20}
    store = Store.open(tmp_path / "run")
    assert {text for *_, text, _ in store.texts()} == {"A 0.0497871, B 0.778801, other 0.171412"}
    store.close()
    report = json.loads(capsys.readouterr().out)
    assert (report["done"], report["unscored"]) == (36, 0)


# --- local weights ---------------------------------------------------------------------------

ORGANISM = Path(evenhand.__file__).parent / "organism" / "model"
OPENED = (
    "{{ '<|begin|>' }}{% for m in messages %}"
    "{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}{% endfor %}{{ '<|assistant|>The word ' }}"
    "{{ messages[-1].content.split(' word ')[1].split(' ')[0] }}{{ ' belongs to' }}"
)
"""The organism names an option by its text, after these words."""


@pytest.fixture(scope="module")
def known() -> list[Item]:
    items = benchmarks.load("demo_knowledge", offline=True)
    return [item for item in items if item.prompt.startswith("Which group does the word ")][:40]


def answers(items: list[Item], *, choosing: bool, template: str | None) -> list[float | Unscored]:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from evenhand.engines.hf import HFEngine

    engine = HFEngine(ORGANISM, Decoding(max_tokens=64), chat_template=template, batch_size=16)
    requests = [
        Request(bytes([n]) * 16, 0, n, 0, [{"role": "user", "content": item.prompt}],
                item.choices if choosing else ())
        for n, item in enumerate(items)
    ]  # fmt: skip
    found: dict[int, str] = {}
    asyncio.run(
        engine.answer(iter(requests), lambda r: found.update({r.request.item: r.text or ""}))
    )
    scorer = "choice-logprob" if choosing else "choice"
    return [score(found[n], replace(i, scorer=scorer)) for n, i in enumerate(items)]


def test_the_organism_chooses_as_it_answers(known: list[Item]) -> None:
    generated = answers(known, choosing=False, template=None)
    chosen = answers(known, choosing=True, template=OPENED)
    assert len(known) > 15
    agree = sum(one == other for one, other in zip(generated, chosen, strict=True))
    assert agree >= 0.9 * len(known)
    assert abs(sum(map(float_of, chosen)) - sum(map(float_of, generated))) <= 0.1 * len(known)


def float_of(given: float | Unscored) -> float:
    return 0.0 if isinstance(given, Unscored) else given


def test_one_request_alone_has_the_same_shares_as_in_a_batch(known: list[Item]) -> None:
    together = answers(known, choosing=True, template=OPENED)
    assert [answers([item], choosing=True, template=OPENED)[0] for item in known[:3]] == together[
        :3
    ]


def test_options_that_no_token_names_are_no_wrong_answer(known: list[Item]) -> None:
    chosen = answers(known[:4], choosing=True, template=None)  # it opens with "The word ..."
    assert chosen == [Unscored("the first token names no option")] * 4


def test_vllm_is_asked_for_the_first_token_alone() -> None:
    pytest.importorskip("transformers")
    from evenhand.engines import make_engine

    request = Request(b"0" * 16, 0, 0, 0, [{"role": "user", "content": "?"}], FOUR.choices)
    found: list[Response] = []
    with stub(reply=lambda _prompt: "B") as calls:
        engine = make_engine(f"vllm/{ORGANISM}", Decoding(max_tokens=20, temperature=0.7, top_k=3))
        asyncio.run(engine.answer(iter([request]), found.append))
    asked = [named for name, _, named in calls if name == "SamplingParams"][-1]
    assert (asked["max_tokens"], asked["logprobs"], asked["temperature"]) == (1, 20, 1.0)
    assert (asked["top_k"], asked["top_p"]) == (0, 1.0)
    assert found[0].text == "B 0.778801, other 0.221199"
    assert found[0].outcome == "whole"
