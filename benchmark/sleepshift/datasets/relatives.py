"""Which datasets have the same people, under all the names that are written for them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from sleepshift.datasets import DATASETS, dataset_class

__all__ = ["common_people", "named", "same_people"]

#: Names shorter than this count as whole words only: "mass" is not in "Massachusetts".
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


@lru_cache
def named(text: str) -> frozenset[str]:
    """Datasets that somebody's words may stand for, by their names in `DATASETS`.

    Names, titles and other names of a dataset are looked for, whatever their case and signs.

    Examples
    --------
    >>> sorted(named("PhysioNet Sleep-EDF (20 people)")), sorted(named("Massachusetts"))
    (['sleep-edf'], [])
    """
    found = set()
    for name in DATASETS:
        info = dataset_class(name).info
        if any(_in(known, text) for known in (name, info.title, *info.also_called)):
            found.add(name)
    return frozenset(found)


def _in(known: str, text: str) -> bool:
    words, said = (re.findall(r"[^\W\d_]+|\d+", part.casefold()) for part in (known, text))
    bare = "".join(words)
    if len(bare) >= _LONG and bare in "".join(said):
        return True
    return any(said[k : k + len(words)] == words for k in range(len(said)))


def common_people(learned: Sequence[str] | None, tested: Sequence[str]) -> bool | None:
    """Whether something that was learned elsewhere may know the people who are tested.

    Parameters
    ----------
    learned : sequence of str or None
        What it says it was trained on, in anybody's words; None if it does not say.
    tested : sequence of str
        Names in `DATASETS`.

    Returns
    -------
    bool or None
        None where nobody can tell: names that stand for no dataset known here, and folders
        of anybody's recordings.

    Examples
    --------
    >>> common_people(["Sleep-EDF-20"], ["beetl"]), common_people(["my clinic"], ["beetl"])
    (True, None)
    """
    if learned is None:
        return None
    found: set[bool | None] = {False}
    for text in learned:
        found |= {same_people(one, other) for one in named(text) for other in tested} or {None}
    return True if True in found else None if None in found else False
