"""Tables beside recordings: tab-separated cells, ages and sexes, all as hostile as any file."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sleepshift.datasets.edf_header import ADVICE
from sleepshift.errors import DataError, one_line

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MAX_AGE", "UNKNOWN", "age_of", "one_line_of", "read_table", "sex_of"]

#: What tables write for what is not known, in lower case.
UNKNOWN = ("", "n/a", "na", "nan", "unknown")
#: Years.
MAX_AGE = 120.0

# The longest tables have a row an event of the night, and some ten columns.
_MAX_BYTES, _MAX_COLUMNS, _MAX_CELLS = 16 * 2**20, 1000, 4_000_000
_SEXES = {"female": "female", "f": "female", "male": "male", "m": "male"}


def read_table(path: Path, columns: Collection[str], *, advice: str = ADVICE) -> pd.DataFrame:
    """Read a tab-separated table with a header, every cell as text, stripped.

    Quotes are characters like any others: a stray one must not swallow the rows up to the next.

    Parameters
    ----------
    path : Path
        In UTF-8.
    columns : collection of str
        Those that must be there.
    advice : str
        What to do about a table that is missing or damaged, for the error.

    Raises
    ------
    DataError
        If it is missing, no table or too large for one, has no rows, lacks a column or has one
        twice.
    """
    import pandas as pd

    try:
        # Not as a header: pandas would give the second of two columns of one name another.
        table = pd.read_csv(
            io.StringIO(_text(path)),
            sep="\t",
            dtype=str,
            header=None,
            keep_default_na=False,
            quoting=csv.QUOTE_NONE,
        ).fillna("")
        # All cells at once: pandas takes a millisecond for every column.
        cells = np.array([cell.strip() for cell in table.to_numpy().ravel()], dtype=object)
        header, *rows = cells.reshape(table.shape).tolist()
        table = pd.DataFrame(rows, columns=header, dtype=str)
    except FileNotFoundError:
        raise DataError(f"{path} is missing; {advice}") from None
    except (OSError, ValueError, SystemError, MemoryError) as error:
        raise DataError(f"{path} cannot be read ({one_line(error, 200)}); {advice}") from error
    if missing := [column for column in columns if column not in table]:
        there = one_line_of(", ".join(table.columns))
        raise DataError(
            f"{path} has no column {' and no '.join(missing)} (it has {there}); {advice}"
        )
    if table.columns.has_duplicates:
        raise DataError(f"{path} has two columns of one name; keep one")
    if table.empty:
        raise DataError(f"{path} has no rows; {advice}")
    return table


def _text(path: Path) -> str:
    """Content of a table, lines ending in a newline, once it is known to be of a table's size."""
    if path.stat().st_size > _MAX_BYTES:
        raise ValueError(f"it has more than {_MAX_BYTES >> 20} MB")
    text = path.read_text(encoding="utf-8-sig")
    n_columns = 1 + max(line.count("\t") for line in text.split("\n"))
    if n_columns > _MAX_COLUMNS:
        raise ValueError(f"it has more than {_MAX_COLUMNS} columns")
    if n_columns * text.count("\n") > _MAX_CELLS:  # those that short rows lack are filled in
        raise ValueError(f"it has more than {_MAX_CELLS} cells")
    return text


def one_line_of(text: str, limit: int = 200) -> str:
    """What a file holds, fit for a message."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:limit]


def age_of(text: str, where: str) -> float | None:
    """Years, or None where they are not known.

    Raises
    ------
    DataError
        Naming `where`, if it is no age.
    """
    if text.lower() in UNKNOWN:
        return None
    if not re.fullmatch(r"\d+(\.\d*)?", text) or float(text) > MAX_AGE:
        raise DataError(f"{where}: age {text!r} must be in years, 0 to {MAX_AGE:g}, or n/a")
    return float(text)


def sex_of(text: str, where: str) -> str | None:
    """ "female" or "male", or None where it is neither or not known.

    Raises
    ------
    DataError
        Naming `where`, if it is no sex.
    """
    if text.lower() in UNKNOWN or text.lower() in ("o", "other"):
        return None
    if text.lower() not in _SEXES:
        raise DataError(f"{where}: sex {text!r} must be female, male or n/a")
    return _SEXES[text.lower()]
