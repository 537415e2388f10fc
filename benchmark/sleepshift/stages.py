"""Stage schemes and the maps between them.

Recordings keep the finest labels their scorers gave; a task says which scheme its
methods see and which one its primary metrics are computed in. Merging only ever goes
from finer to coarser.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sleepshift.errors import TaskError

__all__ = [
    "SCHEMES",
    "WINDOW_SECONDS",
    "Scheme",
    "convert",
    "epoch_step",
    "get_scheme",
    "merge_map",
]


#: A window is what scorers look at: 30 s with one stage.
WINDOW_SECONDS = 30
# Windows that are closer than this share of their length are around shorter epochs.
_OVERLAP = 0.9


@dataclass(frozen=True)
class Scheme:
    """Names of the stages, in the order of their integer codes.

    Parameters
    ----------
    name : str
        Name used in task files.
    stages : tuple of str
        Stage ``k`` is written as the integer ``k``.
    """

    name: str
    stages: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.stages)


SCHEMES: dict[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme("rk6", ("W", "S1", "S2", "S3", "S4", "R")),
        Scheme("aasm5", ("W", "N1", "N2", "N3", "R")),
        Scheme("stages4", ("W", "Light", "Deep", "R")),
        Scheme("stages3", ("W", "NREM", "R")),
        Scheme("wake-deep", ("W", "N3")),
    )
}

# What each AASM stage is called in a coarser scheme; a stage that is not named is dropped.
_FROM_AASM5 = {
    "aasm5": {"W": "W", "N1": "N1", "N2": "N2", "N3": "N3", "R": "R"},
    "stages4": {"W": "W", "N1": "Light", "N2": "Light", "N3": "Deep", "R": "R"},
    "stages3": {"W": "W", "N1": "NREM", "N2": "NREM", "N3": "NREM", "R": "R"},
    "wake-deep": {"W": "W", "N3": "N3"},
}
_RK6_TO_AASM5 = {"W": "W", "S1": "N1", "S2": "N2", "S3": "N3", "S4": "N3", "R": "R"}


def get_scheme(name: str) -> Scheme:
    """Look a scheme up by name.

    Raises
    ------
    TaskError
        If there is no such scheme.

    Examples
    --------
    >>> get_scheme("aasm5").stages
    ('W', 'N1', 'N2', 'N3', 'R')
    """
    try:
        return SCHEMES[name]
    except KeyError:
        raise TaskError(f"unknown stage scheme {name!r}; use one of {', '.join(SCHEMES)}") from None


def merge_map(source: str, target: str) -> np.ndarray:
    """Codes of `target` for each code of `source`; -1 where a stage is dropped.

    Parameters
    ----------
    source, target : str
        Scheme names; `target` must be the same or coarser.

    Returns
    -------
    codes : ndarray of int64, shape (n_stages of source,)

    Raises
    ------
    TaskError
        If labels of `source` cannot be expressed in `target`.

    Examples
    --------
    >>> merge_map("rk6", "aasm5")
    array([0, 1, 2, 3, 3, 4])
    >>> merge_map("aasm5", "wake-deep")
    array([ 0, -1, -1,  1, -1])
    """
    old, new = get_scheme(source), get_scheme(target)
    if old == new:
        return np.arange(len(old))
    if old.name == "rk6" and target in _FROM_AASM5:
        names = [_FROM_AASM5[target].get(_RK6_TO_AASM5[stage]) for stage in old.stages]
    elif old.name == "aasm5" and target in _FROM_AASM5:
        names = [_FROM_AASM5[target].get(stage) for stage in old.stages]
    else:
        raise TaskError(f"labels in {source!r} cannot be expressed in {target!r}")
    return np.array([-1 if name is None else new.stages.index(name) for name in names])


def convert(y: np.ndarray, source: str, target: str) -> np.ndarray:
    """Express labels in a coarser scheme; -1 stays -1, dropped stages become -1.

    Raises
    ------
    TaskError
        If a label lies outside `source`, or the schemes do not fit.

    Examples
    --------
    >>> convert(np.array([0, 3, 4, 5, -1]), "rk6", "aasm5")
    array([ 0,  3,  3,  4, -1])
    """
    y = np.asarray(y)
    codes = merge_map(source, target)
    if not y.size:
        return y.astype(codes.dtype)
    if y.dtype.kind not in "iu":
        raise TaskError(f"labels must be whole numbers, not {y.dtype}")
    if y.min() < -1 or y.max() >= len(codes):
        raise TaskError(f"labels {y.min()}..{y.max()} lie outside scheme {source!r}")
    return np.append(codes, -1)[y]


def epoch_step(onset: np.ndarray) -> float:
    """Seconds from one epoch to the next: a window's length, or less where windows overlap.

    Parameters
    ----------
    onset : ndarray of float, shape (n_windows,)
        Of one recording, ascending.

    Examples
    --------
    >>> epoch_step(np.array([0.0, 30.0, 90.0])), epoch_step(np.array([5.0, 25.0, 45.0]))
    (30.0, 20.0)
    """
    step = float(np.median(np.diff(onset))) if len(onset) > 1 else WINDOW_SECONDS
    return step if step < _OVERLAP * WINDOW_SECONDS else float(WINDOW_SECONDS)
