"""``participants.tsv``: who is in which file of a folder."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

from sleepshift.datasets.base import Recording
from sleepshift.datasets.tables import UNKNOWN, age_of, read_table, sex_of
from sleepshift.errors import DataError

__all__ = ["read_participants"]

_NEEDS = "it must hold tab-separated columns file and subject (and session, age, sex)"


def read_participants(folder: Path, name: str = "participants.tsv") -> list[Recording]:
    """Read who is in which file; whether the files are there is not looked at.

    Parameters
    ----------
    folder : Path
        Folder of the table; its column ``file`` is relative to it.
    name : str
        Tab-separated, in UTF-8, with columns ``file`` and ``subject``, and optionally
        ``session`` (or ``night``), ``age`` in years and ``sex``.

    Returns
    -------
    recordings : list of Recording
        In the order of the rows.

    Raises
    ------
    DataError
        Naming the table and the row, if a column or value is missing or absurd, a path leads
        out of the folder, or two rows are of one file or of one night.
    """
    table = read_table(folder / name, ["file", "subject"], advice=_NEEDS)
    night = next((column for column in ("session", "night") if column in table), None)
    recordings: list[Recording] = []
    files: set[str] = set()
    nights: set[tuple[str, str]] = set()
    for number, row in enumerate(table.to_dict("records"), start=1):
        where = f"{folder / name}, row {number}"
        file = _inside(row["file"], where)
        if row["subject"].lower() in UNKNOWN:
            raise DataError(f"{where}: the subject is missing; say who is in {file}")
        recording = Recording(
            subject=row["subject"],
            session=row[night] if night and row[night].lower() not in UNKNOWN else "1",
            age=age_of(row.get("age", ""), where),
            sex=sex_of(row.get("sex", ""), where),
            files=(folder / file,),
        )
        if file in files:
            raise DataError(f"{where}: {file} has a row already; keep one")
        if (recording.subject, recording.session) in nights:
            raise DataError(
                f"{where}: subject {recording.subject} has a session {recording.session} already; "
                "tell the nights apart in a column session"
            )
        files.add(file)
        nights.add((recording.subject, recording.session))
        recordings.append(recording)
    return recordings


def _inside(file: str, where: str) -> str:
    """Path below the folder, in one spelling."""
    path = PurePosixPath(file)
    outside = path.is_absolute() or ".." in path.parts or PureWindowsPath(file).is_absolute()
    if outside or "\\" in file or path.suffix != ".npz":
        raise DataError(f"{where}: file {file!r} must be an .npz below the folder; correct it")
    return path.as_posix()
