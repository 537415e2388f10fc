"""Channels computed from electrodes: the mean of some minus the mean of others."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from sleepshift.errors import DataError, TaskError

__all__ = ["Derivation", "check_derivations", "derive", "lost_derivations"]


@dataclass(frozen=True)
class Derivation:
    """A channel made of electrodes that share a reference.

    Parameters
    ----------
    name : str
        What the channel is called; none of its electrodes may be called so.
    plus : tuple of str
        Electrodes whose mean is taken.
    minus : tuple of str
        Electrodes whose mean is taken away; none leaves the reference of the recording.

    Raises
    ------
    TaskError
        If `plus` is empty, an electrode is named twice, or the name is an electrode's.

    Examples
    --------
    >>> Derivation("C3-O1", ("C3",), ("O1",)).electrodes
    ('C3', 'O1')
    """

    name: str
    plus: tuple[str, ...]
    minus: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.plus, str) or isinstance(self.minus, str):
            raise TaskError(f"derivation {self.name!r}: list its electrodes, as ['C3']")
        object.__setattr__(self, "plus", tuple(self.plus))
        object.__setattr__(self, "minus", tuple(self.minus))
        if not self.plus:
            raise TaskError(f"derivation {self.name!r}: plus names no electrode")
        if both := [name for name in self.plus if name in self.minus]:
            raise TaskError(f"derivation {self.name!r}: electrode {both[0]!r} is on both sides")
        for side in (self.plus, self.minus):
            if twice := [name for name in side if side.count(name) > 1]:
                raise TaskError(f"derivation {self.name!r}: electrode {twice[0]!r} is named twice")
        if self.name in self.electrodes:
            raise TaskError(f"derivation {self.name!r} is named like one of its electrodes")

    @property
    def electrodes(self) -> tuple[str, ...]:
        """Electrodes of both sides."""
        return self.plus + self.minus

    def kept(self, bads: Collection[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Electrodes of either side that are not bad."""
        plus, minus = (
            tuple(name for name in side if name not in bads) for side in (self.plus, self.minus)
        )
        return plus, minus


def check_derivations(derivations: Sequence[Derivation]) -> None:
    """Refuse derivations that cannot be told from each other or from electrodes.

    Raises
    ------
    TaskError
    """
    names = [derivation.name for derivation in derivations]
    if twice := [name for name in names if names.count(name) > 1]:
        raise TaskError(f"there are two derivations {twice[0]!r}")
    for derivation in derivations:
        if clash := [name for name in derivation.electrodes if name in names]:
            raise TaskError(f"derivation {clash[0]!r} is named like an electrode")


def lost_derivations(derivations: Sequence[Derivation], bads: Collection[str]) -> tuple[str, ...]:
    """Names of the derivations that have a side on which every electrode is bad."""
    return tuple(
        derivation.name
        for derivation in derivations
        if any(
            side and not kept
            for side, kept in zip(
                (derivation.plus, derivation.minus), derivation.kept(bads), strict=True
            )
        )
    )


def derive(
    signals: np.ndarray,
    ch_names: Sequence[str],
    derivations: Sequence[Derivation],
    *,
    bads: Collection[str] = (),
    empty: str = "raise",
) -> np.ndarray:
    """Compute derivations from electrodes.

    Parameters
    ----------
    signals : ndarray, shape (..., n_electrodes, n_times)
    ch_names : sequence of str
        Electrode of each row.
    derivations : sequence of Derivation
    bads : collection of str
        Electrodes that take no part, whatever they hold, as in ``raw.info["bads"]``: a mean
        is over the electrodes that are left.
    empty : {"raise", "zeros"}
        What becomes of a derivation that has a side on which every electrode is bad.

    Returns
    -------
    ndarray of float, shape (..., n_derivations, n_times)
        Single precision where `signals` are.

    Raises
    ------
    DataError
        If an electrode is not there, or all of a side are bad and `empty` is ``"raise"``.

    Examples
    --------
    >>> ear = Derivation("L", ("ELA", "ELB"), ("ELE",))
    >>> derive(np.array([[1.0], [3.0], [5.0]]), ("ELA", "ELB", "ELE"), [ear])
    array([[-3.]])
    >>> derive(np.array([[1.0], [np.nan], [5.0]]), ("ELA", "ELB", "ELE"), [ear], bads=["ELB"])
    array([[-4.]])
    """
    if empty not in ("raise", "zeros"):
        raise TaskError(f"an empty derivation can 'raise' or be 'zeros', not {empty!r}")
    if signals.shape[-2] != len(ch_names):
        raise DataError(f"{signals.shape[-2]} electrodes have {len(ch_names)} names")
    row = {name: k for k, name in enumerate(ch_names)}
    lost = lost_derivations(derivations, bads)
    shape = (*signals.shape[:-2], len(derivations), signals.shape[-1])
    derived = np.zeros(shape, np.result_type(signals.dtype, np.float32))
    for k, derivation in enumerate(derivations):
        if absent := [name for name in derivation.electrodes if name not in row]:
            raise DataError(f"derivation {derivation.name!r}: there is no electrode {absent[0]!r}")
        if derivation.name in lost:
            if empty == "raise":
                raise DataError(_why_lost(derivation, bads))
            continue
        # Electrode by electrode: a product of matrices would let gaps of others leak in as 0*NaN.
        for side, sign in zip(derivation.kept(bads), (1.0, -1.0), strict=True):
            for name in side:
                derived[..., k, :] += signals[..., row[name], :] * (sign / len(side))
    return derived


def _why_lost(derivation: Derivation, bads: Collection[str]) -> str:
    side = derivation.minus if derivation.kept(bads)[0] else derivation.plus
    names = ", ".join(side)
    return f"derivation {derivation.name!r}: every electrode of one side is bad ({names})"
