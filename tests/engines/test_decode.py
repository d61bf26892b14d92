"""The decoding loop, against `generate` of transformers on tiny models with random weights."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from evenhand.engines.engine import Response, windows
from evenhand.engines.hf import HFEngine
from evenhand.study.decoding import Decoding
from evenhand.study.plan import Request
from late import late
from tiny_llama import save_tiny_llama

torch = late("torch")
transformers = late("transformers")
decode = late("evenhand.engines.decode", "torch", "transformers")

SHOTS = "An example of what is asked, and of how to answer. " * 6


def requests(people: int, items: int, shots: str = SHOTS) -> list[Request]:
    return [
        Request(
            bytes([who, item] * 8),
            who,
            item,
            0,
            [
                {"role": "system", "content": f"I am number {who}. {shots}"},
                {"role": "user", "content": f"Question {item}?{' And more.' * (item % 4)}"},
            ],
        )
        for item in range(items)
        for who in range(people)
    ]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def sliding(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that sees the last 24 tokens alone."""
    folder = save_tiny_llama(tmp_path_factory.mktemp("sliding"))
    llama = transformers.LlamaConfig.from_pretrained(folder)
    config = transformers.MistralConfig(
        vocab_size=llama.vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        sliding_window=24,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        initializer_range=0.4,
    )
    torch.manual_seed(3)
    transformers.MistralForCausalLM(config).eval().save_pretrained(folder)
    return folder


def ask(engine: HFEngine, asked: Sequence[Request]) -> dict[bytes, Response]:
    found: list[Response] = []
    asyncio.run(engine.answer(iter(asked), found.append))
    assert len(found) == len(asked)
    return {response.request.key: response for response in found}


def generated(engine: HFEngine, asked: Sequence[Request], **options: Any) -> dict[bytes, str]:
    """The texts by `generate`, one prompt at a time."""
    found = {}
    for request in asked:
        inputs = engine._tokenizer(engine.rendered(request.messages), return_tensors="pt")
        ids = inputs["input_ids"][:, 1:]  # the template writes the first token itself
        new = engine._net.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=24,
            do_sample=False,
            **options,
        )[0, ids.shape[1] :]
        ended = int(new[-1]) in engine._end_tokens()
        text = engine._tokenizer.decode(new[:-1] if ended else new, skip_special_tokens=True)
        found[request.key] = text
    return found


def ends_often(engine: HFEngine) -> None:
    """Have answers end with many a token, and so at different lengths."""
    engine._net.generation_config.eos_token_id = list(range(2, 40))


@pytest.mark.parametrize("batch_size", [5, 64])
@pytest.mark.parametrize("model", ["weights", "sliding"])
@pytest.mark.slow
def test_texts_are_those_of_generate(
    request: pytest.FixtureRequest, model: str, batch_size: int
) -> None:
    folder = request.getfixturevalue(model)
    engine = HFEngine(folder, Decoding(max_tokens=24), batch_size=batch_size)
    asked = requests(4, 8)
    ends_often(engine)
    found = ask(engine, asked)
    assert {key: response.text for key, response in found.items()} == generated(engine, asked)
    assert len({response.text for response in found.values()}) > 5


def step_by_step(engine: HFEngine, request: Request, most: int) -> tuple[str, str]:
    """Text and outcome, with the whole prompt read for each token, and nothing of ours."""
    ids = engine._tokenizer(
        engine.rendered(request.messages), return_tensors="pt", add_special_tokens=False
    )["input_ids"]
    new: list[int] = []
    while len(new) < most:
        with torch.inference_mode():
            token = int(engine._net(ids).logits[0, -1].argmax())
        text = str(engine._tokenizer.decode(new, skip_special_tokens=True))
        if token in engine._end_tokens():
            return text, "whole"
        new.append(token)
        ids = torch.cat([ids, torch.tensor([[token]])], dim=1)
        text = str(engine._tokenizer.decode(new, skip_special_tokens=True))
        ends = [at for stop in engine._decoding.stop if (at := text.find(stop)) >= 0]
        if ends:
            return text[: min(ends)], "whole"
    return text, "cut off"


@pytest.mark.parametrize("seed", range(6))
def test_texts_are_those_of_one_token_at_a_time(weights: Path, seed: int) -> None:
    """Random lengths of prompts, shared parts, empty messages, stop strings and batches."""
    random = Random(seed)
    letters = "abcdefghijklmnop \n"
    stop = tuple("".join(random.choices(letters, k=random.choice([1, 2]))) for _ in range(seed % 3))
    most = random.choice([1, 2, 12])
    engine = HFEngine(weights, Decoding(max_tokens=most, stop=stop), batch_size=17)
    ends_often(engine)
    engine._budget = random.choice([1, 10**6, engine._budget])
    heads = ["", *("".join(random.choices("xyz ", k=k)) for k in (1, 30, 250))]
    asked = []
    for number in range(24):
        user = random.choice(heads)[:100] + "q" * random.randrange(40)
        messages = [{"role": "system", "content": head} for head in [random.choice(heads)]]
        messages = [*messages[: random.choice([0, 1, 1])], {"role": "user", "content": user}]
        asked.append(Request(bytes([number] * 16), 0, number, 0, messages))  # type: ignore[arg-type]
    found = {key: (each.text, each.outcome) for key, each in ask(engine, asked).items()}
    assert found == {each.key: step_by_step(engine, each, most) for each in asked}


def test_a_setting_of_rows_is_that_of_generate(weights: Path) -> None:
    extra: dict[str, Any] = {"repetition_penalty": 3.0}
    engine = HFEngine(weights, Decoding(max_tokens=24, extra=extra))
    asked = requests(2, 3)
    found = {key: response.text for key, response in ask(engine, asked).items()}
    assert found == generated(engine, asked, **extra)
    assert found != generated(engine, asked)


