"""Multiple choice by the first token's probabilities, against generating 64 tokens.

    python benchmarks/choice_speed.py [--rows 64 --rounds 3 --new 64]

The same questions with the same weights, a Llama of some 20 million random parameters, one way
after the other in each round, for questions as short as the demo's and as long as MMLU's, with
nothing in common and after a beginning that all have in common, as an identity's examples are.
Target: a quarter of the CPU time. On a processor a token of the prompt costs nearly half as much as
a generated one, so that the longer what is new in a question, the less there is to gain; on a GPU
it costs a small part.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
import transformers

import evenhand
from evenhand.engines.engine import Response
from evenhand.engines.hf import HFEngine
from evenhand.study.decoding import Decoding
from evenhand.study.plan import Request

ORGANISM = Path(evenhand.__file__).parent / "organism" / "model"
QUESTION = "Which group does the word {} belong to?"
CONTEXT = "Think of all that you know of it. "
QUESTIONS = {
    "short": QUESTION,
    "as long as MMLU's": f"{QUESTION} {CONTEXT * 9}",
    "as long, with a beginning in common": f"{CONTEXT * 9}{QUESTION}",
}
OPTIONS = ("tools", "fish", "birds", "kitchen")


def save_llama(folder: Path) -> None:
    """Random weights, and the organism's tokenizer."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(ORGANISM)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=448,
        intermediate_size=1200,
        num_hidden_layers=8,
        num_attention_heads=8,
        max_position_embeddings=2048,
        eos_token_id=None,
        pad_token_id=tokenizer.pad_token_id,
    )
    transformers.LlamaForCausalLM(config).eval().save_pretrained(folder)


def responses_to(engine: HFEngine, requests: list[Request]) -> list[Response]:
    """All answers."""
    found: list[Response] = []
    asyncio.run(engine.answer(iter(requests), found.append))
    assert len(found) == len(requests)
    return found


def seconds(engine: HFEngine, requests: list[Request]) -> float:
    """CPU time to answer them all."""
    began = time.process_time()
    responses_to(engine, requests)
    return time.process_time() - began


def main() -> None:
    """Print one line for each length."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("rows", 64), ("rounds", 3), ("new", 64)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        save_llama(Path(folder))
        engine = HFEngine(folder, Decoding(max_tokens=options.new), batch_size=options.rows)
        for name, question in QUESTIONS.items():
            compare(engine, name, question, options)


def compare(engine: HFEngine, name: str, question: str, options: argparse.Namespace) -> None:
    """One line."""
    listed = "\n".join(f"{letter}) {text}" for letter, text in zip("ABCD", OPTIONS, strict=True))
    asked = f"{question}\n{listed}"
    ways = {
        way: [
            Request(
                n.to_bytes(16), 0, n, 0, [{"role": "user", "content": asked.format(n)}], choices
            )
            for n in range(options.rows)
        ]
        for way, choices in (("generating", ()), ("choosing", OPTIONS))
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(options.rounds):
        for way, requests in ways.items():
            times[way].append(seconds(engine, requests))
    shares = [one / all_ for one, all_ in zip(times["choosing"], times["generating"], strict=True)]
    each = {way: 1e3 * median(found) / options.rows for way, found in times.items()}
    tokens = responses_to(engine, ways["choosing"][:1])[0].prompt_tokens
    print(
        f"{options.rows} questions, {name} ({tokens} tokens): {each['generating']:.1f} ms of CPU "
        f"each to generate {options.new} tokens, {each['choosing']:.1f} ms by the first token: "
        f"{1 / median(shares):.1f} times as fast"
    )


if __name__ == "__main__":
    main()
