"""A tuned model in the forms that servers take, and whether what they serve answers as it did.

OUT/model.safetensors  merged: an ordinary folder of weights, for vLLM, transformers and converters
OUT/model.gguf         gguf: one file with tokenizer and chat template, for llama.cpp
OUT/Modelfile          beside it, for Ollama, where its template language can say the chat template

vLLM also takes the folder of a LoRA adapter as it is.

As GGUF, models of the Llama family can be written. Names, metadata and the order of the rows of
queries and keys are those of llama.cpp's own `convert_hf_to_gguf.py`. Weights keep the number
format that they have. Other families are refused: llama.cpp's converter takes them from a merged
folder.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from evenhand.engines.engine import Engine, Response
from evenhand.engines.hf import load_weights
from evenhand.engines.weights import is_steering
from evenhand.errors import MissingExtra, NotFinished, StoreError, UsageError
from evenhand.files import write_file
from evenhand.mitigate.options import base_of
from evenhand.store.store import Store, StoredAnswer
from evenhand.study.cue import Message
from evenhand.study.plan import Request
from evenhand.text import one_line

_LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SPLITTERS = {
    ("bytes",): "gpt-2",
    ("digits", "bytes"): "smollm",
    (_LLAMA_3,): "llama-bpe",
}
"""How a tokenizer cuts a text before it merges -> llama.cpp's name for it."""


def write_gguf(net: Any, tokenizer: Any, path: Path) -> None:
    """Write a model with its tokenizer and chat template.

    Args:
        net: a causal language model of transformers, adapters merged.
        tokenizer: of transformers.

    Raises:
        MissingExtra: the package gguf is not installed.
        UsageError: the model is not of the Llama family, or its tokenizer cannot be written.
    """
    try:
        import gguf
    except ImportError:
        raise MissingExtra("GGUF files", "gguf") from None
    _check_family(net.config)
    words = _tokenizer_state(tokenizer)
    writer = gguf.GGUFWriter(path, "llama")
    _add_shape(writer, net.config)
    _add_tokenizer(writer, gguf, tokenizer, words, net.config.vocab_size)
    _add_tensors(writer, gguf, net)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _check_family(config: Any) -> None:
    rope = config.rope_parameters.get("rope_type", "default") if _is_llama(config) else ""
    why = (
        f'its type is "{config.model_type}"' * (not _is_llama(config))
        or f'its rotary embedding is of the type "{rope}"' * (rope != "default")
        or "its layers have biases" * bool(config.attention_bias or config.mlp_bias)
        or f'its activation is "{config.hidden_act}"' * (config.hidden_act != "silu")
    )
    if why:
        raise UsageError(
            f"no GGUF file of this model: {why}, and evenhand writes plain Llama models only; "
            "export it with --to merged, and convert the folder with llama.cpp's "
            "convert_hf_to_gguf.py"
        )


def _is_llama(config: Any) -> bool:
    return bool(config.model_type == "llama")


def _add_shape(writer: Any, config: Any) -> None:
    heads = config.num_attention_heads
    head = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(float(config.rope_parameters["rope_theta"]))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)


# Weights


def _add_tensors(writer: Any, gguf: Any, net: Any) -> None:
    config = net.config
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, weights in net.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        module = name.removesuffix(".weight")
        target = names.get_name(module)
        if target is None:
            raise UsageError(f'no GGUF file of this model: llama.cpp knows no tensor "{name}"')
        rows = weights.detach().float().cpu().numpy()
        part = module.rpartition(".")[2]
        if part in heads:
            rows = interleaved(rows, heads[part])
        kind = _format(gguf, weights)
        writer.add_tensor(
            f"{target}.weight",
            rows if kind is None else gguf.quants.quantize(rows, kind),
            raw_dtype=kind,
        )


def _format(gguf: Any, weights: Any) -> Any:
    """The number format of a matrix; None for float32, in which llama.cpp wants all vectors."""
    if weights.ndim < 2:
        return None
    kinds = gguf.GGMLQuantizationType
    return {"torch.bfloat16": kinds.BF16, "torch.float16": kinds.F16}.get(str(weights.dtype))


def interleaved(rows: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """The rows of queries or keys in the order of llama.cpp, which rotates neighbors.

    transformers rotates row n of a head together with row n + half.

    >>> interleaved(np.arange(8.0, dtype=np.float32)[:, None], heads=2)[:, 0].tolist()
    [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]
    """
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows.shape))


# Tokenizer


def _tokenizer_state(tokenizer: Any) -> dict[str, Any]:
    """The tokenizer's own description; only byte-level BPE can be written."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    state: dict[str, Any] = json.loads(backend.to_str()) if backend is not None else {}
    model = state.get("model", {})
    fault = (
        "it has no fast tokenizer" * (not state)
        or "its tokenizer is not byte-level BPE"
        * (model.get("type") != "BPE" or bool(model.get("byte_fallback")))
        or "its tokenizer rewrites texts" * (state.get("normalizer") is not None)
        or "its tokenizer cuts texts in a way that is not known here"
        * (splitter_of(state.get("pre_tokenizer")) is None)
    )
    if fault:
        raise UsageError(
            f"no GGUF file of this model: {fault}; export it with --to merged, and convert the "
            "folder with llama.cpp's convert_hf_to_gguf.py"
        )
    return state


def splitter_of(pre_tokenizer: dict[str, Any] | None) -> str | None:
    """llama.cpp's name for how a tokenizer cuts a text before it merges; None if it has none.

    >>> splitter_of({"type": "ByteLevel", "add_prefix_space": False, "use_regex": True})
    'gpt-2'
    """
    steps = (pre_tokenizer or {}).get("pretokenizers") or [pre_tokenizer or {}]
    found: list[str] = []
    for step in steps:
        match step:
            case {"type": "Digits", "individual_digits": True}:
                found.append("digits")
            case {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"}:
                found.append(pattern)
            case {"type": "ByteLevel", "add_prefix_space": False}:
                found += ["bytes"] * bool(step.get("use_regex", True))
            case _:
                return None
    return _SPLITTERS.get(tuple(found))


def _add_tokenizer(
    writer: Any, gguf: Any, tokenizer: Any, state: dict[str, Any], size: int
) -> None:
    words = {number: word for word, number in state["model"]["vocab"].items()}
    kinds = dict.fromkeys(words, gguf.TokenType.NORMAL)
    for added in state["added_tokens"]:
        words[added["id"]] = added["content"]
        special = added["special"]
        kinds[added["id"]] = gguf.TokenType.CONTROL if special else gguf.TokenType.USER_DEFINED
    numbers = range(size)
    merges = [m if isinstance(m, str) else " ".join(m) for m in state["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(splitter_of(state["pre_tokenizer"]))
    writer.add_token_list([words.get(n, f"[PAD{n}]") for n in numbers])
    writer.add_token_types([kinds.get(n, gguf.TokenType.UNUSED) for n in numbers])
    writer.add_token_merges(merges)
    for name in ("bos", "eos", "pad", "unk"):
        number = getattr(tokenizer, f"{name}_token_id")
        if number is not None:
            getattr(writer, f"add_{name}_token_id")(number)
    writer.add_add_bos_token(starts_with_bos(tokenizer))
    writer.add_add_space_prefix(False)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)


def starts_with_bos(tokenizer: Any) -> bool:
    """Whether the tokenizer puts its begin-of-text token in front of a plain text."""
    first: list[int] = tokenizer("a")["input_ids"][:1]
    return first == [tokenizer.bos_token_id]


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
