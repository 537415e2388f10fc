"""Which electrodes are bad: a rule for recordings that come without a list."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from sleepshift.errors import DataError
from sleepshift.stages import WINDOW_SECONDS

__all__ = ["bad_electrodes"]


def bad_electrodes(
    signals: np.ndarray,
    ch_names: Sequence[str],
    *,
    sfreq: float,
    groups: Sequence[Sequence[str]] | None = None,
    factor: float = 5.0,
    max_share: float = 0.2,
) -> tuple[str, ...]:
    """Find bad electrodes from signals alone; stages are never looked at.

    The recording is cut into 30-s pieces. In one piece an electrode fails if it holds a value
    that is not finite, if it is flat (its interquartile range is 0), or if its interquartile
    range is more than `factor` times, or less than 1 / `factor` of, the median of the
    electrodes of its group that are neither. An electrode that fails in more than `max_share`
    of the pieces is bad. The median of a group can be trusted while fewer than half of its
    electrodes are bad; in a group of one or two only gaps and flatness count.

    Parameters
    ----------
    signals : ndarray, shape (n_electrodes, n_times)
        In one unit, against one reference.
    ch_names : sequence of str
        Electrode of each row.
    sfreq : float
        Hz.
    groups : sequence of sequences of str, optional
        Electrodes that should be of one size, for instance those of one ear: a reference
        on one side of the head makes that side smaller. One group of all, by default; an
        electrode in no group is held against itself only.
    factor : float
        More than 1.
    max_share : float
        0 to 1.

    Returns
    -------
    tuple of str
        In the order of `ch_names`; fit for ``raw.info["bads"]``.

    Raises
    ------
    DataError
        If a group names an electrode that is not there.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(4, 6000))
    >>> x[2] = 0
    >>> bad_electrodes(x, ("ELA", "ELB", "ELE", "ELI"), sfreq=100.0)
    ('ELE',)
    """
    names = list(ch_names)
    if len(signals) != len(names):
        raise DataError(f"{len(signals)} electrodes have {len(names)} names")
    spread = _spreads(signals, round(WINDOW_SECONDS * sfreq))
    failed = ~(spread > 0)
    for group in [names] if groups is None else groups:
        if absent := [name for name in group if name not in names]:
            raise DataError(f"there is no electrode {absent[0]!r}; there are {', '.join(names)}")
        rows = [names.index(name) for name in group]
        alive = np.where(failed[rows], np.nan, spread[rows])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a piece in which nobody is alive
            ratio = alive / np.nanmedian(alive, axis=0)
        if len(rows) > 2:
            failed[rows] |= (ratio > factor) | (ratio < 1 / factor)
    return tuple(
        name for name, share in zip(names, failed.mean(axis=1), strict=True) if share > max_share
    )


def _spreads(signals: np.ndarray, size: int) -> np.ndarray:
    """Interquartile range of each piece, shape (n_electrodes, n_pieces); NaN with a gap."""
    size = min(size, signals.shape[1])
    n_pieces = signals.shape[1] // size
    pieces = (signal[: n_pieces * size].reshape(n_pieces, size) for signal in signals)
    return np.stack([_spread(piece) for piece in pieces])


def _spread(pieces: np.ndarray) -> np.ndarray:
    whole = np.isfinite(pieces).all(axis=1)
    low, high = np.percentile(np.where(whole[:, None], pieces, 0), [25, 75], axis=1)
    return np.where(whole, high - low, np.nan)
