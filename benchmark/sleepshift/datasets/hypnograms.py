"""Stage sequences made from transition statistics that were measured on real nights.

The numbers come from the 153 nights of the Sleep Cassette study in Sleep-EDF Expanded
1.0.0 (PhysioNet, doi 10.13026/C2X676, ODC-By 1.0), 30-s windows, R&K stages 3 and 4
merged. They were measured so: each night was cut to its main sleep (`main_sleep`), the
nights were grouped into four age bands (the people of that study are 25-34, 50-60, 66-74
and 85-101 years old), each night was cut in three equal parts, and all transitions between
neighbouring scored windows of a band and part were counted (`transition_statistics`).
The thirds are what brings deep sleep early and REM late.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from sleepshift.stages import WINDOW_SECONDS

__all__ = [
    "AGE_BANDS",
    "blur_stages",
    "main_sleep",
    "simulate_stages",
    "split_deep_sleep",
    "transition_matrices",
    "transition_statistics",
]


#: Age bands (from, below, in years) of the committed matrices.
AGE_BANDS: tuple[tuple[float, float], ...] = ((0, 42), (42, 63), (63, 80), (80, 120))

#: Mean age of the nights in each band; between these the matrices are interpolated.
_BAND_AGES = (28.7, 53.8, 69.1, 90.6)

# Probability x 1000 of the next stage; rows are the stage now, both W N1 N2 N3 REM.
# One line per third of the night, one block per age band.
_PER_MILLE = (
    # 0-42 years: 39 nights.
    (
        (835, 143, 14, 4, 5),
        (50, 733, 206, 2, 9),
        (10, 16, 888, 74, 12),
        (5, 5, 100, 890, 1),
        (10, 15, 27, 1, 948),
    ),
    (
        (742, 206, 40, 0, 12),
        (51, 580, 305, 0, 64),
        (10, 16, 919, 42, 14),
        (7, 4, 166, 823, 1),
        (7, 19, 17, 0, 957),
    ),
    (
        (809, 161, 11, 0, 19),
        (79, 609, 252, 0, 60),
        (16, 25, 918, 24, 16),
        (13, 6, 214, 765, 2),
        (18, 26, 14, 0, 943),
    ),
    # 42-63 years: 43 nights.
    (
        (813, 171, 14, 0, 2),
        (63, 774, 141, 1, 21),
        (12, 17, 916, 47, 7),
        (15, 3, 178, 805, 0),
        (27, 24, 12, 0, 936),
    ),
    (
        (746, 225, 14, 1, 14),
        (67, 703, 180, 0, 50),
        (11, 17, 930, 31, 10),
        (20, 2, 215, 763, 0),
        (20, 24, 8, 0, 948),
    ),
    (
        (820, 170, 5, 0, 5),
        (92, 730, 143, 0, 35),
        (19, 23, 928, 16, 14),
        (32, 5, 421, 542, 0),
        (28, 21, 10, 0, 941),
    ),
    # 63-80 years: 39 nights.
    (
        (814, 178, 8, 0, 0),
        (80, 733, 169, 1, 17),
        (13, 28, 888, 61, 9),
        (8, 9, 190, 791, 2),
        (21, 38, 10, 0, 931),
    ),
    (
        (814, 180, 5, 0, 1),
        (72, 670, 215, 0, 43),
        (14, 36, 902, 37, 12),
        (13, 10, 224, 753, 0),
        (14, 37, 5, 0, 944),
    ),
    (
        (843, 153, 2, 0, 2),
        (126, 722, 130, 0, 22),
        (27, 42, 895, 21, 16),
        (11, 2, 191, 793, 2),
        (21, 37, 8, 0, 934),
    ),
    # 80-120 years: 32 nights.
    (
        (890, 108, 0, 0, 1),
        (98, 755, 126, 1, 20),
        (11, 32, 899, 49, 8),
        (5, 7, 329, 656, 3),
        (15, 28, 7, 0, 950),
    ),
    (
        (873, 121, 5, 0, 1),
        (65, 766, 140, 1, 28),
        (9, 29, 913, 33, 16),
        (9, 11, 352, 624, 4),
        (15, 33, 27, 0, 925),
    ),
    (
        (877, 118, 4, 0, 1),
        (110, 756, 108, 0, 25),
        (25, 44, 901, 17, 12),
        (16, 8, 500, 476, 0),
        (24, 34, 18, 0, 925),
    ),
)
# Which stages a scorer takes a window for instead: rows scored, columns what the body did.
_CONFUSION = np.array(
    [
        [0.30, 0.55, 0.05, 0.00, 0.10],
        [0.30, 0.10, 0.35, 0.00, 0.25],
        [0.05, 0.25, 0.25, 0.30, 0.15],
        [0.00, 0.00, 0.80, 0.20, 0.00],
        [0.10, 0.45, 0.15, 0.00, 0.30],
    ]
)
_EDGE_WINDOWS = 10
_GAP_WINDOWS = 120


def main_sleep(stages: Sequence[int] | np.ndarray) -> np.ndarray:
    """Cut a long recording to its main sleep, with five minutes of wake on each side.

    Sleep that is separated by more than an hour without sleep (naps of a 24-hour
    recording) counts as apart; the part with the most sleep is kept.

    Parameters
    ----------
    stages : array-like of int, shape (n_windows,)
        0 W, 1 N1, 2 N2, 3 N3, 4 REM, -1 not scored; 30-s windows.

    Returns
    -------
    stages : ndarray of int64, shape (n_kept,)
        Empty where there is no sleep.

    Examples
    --------
    >>> main_sleep([0] * 50 + [2] * 5 + [0] * 50).size
    25
    """
    stages = np.asarray(stages, dtype=np.int64)
    asleep = np.flatnonzero(stages > 0)
    if asleep.size == 0:
        return stages[:0]
    parts = np.split(asleep, np.flatnonzero(np.diff(asleep) > _GAP_WINDOWS) + 1)
    longest = max(parts, key=len)
    return stages[max(0, longest[0] - _EDGE_WINDOWS) : longest[-1] + _EDGE_WINDOWS + 1]


def transition_statistics(sequences: Iterable[Sequence[int] | np.ndarray]) -> np.ndarray:
    """Measure transition probabilities per third of the night over many nights.

    Parameters
    ----------
    sequences : iterable of array-like of int
        One stage sequence a night, coded as in `main_sleep`, already trimmed.

    Returns
    -------
    probabilities : ndarray of float64, shape (3, 5, 5)
        ``[third, now, next]``; rows sum to one. A stage that is never left in a third
        stays where it is.

    Examples
    --------
    >>> transition_statistics([[0, 2, 2, 0, 2, 2]])[0, 0]
    array([0., 0., 1., 0., 0.])
    """
    counts = np.zeros((3, 5, 5))
    for sequence in sequences:
        now, after = np.asarray(sequence)[:-1], np.asarray(sequence)[1:]
        third = np.arange(len(now)) * 3 // max(len(now), 1)
        scored = (now >= 0) & (after >= 0)
        np.add.at(counts, (third[scored], now[scored], after[scored]), 1)
    counts += np.eye(5) * (counts.sum(axis=2, keepdims=True) == 0)
    return counts / counts.sum(axis=2, keepdims=True)


def transition_matrices(age: float) -> np.ndarray:
    """Transition probabilities of a person of `age` years, interpolated between age bands.

    Returns
    -------
    probabilities : ndarray of float64, shape (3, 5, 5)
        ``[third, now, next]``; rows sum to one.

    Examples
    --------
    >>> transition_matrices(40).shape
    (3, 5, 5)
    """
    bands = np.array(_PER_MILLE, dtype=float).reshape(len(_BAND_AGES), 3, 5, 5)
    bands /= bands.sum(axis=3, keepdims=True)
    position = np.interp(age, _BAND_AGES, range(len(_BAND_AGES)))
    below = min(int(position), len(_BAND_AGES) - 2)
    return bands[below] + (position - below) * (bands[below + 1] - bands[below])


def simulate_stages(age: float, n_windows: int, rng: np.random.Generator) -> np.ndarray:
    """Draw one night's stages: a Markov chain that starts awake.

    Parameters
    ----------
    age : float
        Years.
    n_windows : int
        Length of the night in 30-s windows; the thirds are thirds of this.
    rng : numpy.random.Generator

    Returns
    -------
    stages : ndarray of int64, shape (n_windows,)
        0 W, 1 N1, 2 N2, 3 N3, 4 REM.

    Examples
    --------
    >>> simulate_stages(30, 5, np.random.default_rng(0)).shape
    (5,)
    """
    cumulative = np.cumsum(transition_matrices(age), axis=2)
    cumulative[:, :, -1] = 1.0
    third = np.arange(n_windows) * 3 // n_windows
    draws = rng.random(n_windows)
    stages = np.zeros(n_windows, dtype=np.int64)
    for window in range(1, n_windows):
        row = cumulative[third[window], stages[window - 1]]
        stages[window] = np.searchsorted(row, draws[window], side="right")
    return stages


def split_deep_sleep(
    stages: np.ndarray, age: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Split N3 into R&K stages 3 and 4 by how deep each window is.

    Depth wanders slowly and falls over the night; a window deeper than one half is stage
    4. Slow waves shrink with age, and R&K count them against a fixed 75 uV, so the same
    sleep holds less stage 4 in older people.

    Parameters
    ----------
    stages : ndarray of int, shape (n_windows,)
        0 W, 1 N1, 2 N2, 3 N3, 4 REM.
    age : float
        Years.
    rng : numpy.random.Generator

    Returns
    -------
    stages : ndarray of int64, shape (n_windows,)
        Codes of the scheme "rk6": 0 W, 1 S1, 2 S2, 3 S3, 4 S4, 5 R.
    depth : ndarray of float64, shape (n_windows,)
        Between 0 and 1, for every window; `physiology` scales the slow waves by it.

    Examples
    --------
    >>> split_deep_sleep(np.array([0, 1, 2, 4]), 30, np.random.default_rng(0))[0]
    array([0, 1, 2, 5])
    """
    n_windows = len(stages)
    # A moving average over 8 windows (4 minutes) of white noise, of unit variance.
    wander = np.convolve(rng.standard_normal(n_windows + 7), np.full(8, 8**-0.5), mode="valid")
    falling = 0.6 - 1.2 * np.arange(n_windows) / max(n_windows, 1)
    depth = 1 / (1 + np.exp(-(wander + falling - 0.5 - (age - 25) / 60)))
    codes = np.array([0, 1, 2, 3, 5])[stages]
    codes[(codes == 3) & (depth > 0.5)] = 4
    return codes, depth


