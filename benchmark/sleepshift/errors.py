"""Errors a user can cause: each is one line that says what is wrong and what to do."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path


def one_line(error: BaseException, limit: int | None = None) -> str:
    """Another library's error in one line, its name where it says nothing."""
    return " ".join(str(error).split())[:limit] or type(error).__name__


class SleepShiftError(Exception):
    """Something the user can mend; the command line prints it and exits with code 2."""


class DataError(SleepShiftError):
    """One recording (or the folder it lies in) cannot be used; ``--skip-bad`` leaves it out."""


class TaskError(SleepShiftError):
    """A task file, or what it asks of the data at hand, does not hold."""


class LeakageError(SleepShiftError):
    """The same person, or the same window, is on both sides of a split."""


class GridError(SleepShiftError):
    """A table cannot be made from the cells at hand."""


class AnswerError(SleepShiftError):
    """A file of answers, or of the truth they are held against, cannot be used."""


class StorageError(SleepShiftError):
    """Nothing more can be written where a run keeps what it has finished."""


class ClusterError(SleepShiftError):
    """Dask's scheduler or its workers cannot do what is asked."""


class DamageWarning(UserWarning):
    """Something stored was damaged; it was set aside and is made again."""


_FULL = {errno.ENOSPC, errno.EDQUOT}
_CLOSED = {errno.EROFS, errno.EACCES, errno.EPERM}
_GONE = {errno.ESTALE, errno.EIO, errno.ENOTCONN}


def _within(name: str, root: Path) -> bool:
    return Path(name).resolve().is_relative_to(root.resolve())


@contextlib.contextmanager
def storage(root: Path) -> Iterator[None]:
    """Say in one line that a folder takes nothing more.

    Parameters
    ----------
    root : Path
        The folder; errors about files elsewhere pass as they are.

    Raises
    ------
    StorageError
        Where the disk is full, read-only or gone. Other errors pass as they are.

    Examples
    --------
    >>> with storage(Path("runs")):
    ...     raise OSError(errno.ENOSPC, "no space left on device")
    Traceback (most recent call last):
    sleepshift.errors.StorageError: runs: the disk is full; free some space and run again
    """
    try:
        yield
    except OSError as error:
        # What cannot be read of the user's recordings is not this folder's fault.
        if isinstance(error.filename, str) and not _within(error.filename, root):
            raise
        if error.errno in _FULL:
            said = "the disk is full; free some space and run again"
        elif error.errno in _CLOSED:
            said = f"it cannot be written to ({error.strerror}); choose another folder with --out"
        elif error.errno in _GONE:
            said = f"the disk does not answer ({error.strerror}); run again when it does"
        else:
            raise
        raise StorageError(f"{root}: {said}") from error
