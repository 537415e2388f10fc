"""Marks of a method: what a reader must know before believing its figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

__all__ = ["MARKS", "Mark", "fair", "inflated", "kinds", "marks", "start_facts", "words"]


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

    Returns
    -------
    list of str
        Keys of `MARKS`.

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


def start_facts(starts: Sequence[Mapping[str, Any]], datasets: Sequence[str]) -> dict[str, Any]:
    """What rows say of the weights that networks began with.

    Parameters
    ----------
    starts : sequence of mapping
        ``name`` and ``trained_on`` of each file.
    datasets : sequence of str
        Those that the tested people are from.

    Returns
    -------
    dict
        ``pretrained`` names the files and what they say they were trained on;
        ``pretrained_saw`` is "yes", "no" or "unknown". Both are None where all began afresh.

    Examples
    --------
    >>> start_facts([{"name": "mine", "trained_on": ["shhs"]}], ["shhs"])
    {'pretrained': 'mine (trained on shhs)', 'pretrained_saw': 'yes'}
    """
    from sleepshift.datasets.relatives import common_people
    from sleepshift.models.pretrained import Pretrained

    if not starts:
        return {"pretrained": None, "pretrained_saw": None}
    told = [common_people(start["trained_on"], datasets) for start in starts]
    said = [str(Pretrained(start["name"], start["trained_on"])) for start in starts]
    answer = "yes" if True in told else "unknown" if None in told else "no"
    return {"pretrained": "; ".join(said), "pretrained_saw": answer}


def fair(found: Sequence[str]) -> bool:
    """Whether a method with these marks is a competitor, and has a rank.

    Parameters
    ----------
    found : sequence of str
        Of `marks`.

    Returns
    -------
    bool
    """
    return all(MARKS[kind].competes for kind in found)


def inflated(found: Sequence[str]) -> bool:
    """Whether a method with these marks scores more than it would on others.

    Parameters
    ----------
    found : sequence of str
        Of `marks`; other words count for nothing.

    Returns
    -------
    bool
    """
    return any(kind in MARKS and MARKS[kind].inflated for kind in found)


def words(found: Sequence[str]) -> str:
    """Marks as the tables have them.

    Parameters
    ----------
    found : sequence of str
        Of `marks`.

    Returns
    -------
    str
        ``"; "`` between them, empty where there are none.
    """
    return "; ".join(MARKS[kind].flag for kind in found)


def kinds(flag: str) -> list[str]:
    """Kinds of the marks that `words` wrote.

    Parameters
    ----------
    flag : str

    Returns
    -------
    list of str

    Raises
    ------
    KeyError
        If it is no such text.

    Examples
    --------
    >>> kinds("start unknown; below feature floor")
    ['unknown', 'floor']
    """
    by_flag = {mark.flag: kind for kind, mark in MARKS.items()}
    return [by_flag[part] for part in flag.split("; ") if part]
