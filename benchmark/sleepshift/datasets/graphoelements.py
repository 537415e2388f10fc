"""Shapes of the transient events of sleep: spindles, K-complexes, slow waves, eye movements.

Each function draws `n_events` waveforms in uV at 100 Hz, one a row, different every time in
length, size and form. Typical sizes follow the AASM scoring manual (version 2.6).
"""

from __future__ import annotations

import numpy as np

__all__ = [
    "blinks",
    "k_complexes",
    "saccades",
    "sawtooth_waves",
    "slow_waves",
    "spindles",
    "twitches",
    "vertex_waves",
]

_SFREQ = 100


def _bump(time: np.ndarray, centre: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Gaussian bumps of height 1, a row for each event."""
    scaled: np.ndarray = np.square((time - centre[:, None]) / width[:, None])
    return np.exp(-0.5 * scaled)


def _seconds(duration: float) -> np.ndarray:
    return np.arange(round(duration * _SFREQ), dtype=np.float32) / np.float32(_SFREQ)


def _sizes(rng: np.random.Generator, n_events: int, median: float, spread: float) -> np.ndarray:
    """Lognormal sizes, shape (n_events,)."""
    return (median * np.exp(spread * rng.standard_normal(n_events))).astype(np.float32)


def _uniform(rng: np.random.Generator, n_events: int, low: float, high: float) -> np.ndarray:
    return rng.uniform(low, high, n_events).astype(np.float32)


def slow_waves(rng: np.random.Generator, n_events: int) -> np.ndarray:
    """Slow waves of 0.7-1.5 s: a sharp trough, then a broader crest; about 85 uV in all."""
    length = _uniform(rng, n_events, 0.7, 1.5)
    time = _seconds(1.6)
    trough = _bump(time, 0.32 * length, 0.11 * length)
    crest = _bump(time, 0.68 * length, 0.16 * length)
    return _sizes(rng, n_events, 50, 0.35)[:, None] * (0.7 * crest - trough)


def k_complexes(rng: np.random.Generator, n_events: int) -> np.ndarray:
    """K-complexes: a fast deep trough, then a slow crest of half a second; about 120 uV."""
    length = _uniform(rng, n_events, 0.8, 1.2)
    time = _seconds(1.4)
    onset = _bump(time, 0.12 * length, 0.04 * length)
    trough = _bump(time, 0.27 * length, 0.07 * length)
    crest = _bump(time, 0.65 * length, 0.16 * length)
    return _sizes(rng, n_events, 75, 0.3)[:, None] * (0.2 * onset - trough + 0.6 * crest)


def vertex_waves(rng: np.random.Generator, n_events: int) -> np.ndarray:
    """Vertex sharp waves of a quarter of a second; about 60 uV."""
    length = _uniform(rng, n_events, 0.18, 0.35)
    time = _seconds(0.6)
    trough = _bump(time, 0.45 * length, 0.15 * length)
    crest = _bump(time, 1.0 * length, 0.25 * length)
    return _sizes(rng, n_events, 45, 0.3)[:, None] * (0.4 * crest - trough)


def spindles(rng: np.random.Generator, n_events: int, frequency: float = 13.2) -> np.ndarray:
    """Sleep spindles of 0.5-1.5 s that slow down a little; about 40 uV from peak to peak.

    Parameters
    ----------
    rng : numpy.random.Generator
    n_events : int
    frequency : float
        The person's spindle frequency in Hz; spindles scatter around it by 0.4 Hz.

    Returns
    -------
    waveforms : ndarray, shape (n_events, 150)

    Examples
    --------
    >>> spindles(np.random.default_rng(0), 2).shape
    (2, 150)
    """
    length = _uniform(rng, n_events, 0.5, 1.5)[:, None]
    hertz = (frequency + 0.4 * rng.standard_normal((n_events, 1))).astype(np.float32)
    time = _seconds(1.5)
    envelope = np.sin(np.pi * np.minimum(time / length, 1)) ** 2
    cycles = hertz * time - 0.4 * time**2 / length + rng.random((n_events, 1), dtype=np.float32)
    return _sizes(rng, n_events, 20, 0.3)[:, None] * envelope * np.cos(2 * np.pi * cycles)


def sawtooth_waves(rng: np.random.Generator, n_events: int) -> np.ndarray:
    """Trains of two to three seconds of 2-5 Hz triangular waves, as in REM; about 30 uV."""
    time = _seconds(3.0)
    phase = _uniform(rng, n_events, 2, 5)[:, None] * time % 1
    length = _uniform(rng, n_events, 2, 3)[:, None]
    envelope = np.sin(np.pi * np.minimum(time / length, 1))
    return _sizes(rng, n_events, 15, 0.3)[:, None] * envelope * (2 * phase - 1)


def saccades(rng: np.random.Generator, n_events: int) -> np.ndarray:
    """Rapid eye movements: a step in 50 ms that the amplifier lets decay; about 90 uV."""
    time = _seconds(2.5)
    decay = _uniform(rng, n_events, 0.3, 0.9)[:, None]
    size = _sizes(rng, n_events, 90, 0.5) * rng.choice(np.array([-1, 1]), n_events)
    return size[:, None] * np.minimum(time / 0.05, 1) * np.exp(-time / decay)


def blinks(rng: np.random.Generator, n_events: int) -> np.ndarray:
    """Blinks of a third of a second; about 100 uV at the forehead."""
    length = _uniform(rng, n_events, 0.2, 0.4)
    shape = _bump(_seconds(0.6), 0.6 * length, 0.25 * length)
    return _sizes(rng, n_events, 100, 0.4)[:, None] * shape


def twitches(rng: np.random.Generator, n_events: int) -> np.ndarray:
    """Bursts of muscle activity of up to a second; about 30 uV r.m.s."""
    time = _seconds(1.0)
    envelope = np.sin(np.pi * np.minimum(time / _uniform(rng, n_events, 0.2, 1.0)[:, None], 1))
    noise = rng.standard_normal((n_events, len(time)), dtype=np.float32)
    return _sizes(rng, n_events, 30, 0.5)[:, None] * envelope * noise
