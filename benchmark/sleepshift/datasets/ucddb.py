"""UCDDB: nights of 25 adults who were examined for sleep apnea."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from sleepshift.codes import read_codes
from sleepshift.datasets.base import DatasetInfo, Recording
from sleepshift.datasets.edf import check_rate, open_edf
from sleepshift.datasets.edf_header import ADVICE
from sleepshift.datasets.folder import FolderDataset
from sleepshift.datasets.pairs import fetch_pairs, find_pairs, pair
from sleepshift.datasets.scorings import attach, epoch_annotations
from sleepshift.errors import DataError, one_line
from sleepshift.stages import WINDOW_SECONDS

if TYPE_CHECKING:
    import mne

__all__ = ["Ucddb"]

_PROJECT = "ucddb/1.0.0"
_NAME, _SCORING = re.compile(r"(ucddb\d{3})\.rec"), "_stage.txt"
#: Channels whose labels do not say what they are.
_TYPES = {
    "C3A2": "eeg",
    "C4A1": "eeg",
    "ECG": "ecg",
    "Lefteye": "eog",
    "RightEye": "eog",
    "EMG": "emg",
}
# Hz of the EEG and ECG, and of anything else where it is opened alone.
_RATES = (128.0,)
_SLOW_RATES = (128.0, 64.0, 32.0, 16.0, 8.0)
_MAX_BYTES = 2**20  # of a file of stages; they have two kilobytes


class Ucddb(FolderDataset):
    """Recordings of the St. Vincent's / University College Dublin sleep apnea database 1.0.0.

    One night each of 25 adults; labels are Rechtschaffen and Kales, six classes. What scorers
    called an artefact or indeterminate is dropped.

    Parameters
    ----------
    data : path, optional
        Folder with ``ucddb002.rec`` and ``ucddb002_stage.txt`` (and so on) anywhere below it.
        By default the people asked for are downloaded from PhysioNet, and checked.

    Notes
    -----
    Subject ids are those of the files, "ucddb002"; each has one night, session "1". Ages are
    published in a sheet, ``SubjectDetails.xls``, which is not read: they are unknown here.

    A recording is EDF with another suffix. EEG (``C3A2``, ``C4A1``) and ``ECG`` have 128 Hz;
    ``Lefteye``, ``RightEye`` and ``EMG`` less. The stages are one code per 30 s from the start:
    0 wake, 1 REM, 2 to 5 S1 to S4, 6 artefact, 7 indeterminate; 8 occurs and is not
    documented. There must be as many codes as the recording has epochs of 30 s, with or
    without a last one that is cut short.

    Two original stage files were read, and hold wake, S3 and S4 in the windows where others who
    cut the same nights found them. The rest was written from descriptions of the files by
    others and tested on files made alike; no original signal was at hand.

    Examples
    --------
    >>> dataset = Ucddb("ucddb")  # doctest: +SKIP
    >>> raw = dataset.read(dataset.recordings(["ucddb002"])[0])  # doctest: +SKIP
    >>> raw.ch_names  # doctest: +SKIP
    ['C3A2', 'C4A1', 'ECG']
    """

    info = DatasetInfo(
        name="ucddb",
        title="St. Vincent's / University College Dublin sleep apnea database 1.0.0",
        licence="ODC-By 1.0",
        login=False,
        download="25 nights, one by one",
        url="https://physionet.org/content/ucddb/1.0.0/",
        citation="PhysioNet, doi:10.13026/C26C7D; "
        "Goldberger et al. (2000), Circulation 101(23), doi:10.1161/01.CIR.101.23.e215",
        also_called=("University College Dublin",),
    )
    layout = "ucddb002.rec beside ucddb002_stage.txt, and so on"
    scheme = "rk6"
    stage_codes: ClassVar[Mapping[str, str | None]] = {
        "0": "W",
        "1": "R",
        "2": "S1",
        "3": "S2",
        "4": "S3",
        "5": "S4",
        "6": None,
        "7": None,
        "8": None,
    }
    #: Channels opened unless others are asked for: those stored at 128 Hz.
    default_channels: ClassVar[tuple[str, ...]] = ("C3A2", "C4A1", "ECG")

    def scan(self, folder: Path) -> list[Recording]:
        """List the nights below a folder; one whose stages are missing is listed too."""
        return find_pairs(folder, _NAME, _SCORING)

    def fetch(self, subjects: Sequence[str] | None, folder: Path) -> None:
        """Download the nights that are not there yet from PhysioNet, and check them."""
        fetch_pairs(_PROJECT, subjects, folder, _NAME, _SCORING)

    def read(self, recording: Recording, channels: Sequence[str] | None = None) -> mne.io.BaseRaw:
        """Read channels of one night, with its stages as annotations.

        Parameters
        ----------
        recording : Recording
            One of `recordings`.
        channels : sequence of str, optional
            Names as in the file; `default_channels`, by default. Only these are read, and the
            raw has them in this order.

        Returns
        -------
        raw : mne.io.BaseRaw
            In Volts and in memory. A last stage that reaches past the last sample is cut there.

        Raises
        ------
        DataError
            If the stages are missing or not as many as the recording has epochs, the recording
            is truncated or damaged, a channel is not there, or a rate is not that of UCDDB.
        """
        signals, stages = pair(recording, f"'{recording.subject}{_SCORING}'")
        names = self.default_channels if channels is None else tuple(channels)
        raw = open_edf(signals, names, types=_TYPES)
        fast = not set(self.default_channels).isdisjoint(names)
        check_rate(raw, signals, _RATES if fast else _SLOW_RATES, "UCDDB")
        codes = _read_stages(stages, len(self.stage_codes))
        n_epochs = raw.duration / WINDOW_SECONDS
        if abs(len(codes) - n_epochs) >= 1:
            raise DataError(
                f"{stages.name} has {len(codes)} stages, but {signals.name} lasts "
                f"{n_epochs:.6g} epochs of {WINDOW_SECONDS} s; {ADVICE}"
            )
        return attach(raw, epoch_annotations(codes), self.stage_codes, stages.name)


def _read_stages(path: Path, n_codes: int) -> list[str]:
    """Codes in a file, one a line."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError("it is too large for the stages of a night")
        codes, problems = read_codes(path.read_text(encoding="utf-8"), n_codes)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path.name} cannot be read as a list of stages ({one_line(error)}); {ADVICE}"
        ) from error
    if problems:
        raise DataError(f"{path.name}, {problems[0]}; correct the file or use --skip-bad")
    return [str(code) for code in codes]
