"""Tables beside recordings: tab-separated cells, ages and sexes, all as hostile as any file."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from sleepshift.datasets.edf_header import ADVICE
from sleepshift.errors import DataError, one_line

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MAX_AGE", "UNKNOWN", "age_of", "one_line_of", "read_table", "sex_of"]

#: What tables write for what is not known, in lower case.
UNKNOWN = ("", "n/a", "na", "nan", "unknown")
#: Years.
MAX_AGE = 120.0

_SEXES = {"female": "female", "f": "female", "male": "male", "m": "male"}


def read_table(path: Path, columns: Collection[str], *, advice: str = ADVICE) -> pd.DataFrame:
    """Read a tab-separated table with a header, every cell as text, stripped.

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
        If it is missing, no table, has no rows, lacks a column or has one twice.
    """
    import pandas as pd

    try:
        # Not as a header: pandas would give the second of two columns of one name another.
        table = pd.read_csv(
            path, sep="\t", dtype=str, header=None, keep_default_na=False, encoding="utf-8-sig"
        ).fillna("")
    except FileNotFoundError:
        raise DataError(f"{path} is missing; {advice}") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({one_line(error, 200)}); {advice}") from error
    table = table.apply(lambda column: column.str.strip())
    table.columns = table.iloc[0].tolist()
    table = table.iloc[1:]
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
