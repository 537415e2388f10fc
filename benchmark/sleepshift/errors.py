"""Errors a user can cause: each is one line that says what is wrong and what to do."""

from __future__ import annotations


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
