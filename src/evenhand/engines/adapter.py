"""Folders of adapters: their base model, and both as one network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from evenhand.errors import MissingExtra, ModelNotFound

FILE = "adapter_config.json"


def is_adapter(path: str) -> bool:
    """Whether a folder holds an adapter (of LoRA, say) rather than a whole model."""
    return (Path(path) / FILE).is_file()


def base_model(path: str) -> str:
    """Folder or hub id of the model that an adapter belongs to.

    Raises:
        ModelNotFound: the adapter does not say so.
    """
    try:
        base = json.loads((Path(path) / FILE).read_text(encoding="utf-8"))[
            "base_model_name_or_path"
        ]
    except (OSError, ValueError, KeyError, TypeError):
        base = None
    if not isinstance(base, str) or not base:
        raise ModelNotFound(f"cannot load {path}: its {FILE} names no base model")
    return base


def with_adapter(net: Any, path: str, torch: Any) -> Any:
    """A base model with an adapter on it.

    Merged into the weights where these are float32, which is faster and the same; in fewer bits
    the sum would be rounded.

    Raises:
        MissingExtra: peft is not installed.
        ModelNotFound: the adapter cannot be loaded, or does not fit.
    """
    try:
        from peft import PeftModel
    except ImportError:
        raise MissingExtra("adapters", "train") from None
    try:
        tuned = PeftModel.from_pretrained(net, path)
    except Exception as error:  # a folder may hold anything, and each of its parsers has errors
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelNotFound(f"cannot load the adapter {path}: {reason}") from None
    return tuned.merge_and_unload() if net.dtype == torch.float32 else tuned
