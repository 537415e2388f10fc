"""Marks of a method: what a reader must know before believing its figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

__all__ = ["MARKS", "Mark", "fair", "inflated", "kinds", "marks", "words"]


@dataclass(frozen=True)
class Mark:
    """Something about a method that its figure does not say.

    Parameters
    ----------
    flag : str
        In the tables.
    sign : str
        In the terminal.
    says : str
        What the sign stands for.
    competes : bool
        Whether a method with this mark has a rank.
    inflated : bool
        Whether its figure is higher than it would be on others, so that no test of its
        differences means anything.
    """

    flag: str
    sign: str
    says: str
    competes: bool = False
    inflated: bool = False


#: All marks, by kind.
MARKS = {
    "floor": Mark(
        "below feature floor",
        "*",
        "below a feature floor that learned from no more labels",
        competes=True,
    ),
    "bound": Mark(
        "bound: the teacher on its own view", "^", "an upper bound: the teacher on its own view"
    ),
    "chosen": Mark(
        "optimistic: its training pass is chosen on the test people",
        "!",
        "optimistic: its training pass is chosen on the test people",
        inflated=True,
    ),
    "saw": Mark(
        "start saw this dataset",
        "~",
        "its network began with weights that were trained on this dataset",
        inflated=True,
    ),
    "unknown": Mark(
        "start unknown",
        "?",
        "nobody knows whether the weights its network began with saw this dataset",
        competes=True,
    ),
}


def marks(facts: Mapping[str, Any], rows: pd.DataFrame | None = None) -> list[str]:
    """Kinds of marks of a method that do not depend on other methods.

    Parameters
    ----------
    facts : mapping
        ``privileged`` and ``selected_on_test``, which records of older versions lack.
    rows : DataFrame or None
        Rows of `results_frame` of the method.

    Examples
    --------
    >>> marks({"privileged": False}, pd.DataFrame({"pretrained_saw": ["no", "yes"]}))
    ['saw']
    """
    found = ["bound"] if facts.get("privileged") else []
    found += ["chosen"] if facts.get("selected_on_test") else []
    if rows is not None and "pretrained_saw" in rows:
        began = set(rows["pretrained_saw"].dropna())
        found += ["saw"] if "yes" in began else ["unknown"] if "unknown" in began else []
    return found


def fair(found: list[str]) -> bool:
    """Whether a method with these marks is a competitor, and has a rank."""
    return all(MARKS[kind].competes for kind in found)


def inflated(found: list[str]) -> bool:
    """Whether a method with these marks scores more than it would on others."""
    return any(kind in MARKS and MARKS[kind].inflated for kind in found)


def words(found: list[str]) -> str:
    """Marks as the tables have them: ``"; "`` between them, empty where there are none."""
    return "; ".join(MARKS[kind].flag for kind in found)


def kinds(flag: str) -> list[str]:
    """Kinds of the marks that `words` wrote.

    Examples
    --------
    >>> kinds("start unknown; below feature floor")
    ['unknown', 'floor']
    """
    by_flag = {mark.flag: kind for kind, mark in MARKS.items()}
    return [by_flag[part] for part in flag.split("; ") if part]
