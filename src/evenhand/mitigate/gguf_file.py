"""A model of the Llama family as a GGUF file, which llama.cpp and Ollama serve.

Names, metadata and the order of the rows of queries and keys are those of llama.cpp's own
`convert_hf_to_gguf.py`. Weights keep the number format that they have. Other
families are refused: llama.cpp's converter takes them from a merged folder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evenhand.errors import MissingExtra, UsageError

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
