"""The engine for local weights, on a tiny Llama with random weights."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clock import seconds_for
from evenhand.engines import hf, make_engine
from evenhand.engines.engine import Response
from evenhand.engines.hf import HFEngine
from evenhand.errors import EngineError, ModelNotFound, RequestRejected, UsageError
from evenhand.study.cue import Message
from evenhand.study.decoding import Decoding
from evenhand.study.plan import Request
from late import late
from runs import run_main, write_benchmark
from tiny_llama import TEMPLATE, save_tiny_llama

torch = late("torch")
transformers = late("transformers")

REJECTING = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    + TEMPLATE
)
DROPPING = TEMPLATE.replace(
    "{% for m in messages %}", "{% for m in messages if m['role'] != 'system' %}"
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("weights"))


def requests(count: int) -> list[Request]:
    def messages(n: int) -> list[Message]:
        told: Message = {"role": "system", "content": f"I am number {n}."}
        return [told, {"role": "user", "content": f"Question {n}?{' And more.' * (n % 5)}"}]

    return [Request(bytes([n] * 16), 0, n, 0, messages(n)) for n in range(count)]


def ask(engine: HFEngine, count: int = 12) -> dict[int, Response]:
    responses: list[Response] = []
    asyncio.run(engine.answer(iter(requests(count)), responses.append))
    assert len(responses) == count
    return {response.request.item: response for response in responses}


def test_batched_is_as_unbatched(weights: Path) -> None:
    decoding = Decoding(max_tokens=12)
    single = ask(HFEngine(weights, decoding, batch_size=1))
    batched = ask(HFEngine(weights, decoding, batch_size=5))
    assert {n: r.text for n, r in single.items()} == {n: r.text for n, r in batched.items()}
    assert {n: r.prompt_tokens for n, r in single.items()} == {
        n: r.prompt_tokens for n, r in batched.items()
    }
    assert len({response.text for response in single.values()}) > 1


def test_a_cut_off_answer_says_so(weights: Path) -> None:
    response = ask(HFEngine(weights, Decoding(max_tokens=5)), 1)[0]
    assert response.finish == "length"
    assert response.completion_tokens == 5


def test_an_answer_that_ends_says_so(weights: Path) -> None:
    engine = HFEngine(weights, Decoding(max_tokens=5))
    engine._net.generation_config.eos_token_id = list(range(3, 259))  # anything ends it
    response = ask(engine, 1)[0]
    assert response.finish == "stop"
    assert response.text == ""


def test_prompt_tokens_are_those_of_the_rendered_prompt(weights: Path) -> None:
    engine = HFEngine(weights, Decoding(max_tokens=2))
    request = requests(1)[0]
    rendered = engine.rendered(request.messages)
    assert rendered == "system: I am number 0.\nuser: Question 0?\nassistant: "
    assert ask(engine, 1)[0].prompt_tokens == len(rendered)


def test_greedy_is_the_same_twice_and_sampling_by_seed(weights: Path) -> None:
    def texts(**decoding: Any) -> list[str | None]:
        engine = HFEngine(weights, Decoding(max_tokens=8, **decoding))
        return [response.text for _, response in sorted(ask(engine, 4).items())]

    assert texts() == texts()
    sampled = texts(temperature=1.0, top_k=10, seed=1)
    assert sampled == texts(temperature=1.0, top_k=10, seed=1)
    assert sampled != texts(temperature=1.0, top_k=10, seed=2)
    assert sampled != texts()


def test_a_stop_string_ends_the_answer(weights: Path) -> None:
    whole = ask(HFEngine(weights, Decoding(max_tokens=30)), 1)[0].text
    assert whole is not None
    printable = next(c for c in whole[1:] if c.isascii() and c.isprintable())
    engine = HFEngine(weights, Decoding(max_tokens=30, stop=(printable,)))
    response = ask(engine, 1)[0]
    assert response.finish == "stop"
    assert response.text is not None
    assert len(response.text) < len(whole)
    assert whole.startswith(response.text)
    assert printable not in response.text, "endpoints leave the stop string out, and so do we"


@pytest.mark.slow
def test_a_stop_string_that_begins_in_the_prompt_ends_nothing(weights: Path) -> None:
    """The prompt ends with a blank: a blank alone, or one and the first letter, is no stop yet."""
    whole = ask(HFEngine(weights, Decoding(max_tokens=24)), 4)
    for number, said in whole.items():
        text = said.text or ""
        for stop in (" ", " " + text[0], text[3:5]):
            found = ask(HFEngine(weights, Decoding(max_tokens=24, stop=(stop,))), 4)[number]
            assert found.text == text.partition(stop)[0]
            assert found.outcome == ("whole" if stop in text else "cut off")


def test_a_template_that_rejects(weights: Path) -> None:
    engine = HFEngine(weights, Decoding())
    engine._tokenizer.chat_template = REJECTING
    with pytest.raises(RequestRejected, match="no system role"):
        engine.rendered([{"role": "system", "content": "I am."}, {"role": "user", "content": "?"}])
    assert engine.rendered([{"role": "user", "content": "?"}]) == "user: ?\nassistant: "


@pytest.mark.parametrize(
    ("template", "system_role", "evidence"),
    [(TEMPLATE, True, "seen"), (REJECTING, False, "no system role"), (DROPPING, False, "drops")],
)
def test_placement(
    weights: Path, tmp_path: Path, template: str, system_role: bool, evidence: str
) -> None:
    from evenhand import audit
    from runs import plan_of, write_benchmark

    engine = HFEngine(weights, Decoding(max_tokens=1, seed=0), name="hf/tiny")
    engine._tokenizer.chat_template = template
    plan = plan_of(
        "hf/tiny",
        write_benchmark(tmp_path / "own.jsonl", 2),
        identities=["age"],
        cues=["system", "memory"],
        decoding={"max_tokens": 1},
    )
    result = audit(plan.study, out=tmp_path / "run", engine=engine)
    assert result.done == result.cells
    assert evidence in result.placement
    assert any("in front of the user's message" in note for note in result.notes) != system_role


def test_without_a_chat_template_the_conversation_is_a_transcript(weights: Path) -> None:
    engine = HFEngine(weights, Decoding(max_tokens=2))
    engine._tokenizer.chat_template = None
    request = requests(1)[0]
    rendered = engine.rendered(request.messages)
    assert rendered == "System: I am number 0.\n\nUser: Question 0?\n\nAssistant:"
    # Base models expect the token that opens a text; templates write it themselves.
    assert ask(engine, 1)[0].prompt_tokens == len(rendered) + 1


def test_cancelled_within_seconds(weights: Path) -> None:
    async def run() -> float:
        engine = HFEngine(weights, Decoding(max_tokens=4000), batch_size=4)
        engine._net.generation_config.eos_token_id = None  # it never ends of itself
        asking = asyncio.create_task(engine.answer(iter(requests(8)), lambda _: None))
        await asyncio.sleep(0.5)
        assert not asking.done()
        started = time.monotonic()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        return time.monotonic() - started

    assert asyncio.run(run()) < seconds_for(3)


def test_what_generate_does_not_take_is_the_user_s_mistake(weights: Path) -> None:
    with pytest.raises(UsageError, match="--extra logit_hats"):
        HFEngine(weights, Decoding(max_tokens=2, extra={"logit_hats": 1}))


def test_by_name(weights: Path, tmp_path: Path) -> None:
    engine = make_engine(f"hf/{weights}", Decoding())
    assert engine.model == f"hf/{weights}"
    (tmp_path / "empty").mkdir()
    for missing in (tmp_path / "nowhere", tmp_path / "empty"):
        with pytest.raises(ModelNotFound, match=f"cannot load {missing}"):
            make_engine(f"hf/{missing}", Decoding())


def test_what_generation_config_says_of_style_is_not_used_and_said(tmp_path: Path) -> None:
    folder = save_tiny_llama(tmp_path)
    usual = ask(HFEngine(folder, Decoding(max_tokens=12)), 2)
    style = {"repetition_penalty": 50.0, "min_p": 0.5, "no_repeat_ngram_size": 1}
    own = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(own | style | {"temperature": 0.6}))
    engine = HFEngine(folder, Decoding(max_tokens=12))
    assert engine.ignored == style
    assert {n: r.text for n, r in ask(engine, 2).items()} == {n: r.text for n, r in usual.items()}
    wanted = HFEngine(folder, Decoding(max_tokens=12, extra={"repetition_penalty": 50.0}))
    assert ask(wanted, 2)[0].text != usual[0].text, "--extra wins"


def test_a_prompt_beyond_the_context_is_told(tmp_path: Path) -> None:
    engine = HFEngine(save_tiny_llama(tmp_path, context=60), Decoding(max_tokens=20))
    answers = ask(engine, 5)
    lengths = {n: len(engine.rendered(r.request.messages) or "") for n, r in answers.items()}
    assert min(lengths.values()) < 60 < max(lengths.values())
    for n, response in answers.items():
        if lengths[n] >= 60:
            assert (response.text, response.outcome) == (None, "rejected")
            assert (
                f"the prompt has {lengths[n]} tokens; the model's context is 60" in response.error
            )
        else:
            assert response.completion_tokens <= 60 - lengths[n]
            assert response.outcome == ("cut off" if response.finish == "length" else "whole")


def truncate(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:2000])


def garbage(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 20)


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"weight": torch.zeros(2)}, folder / "pytorch_model.bin")


def bad_config(folder: Path) -> None:
    (folder / "config.json").write_text("[1, 2")


def foreign_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text("raise SystemExit('foreign code was run')")


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


def change_config(folder: Path, **fields: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | fields))


def another_kind(folder: Path) -> None:
    change_config(folder, model_type="mistral", num_hidden_layers=3)


def another_size(folder: Path) -> None:
    change_config(folder, vocab_size=100)


def not_a_number(folder: Path) -> None:
    net = transformers.AutoModelForCausalLM.from_pretrained(folder)
    net.lm_head.weight.data[:] = float("nan")
    net.save_pretrained(folder)


def another_tokenizer(folder: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["assistant"]})
    tokenizer.save_pretrained(folder)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
@pytest.mark.parametrize("how", [{}, {"temperature": 1.0, "seed": 1}, {"extra": {"num_beams": 2}}])
def test_no_number_at_a_later_token_ends_the_run_too(
    weights: Path, how: dict[str, Any], wrong: float
) -> None:
    """Of NaN always the first word would be chosen, and it would be stored as an answer."""
    engine = HFEngine(weights, Decoding(max_tokens=12, **how))
    said = ask(engine, 1)[0].text or ""
    prompt = engine.rendered(requests(1)[0].messages) or ""
    letter = next(c for c in said[1:-1] if c.isascii() and c not in prompt + said[0])
    token = engine._tokenizer.convert_tokens_to_ids(letter)
    with torch.no_grad():
        engine._net.get_input_embeddings().weight[token] = wrong  # read as soon as it is written
    with pytest.raises(EngineError, match=r"it computes NaN or infinity .* --dtype float32"):
        ask(engine, 1)


def test_infinite_scores_are_no_answer(weights: Path) -> None:
    engine = HFEngine(weights, Decoding(max_tokens=4))
    with torch.no_grad():
        engine._net.lm_head.bias = torch.nn.Parameter(torch.zeros(259))
        engine._net.lm_head.bias[70] = float("inf")
    with pytest.raises(EngineError, match="it computes NaN or infinity"):
        ask(engine, 2)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (truncate, "it has a damaged model.safetensors ("),
        (garbage, "it has a damaged model.safetensors ("),
        (without("model.safetensors"), "it has no model.safetensors; copy or download it again"),
        (pickled, "its weights are a pickle"),
        (bad_config, "it has a damaged config.json ("),
        (without("config.json"), "it has no config.json; copy or download it again"),
        (foreign_code, "runs no code from a model"),
        (no_tokenizer, "it has a damaged tokenizer.json ("),
        (without("tokenizer.json"), "it has no tokenizer.json; copy or download it again"),
        (another_kind, "its weights lack model.layers.2.input_layernorm.weight and 8 others"),
        (another_size, "its weights are of other sizes than its config.json says"),
        (not_a_number, "it computes NaN"),
        (another_tokenizer, "has tokens beyond the 259 that the weights know"),
    ],
)
def test_a_damaged_folder_is_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path], None],
    complaint: str,
) -> None:
    folder = save_tiny_llama(tmp_path / "model")
    damage(folder)
    benchmark = write_benchmark(tmp_path / "own.jsonl", 2)
    out = str(tmp_path / "run")
    assert run_main(["audit", f"hf/{folder}", "-b", str(benchmark), "--out", out]) == 2
    told = capsys.readouterr().err
    assert complaint in told
    assert told.count("\n") == 1, told


def test_a_number_format_is_part_of_what_is_asked(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = make_engine(f"hf/{weights}", Decoding(max_tokens=4, dtype="bfloat16"))
    assert isinstance(engine, HFEngine)
    assert engine._net.dtype == torch.bfloat16
    assert engine.address.endswith(" in bfloat16")
    assert (
        make_engine(f"hf/{weights}", Decoding()).address == engine.address[: -len(" in bfloat16")]
    )
    assert Decoding(dtype="auto") == Decoding()  # type: ignore[arg-type]
    assert "dtype" not in Decoding().facts(), "keys of answers so far are as before"

    benchmark = str(write_benchmark(tmp_path / "own.jsonl", 2))
    command = ["audit", f"hf/{weights}", "-b", benchmark, "-i", "age", "--max-tokens", "2"]
    command += ["--out", str(tmp_path / "run")]
    assert run_main([*command, "--dtype", "float16"]) == 0
    capsys.readouterr()
    assert run_main([*command, "--dtype", "bfloat16"]) == 2
    assert "holds a run with other decoding parameters" in capsys.readouterr().err
    assert run_main(["report", str(tmp_path / "run"), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["decoding"]["dtype"] == "float16"


def test_a_number_format_is_for_local_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark = str(write_benchmark(tmp_path / "own.jsonl", 2))
    command = ["audit", "openai/gpt-4o-mini", "--dtype", "bfloat16", "-b", benchmark]
    assert run_main([*command, "--out", str(tmp_path / "run")]) == 2
    assert "--dtype is for local weights" in capsys.readouterr().err


class Helpers:
    """Workers that are ready when asked for the second time."""

    def __init__(self) -> None:
        self.asked = 0
        self.items: list[int] = []
        self.closed = False

    def is_ready(self) -> bool:
        self.asked += 1
        return self.asked > 1

    async def answer(self, left: Iterator[Request], settle: Callable[[Response], None]) -> None:
        for request in left:
            self.items.append(request.item)
            settle(Response(request, "there"))

    async def close(self) -> None:
        self.closed = True


def test_workers_take_over_once_they_are_ready(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile this process goes on; each request is answered once, in the one or the others."""
    monkeypatch.setattr(hf, "_WINDOW", 4)
    monkeypatch.setattr(hf, "_SPREAD_AFTER", 0.0)
    monkeypatch.setattr(hf, "cores", lambda: 2)
    helpers = Helpers()
    engine = HFEngine(weights, Decoding(max_tokens=4), spread=lambda _: helpers)  # type: ignore[arg-type, return-value]
    found = ask(engine)
    assert helpers.items == list(range(4, 12))
    assert [item for item, response in found.items() if response.text == "there"] == helpers.items
    asyncio.run(engine.close())
    assert helpers.closed


