"""Bringing signals of unknown size to one: per recording, or per window."""

from __future__ import annotations

import numpy as np

__all__ = ["CLIP", "minmax_scale", "robust_scale"]

#: Scaled signals are clipped to this many interquartile ranges either side of the median.
CLIP = 20.0


def robust_scale(x: np.ndarray, *, per_feature: bool = False) -> np.ndarray:
    """Scale windows of one recording to median 0 and interquartile range 1, clipped.

    Parameters
    ----------
    x : ndarray of float32, shape (n_windows, n_channels, n_times)
    per_feature : bool
        Scale each position of the last axis by itself, as features want, instead of all
        samples of a channel together.

    Returns
    -------
    ndarray of float32, same shape
        A channel (or feature) without spread is only centred.
    """
    pooled = x if per_feature else x.transpose(0, 2, 1).reshape(-1, x.shape[1], 1)
    percentile = np.percentile if np.isfinite(pooled).all() else np.nanpercentile
    low, median, high = percentile(pooled, [25, 50, 75], axis=0).astype(np.float32)
    scaled = (x - median) / np.where(high > low, high - low, np.float32(1))
    return np.clip(scaled, -CLIP, CLIP, out=scaled)


def minmax_scale(x: np.ndarray) -> np.ndarray:
    """Scale every window and channel from 0 to 1; one without spread becomes 0.

    Parameters
    ----------
    x : ndarray of float32, shape (n_windows, n_channels, n_times)

    Examples
    --------
    >>> minmax_scale(np.array([[[2.0, 4.0, 3.0]]], np.float32))
    array([[[0. , 1. , 0.5]]], dtype=float32)
    """
    # fmin and fmax pass over gaps, in silence where there is nothing else.
    low, high = (f.reduce(x, axis=2, keepdims=True) for f in (np.fmin, np.fmax))
    return (x - low) / np.where(high > low, high - low, np.float32(1))
