"""Datasets that lie in a folder: the one a user names, or the dataset's own."""

from __future__ import annotations

import json
import os
from abc import abstractmethod
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import ClassVar

from sleepshift.datasets.base import Dataset, Recording
from sleepshift.errors import DataError

__all__ = ["FolderDataset", "check_people", "data_home", "natural", "shown"]


def data_home(setting: str = "MNE_DATA") -> Path:
    """Folder that MNE keeps data in: what it was told, or ``~/mne_data``.

    MNE's own `get_config` would import MNE, which listings have no time for.

    Parameters
    ----------
    setting : str
        Environment variable, or entry of MNE's configuration, that is looked at before
        ``MNE_DATA``.
    """
    try:
        told = json.loads((Path.home() / ".mne" / "mne-python.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        told = {}
    told = (told if isinstance(told, dict) else {}) | os.environ
    named = told.get(setting) or told.get("MNE_DATA")
    return Path(named or Path.home() / "mne_data").expanduser()


class FolderDataset(Dataset):
    """Recordings that are files below one folder.

    A subclass says what the folder must hold (`layout`), lists what lies in one (`scan`), and
    downloads, where it may (`fetch`).

    Parameters
    ----------
    data : path, optional
        The folder. By default it is the dataset's own, named after it below `data_home`, and
        what is missing there is downloaded where the source is open.
    """

    needs_folder = False
    #: What a user has to put into the folder, as the end of a sentence "it must hold ...".
    layout: ClassVar[str]

    @property
    def folder(self) -> Path:
        """Where the recordings are, or would be."""
        return data_home() / self.info.name if self.data is None else self.data

    @abstractmethod
    def scan(self, folder: Path) -> list[Recording]:
        """List the recordings in a folder that exists, in any order, without reading signals.

        Raises
        ------
        DataError
            If a recording is there twice, or a table beside the recordings makes no sense.
        """

    def fetch(self, subjects: Sequence[str] | None, folder: Path) -> None:
        """Download the recordings of `subjects` (all, for None) that are not in `folder`.

        By default nothing can be downloaded, and an empty folder is an error.

        Raises
        ------
        DataError
            If they cannot be had: where to get them, and where to put them.
        """
        if not (folder.is_dir() and any(folder.iterdir())):
            how = "ask for it at" if self.info.login else "download it from"
            raise DataError(
                f"{self.info.title} is not at hand: {how} {self.info.url}, put it into "
                f"{folder} (it must hold {self.layout}), or name its folder with --data DIR"
            )

    def recordings(self, subjects: Sequence[str] | None = None) -> list[Recording]:
        """List the recordings of `subjects` (all, by default), by subject and session.

        Parameters
        ----------
        subjects : sequence of str, optional

        Raises
        ------
        DataError
            If the folder is missing or holds no recording, a subject is not there, or a
            download fails.
        """
        wanted = None if subjects is None else [str(subject) for subject in subjects]
        folder = self.folder
        if self.data is None:
            self.fetch(wanted, folder)
        elif not folder.is_dir():
            raise DataError(f"{folder} is not a folder; name one that holds {self.layout}")
        found = self.scan(folder)
        if not found:
            raise DataError(
                f"{folder} holds no recording of {self.info.title}; it must hold {self.layout}"
            )
        check_people(wanted, {recording.subject for recording in found}, str(folder))
        found.sort(key=lambda recording: (natural(recording.subject), natural(recording.session)))
        return [recording for recording in found if wanted is None or recording.subject in wanted]

    def count_present(self) -> int:
        """Number of recordings in the folder as it is; nothing is downloaded."""
        try:
            return len(self.scan(self.folder)) if self.folder.is_dir() else 0
        except DataError:
            return 0


def check_people(wanted: Collection[str] | None, present: Collection[str], where: str) -> None:
    """Refuse people who are not there, naming those who are.

    Raises
    ------
    DataError
    """
    if absent := set(wanted or ()) - set(present):
        raise DataError(
            f"no recording of subject {shown(absent)} in {where}; there are {shown(present)}"
        )


def shown(people: Collection[str]) -> str:
    """The first of some people, and how many there are.

    Examples
    --------
    >>> shown(["10", "2"])
    '2, 10'
    """
    ordered = sorted(people, key=natural)
    text = ", ".join(ordered[:10])
    return text if len(ordered) <= 10 else f"{text}, ... ({len(ordered)} people)"


def natural(text: str) -> tuple[bool, int, str]:
    """Key that sorts "2" before "10", and numbers before names."""
    return (not text.isdecimal(), int(text) if text.isdecimal() else 0, text)
