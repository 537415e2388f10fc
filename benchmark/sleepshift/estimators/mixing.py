"""Batches in which windows of two domains come together.

Partners and rates are drawn from torch's generator when a batch is asked for, so that
training inside `sleepshift.estimators.training.seeded` draws the same ones again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from sleepshift.windows.windows import Windows

__all__ = ["BothDomains", "JointDomains", "SameStageMixup"]

Batch = tuple[torch.Tensor, torch.Tensor]


class _Batches(Dataset):
    """Windows of several parts; a part may be held on another device than the others."""

    parts: list[Windows | None]

    def __len__(self) -> int:
        return len(self._part(0))

    def __getitem__(self, i: int) -> Batch:
        return self.__getitems__([i])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        raise NotImplementedError

    def _part(self, k: int) -> Windows:
        part = self.parts[k]
        assert part is not None
        return part

    def _fetch(self, k: int, positions: Sequence[int] | torch.Tensor) -> Batch:
        x, codes, _ = self._part(k).__getitems__(np.asarray(positions))
        return x, codes

    def _draw(self, k: int, n: int) -> Batch:
        """Windows of a part at random, with replacement."""
        return self._fetch(k, torch.randint(len(self._part(k)), (n,)))


class BothDomains(_Batches):
    """Source windows, followed by as many target windows drawn at random.

    Parameters
    ----------
    source : Windows
        One item each; labels are codes.
    target : Windows
        Their labels are out of reach: their codes are -1.

    Examples
    --------
    >>> source = Windows.from_arrays(np.zeros((4, 1, 9)), [0, 1, 2, 1], sfreq=10.0)
    >>> target = Windows.from_arrays(np.ones((5, 1, 9)), [3, 3, 3, 3, 3], sfreq=10.0)
    >>> x, codes = BothDomains(source, target).__getitems__([1, 2])
    >>> codes.tolist(), x[:, 0, 0].tolist()
    ([1, 2, -1, -1], [0.0, 0.0, 1.0, 1.0])
    """

    def __init__(self, source: Windows, target: Windows) -> None:
        self.parts = [source, target.without_labels()]

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        x, codes = self._fetch(0, indices)
        other, none = self._draw(1, len(codes))
        return torch.cat([x, other.to(x.device)]), torch.cat([codes, none])


class SameStageMixup(_Batches):
    """Source windows, each mixed with a target window of the same stage.

    A window x of the source becomes ``(1 - r) x + r x'``, with x' drawn from the target
    windows of its stage and r from U(0, `rate`). It stays as it is where the target has no
    such window.

    Parameters
    ----------
    source : Windows
        One item each; labels are codes.
    target : Windows
        With codes too.
    rate : float
        Largest share of a target window.
    """

    def __init__(self, source: Windows, target: Windows, rate: float) -> None:
        self.parts = [source, target]
        self.rate = rate
        codes = target.y
        self._order = np.argsort(codes, kind="stable")
        n_codes = int(max(codes.max(), source.y.max())) + 1
        self._counts = np.bincount(codes, minlength=n_codes)
        self._first = np.cumsum(self._counts) - self._counts

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        x, codes = self._fetch(0, indices)
        counts, first = self._counts[codes.numpy()], self._first[codes.numpy()]
        drawn = (torch.rand(len(codes)).numpy() * counts).astype(np.int64)
        place = first + drawn.clip(max=np.maximum(counts - 1, 0))  # 0.99999997 n may round to n
        other, _ = self._fetch(1, self._order[place.clip(max=len(self._order) - 1)])
        rates = torch.where(torch.from_numpy(counts > 0), self.rate * torch.rand(len(codes)), 0.0)
        return _mixed(x, other, rates), codes


class JointDomains(_Batches):
    """Labelled target windows, and source windows mixed with unlabelled target windows.

    A batch of n holds labelled target windows with probability `target_share` each, and
    source windows x in the others' place, as ``(1 - r) x + r u`` with r from U(0, `rate`) and u
    drawn from the unlabelled windows; their label stays the source's. The windows u
    themselves follow, with the code -1: they can be learned from, but not by a label.

    Parameters
    ----------
    source : Windows
        With codes for labels.
    labeled : Windows or None
        Labelled target windows; None draws from the source alone.
    unlabeled : Windows
        Their labels are out of reach.
    rate : float
        Largest share of an unlabelled window.
    target_share : float

    Notes
    -----
    An item is a draw, whatever its index: a pass is half as long as there are windows with
    labels.
    """

    def __init__(
        self,
        source: Windows,
        labeled: Windows | None,
        unlabeled: Windows,
        rate: float,
        target_share: float,
    ) -> None:
        self.parts = [source, labeled, unlabeled.without_labels()]
        self.rate = rate
        self.target_share = 0.0 if labeled is None else target_share

    def __len__(self) -> int:
        return max(1, sum(len(part) for part in self.parts[:2] if part is not None) // 2)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        n_target = int((torch.rand(len(indices)) < self.target_share).sum())
        n_source = len(indices) - n_target
        parts = [self._draw(1, n_target)] if n_target else []
        if n_source:
            x, codes = self._draw(0, n_source)
            other, none = self._draw(2, n_source)
            parts += [(_mixed(x, other, self.rate * torch.rand(n_source)), codes), (other, none)]
        device = parts[0][0].device
        x = torch.cat([x.to(device) for x, _ in parts])
        return x, torch.cat([codes for _, codes in parts])


def _mixed(x: torch.Tensor, other: torch.Tensor, rates: torch.Tensor) -> torch.Tensor:
    """``(1 - r) x + r other``, one rate a window."""
    return torch.lerp(x, other.to(x.device), rates.to(x)[:, None, None])
