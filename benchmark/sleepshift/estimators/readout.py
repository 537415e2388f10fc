"""Read a network out: all that is tapped of it, one row a window."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from sleepshift.estimators.training import resolve_device
from sleepshift.models.parts import forget_passes
from sleepshift.models.taps import Groups, tapped
from sleepshift.windows.sequences import Sequences
from sleepshift.windows.windows import Windows

__all__ = ["items", "predict_logits", "read_out"]

INFERENCE_BATCH = 64


def items(windows: Windows, sequence_length: int | None) -> Windows | Sequences:
    """What a network takes as one item: a window, or a sequence of so many."""
    return windows if sequence_length is None else Sequences(windows, sequence_length)


def read_out(
    module: nn.Module,
    windows: Windows,
    kinds: Iterable[str] = ("logits",),
    *,
    attention: Groups = (),
    sequence_length: int | None = None,
    device: str = "auto",
) -> dict[str, np.ndarray]:
    """Run a network over windows in no-grad batches and keep what is tapped.

    Parameters
    ----------
    module : nn.Module
        Put in evaluation mode.
    windows : Windows
    kinds, attention
        As in `sleepshift.models.taps.tapped`.
    sequence_length : int or None
        Windows a sequence, for networks that stage sequences.
    device : str

    Returns
    -------
    dict of str to ndarray of float32
        The first axis is that of `windows`: ``logits`` (n_windows, n_outputs) and so on.
    """
    target, kinds = resolve_device(device), set(kinds)
    data = items(windows, sequence_length)
    step = INFERENCE_BATCH if sequence_length is None else -(-INFERENCE_BATCH // sequence_length)
    module = module.to(target, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    found: dict[str, np.ndarray] = {}
    with torch.no_grad(), forget_passes(module), tapped(module, kinds, attention) as taken:
        for start in range(0, len(data), step):
            x, _, positions = data.__getitems__(range(start, min(start + step, len(data))))
            module(x.to(target))
            rows = positions.flatten().numpy()
            present = rows >= 0
            for name, values in taken.items():
                if name.partition(".")[0] in kinds:
                    array = values.float().cpu().numpy()
                    if name not in found:
                        found[name] = np.empty((len(windows), *array.shape[1:]), np.float32)
                    found[name][rows[present]] = array[present]
    module.to("cpu")
    return found


def predict_logits(
    module: nn.Module, windows: Windows, *, sequence_length: int | None = None, device: str = "auto"
) -> np.ndarray:
    """Logits of every window, float32 of shape (n_windows, n_outputs); see `read_out`."""
    return read_out(module, windows, sequence_length=sequence_length, device=device)["logits"]
