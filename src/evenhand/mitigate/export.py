"""A tuned model in the forms that servers take, and whether what they serve answers as it did.

OUT/model.safetensors  merged: an ordinary folder of weights, for vLLM, transformers and converters
OUT/model.gguf         gguf: one file with tokenizer and chat template, for llama.cpp
OUT/Modelfile          beside it, for Ollama, where its template language can say the chat template

vLLM also takes the folder of a LoRA adapter as it is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

import numpy as np

from evenhand.engines.engine import Engine, Response
from evenhand.engines.hf import load_weights
from evenhand.engines.steering import is_steering
from evenhand.errors import MissingExtra, NotFinished, StoreError, UsageError
from evenhand.files import write_file
from evenhand.mitigate.gguf_file import starts_with_bos, write_gguf
from evenhand.mitigate.options import base_of
from evenhand.store.store import Store, StoredAnswer
from evenhand.study.cue import Message
from evenhand.study.plan import Request
from evenhand.text import one_line

ExportForm = Literal["merged", "gguf"]


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        weights: the folder of a merged model, or the GGUF file.
        modelfile: for Ollama; None of a merged model, and where the chat template cannot be
            written in Ollama's language.
    """

    weights: Path
    modelfile: Path | None = None


def export(model: str, out: Path, form: ExportForm) -> Exported:
    """Write a model, with its adapter merged, in a form that servers take.

    Args:
        model: "organism" or "hf/ID-or-path".
        out: a folder that is new or empty.
        form: "merged" or "gguf".

    Raises:
        UsageError: the folder holds files, or the model is behind an endpoint, is steered, or has
            no such form.
        ModelNotFound: it cannot be loaded.
        MissingExtra: a package is not installed.
        StoreError: the folder cannot be written.
    """
    path = base_of(model)
    _check_folder(out)
    tokenizer, net = _load(path)
    from safetensors import SafetensorError

    try:
        out.mkdir(parents=True, exist_ok=True)
        return _write(tokenizer, net, out, form)
    except (OSError, SafetensorError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or one_line(str(error))
        raise StoreError(f"cannot write to {out}: {reason}") from None


def _check_folder(out: Path) -> None:
    """Whether it can be written, before a model is loaded, which may take minutes.

    Raises:
        UsageError: it cannot, or holds files.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UsageError(f"{out} holds other files; name a new folder with --out")
    parent = next(each for each in (out, *out.absolute().parents) if each.exists())
    if not parent.is_dir():
        raise UsageError(f"{out} cannot be made, since {parent} is a file; name another --out")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UsageError(f"{out}: no permission to write to {parent}; name another --out")


def _write(tokenizer: Any, net: Any, out: Path, form: ExportForm) -> Exported:
    if form == "merged":
        net.save_pretrained(out)
        tokenizer.save_pretrained(out)
        return Exported(out)
    weights = out / "model.gguf"
    write_gguf(net, tokenizer, weights)
    text = modelfile(tokenizer, weights.name)
    if text is None:
        return Exported(weights)
    write_file(out / "Modelfile", text)
    return Exported(weights, out / "Modelfile")


def _load(path: str) -> tuple[Any, Any]:
    """Tokenizer and network of a folder or an id on the hub; an adapter is merged."""
    try:
        import torch
        import transformers
    except ImportError:
        raise MissingExtra("local models", "local") from None
    if is_steering(path):
        raise UsageError(
            f"{path} is steered: it edits states while it answers, which no server does; only "
            "tuned and untuned models can be exported"
        )
    tokenizer, net = load_weights(transformers, torch, path, None)
    return tokenizer, net.merge_and_unload() if hasattr(net, "merge_and_unload") else net


# Ollama


@dataclass(frozen=True)
class TurnTexts:
    """A chat template that puts texts around each turn, and looks at nothing else.

    Attributes:
        head: in front of everything.
        before: role -> the text before its content.
        closing: after each turn.
        answer: after the last turn, where the model's answer begins.
        default_system: the system message where there is none.
    """

    head: str
    before: dict[str, str]
    closing: str
    answer: str
    default_system: str

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt, as Ollama puts it together."""
        if self.default_system and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": self.default_system}, *messages]
        turns = [self.before[m["role"]] + m["content"] + self.closing for m in messages]
        return self.head + "".join(turns) + self.answer


_TEXTS = {"system": "SYSTEM-TEXT", "user": "USER-TEXT", "assistant": "ANSWER-TEXT"}


def turn_texts(
    render: Callable[[Sequence[Message]], str], marks: Sequence[str]
) -> TurnTexts | None:
    """What a chat template puts around turns; None where it does anything else.

    Args:
        render: the template, with the beginning of an answer at the end.
        marks: the special tokens, which are not cut into pieces.
    """
    user, several = _turns("user"), _turns("system user assistant user")
    tried = [user, several, _turns("system user"), _turns("user assistant user")]
    try:
        found = _read_turns(render(user), render(several), marks)
        agrees = found is not None and all(found.render(each) == render(each) for each in tried)
    except Exception:  # templates raise whatever they like
        return None
    return found if agrees else None


def _turns(roles: str) -> list[Message]:
    return [{"role": role, "content": _TEXTS[role]} for role in roles.split()]


def _read_turns(alone: str, several: str, marks: Sequence[str]) -> TurnTexts | None:
    """The texts around turns, if each turn is closed by the same text."""
    pieces = re.compile("|".join([*map(re.escape, marks), "."]), re.DOTALL)
    between = re.split("|".join(_TEXTS.values()), several)
    if len(between) != 5:
        return None
    before_system, *gaps = (pieces.findall(text) for text in between)
    closing = _common_start(gaps)
    if len(closing) > 1 and closing[-1] in marks:
        closing = closing[:-1]  # it opens the next turn
    user, assistant, _, answer = ("".join(gap[len(closing) :]) for gap in gaps)
    closed, system = "".join(closing), "".join(before_system)
    first = alone.partition(_TEXTS["user"])[0]
    default = ""
    if first.startswith(system) and first.endswith(closed + user):
        default = first[len(system) : len(first) - len(closed + user)]
    head = "" if default else first.removesuffix(user)
    around = {"system": system.removeprefix(head), "user": user, "assistant": assistant}
    return TurnTexts(head, around, closed, answer, default)


def _common_start(texts: Sequence[Sequence[str]]) -> list[str]:
    """The pieces with which all begin."""
    start = takewhile(lambda each: len(set(each)) == 1, zip(*texts, strict=False))
    return [each[0] for each in start]


def modelfile(tokenizer: Any, weights: str) -> str | None:
    """Ollama's Modelfile; None where the chat template cannot be written in Ollama's language.

    Args:
        tokenizer: of transformers.
        weights: name of the GGUF file beside it.
    """

    def render(messages: Sequence[Message]) -> str:
        return str(
            tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=True
            )
        )

    marks = [token.content for token in tokenizer.added_tokens_decoder.values()]
    texts = turn_texts(render, marks) if tokenizer.chat_template else None
    if texts is None:
        return None
    head = texts.head
    if tokenizer.bos_token and starts_with_bos(tokenizer):
        head = head.removeprefix(tokenizer.bos_token)  # Ollama adds it, as the GGUF file says
    written = [head, *texts.before.values(), texts.closing, texts.answer, texts.default_system]
    if any("{{" in text or '"""' in text for text in written):
        return None
    roles = "{{ else ".join(
        f'if eq .Role "{role}" }}}}{before}' for role, before in texts.before.items()
    )
    template = (
        f"{head}{{{{ range .Messages }}}}{{{{ {roles}{{{{ end }}}}{{{{ .Content }}}}"
        f"{texts.closing}{{{{ end }}}}{texts.answer}"
    )
    lines = [f"FROM ./{weights}", f'TEMPLATE """{template}"""']
    if texts.default_system:
        lines.append(f'SYSTEM """{texts.default_system}"""')
    lines.append("PARAMETER repeat_penalty 1")  # Ollama's own changes greedy answers, too
    if tokenizer.eos_token:
        lines.append(f'PARAMETER stop "{tokenizer.eos_token}"')
    return "\n".join([*lines, ""])


