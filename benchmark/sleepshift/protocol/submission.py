"""How a method's answers to a task are written for others to score."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from sleepshift.protocol.section import Section

__all__ = ["SubmissionSection"]


class SubmissionSection(Section):
    """A file of one line a test window: by subject, then session, then as windows lie there.

    Parameters
    ----------
    fold : str or None
        Whose test people; None takes those of all folds of target people, which must test
        everyone once.
    file : str
        Name of the file inside the archive.
    format : {"codes", "csv"}
        One code a line and no header, or columns subject, session, onset and stage.
    scheme : str or None
        Stages that are written; None is what the task's methods work in.
    n_lines : int or None
        Number of windows, where the task's data have so many by definition.

    Examples
    --------
    >>> SubmissionSection().format
    'csv'
    """

    fold: str | None = None
    file: str = "answer.csv"
    format: Literal["codes", "csv"] = "csv"
    scheme: str | None = None
    n_lines: int | None = Field(default=None, ge=1)

    @field_validator("file")
    @classmethod
    def _is_a_name(cls, file: str) -> str:
        if not file or not file.isprintable() or set(file) & set('/\\:*?"<>|') or file[0] == ".":
            raise ValueError("name a file, without a folder")
        return file
