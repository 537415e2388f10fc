"""Where networks run: which device, in which precision, and what stays on it."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from sleepshift.errors import TaskError
from sleepshift.windows.windows import Windows

__all__ = [
    "OnDevice",
    "check_device",
    "inference_batch",
    "mixed_precision",
    "on_device",
    "resolve_device",
    "single_precision",
]

#: Share of a device's free memory that signals may take: networks need the rest.
SHARE = 0.5

#: Items whose signals are copied to a device at once.
_CHUNK = 256


def resolve_device(device: str) -> str:
    """``"auto"`` is CUDA where there is one, then MPS, then the CPU."""
    if device != "auto":
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def check_device(device: str) -> None:
    """Refuse a device that is not there before anything is computed.

    Raises
    ------
    TaskError
        Naming it.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available()}
    there["mps"] = torch.backends.mps.is_available()
    kind, _, number = device.partition(":")
    known = device == "auto" or (kind in there and (not number or number.isdecimal()))
    if not known:
        raise TaskError(f"--device {device}: use auto, cpu, cuda, cuda:N or mps")
    count = torch.cuda.device_count() if kind == "cuda" else 1
    if not there.get(kind, True) or (number and int(number) >= count):
        raise TaskError(f"--device {device}: there is none on this machine; use auto or cpu")


def inference_batch(device: str) -> int:
    """Windows a batch where nothing is learned: small ones suit the caches of a CPU."""
    return 512 if torch.device(device).type == "cuda" else 64


def mixed_precision(device: str) -> contextlib.AbstractContextManager:
    """Passes that learn in bfloat16 where the device computes it, which is CUDA; else as ever."""
    if torch.device(device).type != "cuda":
        return contextlib.nullcontext()
    with torch.cuda.device(device):
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.autocast("cuda", torch.bfloat16, enabled=fast)


def single_precision(output: Any) -> Any:
    """A network's output in float32, in which losses are computed; its own where it is already.

    Parameters
    ----------
    output : Tensor, or mapping of str to Tensor
    """
    if isinstance(output, Mapping):
        return {name: single_precision(tensor) for name, tensor in output.items()}
    return output.float()


class OnDevice(Dataset):
    """Windows whose signals are held on a device; labels and positions stay where they were.

    Parameters
    ----------
    windows : Windows
    device : str
    """

    def __init__(self, windows: Windows, device: str) -> None:
        self._signals = torch.empty(windows.shape, dtype=torch.float32, device=device)
        self._codes = torch.empty(len(windows), dtype=torch.int64)
        for start in range(0, len(windows), _CHUNK):
            stop = min(start + _CHUNK, len(windows))
            x, y, _ = windows.__getitems__(range(start, stop))
            self._signals[start:stop], self._codes[start:stop] = x, y

    def __len__(self) -> int:
        return len(self._codes)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, ...]:
        x, y, positions = self.__getitems__([i])
        return x[0], y[0], positions[0]

    def __getitems__(self, indices: Sequence[int] | np.ndarray) -> tuple[torch.Tensor, ...]:
        """As `Windows.__getitems__`."""
        positions = torch.from_numpy(np.asarray(indices, dtype=np.int64))
        x = self._signals[positions.to(self._signals.device)]
        return x, self._codes[positions], positions


def _free(device: str) -> int:
    """Bytes that can be had: free ones, and those that torch keeps and does not use."""
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept


def _held(windows: Windows, device: str) -> OnDevice | Windows:
    """Windows on a device; where another process has taken the room meanwhile, as they are."""
    try:
        return OnDevice(windows, device)
    except torch.OutOfMemoryError:
        return windows


def on_device(data: Any, device: str, room: int | None = None) -> Any:
    """The same items, with the windows that they are made of held on a CUDA device.

    Parameters
    ----------
    data : Dataset or None
        Windows, or a dataset that keeps what it is made of as ``windows``, ``data`` or
        ``parts``.
    device : str
    room : int or None
        Bytes that signals may take; None is `SHARE` of what is free on a CUDA device, and
        nothing on others.

    Returns
    -------
    Dataset or None
        `data` itself where it does not fit, or is made of something else.
    """
    if room is None:
        if torch.device(device).type != "cuda":
            return data
        room = int(SHARE * _free(device))
    if isinstance(data, Windows):
        return _held(data, device) if 4 * np.prod(data.shape) <= room else data
    if isinstance(parts := getattr(data, "parts", None), Sequence):
        data = copy.copy(data)
        data.parts = [on_device(part, device, room // len(parts)) for part in parts]
    for name in ("windows", "data"):
        inner = getattr(data, name, None)
        if isinstance(inner, Dataset):
            data = copy.copy(data)
            setattr(data, name, on_device(inner, device, room))
    return data
