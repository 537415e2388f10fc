"""The sheets (.xlsx) of ISRUC-Sleep's scorers: stages, and whose night it was.

They are read row by row with openpyxl: a reader that lays out the whole sheet first can be
made to ask for more memory than there is by one cell far from the others.
"""

from __future__ import annotations

import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import ParseError

from sleepshift.datasets.edf import UNREADABLE
from sleepshift.datasets.edf_header import ADVICE
from sleepshift.datasets.nsrr_xml import parse_xml
from sleepshift.datasets.people_table import Person, plausible_age
from sleepshift.errors import DataError, one_line

__all__ = ["SHEET_STAGES", "Sheet", "read_sheet", "read_sheet_person"]

#: Stage of a sheet -> code of the text files.
SHEET_STAGES: dict[str, str] = {"W": "0", "N1": "1", "N2": "2", "N3": "3", "R": "5"}

_MAX_BYTES = 4 * 2**20  # of all parts, unpacked; the sheets have 300 kilobytes
_MAX_ROWS = 5000  # 41 hours
_MAX_COLUMNS = 40
_PERSON_ROWS = 12  # age and sex stand beside the first epochs
_DAMAGED = (
    *UNREADABLE,
    AttributeError,
    EOFError,
    ParseError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
_SEXES = {"male": "male", "m": "male", "female": "female", "f": "female"}

Row = tuple[object, ...]


class Sheet(NamedTuple):
    """What a sheet says: a text for every epoch (None for an empty cell), and whose night."""

    stages: list[str | None]
    person: Person


def read_sheet(path: Path) -> Sheet:
    """Read a scorer's sheet.

    Parameters
    ----------
    path : Path

    Raises
    ------
    DataError
        If it is no sheet, unpacks to more than a sheet would, has no columns Epoch and Stage, or
        does not number its epochs 1, 2, 3 and so on.
    """
    with _rows(path, _MAX_ROWS) as rows:
        return Sheet(_stages(rows), _person(rows))


def read_sheet_person(path: Path) -> Person:
    """Age and sex alone, from the first rows; neither is known where they cannot be read."""
    try:
        with _rows(path, _PERSON_ROWS) as rows:
            return _person(rows)
    except DataError:
        return Person()


@contextmanager
def _rows(path: Path, count: int) -> Iterator[list[Row]]:
    from openpyxl import load_workbook

    try:
        with path.open("rb") as file:
            _check_parts(file)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of styles and extensions that are left out
                book = load_workbook(file, read_only=True, data_only=True, keep_links=False)
                sheet = book.worksheets[0]
                sheet.reset_dimensions()  # what a sheet claims of itself need not be so
                found = sheet.iter_rows(max_row=count, max_col=_MAX_COLUMNS, values_only=True)
                yield list(found)
    except _DAMAGED as error:
        raise DataError(
            f"{path.name} is no readable sheet ({one_line(error, 200)}); {ADVICE}"
        ) from error


def _check_parts(file: object) -> None:
    """Refuse what would unpack to a bomb, or declares entities; checks the hashes of all parts."""
    with zipfile.ZipFile(file) as archive:  # type: ignore[call-overload]
        parts = archive.infolist()
        # Nothing unpacks to more than is stated here: the rest of a part is not read.
        if sum(part.file_size for part in parts) > _MAX_BYTES:
            raise ValueError(f"it unpacks to more than {_MAX_BYTES >> 20} MB")
        for part in parts:
            content = archive.read(part)
            if part.filename.endswith((".xml", ".rels")):
                parse_xml(content)


def _stages(rows: list[Row]) -> list[str | None]:
    header = [str(cell).strip().lower() for cell in rows[0]] if rows else []
    if "epoch" not in header or "stage" not in header:
        raise ValueError("its first row has no Epoch and Stage")
    epoch, stage = header.index("epoch"), header.index("stage")
    cells = [(row[epoch], row[stage]) for row in rows[1:] if len(row) > max(epoch, stage)]
    numbered = [(k, text) for k, text in cells if isinstance(k, int | float)]
    if [k for k, _ in numbered] != list(range(1, len(numbered) + 1)):
        raise ValueError("it does not number its epochs 1, 2, 3 and so on")
    # Below the last epoch some sheets have totals of other columns.
    if any(isinstance(text, str) and text.strip() for _, text in cells[len(numbered) :]):
        raise ValueError("it has a stage without the number of its epoch")
    return [text.strip() if isinstance(text, str) else None for _, text in numbered]


def _person(rows: list[Row]) -> Person:
    """What stands to the right of the cells AGE: and SEX:."""
    said: dict[str, object] = {}
    for row in rows[:_PERSON_ROWS]:
        for key, value in pairwise(row):
            if isinstance(key, str):
                said.setdefault(key.strip().rstrip(":").lower(), value)
    return Person(plausible_age(said.get("age")), _SEXES.get(str(said.get("sex")).strip().lower()))
