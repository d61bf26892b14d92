"""Folders of weights: which they are; adapters with their base model as one network."""

from __future__ import annotations

import json
from hashlib import blake2b
from pathlib import Path
from typing import Any

from evenhand.errors import MissingExtra, ModelNotFound

FILE = "adapter_config.json"
_LOOKED_AT = 2**20
"""Bytes of each file that tell new weights from old: all of them would take minutes to read."""


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


def address(path: str, commit: str | None) -> str:
    """A folder with a fingerprint of its files; an id of the hub with its commit.

    An adapter is followed by its base model.
    """
    if not Path(path).is_dir():
        return f"{path}@{commit}"
    own = f"{path}#{_fingerprint(Path(path))}"
    return f"{own} on {address(base_model(path), commit)}" if is_adapter(path) else own


def _fingerprint(folder: Path) -> str:
    """Of the files that make the model; what is written about it may change."""
    digest = blake2b(digest_size=4)
    for file in sorted(p for p in folder.iterdir() if p.is_file() and p.suffix != ".md"):
        digest.update(f"{file.name} {file.stat().st_size}".encode())
        with file.open("rb") as content:
            digest.update(content.read(_LOOKED_AT))
    return digest.hexdigest()


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
