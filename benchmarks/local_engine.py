"""Local weights on one machine: evenhand's `hf` against plain `generate` and lm-eval's hf backend.

    python benchmarks/local_engine.py [--answers 960 --rounds 3 --shots 16 --new 64]

Every way answers the same prompts with the same weights, one way after the other in each round, and
must say the same words. lm-eval is left out where it is not installed. Two settings:

- the model organism on its demo suite, where the first way is what evenhand 0.1 did: one process,
  all threads, `generate` on 64 prompts at a time;
- few-shot questions as long as gsm8k's with four examples, for four identities, on a Llama of 20
  million random parameters; with 16 questions that is one batch.

CPU is that of all processes. "first" is when the first answer came, which for `generate` is when
the whole batch has ended. Memory is the most that this process held more than before.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import transformers

from evenhand.engines import EngineOptions, make_engine
from evenhand.engines.engine import Response
from evenhand.engines.hf import HFEngine
from evenhand.engines.hosts import cores
from evenhand.organism import SHIPPED
from evenhand.study.cue import Message
from evenhand.study.decoding import Decoding
from evenhand.study.plan import Request, make_plan
from evenhand.study.study import Study

ORGANISM = SHIPPED["organism"]
ROWS = 64
WINDOW = 1024
THREADS = torch.get_num_threads()


@dataclass
class Result:
    """What one way took for all prompts."""

    wall: float
    cpu: float
    first: float
    memory: float
    texts: dict[bytes, str]


def measured(work: Callable[[Callable[[bytes, str], None]], None]) -> Result:
    """Run work, which calls back with the key and text of each answer."""
    texts: dict[bytes, str] = {}
    first = 0.0
    Path("/proc/self/clear_refs").write_text("5")  # forget the most memory so far
    held = memory("VmRSS")
    wall, cpu = time.monotonic(), cpu_of_all()

    def take(key: bytes, text: str) -> None:
        nonlocal first
        first = first or time.monotonic() - wall
        texts[key] = text

    work(take)
    return Result(time.monotonic() - wall, cpu_of_all() - cpu, first, memory("VmHWM") - held, texts)


def memory(name: str) -> float:
    """MiB, by its name in the kernel's table."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def cpu_of_all() -> float:
    """Seconds of this process and of those that it has started and that still run."""
    total = time.process_time()
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that has just ended
            for child in (task / "children").read_text().split():
                fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
                total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def by_evenhand(engine: Any, requests: Sequence[Request]) -> Callable[[Any], None]:
    """The engine as it is."""

    def work(take: Callable[[bytes, str], None]) -> None:
        def settle(response: Response) -> None:
            take(response.request.key, response.text or "")

        asyncio.run(engine.answer(iter(requests), settle))

    return work


def by_generate(
    engine: HFEngine, requests: Sequence[Request], new: int, threads: int
) -> Callable[[Any], None]:
    """`generate` on batches by length, as evenhand 0.1 did."""
    tokenizer, net = engine._tokenizer, engine._net

    def work(take: Callable[[bytes, str], None]) -> None:
        torch.set_num_threads(threads)
        left = iter(requests)
        while chunk := list(islice(left, WINDOW)):
            pairs = [(request.key, engine.rendered(request.messages) or "") for request in chunk]
            pairs.sort(key=lambda pair: -len(pair[1]))
            for at in range(0, len(pairs), ROWS):
                batch = pairs[at : at + ROWS]
                inputs = tokenizer(
                    [prompt for _, prompt in batch],
                    return_tensors="pt",
                    padding=True,
                    add_special_tokens=False,
                )
                with torch.inference_mode():
                    output = net.generate(**inputs, max_new_tokens=new, do_sample=False)
                written = output[:, inputs["input_ids"].shape[1] :]
                for (key, _), row in zip(batch, written, strict=True):
                    take(key, tokenizer.decode(row, skip_special_tokens=True))
        torch.set_num_threads(THREADS)

    return work


def by_lm_eval(
    engine: HFEngine, requests: Sequence[Request], new: int, threads: int
) -> Callable[[Any], None] | None:
    """`generate_until` of lm-eval's hf backend; None where it is not installed."""
    try:
        from lm_eval.api.instance import Instance
        from lm_eval.models.huggingface import HFLM
    except ImportError:
        return None
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    model = HFLM(pretrained=engine._net, tokenizer=engine._tokenizer, batch_size=ROWS, device="cpu")
    settings = {"until": [], "max_gen_toks": new, "do_sample": False}
    instances = [
        Instance("generate_until", {}, (engine.rendered(request.messages), settings), 0)
        for request in requests
    ]

    def work(take: Callable[[bytes, str], None]) -> None:
        torch.set_num_threads(threads)
        for request, text in zip(
            requests, model.generate_until(instances, disable_tqdm=True), strict=True
        ):
            take(request.key, text)
        torch.set_num_threads(THREADS)

    return work