class Helpless(Helpers):
    """Workers that cannot load the model."""

    def is_ready(self) -> bool:
        raise EngineError("killed by SIGKILL")


def cannot_start(_: int) -> Helpers:
    raise EngineError("cannot start a worker: Resource temporarily unavailable")


@pytest.mark.parametrize("start", [lambda _: Helpless(), cannot_start])
def test_without_other_processes_all_is_done_in_this_one(
    weights: Path, monkeypatch: pytest.MonkeyPatch, start: Any
) -> None:
    """Nobody asked for them: that they cannot be had must not end the run."""
    monkeypatch.setattr(hf, "_WINDOW", 4)
    monkeypatch.setattr(hf, "_SPREAD_AFTER", 0.0)
    monkeypatch.setattr(hf, "cores", lambda: 2)
    engine = HFEngine(weights, Decoding(max_tokens=4), spread=start)
    usual = ask(HFEngine(weights, Decoding(max_tokens=4)))
    found = ask(engine)
    assert {n: r.text for n, r in found.items()} == {n: r.text for n, r in usual.items()}
    assert [note.split(" (")[0] for note in engine.notes] == [
        "all was answered in one process, since no other could load the model"
    ]
    asyncio.run(engine.close())


@pytest.mark.parametrize("special", ["no padding", "no end", "padding beyond the weights"])
def test_odd_special_tokens_change_no_answer(weights: Path, tmp_path: Path, special: str) -> None:
    folder = Path(shutil.copytree(weights, tmp_path / "model"))
    if special == "padding beyond the weights":
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        tokenizer.add_special_tokens({"pad_token": "[PAD]"})
        tokenizer.save_pretrained(folder)
    else:
        names = ["pad_token", "eos_token"][: 1 + (special == "no end")]
        for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
            fields = json.loads((folder / name).read_text())
            gone = {n for each in names for n in (each, f"{each}_id")}
            kept = {n: v for n, v in fields.items() if n not in gone}
            (folder / name).write_text(json.dumps(kept))
    plain = ask(HFEngine(weights, Decoding(max_tokens=3)), 5)
    odd = ask(HFEngine(folder, Decoding(max_tokens=3)), 5)
    assert [odd[n].text for n in odd] == [plain[n].text for n in odd]


def test_a_template_that_writes_nothing_is_one_line(weights: Path) -> None:
    engine = HFEngine(weights, Decoding(), chat_template="{% if false %}x{% endif %}")
    with pytest.raises(RequestRejected, match="makes an empty prompt"):
        ask(engine, 1)


def test_a_written_padding_token_is_no_end(weights: Path) -> None:
    engine = HFEngine(weights, Decoding(max_tokens=3))
    engine._net.lm_head.weight.data[:] = 0.0  # the likeliest token is the first: padding
    for response in ask(engine, 3).values():
        assert (response.outcome, response.completion_tokens) == ("cut off", 3)
