"""`Windows`: the one view of 30-s windows that every estimator takes."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset

from sleepshift.digest import digest, digest_array
from sleepshift.errors import DataError
from sleepshift.stages import convert, get_scheme
from sleepshift.windows.reading import RowReader

__all__ = ["Windows", "identity_collate"]


def identity_collate(batch: Any) -> Any:
    """Pass on a batch that `Windows.__getitems__` already made."""
    return batch


class Windows(Dataset):
    """Labelled windows: array-like for scikit-learn, a torch Dataset for skorch.

    Indexing with an integer gives one torch item ``(x, y, i)``; indexing with a slice, a
    mask or an index array gives another `Windows`, cheaply: signals stay where they are
    until a batch is asked for.

    Parameters
    ----------
    signals : ndarray of float32, shape (n_rows, n_channels, n_times)
        Usually a memory-mapped file. The last axis holds samples, or features per channel
        where `sfreq` is None.
    metadata : DataFrame with n_rows rows, or None
        ``subject, session, age, sex, onset`` (seconds from the start of the recording),
        and what packing measured (``digest, flat, nan``). It never holds labels.
    y : ndarray of int, shape (n_rows,), or None
        Codes of `scheme`, -1 where the dataset withholds the label; None where labels are
        withheld from whoever gets these windows.
    ch_names : sequence of str
    sfreq : float or None
    scheme : str or None
        Stage scheme of `y`; None for labels of the user's own.
    name : str or None
        Name of the store, which identifies the content.

    Examples
    --------
    >>> windows = Windows.from_arrays(np.zeros((4, 2, 300)), [0, 1, 1, 0], sfreq=10.0)
    >>> len(windows), windows.shape, windows[[1, 2]].y.tolist()
    (4, (4, 2, 300), [1, 1])
    """

    def __init__(
        self,
        signals: np.ndarray,
        metadata: pd.DataFrame | None = None,
        y: np.ndarray | None = None,
        *,
        ch_names: Sequence[str],
        sfreq: float | None,
        scheme: str | None = None,
        name: str | None = None,
    ) -> None:
        if signals.ndim != 3:
            raise ValueError(f"windows are (n, channels, times), not {signals.ndim}-dimensional")
        if len(ch_names) != signals.shape[1]:
            raise ValueError(f"{len(ch_names)} names for {signals.shape[1]} channels")
        if len(set(ch_names)) < len(ch_names):
            raise ValueError(f"two channels have the same name: {', '.join(ch_names)}")
        if y is not None and len(y) != len(signals):
            raise ValueError(f"{len(y)} labels for {len(signals)} windows")
        if metadata is None:
            metadata = pd.DataFrame(index=pd.RangeIndex(len(signals)))
        if len(metadata) != len(signals):
            raise ValueError(f"{len(metadata)} rows of metadata for {len(signals)} windows")
        self._signals = signals
        self._reader = RowReader.of(signals)
        self._frame = metadata.reset_index(drop=True)
        #: One for each of `rows`, so that no view holds labels of windows it does not have.
        self._labels = None if y is None else np.asarray(y)
        self._picks: np.ndarray | None = None
        self._fingerprint: str | None = None
        self.name = name
        self.rows = np.arange(len(signals))
        self.ch_names = tuple(ch_names)
        self.sfreq = sfreq
        self.scheme = scheme

    # ------------------------------------------------------------------ where they come from

    @classmethod
    def from_arrays(
        cls,
        X: np.ndarray,
        y: Any = None,
        *,
        metadata: pd.DataFrame | None = None,
        ch_names: Sequence[str] | None = None,
        sfreq: float | None = None,
        scheme: str | None = None,
    ) -> Windows:
        """Wrap arrays held in memory; channels are numbered where names are not given."""
        X = np.ascontiguousarray(X, dtype=np.float32)
        if X.ndim != 3:
            raise ValueError(f"X must be (n_windows, n_channels, n_times), got shape {X.shape}")
        names = [str(k) for k in range(X.shape[1])] if ch_names is None else ch_names
        labels = None if y is None else np.asarray(y)
        return cls(X, metadata, labels, ch_names=names, sfreq=sfreq, scheme=scheme)

    @classmethod
    def from_braindecode(cls, concat: Any, *, scheme: str | None = None) -> Windows:
        """Copy a Braindecode `BaseConcatDataset` of windows into memory.

        The description's ``recording`` column is read as the session, as Braindecode's own
        Sleep-EDF has it. Onsets come from the windows' start samples. Channels are taken by
        name, in the order of the first recording.

        Raises
        ------
        ValueError
            If the recordings differ in channels or rate.
        """
        from sleepshift.windows.braindecode import from_braindecode

        return from_braindecode(concat, scheme)

    def to_braindecode(self) -> Any:
        """Copy to a Braindecode `BaseConcatDataset`, one windows dataset per recording.

        Raises
        ------
        ValueError
            If the last axis holds features: MNE knows no such windows.
        """
        from sleepshift.windows.braindecode import to_braindecode

        return to_braindecode(self)

    # ------------------------------------------------------------------ what they are

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        labels = "labelled" if self.has_labels else "labels withheld"
        return f"<Windows {self.shape}, {', '.join(self.ch_names)}, {labels}>"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_windows, n_channels, n_times)."""
        return (len(self.rows), len(self.ch_names), self._signals.shape[2])

    @property
    def ndim(self) -> int:
        """Always 3."""
        return 3

    @property
    def dtype(self) -> np.dtype:
        """float32."""
        return self._signals.dtype

    @property
    def kind(self) -> str:
        """``"signal"``, or ``"features"`` where the last axis holds features per channel."""
        return "features" if self.sfreq is None else "signal"

    @property
    def has_labels(self) -> bool:
        """Whether `y` can be read."""
        return self._labels is not None

    @property
    def y(self) -> np.ndarray:
        """Labels, shape (n_windows,); raises where they are withheld."""
        if self._labels is None:
            raise DataError("the labels of these windows are withheld")
        return self._labels.copy()

    def shares_store(self, other: Windows) -> bool:
        """Whether equal `rows` of both are the same windows."""
        same_name = self.name is not None and self.name == other.name
        return same_name or self._signals is other._signals

    def labels_of(self, view: Windows) -> np.ndarray:
        """Labels of another view of the same store, however that view withholds them.

        Raises
        ------
        DataError
            If a window of that view is not among these, or these have no labels.
        """
        if self._labels is None or not self.shares_store(view):
            raise DataError("these windows hold no labels for that view")
        position = np.full(len(self._signals), -1)
        position[self.rows] = np.arange(len(self))
        if (position[view.rows] < 0).any():
            raise DataError("these windows hold no labels for that view")
        return self._labels[position[view.rows]]

    @property
    def metadata(self) -> pd.DataFrame:
        """One row a window, numbered from 0; never the labels."""
        return self._frame.iloc[self.rows].reset_index(drop=True)

    @property
    def subjects(self) -> np.ndarray | None:
        """Person of each window as str, shape (n_windows,); None where unknown."""
        if "subject" not in self._frame:
            return None
        return self._frame["subject"].to_numpy()[self.rows]

    @property
    def ordered(self) -> bool:
        """Whether the time of every window in its recording is known."""
        if "onset" not in self._frame:
            return False
        return bool(np.isfinite(self._frame["onset"].to_numpy()[self.rows]).all())

    @property
    def fingerprint(self) -> str:
        """Hash of what these windows hold: content, rows, channels, labels or none.

        That of a store is remembered; arrays in memory are read anew, since they can change.
        """
        if self._fingerprint is not None:
            return self._fingerprint
        content: Any = self.name
        if content is None:  # a store's name covers all of this
            people = self._frame.to_json(orient="split", double_precision=15)
            picks = None if self._picks is None else self._picks.tolist()
            content = [digest_array(np.asarray(self._signals)), people, self.sfreq, picks]
        labels = None if self._labels is None else digest_array(self._labels)
        found = digest([content, digest_array(self.rows), self.ch_names, labels, self.scheme])
        if self.name is not None:
            self._fingerprint = found
        return found

    # ------------------------------------------------------------------ other views

    def _view(self) -> Self:
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        new._fingerprint = None
        return new

    def __getstate__(self) -> dict[str, Any]:
        """Pickle a memory-mapped file by its path: signals stay on disk."""
        state, signals = self.__dict__.copy(), self._signals
        del state["_reader"]
        if isinstance(signals, np.memmap) and isinstance(signals.base, mmap.mmap):
            path = Path(str(signals.filename))
            state["_signals"] = (path, signals.dtype, signals.offset, signals.shape)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if isinstance(state["_signals"], tuple):
            path, dtype, offset, shape = state["_signals"]
            try:
                signals = np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape)
            except (OSError, ValueError) as error:
                raise DataError(f"{path} cannot be opened again ({error})") from None
            state = {**state, "_signals": signals}
        self.__dict__.update(state)
        self._reader = RowReader.of(self._signals)

    def take(self, rows: np.ndarray) -> Windows:
        """Windows of these positions (of this view, not of the store), in their order."""
        new = self._view()
        new.rows = self.rows[rows]
        new._labels = None if self._labels is None else self._labels[rows]
        return new

    def pick(self, channels: Sequence[str] | None) -> Windows:
        """Only the named channels, in that order; None keeps all.

        Raises
        ------
        DataError
            If a channel is not there.
        """
        if channels is None or tuple(channels) == self.ch_names:
            return self
        if missing := [name for name in channels if name not in self.ch_names]:
            raise DataError(f"no channel {missing[0]!r}; there are {', '.join(self.ch_names)}")
        new = self._view()
        picks = np.arange(len(self.ch_names)) if self._picks is None else self._picks
        new._picks = picks[[self.ch_names.index(name) for name in channels]]
        new.ch_names = tuple(channels)
        return new

    def without_labels(self) -> Windows:
        """The same signals with the labels out of reach."""
        new = self._view()
        new._labels = None
        return new

    def with_labels(self, y: Any) -> Windows:
        """The same signals with other labels, one for each window of this view."""
        labels = np.array(y)
        if labels.shape != (len(self),):
            raise ValueError(f"labels of shape {labels.shape} for {len(self)} windows")
        new = self._view()
        new._labels = labels
        return new

    def to_scheme(self, scheme: str) -> Windows:
        """Labels merged into a coarser scheme; windows it has no stage for are left out.

        Windows whose label the dataset withholds (-1) stay.
        """
        if scheme == self.scheme:
            return self
        if self.scheme is None:
            raise ValueError("these windows do not state a stage scheme")
        y = convert(self.y, self.scheme, scheme)
        new = self.with_labels(y).take(np.flatnonzero((y >= 0) | (self.y < 0)))
        new.scheme = get_scheme(scheme).name
        return new

    @staticmethod
    def concat(parts: Sequence[Windows]) -> Windows:
        """Join views of one store (row lists are joined) or of different arrays (copied).

        Raises
        ------
        ValueError
            If channels, rates or the stage schemes of labels differ.
        """
        if not parts:
            raise ValueError("there are no windows to join")
        first = parts[0]
        if any(part.ch_names != first.ch_names or part.sfreq != first.sfreq for part in parts):
            raise ValueError("windows of different channels or rates cannot be joined")
        labelled = all(part.has_labels for part in parts)
        if labelled and any(part.scheme != first.scheme for part in parts):
            raise ValueError("labels in different stage schemes cannot be joined")
        labels = np.concatenate([part.y for part in parts]) if labelled else None
        if all(part.shares_store(first) for part in parts):
            new = first._view()
            new._labels = labels
            new.rows = np.concatenate([part.rows for part in parts])
            return new
        return Windows.from_arrays(
            np.concatenate([np.asarray(part) for part in parts]),
            labels,
            metadata=pd.concat([part.metadata for part in parts], ignore_index=True),
            ch_names=first.ch_names,
            sfreq=first.sfreq,
            scheme=first.scheme,
        )

    @staticmethod
    def paired(first: Windows, second: Windows) -> Windows:
        """Join the channels of two views of the same nights (copied), window by window.

        Parameters
        ----------
        first, second : Windows
            Of two devices, say. Windows are the same if person, session and onset are.
            Labels are those of `first`.

        Raises
        ------
        DataError
            If a window of either has no partner, rates or lengths differ, or a channel is in
            both.

        Examples
        --------
        >>> night = pd.DataFrame({"subject": "a", "session": "1", "onset": [0.0, 30.0]})
        >>> scalp = Windows.from_arrays(np.zeros((2, 1, 9)), metadata=night, ch_names=["C3"])
        >>> ear = Windows.from_arrays(np.zeros((2, 1, 9)), metadata=night, ch_names=["ELA"])
        >>> Windows.paired(scalp, ear[::-1]).ch_names
        ('C3', 'ELA')
        """
        from sleepshift.windows.pairing import paired

        return paired(first, second)

    # ------------------------------------------------------------------ reading

    def _read(self, rows: np.ndarray) -> np.ndarray:
        if self._reader is not None:
            return self._reader(rows, self._picks)
        if self._picks is None:
            return np.asarray(self._signals[rows])
        return np.asarray(self._signals[rows[:, None], self._picks])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("windows are read from their store, which always copies")
        return np.ascontiguousarray(self._read(self.rows), dtype=dtype)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, tuple):  # scikit-learn indexes as array[key, ...]
            if len(index) != 2 or index[1] is not Ellipsis:
                raise IndexError("windows are indexed along their first axis only")
            index = index[0]
        if isinstance(index, (int, np.integer)):
            x, y, i = self.__getitems__([range(len(self))[index]])
            return x[0], y[0], i[0]
        positions = np.arange(len(self))[index]
        if positions.ndim != 1:
            raise IndexError("windows are indexed by an integer, a slice, a mask or a list")
        return self.take(positions)

    def __getitems__(self, indices: Sequence[int] | np.ndarray) -> tuple[torch.Tensor, ...]:
        """Fetch a whole batch by one fancy index: signals, labels (-1 if withheld), positions."""
        positions = np.asarray(indices, dtype=np.int64)
        rows = self.rows[positions]
        x = torch.from_numpy(self._read(rows))
        if self._labels is None:
            y = torch.full((len(rows),), -1, dtype=torch.int64)
        else:
            y = torch.from_numpy(self._labels[positions].astype(np.int64))
        return x, y, torch.from_numpy(positions)