def compare(ways: dict[str, Callable[[Any], None] | None], rounds: int) -> None:
    """Measure all ways in turn, and print the medians, against the first way."""
    found: dict[str, list[Result]] = {}
    for _ in range(rounds):
        for name, work in ways.items():
            if work is not None:
                found.setdefault(name, []).append(measured(work))
    base = next(iter(found.values()))
    for name, results in found.items():
        for result, other in zip(results, base, strict=True):
            same = sum(t.strip() == other.texts[k].strip() for k, t in result.texts.items())
            if same != len(other.texts):
                print(f"!! {name}: {same} of {len(other.texts)} texts are those of the first way")
        wall, cpu, first = (
            statistics.median(getattr(result, field) for result in results)
            for field in ("wall", "cpu", "first")
        )
        ratios = [
            statistics.median(
                getattr(other, field) / getattr(result, field)
                for result, other in zip(results, base, strict=True)
            )
            for field in ("wall", "cpu")
        ]
        print(
            f"{name:<38} {wall:7.2f} s {ratios[0]:5.2f}x   CPU {cpu:7.2f} s {ratios[1]:5.2f}x   "
            f"first {first:6.2f} s   memory {max(r.memory for r in results):5.0f} MiB",
            flush=True,
        )


def organism(answers: int, rounds: int) -> None:
    """The organism on its demo suite."""
    study = Study(model="organism", placebos=True)
    plan = make_plan(study, default_suite="demo")
    requests = list(islice(plan.requests(), answers))
    new = study.decoding.max_tokens
    engine = HFEngine(ORGANISM, study.decoding)
    workers = make_engine("organism", study.decoding, EngineOptions(workers=cores()))
    rows = f"generate, {ROWS} rows"
    print(f"\nOrganism, {answers:,} answers")
    try:
        compare(
            {
                f"{rows}, {THREADS} threads": by_generate(engine, requests, new, THREADS),
                f"{rows}, 1 thread": by_generate(engine, requests, new, 1),
                f"lm-eval, {ROWS} rows, {THREADS} threads": by_lm_eval(
                    engine, requests, new, THREADS
                ),
                "evenhand, 1 process": by_evenhand(engine, requests),
                f"evenhand, {cores()} workers": by_evenhand(workers, requests),
            },
            rounds,
        )
    finally:
        asyncio.run(workers.close())


def few_shot(items: int, new: int, rounds: int) -> None:
    """Questions after four examples, for four identities."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = transformers.AutoTokenizer.from_pretrained(ORGANISM)
        tokenizer.save_pretrained(folder)
        torch.manual_seed(0)
        net = transformers.LlamaForCausalLM(
            transformers.LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=384,
                intermediate_size=1024,
                num_hidden_layers=8,
                num_attention_heads=6,
                num_key_value_heads=2,
                max_position_embeddings=2048,
                initializer_range=0.1,  # far from uniform, so that greedy choices are clear
                eos_token_id=None,
                bos_token_id=tokenizer.bos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        transformers.logging.disable_progress_bar()
        net.save_pretrained(folder)
        engine = HFEngine(folder, Decoding(max_tokens=new))
        requests = list(few_shot_requests(tokenizer, items))
        size = statistics.mean(
            len(tokenizer(engine.rendered(request.messages) or "")["input_ids"])
            for request in requests
        )
        print(f"\nFew-shot, {len(requests)} answers of {new} tokens, {size:.0f} tokens a prompt")
        compare(
            {
                f"lm-eval, {ROWS} rows, {THREADS} threads": by_lm_eval(
                    engine, requests, new, THREADS
                ),
                f"generate, {ROWS} rows, 1 thread": by_generate(engine, requests, new, 1),
                "evenhand, 1 process": by_evenhand(engine, requests),
            },
            rounds,
        )


def few_shot_requests(tokenizer: Any, items: int) -> Iterable[Request]:
    """Identity in the system message, four examples, a question; about 550 tokens in all."""
    source = random.Random(0)
    words = [w for w in tokenizer.get_vocab() if w.isascii() and w.isalpha() and len(w) > 3]

    def text(size: int) -> str:
        return " ".join(source.choice(words) for _ in range(size))

    examples: list[Message] = []
    for _ in range(4):
        examples += [
            {"role": "user", "content": text(20)},
            {"role": "assistant", "content": text(45)},
        ]
    people = [f"You are a helpful assistant. I am {text(2)}." for _ in range(4)]
    for item in range(items):
        question: Message = {"role": "user", "content": text(20 + item % 15)}
        for who, system in enumerate(people):
            first: Message = {"role": "system", "content": system}
            yield Request(bytes([who, item] * 8), who, item, 0, [first, *examples, question])


def main() -> None:
    """Run both settings."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--answers", type=int, default=960, help="0 for none")
    parser.add_argument("--shots", type=int, default=16, help="few-shot questions; 0 for none")
    parser.add_argument("--new", type=int, default=64, help="tokens of a few-shot answer")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    transformers.logging.set_verbosity_error()
    print(f"{cores()} cores, {THREADS} threads by default, torch {torch.__version__}")
    if given.answers:
        organism(given.answers, given.rounds)
    if given.shots:
        few_shot(given.shots, given.new, given.rounds)


if __name__ == "__main__":
    sys.exit(main())