def blur_stages(stages: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """What the body does while a scorer writes one stage every 30 s.

    Each window blends its stage with one that scorers confuse it with; most windows are
    nearly pure, a few are wholly another stage. Changes of stage take half a minute.

    Parameters
    ----------
    stages : ndarray of int, shape (n_windows,)
        0 W, 1 N1, 2 N2, 3 N3, 4 REM.
    share : float
        Mean share of the other stage, between 0 and 1.
    rng : numpy.random.Generator

    Returns
    -------
    shares : ndarray of float64, shape (n_windows * 30, 5)
        Share of each stage in each second; rows sum to one.

    Examples
    --------
    >>> blur_stages(np.array([0, 2]), 0.1, np.random.default_rng(0)).shape
    (60, 5)
    """
    from scipy.ndimage import convolve1d

    choices = _CONFUSION.cumsum(axis=1)[stages, :-1]
    other = (choices < rng.random((len(stages), 1))).sum(axis=1)
    shares = rng.beta(0.7, 0.7 * (1 / share - 1), (len(stages), 1))
    windows = (1 - shares) * np.eye(5)[stages] + shares * np.eye(5)[other]
    kernel = np.hanning(WINDOW_SECONDS + 3)[1:-1]
    seconds = np.repeat(windows, WINDOW_SECONDS, axis=0)
    return convolve1d(seconds, kernel / kernel.sum(), axis=0, mode="nearest")