def test_beam_search_is_left_to_generate(weights: Path) -> None:
    engine = HFEngine(weights, Decoding(max_tokens=24, extra={"num_beams": 3}))
    asked = requests(2, 3)
    found = {key: response.text for key, response in ask(engine, asked).items()}
    assert found == generated(engine, asked, num_beams=3)


def test_each_row_settles_within_the_time_of_its_own_tokens(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = HFEngine(weights, Decoding(max_tokens=24))
    asked = requests(4, 8, shots="")
    ends_often(engine)
    passes = 0

    def count(*_: Any) -> None:
        nonlocal passes
        passes += 1

    engine._net.register_forward_hook(count)
    settled: list[tuple[int, int]] = []
    response_of = engine._response

    def watched(prompt: Any, tokens: list[int], *others: Any) -> Response:
        settled.append((len(tokens), passes))
        return response_of(prompt, tokens, *others)

    monkeypatch.setattr(engine, "_response", watched)
    ask(engine, asked)
    # One pass for each token, and one for what the prompts share.
    assert all(tokens + 1 == passes for tokens, passes in settled), settled
    assert len({tokens for tokens, _ in settled}) > 3


def test_a_sampled_answer_depends_on_its_own_cell_and_the_seed(weights: Path) -> None:
    def texts(asked: Sequence[Request], batch_size: int, seed: int | None) -> dict[bytes, Any]:
        decoding = Decoding(max_tokens=12, temperature=1.0, top_k=20, seed=seed)
        found = ask(HFEngine(weights, decoding, batch_size=batch_size), asked)
        return {key: response.text for key, response in found.items()}

    asked = requests(3, 4)
    whole = texts(asked, 64, 1)
    assert texts(asked[5:], 3, 1) == {r.key: whole[r.key] for r in asked[5:]}
    assert texts(asked, 64, 2) != whole
    assert texts(asked, 64, None) != texts(asked, 64, None)
    again = [Request(bytes([9] * 16), r.condition, r.item, r.sample, r.messages) for r in asked[:1]]
    assert texts(again, 64, 1) != texts(asked[:1], 64, 1), "another sample of the same question"


def test_words_are_drawn_as_often_as_they_are_likely(weights: Path) -> None:
    decoding = Decoding(max_tokens=1, temperature=1.0, top_k=5, seed=3)
    engine = HFEngine(weights, decoding)
    (first, *_) = requests(1, 1, shots="")
    asked = [Request(bytes([n % 256, n // 256] * 8), 0, n, 0, first.messages) for n in range(2000)]
    inputs = engine._tokenizer(engine.rendered(first.messages), return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        scores = engine._net(inputs[:, 1:]).logits[0, -1].float()
    likely = scores.topk(5)
    shares: dict[str, float] = {}
    for token, share in zip(likely.indices, likely.values.softmax(0).tolist(), strict=True):
        text = engine._tokenizer.decode([token], skip_special_tokens=True)
        shares[text] = shares.get(text, 0.0) + share
    assert len(shares) > 1
    found = [response.text for response in ask(engine, asked).values()]
    for text, share in shares.items():
        seen = found.count(text) / 2000
        assert abs(seen - share) < 4 * np.sqrt(share * (1 - share) / 2000) + 1e-9


# Prompts side by side


def test_what_prompts_share_stands_first_and_once() -> None:
    prompts = [[1, *[n % 3] * 300, *range(5, 8 + n)] for n in range(12)]
    rows = decode.side_by_side(prompts, 99, share=True)
    assert rows.shared == 303
    assert len(set(rows.groups.tolist())) == 3
    for prompt, ids, mask, group in zip(prompts, rows.ids, rows.mask, rows.groups, strict=True):
        assert ids[mask == 1].tolist() == prompt
        assert mask[:303].all()
        assert mask[-1] == 1
        first = rows.groups.tolist().index(group)
        assert (rows.ids[first, :303] == ids[:303]).all()


@pytest.mark.parametrize(
    "prompts",
    [
        [[n, *range(400)] for n in range(20)],  # they begin differently
        [[1, 2, 3, *[n] * 400] for n in range(20)],  # they share too little
        [[1, *[n // 2] * 200, n] for n in range(4)],  # too few of them share it
        [[1] * 500],
        [[1]],
    ],
)
def test_what_would_not_be_faster_is_not_divided(prompts: list[list[int]]) -> None:
    rows = decode.side_by_side(prompts, 0, share=True)
    assert rows.shared == 0
    for prompt, ids, mask in zip(prompts, rows.ids, rows.mask, strict=True):
        assert ids[mask == 1].tolist() == prompt
        assert (np.diff(mask) >= 0).all(), "padding stands before a prompt"


def test_the_same_prompt_many_times_keeps_a_token_to_read() -> None:
    rows = decode.side_by_side([[7] * 200] * 30, 0, share=True)
    assert rows.shared == 199
    assert rows.mask.all()
    short = decode.side_by_side([[7] * 200] * 30 + [[8]], 0, share=True)
    assert short.ids[-1][short.mask[-1] == 1].tolist() == [8]


def test_windows_end_with_an_item() -> None:
    asked = requests(7, 20, shots="")
    found = list(windows(iter(asked), 10))
    assert [request for window in found for request in window] == asked
    assert [len(window) for window in found] == [14] * 10
    assert [len(window) for window in windows(iter(requests(50, 1, "")), 10)] == [40, 10]
    assert list(windows(iter([]), 10)) == []
