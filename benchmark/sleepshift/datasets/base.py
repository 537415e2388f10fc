"""What a dataset is: recordings that can be listed cheaply and read one at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sleepshift.stages import WINDOW_SECONDS

if TYPE_CHECKING:
    import mne

__all__ = ["Dataset", "DatasetInfo", "LabelledWindows", "Recording"]


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """What a reader wants to know before using a dataset.

    Parameters
    ----------
    name, title, licence : str
    login : bool
        Whether it takes an account, or a signature.
    download, url, citation : str
    people_of : tuple of str or None
        Other datasets that have the same people under other names; None where that is up to
        the folder that is read.
    also_called : tuple of str
        Other names that people write for it.
    """

    name: str
    title: str
    licence: str
    login: bool
    download: str
    url: str
    citation: str
    people_of: tuple[str, ...] | None = ()
    also_called: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One night of one person.

    Parameters
    ----------
    subject, session : str
        Who, and which night.
    age : float or None
        Years; None where it is not known.
    sex : {"female", "male"} or None
    files : tuple of Path
        What the recording is read from; their contents name the window store.
    """

    subject: str
    session: str
    age: float | None = None
    sex: str | None = None
    files: tuple[Path, ...] = ()

    def __str__(self) -> str:
        if self.files:
            return self.files[0].name
        return f"subject {self.subject} session {self.session}"


@dataclass(frozen=True, kw_only=True)
class LabelledWindows:
    """A recording that came already cut into windows.

    Parameters
    ----------
    x : ndarray of float32, shape (n_windows, n_channels, n_times or n_features)
    y : ndarray of int64, shape (n_windows,)
        Codes of the dataset's scheme; -1 where the dataset withholds the label.
    onset : ndarray of float64, shape (n_windows,), or None
        Seconds from the start of the recording; None where order is not known.
    ch_names : tuple of str
    sfreq : float or None
        None means that the last axis holds features, not samples.
    second : ndarray of int64, shape (n_windows,), or None
        Codes of a second scorer, -1 where there is none. They are counted against `y` when
        windows are packed, as a line to hold stagers against, and given to nobody.
    """

    x: np.ndarray
    y: np.ndarray
    onset: np.ndarray | None
    ch_names: tuple[str, ...]
    sfreq: float | None
    second: np.ndarray | None = None


class Dataset(ABC):
    """A source of recordings.

    A subclass states `info`, `scheme` and (for raw recordings) `stage_codes`, lists its
    recordings without reading signals, and reads one recording at a time.

    Parameters
    ----------
    data : Path or None
        Folder with the files; None lets the dataset find or download its own.
    """

    info: ClassVar[DatasetInfo]
    #: Part of the name of every window store: raise it when `read` gives other signals or stages.
    version: ClassVar[int] = 1
    #: Whether the dataset reads a folder that the user has to name.
    needs_folder: ClassVar[bool] = True
    #: Whether there are files at all; simulated data have none.
    reads_files: bool = True
    #: Scheme of the labels as stored ("rk6", "aasm5").
    scheme: str
    #: Annotation text -> stage name in `scheme`, or None for what is dropped. A text that
    #: is not a key is an error: an unknown stage must never vanish silently.
    stage_codes: ClassVar[Mapping[str, str | None]] = {}

    def __init__(self, data: Path | str | None = None) -> None:
        self.data = None if data is None else Path(data)

    @property
    def population(self) -> str:
        """Whose people these are: equal names mean equal people in datasets of one such word."""
        return self.info.name

    def params(self) -> dict[str, Any]:
        """Settings, other than files, that decide what the recordings hold."""
        return {}

    @abstractmethod
    def recordings(self, subjects: Sequence[str] | None = None) -> list[Recording]:
        """List the recordings of `subjects` (all, by default), sorted, without reading signals.

        Raises
        ------
        DataError
            If the folder is missing or holds no recording.
        """

    def epoch_seconds(self, recording: Recording) -> float:
        """What the scorers of a raw recording looked at: 30 s, or the 20 s of older manuals.

        A window of a shorter epoch has that epoch in its middle, and what is around it.
        """
        return float(WINDOW_SECONDS)

    def count_present(self) -> int:
        """Number of recordings at hand; nothing is downloaded, and a folder in disorder is 0."""
        return 0

    def second_scoring(self, recording: Recording) -> mne.Annotations | None:
        """Stages that a second scorer gave a raw recording; None where there was one scorer.

        Onsets are seconds from the start of the recording, texts keys of `stage_codes`.
        """
        return None

    @abstractmethod
    def read(
        self, recording: Recording, channels: Sequence[str] | None = None
    ) -> mne.io.BaseRaw | LabelledWindows:
        """Open one recording with the named channels, in the order of `channels`.

        A raw comes lazily where the format allows, in Volts, with stage annotations whose
        texts are keys of `stage_codes`.

        Raises
        ------
        DataError
            If the recording cannot be used; the message names the file.
        """
