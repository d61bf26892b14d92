"""How much memory a network needs for each token, and how much there is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

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
