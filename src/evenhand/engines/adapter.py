"""Folders of weights: which they are; adapters, and steering, with their base as one network."""

from __future__ import annotations

import json
import warnings
from hashlib import blake2b
from pathlib import Path
from typing import Any

from evenhand.engines import steering
from evenhand.errors import MissingExtra, ModelNotFound

FILE = "adapter_config.json"
_WEIGHTS = "adapter_model"
_LOOKED_AT = 2**20
"""Bytes of each file that tell new weights from old: all of them would take minutes to read."""


def is_adapter(path: str) -> bool:
    """Whether a folder holds an adapter (of LoRA, say) or steering rather than a whole model."""
    return _description(path) is not None


def base_model(path: str) -> str:
    """Folder or hub id of the model that an adapter or steering belongs to.

    Raises:
        ModelNotFound: it does not say so.
    """
    description = _description(path) or Path(path) / FILE
    try:
        base = json.loads(description.read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError):
        base = None
    if not isinstance(base, str) or not base:
        raise ModelNotFound(f"cannot load {path}: its {description.name} names no base model")
    return base


def _description(path: str) -> Path | None:
    """The file that says whose weights a folder belongs to; None for a whole model."""
    files = (Path(path) / name for name in (FILE, steering.FILE))
    return next((file for file in files if file.is_file()), None)


def address(path: str, commit: str | None, dtype: str | None = None) -> str:
    """A folder with a fingerprint of its files; an id of the hub with its commit.

    An adapter is followed by its base model, and the whole by the number format if it is another
    than that of the files.
    """
    if dtype is not None:
        return f"{address(path, commit)} in {dtype}"
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
    """A base model with an adapter or steering on it.

    An adapter is merged into the weights where these are float32, which is faster and the same; in
    fewer bits the sum would be rounded.

    Raises:
        MissingExtra: peft is not installed.
        ModelNotFound: the adapter or steering cannot be loaded, or does not fit.
    """
    if steering.is_steering(path):
        return steering.steer(net, path, torch)
    files = {file.name for file in Path(path).glob(f"{_WEIGHTS}.*")}
    if f"{_WEIGHTS}.safetensors" not in files:
        pickled = "its weights are a pickle, which may run code; convert them to safetensors"
        lacking = f"it has no {_WEIGHTS}.safetensors; copy or download it again"
        raise ModelNotFound(f"cannot load the adapter {path}: {pickled if files else lacking}")
    try:
        from peft import PeftModel
    except ImportError:
        raise MissingExtra("adapters", "train") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # about calls within peft
            tuned = PeftModel.from_pretrained(net, path)
    except Exception as error:  # a folder may hold anything, and each of its parsers has errors
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelNotFound(f"cannot load the adapter {path}: {reason}") from None
    return tuned.merge_and_unload() if net.dtype == torch.float32 else tuned
