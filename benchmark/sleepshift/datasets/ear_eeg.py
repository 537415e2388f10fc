"""Nights of ear EEG in EEGLAB's format: what EESM17 and EESM19 have in common."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from sleepshift.datasets.base import Recording
from sleepshift.datasets.bids_tables import find_files, read_bids_people
from sleepshift.datasets.eeglab import open_set
from sleepshift.datasets.folder import FolderDataset, check_people
from sleepshift.datasets.scorings import attach

if TYPE_CHECKING:
    import mne

__all__ = ["EarEEG"]

_EOG_EMG = re.compile(r"(?P<eog>EOG[lr]|[LR]OC)|(?P<emg>EMG[clr]|CHIN12)")


class EarEEG(FolderDataset):
    """Recordings with electrodes in both ears, of which bad ones are found by a rule."""

    scheme = "aasm5"
    stage_codes: ClassVar[Mapping[str, str | None]] = {
        "1": "W",
        "2": "R",
        "3": "N1",
        "4": "N2",
        "5": "N3",
        "6": None,
        "7": None,
        "8": None,
    }
    accession: ClassVar[str]
    #: Label of the recordings and of the first scoring, as in the names of the files.
    acquisition: ClassVar[str]
    scoring: ClassVar[str]
    #: Tables that belong to a recording, besides its first scoring: ending and acquisition.
    tables: ClassVar[tuple[tuple[str, str], ...]]
    rate: ClassVar[float]
    people: ClassVar[tuple[str, ...]]
    #: Electrodes of the left and of the right ear.
    ears: ClassVar[tuple[tuple[str, ...], tuple[str, ...]]]
    default_channels: ClassVar[tuple[str, ...]]

    def scan(self, folder: Path) -> list[Recording]:
        """List the nights of a folder; one without a scoring is listed too."""
        who = read_bids_people(folder)
        nights = []
        for file in find_files(folder, ["eeg.set"], task="sleep", acquisition=self.acquisition):
            person = who.get(file.subject)
            beside = [file.beside("events.tsv", self.scoring), file.path.with_suffix(".fdt")]
            beside += [file.beside(ending, acquisition) for ending, acquisition in self.tables]
            nights.append(
                Recording(
                    subject=file.subject,
                    session=file.session,
                    age=None if person is None else person.age,
                    sex=None if person is None else person.sex,
                    files=(file.path, *(path for path in beside if path.exists())),
                )
            )
        return nights

    def fetch(self, subjects: Sequence[str] | None, folder: Path) -> None:
        """Download the nights of these people from OpenNeuro that are not there yet."""
        from sleepshift.datasets.download import fetch_openneuro

        check_people(subjects, self.people, self.info.title)
        people = self.people if subjects is None else subjects
        if not (folder / "participants.tsv").is_file():
            fetch_openneuro(self.accession, ["participants.tsv"], folder)
        for person in people:
            fetch_openneuro(self.accession, [f"sub-{person}/"], folder, wanted=self._wanted(person))

    @abstractmethod
    def _wanted(self, person: str) -> re.Pattern[str]:
        """Names of the files of a person that are read."""

    @abstractmethod
    def _stages(self, recording: Recording, raw: mne.io.BaseRaw) -> tuple[mne.Annotations, str]:
        """First scoring in seconds of the recording, and its file."""

    def read(self, recording: Recording, channels: Sequence[str] | None = None) -> mne.io.BaseRaw:
        """Open one night, with its scoring as annotations and its bad electrodes listed.

        All electrodes of an ear are read when one of them is asked for, so that which are bad
        does not depend on what is asked for.

        Parameters
        ----------
        recording : Recording
            One of `recordings`.
        channels : sequence of str, optional
            Names as in the file; those of the scalp and the ears, by default.

        Returns
        -------
        raw : mne.io.BaseRaw
            In Volts, in memory, in the order of `channels`.

        Raises
        ------
        DataError
            If a table is missing, a file is truncated or damaged, a channel is not there, or
            the scoring does not fit the recording.
        """
        names = tuple(self.default_channels if channels is None else channels)
        ears = [ear for ear in self.ears if set(ear) & set(names)]
        every = tuple(dict.fromkeys([*names, *(name for ear in ears for name in ear)]))
        types = {
            name: str(match.lastgroup) for name in every if (match := _EOG_EMG.fullmatch(name))
        }
        raw = open_set(recording.files[0], every, rates=(self.rate,), types=types)
        scoring, name = self._stages(recording, raw)
        raw = attach(raw, scoring, self.stage_codes, name).load_data(verbose="ERROR")
        self._find_bads(raw, ears)
        raw = raw.pick(list(names), verbose="ERROR").reorder_channels(list(names))
        _bridge_gaps(raw)
        return raw

    def _find_bads(self, raw: mne.io.BaseRaw, ears: Sequence[Sequence[str]]) -> None:
        """List bad electrodes, judged by what was scored: before that they may hang loose."""
        from sleepshift.windows.rejection import bad_electrodes

        ends = raw.annotations.onset + raw.annotations.duration
        start, stop = raw.time_as_index([raw.annotations.onset[0], ends[-1]])
        judged = {name for ear in ears for name in ear}
        alone = [[name] for name in raw.ch_names if name not in judged]
        bads: list[str] = []
        for group in (*ears, *alone):
            signals = raw.get_data(picks=list(group), start=start, stop=stop, verbose="ERROR")
            bads += bad_electrodes(signals, group, sfreq=self.rate)
        raw.info["bads"] = bads


def _bridge_gaps(raw: mne.io.BaseRaw) -> None:
    """Draw straight lines over gaps of electrodes that are not bad."""

    def bridge(signal: np.ndarray) -> np.ndarray:
        whole = np.isfinite(signal)
        if whole.all() or not whole.any():
            return signal
        times = np.arange(len(signal))
        return np.interp(times, times[whole], signal[whole])

    if good := [name for name in raw.ch_names if name not in raw.info["bads"]]:
        raw.apply_function(bridge, picks=good, verbose="ERROR")
