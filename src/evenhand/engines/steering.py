"""Steering: a subspace taken out of what a model holds at the last token that it reads.

A folder of steering holds, beside a tokenizer, `steering.json` (whose weights it belongs to, and
for what it was made) and `steering.safetensors`: for each steered layer an orthonormal basis B,
(rank, width), and a center c, (width). After that layer, at the last token of the prompt and at
each token of the answer as it is read, the state h becomes h - (h - c) B' B. Earlier tokens of the
prompt stay as they are. `evenhand.mitigate.steer` makes such folders.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evenhand.errors import ModelNotFound

FILE = "steering.json"
_TENSORS = "steering.safetensors"
_STEERED = "_evenhand_is_steered"

Subspaces = dict[int, tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Layer, from 1 for the first block -> basis (rank, width) and center (width)."""


def is_steering(path: str | Path) -> bool:
    """Whether a folder holds a steering that is whole."""
    return (Path(path) / FILE).is_file()


def write_steering(folder: Path, base: str, subspaces: Subspaces, about: dict[str, Any]) -> None:
    """Write the files of a steering; `steering.json` is the last, so that a folder is whole.

    Args:
        base: folder or hub id of the weights.
        about: how it was made, for readers.
    """
    from safetensors.numpy import save_file

    tensors: dict[str, NDArray[np.float32]] = {}
    for layer, (basis, center) in subspaces.items():
        # As they lie in memory is how they are written.
        tensors[f"{layer}.basis"] = np.ascontiguousarray(basis)
        tensors[f"{layer}.center"] = np.ascontiguousarray(center)
    save_file(tensors, folder / _TENSORS)
    told = {"base_model_name_or_path": base, **about}
    partial = folder / f"{FILE}.partial"
    partial.write_text(json.dumps(told, indent=2), encoding="utf-8")
    partial.replace(folder / FILE)


def read_about(folder: Path) -> dict[str, Any]:
    """The base of a steering and how it was made; empty where that cannot be read."""
    try:
        told = json.loads((folder / FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def read_subspaces(folder: Path) -> Subspaces:
    """The subspaces of a steering.

    Raises:
        ModelNotFound: they cannot be read.
    """
    from safetensors.numpy import load_file

    try:
        tensors = load_file(folder / _TENSORS)
        layers = sorted({int(name.partition(".")[0]) for name in tensors})
        return {n: (tensors[f"{n}.basis"], tensors[f"{n}.center"]) for n in layers}
    except Exception as error:  # a folder may hold anything
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelNotFound(f"cannot load the steering {folder}: {reason}") from None


def steer(net: Any, path: str, torch: Any) -> Any:
    """The network with the hooks of a steering on it.

    Raises:
        ModelNotFound: the steering cannot be read, or does not fit the network.
    """
    blocks = blocks_of(net, torch)
    subspaces = read_subspaces(Path(path))
    width = net.config.get_text_config().hidden_size
    for layer, (basis, center) in subspaces.items():
        fits = basis.ndim == 2 and basis.shape[1:] == center.shape == (width,)
        if not (fits and 1 <= layer <= len(blocks)):
            raise ModelNotFound(f"cannot load the steering {path}: it is of another model")
        hook = _hook(torch.from_numpy(basis.copy()), torch.from_numpy(center.copy()))
        blocks[layer - 1].register_forward_hook(hook)
    setattr(net, _STEERED, True)
    return net


def is_steered(net: Any) -> bool:
    """Whether hooks read the last token of the prompt: it must be read in one pass, at the end."""
    return bool(getattr(net, _STEERED, False))


def blocks_of(net: Any, torch: Any) -> Any:
    """The blocks of a network, in their order.

    Raises:
        ModelNotFound: they are not found.
    """
    count = net.config.get_text_config().num_hidden_layers
    for module in net.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == count:
            return module
    raise ModelNotFound(f"cannot steer {type(net).__name__}: its layers are not in one list")


def _hook(basis: Any, center: Any) -> Any:
    """A forward hook of a block, for the last token of each pass."""

    def edit(_module: Any, _inputs: Any, output: Any) -> Any:
        states = output[0] if isinstance(output, tuple) else output
        b, c = (each.to(states.device, states.dtype) for each in (basis, center))
        last = states[:, -1]
        edited = states.clone()
        edited[:, -1] = last - ((last - c) @ b.T) @ b
        return (edited, *output[1:]) if isinstance(output, tuple) else edited

    return edit
