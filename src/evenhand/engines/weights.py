"""Weights beyond a whole model: adapters and steering, put on their base; and what memory holds.

A folder of either names its base. `address_of` tells one state of the weights from another, and
`NetworkSize` says how many conversations fit beside the network.

Steering takes a subspace out of what a model holds at the last token that it reads. Its folder
holds, beside a tokenizer, `steering.json` (whose weights it belongs to, and for what it was made)
and `steering.safetensors`: for each steered layer an orthonormal basis B, (rank, width), and a
center c, (width). After that layer, at the last token of the prompt and at each token of the answer
as it is read, the state h becomes h - (h - c) B' B. Earlier tokens of the prompt stay as they are.
`evenhand.mitigate.steer` makes such folders.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from evenhand.errors import MissingExtra, ModelNotFound
from evenhand.text import first_line_of, one_line

# Files


def why_not_loaded(error: Exception, *folders: str) -> str:
    """One line: the file that is missing from a folder of weights or damaged, or the error's words.

    Args:
        folders: what was to be loaded, then its base model; ids of the hub are passed over.
    """
    for folder in map(Path, dict.fromkeys(folders)):
        with suppress(OSError):
            if folder.is_dir() and (fault := _missing(folder, error) or _damaged(folder)):
                what = "it" if str(folder) == str(Path(folders[0])) else f"its base model {folder}"
                return f"{what} has {fault}; copy or download it again"
    return one_line(first_line_of(error))


_OF_TOKENIZERS = ("tokenizer.json", "*.model", "*.tiktoken", "vocab.*", "tekken.json")


def _missing(folder: Path, error: Exception) -> str | None:
    whole = not is_adapter(str(folder))
    if whole and not (folder / "config.json").exists():
        return "no config.json"
    is_of_tokenizer = "tokenizer" in str(error)
    if is_of_tokenizer and not any(any(folder.glob(name)) for name in _OF_TOKENIZERS):
        return "no tokenizer.json"
    for index in folder.glob("*.safetensors.index.json"):
        with suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
            for name in sorted(set(json.loads(index.read_bytes())["weight_map"].values())):
                if not (folder / name).exists():
                    return f"no {name}"
    if whole and not any(any(folder.glob(f"*.{kind}")) for kind in ("safetensors*", "bin", "pt")):
        return "no model.safetensors"
    return None


def _damaged(folder: Path) -> str | None:
    from safetensors import safe_open
    from tokenizers import Tokenizer

    for file in sorted(folder.iterdir()):
        try:
            if file.name == "tokenizer.json":
                Tokenizer.from_file(str(file))
            elif file.suffix == ".json":
                json.loads(file.read_bytes())
            elif file.suffix == ".safetensors":
                with safe_open(file, "numpy"):
                    pass
        except Exception as error:  # the parsers have errors of their own
            return f"a damaged {file.name} ({one_line(first_line_of(error), 80)})"
    return None


# Steering

STEERING_FILE = "steering.json"
_TENSORS = "steering.safetensors"
_STEERED = "_evenhand_is_steered"

Subspaces = dict[int, tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Layer, from 1 for the first block -> basis (rank, width) and center (width)."""


def is_steering(path: str | Path) -> bool:
    """Whether a folder holds a steering that is whole."""
    return (Path(path) / STEERING_FILE).is_file()


