"""Band powers: the feature floor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.signal import welch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags

from sleepshift.estimators.cache import computed_once
from sleepshift.estimators.inputs import TakesWindows, as_windows
from sleepshift.windows.windows import Windows

__all__ = ["BANDS", "BandPower"]

#: Hz, as in the AASM manual's rhythms; sigma is where spindles are.
BANDS: dict[str, tuple[float, float]] = {
    "delta": (0.5, 4.0),
    "theta": (4.0, 8.0),
    "alpha": (8.0, 12.0),
    "sigma": (12.0, 16.0),
    "beta": (16.0, 30.0),
}

_CHUNK = 512
_FLOOR = 1e-12


class BandPower(TakesWindows, TransformerMixin, BaseEstimator):
    """Log band powers and relative band powers of each channel.

    Power spectral densities are Welch's (Hann segments of `segment_seconds`, half
    overlapping); a band's power is the sum over its bins. Windows that already hold
    features pass through, flattened.

    Parameters
    ----------
    channels : sequence of str or None
        Channels of the view, by name; None takes all that X has.
    bands : mapping of str to (float, float), or None
        Edges in Hz, the upper one excluded; None is `BANDS`.
    relative : bool
        Add each band's share of the power in all bands.
    segment_seconds : float
    sfreq : float or None
        Rate of plain arrays; `Windows` carry their own.
    cache : str, Path or None
        Folder where band powers are kept; see `sleepshift.estimators.cache`. Those of a store
        are kept by person, so that splits which share people share them too.

    Examples
    --------
    >>> t = np.arange(3000) / 100
    >>> X = np.sin(2 * np.pi * 10 * t)[None, None]
    >>> power = BandPower(sfreq=100.0).fit_transform(X)
    >>> power.shape, int(power[0, :5].argmax())  # alpha
    ((1, 10), 2)
    """

    def __init__(
        self,
        channels: Sequence[str] | None = None,
        bands: Mapping[str, tuple[float, float]] | None = None,
        relative: bool = True,
        segment_seconds: float = 4.0,
        sfreq: float | None = None,
        cache: str | Path | None = None,
    ) -> None:
        self.channels = channels
        self.bands = bands
        self.relative = relative
        self.segment_seconds = segment_seconds
        self.sfreq = sfreq
        self.cache = cache

    def fit(self, X: Any, y: Any = None) -> BandPower:
        """Check the bands; nothing is learned.

        Raises
        ------
        ValueError
            If a band is empty at this rate.
        """
        windows = as_windows(X, sfreq=self.sfreq).pick(self.channels)
        self.n_features_out_ = self._features(windows[:1], windows.sfreq).shape[1]
        return self

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags

    def transform(self, X: Any) -> np.ndarray:
        """Features, shape (n_windows, n_channels * n_features a channel)."""
        windows = as_windows(X, sfreq=self.sfreq).pick(self.channels).without_labels()
        if self.cache is None or windows.sfreq is None:
            return self._computed(windows)
        person = np.zeros(len(windows), dtype=np.intp)
        # Windows in memory are hashed as a whole each time, so they are not cut up.
        if windows.name is not None and windows.subjects is not None:
            person = np.unique(windows.subjects, return_inverse=True)[1]
        own = [np.flatnonzero(person == k) for k in range(person.max() + 1)]
        parts = np.concatenate([self._kept(self.cache, windows[positions]) for positions in own])
        return parts[np.argsort(np.concatenate(own))]

    def _kept(self, cache: str | Path, windows: Windows) -> np.ndarray:
        bands = list((BANDS if self.bands is None else self.bands).items())
        key = [bands, self.relative, self.segment_seconds, windows.sfreq, windows.fingerprint]

        def compute(kinds: Sequence[str]) -> dict[str, np.ndarray]:
            return {"band-powers": self._computed(windows)}

        return computed_once(cache, {"band-powers": key}, compute)["band-powers"]

    def _computed(self, windows: Windows) -> np.ndarray:
        starts = range(0, len(windows), _CHUNK)
        parts = [self._features(windows[k : k + _CHUNK], windows.sfreq) for k in starts]
        return np.concatenate(parts)

    def _features(self, windows: Any, sfreq: float | None) -> np.ndarray:
        x = np.asarray(windows)
        if sfreq is None:
            return x.reshape(len(x), -1)
        n_segment = min(round(self.segment_seconds * sfreq), x.shape[2])
        frequency, density = welch(x, fs=sfreq, nperseg=n_segment, axis=2)
        bands = BANDS if self.bands is None else self.bands
        powers = []
        for name, (low, high) in bands.items():
            inside = (frequency >= low) & (frequency < high)
            if not inside.any():
                raise ValueError(f"band {name!r} ({low:g}-{high:g} Hz) is empty at {sfreq:g} Hz")
            # One bin after the other: NumPy's own order of adding depends on how many windows.
            total = sum(np.moveaxis(density[:, :, inside], 2, 0))
            powers.append(total * (frequency[1] - frequency[0]))
        power = np.stack(powers, axis=2) + _FLOOR
        features = [np.log(power)]
        if self.relative:
            features.append(power / power.sum(axis=2, keepdims=True))
        return np.concatenate(features, axis=2).reshape(len(x), -1)
