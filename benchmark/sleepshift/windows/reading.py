"""Read rows of a memory-mapped array that is too large to be held in memory."""

from __future__ import annotations

import mmap
import os
import weakref

import numpy as np

from sleepshift.errors import DataError

__all__ = ["RowReader"]

#: Largest file whose pages are read through its map, in bytes.
LIMIT = 512 * 2**20


class RowReader:
    """Copies rows from the file of a memory-mapped array, past its map.

    Pages read through a map stay with the process until the kernel is short of memory, and
    a kernel maps their neighbours with them: training on a store larger than memory would
    look, to schedulers too, as if all of it were held. Giving the pages back now and then
    costs more, since they are then mapped again one by one.

    Parameters
    ----------
    array : memmap, shape (n_rows, n_channels, n_times)
        All of a file, or all behind its header, in C order.

    Raises
    ------
    OSError
        If the file cannot be opened.
    """

    def __init__(self, array: np.memmap) -> None:
        self._array = array
        self._file = os.open(str(array.filename), os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)

    @classmethod
    def of(cls, array: np.ndarray) -> RowReader | None:
        """That of a whole read-only file larger than `LIMIT`; None for all other arrays."""
        if not isinstance(array, np.memmap) or array.mode != "r" or array.nbytes <= LIMIT:
            return None
        whole = isinstance(array.base, mmap.mmap) and array.flags.c_contiguous
        return cls(array) if whole and hasattr(os, "preadv") else None

    def _fill(self, place: memoryview, start: int) -> None:
        """Read until it is full: a network's disk may give less at once."""
        while place:
            n_read = os.preadv(self._file, (place,), start)
            if not n_read:
                name = self._array.filename
                raise DataError(f"{name} has become shorter; prepare the task again")
            place, start = place[n_read:], start + n_read

    def __call__(self, rows: np.ndarray, channels: np.ndarray | None = None) -> np.ndarray:
        """Copy of ``array[rows]``, or of some of its channels, shape (n, n_channels, n_times).

        Raises
        ------
        DataError
            If the file has become shorter.
        """
        array = self._array
        picks = np.arange(array.shape[1]) if channels is None else channels
        low, high = picks.min(), picks.max() + 1
        found = np.empty((len(rows), high - low, array.shape[2]), array.dtype)
        place = array.offset + rows * array.strides[0] + low * array.strides[1]
        content, size = found.reshape(-1).view(np.uint8).data, found[:1].nbytes
        for k, start in enumerate(place.tolist()):
            self._fill(content[k * size : (k + 1) * size], start)
        span = np.arange(low, high)
        return found if np.array_equal(picks, span) else found[:, picks - low]