def write_steering(folder: Path, base: str, subspaces: Subspaces, about: dict[str, Any]) -> None:
    """Write the files of a steering; `json` is the last, so that a folder is whole.

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
    partial = folder / f"{STEERING_FILE}.partial"
    partial.write_text(json.dumps(told, indent=2), encoding="utf-8")
    partial.replace(folder / STEERING_FILE)


def read_about(folder: Path) -> dict[str, Any]:
    """The base of a steering and how it was made; empty where that cannot be read."""
    try:
        told = json.loads((folder / STEERING_FILE).read_bytes())
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
        why = why_not_loaded(error, str(folder))
        raise ModelNotFound(f"cannot load the steering {folder}: {why}") from None


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


# Adapters

ADAPTER_FILE = "adapter_config.json"
_WEIGHTS = "adapter_model"
_LOOKED_AT = 2**20
"""Bytes of each file that tell new weights from old: all of them would take minutes to read."""
_AROUND = 4
"""Folders above an adapter in which its base model is looked for: it may lie beside the run."""


def is_adapter(path: str) -> bool:
    """Whether a folder holds an adapter (of LoRA, say) or steering rather than a whole model."""
    return _description(path) is not None


def base_model(path: str) -> str:
    """Folder or hub id of the model that an adapter or steering belongs to.

    A folder that was moved together with it is found by its name.

    Raises:
        ModelNotFound: it does not say so.
    """
    description = _description(path) or Path(path) / ADAPTER_FILE
    try:
        base = json.loads(description.read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError):
        base = None
    if not isinstance(base, str) or not base:
        raise ModelNotFound(f"cannot load {path}: its {description.name} names no base model")
    folder = Path(base)
    if folder.is_absolute() and not folder.is_dir():
        around = (parent / folder.name for parent in Path(path).absolute().parents[:_AROUND])
        return str(next(filter(Path.is_dir, around), folder))
    return base


def _description(path: str) -> Path | None:
    """The file that says whose weights a folder belongs to; None for a whole model."""
    files = (Path(path) / name for name in (ADAPTER_FILE, STEERING_FILE))
    return next((file for file in files if file.is_file()), None)


def address_of(path: str, commit: str | None, dtype: str | None = None) -> str:
    """A folder with a fingerprint of its files; an id of the hub with its commit.

    An adapter is followed by its base model, and the whole by the number format if it is another
    than that of the files.
    """
    if dtype is not None:
        return f"{address_of(path, commit)} in {dtype}"
    if not Path(path).is_dir():
        return f"{path}@{commit}"
    own = f"{path}#{_fingerprint(Path(path))}"
    return f"{own} on {address_of(base_model(path), commit)}" if is_adapter(path) else own


def are_same_weights(address: str, other: str) -> bool:
    """Whether two addresses are of the same weights, wherever their folders lie.

    >>> are_same_weights("/a/m#1f on /a/base#2e", "b/m#1f on base#2e")
    True
    >>> are_same_weights("/a/m#1f", "/a/m#2e"), are_same_weights("http://a/v1", "http://b/v1")
    (False, False)
    """
    return address == other or (
        "://" not in address + other and _without_places(address) == _without_places(other)
    )


def _without_places(address: str) -> list[tuple[str, str]]:
    """Name and fingerprint of each folder."""
    parts = (part.rpartition("#") for part in address.split(" on "))
    return [(Path(path).name, fingerprint) for path, _, fingerprint in parts]


def find_weights(model: str, addresses: Iterable[str], near: Path) -> Path | None:
    """The folder of a run's local weights: as it is named, or by its name in `near`.

    The one whose files are those that were asked comes first; None where there is no folder.

    Args:
        model: as the run names it: "hf/FOLDER".
        addresses: of the run.
    """
    prefix, _, name = model.partition("/")
    if prefix != "hf" or not name:
        return None
    asked = {_without_places(each)[0][1].partition(" ")[0] for each in addresses}
    named = Path(name)
    for folder in (named, near / named.name):
        if folder.is_dir() and _fingerprint(folder) in asked:
            return folder
    return named if named.is_dir() else None


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
    if is_steering(path):
        return steer(net, path, torch)
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
        raise ModelNotFound(
            f"cannot load the adapter {path}: {why_not_loaded(error, path)}"
        ) from None
    return tuned.merge_and_unload() if net.dtype == torch.float32 else tuned


# Memory

_OF_GPU = 0.8
"""Share of the free memory of a GPU that a batch may take; an estimate that fails halves it."""
_OF_MACHINE = 0.25
"""Share of the free memory of this machine: others need some, and nothing catches a failure."""
_UNKNOWN = 2 * 2**30
"""Bytes that are taken to be free where the system does not say."""


@dataclass(frozen=True)
class NetworkSize:
    """What a network takes up.

    Attributes:
        parameters: their number.
        bytes: of the parameters.
        kept: bytes for one token of a conversation: its keys and values in all layers.
        read: bytes more for one token of a prompt: what one layer holds of it for a moment.
    """

    parameters: int
    bytes: int
    kept: int
    read: int

    @classmethod
    def of(cls, net: Any) -> Self:
        """Of a network of the transformers library."""
        config = net.config.get_text_config()
        each = net.dtype.itemsize
        heads = getattr(config, "num_attention_heads", 1) or 1
        hidden = getattr(config, "hidden_size", 1024)
        width = getattr(config, "head_dim", None) or hidden // heads
        kept = (getattr(config, "num_key_value_heads", None) or heads) * width
        inner = getattr(config, "intermediate_size", None) or 4 * hidden
        layers = getattr(config, "num_hidden_layers", 1)
        own = list(net.parameters())
        return cls(
            parameters=sum(each.numel() for each in own),
            bytes=sum(each.numel() * each.itemsize for each in own),
            kept=each * 2 * layers * kept,
            read=each * (3 * inner + 8 * hidden),
        )

    def row(self, prompt: int, new: int) -> int:
        """Bytes for a conversation of so many tokens of the prompt and so many new ones."""
        return (prompt + new) * self.kept + prompt * self.read


def free_memory(torch: Any, device: Any) -> int:
    """Bytes that batches on a device may take."""
    if device.type == "cuda":
        return int(_OF_GPU * torch.cuda.mem_get_info(device)[0])
    return int(_OF_MACHINE * min(_in_machine(), _in_container()))


def _in_machine() -> int:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(x.split()[1]) * 1024 for x in lines if x.startswith("MemAvailable"))
    except (OSError, ValueError, StopIteration):
        names = getattr(os, "sysconf_names", {})
        if "SC_PHYS_PAGES" in names:
            return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
        return _UNKNOWN


def _in_container() -> int:
    """What a control group leaves; far too much where there is none."""
    folder = Path("/sys/fs/cgroup")
    try:
        most, now = (
            int((folder / name).read_text(encoding="ascii"))
            for name in ("memory.max", "memory.current")
        )
    except (OSError, ValueError):
        return 2**62
    return max(0, most - now)