# Whether a server answers as the tested model did


@dataclass(frozen=True)
class ServedAgreement:
    """Greedy answers of a served model beside those of the run that tested it.

    Attributes:
        same: answers that are the same, word for word.
        asked: how many were asked.
        differing: (question, answer of the tested model, answer of the server), in the order of
            the run.
        shared: share of the longer text of a differing pair that both have in common from the
            start, mean over these pairs, in [0, 1]; None where all are the same.
    """

    same: int
    asked: int
    differing: list[tuple[str, str, str]]
    shared: float | None


async def agreement(store: Store, engine: Engine, most: int, seed: int = 0) -> ServedAgreement:
    """Ask a server a random sample of what a run has asked, and compare the answers.

    Sums are rounded otherwise by another program, so that greedy answers may part where two words
    are nearly as likely; a wrong chat template changes most of them.

    Args:
        store: of a run with greedy answers.
        engine: of the served model, with the run's decoding.
        most: the most answers to compare, >= 1.
        seed: of the sample.

    Raises:
        UsageError: the run's answers were sampled, or there are none.
        NotFinished: the server left a request unanswered.
        EngineError: it cannot be reached.
    """
    if store.record().study.decoding.temperature != 0:
        raise UsageError(
            f"{store.folder}: its answers were sampled, so another answer may be as right; check "
            "with a run at --temperature 0"
        )
    known = [a for a in store.stored_answers() if a.text is not None and a.sample == 0]
    if not known:
        raise UsageError(f"{store.folder} has no answers to compare with")
    order = np.random.default_rng(seed).permutation(len(known))[:most]
    sample = [known[n] for n in sorted(order)]
    answers: dict[int, Response] = {}
    await engine.answer(
        (Request(n.to_bytes(16), 0, n, 0, answer.messages) for n, answer in enumerate(sample)),
        lambda response: answers.update({response.request.item: response}),
    )
    missing = [n for n in range(len(sample)) if n not in answers or answers[n].text is None]
    if missing:
        why = one_line(answers[missing[0]].error, 200) if missing[0] in answers else ""
        raise NotFinished(
            f"{len(missing):,} of {len(sample):,} requests have no answer{f': {why}' * bool(why)}"
        )
    return _compared(sample, [answers[n].text or "" for n in range(len(sample))])


def _compared(sample: Sequence[StoredAnswer], texts: Sequence[str]) -> ServedAgreement:
    differing = [
        (answer.item.prompt, answer.text or "", text)
        for answer, text in zip(sample, texts, strict=True)
        if (answer.text or "").strip() != text.strip()
    ]
    starts = [shared_start(own, theirs) for _, own, theirs in differing]
    mean = sum(starts) / len(starts) if starts else None
    return ServedAgreement(len(sample) - len(differing), len(sample), differing, mean)


def shared_start(one: str, other: str) -> float:
    """Share of the longer text that both have in common from the start, in [0, 1].

    >>> shared_start("one two", "one two three four")
    0.3888888888888889
    """
    return len(_common_start([one, other])) / max(1, len(one), len(other))
