"""Building blocks of simulated signals: named random streams, noises, rhythms and events."""

from __future__ import annotations

from zlib import crc32

import numpy as np

__all__ = ["add_events", "draw_onsets", "named_stream", "pink_noise", "rhythm", "to_samples"]


def named_stream(*key: int | str) -> np.random.Generator:
    """Random numbers that depend on `key` alone, so that no signal shifts another.

    Parameters
    ----------
    *key : int (0 or more) or str
        For instance seed, subject, night and the name of the source.

    Examples
    --------
    >>> a, b = named_stream(0, 1, "alpha"), named_stream(0, 1, "alpha")
    >>> a.random() == b.random()
    True
    """
    words = [crc32(part.encode()) if isinstance(part, str) else part for part in key]
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(words)))


def pink_noise(rng: np.random.Generator, n_times: int, sfreq: float, exponent: float) -> np.ndarray:
    """Noise whose power falls as 1/f**exponent above 0.5 Hz, flat below.

    Parameters
    ----------
    rng : numpy.random.Generator
    n_times : int
    sfreq : float
        Hz.
    exponent : float
        0 is white, 1 pink, 2 Brownian.

    Returns
    -------
    noise : ndarray of float32, shape (n_times,)
        Unit variance.

    Examples
    --------
    >>> pink_noise(np.random.default_rng(0), 1000, 100.0, 1.0).shape
    (1000,)
    """
    from scipy import fft

    size = fft.next_fast_len(n_times, real=True)
    frequency = fft.rfftfreq(size, 1 / sfreq).astype(np.float32)
    shape = np.maximum(frequency, np.float32(0.5)) ** np.float32(-exponent / 2)
    shape *= np.float32(size / np.sqrt(2 * np.sum(np.square(shape, dtype=np.float64))))
    spectrum = rng.standard_normal((len(shape), 2), dtype=np.float32).view(np.complex64)[:, 0]
    spectrum *= shape * np.float32(np.sqrt(0.5))
    return fft.irfft(spectrum, size)[:n_times]


def rhythm(
    rng: np.random.Generator, n_times: int, sfreq: float, frequency: float, width: float
) -> np.ndarray:
    """Waxing and waning oscillation: white noise through a two-pole resonator.

    Parameters
    ----------
    rng : numpy.random.Generator
    n_times : int
    sfreq, frequency, width : float
        Hz; `width` is the full width at half maximum of the spectral peak.

    Returns
    -------
    oscillation : ndarray of float32, shape (n_times,)
        Unit variance.

    Examples
    --------
    >>> rhythm(np.random.default_rng(0), 1000, 100.0, 10.0, 1.0).shape
    (1000,)
    """
    from scipy.signal import lfilter

    radius = np.exp(-np.pi * width / sfreq)
    a1, a2 = -2 * radius * np.cos(2 * np.pi * frequency / sfreq), radius**2
    # Output variance of a two-pole filter fed with unit white noise.
    variance = (1 + a2) / ((1 - a2) * ((1 + a2) ** 2 - a1**2))
    gain = np.array([variance**-0.5], dtype=np.float32)
    noise = rng.standard_normal(n_times, dtype=np.float32)
    return lfilter(gain, np.array([1, a1, a2], dtype=np.float32), noise)


def to_samples(per_second: np.ndarray, sfreq: int) -> np.ndarray:
    """Draw a line through values that are given once a second.

    Parameters
    ----------
    per_second : ndarray, shape (n_seconds,)
    sfreq : int
        Samples a second.

    Returns
    -------
    samples : ndarray of float32, shape (n_seconds * sfreq,)

    Examples
    --------
    >>> to_samples(np.array([0.0, 1.0]), 2)
    array([0. , 0.5, 1. , 1. ], dtype=float32)
    """
    start = np.asarray(per_second, dtype=np.float32)[:, None]
    step = np.append(start[1:], start[-1:], axis=0) - start
    return (start + step * (np.arange(sfreq, dtype=np.float32) / sfreq)).ravel()


def draw_onsets(rng: np.random.Generator, rate: np.ndarray, sfreq: int) -> np.ndarray:
    """Draw event onsets, at most one a second, from a rate that changes over time.

    Parameters
    ----------
    rng : numpy.random.Generator
    rate : ndarray, shape (n_seconds,)
        Events a second, 0 to 1.
    sfreq : int
        Hz.

    Returns
    -------
    onsets : ndarray of int64, shape (n_events,)
        Samples, rising.

    Examples
    --------
    >>> len(draw_onsets(np.random.default_rng(0), np.ones(5), 100))
    5
    """
    seconds = np.flatnonzero(rng.random(len(rate)) < rate)
    return seconds * sfreq + rng.integers(0, sfreq, len(seconds))


def add_events(n_times: int, onsets: np.ndarray, waveforms: np.ndarray) -> np.ndarray:
    """Sum waveforms into an empty signal; what hangs over its end is cut off.

    Parameters
    ----------
    n_times : int
    onsets : ndarray of int, shape (n_events,)
        Samples.
    waveforms : ndarray, shape (n_events, n_samples)

    Returns
    -------
    signal : ndarray of float32, shape (n_times,)

    Examples
    --------
    >>> add_events(4, np.array([0, 3]), np.ones((2, 2)))
    array([1., 1., 0., 1.], dtype=float32)
    """
    length = waveforms.shape[1]
    index = onsets[:, None] + np.arange(length)
    signal = np.bincount(index.ravel(), waveforms.ravel(), minlength=n_times + length)
    return signal[:n_times].astype(np.float32)
