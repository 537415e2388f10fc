"""Pretext tasks: tuples of windows whose label is their order in time.

Rules after Banville et al. 2019 (arXiv 1911.05419) and 2020 (arXiv 2007.16104): a recording
is drawn uniformly, then a label by a fair coin, then an anchor that has partners of that
label, then partners. A recording that cannot give both labels gives none. Braindecode
samples pairs one by one and has no triplets; here a pass of thousands is drawn at once.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import nn
from torch.utils.data import Dataset

from sleepshift.windows.sequences import timeline
from sleepshift.windows.windows import Windows

__all__ = ["FreshTuples", "PretextNet", "TupleDataset", "draw_pairs", "draw_triplets"]

#: Draws tuples: (onsets of one recording, n, rng) -> positions (m, k) and labels (m,), m <= n.
Draw = Callable[[np.ndarray, int, np.random.Generator], tuple[np.ndarray, np.ndarray]]


def _pick(low: np.ndarray, high: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Uniform integers in [low, high); where the interval is empty the value is `low`."""
    return low + (rng.random(len(low)) * np.maximum(high - low, 0)).astype(np.int64)


def _far(before: np.ndarray, after: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Positions uniformly from [0, before) and [after, n)."""
    choice = _pick(np.zeros_like(before), before + n - after, rng)
    return np.where(choice < before, choice, choice - before + after)


def _anchors(
    fit_one: np.ndarray, fit_zero: np.ndarray, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Anchors, and labels by a fair coin that they fit; none where a label has no anchor."""
    ones, zeros = np.flatnonzero(fit_one), np.flatnonzero(fit_zero)
    if not (len(ones) and len(zeros)):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=bool)
    label = rng.random(n) < 0.5
    return np.where(label, rng.choice(ones, n), rng.choice(zeros, n)), label


def draw_pairs(
    onset: np.ndarray, n: int, rng: np.random.Generator, *, tau_pos: float, tau_neg: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of one recording: label 1 within `tau_pos` seconds, 0 at `tau_neg` or further.

    Returns
    -------
    positions : ndarray of int, shape (m, 2)
    labels : ndarray of int, shape (m,)
        m is n, or 0 where the recording is too short for both labels.
    """
    low = np.searchsorted(onset, onset - tau_pos, "left")
    high = np.searchsorted(onset, onset + tau_pos, "right")
    before = np.searchsorted(onset, onset - tau_neg, "right")
    after = np.searchsorted(onset, onset + tau_neg, "left")
    anchor, near = _anchors(high - low > 1, before + len(onset) > after, n, rng)
    close = _pick(low[anchor], high[anchor] - 1, rng)
    close += close >= anchor
    far = _far(before[anchor], after[anchor], len(onset), rng)
    return np.stack([anchor, np.where(near, close, far)], axis=1), near.astype(np.int64)


def draw_triplets(
    onset: np.ndarray, n: int, rng: np.random.Generator, *, tau_pos: float, tau_neg: float
) -> tuple[np.ndarray, np.ndarray]:
    """Triplets (first, middle, last) of one recording; first and last within `tau_pos`.

    Label 1: the middle window lies between them. Label 0: it lies `tau_neg` or further
    from both.

    Returns
    -------
    positions : ndarray of int, shape (m, 3)
    labels : ndarray of int, shape (m,)
        m is n, or 0 where the recording is too short for both labels.
    """
    index = np.arange(len(onset))
    before = np.searchsorted(onset, onset - tau_neg, "right")
    after = np.searchsorted(onset, onset + tau_neg, "left")
    end = np.searchsorted(onset, onset + tau_pos, "right")
    # With nothing far before the first, something must be left far after the last.
    end_apart = np.where(before > 0, end, np.minimum(end, np.count_nonzero(after < len(onset))))
    first, ordered = _anchors(end > index + 2, end_apart > index + 2, n, rng)
    last = _pick(first + 2, np.where(ordered, end[first], end_apart[first]), rng)
    middle = _pick(first + 1, last, rng)
    far = _far(before[first], after[last], len(onset), rng)
    return np.stack([first, np.where(ordered, middle, far), last], axis=1), ordered.astype(np.int64)


class TupleDataset(Dataset):
    """`n` tuples of windows with their pretext labels, drawn anew by `resample`.

    Parameters
    ----------
    windows : Windows
    draw : callable
        `draw_pairs` or `draw_triplets` with their times bound.
    n : int
        Tuples a pass, shared evenly (in expectation) by the recordings.
    rng : numpy Generator

    Raises
    ------
    ValueError
        If no recording is long enough for tuples of both labels.
    """

    def __init__(self, windows: Windows, draw: Draw, n: int, rng: np.random.Generator) -> None:
        self.windows, self.draw, self.n, self.rng = windows, draw, n, rng
        self.recordings = timeline(windows)
        self.resample()

    def resample(self) -> None:
        """Draw new tuples."""
        found: list[np.ndarray] = []
        labels: list[np.ndarray] = []
        for _ in range(20):
            shares = self.rng.multinomial(
                self.n, np.full(len(self.recordings), 1) / len(self.recordings)
            )
            for (rows, onset), share in zip(self.recordings, shares, strict=True):
                positions, label = self.draw(onset, int(share), self.rng)
                found.append(rows[positions])
                labels.append(label)
            if sum(map(len, labels)) >= self.n:
                break
        self.tuples, self.labels = np.concatenate(found), np.concatenate(labels)
        if not len(self.labels):
            raise ValueError("recordings are too short for tau_neg; choose a smaller one")
        keep = self.rng.permutation(len(self.labels))[: self.n]
        self.tuples, self.labels = self.tuples[keep], self.labels[keep]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, ...]:
        x, y = self.__getitems__([i])
        return x[0], y[0]

    def __getitems__(self, indices: list[int]) -> tuple[torch.Tensor, ...]:
        """Batch (n, k, channels, times) and labels (n,)."""
        rows = self.tuples[indices]
        x = self.windows.__getitems__(rows.ravel())[0]
        return x.reshape(*rows.shape, *x.shape[1:]), torch.from_numpy(self.labels[indices])


class FreshTuples(Callback):
    """Draw new tuples before every pass but the first."""

    def on_epoch_begin(self, net: object, dataset_train: TupleDataset, **kwargs: object) -> None:
        """Called by skorch."""
        if len(net.history) > 1:  # type: ignore[attr-defined]
            dataset_train.resample()


class PretextNet(nn.Module):
    """Embed each window of a tuple; classify the absolute differences of neighbours.

    Parameters
    ----------
    encoder : nn.Module
        (batch, channels, times) -> (batch, embedding_size).
    embedding_size : int
    n_windows : int
        Windows a tuple: 2 for relative positioning, 3 for temporal shuffling.
    drop_prob : float
    """

    def __init__(
        self, encoder: nn.Module, embedding_size: int, n_windows: int, drop_prob: float = 0.5
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.contrast = nn.Sequential(
            nn.Dropout(drop_prob), nn.Linear(embedding_size * (n_windows - 1), 2)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (batch, 2) of tuples (batch, n_windows, channels, times)."""
        z = self.encoder(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return self.contrast((z[:, 1:] - z[:, :-1]).abs().flatten(1))
