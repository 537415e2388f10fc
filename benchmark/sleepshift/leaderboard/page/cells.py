"""Tables of the page: what is printed in a cell, and what it is sorted by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["Cell", "Column", "Row", "Table", "count", "interval", "number", "p_value", "words"]

#: Printed where there is nothing.
NONE = "–"


@dataclass(frozen=True)
class Cell:
    """What one cell shows.

    Attributes
    ----------
    text : str
        What is printed.
    value : float or None
        What a column of numbers is sorted by; None comes last, whichever way.
    note : str
        Printed small after the text.
    differs : bool
        Whether it is marked as different from none.
    """

    text: str
    value: float | None = None
    note: str = ""
    differs: bool = False


@dataclass(frozen=True)
class Column:
    """Heading of a column.

    Attributes
    ----------
    label : str
    meaning : str
        What it is, for those who do not know.
    numeric : bool
        Whether it holds numbers.
    falling : bool
        Whether the first click on it puts the highest on top.
    sort : str
        ``"ascending"`` or ``"descending"`` if rows come sorted by it.
    """

    label: str
    meaning: str = ""
    numeric: bool = True
    falling: bool = True
    sort: str = ""


@dataclass(frozen=True)
class Row:
    """A method's cells, its marks, and what the row can be chosen by."""

    method: str
    cells: list[Cell]
    marks: list[str] = field(default_factory=list)
    chosen_by: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A table whose first column is the method."""

    caption: str
    columns: list[Column]
    rows: list[Row]

    def without_empty_columns(self) -> Table:
        """The same without columns in which nothing is printed."""
        kept = [
            k
            for k in range(len(self.columns))
            if any(row.cells[k].text not in ("", NONE) for row in self.rows)
        ]
        rows = [
            Row(row.method, [row.cells[k] for k in kept], row.marks, row.chosen_by)
            for row in self.rows
        ]
        return Table(self.caption, [self.columns[k] for k in kept], rows)

    def methods(self) -> list[str]:
        """The methods that have a row, each once."""
        return list(dict.fromkeys(row.method for row in self.rows))

    def choices(self, name: str) -> list[str]:
        """What rows can be chosen by, in the order they come."""
        return list(dict.fromkeys(row.chosen_by[name] for row in self.rows))


def number(value: Any, digits: int = 3, *, sign: bool = False) -> str:
    """A number as printed, with a true minus; zero has no sign.

    Examples
    --------
    >>> number(-0.0514), number(0.02, 2, sign=True), number(-1e-9), number(float("nan"))
    ('−0.051', '+0.02', '0.000', '–')
    """
    if pd.isna(value) or not np.isfinite(value):
        return NONE
    if not round(value, digits):
        return f"{0:.{digits}f}"
    return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "−")


def count(value: Any) -> Cell:
    """A whole number, thousands apart.

    Examples
    --------
    >>> count(12644).text
    '12 644'
    """
    if pd.isna(value):
        return Cell(NONE)
    return Cell(f"{int(value):,}".replace(",", " "), float(value))


def interval(row: Mapping[str, Any], name: str, digits: int = 3, *, sign: bool = False) -> Cell:
    """A figure with its interval, where the row has ``NAME_low`` and ``NAME_high``.

    Examples
    --------
    >>> cell = interval({"gap": 0.12, "gap_low": 0.05, "gap_high": 0.2}, "gap", 2)
    >>> cell.text, cell.note
    ('0.12', '[0.05, 0.20]')
    """
    value = row.get(name, np.nan)
    shown = number(value, digits, sign=sign)
    if shown == NONE:
        return Cell(NONE)
    ends = [number(row.get(f"{name}_{end}", np.nan), digits, sign=sign) for end in ("low", "high")]
    note = "" if NONE in ends else f"[{ends[0]}, {ends[1]}]"
    return Cell(shown, float(value), note)


def p_value(value: Any) -> str:
    """A p-value as printed.

    Examples
    --------
    >>> p_value(0.0312), p_value(0.00001), p_value(0.646), p_value(1.0)
    ('.031', '<.001', '.65', '1.0')
    """
    if pd.isna(value):
        return NONE
    if value < 0.001:
        return "<.001"
    if value >= 0.995:
        return "1.0"
    return f"{value:.{3 if value < 0.0995 else 2}f}".removeprefix("0")


def words(name: str) -> str:
    """A column's name for readers.

    Examples
    --------
    >>> words("balanced_accuracy"), words("macro_f1"), words("f1_N1")
    ('balanced accuracy', 'macro F1', 'F1 N1')
    """
    fixed = {"nll": "NLL", "ece": "ECE", "g_mean": "G-mean"}
    return fixed.get(name) or name.replace("_", " ").replace("f1", "F1")
