"""A teacher's outputs: computed once for a set of windows, looked up batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from sleepshift.errors import DataError
from sleepshift.models.taps import Groups
from sleepshift.windows.sequences import Sequences
from sleepshift.windows.windows import Windows

__all__ = ["Joined", "WithOutputs", "teacher_outputs"]

_FLOOR = 1e-12


def teacher_outputs(
    teacher: Any,
    windows: Windows,
    kinds: Iterable[str],
    *,
    attention: Groups = (),
    cache: str | Path | None = None,
) -> dict[str, np.ndarray]:
    """What a fitted teacher computes of its view of the windows, in evaluation mode.

    Parameters
    ----------
    teacher : fitted estimator
        With ``read_out``; of any other classifier only the logarithm of its probabilities
        can be had, as ``"logits"``.
    windows : Windows
        Labels are not looked at.
    kinds : iterable of str
        Some of `sleepshift.models.taps.KINDS`.
    attention : sequence of sequences of str
        Groups of submodules whose maps are compared.
    cache : str, Path or None
        Folder where a network's outputs are kept; see `sleepshift.estimators.cache`. None
        keeps nothing.

    Returns
    -------
    dict of str to ndarray of float32, shape (n_windows, ...)
        Memory-mapped where they come from `cache`.

    Raises
    ------
    DataError
        If the windows are not paired with the teacher's view.
    """
    kinds, windows = sorted(set(kinds)), windows.without_labels()
    if not kinds:
        return {}
    needed = getattr(teacher, "ch_names_", ())
    numbered = all(name.isdecimal() for name in windows.ch_names)
    if not numbered and (missing := [c for c in needed if c not in windows.ch_names]):
        raise DataError(
            f"unpaired windows: the teacher sees channel {missing[0]!r}, these windows have only "
            f"{', '.join(windows.ch_names)}; join both views with Windows.paired"
        )
    if hasattr(teacher, "read_out"):
        return teacher.read_out(windows, kinds, attention=attention, cache=cache)
    if set(kinds) - {"logits"}:
        raise ValueError(
            f"the teacher is no network, so it has no {', '.join(set(kinds) - {'logits'})}; "
            "distil its probabilities"
        )
    probabilities = teacher.predict_proba(windows)
    return {"logits": np.log(probabilities.clip(_FLOOR)).astype(np.float32)}


class Joined(Dataset):
    """Windows or sequences of several views, one after the other, wherever they are kept.

    Parameters
    ----------
    parts : sequence of Windows or of Sequences
        Positions go on from part to part; labels are not given.
    """

    def __init__(self, parts: Sequence[Windows | Sequences]) -> None:
        self.parts = parts
        sizes = [len(p.windows if isinstance(p, Sequences) else p) for p in parts]
        self._first = np.cumsum([0, *sizes])
        self._begin = np.cumsum([0, *(len(part) for part in parts)])

    def __len__(self) -> int:
        return int(self._begin[-1])

    def __getitem__(self, i: int) -> Any:
        return self.__getitems__([i])

    def __getitems__(self, indices: Sequence[int]) -> tuple[torch.Tensor, None, torch.Tensor]:
        wanted = np.asarray(indices)
        owner = np.searchsorted(self._begin, wanted, side="right") - 1
        signals, positions = [], []
        for k in np.unique(owner):
            x, _, own = self.parts[k].__getitems__(wanted[owner == k] - self._begin[k])
            signals.append(x)
            positions.append(torch.where(own >= 0, own + self._first[k], -1))
        order = torch.from_numpy(np.argsort(np.argsort(owner, kind="stable"), kind="stable"))
        return torch.cat(signals)[order], None, torch.cat(positions)[order]


class WithOutputs(Dataset):
    """Windows, or sequences of them, whose target holds the teacher's outputs too.

    Parameters
    ----------
    data : Windows, Sequences or Joined
    rows : ndarray of int, shape (n_windows,)
        Row of each of the windows in the arrays that follow.
    outputs : mapping of str to ndarray, shape (n_rows, ...)
    codes : ndarray of int, shape (n_rows,)
        Labels; -1 where there is none.

    Notes
    -----
    A batch is (x, target, positions). The target's tensors have one row for each window of
    the batch: ``codes``, ``present`` (false for the filling of short sequences), and the
    outputs by name.
    """

    def __init__(
        self,
        data: Windows | Sequences | Joined,
        rows: np.ndarray,
        outputs: Mapping[str, np.ndarray],
        codes: np.ndarray,
    ) -> None:
        self.data = data
        self.rows = rows
        self.outputs = outputs
        self.codes = codes

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, i: int) -> Any:
        return self.__getitems__([i])

    def __getitems__(self, indices: Sequence[int]) -> tuple[Any, ...]:
        x, _, positions = self.data.__getitems__(indices)
        flat = positions.flatten().numpy()
        rows = self.rows[flat.clip(0)]
        codes = np.where(flat >= 0, self.codes[rows], -1).astype(np.int64)
        target = {"codes": torch.from_numpy(codes), "present": torch.from_numpy(flat >= 0)}
        target |= {name: torch.from_numpy(array[rows]) for name, array in self.outputs.items()}
        return x, target, positions
