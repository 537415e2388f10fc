"""A simulated electrocardiogram: heart rate by stage, beats, and their P-QRS-T waves."""

from __future__ import annotations

import numpy as np

from sleepshift.datasets.waveforms import add_events

__all__ = ["beat_times", "electrocardiogram", "heart_rate"]

# By stage (W, N1, N2, N3, REM): level of the heart rate, then standard deviations of its
# very slow (minutes), slow (0.1 Hz) and respiratory (0.25 Hz) fluctuations; shares of the mean.
_LEVEL = (0.045, 0.015, 0.0, -0.01, 0.015)
_FLUCTUATIONS = {
    "very slow": (0.065, 0.055, 0.048, 0.038, 0.056),
    "slow": (0.03, 0.03, 0.027, 0.02, 0.032),
    "respiratory": (0.02, 0.023, 0.027, 0.028, 0.02),
}
#: Values of the heart rate a second.
RATE_SFREQ = 4

# Waves of one beat: delay from the R peak and width in seconds, height as a share of R.
_WAVES = {
    "P": (-0.17, 0.025, 0.12),
    "Q": (-0.028, 0.009, -0.12),
    "R": (0.0, 0.011, 1.0),
    "S": (0.03, 0.011, -0.22),
    "T": (0.27, 0.045, 0.28),
}


def heart_rate(
    rng: np.random.Generator, stages: np.ndarray, mean: float, variability: float
) -> np.ndarray:
    """Heart rate over the night.

    Parameters
    ----------
    rng : numpy.random.Generator
    stages : ndarray of float, shape (n_seconds, 5)
        Share of W, N1, N2, N3 and REM in each second; rows sum to one.
    mean : float
        Beats a minute in stage 2.
    variability : float
        Factor on all fluctuations.

    Returns
    -------
    rate : ndarray of float64, shape (n_seconds * 4,)
        Beats a minute, four values a second.

    Examples
    --------
    >>> heart_rate(np.random.default_rng(0), np.eye(5), 60.0, 1.0).shape
    (20,)
    """
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import lfilter

    n_values = len(stages) * RATE_SFREQ
    white = rng.standard_normal((3, n_values))
    very_slow = lfilter([np.sqrt(1 - 0.996**2)], [1, -0.996], white[0])
    slow = gaussian_filter1d(white[1], 6)
    # Breathing at about 0.25 Hz, a slowly wandering rhythm.
    breathing = np.sin(np.cumsum(2 * np.pi * (0.25 + 0.06 * white[2]) / RATE_SFREQ))
    parts = (very_slow, slow / slow.std(), breathing * np.sqrt(2))
    rate = 1 + stages @ np.array(_LEVEL)
    rate = np.repeat(rate, RATE_SFREQ)
    for part, sizes in zip(parts, _FLUCTUATIONS.values(), strict=True):
        rate += variability * np.repeat(stages @ np.array(sizes), RATE_SFREQ) * part
    return mean * np.clip(rate, 0.6, 1.8)


def beat_times(rate: np.ndarray) -> np.ndarray:
    """Times of the R peaks of a heart that follows `rate`.

    Parameters
    ----------
    rate : ndarray of float, shape (n_seconds * 4,)
        Beats a minute.

    Returns
    -------
    seconds : ndarray of float64, shape (n_beats,)

    Examples
    --------
    >>> beat_times(np.full(12, 60.0))
    array([1., 2., 3.])
    """
    beats = np.concatenate([[0.0], np.cumsum(rate / 60 / RATE_SFREQ)])
    times = np.arange(len(beats)) / RATE_SFREQ
    return np.interp(np.arange(1, int(beats[-1] + 1e-9) + 1), beats, times)


def electrocardiogram(
    rng: np.random.Generator, beats: np.ndarray, n_times: int, sfreq: int, height: float
) -> np.ndarray:
    """P-QRS-T waves at the given beats.

    Parameters
    ----------
    rng : numpy.random.Generator
    beats : ndarray of float, shape (n_beats,)
        Seconds.
    n_times, sfreq : int
        Samples, and samples a second.
    height : float
        Mean height of the R peaks in uV; breathing moves it by some per cent.

    Returns
    -------
    signal : ndarray of float32, shape (n_times,)
        uV.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> electrocardiogram(rng, np.array([1.0]), 200, 100, 1000.0).argmax()
    np.int64(100)
    """
    before, after, steps = round(0.25 * sfreq), round(0.42 * sfreq), 10
    offset = np.arange(steps)[:, None] / steps
    time = (np.arange(-before, after) - offset) / sfreq
    shapes = np.zeros(time.shape)
    for delay, width, share in _WAVES.values():
        shapes += share * np.exp(-0.5 * np.square((time - delay) / width))
    beats = beats[beats > before / sfreq]
    first = np.floor(beats * sfreq + 1e-6).astype(np.int64)
    fraction = np.clip(((beats * sfreq - first) * steps).astype(np.int64), 0, steps - 1)
    breathing = 1 + 0.06 * np.sin(2 * np.pi * 0.25 * beats + rng.uniform(0, 2 * np.pi))
    sizes = height * breathing * (1 + 0.02 * rng.standard_normal(len(beats)))
    return add_events(n_times, first - before, (sizes[:, None] * shapes[fraction]))
