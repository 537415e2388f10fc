"""``participants.tsv``: who is in which file of a folder."""

from __future__ import annotations

import re
import warnings
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from sleepshift.datasets.base import Recording
from sleepshift.errors import DataError, one_line

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_participants"]

_UNKNOWN = ("", "n/a", "na", "nan", "unknown")
_SEXES = {"female": "female", "f": "female", "male": "male", "m": "male"}
_MAX_AGE = 120.0


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
    table = _read_table(folder / name)
    night = next((column for column in ("session", "night") if column in table), None)
    recordings: list[Recording] = []
    files: set[str] = set()
    nights: set[tuple[str, str]] = set()
    for number, row in enumerate(table.to_dict("records"), start=1):
        where = f"{folder / name}, row {number}"
        file = _inside(row["file"], where)
        if row["subject"].lower() in _UNKNOWN:
            raise DataError(f"{where}: the subject is missing; say who is in {file}")
        recording = Recording(
            subject=row["subject"],
            session=row[night] if night and row[night].lower() not in _UNKNOWN else "1",
            age=_age(row.get("age", ""), where),
            sex=_sex(row.get("sex", ""), where),
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


def _read_table(path: Path) -> pd.DataFrame:
    """Every cell as text, stripped."""
    import pandas as pd

    needs = "it must hold tab-separated columns file and subject (and session, age, sex)"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # cells beyond the last column
            table = pd.read_csv(
                path,
                sep="\t",
                dtype=str,
                keep_default_na=False,
                index_col=False,
                encoding="utf-8-sig",
            )
    except FileNotFoundError:
        raise DataError(f"{path} is missing; {needs}") from None
    except (OSError, ValueError, pd.errors.ParserWarning) as error:
        reason = one_line(error)
        raise DataError(f"{path} cannot be read ({reason}); {needs}") from error
    table.columns = [str(column).strip() for column in table.columns]
    if missing := [column for column in ("file", "subject") if column not in table]:
        raise DataError(f"{path} has no column {' and no '.join(missing)}; {needs}")
    if table.columns.has_duplicates:
        raise DataError(f"{path} has two columns of one name; keep one")
    if table.empty:
        raise DataError(f"{path} has no rows; {needs}")
    return table.fillna("").apply(lambda column: column.str.strip())


def _inside(file: str, where: str) -> str:
    """Path below the folder, in one spelling."""
    path = PurePosixPath(file)
    outside = path.is_absolute() or ".." in path.parts or PureWindowsPath(file).is_absolute()
    if outside or "\\" in file or path.suffix != ".npz":
        raise DataError(f"{where}: file {file!r} must be an .npz below the folder; correct it")
    return path.as_posix()


def _age(text: str, where: str) -> float | None:
    if text.lower() in _UNKNOWN:
        return None
    if not re.fullmatch(r"\d+(\.\d*)?", text) or float(text) > _MAX_AGE:
        raise DataError(f"{where}: age {text!r} must be in years, 0 to {_MAX_AGE:g}, or n/a")
    return float(text)


def _sex(text: str, where: str) -> str | None:
    if text.lower() in _UNKNOWN or text.lower() in ("o", "other"):
        return None
    if text.lower() not in _SEXES:
        raise DataError(f"{where}: sex {text!r} must be female, male or n/a")
    return _SEXES[text.lower()]
