"""Nights that are two files: signals, and a scoring that is called after them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from sleepshift.datasets.base import Recording
from sleepshift.datasets.folder import check_people
from sleepshift.errors import DataError

__all__ = ["fetch_pairs", "find_pairs", "pair"]


def find_pairs(folder: Path, signals: re.Pattern[str], scoring: str) -> list[Recording]:
    """List the nights below a folder, one a person; a scoring that is missing is left out.

    Parameters
    ----------
    folder : Path
    signals : pattern
        Name of a file of signals; its first group is the person.
    scoring : str
        Name of the scoring, after the person.

    Raises
    ------
    DataError
        If the signals of a night are there twice.
    """
    scorings: dict[str, list[Path]] = {}
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.name.endswith(scoring):
            scorings.setdefault(path.name.removesuffix(scoring), []).append(path)
        elif match := signals.fullmatch(path.name):
            before = found.setdefault(match[1], path)
            if before != path:
                raise DataError(
                    f"{path} is the same night as {before}; keep one of the two in {folder}"
                )
    return [
        Recording(subject=subject, session="1", files=(path, *scorings.get(subject, ())))
        for subject, path in found.items()
    ]


def pair(recording: Recording, scoring: str, what: str = "scoring") -> tuple[Path, Path]:
    """The two files of a night.

    Parameters
    ----------
    recording : Recording
        Its signals first, then all scorings that were found.
    scoring : str
        How the scoring is called.
    what : str
        What the dataset calls a scoring.

    Raises
    ------
    DataError
        If there is no scoring, or more than one.
    """
    signals, *scorings = recording.files
    if not scorings:
        raise DataError(
            f"{signals.name} has no {what}: put {scoring} into the folder, or leave the night out "
            "with --skip-bad"
        )
    if len(scorings) > 1:
        names = ", ".join(str(path) for path in scorings)
        raise DataError(f"{signals.name} has {len(scorings)} {what}s ({names}); keep one")
    return signals, scorings[0]


def fetch_pairs(
    project: str,
    subjects: Sequence[str] | None,
    folder: Path,
    signals: re.Pattern[str],
    scoring: str,
) -> None:
    """Have the nights of some people (all, for None) of a PhysioNet project in a folder.

    Parameters
    ----------
    project : str
        Name and version, such as "ucddb/1.0.0".
    subjects : sequence of str or None
    folder : Path
    signals : pattern
        As in `find_pairs`.
    scoring : str
        As there.

    Raises
    ------
    DataError
        If the project has no such person, or a file cannot be had whole.
    """
    from sleepshift.datasets import download

    nights = find_pairs(folder, signals, scoring) if folder.is_dir() else []
    there = {night.subject for night in nights if night.files[1:]}
    if subjects is not None and there.issuperset(subjects):  # no network is needed
        return
    names = download.list_physionet(project, folder)
    people = {match[1] for name in names if (match := signals.fullmatch(Path(name).name))}
    check_people(subjects, people, f"PhysioNet's {project}")
    wanted = (people if subjects is None else people.intersection(subjects)) - there
    files = []
    for name in names:
        match = signals.fullmatch(Path(name).name)
        subject = match[1] if match else Path(name).name.removesuffix(scoring)
        if subject in wanted:
            files.append(name)
    download.fetch_physionet(project, files, folder)
