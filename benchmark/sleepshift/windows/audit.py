"""What no result may rest on: people or windows on both sides of a split, dead signals."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from sleepshift.errors import DataError, LeakageError
from sleepshift.windows.windows import Windows

__all__ = ["audit_labels", "audit_quality", "audit_split"]

#: Largest share of flat or non-finite windows that a recording's person may have.
MAX_BAD_SHARE = 0.2


def audit_split(parts: Mapping[str, Windows]) -> None:
    """Refuse a split that has a person, or a copied window, in two of its parts.

    Parameters
    ----------
    parts : mapping of str to Windows
        Name of the part (``"source"``, ``"test"``, ...) -> its windows.

    Raises
    ------
    LeakageError
        Naming the people, or the first windows that are the same.
    """
    for (name, part), (other_name, other) in combinations(parts.items(), 2):
        _refuse_shared_people(name, part, other_name, other)
        _refuse_copied_windows(name, part, other_name, other)


def _refuse_shared_people(name: str, part: Windows, other_name: str, other: Windows) -> None:
    if part.subjects is None or other.subjects is None:
        raise LeakageError(f"{name} or {other_name} does not say whose windows they are")
    shared = sorted(set(part.subjects) & set(other.subjects))
    if shared:
        raise LeakageError(
            f"person {', '.join(shared)} is in both {name} and {other_name}; "
            "give every person one role"
        )


def _refuse_copied_windows(name: str, part: Windows, other_name: str, other: Windows) -> None:
    ours, theirs = part.metadata, other.metadata
    if "digest" not in ours or "digest" not in theirs:
        return
    # A dead window (an electrode that fell off) may repeat without having been copied.
    ours = ours[~(ours["flat"] | ours["nan"])]
    theirs = theirs[~(theirs["flat"] | theirs["nan"])]
    copied = np.intersect1d(ours["digest"], theirs["digest"])
    if not len(copied):
        return
    first = ours[ours["digest"] == copied[0]].iloc[0]
    second = theirs[theirs["digest"] == copied[0]].iloc[0]
    raise LeakageError(
        f"{len(copied)} window(s) are the same in {name} and {other_name}; the first is "
        f"person {first['subject']} session {first['session']} at {first['onset']:g} s and "
        f"person {second['subject']} session {second['session']} at {second['onset']:g} s"
    )


def audit_labels(parts: Mapping[str, Windows]) -> None:
    """Refuse to learn from people whose labels the dataset withholds.

    Parameters
    ----------
    parts : mapping of str to Windows
        Name of the part (``"source"``, ``"target_labeled"``) -> its windows.

    Raises
    ------
    DataError
        Naming the part and the people.
    """
    for name, part in parts.items():
        if part.has_labels and (part.y < 0).any():
            people = part.metadata.loc[part.y < 0, "subject"].unique()
            raise DataError(
                f"{name} has people whose labels are not public: {', '.join(people[:5])}; "
                "they can only be unlabelled or test people"
            )


def audit_quality(
    windows: Windows, *, max_bad_share: float = MAX_BAD_SHARE, need_age: bool = False
) -> None:
    """Refuse people with too many dead windows, and unknown ages where age is the question.

    Raises
    ------
    DataError
        Naming the person and the share.
    """
    frame = windows.metadata
    bad = (frame["flat"] | frame["nan"]).groupby(frame["subject"]).mean()
    if (bad > max_bad_share).any():
        worst = bad.idxmax()
        raise DataError(
            f"person {worst}: {bad[worst]:.0%} of the windows are flat or not finite "
            f"(at most {max_bad_share:.0%} may be); leave the person out of the task"
        )
    if need_age and frame["age"].isna().any():
        person = frame.loc[frame["age"].isna(), "subject"].iloc[0]
        raise DataError(f"person {person}: the age is not known, and the task splits by age")
