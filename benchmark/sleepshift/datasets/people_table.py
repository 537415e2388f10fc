"""Ages and sexes from the table that a study publishes beside its recordings."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from sleepshift.datasets.edf_header import ADVICE
from sleepshift.datasets.tables import MAX_AGE
from sleepshift.errors import DataError, one_line

__all__ = ["Person", "plausible_age", "read_people"]


class Person(NamedTuple):
    """Age in years and sex, None where they are not known."""

    age: float | None = None
    sex: str | None = None


def plausible_age(value: object) -> float | None:
    """Years, or None for what is no age.

    Examples
    --------
    >>> plausible_age("64"), plausible_age("n/a"), plausible_age(900)
    (64.0, None, None)
    """
    try:
        age = float(str(value))
    except ValueError:
        return None
    return age if 0 < age <= MAX_AGE else None


def read_people(
    path: Path, *, subject: str, age: str, sex: str, sexes: Mapping[str, str]
) -> dict[str, Person]:
    """Look everyone up in a comma-separated table with a header.

    Parameters
    ----------
    path : Path
    subject, age, sex : str
        Names of the columns, in any case.
    sexes : mapping
        What the table writes -> "female" or "male"; anything else is not known.

    Raises
    ------
    DataError
        If the table cannot be read, a column is not there, or someone is there twice with
        different values.
    """
    people: dict[str, Person] = {}
    try:
        with path.open(encoding="latin-1", newline="") as file:
            rows = csv.reader(file, strict=True)
            header = [cell.strip().lower() for cell in next(rows, [])]
            header[:1] = [cell.removeprefix("ï»¿") for cell in header[:1]]  # mark of UTF-8
            columns = [header.index(name.lower()) for name in (subject, age, sex)]
            for row in rows:
                if len(row) <= max(columns):
                    continue
                who, years, code = (row[column].strip() for column in columns)
                person = Person(plausible_age(years), sexes.get(code))
                if who and people.setdefault(who, person) != person:
                    raise ValueError(f"{who!r:.40} is there twice")
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(
            f"{path} cannot be read ({one_line(error)}); it must have columns {subject}, {age} and "
            f"{sex}: {ADVICE}, or take it away to go without ages"
        ) from error
    return people
