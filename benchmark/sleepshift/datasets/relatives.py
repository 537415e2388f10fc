"""Which datasets have the same people, under the names that are written for them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sleepshift.datasets import DATASETS, dataset_class

__all__ = ["common_people", "same_people"]

#: Between names in one text.
_BETWEEN = re.compile(r"[,;+&/]|\band\b", re.IGNORECASE)
#: What may follow a name: "SHHS visit 1", "MASS-SS3", "sleep-edfx".
_REST = "(?:x|expanded|sleep|visit|cohort|subgroup|part|ss|s|v|[0-9])*"
#: A name of so many letters means the dataset wherever it stands.
_LONG = 6


def same_people(one: str, other: str) -> bool | None:
    """Whether two datasets have the same people.

    Parameters
    ----------
    one, other : str
        Names in `DATASETS`.

    Returns
    -------
    bool or None
        None where that is up to the folder that one of them reads.

    Examples
    --------
    >>> same_people("beetl", "sleep-edf"), same_people("shhs", "mass"), same_people("npz", "mass")
    (True, False, None)
    """
    own, theirs = (dataset_class(name).info.people_of for name in (one, other))
    if one == other or other in (own or ()) or one in (theirs or ()):
        return True
    return None if own is None or theirs is None else False


def common_people(learned: Sequence[str] | None, tested: Sequence[str]) -> bool | None:
    """Whether something that was learned elsewhere may know the people who are tested.

    Names, titles and usual spellings of datasets are looked for, whatever their case and
    signs. What is not understood to the last word might be anybody.

    Parameters
    ----------
    learned : sequence of str or None
        What it says it was trained on, in anybody's words; None if it does not say.
    tested : sequence of str
        Names in `DATASETS`.

    Returns
    -------
    bool or None
        None where nobody can tell: words that stand for no dataset known here, and folders
        of anybody's recordings.

    Examples
    --------
    >>> common_people(["Sleep-EDF-20"], ["beetl"]), common_people(["shhs and mine"], ["beetl"])
    (True, None)
    """
    if learned is None:
        return None
    spellings = {name: _spellings(name) for name in DATASETS}
    found: set[bool | None] = {False}
    for text in learned:
        for name in [name for name, known in spellings.items() if _within(known, text)]:
            found |= {same_people(name, other) for other in tested} & {True}
        for part in [text] if _exact(spellings, text) else _BETWEEN.split(text):
            exact = _exact(spellings, part)
            found |= {same_people(name, other) for name in exact for other in tested} or {None}
    return True if True in found else None if None in found else False


def _spellings(name: str) -> list[str]:
    info = dataset_class(name).info
    return [_bare(text) for text in (name, info.title, *info.also_called)]


def _bare(text: str) -> str:
    return "".join(filter(str.isalnum, text)).casefold()


def _within(known: list[str], text: str) -> bool:
    return any(len(spelling) >= _LONG and spelling in _bare(text) for spelling in known)


def _exact(spellings: dict[str, list[str]], text: str) -> list[str]:
    """Datasets that a text names, and nothing else."""
    bare = _bare(text)
    return [
        name
        for name, known in spellings.items()
        if any(re.fullmatch(re.escape(spelling) + _REST, bare) for spelling in known)
    ]
