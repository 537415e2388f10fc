"""Read a network out: all that is tapped of it, one row a window."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sleepshift.estimators.cache import computed_once, network_digest
from sleepshift.estimators.devices import inference_batch, resolve_device
from sleepshift.models.parts import HeadOnFeatures, forget_passes
from sleepshift.models.taps import Groups, tapped
from sleepshift.windows.sequences import Sequences
from sleepshift.windows.windows import Windows

__all__ = ["head_logits", "items", "predict_logits", "read_out"]

#: Kinds that the last layer has no part in.
_BEFORE_THE_HEAD = {"features", "window"}


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
    cache: str | Path | None = None,
) -> dict[str, np.ndarray]:
    """Run a network over windows in no-grad batches and keep what is tapped.

    Parameters
    ----------
    module : nn.Module
        Put in evaluation mode.
    windows : Windows
        Labels are not looked at.
    kinds, attention
        As in `sleepshift.models.taps.tapped`.
    sequence_length : int or None
        Windows a sequence, for networks that stage sequences.
    device : str
    cache : str, Path or None
        Folder where outputs are kept, so that those of the same network and windows are not
        computed again; see `sleepshift.estimators.cache`. None keeps nothing.

    Returns
    -------
    dict of str to ndarray of float32
        The first axis is that of `windows`: ``logits`` (n_windows, n_outputs) and so on.
        Memory-mapped where they come from `cache`.
    """
    kinds, windows = sorted(set(kinds)), windows.without_labels()

    def run(wanted: Sequence[str]) -> dict[str, np.ndarray]:
        return _run(module, windows, set(wanted), attention, sequence_length, device)

    if cache is None:
        return run(kinds)
    content = windows.fingerprint
    keys = {}
    for kind in kinds:
        network = network_digest(module, head=kind not in _BEFORE_THE_HEAD)
        groups = attention if kind == "attention" else ()
        keys[kind] = [network, content, groups, sequence_length]
    return computed_once(cache, keys, run)


def _run(
    module: nn.Module,
    windows: Windows,
    kinds: set[str],
    attention: Groups,
    sequence_length: int | None,
    device: str,
) -> dict[str, np.ndarray]:
    target, data = resolve_device(device), items(windows, sequence_length)
    step = -(-inference_batch(target) // (sequence_length or 1))
    module = module.to(target, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    found: dict[str, np.ndarray] = {}
    with (
        _lent(module),
        torch.no_grad(),
        forget_passes(module),
        tapped(module, kinds, attention) as taken,
    ):
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
    return found


@contextlib.contextmanager
def _lent(module: nn.Module) -> Iterator[None]:
    """Have a network back on the CPU, whatever becomes of the block."""
    try:
        yield
    finally:
        module.to("cpu")


def predict_logits(
    module: nn.Module,
    windows: Windows,
    *,
    sequence_length: int | None = None,
    device: str = "auto",
    cache: str | Path | None = None,
) -> np.ndarray:
    """Logits of every window, float32 of shape (n_windows, n_outputs); see `read_out`."""
    found = read_out(module, windows, sequence_length=sequence_length, device=device, cache=cache)
    return found["logits"]


def head_logits(module: nn.Module, features: np.ndarray, *, device: str = "auto") -> np.ndarray:
    """Logits that a network's last layer makes of tapped features.

    Parameters
    ----------
    module : nn.Module
        With a ``final_layer``.
    features : ndarray of float32, shape (n_windows, ...)
        As `read_out` gives them.
    device : str

    Returns
    -------
    ndarray of float32, shape (n_windows, n_outputs)
        Those of the whole network.
    """
    target = resolve_device(device)
    head = HeadOnFeatures(module.get_submodule("final_layer")).to(target).eval()
    step = inference_batch(target)
    with _lent(head), torch.no_grad():
        logits = [
            head(torch.from_numpy(np.array(features[start : start + step])).to(target)).cpu()
            for start in range(0, len(features), step)
        ]
    return torch.cat(logits).numpy()
