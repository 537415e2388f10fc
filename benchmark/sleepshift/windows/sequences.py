"""Sequences of consecutive windows, which never straddle recordings or gaps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from sleepshift.stages import WINDOW_SECONDS, epoch_step
from sleepshift.windows.windows import Windows

__all__ = ["Sequences", "timeline"]


def timeline(windows: Windows) -> list[tuple[np.ndarray, np.ndarray]]:
    """Positions and onsets (seconds, ascending) of the windows of each recording.

    Raises
    ------
    ValueError
        If the windows have lost their order in time.
    """
    if windows.subjects is None:
        rows = np.argsort(windows.rows, kind="stable")
        return [(rows, float(WINDOW_SECONDS) * windows.rows[rows])]
    if not windows.ordered:
        raise ValueError("these windows do not say when in the night they are")
    frame = windows.metadata
    onset = frame["onset"].to_numpy()
    keys = [c for c in ("subject", "session") if c in frame]
    groups = frame.groupby(keys, sort=True, dropna=False).indices.values()
    by_time = [rows[np.argsort(onset[rows], kind="stable")] for rows in groups]
    return [(rows, onset[rows]) for rows in by_time]


class Sequences(Dataset):
    """Windows in runs of `length` consecutive ones, for networks that stage sequences.

    Each run of windows without a gap is cut end to end; its last sequence is moved back so
    that it ends with the run, and covers some windows twice. A run shorter than `length` is
    filled up with its last window, whose label and position are then -1.

    Parameters
    ----------
    windows : Windows
    length : int

    Raises
    ------
    ValueError
        If the windows have lost their order in time, or `length` is below 1.

    Examples
    --------
    >>> windows = Windows.from_arrays(np.zeros((5, 2, 300)), np.arange(5), sfreq=10.0)
    >>> sequences = Sequences(windows, 3)
    >>> x, y, positions = sequences.__getitems__([0, 1])
    >>> tuple(x.shape), y.tolist()
    ((2, 3, 2, 300), [[0, 1, 2], [2, 3, 4]])
    """

    def __init__(self, windows: Windows, length: int) -> None:
        if length < 1:
            raise ValueError(f"a sequence has at least 1 window, not {length}")
        self.windows = windows
        self.length = length
        runs = [run for rows, onset in timeline(windows) for run in _runs(rows, onset)]
        #: Positions of the windows of each sequence, shape (n_sequences, length); -1 where
        #: there is none.
        self.positions = np.concatenate([_cut(run, length) for run in runs])

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, ...]:
        x, y, positions = self.__getitems__([i])
        return x[0], y[0], positions[0]

    def __getitems__(self, indices: Sequence[int] | np.ndarray) -> tuple[torch.Tensor, ...]:
        """Signals (n, length, channels, times), labels and positions (n, length)."""
        positions = self.positions[np.asarray(indices, dtype=np.int64)]
        present = positions >= 0
        last = np.take_along_axis(positions, present.sum(axis=1, keepdims=True) - 1, axis=1)
        x, y, _ = self.windows.__getitems__(np.where(present, positions, last).ravel())
        x = x.reshape(*positions.shape, *x.shape[1:])
        y = y.reshape(positions.shape)
        y[torch.from_numpy(~present)] = -1
        return x, y, torch.from_numpy(positions)


def _runs(rows: np.ndarray, onset: np.ndarray) -> list[np.ndarray]:
    """Cut a recording where the next window does not follow at once."""
    step = epoch_step(onset)
    breaks = np.flatnonzero(np.abs(np.diff(onset) - step) > step / 10) + 1
    return np.split(rows, breaks)


def _cut(run: np.ndarray, length: int) -> np.ndarray:
    """Positions (n_sequences, length) of one run."""
    if len(run) < length:
        return np.concatenate([run, np.full(length - len(run), -1)])[None]
    starts = np.arange(0, len(run), length).clip(max=len(run) - length)
    return run[starts[:, None] + np.arange(length)]
