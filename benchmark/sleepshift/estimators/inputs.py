"""What estimators accept, and how it is split by person."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.utils import Tags

from sleepshift.windows.windows import Windows

__all__ = [
    "as_fitted",
    "as_labelled",
    "as_view",
    "as_windows",
    "encode",
    "labels_of",
    "split_people",
    "split_positions",
]

_VOLTAGES = ("eeg", "eog", "emg", "ecg", "seeg", "ecog")


class TakesWindows:
    """Tells scikit-learn that X is (n_windows, n_channels, n_times)."""

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        return tags


def as_windows(X: Any, *, sfreq: float | None = None) -> Windows:
    """Read X as `Windows`.

    Parameters
    ----------
    X : Windows, ndarray (n, channels, times), Braindecode windows dataset or MNE Epochs
        As Braindecode's own classifiers take them: Epochs in microvolts, all else as it is.
    sfreq : float or None
        Rate of a plain array; None means that its last axis holds features.

    Raises
    ------
    ValueError
        If X is none of these, or holds no windows.
    """
    windows = _read(X, sfreq)
    if not len(windows):
        raise ValueError("X holds no windows")
    return windows


def _read(X: Any, sfreq: float | None) -> Windows:
    if isinstance(X, Windows):
        return X
    if hasattr(X, "datasets") and hasattr(X, "get_metadata"):
        return Windows.from_braindecode(X)
    if hasattr(X, "get_data") and hasattr(X, "info"):
        units = {kind: "uV" for kind in X.get_channel_types(unique=True) if kind in _VOLTAGES}
        return Windows.from_arrays(
            X.get_data(units=units), ch_names=X.ch_names, sfreq=float(X.info["sfreq"])
        )
    array = np.asarray(X)
    if array.ndim != 3 or array.dtype.kind not in "fiu":
        raise ValueError(
            "X must be Windows, a numeric array (n_windows, n_channels, n_times), a Braindecode "
            f"windows dataset or MNE Epochs; got {type(X).__name__} of shape {array.shape}"
        )
    return Windows.from_arrays(array, sfreq=sfreq)


def as_fitted(X: Any, estimator: Any) -> Windows:
    """Read X as the view that an estimator was fitted on.

    Channels are picked by name; those of plain arrays have none and go by position, unless
    the estimator's ``channels`` chose some of them by number.

    Raises
    ------
    ValueError
        If X has another rate, length or number of channels.
    """
    chosen = getattr(estimator, "channels", None) is not None
    return _in_view(X, estimator.ch_names_, estimator.sfreq_, estimator.n_times_, chosen)


def as_view(X: Any, view: Windows, channels: Any) -> Windows:
    """Read X as the view that windows are of, which an estimator is about to be fitted on.

    Parameters
    ----------
    X : as in `as_windows`
    view : Windows
    channels : sequence or None
        What the estimator chose of them; see `as_fitted`.

    Returns
    -------
    Windows

    Raises
    ------
    ValueError
        If X has another rate, length or number of channels.
    """
    return _in_view(X, view.ch_names, view.sfreq, view.shape[2], channels is not None)


def _in_view(
    X: Any, ch_names: tuple[str, ...], sfreq: float | None, n_times: int, chosen: bool
) -> Windows:
    windows = as_windows(X, sfreq=sfreq)
    if windows.sfreq != sfreq:
        raise ValueError(f"X is at {windows.sfreq} Hz; fitted at {sfreq} Hz")
    if windows.shape[2] != n_times:
        raise ValueError(f"windows of X hold {windows.shape[2]} values; fitted on {n_times}")
    numbers = tuple(str(k) for k in range(windows.shape[1]))
    if windows.ch_names != numbers or (chosen and set(ch_names) <= set(numbers)):
        return windows.pick(ch_names)
    if len(numbers) != len(ch_names):
        raise ValueError(
            f"X has {len(numbers)} channels; fitted on {len(ch_names)}: {', '.join(ch_names)}"
        )
    return windows


def as_labelled(
    X: Any, y: Any, *, sfreq: float | None = None
) -> tuple[Windows, np.ndarray, np.ndarray]:
    """Read X and y; y may be left out where X carries labels.

    Returns
    -------
    windows : Windows
    y : ndarray, shape (n_windows,)
    classes : ndarray
        All stages of the scheme where there is one, whether or not they occur; else the
        sorted labels that occur.

    Raises
    ------
    ValueError
        If there are no labels, or not one a window.
    """
    windows = as_windows(X, sfreq=sfreq)
    if y is None:
        if not windows.has_labels:
            raise ValueError("y is missing, and X carries no labels")
        y = windows.y
    y = np.asarray(y)
    if y.shape != (len(windows),):
        raise ValueError(f"y has shape {y.shape} for {len(windows)} windows")
    if windows.scheme is not None:
        from sleepshift.stages import get_scheme

        return windows, y, np.arange(len(get_scheme(windows.scheme)))
    return windows, y, np.unique(y)


def encode(windows: Windows, y: np.ndarray, classes: np.ndarray) -> Windows:
    """Windows whose labels are positions in `classes`.

    Raises
    ------
    ValueError
        If a label is not among the classes.
    """
    codes = np.searchsorted(classes, y).clip(max=len(classes) - 1)
    if not np.array_equal(classes[codes], y):
        strange = sorted(set(y.tolist()) - set(classes.tolist()))
        raise ValueError(f"labels {strange} are not among the classes {classes.tolist()}")
    return windows.with_labels(codes.astype(np.int64))


def split_people(
    windows: Windows, share: float, seed: int, *, stratify: bool = True
) -> tuple[Windows, Windows | None]:
    """Set a share of the people aside for validation; see `split_positions`."""
    train, valid = split_positions(windows, share, seed, stratify=stratify)
    return windows[train], None if valid is None else windows[valid]


def split_positions(
    windows: Windows, share: float, seed: int, *, stratify: bool = True
) -> tuple[np.ndarray, np.ndarray | None]:
    """Positions of the windows to train on and of those to validate on.

    Parameters
    ----------
    windows : Windows
        Labels are only needed where people are not known and `stratify` is true.
    share : float
        Share of the people, rounded, at least one of them; 0 sets nobody aside.
    seed : int
        Who is set aside depends on this and on the people alone.

    Returns
    -------
    train, valid : ndarray of int, ndarray of int or None
        `valid` is None with a share of 0, or where there is one person only. Windows
        that do not say whose they are are split at random by label.

    Raises
    ------
    ValueError
        If `share` is not in [0, 1).
    """
    if not 0 <= share < 1:
        raise ValueError(f"valid_size is a share of the people from 0 to below 1, not {share}")
    everything = np.arange(len(windows))
    if share == 0:
        return everything, None
    subjects = windows.subjects
    if subjects is None:
        labels = windows.y if stratify else np.zeros(len(windows))
        _, counts = np.unique(labels, return_counts=True)
        n_valid = max(int(np.ceil(share * len(windows))), len(counts))
        if counts.min() < 2 or n_valid > len(windows) - len(counts):
            return everything, None
        splitter = StratifiedShuffleSplit(1, test_size=n_valid, random_state=seed)
        train, valid = next(splitter.split(labels, labels))
        return np.sort(train), np.sort(valid)
    people = np.unique(subjects)
    if len(people) < 2:
        return everything, None
    n_valid = min(max(1, round(share * len(people))), len(people) - 1)
    held = np.random.default_rng(seed).choice(people, n_valid, replace=False)
    aside = np.isin(subjects, held)
    return np.flatnonzero(~aside), np.flatnonzero(aside)


def labels_of(X: Any, y: Any) -> Any:
    """Labels to learn from: y, or those that X carries.

    Raises
    ------
    ValueError
        If there are none, or some are withheld.
    """
    if y is None and not isinstance(X, Windows):
        raise ValueError("labels are missing, and these windows carry none")
    y = X.y if y is None else y
    if isinstance(X, Windows) and X.scheme is not None and len(y) and np.min(y) < 0:
        raise ValueError("some labels are withheld (-1); nothing can be learned from them")
    return y
